"""What a gateway says, and what it means: the reply parser and the one classifier.

Promises: bytes become replies whatever the pieces they arrive in; nothing that a gateway sends can grow without limit,
hang the reader, smuggle control characters into the ledger or repeat a session's login there (secrecy.py); every refusal is
judged here and nowhere else, from (phase, code, enhanced code), never from the text, and the judgement is named by its blast
radius: how much it stops. Where those three do not tell whom it is about, it is an open question, which the refusals around it
answer (`likeness`).

Fails: bytes that are no reply, or exceed a limit, raise `ProtocolError`. Whoever reads a session must then close it,
because from there on replies can no longer be counted.

Source: RFC 5321 section 4.2 (replies), RFC 3463 and RFC 2034 (enhanced codes).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple
from zlib import crc32

from postroom.gateway.secrecy import Hide, nothing

LINE_OCTETS_MAX: Final = 8 * 1024
REPLY_LINES_MAX: Final = 128
REPLY_OCTETS_MAX: Final = 64 * 1024
REPLY_TEXT_MAX: Final = 512


class ProtocolError(Exception):
    """What the gateway sent is no reply to what it was asked. The sentence says what it was."""


class Phase(Enum):
    """The steps of a conversation, in its order. STARTTLS stands for every TLS handshake, the implicit one too."""

    CONNECT = "connect"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "final dot"
    RSET = "RSET"
    QUIT = "QUIT"


class Reply(NamedTuple):
    """One reply. `enhanced` is such as "5.1.1", or "" where none was given or where it contradicts the code.

    `text` is what was said after the code, line by line, verbatim but for characters that do not print, which are
    escaped (PostgreSQL refuses NUL, a terminal obeys ESC), and cut to 512 characters.
    """

    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


class Verdict(Enum):
    """What an answer means, named by what it stops."""

    ACCEPTED = "accepted"
    RETRY = "retry"  # a temporary refusal of this recipient, who stays unsent
    RECIPIENT_PUT_OFF = "recipient_put_off"  # the same; but five alike in a row are about us, and mean a slower pace
    THROTTLED = "throttled"  # the gateway asks for a slower pace: nobody is failed, this recipient stays unsent
    RECIPIENT_FAILED = "recipient_failed"
    RECIPIENT_REFUSED = "recipient_refused"  # for good; whether it is about this recipient or about us is open
    MESSAGE_REFUSED = "message_refused"  # the same of this recipient's message; five alike in a row are the fault of the job
    GATEWAY_FAULT = "gateway_fault"  # credentials, sender, TLS: no recipient is at fault, a person must look
    JOB_FAULT = "job_fault"  # the message itself is refused: going on would collect the same refusal for everyone


class Rule(NamedTuple):
    """"In these phases, these codes, with one of these enhanced codes, mean this." None stands for any."""

    phases: frozenset[Phase] | None
    codes: frozenset[int] | None
    enhanced: frozenset[str] | None
    verdict: Verdict


def _codes(text: str) -> frozenset[int]:
    """Codes by words; "5xx" stands for all codes of that digit."""
    found: set[int] = set()
    for word in text.split():
        found.update(range(int(word[0]) * 100, int(word[0]) * 100 + 100) if word.endswith("xx") else [int(word)])
    return frozenset(found)


def _words(text: str) -> frozenset[str]:
    """Enhanced codes by words; "5.7.500-513" stands for all of those."""
    found: set[str] = set()
    for word in text.split():
        kind, _, details = word.rpartition(".")
        first, _, last = details.partition("-")
        found.update(f"{kind}.{detail}" for detail in range(int(first), int(last or first) + 1))
    return frozenset(found)


SETTING_UP: Final = frozenset({Phase.CONNECT, Phase.EHLO, Phase.STARTTLS, Phase.AUTH})
TRANSACTION: Final = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT})
MAIL, RCPT, DATA, DOT = (frozenset({phase}) for phase in (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT))

# "4.1" stands for every code that begins so. X.1 and X.2 speak of the address and of the mailbox, X.6 of the content, and
# 5.3.4 of its size (RFC 3463). Of the permanent ones some are used for much else, so only these are certain (5.1.10: RFC 7505).
ABOUT_THE_MAILBOX_FOR_NOW: Final = _words("4.2")
ABOUT_THE_ADDRESS_FOR_NOW: Final = _words("4.1")
ABOUT_THE_MAILBOX: Final = _words("5.1.1-6 5.1.10 5.2.1-2 5.2.4")
# The system (4.3: Microsoft's 432 4.3.2 for too many connections) and policy (4.7), whatever the code.
ABOUT_THE_PACE: Final = _words("4.3 4.7")
ABOUT_THE_MESSAGE: Final = _words("5.3.4 5.6")
ABOUT_THE_SENDER: Final = _words("4.1.7-8 5.1.7-8")
# What we said is not what it wants to hear: a name at EHLO, mostly, which Postfix refuses as late as at RCPT.
ABOUT_OUR_WORDS: Final = _codes("500 501 502 504")
# A server that takes nothing (5.3.2), a day's limit at Gmail (5.4.5) and at Microsoft (5.1.90), no login or none that is good for
# this (RFC 4954, RFC 5248), a network without a name (RFC 7372: 5.7.25), a flood (5.7.28); and Microsoft's: no right to this
# sender (5.2.252, 5.7.57, 5.7.60), no tenant's server (5.7.64), its limits and blocks of senders and networks (the others).
ABOUT_THE_ACCOUNT: Final = _words(
    "5.1.90 5.2.252 5.3.2 5.4.5 5.7.3 5.7.8-9 5.7.11 5.7.13-14 5.7.25 5.7.28 5.7.30 5.7.57 5.7.60 5.7.64 5.7.500-513 5.7.606-649 "
    "5.7.700-750")
# DKIM, SPF, both, ARC or DMARC (RFC 7372), and Microsoft's 5.7.509 and 5.7.515.
ABOUT_AUTHENTICATION_OF_THE_MAIL: Final = _words("5.7.20-24 5.7.26-27 5.7.29 5.7.509 5.7.515")

# The first rule that fits decides. 2xx never comes here, and neither does what is no reply. A connection that is lost before
# the dot, a name that does not resolve, a TLS handshake that breaks off: the job waits with growing patience and says why, and
# after `gateway_give_up` a person decides. Trying again is never less safe than it was, so no count of failures ends it sooner.
RULES: Final[tuple[Rule, ...]] = (
    # phases      codes                      enhanced                          verdict
    Rule(None, _codes("421"), None, Verdict.THROTTLED),  # "closing the channel": come back later, slower
    Rule(SETTING_UP, _codes("4xx"), None, Verdict.THROTTLED),  # 454 at AUTH or STARTTLS, 450 greeting
    Rule(SETTING_UP, _codes("5xx"), None, Verdict.GATEWAY_FAULT),  # 554 greeting, 535 credentials
    # Temporary: nobody is failed. Who is it about, the recipient or the gateway?
    Rule(TRANSACTION, _codes("4xx"), ABOUT_THE_SENDER, Verdict.GATEWAY_FAULT),
    Rule(MAIL, _codes("4xx"), None, Verdict.THROTTLED),  # no recipient was named yet
    Rule(TRANSACTION, _codes("4xx"), ABOUT_THE_MAILBOX_FOR_NOW, Verdict.RETRY),
    Rule(TRANSACTION, _codes("4xx"), ABOUT_THE_ADDRESS_FOR_NOW, Verdict.RECIPIENT_PUT_OFF),
    Rule(TRANSACTION, _codes("450 451 452 454"), None, Verdict.THROTTLED),
    Rule(TRANSACTION, _codes("4xx"), ABOUT_THE_PACE, Verdict.THROTTLED),
    Rule(TRANSACTION, _codes("4xx"), None, Verdict.RECIPIENT_PUT_OFF),
    # Permanent, but no recipient's fault.
    Rule(TRANSACTION, _codes("530 534 535 538"), None, Verdict.GATEWAY_FAULT),
    Rule(TRANSACTION, _codes("5xx"), ABOUT_AUTHENTICATION_OF_THE_MAIL, Verdict.JOB_FAULT),
    Rule(TRANSACTION, _codes("5xx"), ABOUT_THE_SENDER | ABOUT_THE_ACCOUNT, Verdict.GATEWAY_FAULT),
    # RFC 5321 section 4.5.3.1.10: 552 to RCPT means "too many recipients" and is temporary. So is a full mailbox there.
    Rule(RCPT, _codes("552"), ABOUT_THE_MAILBOX, Verdict.RETRY),
    Rule(RCPT, _codes("552"), None, Verdict.RECIPIENT_PUT_OFF),
    # "Bad sequence of commands" speaks of our conversation, not of the recipient: a fresh one will do, unless a login was meant.
    Rule(MAIL, _codes("503"), None, Verdict.THROTTLED),
    Rule(RCPT | DATA, _codes("503"), None, Verdict.RECIPIENT_PUT_OFF),
    Rule(MAIL, _codes("552"), None, Verdict.MESSAGE_REFUSED),  # it is too large
    Rule(MAIL, _codes("5xx"), ABOUT_THE_MESSAGE, Verdict.MESSAGE_REFUSED),
    Rule(MAIL, _codes("5xx"), None, Verdict.GATEWAY_FAULT),  # the sender is refused
    # Permanent, and about this recipient; or perhaps about it, or about the message that this recipient was to get.
    Rule(RCPT | DATA | DOT, _codes("5xx"), ABOUT_THE_MAILBOX, Verdict.RECIPIENT_FAILED),
    Rule(RCPT, ABOUT_OUR_WORDS, None, Verdict.GATEWAY_FAULT),
    Rule(RCPT, _codes("5xx"), None, Verdict.RECIPIENT_REFUSED),
    Rule(DATA | DOT, _codes("5xx"), None, Verdict.MESSAGE_REFUSED),
)


def classify(phase: Phase, reply: Reply) -> Verdict:
    """The one judgement on a reply. Unknown codes are judged by their first digit (RFC 5321 section 4.2).

    ValueError for a reply that answers nothing in that phase, such as 354 to the final dot or 250 to DATA: a session
    treats those as garbage and never asks.
    """
    if accepts(phase, reply.code):
        return Verdict.ACCEPTED
    kind = reply.enhanced.rpartition(".")[0]
    for rule in RULES:
        if (
            (rule.phases is None or phase in rule.phases)
            and (rule.codes is None or reply.code in rule.codes)
            and (rule.enhanced is None or reply.enhanced in rule.enhanced or kind in rule.enhanced)
        ):
            return rule.verdict
    raise ValueError(f"{reply.code} is no answer to {phase.value}")


def may_be_about_the_recipient(phase: Phase, reply: Reply) -> bool:
    """Whether what is taken for a throttle may be a greylist's answer to this very recipient."""
    return phase is Phase.RCPT and reply.code in (450, 451) and not reply.enhanced.startswith("4.3.")


