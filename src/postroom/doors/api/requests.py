"""What a program asks for when it creates a job: the shapes, and how a request becomes a submission and rows.

    application/json      message, options and up to 10,000 recipients in one body
    multipart/form-data   `message` (the same JSON without recipients); `recipients`, a file of any number of rows: CSV, a
                          workbook or NDJSON; and the files, each a part `attachment`

Both are streamed to disk, and the JSON is read where nobody waits for it (`Deployment.bounded`).
"""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, BinaryIO, Literal, TypeVar

from fastapi import Depends, Header
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError, from_json
from starlette.exceptions import HTTPException
from starlette.requests import Request

from postroom.bounded.spool import keep, spool
from postroom.domain.access import Actor
from postroom.domain.table import Choices
from postroom.doors.api.problems import ERRORS_MAX
from postroom.doors.uploads import ATTACHMENT, RECIPIENTS, REQUEST, Part, read_body, read_parts
from postroom.errors import InvalidInput, storable
from postroom.flow.account.deployment import Deployment
from postroom.flow.audience.list_file import ListFile
from postroom.flow.content.preparing import FILES_BYTES_MAX, FILES_MAX, HEADERS_MAX, MESSAGE, Content, Submission
from postroom.flow.job.submit import IDEMPOTENCY_KEY_MAX, IdempotencyKey

JSON_BODY_BYTES_MAX = 8 * 2**20 + FILES_BYTES_MAX * 4 // 3  # message and list, parsed several times that; and files in base64
JSON_RECIPIENTS_MAX = 10_000
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
                "application/jsonlines")
NDJSON_SUFFIXES = (".ndjson", ".jsonl")

M = TypeVar("M", bound="JobOptions")


class BodyInvalid(Exception):
    """The JSON does not have the shape of a new job; `errors` are pydantic's."""

    def __init__(self, errors: list[Any]) -> None:
        super().__init__("the body is not valid")
        self.errors = errors


def _storable(value: str) -> str:
    try:
        return storable(value, "text")
    except InvalidInput as error:
        raise ValueError(str(error)) from None


Text = Annotated[str, AfterValidator(_storable)]
Line = Annotated[Text, Field(max_length=1_000)]


class Strict(BaseModel):
    """An unknown key is a mistake and is said, never ignored."""

    model_config = ConfigDict(extra="forbid")


