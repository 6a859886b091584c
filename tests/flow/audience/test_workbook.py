"""Workbooks are read as they show themselves, or refused in words; what they unpack to is bounded like every list."""

from __future__ import annotations

import contextlib
import io
import random
from datetime import date
from tempfile import TemporaryFile

import pytest

from postroom.bounded.processes import IN_THREAD, Processes
from postroom.domain.audience import Remarks, Unreadable
from postroom.errors import InvalidInput
from postroom.flow.audience.intake import read_through
from postroom.flow.audience.list_file import ListFile

from .workbooks import ods, packed, xls, xlsx

MEMBERS = [["email", "n"], ["ann@list.example", 1]]
LAST_CELL = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'


def read(octets: bytes) -> tuple[list[dict[str, object]], tuple[str, ...]]:
    remarks = Remarks()
    rows = ListFile(io.BytesIO(octets), "table").read(remarks)
    return [{"row": row.row_no, "email": row.address, **row.fields} for row in rows], remarks.told()


def refusal(octets: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read(octets)
    return str(caught.value)


@pytest.mark.parametrize("make", [xlsx, ods])
def test_numbers_dates_and_truths_are_text_that_says_the_same_everywhere(make) -> None:
    cells = [12.5, 7, 1e15, True, date(2026, 7, 4), " x ", "<b>"]
    (row,), _ = read(make({"S": [["email", *"abcdefg"], ["zoë@list.example", *cells]]}))
    assert list(row.values())[2:] == ["12.5", "7", "1000000000000000", "true", "2026-07-04", " x ", "<b>"]


def test_rows_are_numbered_as_the_program_shows_them() -> None:
    rows, _ = read(xlsx({"S": [[], [None, "email"], [], [None, "ann@list.example"]]}))
    assert rows == [{"row": 4, "email": "ann@list.example"}]


def test_the_sheet_with_addresses_is_read_and_the_others_are_named() -> None:
    rows, told = read(xlsx({"Old": MEMBERS, "About": [["Members of the club"]], "Now": MEMBERS, "Empty": []}, hidden=["Old"]))
    assert len(rows) == 1
    assert told[0] == 'Of the workbook\'s sheets, "Now" is read, and not "About".'


@pytest.mark.parametrize("octets", [
    xlsx({"A": [["x"]], "S": '<row r="1"><c r="A1" t="inlineStr"><is><t>email</t></is></c></row><row r="2" hidden="1"><c r="A2" '
          't="inlineStr"><is><t>filtered@list.example</t></is></c></row><row r="3"><c r="A3" t="inlineStr"><is>'
          '<t>ann@list.example</t></is></c></row><row r="4" hidden="1"/>'}),
    ods({"S": [["email"], ["filtered@list.example"], ["ann@list.example"], []], "T": [["x"]]}, hidden_rows=[2, 4])])
def test_rows_that_are_hidden_in_the_sheet_are_left_out_and_counted(octets: bytes) -> None:
    rows, told = read(octets)
    assert [(row["row"], row["email"]) for row in rows] == [(3, "ann@list.example")]
    assert "Hidden in the sheet, by a filter perhaps, and left out: row 2." in told


def test_a_formula_without_a_value_is_remarked() -> None:
    cells = '<c r="A{0}" t="inlineStr"><is><t>{1}</t></is></c><c r="B{0}">{2}</c>'
    rows, told = read(xlsx({"S": "".join(f'<row r="{n}">{cells.format(n, *row)}</row>' for n, row in enumerate([
        ("email", "<v>1</v>"), ("ann@list.example", "<f>1+1</f><v>2</v>"), ("bob@list.example", "<f>1+1</f><v></v>")], 1))}))
    assert [row["1"] for row in rows] == ["2", ""]
    assert "Formulas without a value, which are blank until a spreadsheet program saves the workbook: row 3." in told


def test_no_sheet_is_read_that_is_of_those_who_are_out() -> None:
    out = [["email"], ["gone@list.example"]]
    rows, told = read(xlsx({"Unsubscribed": out, "Abgemeldet": out, "Subscribed": MEMBERS}))
    assert [row["email"] for row in rows] == ["ann@list.example"]
    assert told[0] == 'Of the workbook\'s sheets, "Subscribed" is read, and not "Unsubscribed", "Abgemeldet".'
    assert 'Addresses stand in the sheet "Unsubscribed" alone' in refusal(xlsx({"Notes": [["x"]], "Unsubscribed": out}))


def test_an_older_workbook_is_read_too() -> None:
    assert read(xls("Members", MEMBERS))[0] == [{"row": 2, "email": "ann@list.example", "n": "1"}]


@pytest.mark.parametrize(("octets", "words"), [
    (b"PK\x03\x04\x14\x00\x06\x00", "The file is a damaged workbook"),
    (xlsx({"S": MEMBERS})[:-200], "The file is a damaged workbook"),
    (xls("S", MEMBERS)[:700], "The file is a damaged workbook"),
    (packed({"word/document.xml": "<x/>"}), "none but packed like one"),
    (xlsx({"S": []}), "The workbook is empty"), (xlsx({"S": MEMBERS}, hidden=["S"]), "The workbook is empty")])
def test_what_cannot_be_read_is_refused_in_words(octets: bytes, words: str) -> None:
    assert words in refusal(octets)


async def test_whatever_is_damaged_in_a_workbook_it_is_read_or_refused_in_words() -> None:
    """In a bounded process: a damaged one may ask for any amount of memory."""
    chance, bounded = random.Random(20261130), Processes(1)
    try:
        for whole in (xls("S", MEMBERS), ods({"S": MEMBERS}), xlsx({"S": MEMBERS})):
            for _ in range(60):
                damaged = bytearray(whole)
                for _ in range(chance.randint(1, 8)):
                    damaged[chance.randrange(8, len(damaged))] = chance.randrange(256)
                with contextlib.suppress(InvalidInput):
                    await taken(bounded, bytes(damaged))
    finally:
        bounded.close()


async def test_a_workbook_that_unpacks_to_more_than_a_list_may_take_is_refused_and_the_next_is_read() -> None:
    bounded = Processes(1)
    try:
        with pytest.raises(InvalidInput, match="The list takes more than 768 MiB of memory"):
            await taken(bounded, xlsx({"S": LAST_CELL}))
        assert b"ann@list.example" in await taken(bounded, xlsx({"S": MEMBERS}))
    finally:
        bounded.close()


async def taken(bounded: Processes, octets: bytes) -> bytes:
    with TemporaryFile() as file:
        file.write(octets)
        file.flush()
        async with read_through(bounded, 1, ListFile(file, "table")) as listed:
            return listed.file.read()


async def test_the_remarks_come_with_the_list() -> None:
    async with read_through(IN_THREAD, 1, ListFile(io.BytesIO(b"Mail\nann@list.example\n"), "table")) as listed:
        assert listed.remarks == ('The addresses are those of the column "Mail", found by what stands in it.',)
