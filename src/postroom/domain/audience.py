"""Reads a recipient list: CSV, newline-delimited JSON, or rows already in memory. Pure: no I/O but the stream handed in.

Promises: a row is read as it stands or the whole list is refused, with the row, the column and what to do; nothing is
repaired or guessed. Memory is one row. Limits: 2,000,000 rows, 200 columns, 64 KiB a row or cell.
Whether an address can be mailed is not decided here: that excludes a row, it does not refuse a list.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import Any, BinaryIO, Literal

ROWS_MAX = 2_000_000
COLUMNS_MAX = 200
ROW_BYTES_MAX = 64 * 1024
NAME_SHOWN_MAX = 60
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1
ADDRESS_COLUMNS = ("email", "e-mail", "email address", "e-mail address", "email_address", "mail", "address")
DELIMITERS = (",", ";", "\t")

Value = str | int | float | bool | None


class Unreadable(ValueError):
    """The list cannot be read. `row` counts from 1, a CSV header included; `column` is its heading."""

    def __init__(self, message: str, *, row: int | None = None, column: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.column = column


@dataclass(frozen=True, slots=True)
class IncomingRow:
    """One row as it came. `address` is raw text, perhaps empty."""

    row_no: int
    address: str
    fields: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class ListFile:
    """A recipient list as it came, not read yet: its rows are read by whoever goes through them, in another process perhaps.

    "records" are the JSON objects of a request, one on each line.
    """

    file: BinaryIO
    form: Literal["csv", "ndjson", "records"]
    encoding: str = "utf-8"

    def __iter__(self) -> Iterator[IncomingRow]:
        """Raises Unreadable."""
        self.file.seek(0)
        match self.form:
            case "csv":
                return read_csv(self.file, encoding=self.encoding)
            case "ndjson":
                return read_ndjson(self.file)
            case "records":
                return read_records(map(json.loads, self.file))


def read_csv(stream: BinaryIO, *, encoding: str = "utf-8") -> Iterator[IncomingRow]:
    """Rows of a CSV file with a header row; the separator is a comma, a semicolon or a tab, as the header shows.

    `stream` must be seekable: on an encoding error it is read again to name the row. Raises `Unreadable`.
    """
    csv.field_size_limit(ROW_BYTES_MAX)
    codec = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        "\n".encode(codec)
    except (LookupError, ValueError):  # a name with a NUL is a ValueError; so is "undefined", which encodes nothing at all
        raise Unreadable(f"{json.dumps(encoding)} is not an encoding that is known here; try utf-8 or cp1252.") from None
    text = io.TextIOWrapper(stream, encoding=codec, errors="strict", newline="")
    try:
        yield from _rows(text)
    except UnicodeError:  # UTF-16 without its mark is no UnicodeDecodeError
        raise _wrong_encoding(stream, encoding) from None
    except csv.Error as error:
        raise Unreadable(f"The file is not readable as CSV: {error}.") from None
    finally:
        if not stream.closed:  # whoever gave up on the list may have closed it first
            text.detach()


def _rows(text: io.TextIOWrapper) -> Iterator[IncomingRow]:
    lines = _lines(text)
    header = next(lines, "")
    if not header.strip():
        raise Unreadable("The file is empty: it needs a header row with an email column, and a row for each recipient.", row=1)
    delimiter = max(DELIMITERS, key=lambda separator: len(next(csv.reader([header], delimiter=separator))))
    records = csv.reader(chain([header], lines), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(records)]
    except csv.Error as error:
        raise Unreadable(_csv_complaint(error, 1), row=1) from None
    address_at = _address_column(columns)
    width = len(columns)
    others = [(at, name) for at, name in enumerate(columns) if at != address_at]
    row_no = 1
    while True:
        try:
            cells = next(records, None)
        except csv.Error as error:
            raise Unreadable(_csv_complaint(error, row_no + 1), row=row_no + 1) from None
        if cells is None:
            return
        row_no += 1
        if not cells:
            continue
        if len(cells) != width:
            raise Unreadable(
                f"Row {row_no} has {len(cells)} cells, but the header has {width} columns. "
                "Check for a missing or an unquoted separator in that row.", row=row_no)
        if row_no > ROWS_MAX + 1:
            raise Unreadable(f"The list has more than {ROWS_MAX:,} rows. Split it into several sends.", row=row_no)
        yield IncomingRow(row_no, cells[address_at], {name: cells[at] for at, name in others})


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines of bounded length, so that one endless line cannot fill the memory."""
    line_no = 0
    while line := text.readline(ROW_BYTES_MAX + 1):
        line_no += 1
        if len(line) > ROW_BYTES_MAX:
            raise Unreadable(f"Line {line_no} is longer than {ROW_BYTES_MAX // 1024} KiB; is this a CSV file?", row=line_no)
        if "\0" in line:
            raise Unreadable(
                f"Line {line_no} contains a NUL byte. The file may be UTF-16 or not a text file; "
                "save it as CSV in UTF-8.", row=line_no)
        yield line


def _address_column(columns: list[str]) -> int:
    if len(columns) > COLUMNS_MAX:
        raise Unreadable(f"The header has {len(columns)} columns; at most {COLUMNS_MAX} are possible.", row=1)
    seen: set[str] = set()
    for number, name in enumerate(columns, start=1):
        if not name:
            raise Unreadable(f"Column {number} has no name in the header row. Give it one or remove it.", row=1)
        if name.casefold() in seen:
            raise Unreadable(f'The header names the column "{name}" twice. Rename one of them.', row=1, column=name)
        seen.add(name.casefold())
    for wanted in ADDRESS_COLUMNS:
        for at, name in enumerate(columns):
            if name.casefold() == wanted:
                return at
    listed = ", ".join(f'"{name}"' for name in columns[:8])
    raise Unreadable(f'No column holds the addresses: the header has {listed}. Name one of them "email".', row=1, column="email")


