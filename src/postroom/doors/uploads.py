"""Large requests: the body goes to a file on disk as it arrives, and is read where nobody waits for it (`Deployment`).

Promises: memory does not grow with the request, and no time is spent on it here but for the copy; the digest of a part is that of
its octets, whatever the boundary between parts was. A file has no name and is gone with the request.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from postroom.bounded.processes import Runs, Work
from postroom.bounded.spool import keep, spool
from postroom.flow.content.preparing import FILES_BYTES_MAX

REQUEST = Work("The request", cpu_s=60)  # the largest takes about twenty
RECIPIENTS = "recipients"  # the part that has no bound of its own, and is kept in a file
ATTACHMENT = "attachment"  # the one name that several parts may have
CHUNK_BYTES = 64 * 1024
PARTS_MAX = 64
SMALL_PART_BYTES_MAX = 2 * 1024 * 1024
SMALL_PARTS_BYTES_MAX = 8 * 1024 * 1024  # together, whatever their names
HEADER_BYTES_MAX = 1024


@dataclass(slots=True)
class Part:
    """One part. That of the RECIPIENTS has its octets in a `file`, which stands at its beginning; any other in `content`."""

    name: str
    filename: str | None
    content_type: str
    charset: str | None
    file: BinaryIO | None = None
    content: bytes = b""
    size: int = 0
    digest: bytes = b""

    def text(self) -> str:
        """Raises HTTPException 422 where the octets are not UTF-8."""
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            raise HTTPException(422, f'The part "{self.name}" is not valid UTF-8.') from None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a request brought: the parts by name, and the attachments, of which there may be several."""

    named: dict[str, Part] = field(default_factory=dict)
    attachments: list[Part] = field(default_factory=list)

    @property
    def files(self) -> tuple[tuple[str, bytes], ...]:
        """Name and octets of each attachment. A form in which no file was chosen sends one with neither: that is none."""
        return tuple((part.filename or "", part.content) for part in self.attachments if part.filename or part.size)

    def digest_of_files(self) -> bytes:
        """SHA-256 over their names and what is in them, in their order."""
        told = [(part.filename, part.digest.hex()) for part in self.attachments]
        return hashlib.sha256(json.dumps(told).encode()).digest()


@contextlib.asynccontextmanager
async def read_parts(request: Request, runs: Runs, account_id: int) -> AsyncIterator[Parts]:
    """The parts of a multipart body. Raises InvalidInput, TooMany, HTTPException 400, 413."""
    boundary = _boundary_of(request)
    async with spool() as listed:
        async with read_body(request) as body:
            parts = await runs.run(account_id, REQUEST.on(body), _parts_of, body, boundary, listed)
        if RECIPIENTS in parts.named:
            listed.seek(0)
            parts.named[RECIPIENTS].file = listed
        yield parts


@contextlib.asynccontextmanager
async def read_body(request: Request, *, bytes_max: int | None = None, otherwise: str = "") -> AsyncIterator[BinaryIO]:
    """The whole body. `otherwise` is what to do where it is larger than `bytes_max`. Raises HTTPException 413."""
    async with spool() as file:
        async for chunk in request.stream():
            if bytes_max is not None and file.tell() + len(chunk) > bytes_max:
                raise HTTPException(413, f"The body is larger than {bytes_max // 2**20} MiB. {otherwise}")
            keep(file, chunk)
        keep(file, b"", whole=True)
        file.seek(0)
        yield file


def _parts_of(body: BinaryIO, boundary: bytes, listed: BinaryIO) -> Parts:
    """The parts; the octets of the RECIPIENTS are written to `listed`."""
    reader = _Reader(listed)
    try:
        parser = MultipartParser(boundary, {
            "on_part_begin": reader.begin, "on_header_field": reader.header_field, "on_header_value": reader.header_value,
            "on_header_end": reader.header_end, "on_headers_finished": reader.headers_finished,
            "on_part_data": reader.data, "on_part_end": reader.part_ended, "on_end": reader.end})
        while chunk := body.read(CHUNK_BYTES):
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"The multipart body cannot be read: {error}.") from None
    if not reader.ended:
        raise HTTPException(400, "The multipart body ends before its last boundary.")
    keep(listed, b"", whole=True)
    return reader.parts


def _boundary_of(request: Request) -> bytes:
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise HTTPException(400, 'The content type is multipart/form-data without a "boundary".')
    return bytes(boundary)


class _Reader:
    """What the parser calls. Headers of a part come in pieces."""

    def __init__(self, listed: BinaryIO) -> None:
        self.parts = Parts()
        self._listed = listed
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._part: Part | None = None
        self._content = bytearray()
        self._digest = hashlib.sha256()
        self._in_memory = 0
        self.ended = False

    def begin(self) -> None:
        self._headers = {}
        if len(self.parts.named) + len(self.parts.attachments) >= PARTS_MAX:
            raise HTTPException(413, f"The request has more than {PARTS_MAX} parts.")

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field = self._bounded(self._field + data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = self._bounded(self._value + data[start:end])

    def _bounded(self, header: bytes) -> bytes:
        if len(header) > HEADER_BYTES_MAX:
            raise HTTPException(400, f"A part has a header of more than {HEADER_BYTES_MAX} octets.")
        return header

    def header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def headers_finished(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition"))
        name = disposition.get(b"name", b"").decode("utf-8", "replace")
        if not name or name in self.parts.named:
            raise HTTPException(400, f'Two parts are named "{name}".' if name else "A part has no name.")
        content_type, options = parse_options_header(self._headers.get(b"content-type"))
        filename = disposition.get(b"filename")
        self._content, self._digest = bytearray(), hashlib.sha256()
        self._part = Part(
            name=name, filename=None if filename is None else filename.decode("utf-8", "replace"),
            content_type=content_type.decode("latin-1").lower(),
            charset=options[b"charset"].decode("latin-1") if b"charset" in options else None)
        if name == ATTACHMENT:
            self.parts.attachments.append(self._part)
        else:
            self.parts.named[name] = self._part

    def data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None, "data comes after the headers"
        taken = memoryview(data)[start:end]
        self._part.size += len(taken)
        self._digest.update(taken)
        if self._part.name == RECIPIENTS:
            keep(self._listed, taken)
            return
        self._content += taken
        if self._part.name == ATTACHMENT:
            if sum(part.size for part in self.parts.attachments) > FILES_BYTES_MAX:
                raise HTTPException(413, f"The attachments are larger than {FILES_BYTES_MAX // 2**20} MiB together.")
        else:
            self._in_memory += len(taken)
            if self._part.size > SMALL_PART_BYTES_MAX:
                raise HTTPException(413, f'The part "{self._part.name}" is larger than {SMALL_PART_BYTES_MAX // 2**20} MiB.')
            if self._in_memory > SMALL_PARTS_BYTES_MAX:
                raise HTTPException(413, f"The parts beside files are larger than {SMALL_PARTS_BYTES_MAX // 2**20} MiB together.")

    def part_ended(self) -> None:
        assert self._part is not None, "it began"
        self._part.content, self._part.digest = bytes(self._content), self._digest.digest()

    def end(self) -> None:
        self.ended = True
