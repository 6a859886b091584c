"""The last look at the bytes of a message: they are what was planned, or the recipient is failed and nothing is sent.

It trusts nothing of how the bytes were made. The header block is parsed against the plan: exactly these fields, in this order,
each once; what the most lenient reader takes for an encoded word is one of ours, and hides no control character. Everywhere: CRLF
or no line end at all, 7-bit (but for To, where the address is in UTF-8), lines of at most 998 (RFC 5322 2.1.1), and no line that
begins with a dot, so that nothing can pass for the end of the data (RFC 5321 4.1.1.4; faults F73, F74, F76, F78), however lenient
a server is about its line ends. Boundaries stand where they were planned.

Fails: `Unrenderable` with what is wrong.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_qp
from collections.abc import Sequence
from contextlib import suppress

from postroom.message.wire.headers import Unrenderable

LINE_MAX = 998  # octets, without CRLF
WORDS_MAX = 4_096  # encoded words remembered as harmless

# Tabs are for folding and for quoted-printable; everything else that is no printable ASCII must be a line end.
_PRINTABLE = bytes([9, *range(32, 127)])
_PRINTABLE_UTF8 = _PRINTABLE + bytes(range(128, 256))
_VALUE = rb" [ -~%b]*\r\n(?:[ \t]+[!-~%b][ -~%b]*\r\n)*"
_UTF8 = rb"\x80-\xff"
# Some readers take words for encoded that hold spaces and question marks, or go on in the next line; ours hold neither.
_LOOKS_ENCODED = re.compile(rb"=\?[^?\n]*\?[^?\n]*\?.*?\?=")
_WORD = re.compile(rb"=\?utf-8\?(?:q\?((?:[0-9A-Za-z!*+/_-]|=[0-9A-F]{2})*)|b\?([0-9A-Za-z+/]*={0,2}))\?=")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Plan:
    """What the messages of one job must look like.

    `names` are the header fields in order. `boundaries` are the delimiters of the multipart bodies with how often each
    begins a line; those of a tail that everybody gets are not among them: `check_tail` looks at it once.
    """

    def __init__(self, names: Sequence[str], boundaries: Sequence[tuple[bytes, int]]) -> None:
        self._boundaries = [(b"\r\n--" + boundary, count) for boundary, count in boundaries]
        self._names = tuple(names)
        self._header = _pattern(names, b"")
        self._header_utf8 = _pattern(names, _UTF8)
        self._words: set[bytes] = set()

    def check(self, message: bytes, *, utf8: bool = False) -> None:
        """Raise `Unrenderable` unless the bytes are as planned. `utf8`: To may be an address outside ASCII (RFC 6532)."""
        end = message.find(b"\r\n\r\n") + 2
        header, body = message[:end], message[end:]
        if (self._header_utf8 if utf8 else self._header).fullmatch(header) is None:
            raise Unrenderable(f"The message does not have the header fields that were planned: {self._difference(header)}.")
        if b"=?" in header:
            self._check_words(header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" "))
        if utf8:
            _check_utf8(header)
            _check_lines(header, _PRINTABLE_UTF8)
            _check_lines(body)
        else:
            _check_lines(message)
        for boundary, count in self._boundaries:
            if body.count(boundary) != count:
                raise Unrenderable("A value looks like the line that divides the parts of the message.")

    def check_tail(self, tail: bytes) -> None:
        """The same look at the lines of what everybody gets after the personal part."""
        _check_lines(tail)

    def _check_words(self, unfolded: bytes) -> None:
        for word in _LOOKS_ENCODED.findall(unfolded):
            if word in self._words:
                continue
            _check_word(word)
            if len(self._words) < WORDS_MAX:
                self._words.add(word)

    def _difference(self, header: bytes) -> str:
        found = tuple(line.partition(b":")[0].decode("ascii", "replace") for line in re.split(rb"\r\n(?![ \t])", header) if line)
        if found != self._names:
            return f"it has {', '.join(found)[:200] or 'none'} instead of {', '.join(self._names)}"
        return "a value holds a character that no header may hold, or a line that is empty"


def _pattern(names: Sequence[str], more: bytes) -> re.Pattern[bytes]:
    """Only To may be internationalised: every other field is the same for all, or encoded."""
    parts = []
    for name in names:
        extra = more if name == "To" else b""
        parts.append(re.escape(name).encode("ascii") + b":" + _VALUE % (extra, extra, extra))
    return re.compile(b"".join(parts))


def _check_lines(octets: bytes, printable: bytes = _PRINTABLE) -> None:
    """Passes of C over the octets instead of one of Python over the lines: 10 KB take 10 us."""
    # What is left without the printable is CR and LF, and as many as there are pairs: so each stands in a pair.
    if len(octets.translate(None, printable)) != 2 * octets.count(b"\r\n"):
        raise Unrenderable("The message holds a control character, a bare line end or an octet that is not 7-bit.")
    if not octets.endswith(b"\r\n") and octets:
        raise Unrenderable("The last line of the message is not ended.")
    # From one line end to the last one within reach: every line is shorter than a step that found one.
    end = 0
    while end < len(octets):
        reach = octets.rfind(b"\n", end, end + LINE_MAX + 2) + 1
        if not reach:
            raise Unrenderable(f"A line of the message is longer than {LINE_MAX} octets.")
        end = reach
    if b"\r\n." in octets or octets.startswith(b"."):
        raise Unrenderable("A line of the message begins with a dot.")


def _check_utf8(header: bytes) -> None:
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        raise Unrenderable("The address holds octets that are not UTF-8.") from None
    if _CONTROL.search(text.replace("\r\n", "").replace("\t", " ")):
        raise Unrenderable("The address holds a control character.")


def _check_word(word: bytes) -> None:
    """One encoded word (RFC 2047): ours are UTF-8, and no reader finds a control character in one (F74)."""
    decoded = None
    if ours := _WORD.fullmatch(word):
        with suppress(ValueError):  # binascii's errors and Unicode's are such too
            octets = a2b_qp(ours[1], header=True) if ours[2] is None else a2b_base64(ours[2], strict_mode=True)
            decoded = octets.decode("utf-8")
    if decoded is None:
        raise Unrenderable("A header holds what some readers take for an encoded word, and it is none of ours.")
    if _CONTROL.search(decoded):
        raise Unrenderable("A header holds an encoded word that hides a control character.")