def _csv_complaint(error: csv.Error, row_no: int) -> str:
    if "field larger" in str(error):
        return (f"Row {row_no} has a cell of more than {ROW_BYTES_MAX // 1024} KiB. "
                "Perhaps a quotation mark is opened there and never closed.")
    return f"Row {row_no} is not readable as CSV: {error}. Check its quotation marks."


def _wrong_encoding(stream: BinaryIO, encoding: str) -> Unreadable:
    """Finds the first line that does not decode, and says what the file may be instead; it never guesses silently."""
    stream.seek(0)
    start = stream.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Unreadable('The file is UTF-16, not UTF-8. Save it as "CSV UTF-8", or name the encoding utf-16.', row=1)
    if "\n".encode(encoding) != b"\n":  # UTF-16 and the like: its lines cannot be told apart in bytes
        return Unreadable(f'The file is not valid {encoding.upper()}. Save it as "CSV UTF-8".')
    stream.seek(0)
    for row_no, line in enumerate(stream, start=1):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            byte = line[error.start]
            shown = line[max(0, error.start - 20) : error.end + 10].decode("cp1252", "replace").strip()
            found = f'Line {row_no} is not valid {encoding.upper()}: byte 0x{byte:02X} near "{shown}".'
            if codecs.lookup(encoding).name != "utf-8":
                return Unreadable(f'{found} Save the file as "CSV UTF-8".', row=row_no)
            return Unreadable(f"{found} If that text looks right, the file is Windows-1252: "
                              'save it as "CSV UTF-8", or name the encoding cp1252.', row=row_no)
    return Unreadable(f'The file is not valid {encoding.upper()}. Save it as "CSV UTF-8".')


def read_ndjson(stream: BinaryIO) -> Iterator[IncomingRow]:
    """Rows of newline-delimited JSON, each `{"email": "...", "fields": {...}}`. Raises `Unreadable` with the line."""
    row_no = 0
    while line := stream.readline(ROW_BYTES_MAX + 1):
        row_no += 1
        if len(line) > ROW_BYTES_MAX:
            raise Unreadable(f"Line {row_no} is longer than {ROW_BYTES_MAX // 1024} KiB.", row=row_no)
        if row_no > ROWS_MAX:
            raise Unreadable(f"The list has more than {ROWS_MAX:,} rows. Split it into several sends.", row=row_no)
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
        except UnicodeDecodeError:
            raise Unreadable(f"Line {row_no} is not valid UTF-8.", row=row_no) from None
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"Line {row_no} is not a JSON object: {error}.", row=row_no) from None
        yield incoming_row(row_no, record)


def _is_in_range(number: float) -> bool:
    """Whether it can be kept as it stands: 1e999 would become infinite, and neither that nor a longer integer can be stored."""
    return isfinite(number) if isinstance(number, float) else INTEGER_MIN <= number <= INTEGER_MAX


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def read_records(records: Iterable[Any]) -> Iterator[IncomingRow]:
    """Rows that came as JSON objects in a request, numbered from 1. Raises `Unreadable`."""
    for row_no, record in enumerate(records, start=1):
        yield incoming_row(row_no, record)


def incoming_row(row_no: int, record: Any) -> IncomingRow:
    """One row from a decoded JSON object; every part is checked, because it comes from outside."""
    if not isinstance(record, dict):
        raise Unreadable(f'Row {row_no} is not an object like {{"email": "...", "fields": {{}}}}.', row=row_no)
    if unknown := record.keys() - {"email", "fields"}:
        name = min(unknown)
        raise Unreadable(f'Row {row_no} has an unknown key "{name}"; merge fields go under "fields".', row=row_no, column=name)
    address, fields = record.get("email"), record.get("fields")
    if not (address is None or isinstance(address, str)):
        raise Unreadable(f'Row {row_no}: "email" is not a text.', row=row_no, column="email")
    if fields is None:
        fields = {}
    if not isinstance(fields, dict) or len(fields) > COLUMNS_MAX:
        raise Unreadable(f'Row {row_no}: "fields" is not an object of at most {COLUMNS_MAX} values.', row=row_no, column="fields")
    _check_fields(row_no, fields)
    if address is not None and len(address) > ROW_BYTES_MAX:
        raise Unreadable(f'Row {row_no}: "email" is longer than {ROW_BYTES_MAX // 1024} KiB.', row=row_no, column="email")
    if address is not None and "\0" in address:
        raise Unreadable(f'Row {row_no}: "email" contains a NUL character.', row=row_no, column="email")
    return IncomingRow(row_no, address or "", fields)


def _check_fields(row_no: int, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if len(name) > ROW_BYTES_MAX:
            start = name[:NAME_SHOWN_MAX]
            raise Unreadable(f'Row {row_no}: the name of the field "{start}..." is longer than {ROW_BYTES_MAX // 1024} KiB.',
                             row=row_no, column=start)
        if isinstance(value, str) and len(value) > ROW_BYTES_MAX:
            raise Unreadable(f'Row {row_no}: the field "{name}" is longer than {ROW_BYTES_MAX // 1024} KiB.',
                             row=row_no, column=name)
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise Unreadable(f'Row {row_no}: the field "{name}" is neither text, number, true, false nor null.',
                             row=row_no, column=name)
        if isinstance(value, (int, float)) and not _is_in_range(value):
            raise Unreadable(f'Row {row_no}: the field "{name}" is a number out of range.', row=row_no, column=name)
        if "\0" in name or (isinstance(value, str) and "\0" in value):
            raise Unreadable(f'Row {row_no}: the field "{name}" contains a NUL character.', row=row_no, column=name)
