"""Large requests, read as they arrive: small parts and attachments are kept, a recipient list and JSON go to a file on disk.

Promises: memory does not grow with the request; what is too large is refused as soon as that is known; the digest of a part
is that of its octets, whatever the boundary between parts was. A spooled file has no name and is gone with the request.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from typing import IO, Literal

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from postroom.domain.audience import IncomingRow, read_csv, read_ndjson, read_records
from postroom.errors import Unavailable
from postroom.flow.content.preparing import FILES_BYTES_MAX

ATTACHMENT = "attachment"  # the one name that several parts may have
PARTS_MAX = 64
SMALL_PART_BYTES_MAX = 2 * 1024 * 1024
SMALL_PARTS_BYTES_MAX = 8 * 1024 * 1024  # together, whatever their names
HEADER_BYTES_MAX = 1024


@dataclass(slots=True)
class Part:
    """One part. A spooled one has a `file`, which stands at its beginning; any other has its octets in `content`."""

    name: str
    filename: str | None
    content_type: str
    charset: str | None
    file: IO[bytes] | None
    content: bytearray = field(default_factory=bytearray)
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)
        if self.file is not None:
            _write(self.file, data)
        else:
            self.content += data

    def text(self) -> str:
        """Raises HTTPException 422 where the octets are not UTF-8."""
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            raise HTTPException(422, f'The part "{self.name}" is not valid UTF-8.') from None


@dataclass(frozen=True, slots=True)
class ListFile:
    """A recipient list as it came, not read yet: its rows are read by whoever goes through them, in another process perhaps.

    "records" are the JSON objects of a request, one on each line.
    """

    file: IO[bytes]
    form: Literal["csv", "ndjson", "records"]
    encoding: str = "utf-8"

    def __iter__(self) -> Iterator[IncomingRow]:
        """Raises Unreadable."""
        self.file.seek(0)
        match self.form:
            case "csv":
                return read_csv(self.file, encoding=self.encoding)  # type: ignore[arg-type]  # a binary file
            case "ndjson":
                return read_ndjson(self.file)  # type: ignore[arg-type]
            case "records":
                return read_records(map(json.loads, self.file))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a request brought: the parts by name, and the attachments, of which there may be several."""

    named: dict[str, Part] = field(default_factory=dict)
    attachments: list[Part] = field(default_factory=list)

    @property
    def files(self) -> tuple[tuple[str, bytes], ...]:
        """Name and octets of each attachment. A form in which no file was chosen sends one with neither: that is none."""
        return tuple((part.filename or "", bytes(part.content)) for part in self.attachments if part.filename or part.size)

    def digest_of_files(self) -> bytes:
        """SHA-256 over their names and what is in them, in their order."""
        told = [(part.filename, part.digest.hexdigest()) for part in self.attachments]
        return hashlib.sha256(json.dumps(told).encode()).digest()


@contextlib.asynccontextmanager
async def read_parts(request: Request, *, spooled: Collection[str]) -> AsyncIterator[Parts]:
    """The parts; those named in `spooled` on disk. Raises HTTPException 400, 413."""
    parts = Parts()
    with contextlib.ExitStack() as files:
        reader = _Reader(parts, spooled, files)
        try:
            parser = MultipartParser(_boundary_of(request), {
                "on_part_begin": reader.begin, "on_header_field": reader.header_field, "on_header_value": reader.header_value,
                "on_header_end": reader.header_end, "on_headers_finished": reader.headers_finished,
                "on_part_data": reader.data, "on_end": reader.end})
            async for chunk in request.stream():
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise HTTPException(400, f"The multipart body cannot be read: {error}.") from None
        if not reader.ended:
            raise HTTPException(400, "The multipart body ends before its last boundary.")
        for part in parts.named.values():
            if part.file is not None:
                part.file.seek(0)
        yield parts


@contextlib.asynccontextmanager
async def read_body(request: Request, *, bytes_max: int, otherwise: str) -> AsyncIterator[IO[bytes]]:
    """The whole body. `otherwise` is what to do where it is too large. Raises HTTPException 413."""
    with tempfile.TemporaryFile() as file:
        async for chunk in request.stream():
            if file.tell() + len(chunk) > bytes_max:
                raise HTTPException(413, f"The body is larger than {bytes_max // 2**20} MiB. {otherwise}")
            _write(file, chunk)
        file.seek(0)
        yield file


def _write(file: IO[bytes], data: bytes) -> None:
    try:
        file.write(data)
    except OSError as error:
        raise Unavailable(f"The request cannot be kept while it is read: {error.strerror}.") from None


def _boundary_of(request: Request) -> bytes:
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise HTTPException(400, 'The content type is multipart/form-data without a "boundary".')
    return bytes(boundary)


class _Reader:
    """What the parser calls. Headers of a part come in pieces."""

    def __init__(self, parts: Parts, spooled: Collection[str], files: contextlib.ExitStack) -> None:
        self._parts, self._spooled, self._files = parts, spooled, files
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._part: Part | None = None
        self._in_memory = 0
        self.ended = False

    def begin(self) -> None:
        self._headers = {}
        if len(self._parts.named) + len(self._parts.attachments) >= PARTS_MAX:
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
        if not name or name in self._parts.named:
            raise HTTPException(400, f'Two parts are named "{name}".' if name else "A part has no name.")
        content_type, options = parse_options_header(self._headers.get(b"content-type"))
        filename = disposition.get(b"filename")
        self._part = Part(
            name=name, filename=None if filename is None else filename.decode("utf-8", "replace"),
            content_type=content_type.decode("latin-1").lower(),
            charset=options[b"charset"].decode("latin-1") if b"charset" in options else None,
            file=self._files.enter_context(tempfile.TemporaryFile()) if name in self._spooled else None)  # noqa: SIM115 - the stack closes it
        if name == ATTACHMENT:
            self._parts.attachments.append(self._part)
        else:
            self._parts.named[name] = self._part

    def data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None, "data comes after the headers"
        self._part.take(data[start:end])
        if self._part.name == ATTACHMENT:
            if sum(part.size for part in self._parts.attachments) > FILES_BYTES_MAX:
                raise HTTPException(413, f"The attachments are larger than {FILES_BYTES_MAX // 2**20} MiB together.")
        elif self._part.file is None:
            self._in_memory += end - start
            if self._part.size > SMALL_PART_BYTES_MAX:
                raise HTTPException(413, f'The part "{self._part.name}" is larger than {SMALL_PART_BYTES_MAX // 2**20} MiB.')
            if self._in_memory > SMALL_PARTS_BYTES_MAX:
                raise HTTPException(413, f"The parts beside files are larger than {SMALL_PARTS_BYTES_MAX // 2**20} MiB together.")

    def end(self) -> None:
        self.ended = True