def _from_base64(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("the content of a file is text, in base64")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise ValueError("this is not base64 (RFC 4648, section 4: padded, and no line breaks)") from None


def _spelt(value: object) -> object:
    """pydantic would take a number for the seconds, or the milliseconds, since 1970. A plus before the zone arrives as a space
    where a URL has it as it is."""
    if not (isinstance(value, str) and re.match(r"[0-9]{4}-", value)):
        raise PydanticCustomError("datetime_parsing", "a time is needed")
    return re.sub(r"(:[0-9.]+) ([0-9]{2}:?[0-9]{2})$", r"\1+\2", value)


Time = Annotated[AwareDatetime, BeforeValidator(_spelt)]


class From(Strict):
    address: Line
    name: Line = ""


class File(Strict):
    """A file that goes with the message. An image that the HTML names as `cid:` and its name is shown there instead."""

    name: Text
    content: Annotated[bytes, BeforeValidator(_from_base64), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]


class Message(Strict):
    """`subject`, `preheader` and the bodies are Liquid templates over the recipient's fields. The body is one of `html`,
    `markdown` and `mjml`, or `text`, or one of the three and `text`; without `text` one is made from the HTML.
    """

    subject: Text
    preheader: Annotated[Text, Field(description="Shown beside the subject in a list of messages; needs an HTML body.")] = ""
    html: Text | None = None
    markdown: Text | None = None
    mjml: Text | None = None
    text: Text | None = None
    inline_css: Annotated[bool, Field(strict=True, description=(
        "Write what style sheets say into the elements too, for mail readers that know no sheets."))] = True
    from_: Annotated[From, Field(alias="from")]
    reply_to: Line | None = None
    headers: Annotated[dict[str, Text], Field(max_length=HEADERS_MAX, description=(
        "Header fields of your own, by name; the same for everyone, without merge fields. Names that begin with X-, those that "
        "providers read, such as X-SES-CONFIGURATION-SET, and a few more; what Postroom writes itself, or what may change who "
        "gets the message, is refused."))] = {}
    attachments: Annotated[list[File], Field(
        max_length=FILES_MAX,
        description=f"At most {FILES_MAX} files, {FILES_BYTES_MAX // 2**20} MiB together, each by another name. An image that "
                    "the HTML names, such as <img src=\"cid:logo.png\">, is shown there; every other file is one to save.")] = []


class ListedRecipient(Strict):
    """One recipient. Whether the address can be mailed is decided for each, and said in the job."""

    email: str | None = None
    fields: dict[str, str | int | float | bool | None] | None = None


class JobOptions(Strict):
    """`not_before` is a time with its zone. `gateway` is a name; without it the account's first."""

    message: Message
    contacts: Annotated[bool, Field(strict=True, description="Send to all contacts of the account, in place of a list.")] = False
    duplicates: Literal["exclude", "skip", "send"] = "exclude"
    unusable_addresses: Literal["exclude", "fail"] = "exclude"
    field_policy: Annotated[Literal["fail", "refuse", "blank"], Field(
        description="Where a field that the message prints is blank for a recipient: fail them, without a message; refuse the "
                    "job; or leave it blank. Recipients whose message cannot be made at all fail, or refuse the job.")] = "fail"
    email_column: Annotated[Line | None, Field(
        description="The heading of the file's column of addresses, where it is not found by itself.")] = None
    opted_out_rows: Annotated[Literal["exclude", "send"], Field(
        description="Rows of a file whose own column says that they are not to be mailed (unsubscribed, bounced, cleaned, opted "
                    "out): leave them out, or send to them all the same.")] = "exclude"
    gateway: Line | None = None
    not_before: Time | None = None


class NewJob(JobOptions):
    """The whole request in JSON; give either `recipients` or `contacts`."""

    # The rows themselves are read by the same code as those of a file, so that both are refused in the same words.
    recipients: Annotated[list[SkipValidation[ListedRecipient]] | None, Field(max_length=JSON_RECIPIENTS_MAX)] = None


MESSAGE_EXAMPLE: dict[str, Any] = {
    "subject": "Spring courses, {{ name | default: 'there' }}", "preheader": "What is new, and how to take part",
    "html": "<p><img src=\"cid:dot.gif\" alt=\"\"> Hello {{ name | default: 'there' }},</p>",
    "text": "Hello {{ name | default: 'there' }},\n...", "from": {"address": "club@example.com", "name": "The club"},
    "reply_to": "office@example.com", "headers": {"X-Campaign": "spring"},
    "attachments": [{"name": "dot.gif", "content": "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"}]}
NEW_JOB_EXAMPLE: dict[str, Any] = {
    "message": MESSAGE_EXAMPLE,
    "recipients": [{"email": "zoe@example.com", "fields": {"name": "Zoë"}}, {"email": "li@example.com", "fields": {}}],
    "duplicates": "exclude", "unusable_addresses": "exclude", "opted_out_rows": "exclude", "field_policy": "fail"}


# What the description of the API says of a body that a route reads by itself.
_SHAPES, _DEFINITIONS = models_json_schema([(NewJob, "validation"), (JobOptions, "validation")],
                                           ref_template="#/components/schemas/{model}")
SCHEMAS: dict[str, Any] = _DEFINITIONS["$defs"]


def openapi_of_new_job() -> dict[str, Any]:
    """The request body in OpenAPI's words; what it refers to is in SCHEMAS."""
    csv = "email,name\nzoe@example.com,Zoë\n"
    form = {"type": "object", "required": ["message"], "properties": {
        "message": _SHAPES[JobOptions, "validation"],
        "recipients": {"type": "string", "format": "binary", "description":
                       "CSV (with an optional charset, else UTF-8) or a workbook (xlsx, xls, ods), with a row of headings, one "
                       "of them of the addresses; or NDJSON by its type or name, each line an object with email and fields."},
        ATTACHMENT: {"type": "array", "maxItems": FILES_MAX, "items": {"type": "string", "format": "binary"}, "description":
                     "The files that go with the message, each a part of this name with the file's own name; as attachments "
                     "in the message, and beside those."}}}
    return {"requestBody": {"required": True, "content": {
        "application/json": {"schema": _SHAPES[NewJob, "validation"], "example": NEW_JOB_EXAMPLE},
        "multipart/form-data": {
            "schema": form, "encoding": {"message": {"contentType": "application/json"},
                                                   "recipients": {"contentType": "text/csv, application/x-ndjson, */*"},
                                                   ATTACHMENT: {"contentType": "*/*"}},
            "example": {"message": {"message": MESSAGE_EXAMPLE}, "recipients": csv}}}}}


@dataclass(frozen=True, slots=True)
class Asked:
    """`rows` None: the contacts. `fingerprint` covers everything that was asked for."""

    submission: Submission
    rows: ListFile | None
    fingerprint: bytes


@contextlib.asynccontextmanager
async def asked_for(request: Request, deployment: Deployment, actor: Actor) -> AsyncIterator[Asked]:
    """Reads the request; the rows are good within. Raises BodyInvalid, InvalidInput, TooMany, HTTPException 400, 413, 415."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    runs, account_id = deployment.bounded, actor.account_id
    otherwise = "Send the recipients as a file, with multipart/form-data."
    if content_type == "application/json":
        async with spool() as listed:
            async with read_body(request, bytes_max=JSON_BODY_BYTES_MAX, otherwise=otherwise) as body:
                submission, has_list, fingerprint = await runs.run(
                    account_id, REQUEST.on(body), _read, body, listed, actor)
            yield Asked(submission, ListFile(listed, "records") if has_list else None, fingerprint)
    elif content_type == "multipart/form-data":
        async with read_parts(request, deployment.bounded, account_id) as parts:
            if unknown := parts.named.keys() - {"message", RECIPIENTS}:
                raise InvalidInput(f'There is a part "{min(unknown)}"; those of a job are "message", "recipients" and '
                                   f'"{ATTACHMENT}".')
            if "message" not in parts.named:
                raise InvalidInput('The part "message" is missing: the JSON of the job without its recipients.', field="message")
            listed_part = parts.named.get(RECIPIENTS)
            digest = parts.digest_of_files()
            if listed_part is not None:
                digest = f"{listed_part.content_type};{listed_part.charset};".encode() + listed_part.digest + digest
            submission, choices, fingerprint = await runs.run(
                account_id, MESSAGE, _read_options, parts.named["message"].content, listed_part is not None, parts.files,
                digest, actor)
            yield Asked(submission, _list_of(listed_part, choices), fingerprint)
    else:
        raise HTTPException(415, "Send a job as application/json, or as multipart/form-data with a file of recipients.")


def _read(body: BinaryIO, listed: BinaryIO, actor: Actor) -> tuple[Submission, bool, bytes]:
    """(what is asked for, whether there is a list, the fingerprint); the recipients are written to `listed`, one on each line."""
    written = _json(body.read())
    new = _valid(NewJob, written)
    if (new.recipients is not None) == new.contacts:
        raise InvalidInput('Give either "recipients" or "contacts": true.', field="recipients")
    _check_choices(new.email_column, None)
    for one in new.recipients or ():
        keep(listed, json.dumps(one).encode() + b"\n")
    keep(listed, b"", whole=True)
    return _submission(new, actor), new.recipients is not None, _fingerprint(written)


def _read_options(message: bytes, has_list: bool, files: tuple[tuple[str, bytes], ...], digest: bytes,
                  actor: Actor) -> tuple[Submission, Choices, bytes]:
    """(what is asked for, how the list is read, the fingerprint). `digest` is that of the other parts."""
    written = _json(message)
    options = _valid(JobOptions, written)
    if has_list == options.contacts:
        raise InvalidInput('Give either a part "recipients" or "contacts": true.', field="recipients")
    choices = Choices(options.email_column, options.opted_out_rows)
    return _submission(options, actor, files), choices, _fingerprint(written, digest)


def _json(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise HTTPException(400, f"The body is not valid JSON: {error}.") from None


def _valid(shape: type[M], body: Any) -> M:
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        some = error.errors(include_url=False, include_input=False)[:ERRORS_MAX]
        raise BodyInvalid([{**one, "loc": ("body", *one["loc"])} for one in some]) from None


def _list_of(part: Part | None, choices: Choices) -> ListFile | None:
    """A table unless its type or its name says NDJSON: what clients call a table says little, and its octets say which it is."""
    form: Literal["table", "ndjson"] | None = None
    if part is not None:
        is_named = part.content_type != "text/csv" and PurePath(part.filename or "").suffix.lower() in NDJSON_SUFFIXES
        form = "ndjson" if is_named or part.content_type in NDJSON_TYPES else "table"
    _check_choices(choices.email_column, form)
    if part is None or form is None:
        return None
    assert part.file is not None, "this part is spooled"
    return ListFile(part.file, form, part.charset or "utf-8", choices)


def _check_choices(email_column: str | None, form: str | None) -> None:
    if email_column is not None and form != "table":
        raise InvalidInput('"email_column" chooses a column of a table; these recipients are none.', field="email_column")


def _submission(options: JobOptions, actor: Actor, files: tuple[tuple[str, bytes], ...] = ()) -> Submission:
    message = options.message
    content = Content(
        subject=message.subject, preheader=message.preheader, html=message.html, markdown=message.markdown, mjml=message.mjml,
        text=message.text, from_address=message.from_.address, from_name=message.from_.name, reply_to=message.reply_to,
        inline_css=message.inline_css, headers=tuple(message.headers.items()))
    return Submission(
        actor, content, duplicates=options.duplicates, unusable_addresses=options.unusable_addresses,
        gateway=options.gateway, not_before=options.not_before, field_policy=options.field_policy,
        files=(*((file.name, file.content) for file in message.attachments), *files))


def _fingerprint(body: Any, rest: bytes = b"") -> bytes:
    """Of what was asked, not of how it was spelt: white space and the order of keys do not count."""
    spelt = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(len(spelt).to_bytes(8, "big") + spelt + rest).digest()


async def _key(given: Annotated[str | None, Header(alias="Idempotency-Key", description=(
        f"1 to {IDEMPOTENCY_KEY_MAX} printable ASCII characters, in quotation marks or without: the same request with the same "
        "key is carried out once."))] = None) -> str | None:
    """The Idempotency-Key, quoted as the draft has it or bare as most send it. Raises InvalidInput."""
    if given is None:
        return None
    key = given.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = re.sub(r"\\(.)", r"\1", key[1:-1])
    if not key or len(key) > IDEMPOTENCY_KEY_MAX or not key.isascii() or not key.isprintable():
        raise InvalidInput(f"The Idempotency-Key has 1 to {IDEMPOTENCY_KEY_MAX} printable ASCII characters.",
                           field="Idempotency-Key")
    return key


Key = Annotated[str | None, Depends(_key)]


def bound_to(key: str | None, asked: Asked) -> IdempotencyKey | None:
    return None if key is None else IdempotencyKey(key, asked.fingerprint)


def bound_to_body(key: str | None, request: Request, body: BaseModel) -> IdempotencyKey | None:
    """The key of a request whose address and body say everything."""
    return None if key is None else IdempotencyKey(key, _fingerprint([request.url.path, body.model_dump(mode="json")]))
