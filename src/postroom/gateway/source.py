"""What a session asks of whoever has messages to send: envelopes, contents, and an ear for what became of them.

Promises: an envelope that exists can be spoken; nothing in an address can be read as another command.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from postroom.gateway.replies import Phase, Reply

# RFC 5321 section 4.5.3.1.3: a path has at most 256 octets with its brackets, which keeps a command below 512.
_ADDRESS: Final = re.compile(rb"[!-;=?-~]{0,254}")


class Envelope:
    """Whom a message comes from and goes to. An empty sender is the null path; `token` is the source's own.

    `size` is the message's size in octets if known: it is told to gateways that ask for it (RFC 1870). `stuffed` says that
    no line of the content begins with a dot that is not doubled; the session then does not look for one, which for 10 KB
    takes a fifth of its time.
    ValueError for an address with anything in it that could be read as another command.
    """

    __slots__ = ("recipient", "sender", "size", "stuffed", "token")

    def __init__(self, sender: bytes, recipient: bytes, token: object = None, size: int | None = None, *,
                 stuffed: bool = False) -> None:
        if not _ADDRESS.fullmatch(sender) or not recipient or not _ADDRESS.fullmatch(recipient):
            raise ValueError(f"not an address that can be spoken: {sender!r} or {recipient!r}")
        self.sender = sender
        self.recipient = recipient
        self.token = token
        self.size = size
        self.stuffed = stuffed


class Source(Protocol):
    """One window of messages. The session calls these from its callbacks: they must be quick and must not wait."""

    def next(self) -> Envelope | None:
        """The next message to announce; None ends the window. Called before the content of the one before is asked."""

    def content(self, envelope: Envelope) -> bytes | None:
        """The message as it is to travel: CRLF lines, the last one ended, without the final dot.

        Called when the gateway said "go ahead" and just before the octets are written; the dot goes with them, or for
        a long message later, with its last piece. None withholds it: the session is then dropped without a dot,
        because nothing else ends a DATA without submitting something.
        """

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        """The gateway's definite answer: a refusal at MAIL, RCPT or DATA, or its reply to the final dot."""

    def lost(self, envelope: Envelope, detail: str) -> None:
        """Nobody can know: the final dot was given to the kernel and its reply never came."""
