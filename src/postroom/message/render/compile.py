"""A content compiled once per job; a recipient's message is then a join of bytes.

Static text is quoted-printable before the first recipient is seen. Between it stand slots. A slot that is one field,
with or without filters, is a look-up in a memo of values already encoded. What is richer (conditions, loops, two fields
in one expression) is rendered by Liquid, that spot only. Any value may stand in a slot: it has lines of its own
(`quoted`). Files are encoded once and stand in a `tail` that is the same for everyone and never copied.

Promises: the same content, stamp, recipient and fields give the same bytes, in every process and on every attempt. CRLF
only, 7-bit but for the To of an internationalised address, no line that begins with a dot, lines of at most 78 but for an
address, a link or a Message-ID too long to fold. `check` proves it of the bytes that are about to be sent.

Fails: `Unrenderable` for a recipient whose values cannot be sent; `InvalidInput` for a content that `template.check` refuses.

The header fields, in order: From, To, Subject, Message-ID, Date, Reply-To if there is one, List-Id, List-Unsubscribe
where there is a way out, List-Unsubscribe-Post where one click is enough for it, Feedback-ID, the job's own, MIME-Version,
Content-Type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableSet
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote

from postroom.message.content import Attachment, Bodies, Content, Identity
from postroom.message.liquid.reserved import EMAIL, MEANT, UNSUBSCRIBE_URL
from postroom.message.liquid.template import parse
from postroom.message.render.assembly import ADDRESS, POSITION, SUBJECT, UNSUBSCRIBE, Assembly, Draft
from postroom.message.render.parts import MESSAGE_MAX, Budget, Part, half_a_character, take_apart, too_large
from postroom.message.wire import headers, own_headers
from postroom.message.wire.address import envelope, parse_address
from postroom.message.wire.file_part import mime_part
from postroom.message.wire.headers import Unrenderable
from postroom.message.wire.token import Tokens
from postroom.message.wire.verify import Plan

LIST_ID_MAX = 255  # octets (RFC 2919 3)
SUBJECTS_MAX = 1_024  # encoded subjects remembered for a job

_TRUTHS = {True: "true", False: "false"}
_JOB_REF = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes a job's bytes its own: frozen with the job."""

    job_ref: str
    date: datetime

    def __post_init__(self) -> None:
        if not _JOB_REF.fullmatch(self.job_ref):
            raise ValueError(f"a job_ref is 1 to 64 of A-Z a-z 0-9 and hyphen, not {self.job_ref!r}")
        if self.date.tzinfo is None:
            raise ValueError("a stamp's date needs a time zone")


class BlankFields(Unrenderable):
    """Fields that the message prints are blank for this recipient, and the job's policy is to fail those."""

    def __init__(self, names: MutableSet[str]) -> None:
        told = ", ".join(f'"{name}"' for name in sorted(names))
        super().__init__(f"The field {told} is blank." if len(names) == 1 else f"The fields {told} are blank.")


@dataclass(frozen=True, slots=True)
class Outfit:
    """What the messages of a job need beside content, bodies and stamp. `files` holds the octets of attachments by digest.

    `tokens` are the job's, for links and bounce addresses; `fails_blanks`: a recipient of whom a printed field is blank gets no
    message; `signatures` is how many DKIM-Signature fields are put in front later.
    """

    identity: Identity | None = None
    tokens: Tokens | None = None
    files: Mapping[str, bytes] | None = None
    fails_blanks: bool = False
    signatures: int = 0


def compile(content: Content, bodies: Bodies, stamp: Stamp, account_fields: Mapping[str, str],  # noqa: A001
            outfit: Outfit = Outfit()) -> Compiled:
    """Return the job's message, ready to render. `bodies` were made of the content (`prepare`). Raises `InvalidInput` as
    `template.check` does."""
    from postroom.message.liquid.merge import Steps

    templates = parse(content, bodies, stamp.date)
    account = dict(account_fields)
    budget = Budget(Steps())
    subject = take_apart(templates.subject, account, budget)
    draft = Draft()
    names = _add_headers(draft, content, stamp, outfit.identity)
    parts = [(subtype, take_apart(template, account, budget))
              for subtype, template in ((b"plain", templates.text), (b"html", templates.html)) if template is not None]
    _add_body(draft, parts, content.attachments, outfit.files or {}, stamp.job_ref)
    if len(parts) == 1 and not content.attachments:
        names.append("Content-Transfer-Encoding")
    return Compiled(subject, draft, Plan(["DKIM-Signature"] * outfit.signatures + names, _boundaries(draft)), outfit,
                    parse_address(content.from_address, ascii_only=True).envelope, budget)


