"""A list as text is read as it stands or refused with the row, the column and what to do."""

from __future__ import annotations

import codecs
import csv
import io
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.domain.audience import COLUMNS_MAX, ROW_BYTES_MAX, IncomingRow, Remarks, Unreadable
from postroom.domain.delimited import read_text
from postroom.domain.table import AS_FOUND, LOOK_OCTETS, Choices


def read_csv(stream: io.BufferedIOBase, encoding: str = "utf-8", choices: Choices = AS_FOUND) -> Iterator[IncomingRow]:
    return read_text(stream, choices, Remarks(), encoding=encoding)


def rows(data: bytes, encoding: str = "utf-8") -> list[IncomingRow]:
    return list(read_csv(io.BytesIO(data), encoding=encoding))


def refusal(data: bytes, encoding: str = "utf-8") -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        rows(data, encoding)
    return caught.value


# -- CSV that is taken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_shows_the_separator(delimiter: str) -> None:
    text = "email,name\na@b.example,Ann\n".replace(",", delimiter)
    assert rows(text.encode()) == [IncomingRow(2, "a@b.example", {"name": "Ann"})]


def test_a_separator_inside_a_quoted_heading_is_no_separator() -> None:
    assert rows(b'"Name, Vorname, Titel";email\nAnn;a@b.example\n')[0].fields == {"Name, Vorname, Titel": "Ann"}


