"""Tables keep their cells and lists stay one list, whatever Liquid stands around rows and items; front matter is never shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liquid import BoundTemplate

from postroom.errors import InvalidInput
from postroom.message.content import Bodies, Content
from postroom.message.liquid import merge
from postroom.message.prepare import source

LIQUID = merge.environment(datetime(2026, 1, 1, tzinfo=UTC), html=True)
TEXT = merge.environment(datetime(2026, 1, 1, tzinfo=UTC), html=False)
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


def shown(markdown: str, **fields: object) -> tuple[str, str]:
    """The HTML and the text as they come out for somebody, the HTML without styles and what stands around."""
    made = prepared(markdown)
    template = merge.parse(made.html or "", LIQUID, "html")
    text = merge.parse(made.text or "", TEXT, "text")
    assert isinstance(template, BoundTemplate)
    assert isinstance(text, BoundTemplate)
    html = re.sub(r' style="[^"]*"|\s*\n\s*', "", template.render(**fields))
    body = html.partition('<div class="text">')[2].partition("</div>")[0]
    return body, re.sub(r"\n\s*\n+", "\n", text.render(**fields)).strip()


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


@pytest.mark.parametrize(
    "markdown",
    [
        "{% for one in list %}\n1. {{ one }}\n{% endfor %}",
        "{% for one in list %}\n\n1. {{ one }}\n\n{% endfor %}",
        "{% for one in list %}1. {{ one }}\n{% endfor %}",
        "{% for one in list %}1. {{ one }}{% endfor %}",
        "{%- for one in list -%}\n{% if one %}\n1. {{ one }}\n{% endif %}\n{%- endfor -%}",
        "{% for one in list %}{% if one %}1. {{ one }}{% else %}\n1. nobody\n{% endif %}{% endfor %}",
        "{% assign last = 0 %}\n{% for one in list %}\n{% assign last = one %}\n1. {{ one }}\n{% endfor %}",
    ],
)
def test_a_loop_makes_one_list_that_counts_its_items(markdown: str) -> None:
    html, text = shown(markdown, list=["kiwi", "fig"])
    assert (html, text) == ("<ol><li>kiwi</li><li>fig</li></ol>", "1. kiwi\n2. fig")
    html, text = shown("Fruit:\n\n" + markdown + "\n\nEnd", list=[])
    assert (html, text) == ("<p>Fruit:</p><ol></ol><p>End</p>", "Fruit:\nEnd")


def test_a_loop_in_a_quotation_or_in_an_item_makes_one_list_too() -> None:
    quoted = "> {% for one in list %}\n> 1. {{ one }}\n> {% endfor %}"
    assert shown(quoted, list=["kiwi", "fig"]) == (
        "<blockquote><ol><li>kiwi</li><li>fig</li></ol></blockquote>", "1. kiwi\n2. fig")
    within = "- fruit\n  {% for one in list %}\n  5. {{ one }}\n  {% endfor %}\n- nuts"
    assert shown(within, list=["kiwi", "fig"]) == (
        '<ul><li>fruit<ol start="5"><li>kiwi</li><li>fig</li></ol></li><li>nuts</li></ul>', "- fruit\n5. kiwi\n6. fig\n- nuts")


@pytest.mark.parametrize(
    "markdown",
    [
        "1. a\n{% if b %}\n2. b\n{% else %}\n2. c\n{% endif %}\n3. d",
        "1. a\n{% if b %}2. b{% else %}\n2. c{% endif %}\n3. d",
        "1. a\n2. {% if b %}b{% else %}c{% endif %}\n3. d",
        "1. a{% if b %}\n1. b{% endif %}{% unless b %}\n1. c{% endunless %}\n1. d",
    ],
)
def test_a_condition_between_items_decides_about_items_of_one_list(markdown: str) -> None:
    assert shown(markdown, b="1") == ("<ol><li>a</li><li>b</li><li>d</li></ol>", "1. a\n2. b\n3. d")
    assert shown(markdown) == ("<ol><li>a</li><li>c</li><li>d</li></ol>", "1. a\n2. c\n3. d")


@pytest.mark.parametrize(
    ("markdown", "html", "otherwise"),
    [
        ("{% if b %}\n- a\n{% endif %}\n\nc", "<ul><li>a</li></ul><p>c</p>", "<p>c</p>"),
        ("{% if b %}\nx\n\n- a\n{% endif %}\n- c", "<p>x</p><ul><li>a</li></ul><ul><li>c</li></ul>", "<ul><li>c</li></ul>"),
        ("- a\n{% if b %}\n- c\n\nx\n{% endif %}", "<ul><li>a</li></ul><ul><li>c</li></ul><p>x</p>", "<ul><li>a</li></ul>"),
        ("- a\n{% if b %}\n1. c\n{% endif %}", "<ul><li>a</li></ul><ol><li>c</li></ol>", "<ul><li>a</li></ul>"),
        ("{% capture x %}\n- a\n{% endcapture %}\n- c", "<ul><li>c</li></ul>", "<ul><li>c</li></ul>"),
        ("{% if b %}- a{% endif %} c", "<p>- a c</p>", "<p> c</p>"),
        ("{% if b %}1. May{% else %}2. May{% endif %}", "<p>1. May</p>", "<p>2. May</p>"),
        ("- {% if b %}a{% endif %}{% if b %}c{% endif %}", "<ul><li>ac</li></ul>", "<ul><li></li></ul>"),
        ("> ```\n> {% if b %}- a{% endif %}\n> ```", "<blockquote><pre><code>- a</code></pre></blockquote>",
         "<blockquote><pre><code></code></pre></blockquote>"),
    ],
)
def test_lists_that_more_than_tags_part_stay_as_they_are(markdown: str, html: str, otherwise: str) -> None:
    assert shown(markdown, b="1")[0] == html
    assert shown(markdown)[0] == otherwise


lines = ("- a\n", "1. b\n", "\ntext\n\n", "{% assign d = 1 %}\n", "- e\n  - f\n", "\n", "\n> - g\n")
blocks = st.recursive(
    st.lists(st.sampled_from(lines), max_size=4).map("".join),
    lambda inner: st.builds(
        "{}{{% if {} %}}{}{}{{% else %}}\n{}{{% endif %}}\n{}".format,
        inner, st.sampled_from("xy"), st.sampled_from(["", "\n"]), inner, inner, inner,
    )
    | st.builds("{}{{% for z in (1..2) %}}\n{}{{% endfor %}}\n{}".format, inner, inner, inner),
    max_leaves=6,
)  # fmt: skip


@given(blocks, st.booleans(), st.booleans())
def test_every_list_that_begins_ends_for_everybody(markdown: str, x: bool, y: bool) -> None:
    html = shown("# Lists\n\n" + markdown, **{name: "1" for name, is_given in (("x", x), ("y", y)) if is_given})[0]
    within: list[str] = []
    for end, name in re.findall(r"<(/?)(ul|ol|li|p|blockquote)\b", html):
        if end:
            assert within.pop() == name
        else:
            assert name != "li" or within[-1] in ("ol", "ul")
            within.append(name)
    assert within == []