class Compiled:
    """One job's message. `render` may be called in any order, any number of times, from one thread at a time.

    The whole message is what `render` returns, then `tail`. `names` are all fields of recipients that it mentions. `unread` are
    those that the latest message prints as they stand, because they are read as no day.
    """

    __slots__ = ("_assembly", "_bounce_domain", "_fails_blanks", "_from", "_plan", "_steps", "_subject", "_subjects", "_taken",
                 "_tokens", "_url", "body_varies", "names", "tail", "unread")

    def __init__(self, subject: Part, draft: Draft, plan: Plan, outfit: Outfit, sender: bytes, budget: Budget) -> None:
        identity = outfit.identity
        self._subject = subject
        self._subjects: dict[str, bytes] = {}
        self._assembly = Assembly(draft)
        self._plan = plan
        self._tokens = outfit.tokens
        self._fails_blanks = outfit.fails_blanks
        self._from = sender
        self._steps = budget.steps
        self.unread = budget.unread
        self._url = (identity.unsubscribe_url if identity else None) or ""
        self._bounce_domain = b"@" + identity.bounce_domain.encode("ascii") if identity and identity.bounce_domain else b""
        self.tail = draft.tail
        self.body_varies = draft.body_varies
        self.names = subject.names.union(*(part.names for part in draft.parts))
        self._taken = subject.taken.union(*(part.taken for part in draft.parts))
        plan.check_tail(self.tail)

    def render(self, address: str, position: int, fields: Mapping[str, object], blanks: set[str] | None = None) -> bytes:
        """Return the personal part of the message for one recipient, which is all of it where there are no files.

        `address` is a `parse_address(...).address`; values of `fields` are text, numbers, booleans or None. Booleans are the
        texts that other lists have for them. With a set of `blanks` the names of blank fields are added to it, and none fails
        the recipient. Raises `Unrenderable` (and `AddressRefused` for an address that was never validated).
        """
        found: set[str] = set() if blanks is None else blanks
        if True in fields.values() or False in fields.values():  # 1 and 0 too
            fields = {name: _TRUTHS[value] if isinstance(value, bool) else value for name, value in fields.items()}
        self._steps.begin()
        self.unread.clear()
        if self._taken and not fields.keys().isdisjoint(self._taken):
            self._refuse_taken(address, fields)
        url = self._unsubscribe_url(address, position)
        own = {EMAIL: address, UNSUBSCRIBE_URL: url}
        try:
            subject = self._subject_line(self._subject.text(own, fields, found))
            values = [envelope(address), subject, b"%d" % position, url.encode("ascii")]
            message = self._assembly.joined(values, own, fields, found)
        except UnicodeEncodeError as error:
            raise half_a_character() from error
        if found and blanks is None and self._fails_blanks:
            raise BlankFields(found)
        if len(message) > MESSAGE_MAX:
            raise too_large()
        return message

    def _refuse_taken(self, address: str, fields: Mapping[str, object]) -> None:
        """The address itself may stand among the fields too."""
        for name in sorted(self._taken & fields.keys()):
            if name != EMAIL or str(fields[name] or "").strip().casefold() not in ("", address.casefold()):
                raise Unrenderable(f'The list has a column "{name}", but {{{{ {name} }}}} is {MEANT[name]}. Write '
                                   f'{{{{ fields["{name}"] }}}} for the column, or give it another name.')

    def check(self, message: bytes, *, utf8: bool = False) -> None:
        """Look at the finished personal part, signatures included, once more. Raises `Unrenderable` (`verify`)."""
        self._plan.check(message, utf8=utf8)

    def sender(self, position: int) -> bytes:
        """Return the envelope's sender: one of the recipient's own (VERP) in the bounce domain, else the From address."""
        if self._bounce_domain and self._tokens:
            return b"b+" + self._tokens.bounce(position).encode("ascii") + self._bounce_domain
        return self._from

    def _unsubscribe_url(self, address: str, position: int) -> str:
        url = self._url
        if "{" in url:
            if self._tokens:
                url = url.replace("{token}", self._tokens.unsubscribe(position))
            if "{email}" in url:
                url = url.replace("{email}", quote(address, safe=""))
        return url

    def _subject_line(self, text: str) -> bytes:
        """Encode a subject once for all who get the same: first names repeat, and most subjects hold no more."""
        line = self._subjects.get(text)
        if line is None:
            line = headers.unstructured("Subject", text)
            if len(self._subjects) < SUBJECTS_MAX:
                self._subjects[text] = line
        return line


