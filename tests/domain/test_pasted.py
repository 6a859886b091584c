"""Addresses that somebody pastes are taken with their names, and what is none is not lost."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.domain.audience import ROW_BYTES_MAX, Remarks, Unreadable
from postroom.domain.delimited import read_text
from postroom.domain.table import AS_FOUND, Choices


def read(text: str, *, pasted: bool = True) -> list[tuple[str, str]]:
    rows = list(read_text(io.BytesIO(text.encode()), AS_FOUND, Remarks(), pasted=pasted))
    assert [row.row_no for row in rows] == list(range(1, len(rows) + 1))
    return [(row.address, str(row.fields["name"])) for row in rows]


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("ann@list.example", [("ann@list.example", "")]),
        (
            "ann@list.example, bob@list.example;cleo@list.example\ndan@list.example\r\n eve@list.example",
            [(f"{name}@list.example", "") for name in ("ann", "bob", "cleo", "dan", "eve")],
        ),
        ("ann@list.example bob@list.example", [("ann@list.example", ""), ("bob@list.example", "")]),
        ("Ann Lee <ann@list.example>", [("ann@list.example", "Ann Lee")]),
        (
            '"Lee, Ann" <ann@list.example>, Bob <bob@list.example>',
            [("ann@list.example", "Lee, Ann"), ("bob@list.example", "Bob")],
        ),
        (
            "Lee, Ann <ann@list.example>; Ray, Bob <bob@list.example>",
            [("ann@list.example", "Lee, Ann"), ("bob@list.example", "Ray, Bob")],
        ),
        ('"Lee; Ann" <ann@list.example>', [("ann@list.example", "Lee; Ann")]),
        ("Ann Lee ann@list.example", [("ann@list.example", "Ann Lee")]),
        ("ann@list.example (Ann Lee)", [("ann@list.example", "Ann Lee")]),
        ("ann@list.example <ann@list.example>", [("ann@list.example", "ann@list.example")]),
        ("'ann@list.example' <ann@list.example>", [("ann@list.example", "ann@list.example")]),
        ("Ann <mailto:ann@list.example>", [("ann@list.example", "Ann")]),
        ("Zoë <zoë@list.example>", [("zoë@list.example", "Zoë")]),
        ("<ann@list.example>,,;\n\n;", [("ann@list.example", "")]),
    ],
)
def test_names_and_separators_are_as_people_write_them(text: str, people: list[tuple[str, str]]) -> None:
    assert read(text) == people


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("bob at list.example, ann@list.example", ["bob at list.example", "ann@list.example"]),
        ("ann@list.example, nobody", ["ann@list.example", "nobody"]),
        ("ann@list.example\nlist.example\nbob@list.example", ["ann@list.example", "list.example", "bob@list.example"]),
        ("bob.list.example, Ann <ann@list.example>", ["bob.list.example", "ann@list.example"]),
        ("Ann <ann at list.example>, bob@list.example", ["ann at list.example", "bob@list.example"]),
        ("ann@@list.example", ["ann@@list.example"]),
    ],
)
def test_what_is_no_address_is_a_row_of_its_own_and_nobodys_name(text: str, addresses: list[str]) -> None:
    assert [address for address, _ in read(text)] == addresses


@pytest.mark.parametrize("text", ["email\nann@list.example", "name;email\nAnn;ann@list.example", "Ann\tann@list.example\tOslo"])
def test_rows_of_a_table_are_read_as_one(text: str) -> None:
    (row,) = read_text(io.BytesIO(text.encode()), AS_FOUND, Remarks(), pasted=True)
    assert row.address == "ann@list.example"
    assert "name" not in row.fields or row.fields["name"] == "Ann"


@pytest.mark.parametrize("text", ["Ann <ann@list.example>\nBob <bob@list.example>\n", "ann@list.example; bob@list.example"])
def test_a_file_that_begins_with_addresses_is_read_as_these(text: str) -> None:
    assert [address for address, _ in read(text, pasted=False)] == ["ann@list.example", "bob@list.example"]


def test_there_is_no_column_to_choose() -> None:
    with pytest.raises(Unreadable, match="without columns"):
        list(read_text(io.BytesIO(b"Ann <ann@list.example>"), Choices("email"), Remarks()))


def test_a_line_may_be_as_long_as_it_likes_and_an_item_may_not() -> None:
    assert len(read(", ".join(f"person{n}@list.example" for n in range(20_000)))) == 20_000
    with pytest.raises(Unreadable, match="64 KiB without a comma"):
        read("ann@list.example" + "x" * 3 * ROW_BYTES_MAX)


name = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(name, st.integers(0, 999)), min_size=1, max_size=20),
    st.lists(st.sampled_from([",", ";", "\n", ", ", " ;\r\n"])),
)
def test_whatever_stands_between_them_everybody_is_there_once(people: list[tuple[str, int]], between: list[str]) -> None:
    text = "".join(
        f"{who} <p{n}@list.example>{(between or [','])[at % len(between or [','])]}" for at, (who, n) in enumerate(people)
    )
    assert read(text) == [(f"p{n}@list.example", who) for who, n in people]