@pytest.mark.parametrize("title", ["Club list", "Mitglieder, Stand 30.11.2026", "Members | 2026, all"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_title_does_not_choose_the_separator(title: str, delimiter: str) -> None:
    text = f"{title}\nName;Email;Ort\nAnn;a@b.example;Oslo\n".replace(";", delimiter)
    assert rows(text.encode()) == [IncomingRow(3, "a@b.example", {"Name": "Ann", "Ort": "Oslo"})]


def test_a_comma_in_a_heading_of_a_semicolon_file_is_no_separator() -> None:
    assert rows(b"Name, Vorname;Email\nLee, Ann;a@b.example\n") == [
        IncomingRow(2, "a@b.example", {"Name, Vorname": "Lee, Ann"})]


def test_a_thousand_headings_without_blanks_are_read_in_no_time() -> None:
    header = "email;" + ";".join("h" * 60 for _ in range(999))
    begins = time.process_time()
    assert len(rows(f"{header}\na@b.example\n".encode())) == 1
    assert time.process_time() - begins < 2


def test_a_heading_may_hold_a_line_break() -> None:
    assert rows(b'"first\nname",email\nAnn,a@b.example\n')[0].fields == {"first\nname": "Ann"}


@pytest.mark.parametrize("heading", ["email", "Email", "E-Mail", "E-mail address", "EMAIL_ADDRESS", "mail", "Address"])
def test_the_address_column_is_known_by_its_usual_names(heading: str) -> None:
    assert rows(f"name,{heading}\nAnn,a@b.example\n".encode()) == [IncomingRow(2, "a@b.example", {"name": "Ann"})]


def test_the_plainest_name_is_the_address_column_and_the_other_is_a_field() -> None:
    assert rows(b"address,email\nHigh Street 1,a@b.example\n") == [IncomingRow(2, "a@b.example", {"address": "High Street 1"})]


def test_a_byte_order_mark_is_no_part_of_the_first_heading() -> None:
    assert rows(codecs.BOM_UTF8 + b"email\na@b.example\n") == [IncomingRow(2, "a@b.example", {})]
    assert rows(codecs.BOM_UTF8 + b"email\na@b.example\n", "UTF_8") == [IncomingRow(2, "a@b.example", {})]


def test_an_encoding_that_is_named_is_used() -> None:
    assert rows("email,name\na@b.example,Müller\n".encode("cp1252"), "cp1252")[0].fields == {"name": "Müller"}
    assert rows("email,name\na@b.example,Żółw\n".encode("utf-16"), "utf-16")[0].fields == {"name": "Żółw"}


def test_blank_lines_are_passed_over_and_counted() -> None:
    assert [row.row_no for row in rows(b"email\na@b.example\n\nc@d.example\n")] == [2, 4]


def test_a_quoted_line_break_is_part_of_the_value_and_rows_count_records() -> None:
    assert rows(b'email,note\na@b.example,"one\ntwo"\r\nc@d.example,x\r\n') == [
        IncomingRow(2, "a@b.example", {"note": "one\ntwo"}), IncomingRow(3, "c@d.example", {"note": "x"})]


def test_an_empty_address_is_a_row_and_not_an_error() -> None:
    assert rows(b"email,name\n,Ann\n") == [IncomingRow(2, "", {"name": "Ann"})]


def test_a_header_alone_is_a_list_of_nobody() -> None:
    assert rows(b"email,name\n") == []


def test_a_thousand_columns_are_possible() -> None:
    header = ",".join(["email"] + [f"c{n}" for n in range(COLUMNS_MAX - 1)])
    assert len(rows(f"{header}\na@b.example,{'x,' * (COLUMNS_MAX - 2)}x\n".encode())[0].fields) == COLUMNS_MAX - 1


def test_no_more_is_read_than_is_looked_at_and_one_row() -> None:
    class Endless(io.RawIOBase):
        octets = 0

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            assert offset == 0
            self.octets = 0
            return 0

        def readinto(self, buffer: memoryview) -> int:
            chunk = (b"email\n" if self.octets == 0 else b"") + b"x@y.example\n" * (len(buffer) // 12 - 1)
            buffer[: len(chunk)] = chunk
            self.octets += len(chunk)
            return len(chunk)

    endless = Endless()
    reader = read_csv(io.BufferedReader(endless))
    assert [next(reader).row_no for _ in range(5)] == [2, 3, 4, 5, 6]
    assert endless.octets < LOOK_OCTETS


# -- CSV that is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\n", codecs.BOM_UTF8, b"   \n"])
def test_an_empty_file_is_refused(data: bytes) -> None:
    error = refusal(data)
    assert (error.row, str(error)) == (
        1, "The list is empty: it needs a row for each recipient, and above them the headings, one of them email.")


def test_a_missing_address_column_is_named_with_what_there_is() -> None:
    error = refusal(b"name,phone\nAnn,1\n")
    assert str(error) == ('No column holds the addresses: the headings are "name", "phone", and no address stands below them. '
                          "Is there a column of addresses?")
    assert (error.row, error.column) == (1, "email")


def test_too_many_columns_are_counted() -> None:
    assert "1,001 columns; at most 1,000" in str(refusal(",".join(["email"] + [f"c{n}" for n in range(COLUMNS_MAX)]).encode()))


def test_a_row_with_more_values_than_headings_is_refused_because_they_may_stand_below_the_wrong_ones() -> None:
    error = refusal(b"email,name\na@b.example,Ann\nc@d.example,1,2\n")
    assert str(error).startswith("Row 3 has 3 cells, but there are headings for 2.")
    assert error.row == 3


def test_text_in_windows_1252_is_refused_with_line_byte_and_remedy() -> None:
    error = refusal("email,name\na@b.example,Ann\nc@d.example,Müller\n".encode("cp1252"))
    assert str(error).startswith('Line 3 is not valid UTF-8: byte 0xFC near "')
    assert "Müller" in str(error)
    assert "cp1252" in str(error)
    assert error.row == 3


def test_bytes_that_the_named_encoding_does_not_have_are_refused_without_wrong_advice() -> None:
    error = refusal(b"email,name\na@b.example,A\x81\n", "cp1252")
    assert str(error).startswith("Line 2 is not valid CP1252: byte 0x81")
    assert "name the encoding cp1252" not in str(error)


def test_utf_16_is_read_where_its_mark_says_so_whatever_was_named() -> None:
    for encoding in ("utf-8", "cp1252", "utf-16"):
        assert rows("email,name\na@b.example,Żółw\n".encode("utf-16"), encoding)[0].fields == {"name": "Żółw"}
    assert rows(codecs.BOM_UTF8 + "email,name\na@b.example,Müller\n".encode(), "cp1252")[0].fields == {"name": "Müller"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_that_was_not_named_is_refused_and_recognised(encoding: str) -> None:
    error = refusal("email,name\na@b.example,Ann\n".encode(encoding))
    assert "UTF-16" in str(error)
    assert error.row == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_is_called_by_its_name_and_read_by_it(encoding: str) -> None:
    octets = "email,name\na@b.example,Zoë Müller\n".encode(encoding)
    assert "name the encoding utf-16" in str(refusal(octets))
    assert rows(octets, "utf-16")[0].fields == {"name": "Zoë Müller"}


def test_a_file_cut_in_the_middle_of_a_character_is_refused() -> None:
    assert refusal("email,name\na@b.example,Ż".encode()[:-1]).row == 2


def test_an_unknown_encoding_is_refused() -> None:
    assert '"klingon" is not an encoding' in str(refusal(b"email\n", "klingon"))


@pytest.mark.parametrize(("encoding", "shown"), [("undefined", "undefined"), ("utf-8\0", r"utf-8\u0000"), ("\ud800", r"\ud800"),
                                                 ("", "")])
def test_a_name_that_no_file_can_be_encoded_in_is_refused_as_an_unknown_encoding(encoding: str, shown: str) -> None:
    assert str(refusal(b"email\na@b.example\n", encoding)).startswith(f'"{shown}" is not an encoding that is known here;')


@pytest.mark.parametrize("codec", ["base64", "rot13", "idna"])
def test_a_codec_that_is_no_encoding_of_text_is_refused(codec: str) -> None:
    with pytest.raises(Unreadable):
        rows(b"email\na\xffb\n", codec)


def test_a_nul_byte_is_refused_with_its_line() -> None:
    error = refusal(b"email\na@b.example\nc\0@d.example\n")
    assert (error.row, "Line 3 contains a NUL byte" in str(error)) == (3, True)


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_ten_megabytes_in_one_field_are_refused(quote: bytes) -> None:
    error = refusal(b"email,x\na@b.example," + quote + b"y" * 10_000_000 + quote + b"\n")
    assert (error.row, f"{ROW_BYTES_MAX // 1024} KiB" in str(error)) == (2, True)


def test_a_quotation_mark_that_is_never_closed_is_found_without_reading_everything() -> None:
    error = refusal(b'email,x\na@b.example,"open\n' + b"c@d.example,1\n" * 500_000)
    assert error.row == 2
    assert "never closed" in str(error)


@pytest.mark.parametrize("line", [b'a@b.example,"open', b'a@b.example,"x"y'])
def test_wrong_quotation_is_refused_with_its_row(line: bytes) -> None:
    error = refusal(b"email,x\nz@b.example,1\n" + line + b"\n")
    assert (error.row, "Check its quotation marks" in str(error)) == (3, True)


# -- properties ---------------------------------------------------------------------------------------------------------

cell = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=20)


@settings(max_examples=150)
@given(st.lists(st.tuples(cell, cell), max_size=8), st.sampled_from(",;\t"), st.sampled_from(["\r\n", "\n"]),
       st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_what_a_csv_writer_wrote_is_read_back(table: list[tuple[str, str]], delimiter: str, ending: str, encoding: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([("email", "x"), *table])
    read = rows(text.getvalue().encode(encoding), "utf-8" if encoding == "utf-8-sig" else encoding)
    kept = [(n, address, {"x": x}) for n, (address, x) in enumerate(table, start=2) if f"{address}{x}".strip()]
    assert [(row.row_no, row.address, row.fields) for row in read] == kept, "what holds nothing is no row"


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["utf-8", "cp1252", "utf-16"]))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes, encoding: str) -> None:
    for beginning in (b"email\n", b""):
        try:
            rows(beginning + data, encoding)
        except Unreadable as error:
            assert str(error).endswith((".", "?"))  # noqa: PT017 - a refusal is one of two good ends