_MASKED: Final = re.compile(r"<[^>]*>|\S*[@\d]\S*")


def likeness(phase: Phase, reply: Reply, address: str) -> int:
    """The same number for refusals that are alike: at the same phase, with the same codes and the same words, but for addresses
    and whatever has digits in it (ids, times, networks). For columns of 32 bits, with sign."""
    words = reply.text.lower().replace(address.rpartition("@")[2].lower(), "@")
    alike = crc32(f"{phase.value} {reply.code} {reply.enhanced} {_MASKED.sub('#', words)}".encode())
    return alike - 2**31


def accepts(phase: Phase, code: int) -> bool:
    """Whether this code is the yes of this phase: 354 to DATA, any 2xx elsewhere."""
    return code == 354 if phase is Phase.DATA else 200 <= code < 300


def refuses(code: int) -> bool:
    """Whether this code is a no, temporary or permanent. What neither accepts nor refuses is garbage."""
    return code >= 400


_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![^ \n])")
_ENHANCED_OCTETS_MAX: Final = 12
_GOOD_GROUP: Final = re.compile(
    rb"(2[0-9]{2}) ([^\r\n]{0,2000})\r\n"  # the final dot
    rb"2[0-9]{2} [^\r\n]{0,2000}\r\n"  # MAIL
    rb"2[0-9]{2} [^\r\n]{0,2000}\r\n"  # RCPT
    rb"354 [^\r\n]{0,2000}\r\n"  # DATA
)


