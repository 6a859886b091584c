"""A list as text: CSV and its relatives, or addresses as people paste them. Pure: no I/O but the stream handed in.

The separator is a comma, a semicolon, a tab or a bar, as the first lines show, or as Excel's `sep=` says. The encoding is that of
the mark at the beginning (UTF-8, UTF-16), else the one that is named; nothing is guessed: what does not decode is refused,
with what the file may be instead. Spaces before a value are no part of it unless quotation marks enclose them.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from postroom.domain.audience import ROW_BYTES_MAX, IncomingRow, Remarks, Unreadable
from postroom.domain.pasted import is_pasted, read_pasted
from postroom.domain.table import Choices, Row, address_in, headings_at, read_table

DELIMITERS = (",", ";", "\t", "|")
ENCODING_OCTETS = 1024
BEGINNING_LINES = 50  # that show what a list is
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

_SEPARATOR_NAMED = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def read_text(stream: BinaryIO, choices: Choices, remarks: Remarks, *, encoding: str = "utf-8", pasted: bool = False,
              ) -> Iterator[IncomingRow]:
    """The recipients. `pasted`: by a person into a field, so that it is a table only where it begins like one.

    `stream` must be seekable: on an encoding error it is read again to name the row. Raises Unreadable.
    """
    codec = _codec(stream, encoding)
    text = io.TextIOWrapper(stream, encoding=codec, errors="strict", newline="")
    try:
        yield from _read(text, choices, remarks, pasted)
    except UnicodeError:  # UTF-16 without its mark is no UnicodeDecodeError
        raise _wrong_encoding(stream, encoding) from None
    except csv.Error as error:
        raise Unreadable(f"The file is not readable as CSV: {error}.") from None
    finally:
        if not stream.closed:  # whoever gave up on the list may have closed it first
            text.detach()


def _codec(stream: BinaryIO, encoding: str) -> str:
    begins = stream.read(4)
    stream.seek(0)
    for mark, codec in MARKS:
        if begins.startswith(mark):
            return codec
    if encoding.casefold().replace("_", "-") == "utf-16":  # without its mark: the sign that begins a list is of a common script
        return "utf-16-be" if begins[:1] == b"\0" else "utf-16-le"
    try:
        "\n".encode(encoding)
    except (LookupError, ValueError):  # a name with a NUL is a ValueError; so is "undefined", which encodes nothing at all
        raise Unreadable(f"{json.dumps(encoding)} is not an encoding that is known here; try utf-8 or cp1252.") from None
    return encoding


def _read(text: io.TextIOWrapper, choices: Choices, remarks: Remarks, pasted: bool) -> Iterator[IncomingRow]:
    blank, begins = _beginning(text)
    first = begins[0] if begins else ""
    named = _SEPARATOR_NAMED.fullmatch(first)
    delimiter, rows = (named[1], []) if named else _separator(begins)
    is_table = named or ("\t" in first or "@" not in first if pasted else not is_pasted(first)) or _has_headings(rows)
    if is_table:
        begins, blank = (begins[1:], blank + 1) if named else (begins, blank)
        yield from read_table(_rows(begins, blank, delimiter, text), choices, remarks)
    elif choices.email_column is not None:
        raise Unreadable("The list is one of addresses, without columns: there is none to choose.", row=1,
                         column=choices.email_column)
    else:
        lines = chain(begins, iter(lambda: text.readline(ROW_BYTES_MAX), ""))
        yield from read_pasted(lines, remarks, is_heeded=choices.opted_out_rows != "send")


def _beginning(text: io.TextIOWrapper) -> tuple[int, list[str]]:
    """(how many lines without anything come first, some lines from the first that holds something)."""
    blank, octets = 0, 0
    begins: list[str] = []
    while len(begins) < BEGINNING_LINES and octets < ROW_BYTES_MAX and (line := text.readline(ROW_BYTES_MAX + 1)):
        if begins or line.strip():
            begins.append(line)
            octets += len(line)
        else:
            blank += 1
    return blank, begins


def _has_headings(rows: list[list[str]]) -> bool:
    """Below a first line that may be anything."""
    at = headings_at(rows)
    return at is not None and "@" not in "".join(rows[at])


def _separator(begins: list[str]) -> tuple[str, list[list[str]]]:
    """The one by which most of the first lines have an address in a cell of its own, then the first of them the most cells;
    and the rows that it makes."""
    csv.field_size_limit(ROW_BYTES_MAX)
    parsed = {one: _parsed(begins, one) for one in DELIMITERS}
    best = max(DELIMITERS, key=lambda one: (sum(any(map(address_in, cells)) for cells in parsed[one]),
                                            *map(len, parsed[one][:1])))
    return best, parsed[best]


def _parsed(lines: list[str], delimiter: str) -> list[list[str]]:
    """Those that hold anything; no more than can be read."""
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows.extend(filter(lambda cells: any(map(str.strip, cells)),
                           csv.reader(lines, delimiter=delimiter, skipinitialspace=True)))
    return rows


def _rows(begins: list[str], blank: int, delimiter: str, text: io.TextIOWrapper) -> Iterator[Row]:
    """`blank` lines stood before those that the text begins with."""
    row_no = blank
    records = csv.reader(_lines(begins, blank, text), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        row_no += 1
        try:
            cells = next(records, None)
        except csv.Error as error:
            raise Unreadable(_csv_complaint(error, row_no), row=row_no) from None
        if cells is None:
            return
        yield row_no, cells


def _lines(begins: list[str], line_no: int, text: io.TextIOWrapper) -> Iterator[str]:
    """Lines of bounded length, so that one endless line cannot fill the memory."""
    for line in chain(begins, iter(lambda: text.readline(ROW_BYTES_MAX + 1), "")):
        line_no += 1
        if len(line) > ROW_BYTES_MAX:
            raise Unreadable(f"Line {line_no} is longer than {ROW_BYTES_MAX // 1024} KiB; is this a CSV file?", row=line_no)
        if "\0" in line:
            raise Unreadable(
                f"Line {line_no} contains a NUL byte. The file may be UTF-16 or not a text file; "
                "save it as CSV in UTF-8.", row=line_no)
        yield line


def _csv_complaint(error: csv.Error, row_no: int) -> str:
    if "field larger" in str(error):
        return (f"Row {row_no} has a cell of more than {ROW_BYTES_MAX // 1024} KiB. "
                "Perhaps a quotation mark is opened there and never closed.")
    return f"Row {row_no} is not readable as CSV: {error}. Check its quotation marks."


def _wrong_encoding(stream: BinaryIO, encoding: str) -> Unreadable:
    """Finds the first line that does not decode, and says what the file may be instead; it never guesses silently."""
    stream.seek(0)
    start = stream.read(ENCODING_OCTETS)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or (b"\0" in start and "16" not in encoding):
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
