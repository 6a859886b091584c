"""The rows of a workbook: xlsx, xlsm, xlsb, xls or ods.

Of the sheets that are not hidden the first that holds an address is read, and named where there are others; none that is called
"Unsubscribed" or the like. Rows that are hidden, by a filter perhaps, are left out with a remark. Numbers and dates become text
that says the same everywhere: 12.5, 2026-07-04. What is in a workbook is packed, so that a small or damaged one may unpack to
anything: the bounded process in which it is read bounds it, and says so. Fails with Unreadable.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, BinaryIO

from postroom.domain.audience import Remarks, Unreadable
from postroom.domain.opt_out import status_says
from postroom.domain.table import Row, address_in, quoted
from postroom.flow.audience.workbook_xml import read_aside

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

BEGINNINGS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # of a zip archive, and of Microsoft's older container

Cell = str | int | float | bool | date | datetime | time | timedelta


def is_workbook(begins: bytes) -> bool:
    """Or another file that is packed like one, which is refused when it is read."""
    return begins.startswith(BEGINNINGS)


def workbook_rows(file: BinaryIO, remarks: Remarks) -> Iterator[Row]:
    """Numbered as the program shows them. Raises Unreadable."""
    import python_calamine as calamine  # only workbooks need it

    try:
        with calamine.CalamineWorkbook.from_filelike(file) as book:
            shown = [index for index, one in enumerate(book.sheets_metadata)
                     if one.typ is calamine.SheetTypeEnum.WorkSheet and one.visible is calamine.SheetVisibleEnum.Visible]
            sheets = [sheet for sheet in map(book.get_sheet_by_index, shown) if sheet.height]
    except calamine.PasswordError:
        raise Unreadable("The workbook is protected by a password. Take that off, or save the sheet as CSV in UTF-8.") from None
    except (calamine.CalamineError, calamine.ZipError, calamine.XmlError) as error:
        raise Unreadable(f"The file is a damaged workbook (xlsx, xls, ods), or none but packed like one: {error}. "
                         "Save the sheet as CSV in UTF-8.") from None
    if not sheets:
        raise Unreadable("The workbook is empty: no sheet of it that is shown holds a cell.")
    chosen = _chosen(sheets)
    if len(sheets) > 1:
        others = quoted([one.name for one in sheets if one is not chosen])
        remarks.say(f"Of the workbook's sheets, {quoted([chosen.name])} is read, and not {others}.")
    aside = read_aside(file, chosen.name)
    for row_no, cells in enumerate(chosen.iter_rows(), start=1):
        row = [_text(cell) for cell in cells]
        if row_no in aside.hidden:
            if any(map(str.strip, row)):
                remarks.count("Hidden in the sheet, by a filter perhaps, and left out", row_no)
            continue
        if row_no in aside.valueless:
            remarks.count("Formulas without a value, which are blank until a spreadsheet program saves the workbook", row_no)
        yield row_no, row


def _chosen(sheets: list[CalamineSheet]) -> CalamineSheet:
    holding = [one for one in sheets if any(address_in(_text(cell)) for row in one.iter_rows() for cell in row)]
    if not holding:
        return sheets[0]
    chosen = next((one for one in holding if not status_says(one.name)), None)
    if chosen is None:
        raise Unreadable(f"Addresses stand in the sheet {quoted([one.name for one in holding])} alone, which by its name is of "
                         "those who are not to be mailed. Call it something else if they are.")
    return chosen


def _text(cell: Cell) -> str:
    match cell:
        case str():
            return cell
        case bool():
            return "true" if cell else "false"
        case float() if cell.is_integer() and abs(cell) < 1e16:
            return str(int(cell))
        case datetime() if cell.time() == time():
            return cell.date().isoformat()
        case datetime():
            return cell.isoformat(" ")
        case date() | time():
            return cell.isoformat()
        case _:
            return str(cell)
