"""What a workbook's own XML says of a sheet that its reader does not: which rows are hidden, and where a formula has no value.

For xlsx (OOXML) and ods (OpenDocument); nothing of xls and xlsb, which are no XML. Nothing either where a part is not where it
should be: the reader decides what is readable.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.parsers import expat

from postroom.domain.audience import ROWS_MAX

BLOCK_OCTETS = 2**18
TRUE = ("1", "true", "on")
HIDDEN_IN_ODS = ("collapse", "filter")
DAMAGED = (zipfile.BadZipFile, zlib.error, expat.ExpatError, LookupError, ValueError, EOFError, OSError,
           RuntimeError)  # which NotImplementedError is, of a way to pack that is not known

SIGNS = re.compile(rb"hidden=|visibility=|formula=|<(?:\w{1,16}:)?f[\s/>]")
SIGN_OCTETS_MAX = 32

Attributes = dict[str, str]


@dataclass(slots=True)
class Aside:
    """By rows as the program numbers them."""

    hidden: set[int] = field(default_factory=set)
    valueless: set[int] = field(default_factory=set)


def read_aside(file: BinaryIO, sheet: str) -> Aside:
    """Of the sheet of that name."""
    aside = Aside()
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            part = "content.xml" if "content.xml" in archive.namelist() else _xlsx_part(archive, sheet)
            if part is not None and _has_any(archive, part):
                _parse(archive, part, _Ods(aside, sheet) if part == "content.xml" else _Xlsx(aside))
    except DAMAGED:
        return aside
    return aside


def _has_any(archive: zipfile.ZipFile, part: str) -> bool:
    """Whether a closer look may find anything: it takes as long as reading the cells, and most sheets have no such thing."""
    with archive.open(part) as stream:
        before = b""
        while block := stream.read(BLOCK_OCTETS):
            if SIGNS.search(before + block):
                return True
            before = block[-SIGN_OCTETS_MAX:]
    return False


class _Xlsx:
    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self._row = 0
        self._is_formula = self._has_value = self._in_value = False

    def start(self, name: str, attributes: Attributes) -> None:
        match name:
            case "row":
                self._row = int(attributes.get("r", self._row + 1))
                if attributes.get("hidden") in TRUE:
                    self._aside.hidden.add(self._row)
            case "c":
                self._is_formula = self._has_value = False
            case "f":
                self._is_formula = True
            case "v" | "is":
                self._in_value = True

    def end(self, name: str) -> None:
        if name in ("v", "is"):
            self._in_value = False
        elif name == "c" and self._is_formula and not self._has_value:
            self._aside.valueless.add(self._row)

    def text(self, _: str) -> None:
        self._has_value = self._has_value or self._in_value


class _Ods:
    def __init__(self, aside: Aside, sheet: str) -> None:
        self._aside, self._sheet = aside, sheet
        self._is_sheet = False
        self._row = self._repeated = 0

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "table":
            self._is_sheet = attributes.get("name") == self._sheet
        elif self._is_sheet and name == "table-row":
            self._row += self._repeated
            self._repeated = int(attributes.get("number-rows-repeated", "1"))
            if attributes.get("visibility") in HIDDEN_IN_ODS:
                self._aside.hidden.update(range(self._row + 1, min(self._row + self._repeated, ROWS_MAX) + 1))
        elif self._is_sheet and name == "table-cell" and "formula" in attributes and "value-type" not in attributes:
            self._aside.valueless.add(self._row + 1)

    def end(self, name: str) -> None:
        if name == "table":
            self._is_sheet = False

    def text(self, _: str) -> None:
        pass


class _Elements:
    """The attributes of all of a name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.found: list[Attributes] = []

    def start(self, name: str, attributes: Attributes) -> None:
        if name == self._name:
            self.found.append(attributes)

    def end(self, name: str) -> None:
        pass

    def text(self, _: str) -> None:
        pass


def _parse(archive: zipfile.ZipFile, part: str, sees: _Xlsx | _Ods | _Elements) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = lambda name, attributes: sees.start(
        _local(name), {_local(key): value for key, value in attributes.items()})
    parser.EndElementHandler = lambda name: sees.end(_local(name))
    parser.CharacterDataHandler = sees.text
    with archive.open(part) as stream:
        while block := stream.read(BLOCK_OCTETS):
            parser.Parse(block)


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _xlsx_part(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """Where the cells of a sheet are."""
    sheets, related = _Elements("sheet"), _Elements("Relationship")
    _parse(archive, "xl/workbook.xml", sheets)
    _parse(archive, "xl/_rels/workbook.xml.rels", related)
    number = next((one["id"] for one in sheets.found if one["name"] == sheet), None)
    target = next((one["Target"] for one in related.found if one["Id"] == number), None)
    return None if target is None else posixpath.normpath(posixpath.join("/xl", target)).lstrip("/")