def _add_headers(draft: Draft, content: Content, stamp: Stamp, identity: Identity | None) -> list[str]:
    """Add the header fields up to MIME-Version; return the names of all, Content-Type included."""
    sender = parse_address(content.from_address, ascii_only=True).envelope
    domain = sender.partition(b"@")[2]
    names = ["From", "To", "Subject", "Message-ID", "Date"]
    draft.add(b"From: " + headers.mailbox("From", content.from_name, sender) + b"\r\nTo: ")
    draft.add_header_value(ADDRESS)
    draft.add(b"\r\nSubject: ")
    draft.add_header_value(SUBJECT)
    draft.add(f"\r\nMessage-ID: <{stamp.job_ref}.".encode("ascii"))
    draft.add_header_value(POSITION)
    draft.add(b"@" + domain + b">\r\nDate: " + headers.date(stamp.date) + b"\r\n")
    if content.reply_to:
        names.append("Reply-To")
        draft.add(b"Reply-To: " + parse_address(content.reply_to, ascii_only=True).envelope + b"\r\n")
    if identity is not None:
        names += _add_list_headers(draft, stamp, identity, domain)
    for (name, _), line in zip(content.headers, own_headers.written(content.headers), strict=True):
        names.append(name)
        draft.add(line)
    draft.add(b"MIME-Version: 1.0\r\n")
    return [*names, "MIME-Version", "Content-Type"]


def _add_list_headers(draft: Draft, stamp: Stamp, identity: Identity, domain: bytes) -> list[str]:
    names = ["List-Id"]
    list_id = b"<account-%d.%b>" % (identity.account_id, domain)
    with suppress(Unrenderable):  # a name that no header may hold
        named = headers.mailbox("List-Id", identity.name, list_id[1:-1])
        if identity.name and len(named) <= LIST_ID_MAX:
            list_id = named
    draft.add(b"List-Id: " + list_id + b"\r\n")
    if identity.unsubscribe_url:
        # Raw and on one line: RFC 2369 lets a reader ignore what does not begin with "<" (F79).
        names.append("List-Unsubscribe")
        draft.add(b"List-Unsubscribe: <")
        draft.add_header_value(UNSUBSCRIBE)
        draft.add(b">\r\n")
        if identity.has_one_click:
            names.append("List-Unsubscribe-Post")
            draft.add(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
    # Gmail's form: campaign, customer, mail type and, last, the sender's own name.
    draft.add(b"Feedback-ID: %b:account-%d:bulk:postroom\r\n" % (stamp.job_ref.encode("ascii"), identity.account_id))
    return [*names, "Feedback-ID"]


def _add_body(draft: Draft, bodies: list[tuple[bytes, Part]], attachments: tuple[Attachment, ...], files: Mapping[str, bytes],
              job_ref: str) -> None:
    """Add mixed(alternative(text, related(html, images)), files), each level only where it is needed.

    No part can hold a boundary: "=_" is neither quoted-printable nor base64. After the last body all is static: the tail.
    """
    digest = sha256(job_ref.encode("ascii")).hexdigest()[:32].encode("ascii")
    mixed, alternative, related = (b"=_%b%b" % (kind, digest) for kind in (b"m", b"a", b"r"))
    images = [mime_part(one, files[one.digest]) for one in attachments if one.content_id]
    others = [mime_part(one, files[one.digest]) for one in attachments if not one.content_id]
    closing: list[bytes] = []
    if others:
        _open(draft, b"mixed", mixed)
        closing.append(_parts(mixed, others))
    if len(bodies) > 1:
        _open(draft, b"alternative", alternative)
        closing.append(_parts(alternative, []))
        _add_leaf(draft, *bodies[0])
        draft.add(b"\r\n--" + alternative + b"\r\n")
    if images:
        _open(draft, b'related; type="text/html"', related)
        closing.append(_parts(related, images))
    _add_leaf(draft, *bodies[-1])
    if attachments:
        draft.begin_tail()
    for octets in reversed(closing):
        draft.add(octets)


def _add_leaf(draft: Draft, subtype: bytes, part: Part) -> None:
    draft.add(b"Content-Type: text/" + subtype + b"; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
    draft.add_body(part)


def _open(draft: Draft, kind: bytes, boundary: bytes) -> None:
    draft.add(b"Content-Type: multipart/" + kind + b';\r\n boundary="' + boundary + b'"\r\n\r\n--' + boundary + b"\r\n")


def _parts(boundary: bytes, parts: list[bytes]) -> bytes:
    """The parts that follow the first one of a multipart, and its end."""
    return b"".join([b"\r\n--" + boundary + b"\r\n" + part for part in parts]) + b"\r\n--" + boundary + b"--\r\n"


def _boundaries(draft: Draft) -> list[tuple[bytes, int]]:
    """Every boundary of the personal part, with how often it begins a line there."""
    static = b"|".join(entry for entry in draft.order if isinstance(entry, bytes))
    boundaries = dict.fromkeys(re.findall(rb'boundary="([^"]+)"', static))
    return [(boundary, static.count(b"\r\n--" + boundary)) for boundary in boundaries]
