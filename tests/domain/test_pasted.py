"""Addresses that somebody pastes are taken with their names, and what is none is not lost."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.domain.audience import ROW_BYTES_MAX, Remarks, Unreadable
from postroom.domain.delimited import read_text
from postroom.domain.opt_out import status_says
from postroom.domain.pasted import is_pasted, read_pasted
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
        ("* ann@list.example\n- bob@list.example", [("ann@list.example", ""), ("bob@list.example", "")]),
        ("1. ann@list.example\n2) Bob <bob@list.example>", [("ann@list.example", ""), ("bob@list.example", "Bob")]),
        ("ann@list.example | bob@list.example / cleo@list.example", [(f"{a}@list.example", "") for a in ("ann", "bob", "cleo")]),
        ("To: Ann Lee <ann@list.example>", [("ann@list.example", "Ann Lee")]),
        ('To: "Lee: Ann" <ann@list.example>', [("ann@list.example", "Lee: Ann")]),
        ("Ann 2 Lee <ann@list.example>", [("ann@list.example", "Ann 2 Lee")]),
        ("Friends: ann@list.example, bob@list.example", [("ann@list.example", ""), ("bob@list.example", "")]),
        ("Ann (home) <ann@list.example>", [("ann@list.example", "Ann (home)")]),
        ("Ann (ann@list.example)", [("ann@list.example", "Ann")]),
        ("Cy << cy@list.example >>\nDi <di@list.example", [("cy@list.example", "Cy"), ("di@list.example", "Di")]),
        ("mailto:ann@list.example, MAILTO:bob@list.example", [("ann@list.example", ""), ("bob@list.example", "")]),
        ("ann@list.example (Ann), bob@list.example (Bob)", [("ann@list.example", "Ann"), ("bob@list.example", "Bob")]),
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


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("ann@list.example;unsubscribed\nbob@list.example;subscribed", [True, False]),
        ("ann@list.example,Unsubscribed\nbob@list.example", [True, False]),
        ("Ann <ann@list.example>,bounced\nBob <bob@list.example>,active", [True, False]),
        ("unsubscribed; ann@list.example\nbob@list.example", [True, False]),
        ("Unsubscribed: ann@list.example, bob@list.example\ncleo@list.example", [True, True, False]),
        ("ann@list.example - opted out; Bob <bob@list.example> (unsubscribed)\ncleo@list.example", [True, True, False]),
        ("ann@list.example, bob@list.example, Status: cleaned", [False, True]),
    ],
)
def test_a_word_beside_an_address_says_that_it_is_out(text: str, out: list[bool]) -> None:
    remarks = Remarks()
    rows = list(read_text(io.BytesIO(text.encode()), AS_FOUND, remarks, pasted=True))
    assert [bool(row.opted_out) for row in rows] == out
    assert 'of the list says "' in next(row.opted_out for row in rows if row.opted_out)
    assert "Not to be mailed by what stands beside the address, and left out: row " in remarks.told()[-1]
    chosen = read_text(io.BytesIO(text.encode()), Choices(opted_out_rows="send"), remarks, pasted=True)
    assert not any(row.opted_out for row in chosen)


@pytest.mark.parametrize("pasted", [True, False])
@pytest.mark.parametrize("title", ["By Ann <ann@admin.example>,,", "By Ann <ann@admin.example>", "<ann@admin.example>,,"])
def test_an_address_in_a_title_makes_no_addresses_of_a_table(title: str, pasted: bool) -> None:
    text = f"{title}\nName,Email,Status\nA,sub@list.example,Subscribed\nB,unsub@list.example,Unsubscribed\n"
    rows = list(read_text(io.BytesIO(text.encode()), AS_FOUND, Remarks(), pasted=pasted))
    assert [(row.address, row.fields, bool(row.opted_out)) for row in rows] == [
        ("sub@list.example", {"Name": "A", "Status": "Subscribed"}, False),
        ("unsub@list.example", {"Name": "B", "Status": "Unsubscribed"}, True),
    ]


@pytest.mark.parametrize("sign", ["a", "a@", "@", '"', "(", "<", "<a", "(a", "mailto:", "a@b ", "[", "1 ", "-", "<@"])
def test_whatever_stands_on_a_line_it_takes_no_longer_than_its_length(sign: str) -> None:
    line = sign * (ROW_BYTES_MAX // len(sign) - 1)
    begins = time.process_time()
    is_pasted(line)
    list(read_pasted([line], Remarks()))
    assert time.process_time() - begins < 1.5


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
    assert len(read("ann@list.example, " + "x, " * 30_000)) == 30_001
    with pytest.raises(Unreadable, match="64 KiB without a comma"):
        read("ann@list.example" + "x" * 3 * ROW_BYTES_MAX)


name = st.text(st.characters(categories=["L"]), min_size=1, max_size=8).filter(lambda text: not status_says(text))


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
