"""What a session asks of whoever has messages to send: envelopes, contents, and an ear for what became of them.

Promises: an envelope that exists can be spoken; nothing in an address can be read as another command.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from postroom.gateway.replies import Phase, Reply

# RFC 5321 section 4.5.3.1.3: a path has at most 256 octets with its brackets, which keeps a command below 512.
_ADDRESS: Final = re.compile(rb"[!-;=?-~]{0,254}")
_UTF8_ADDRESS: Final = re.compile(rb"[!-;=?-~\x80-\xff]{1,254}")


class Envelope:
    """Whom a message comes from and goes to. An empty sender is the null path; `token` is the source's own.

    The recipient may be in UTF-8, the sender may not: bounces have to find their way back through any server. Such an
    envelope (`utf8`) may only be given to a session that `offers_utf8`.

    `size` is the message's size in octets if known: it is told to gateways that ask for it (RFC 1870). `stuffed` says that
    no line of the content begins with a dot that is not doubled; the session then does not look for one, which for 10 KB
    takes a fifth of its time.
    ValueError for an address with anything in it that could be read as another command.
    """

    __slots__ = ("recipient", "sender", "size", "stuffed", "token")

    def __init__(self, sender: bytes, recipient: bytes, token: object = None, size: int | None = None, *,
                 stuffed: bool = False) -> None:
        if not _ADDRESS.fullmatch(sender) or not recipient or not (_ADDRESS.fullmatch(recipient) or _is_utf8(recipient)):
            raise ValueError(f"not an address that can be spoken: {sender!r} or {recipient!r}")
        self.sender = sender
        self.recipient = recipient
        self.token = token
        self.size = size
        self.stuffed = stuffed

    @property
    def utf8(self) -> bool:
        """Whether the recipient can only be told to a gateway that offers SMTPUTF8 (RFC 6531)."""
        return not self.recipient.isascii()


def _is_utf8(address: bytes) -> bool:
    """Whether it is text without what somebody could read as the end of a line: U+0085, U+2028 and their like."""
    try:
        return bool(_UTF8_ADDRESS.fullmatch(address)) and address.decode().isprintable()
    except UnicodeDecodeError:
        return False


class Source(Protocol):
    """One window of messages. The session calls these from its callbacks: they must be quick and must not wait."""

    def next(self) -> Envelope | None:
        """The next message to announce; None ends the window. Called before the content of the one before is asked."""

    def content(self, envelope: Envelope) -> bytes | tuple[bytes, bytes] | None:
        """The message as it is to travel: CRLF lines, the last one ended, without the final dot.

        In two parts if its end is the same for everyone, such as attachments: the second is never copied as a whole.

        Called when the gateway said "go ahead" and just before the octets are written; the dot goes with them, or for
        a long message later, with its last piece. None withholds it: the session is then dropped without a dot,
        because nothing else ends a DATA without submitting something.
        """

    def handing_over(self, envelope: Envelope) -> None:
        """The octets with the final dot go to the kernel next: from here on the message may have been handed off.

        An exception keeps them back, and certainly: the session is dropped without a dot.
        """

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        """The gateway's definite answer: a refusal at MAIL, RCPT or DATA, or its reply to the final dot."""

    def lost(self, envelope: Envelope, detail: str) -> None:
        """Nobody can know: the final dot was given to the kernel and its reply never came."""
