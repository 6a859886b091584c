"""A recipient list as it comes in: its rows and bounds, what is remarked on it, what refuses it. Here: as JSON, line by line or
in a request. Tables and pasted addresses have files of their own (`table.py`, `delimited.py`, `pasted.py`). Pure: no I/O but
the stream handed in.

Promises: a row is read as it stands, or the whole list is refused with the row, the column and what to do; what is passed over or
taken apart on the way is a remark. Limits: 2,000,000 rows, 1,000 columns, 64 KiB a row or cell.
Whether an address can be mailed is not decided here: that excludes a row, it does not refuse a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, BinaryIO

ROWS_MAX = 2_000_000
COLUMNS_MAX = 1_000
ROW_BYTES_MAX = 64 * 1024
NAME_SHOWN_MAX = 60
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1

Value = str | int | float | bool | None


class Unreadable(ValueError):
    """The list cannot be read. `row` counts from 1, a CSV header included; `column` is its heading."""

    def __init__(self, message: str, *, row: int | None = None, column: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.column = column


@dataclass(frozen=True, slots=True)
class IncomingRow:
    """One row as it came. `address` is raw text, perhaps empty. With `opted_out` the row itself says that it is not to be mailed,
    and this is where."""

    row_no: int
    address: str
    fields: Mapping[str, Value]
    opted_out: str = ""


@dataclass(slots=True)
class Remarks:
    """What is to be known of how a list was read, gathered while it is: sentences, and rows of which the first is named."""

    _sentences: list[str] = field(default_factory=list)
    _rows: dict[str, list[int]] = field(default_factory=dict)  # the first, and how many

    def say(self, sentence: str) -> None:
        self._sentences.append(sentence)

    def count(self, what: str, row_no: int) -> None:
        self._rows.setdefault(what, [row_no, 0])[1] += 1

    def told(self) -> tuple[str, ...]:
        rows = (f"{what}: row {first:,}{f' and {n - 1:,} more' if n > 1 else ''}." for what, (first, n) in self._rows.items())
        return (*self._sentences, *rows)


def too_many_rows(row_no: int) -> Unreadable:
    return Unreadable(f"The list has more than {ROWS_MAX:,} rows. Split it into several sends.", row=row_no)


def read_ndjson(stream: BinaryIO) -> Iterator[IncomingRow]:
    """Rows of newline-delimited JSON, each `{"email": "...", "fields": {...}}`. Raises `Unreadable` with the line."""
    row_no = 0
    while line := stream.readline(ROW_BYTES_MAX + 1):
        row_no += 1
        if len(line) > ROW_BYTES_MAX:
            raise Unreadable(f"Line {row_no} is longer than {ROW_BYTES_MAX // 1024} KiB.", row=row_no)
        if row_no > ROWS_MAX:
            raise too_many_rows(row_no)
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
        raise Unreadable(f'Row {row_no}: "fields" is not an object of at most {COLUMNS_MAX:,} values.', row=row_no,
                         column="fields")
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