def good_group(data: bytes, hide: Hide = nothing) -> Reply | None:
    """The fast path: four single-line replies, all good, to "final dot, MAIL, RCPT, DATA", and not an octet more.

    Returns the reply to the final dot. None means "not exactly that": read it line by line.
    """
    found = _GOOD_GROUP.fullmatch(data)
    return _reply(int(found[1]), found[2], hide) if found else None


def printable(said: bytes) -> str:
    """What a gateway sent as text that is safe to keep and to show: what does not print is escaped."""
    text = said.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _reply(code: int, said: bytes, hide: Hide) -> Reply:
    enhanced = _ENHANCED.match(printable(said[:_ENHANCED_OCTETS_MAX]))  # before anything is hidden in it
    text = printable(hide(said)[: 4 * REPLY_TEXT_MAX])  # UTF-8 takes at most four octets a character
    # An enhanced code whose class contradicts the code is worth nothing (RFC 2034 section 4).
    told = enhanced[0] if enhanced and ord(enhanced[0][0]) - 48 == code // 100 else ""
    return Reply(code, told, text[:REPLY_TEXT_MAX])


class ReplyParser:
    """Turns bytes into replies, in whatever pieces they come: `feed`, then `next` until it returns None.

    Lines end in CRLF; a bare LF ends a line too, because then counting stays well defined with sloppy gateways (our
    own side never sends one). Pull, not push: the caller takes as many replies as it is owed and sees by `pending`
    whether the gateway said more than it was asked. `hide` takes out of its words what must not be repeated.
    """

    __slots__ = ("_buffer", "_code", "_lines", "_octets", "_scanned", "hide", "lines")

    def __init__(self, hide: Hide = nothing) -> None:
        self.hide = hide
        self._buffer = bytearray()
        self._scanned = 0  # octets of the buffer that are known to hold no LF
        self._lines: list[bytes] = []  # lines so far of a reply that goes on
        self._octets = 0
        self._code = b""
        self.lines: tuple[bytes, ...] = ()  # the latest reply, line by line and uncut: EHLO's list can be long

    @property
    def pending(self) -> bool:
        """Whether there are octets that no returned reply accounts for."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> None:
        """Takes what arrived. The limits are looked at in `next`."""
        self._buffer += data

    def next(self) -> Reply | None:
        """The next whole reply, None if there is none yet; ProtocolError for garbage or too much of anything."""
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if (len(self._buffer) if end < 0 else end) > LINE_OCTETS_MAX:
                raise ProtocolError(f"the gateway sent a line of more than {LINE_OCTETS_MAX} octets")
            if end < 0:
                self._scanned = len(self._buffer)
                return None
            line = bytes(self._buffer[:end]).removesuffix(b"\r")
            del self._buffer[: end + 1]
            self._scanned = 0
            if (reply := self._line(line)) is not None:
                return reply

    def _line(self, line: bytes) -> Reply | None:
        found = _LINE.fullmatch(line)
        if found is None or (self._lines and found[1] != self._code):
            raise ProtocolError(f"the gateway sent what is no reply: “{printable(self.hide(line)[:200])}”")
        self._code = found[1]
        self._lines.append(found[3] or b"")
        self._octets += len(line)
        if len(self._lines) > REPLY_LINES_MAX or self._octets > REPLY_OCTETS_MAX:
            limit = f"{REPLY_LINES_MAX} lines or {REPLY_OCTETS_MAX} octets"
            raise ProtocolError(f"the gateway sent a reply of more than {limit}")
        if found[2] == b"-":
            return None
        self.lines = tuple(self._lines)
        self._lines.clear()
        self._octets = 0
        return _reply(int(self._code), b"\n".join(self.lines), self.hide)
