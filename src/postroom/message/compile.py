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
from postroom.message.assembly import ADDRESS, POSITION, SUBJECT, Assembly, Draft
from postroom.message.headers import Unrenderable
from postroom.message.parts import MESSAGE_MAX, Part, take_apart, too_large
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
    draft = Draft()
    _add_headers(draft, content, stamp)
    bodies = [
        (subtype, take_apart(template, account))
        for subtype, template in ((b"plain", templates.text), (b"html", templates.html))
        if template is not None
    ]
    _add_bodies(draft, bodies, b"=_" + sha256(stamp.job_ref.encode("ascii")).hexdigest()[:32].encode("ascii"))
    return Compiled(take_apart(templates.subject, account), Assembly(draft))


class Compiled:
    """One job's message. `render` may be called in any order, any number of times, from one thread at a time."""

    __slots__ = ("_assembly", "_subject", "_subjects")

    def __init__(self, subject: Part, assembly: Assembly) -> None:
        self._subject = subject
        self._subjects: dict[str, bytes] = {}
        self._assembly = assembly

    def render(self, address: str, position: int, fields: Mapping[str, object]) -> bytes:
        """Return the complete message for one recipient, without the final dot.

        `address` is a `parse_address(...).address`; values of `fields` are text, numbers, booleans or None. Raises
        `Unrenderable` (and `AddressRefused` for an address that was never validated).
        """
        try:
            subject = self._subject_line(self._subject.text(address, fields))
            message = self._assembly.joined([envelope(address), subject, b"%d" % position], address, fields)
        except UnicodeEncodeError as error:
            raise Unrenderable("A value holds half a character (a lone surrogate), which cannot be sent.") from error
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


def _add_headers(draft: Draft, content: Content, stamp: Stamp) -> None:
    sender = parse_address(content.from_address).envelope
    domain = (parse_address(f"x@{stamp.domain}").envelope if stamp.domain else sender).partition(b"@")[2]
    draft.add(b"From: " + headers.mailbox("From", content.from_name, sender) + b"\r\nTo: ")
    draft.add_header_value(ADDRESS)
    draft.add(b"\r\nSubject: ")
    draft.add_header_value(SUBJECT)
    draft.add(f"\r\nMessage-ID: <{stamp.job_ref}.".encode("ascii"))
    draft.add_header_value(POSITION)
    draft.add(b"@" + domain + b">\r\nDate: " + headers.date(stamp.date) + b"\r\n")
    if content.reply_to:
        draft.add(b"Reply-To: " + parse_address(content.reply_to).envelope + b"\r\n")
    draft.add(b"MIME-Version: 1.0\r\n")


def _add_bodies(draft: Draft, bodies: list[tuple[bytes, Part]], boundary: bytes) -> None:
    """Add one body, or several as alternatives. No part can hold the boundary: "=_" is not quoted-printable."""
    several = len(bodies) > 1
    if several:
        draft.add(b'Content-Type: multipart/alternative;\r\n boundary="' + boundary + b'"\r\n\r\n')
    for subtype, part in bodies:
        draft.add(b"--" + boundary + b"\r\n" if several else b"")
        draft.add(b"Content-Type: text/" + subtype + b"; charset=utf-8\r\n")
        draft.add(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
        draft.add_body(part)
        draft.add(b"\r\n" if several else b"")
    if several:
        draft.add(b"--" + boundary + b"--\r\n")
