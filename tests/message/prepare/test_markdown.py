"""Tables keep all of their cells, whatever Liquid stands around their rows, and front matter never stands in a message."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from liquid import BoundTemplate

from postroom.errors import InvalidInput
from postroom.message.content import Bodies, Content
from postroom.message.liquid import merge
from postroom.message.prepare import source

LIQUID = merge.environment(datetime(2026, 1, 1, tzinfo=UTC), html=True)
TABLE = "| fruit | price |\n|:---|---:|\n"


def prepared(markdown: str) -> Bodies:
    return source.prepare(Content("Subject", None, None, "news@example.org", markdown=markdown))


def cells_of(markdown: str, **fields: object) -> list[list[str]]:
    """The rows of the HTML as they come out for somebody. There is one table, and nothing but rows in it."""
    template = merge.parse(prepared(markdown).html or "", LIQUID, "html")
    assert isinstance(template, BoundTemplate)
    html = template.render(**fields)
    [table] = re.findall(r"<table.*?</table>", html, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)]


def fault_of(markdown: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        prepared(markdown)
    assert caught.value.faults[0].field == "markdown"
    return caught.value.faults[0].message


@pytest.mark.parametrize(
    "rows",
    [
        "{% for one in list %}| {{ one }} | ONE |\n{% endfor %}\n| last | TWO |",
        "{% for one in list %}\n| {{ one }} | ONE |\n{% endfor %}\n| last | TWO |",
        "{% for one in list %}\n| {{ one }} | ONE |{% endfor %}\n| last | TWO |",
        "{%- for one in list -%} {% if one %}| {{ one }} | ONE |{% endif %}\n{%- endfor -%}| last | TWO |",
        "{% for one in list %}| {{ one }} | ONE\n{% endfor %}| last | TWO",
    ],
)
def test_rows_of_a_table_can_be_repeated_and_left_out(rows: str) -> None:
    for ends in ("", "\n\nEnd"):
        assert cells_of(TABLE + rows + ends, list=["kiwi", "fig"]) == [
            ["fruit", "price"], ["kiwi", "ONE"], ["fig", "ONE"], ["last", "TWO"]]
        assert cells_of(TABLE + rows + ends, list=[]) == [["fruit", "price"], ["last", "TWO"]]


def test_what_prints_in_a_row_is_a_cell() -> None:
    assert cells_of(TABLE + "| {{ a }} | |\n| {% cycle 'x' %} | |\n| {% if a %}b{% endif %} | c |", a="1")[1:] == [
        ["1", ""], ["x", ""], ["b", "c"]]


def test_the_text_has_every_cell() -> None:
    assert prepared(TABLE + "{% for one in list %}| {{ one }} | ONE |\n{% endfor %}").text == (
        "fruit price\n{% for one in list %}\n{{ one }} ONE\n{% endfor %}\n")


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ("| a | b | c |", "line 3, column 1: the row has 3 cells, and its table has 2 columns"),
        ("| a | b |\n{{ x\n}} | b | c", "line 4"),
        ("{% if a %}| a | b | c |{% endif %}", "line 3"),
        ("\n| a |\n|---|\n| a | b |", "line 6, column 1: the row has 2 cells, and its table has 1 column."),
    ],
)
def test_a_row_with_more_cells_than_columns_is_a_fault_with_its_line(rows: str, place: str) -> None:
    assert place in fault_of(TABLE + rows)


@pytest.mark.parametrize(
    "markdown",
    [
        "```\n" + TABLE + "| a | b | c |\n```",
        TABLE + "| a \\| b | c |",
        TABLE + "| {{ a | upcase }} | {{ b | upcase }} |",
        "a | b | c",
        TABLE + "| a | b |\n\na | b | c",
    ],
)
def test_bars_that_part_no_cells_are_no_fault(markdown: str) -> None:
    assert prepared(markdown).html


@pytest.mark.parametrize(
    "front", ["---\ntitle: News\n---\n", "---\n# a remark\n\nlayout: post\ntags:\n  - a\n...\n", "+++\ntitle = 'News'\n+++\n",
              "\ufeff---\r\ntitle: News\r\n---\r\n"])  # fmt: skip
def test_front_matter_is_refused(front: str) -> None:
    assert "line 1, column 1: it begins with front matter" in fault_of(front + "\nHello")


@pytest.mark.parametrize("markdown", ["---\n\nHello\n\n---\n", "Hello\n---\na: b\n---\n", "---\nHello, all: welcome\n---"])
def test_a_line_across_is_no_front_matter(markdown: str) -> None:
    assert "Hello" in (prepared(markdown).html or "")
