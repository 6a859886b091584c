"""A content compiled once per job; a recipient's message is then a join of bytes.

Static text is quoted-printable before the first recipient is seen. Between it stand slots. A slot that is one field,
with or without filters, is a look-up in a memo of values already encoded. What is richer (conditions, loops, two fields
in one expression) is rendered by Liquid, that spot only. Any value may stand in a slot: it has lines of its own
(`quoted`).

Promises: the same content, stamp, recipient and fields give the same bytes, in every process and on every attempt. CRLF
only, 7-bit, no line that begins with a dot, lines of at most 78 but for an address or Message-ID too long to fold.

Fails: `Unrenderable` for a recipient whose values cannot be sent; `InvalidInput` for a content that `check` refuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from postroom.message import headers
from postroom.message.address import envelope, parse_address
from postroom.message.headers import Unrenderable
from postroom.message.parts import MESSAGE_MAX, Part, body_part, subject_part, too_large
from postroom.message.template import Content, parse

SUBJECTS_MAX = 1_024  # encoded subjects remembered for a job

_JOB_REF = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes a job's bytes its own: frozen with the job. `domain` is the Message-ID's, by default that of From."""

    job_ref: str
    date: datetime
    domain: str = ""

    def __post_init__(self) -> None:
        if not _JOB_REF.fullmatch(self.job_ref):
            raise ValueError(f"a job_ref is 1 to 64 of A-Z a-z 0-9 and hyphen, not {self.job_ref!r}")
        if self.date.tzinfo is None:
            raise ValueError("a stamp's date needs a time zone")


def compile(content: Content, stamp: Stamp, account_fields: Mapping[str, str]) -> Compiled:  # noqa: A001
    """Return the job's message, ready to render. Raises `InvalidInput` as `template.check` does."""
    templates = parse(content, stamp.date)
    account = dict(account_fields)
    sender = parse_address(content.from_address).envelope
    domain = (parse_address(f"x@{stamp.domain}").envelope if stamp.domain else sender).partition(b"@")[2]
    reply_to = [b"Reply-To: " + parse_address(content.reply_to).envelope] if content.reply_to else []
    bodies = [
        (subtype, body_part(template, account))
        for subtype, template in ((b"plain", templates.text), (b"html", templates.html))
        if template is not None
    ]
    boundary = b"=_" + sha256(stamp.job_ref.encode("ascii")).hexdigest()[:32].encode("ascii")
    after_position = [
        b"@" + domain + b">",
        b"Date: " + headers.date(stamp.date),
        *reply_to,
        b"MIME-Version: 1.0",
    ]
    return Compiled(
        before_address=b"From: " + headers.mailbox("From", content.from_name, sender) + b"\r\nTo: ",
        before_position=f"\r\nMessage-ID: <{stamp.job_ref}.".encode("ascii"),
        after_position=b"\r\n".join(after_position) + b"\r\n",
        subject=subject_part(templates.subject, account),
        bodies=bodies,
        boundary=boundary,
    )


class Compiled:
    """One job's message. `render` may be called in any order, any number of times, from one thread at a time."""

    __slots__ = ("_bodies", "_pieces", "_subject", "_subjects")

    def __init__(
        self,
        *,
        before_address: bytes,
        before_position: bytes,
        after_position: bytes,
        subject: Part[str],
        bodies: list[tuple[bytes, Part[bytes]]],
        boundary: bytes,
    ) -> None:
        self._subject = subject
        self._subjects: dict[str, bytes] = {}
        self._bodies = [part for _, part in bodies]
        self._pieces = [before_address, b"", b"\r\nSubject: ", b"", before_position, b"", after_position]
        several = len(bodies) > 1
        if several:
            self._pieces[-1] += b'Content-Type: multipart/alternative;\r\n boundary="' + boundary + b'"\r\n\r\n'
        for subtype, part in bodies:
            opening = b"--" + boundary + b"\r\n" if several else b""
            self._pieces[-1] += opening + b"Content-Type: text/" + subtype + b"; charset=utf-8\r\n"
            self._pieces[-1] += b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
            part.place(len(self._pieces))
            self._pieces += [*part.pieces, b"\r\n" if several else b""]
        if several:
            self._pieces[-1] += b"--" + boundary + b"--\r\n"

    def render(self, address: str, position: int, fields: Mapping[str, object]) -> bytes:
        """Return the complete message for one recipient, without the final dot.

        `address` is a `parse_address(...).address`; values of `fields` are text, numbers, booleans or None. Raises
        `Unrenderable` (and `AddressRefused` for an address that was never validated).
        """
        pieces = self._pieces.copy()
        pieces[1] = envelope(address)
        pieces[5] = b"%d" % position
        try:
            pieces[3] = self._subject_line("".join(self._subject.filled(address, fields)))
            for body in self._bodies:
                body.fill(pieces, address, fields)
        except UnicodeEncodeError as error:
            raise Unrenderable("A value holds half a character (a lone surrogate), which cannot be sent.") from error
        message = b"".join(pieces)
        if len(message) > MESSAGE_MAX:
            raise too_large()
        return message

    def _subject_line(self, text: str) -> bytes:
        """Encode a subject once for all who get the same: first names repeat, and most subjects hold no more."""
        line = self._subjects.get(text)
        if line is None:
            line = headers.unstructured("Subject", text)
            if len(self._subjects) < SUBJECTS_MAX:
                self._subjects[text] = line
        return line
