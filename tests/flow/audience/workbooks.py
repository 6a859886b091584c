"""Workbooks as programs write them, made of their few necessary parts: xlsx (OOXML), ods (OpenDocument) and xls (BIFF8)."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence
from datetime import date
from xml.sax.saxutils import escape

Cell = str | int | float | bool | date | None
Rows = Sequence[Sequence[Cell]]

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
OPEN_DOCUMENT = "urn:oasis:names:tc:opendocument:xmlns"
DATE_STYLE = (
    f'<styleSheet xmlns="{MAIN}"><cellXfs><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs></styleSheet>'
)


def packed(parts: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def xlsx(sheets: dict[str, Rows | str], *, hidden: Sequence[str] = ()) -> bytes:
    """A sheet is rows, or the XML of its rows."""
    numbered = list(enumerate(sheets.items(), 1))
    names = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}" state="{"hidden" if name in hidden else "visible"}"/>'
        for n, (name, _) in numbered
    )
    related = "".join(
        f'<Relationship Id="r{n}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n, _ in numbered
    )
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r1" Type="{OFFICE}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{names}</sheets></workbook>',
        "xl/styles.xml": DATE_STYLE,
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">{related}<Relationship Id="s" Type="{OFFICE}/styles" '
        'Target="styles.xml"/></Relationships>',
    }
    for n, (_, rows) in numbered:
        xml = (
            rows
            if isinstance(rows, str)
            else "".join(
                f'<row r="{y}">{"".join(_xlsx_cell(y, x, cell) for x, cell in enumerate(row))}</row>'
                for y, row in enumerate(rows, 1)
            )
        )
        parts[f"xl/worksheets/sheet{n}.xml"] = f'<worksheet xmlns="{MAIN}"><sheetData>{xml}</sheetData></worksheet>'
    return packed(parts)


def _xlsx_cell(y: int, x: int, cell: Cell) -> str:
    at = f"{chr(65 + x)}{y}"
    match cell:
        case None:
            return ""
        case str():
            return f'<c r="{at}" t="inlineStr"><is><t xml:space="preserve">{escape(cell)}</t></is></c>'
        case bool():
            return f'<c r="{at}" t="b"><v>{int(cell)}</v></c>'
        case date():
            return f'<c r="{at}" s="1"><v>{(cell - date(1899, 12, 30)).days}</v></c>'
        case number:
            return f'<c r="{at}"><v>{number}</v></c>'


def ods(sheets: dict[str, Rows], *, hidden_rows: Sequence[int] = ()) -> bytes:
    """The rows of that number are hidden in each sheet."""
    tables = "".join(
        f'<table:table table:name="{escape(name)}">'
        f"{''.join(_ods_row(row, hidden=n in hidden_rows) for n, row in enumerate(rows, 1))}</table:table>"
        for name, rows in sheets.items()
    )
    spaces = " ".join(f'xmlns:{name}="{OPEN_DOCUMENT}:{name}:1.0"' for name in ("office", "table", "text"))
    return packed(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{OPEN_DOCUMENT}:manifest:1.0"/>',
            "content.xml": f"<office:document-content {spaces}><office:body><office:spreadsheet>{tables}"
            "</office:spreadsheet></office:body></office:document-content>",
        }
    )


def _ods_row(row: Sequence[Cell], *, hidden: bool) -> str:
    visibility = ' table:visibility="collapse"' if hidden else ""
    return f"<table:table-row{visibility}>{''.join(map(_ods_cell, row))}</table:table-row>"


def _ods_cell(cell: Cell) -> str:
    match cell:
        case None:
            return "<table:table-cell/>"
        case str():
            return f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
        case bool():
            return f'<table:table-cell office:value-type="boolean" office:boolean-value="{str(cell).lower()}"/>'
        case date():
            return f'<table:table-cell office:value-type="date" office:date-value="{cell.isoformat()}"/>'
        case number:
            return f'<table:table-cell office:value-type="float" office:value="{number}"/>'


def xls(name: str, rows: Rows) -> bytes:
    """Texts and numbers alone."""
    sheet = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0, 0, 0, 0))
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            match cell:
                case None:
                    pass
                case str():
                    sheet += _record(0x0204, struct.pack("<HHHHB", y, x, 0, len(cell), 1) + cell.encode("utf-16-le"))
                case number:
                    sheet += _record(0x0203, struct.pack("<HHHd", y, x, 0, float(number)))  # type: ignore[arg-type]
    sheet += _record(0x000A, b"")
    begins = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0005, 0, 0, 0, 0))
    titled = struct.pack("<BB", len(name), 1) + name.encode("utf-16-le")
    offset = len(begins) + 4 + 6 + len(titled) + 4
    return _container(begins + _record(0x0085, struct.pack("<IH", offset, 0) + titled) + _record(0x000A, b"") + sheet)


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def _container(stream: bytes) -> bytes:
    """Microsoft's compound file (MS-CFB): a header, the table of sectors, the directory, and one stream, `Workbook`."""
    stream = stream.ljust(max(4096, -len(stream) % 512 + len(stream)), b"\0")  # smaller ones would stand elsewhere
    sectors = len(stream) // 512
    end, free, table = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
    assert sectors + 2 <= 128
    chain = [table, end, *range(3, 2 + sectors), end]
    fat = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))
    header = struct.pack(
        "<8s16sHHHHH6sIIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        bytes(16),
        0x3E,
        3,
        0xFFFE,
        9,
        6,
        bytes(6),
        0,
        1,
        1,
        0,
        4096,
        end,
        0,
        end,
        0,
        0,
    )
    header += struct.pack("<108I", *[free] * 108)
    directory = (
        _entry("Root Entry", 5, child=1, start=end, size=0) + _entry("Workbook", 2, start=2, size=len(stream)) + bytes(256)
    )
    return header + fat + directory + stream


def _entry(name: str, kind: int, *, start: int, size: int, child: int = 0xFFFFFFFF) -> bytes:
    spelt = name.encode("utf-16-le") + b"\0\0"
    nobody = 0xFFFFFFFF
    return struct.pack("<64sHBBIII16sIQQIQ", spelt, len(spelt), kind, 1, nobody, nobody, child, bytes(16), 0, 0, 0, start, size)
