"""A recipient list as it came, not read yet: its rows are read by whoever goes through them, in another process perhaps.

Whether a table is text or a workbook is told by its first octets, never by its name. Files that people take for lists, and that
are none, are refused by what they are called.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from postroom.domain.audience import IncomingRow, Remarks, Unreadable, read_ndjson, read_records
from postroom.domain.delimited import read_text
from postroom.domain.table import AS_FOUND, Choices, read_table
from postroom.flow.audience.workbook import is_workbook, workbook_rows

BEGINNING_OCTETS = 512
AS_CSV = "Export the list as CSV."
A_PAGE = "a web page, even where its name ends in .xls. Open it in a spreadsheet program and save it as CSV in UTF-8."
JSON = "JSON. Send it line by line, each an object with email and fields (.ndjson, application/x-ndjson)."
NO_LISTS = (
    (b"%pdf", f"a PDF. {AS_CSV}"),
    (b"begin:vcard", f"a file of contacts (vCard). {AS_CSV}"),
    (b"dn:", f"an LDIF file. {AS_CSV}"),
    (b"{\\rtf", "a text document (RTF). Save its table as CSV."),
    (b"<!doctype html", A_PAGE),
    (b"<html", A_PAGE),
    (b"<table", A_PAGE),
    (b"<?xml", "XML. Open it in a spreadsheet program and save it as CSV in UTF-8."),
    (b'{"', JSON),
    (b"[{", JSON),
    (b"\x1f\x8b", "a packed file (gzip). Unpack it."),
    (b"\x89png", f"a picture. {AS_CSV}"),
    (b"\xff\xd8\xff", f"a picture. {AS_CSV}"),
)


@dataclass(frozen=True, slots=True)
class ListFile:
    """A "table" is CSV or a workbook, or addresses where it begins with those; "pasted" is text from a field of a page; "records"
    are the JSON objects of a request, one on each line. `encoding` is that of text without a mark of its own."""

    file: BinaryIO
    form: Literal["table", "pasted", "ndjson", "records"]
    encoding: str = "utf-8"
    choices: Choices = AS_FOUND

    @property
    def is_workbook(self) -> bool:
        return self.form == "table" and is_workbook(self._begins())

    def __iter__(self) -> Iterator[IncomingRow]:
        return self.read(Remarks())

    def read(self, remarks: Remarks) -> Iterator[IncomingRow]:
        """The rows; `remarks` are complete after the last. Raises Unreadable."""
        self.file.seek(0)
        match self.form:
            case "ndjson":
                return read_ndjson(self.file)
            case "records":
                return read_records(map(json.loads, self.file))
            case form:
                return self._read_table(form == "pasted", remarks)

    def _read_table(self, pasted: bool, remarks: Remarks) -> Iterator[IncomingRow]:
        if self.is_workbook:
            return read_table(workbook_rows(self.file, remarks), self.choices, remarks)
        begins = self._begins().removeprefix(BOM_UTF8).lstrip().lower()
        for beginning, what in NO_LISTS:
            if begins.startswith(beginning):
                raise Unreadable(f"The file is {what}")
        return read_text(self.file, self.choices, remarks, encoding=self.encoding, pasted=pasted)

    def _begins(self) -> bytes:
        self.file.seek(0)
        begins = self.file.read(BEGINNING_OCTETS)
        self.file.seek(0)
        return begins
