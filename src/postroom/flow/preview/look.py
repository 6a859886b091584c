"""A look at the message of one recipient, as it goes out or went out: of a job, or of a draft before there is one.

The bytes are made by the code that makes them for the gateway, signatures included; what is shown is read back from them by
a reader of mail, never the other way round. A job that has not started is shown as it would go out now. Nothing is written
and nothing is sent.

Fails softly: a recipient who gets no message has a `reason`; keys that cannot be used here leave the message unsigned, and
`note` says so. InvalidInput for a draft that could not be submitted, NotFound for a recipient that is not there.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from itertools import chain, islice

import msgspec

from postroom.domain.access import Actor, Right
from postroom.domain.audience import IncomingRow, Remarks, Unreadable
from postroom.domain.outcome import Evidence
from postroom.errors import InvalidInput, NotFound
from postroom.flow.account.acting import permitted
from postroom.flow.account.deployment import Deployment, NotSetUp
from postroom.flow.account.domains import OpenedKey
from postroom.flow.audience.intake import reading, rows_of
from postroom.flow.content.outgoing import (
    Writer,
    bodies_of,
    compile_job,
    content_of,
    decode_fields,
    files_of,
    keys_of,
    made,
)
from postroom.flow.content.preparing import MESSAGE, Submission, draft, prepare
from postroom.flow.content.remarks import remarks
from postroom.ledger.audience import contacts
from postroom.ledger.content import contents
from postroom.ledger.content.contents import JobContent
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import recipients
from postroom.ledger.job.recipients import RecipientRow
from postroom.message.render.compile import BlankFields
from postroom.message.wire.address import AddressRefused, envelope, parse_address
from postroom.message.wire.headers import Unrenderable

# Characters of images in a frame, where each stands as often as it is shown: enough for every file of a message once.
IMAGES_MAX = 16 * 2**20
FIRST_ROWS = 5

_CID = re.compile(r"cid:([0-9a-f]+@postroom)", re.IGNORECASE)  # as `message/prepare/attachment.py` makes them


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as it stands in the message. With a `content_id` it is an image that the HTML shows."""

    name: str
    content_type: str
    octets: bytes = field(repr=False)
    content_id: str = ""

    @property
    def size(self) -> int:
        return len(self.octets)


@dataclass(frozen=True, slots=True)
class Preview:
    """What one recipient gets. With a `reason` there is no message, and this is why.

    `blank` are printed fields that are blank for this recipient, `unknown` those that it does not have at all; `remarks` are on
    the message, whoever gets it. `source` is the message to the byte; `sender` is its From. Of a draft's list there are the
    `first_rows`, and the `list_remarks` so far. `headers` are the job's own fields.
    """

    position: int
    address: str
    subject: str = ""
    sender: str = ""
    html: str | None = None
    text: str | None = None
    source: bytes = field(default=b"", repr=False)
    files: tuple[SeenFile, ...] = ()
    blank: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    reason: str | None = None
    note: str | None = None
    first_rows: tuple[IncomingRow, ...] = ()
    list_remarks: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


async def framed(shown: Preview) -> str:
    """The HTML for a frame that may fetch nothing: images of the message itself are put into it, as far as there is room."""
    return await asyncio.to_thread(_framed, shown.html or "", shown.files)


def _framed(html: str, files: Iterable[SeenFile]) -> str:
    images = {one.content_id: f"data:{one.content_type};base64,{b64encode(one.octets).decode()}"
              for one in files if one.content_id}
    room = IMAGES_MAX

    def put_in(found: re.Match[str]) -> str:
        nonlocal room
        image = images.get(found[1])
        if image is None or len(image) > room:
            return found[0]
        room -= len(image)
        return image

    return _CID.sub(put_in, html)


async def framed_for_everyone(pool: Pool, actor: Actor, job_id: int) -> str:
    """The HTML of a job with its merge fields, for the same kind of frame. Raises NotFound."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        stored = await contents.job_content(conn, account_id, job_id)
        octets = await files_of(conn, stored)
    html = bodies_of(stored).html or ""
    return await asyncio.to_thread(_framed, html, [SeenFile(one.name, one.content_type, octets[one.digest], one.content_id)
                                                   for one in content_of(stored).attachments])


async def preview(pool: Pool, deployment: Deployment, actor: Actor, job_id: int, position: int) -> Preview:
    """The message of the recipient at `position` of a job's list, whatever became of it. Raises NotFound."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        stored = await contents.job_content(conn, account_id, job_id)
        row = await recipient_at(conn, account_id, job_id, position)
        files = await files_of(conn, stored)
    if row.evidence == Evidence.FREEZE:
        return Preview(position, row.address, reason=row.reply)
    return await _look(pool, deployment, stored, files, position, row.address, row.fields)


