"""Send message: one form, from a list and a text to a job that waits at the gate, or only to a look at it.

Nothing is sent by this form: its job waits at the gate however small it is. What is wrong is said at its field, and what was
written stays, whatever hinders it. Files do not: no browser lets a page fill a file field, so they have to be chosen again.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from postroom.bounded.spool import keep, spool
from postroom.domain.access import Actor
from postroom.domain.table import OPTED_OUT_ROWS, Choices
from postroom.doors.door import NUMBER_MAX, AtDoor, Door
from postroom.doors.uploads import RECIPIENTS, Parts, read_parts
from postroom.doors.web.preview import seen
from postroom.doors.web.rendering import account_page
from postroom.doors.web.session import Acting, AtEntrance, Forged, Session, SignedIn
from postroom.errors import Conflict, Fault, InvalidInput, PostroomError, TooMany, Unavailable
from postroom.flow.account.gateways import gateways
from postroom.flow.audience.list_file import ListFile
from postroom.flow.content.preparing import FILES_BYTES_MAX, FILES_MAX, Content, Submission, own_header
from postroom.flow.job.report import content_of, gateway_of, read_as, report
from postroom.flow.job.submit import IdempotencyKey, submit
from postroom.flow.preview.look import framed, preview_draft

ENCODINGS = {"utf-8": "UTF-8, or as the file says", "cp1252": "Windows-1252 (Western European)",
             "cp1250": "Windows-1250 (Central European)", "cp1251": "Windows-1251 (Cyrillic)", "utf-16": "UTF-16",
             "shift_jis": "Shift JIS"}
BODY_FORMATS = {"html": "HTML", "markdown": "Markdown", "mjml": "MJML"}
FIELDS = ("subject", "preheader", "from_name", "from_address", "reply_to", "body_format", "body", "inline_css", "text", "headers",
          "source", "pasted", "encoding", "email_column", "duplicates", "unusable_addresses", "opted_out_rows", "field_policy",
          "gateway", "not_before", "like")
READ_AS = ("encoding", "email_column", "opted_out_rows")
# What a preview calls the places of what is wrong; the form has them on another page.
FIELD_NAMES = {"subject": "Subject", "preheader": "Preheader", "from_name": "From: name", "from_address": "From: address",
               "reply_to": "Reply to", "body": "Body", "text": "Plain text", "attachments": "Attachments", "recipients": "File",
               "pasted": "Addresses", "email_column": "Column of the addresses", "gateway": "Gateway",
               "not_before": "Not before"}
STATUSES = {Conflict: 409, TooMany: 429, Unavailable: 503}
FIELDS_SHOWN = 12  # of each of the first rows
FILE_FIELDS = ("recipients", "attachments")
# The draft's HTML is kept nowhere, so it comes within the page, and its frame inherits what the page may: no script, nothing
# from elsewhere, and no other page in the frame; but inline styles, as messages have them.
LOOK_POLICY = ("default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; form-action 'self'; "
               "frame-ancestors 'none'; base-uri 'none'")

router = APIRouter(include_in_schema=False)


@router.get("/accounts/{account_id}/send")
async def show_form(door: AtDoor, session: SignedIn, actor: Acting,
                    like: Annotated[int | None, Query(ge=1, le=NUMBER_MAX)] = None) -> Response:
    """Empty, or with all that was written for another job."""
    fields = {} if like is None else await _fields_of(door, actor, like)
    return await _form(door, session, actor, fields)


@router.post("/accounts/{account_id}/send")
async def send(request: Request, door: AtDoor, sessions: AtEntrance, session: SignedIn, actor: Acting) -> Response:
    """A form that is sent twice makes one job: its key and what it says make the idempotency key."""
    async with read_parts(request, door.deployment.bounded, actor.account_id) as parts:
        fields = _fields(parts)
        try:
            sessions.check_form(request, session, fields.get("form_token", ""))
        except Forged:
            if not sessions.is_from_here(request):
                raise
            again = Conflict("You signed in again since this form was opened. Nothing was created: press the button once more.")
            return await _form(door, session, actor, fields, again)
        try:
            submission = _submission(actor, fields, parts.files)
            key = _key(fields, parts)
            async with _rows(parts, fields) as rows:
                job = await submit(door.pool, door.deployment, submission, rows, idempotency=key)
        except (InvalidInput, Conflict, TooMany, Unavailable) as error:
            return await _form(door, session, actor, fields, error)
    return RedirectResponse(f"/accounts/{actor.account_id}/jobs/{job.id}", 303)


@router.post("/accounts/{account_id}/send/preview")
async def look(request: Request, door: AtDoor, sessions: AtEntrance, session: SignedIn, actor: Acting) -> Response:
    """The first recipient's message, on a page of its own: the form stays on its page, with its files, and there is no other one,
    whatever is wrong. Creates nothing."""
    async with read_parts(request, door.deployment.bounded, actor.account_id) as parts:
        fields = _fields(parts)
        sessions.check_form(request, session, fields.get("form_token", ""))
        try:
            submission = _submission(actor, fields, parts.files)
            async with _rows(parts, fields) as rows:
                shown = await preview_draft(door.pool, door.deployment, submission, rows, 1)
        except InvalidInput as error:
            return await account_page(door, session, actor, "draft_faults.html", status=422,
                                      faults=[(FIELD_NAMES.get(_place_of(one), ""), one) for one in error.faults])
    answer = await account_page(door, session, actor, "draft.html", html=await framed(shown),
                                fields_max=FIELDS_SHOWN, **seen(shown))
    answer.headers["Content-Security-Policy"] = LOOK_POLICY
    return answer


def _fields(parts: Parts) -> dict[str, str]:
    return {name: part.text() for name, part in parts.named.items() if name != RECIPIENTS}


async def _fields_of(door: Door, actor: Actor, job_id: int) -> dict[str, str]:
    """What was written for a job, as the form has it. Raises NotFound."""
    job, content = (await report(door.pool, actor, job_id)).job, await content_of(door.pool, actor, job_id)
    body_format, body = next(((name, body) for name in BODY_FORMATS if (body := getattr(content, name))), ("", ""))
    return {
        "like": str(job_id), "source": "job",
        "subject": content.subject, "preheader": content.preheader, "from_name": content.from_name,
        "from_address": content.from_address, "reply_to": content.reply_to or "", "body_format": body_format, "body": body,
        "text": content.text or "", "headers": "\n".join(f"{name}: {value}" for name, value in content.headers),
        "inline_css": "yes" if content.inline_css else "no", "duplicates": job.duplicates,
        "unusable_addresses": job.unusable_addresses, "field_policy": job.field_policy,
        "gateway": (await gateway_of(door.pool, actor, job_id)).name,
        "not_before": f"{job.not_before:%Y-%m-%dT%H:%M}" if job.not_before else "",
        **await read_as(door.pool, actor, job_id)}


async def _form(door: Door, session: Session, actor: Actor, fields: Mapping[str, str],
                error: PostroomError | None = None) -> Response:
    """With what was written so far, and what is wrong with it."""
    faults = error.faults if isinstance(error, InvalidInput) else () if error is None else (Fault(str(error)),)
    by_field: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_field[_place_of(fault)].append(fault)
    if faults and not any(str(error).startswith(fault.message) for fault in faults):
        by_field["message"].append(Fault(str(error)))  # it says more than they do: how the list was read, where nobody is left
    values: dict[str, Any] = {name: fields.get(name, "") for name in FIELDS}
    return await account_page(
        door, session, actor, "send.html", status=STATUSES.get(type(error), 422) if error else 200, values=values,
        faults=by_field, fault_count=len(faults), gateways=await gateways(door.pool, actor), encodings=ENCODINGS,
        body_formats=BODY_FORMATS, files_max=FILES_MAX, files_mib_max=FILES_BYTES_MAX // 2**20, now=datetime.now(UTC),
        form_key=fields.get("form_key") or secrets.token_urlsafe(12))


def _place_of(fault: Fault) -> str:
    """The field of the form at which a fault is said; "message" for one of the whole, which is said above them all."""
    if fault.row is not None:  # rows are those of the list, whatever the field is called inside
        return "recipients"
    if fault.field in BODY_FORMATS:
        return "body"
    return fault.field if fault.field in FIELDS + FILE_FIELDS else "message"


def _submission(actor: Actor, fields: Mapping[str, str], files: tuple[tuple[str, bytes], ...]) -> Submission:
    """Raises InvalidInput with every field that holds what no text may."""
    faults = tuple(Fault("The text contains a NUL character.", name) for name, value in fields.items() if "\0" in value)
    if faults:
        raise InvalidInput(faults[0].message, faults=faults)
    body_format = fields.get("body_format") or "html"
    if body_format not in BODY_FORMATS:
        raise InvalidInput(f"A body is written as one of {', '.join(BODY_FORMATS.values())}.", field="body_format")
    body = {body_format: fields.get("body") or None}
    content = Content(
        subject=fields.get("subject", ""), preheader=fields.get("preheader", ""), html=body.get("html"),
        markdown=body.get("markdown"), mjml=body.get("mjml"), text=fields.get("text") or None,
        from_address=fields.get("from_address", "").strip(), from_name=fields.get("from_name", "").strip(),
        reply_to=fields.get("reply_to", "").strip() or None, inline_css=fields.get("inline_css") != "no",
        headers=tuple(own_header(one) for one in fields.get("headers", "").splitlines() if one.strip()))
    like = _like(fields)
    return Submission(
        actor, content, duplicates=fields.get("duplicates") or "exclude",
        unusable_addresses=fields.get("unusable_addresses") or "exclude", gateway=fields.get("gateway") or None,
        not_before=_not_before(fields.get("not_before")), field_policy=fields.get("field_policy") or "fail", files=files,
        waits_at_gate=True, list_of=like if fields.get("source") == "job" else None, corrects=like,
        read_as={name: fields[name] for name in READ_AS if fields.get(name)})


def _like(fields: Mapping[str, str]) -> int | None:
    """The job that is changed."""
    like = fields.get("like", "")
    if not like and fields.get("source") != "job":
        return None
    if not (like.isascii() and like.isdecimal() and int(like) <= NUMBER_MAX):
        raise InvalidInput("The form does not say whose recipients are meant. Choose a file, or paste their addresses.",
                           field="recipients")
    return int(like)


def _not_before(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput(f'"{value}" is no time; a time looks like 2026-03-31T09:00.', field="not_before") from None


@contextlib.asynccontextmanager
async def _rows(parts: Parts, fields: Mapping[str, str]) -> AsyncIterator[ListFile | None]:
    """The list, for as long as the block lasts; None for the contacts, or for the list of another job."""
    opted_out_rows = fields.get("opted_out_rows") or OPTED_OUT_ROWS[0]
    if opted_out_rows not in OPTED_OUT_ROWS:
        raise InvalidInput(f'"opted_out_rows" is one of {", ".join(OPTED_OUT_ROWS)}.', field="opted_out_rows")
    choices = Choices(fields.get("email_column", "").strip() or None, opted_out_rows)
    source = fields.get("source") or "file"
    listed = parts.named.get(RECIPIENTS)
    if listed is not None and listed.size and source != "file":
        raise InvalidInput("A file is chosen as well. Send to it with “From a file”, or choose none.", field="recipients")
    if fields.get("pasted", "").strip() and source != "pasted":
        raise InvalidInput("Addresses are pasted as well. Send to them with “Pasted below”, or empty this field.", field="pasted")
    if source in ("contacts", "job"):
        yield None
    elif source == "pasted":
        if not fields.get("pasted", "").strip():
            raise InvalidInput("Paste the addresses here, or choose a file.", field="pasted")
        async with spool() as file:
            keep(file, fields["pasted"].encode(), whole=True)
            yield ListFile(file, "pasted", choices=choices)
    elif listed is None or listed.file is None or not listed.size:
        raise InvalidInput("Choose a file with the recipients, or paste their addresses, or send to the contacts.",
                           field="recipients")
    else:
        yield ListFile(listed.file, "table", fields.get("encoding") or "utf-8", choices)


def _key(fields: Mapping[str, str], parts: Parts) -> IdempotencyKey | None:
    """Sent again after an edit it is another request, so what was asked is part of the key."""
    if not fields.get("form_key"):
        return None
    listed = parts.named.get(RECIPIENTS)
    asked = hashlib.sha256(parts.digest_of_files() + (listed.digest if listed else b""))
    for name in FIELDS:
        asked.update(f"{name}={len(fields.get(name, ''))}:{fields.get(name, '')}\n".encode())
    return IdempotencyKey(f"form {fields['form_key'][:32]} {asked.hexdigest()}", asked.digest())
