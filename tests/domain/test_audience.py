"""A list in JSON is read as it stands or refused with the row and what is wrong; and what is remarked is told once."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.domain.audience import (
    COLUMNS_MAX,
    ROW_BYTES_MAX,
    IncomingRow,
    Remarks,
    Unreadable,
    incoming_row,
    read_ndjson,
    read_records,
)


def ndjson_refusal(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        list(read_ndjson(io.BytesIO(data)))
    return caught.value


def test_a_remark_on_many_rows_names_the_first_and_counts_the_rest() -> None:
    remarks = Remarks()
    remarks.say("The first sheet is read.")
    for row_no in (7, 9, 1_200):
        remarks.count("Short", row_no)
    remarks.count("Odd", 8)
    assert remarks.told() == ("The first sheet is read.", "Short: row 7 and 2 more.", "Odd: row 8.")



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
    assert "at most 1,000" in str(ndjson_refusal(json.dumps({"fields": fields}).encode()))
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