async def preview_draft(pool: Pool, deployment: Deployment, submission: Submission, rows: Iterable[IncomingRow] | None,
                        position: int) -> Preview:
    """The message of the row at `position` of a list (None: of another job's list where the submission names one, else of the
    account's contacts), before there is a job.

    Reads no further than that row and the first few, and leaves nobody out. Raises InvalidInput for what `submit` would refuse of
    the message, template errors with line and column among it; NotFound.
    """
    account_id = permitted(submission.actor, Right.WRITE_JOBS)
    prepared = await deployment.bounded.run(account_id, MESSAGE, prepare, submission)
    async with pool.connection() as conn:
        stored = await draft(conn, deployment, submission, prepared)
        if rows is None and submission.list_of is not None:
            row = await recipient_at(conn, account_id, submission.list_of, position)
            read = _Read((row.address, row.fields))
        elif rows is None:
            contact = await contacts.contact_at(conn, account_id, position)
            read = _Read(contact)
    if rows is not None:
        read = await deployment.bounded.run(account_id, reading(rows), _read_to, rows, position)
    if read.contact is None:
        raise InvalidInput(f"The list has no recipient {position:,}: it ends before that.", field="position")
    address, fields = read.contact
    try:
        address = parse_address(address).address
        shown = await _look(pool, deployment, stored, prepared.files, position, address, fields)
    except AddressRefused as refused:
        shown = Preview(position, address, reason=str(refused))
    return replace(shown, first_rows=read.first_rows, list_remarks=read.remarks)


async def recipient_at(conn: Connection, account_id: int, job_id: int, position: int) -> RecipientRow:
    """Raises NotFound."""
    rows = await recipients.page_of_recipients(conn, account_id, job_id, recipient_class=None, after=position - 1, limit=1)
    if not rows or rows[0].position != position:
        raise NotFound(f"Job {job_id} has no recipient {position:,}.")
    return rows[0]


@dataclass(frozen=True, slots=True)
class _Read:
    """A list up to a row: that row's address and fields, the first rows, and what is remarked so far."""

    contact: tuple[str, str] | None
    first_rows: tuple[IncomingRow, ...] = ()
    remarks: tuple[str, ...] = ()


def _read_to(rows: Iterable[IncomingRow], position: int) -> _Read:
    remarks = Remarks()
    reading = rows_of(rows, remarks)
    try:
        first = tuple(islice(reading, FIRST_ROWS))
        row = next(islice(chain(first, reading), position - 1, None), None)
        contact = None if row is None else (row.address, msgspec.json.encode(row.fields).decode())
        return _Read(contact, first, remarks.told())
    except Unreadable as error:
        raise InvalidInput(str(error), row=error.row, column=error.column) from None
    except UnicodeEncodeError:
        raise InvalidInput(f"Recipient {position:,} holds half a character (a lone surrogate).", field="recipients") from None
    finally:
        if isinstance(reading, Generator):
            reading.close()  # it lets go of its file, which whoever opened it closes next


async def _look(pool: Pool, deployment: Deployment, stored: JobContent, files: dict[str, bytes], position: int, address: str,
                fields: str) -> Preview:
    keys: tuple[OpenedKey, ...] | None = None
    note = None
    try:
        async with pool.connection() as conn:
            keys = await keys_of(conn, deployment, stored)
    except NotSetUp as error:
        note = f"Shown without its signature, which cannot be made here: {error}"
    return await deployment.bounded.run(
        stored.account_id, MESSAGE, _written, stored, files, keys, position, address, fields, note)


def _written(stored: JobContent, files: dict[str, bytes], keys: tuple[OpenedKey, ...] | None, position: int, address: str,
             fields: str, note: str | None) -> Preview:
    """Without `keys` as it would be unsigned."""
    writer = Writer(compile_job(stored, files), None) if keys is None else Writer(*made(stored, files, keys))
    fails_blanks = stored.field_policy != "blank"
    message, blank, content = writer.message, set[str](), content_of(stored)
    columns = decode_fields(fields).keys()
    unknown = message.names - columns
    try:
        source = writer.write(envelope(address), address, position, fields, blank) + message.tail
        reason = f"The message cannot be made: {BlankFields(blank)}" if blank and fails_blanks else None
    except (Unrenderable, InvalidInput, ValueError) as error:
        source, reason = b"", f"The message cannot be made: {error}"
    shown = Preview(position, address, blank=tuple(sorted(blank - unknown)), unknown=tuple(sorted(unknown)), reason=reason,
                    note=note)
    if not reason:
        shown = _read_back(shown, source, [name for name, _ in content.headers])
    return replace(shown, remarks=tuple(one.about for one in remarks(content, shown.html).findings(columns)))


def _read_back(shown: Preview, source: bytes, own: Sequence[str]) -> Preview:
    """With what a reader finds in the bytes; `own` are the names of the job's own header fields."""
    message = message_from_bytes(source, policy=policy.default)
    assert isinstance(message, EmailMessage)
    header = {name: _decoded(str(value)) for name, value in message.raw_items()}
    bodies: dict[str, str] = {}
    files = []
    for part in message.walk():
        if part.is_multipart():
            continue
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)
        if part.get_content_disposition() is None:
            bodies[part.get_content_type()] = octets.decode("utf-8").replace("\r\n", "\n")
        else:
            content_id = str(part["Content-ID"] or "").strip("<>")
            files.append(SeenFile(part.get_filename() or "", part.get_content_type(), octets, content_id))
    return Preview(
        shown.position, shown.address, header["Subject"], header["From"], bodies.get("text/html"), bodies.get("text/plain"),
        source, tuple(files), shown.blank, shown.unknown, note=shown.note, headers=tuple((name, header[name]) for name in own))


def _decoded(value: str) -> str:
    """A header's value as a person reads it. The library's newer decoder parts encoded words with white space."""
    unfolded = value.replace("\r\n", "")
    return str(make_header(decode_header(unfolded))) if "=?" in unfolded else unfolded
