"""A list is read as it stands or refused with the row, the column and what to do."""

from __future__ import annotations

import codecs
import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.domain.audience import (
    COLUMNS_MAX,
    ROW_BYTES_MAX,
    IncomingRow,
    Unreadable,
    incoming_row,
    read_csv,
    read_ndjson,
    read_records,
)


def rows(data: bytes, encoding: str = "utf-8") -> list[IncomingRow]:
    return list(read_csv(io.BytesIO(data), encoding=encoding))


def refusal(data: bytes, encoding: str = "utf-8") -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        rows(data, encoding)
    return caught.value


def ndjson_refusal(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        list(read_ndjson(io.BytesIO(data)))
    return caught.value


# -- CSV that is taken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_shows_the_separator(delimiter: str) -> None:
    text = "email,name\na@b.example,Ann\n".replace(",", delimiter)
    assert rows(text.encode()) == [IncomingRow(2, "a@b.example", {"name": "Ann"})]


def test_a_separator_inside_a_quoted_heading_is_no_separator() -> None:
    assert rows(b'"Name, Vorname, Titel";email\nAnn;a@b.example\n')[0].fields == {"Name, Vorname, Titel": "Ann"}


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


def test_200_columns_are_possible() -> None:
    header = ",".join(["email"] + [f"c{n}" for n in range(COLUMNS_MAX - 1)])
    assert len(rows(f"{header}\n{'x,' * (COLUMNS_MAX - 1)}x\n".encode())[0].fields) == COLUMNS_MAX - 1


def test_memory_is_one_row() -> None:
    class Endless(io.RawIOBase):
        begun = False

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            chunk = b"x@y.example\n" * (len(buffer) // 12)
            if not self.begun:
                self.begun, chunk = True, b"email\n"
            buffer[: len(chunk)] = chunk
            return len(chunk)

    reader = read_csv(io.BufferedReader(Endless()))
    assert [next(reader).row_no for _ in range(5)] == [2, 3, 4, 5, 6]


# -- CSV that is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\n", codecs.BOM_UTF8, b"   \n"])
def test_an_empty_file_is_refused(data: bytes) -> None:
    error = refusal(data)
    assert (error.row, "needs a header row with an email column" in str(error)) == (1, True)


def test_a_missing_address_column_is_named_with_what_there_is() -> None:
    error = refusal(b"name,phone\nAnn,1\n")
    assert str(error) == 'No column holds the addresses: the header has "name", "phone". Name one of them "email".'
    assert (error.row, error.column) == (1, "email")


def test_a_doubled_column_is_named() -> None:
    error = refusal(b"email,Name,name\n")
    assert (str(error), error.row, error.column) == ('The header names the column "name" twice. Rename one of them.', 1, "name")


def test_a_column_without_a_name_is_counted_out() -> None:
    assert "Column 2 has no name" in str(refusal(b"email,,x\na@b.example,1,2\n"))


def test_201_columns_are_too_many() -> None:
    assert "201 columns; at most 200" in str(refusal(",".join(["email"] + [f"c{n}" for n in range(COLUMNS_MAX)]).encode()))


@pytest.mark.parametrize(("line", "cells"), [(b"c@d.example", 1), (b"c@d.example,1,2", 3)])
def test_a_row_of_another_length_is_named(line: bytes, cells: int) -> None:
    error = refusal(b"email,name\na@b.example,Ann\n" + line + b"\n")
    assert str(error).startswith(f"Row 3 has {cells} cells, but the header has 2 columns.")
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_that_was_not_named_is_refused_and_recognised(encoding: str) -> None:
    error = refusal("email,name\na@b.example,Ann\n".encode(encoding))
    assert "UTF-16" in str(error)
    assert error.row == 1


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


# -- NDJSON and records -------------------------------------------------------------------------------------------------


def test_ndjson_rows_are_taken_with_their_line_numbers() -> None:
    data = b'{"email": "a@b.example", "fields": {"n": 1, "f": 1.5, "t": true, "z": null, "s": "x"}}\n\n{"fields": null}\n'
    assert list(read_ndjson(io.BytesIO(data))) == [
        IncomingRow(1, "a@b.example", {"n": 1, "f": 1.5, "t": True, "z": None, "s": "x"}), IncomingRow(3, "", {})]


@pytest.mark.parametrize(("line", "words", "column"), [
    (b"[]", "is not an object", None), (b"1", "is not an object", None), (b'"x"', "is not an object", None),
    (b"null", "is not an object", None), (b"{", "is not a JSON object", None), (b"email", "is not a JSON object", None),
    (b'{"email": "a"} {"email": "b"}', "is not a JSON object", None), (b'{"email": 1}', '"email" is not a text', "email"),
    (b'{"email": ["a"]}', '"email" is not a text', "email"), (b'{"e-mail": "a"}', 'unknown key "e-mail"', "e-mail"),
    (b'{"fields": []}', '"fields" is not an object', "fields"), (b'{"fields": ""}', '"fields" is not an object', "fields"),
    (b'{"fields": 0}', '"fields" is not an object', "fields"), (b'{"fields": false}', '"fields" is not an object', "fields"),
    (b'{"fields": {"x": []}}', 'the field "x" is neither', "x"), (b'{"fields": {"x": {}}}', 'the field "x" is neither', "x"),
    (b'{"fields": {"x": NaN}}', "NaN", None), (b'{"fields": {"x": -Infinity}}', "Infinity", None),
    (b'{"fields": {"x": 1e999}}', 'the field "x"', "x"), (b'{"fields": {"x": 18446744073709551616}}', 'the field "x"', "x"),
    (b'{"fields": {"x": -9223372036854775809}}', 'the field "x"', "x"),
    (b'{"fields": {"x": ' + b"9" * 5000 + b"}}", "is not a JSON object", None),
    (b'{"fields": {"x": "\\u0000"}}', "NUL", "x"), (b'{"fields": {"\\u0000": 1}}', "NUL", "\0"),
    (b'{"email": "a\\u0000"}', "NUL", "email"), (b'{"email": "\xff"}', "is not valid UTF-8", None),
    (b"[" * 60_000, "is not a JSON object", None),
])
def test_a_wrong_shape_is_refused_with_its_line(line: bytes, words: str, column: str | None) -> None:
    error = ndjson_refusal(b'{"email": "a@b.example"}\n' + line + b"\n")
    assert words in str(error)
    assert (error.row, error.column) == (2, column)


def test_too_many_fields_or_too_long_a_line_are_refused() -> None:
    fields = {f"f{n}": n for n in range(COLUMNS_MAX + 1)}
    assert "at most 200" in str(ndjson_refusal(json.dumps({"fields": fields}).encode()))
    assert "64 KiB" in str(ndjson_refusal(b'{"email": "' + b"a" * 10_000_000 + b'"}\n'))


def test_records_of_a_request_are_numbered_from_1() -> None:
    assert list(read_records([{"email": "a"}, {"email": None}])) == [IncomingRow(1, "a", {}), IncomingRow(2, "", {})]
    with pytest.raises(Unreadable, match="Row 2 is not an object"):
        list(read_records([{"email": "a"}, "b"]))


@pytest.mark.parametrize(("record", "column", "words"), [
    ({"email": "a" * (ROW_BYTES_MAX + 1)}, "email", '"email" is longer than 64 KiB'),
    ({"fields": {"bio": "a" * (ROW_BYTES_MAX + 1)}}, "bio", 'the field "bio" is longer than 64 KiB'),
    ({"fields": {"b" * (ROW_BYTES_MAX + 1): 1}}, "b" * 60, f'the name of the field "{"b" * 60}..." is longer than 64 KiB'),
])
def test_a_record_of_a_request_has_the_limits_of_a_cell(record: object, column: str, words: str) -> None:
    with pytest.raises(Unreadable) as caught:
        list(read_records([{"email": "a"}, record]))
    assert (caught.value.row, caught.value.column) == (2, column)
    assert str(caught.value) == f"Row 2: {words}."


def test_a_value_of_64_kib_is_taken() -> None:
    longest = "a" * ROW_BYTES_MAX
    assert list(read_records([{"email": longest, "fields": {longest: longest}}])) == [IncomingRow(1, longest, {longest: longest})]


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
    assert read == [IncomingRow(n, address, {"x": x}) for n, (address, x) in enumerate(table, start=2)]


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["utf-8", "cp1252", "utf-16"]))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes, encoding: str) -> None:
    for read in (lambda stream: read_csv(stream, encoding=encoding), read_ndjson):
        try:
            list(read(io.BytesIO(b"email\n" * (read is not read_ndjson) + data)))
        except Unreadable as error:
            assert str(error).endswith((".", "?"))  # noqa: PT017 - a refusal is one of two good ends


json_value = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                          lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3))


@settings(max_examples=200)
@given(st.one_of(json_value, st.fixed_dictionaries({"email": json_value, "fields": json_value})))
def test_any_json_is_a_row_or_refused(value: object) -> None:
    try:
        row = incoming_row(1, value)
    except Unreadable as error:
        assert error.row == 1  # noqa: PT017 - as above
    else:
        assert "\0" not in row.address
