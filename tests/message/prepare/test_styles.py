"""Style sheets are inlined by the rules of the cascade, and stay for what cannot be."""

import pytest

from postroom.errors import InvalidInput
from postroom.message.markup.masked import Masked
from postroom.message.prepare import styles


def inlined(html: str) -> str:
    masked = Masked(html)
    return masked.restored(styles.inlined(masked))


def body_of(html: str) -> str:
    return inlined(html).rpartition("</style>")[2]


def test_the_sheet_stays_for_hover_and_media_queries() -> None:
    html = "<style>p { top: 0 } a:hover { top: 1px } @media (width < 9px) { p { top: 2px !important } }</style><p>a<a>b</a></p>"
    assert inlined(html) == html.replace("<p>", '<p style="top: 0">')


def test_a_written_style_wins_but_over_what_is_important() -> None:
    made = body_of("<style>p { top: 0 }</style><p style='font: \"A\"; top: 1px'>")
    assert made == '<p style="top: 0; font: &quot;A&quot;; top: 1px">'
    assert body_of('<style>p { top: 0 !important }</style><p style="top: 1px">') == '<p style="top: 0 !important; top: 1px">'


def test_the_more_specific_rule_wins() -> None:
    assert body_of("<style>p.a { top: 1px } p { top: 0 }</style><p class=a>") == '<p style="top: 1px" class=a>'


def test_an_ampersand_in_an_address_stays_one() -> None:
    assert body_of("<style>p { background: url(x?a&copy=1) }</style><p>") == '<p style="background: url(x?a&amp;copy=1)">'


def test_a_field_in_a_sheet_is_inlined_as_a_field() -> None:
    made = body_of('<style>p { color: {{ c | default: "red" }}; width: {{ w }}px }</style><p><p>')
    assert made == '<p style="color: {{ c | default: "red" }}; width: {{ w }}px">' * 2


def test_a_sheet_with_tags_in_it_is_not_inlined() -> None:
    html = "<style>{% if a %} p { top: 0 } b { top: 0 } {% endif %}</style><p><b>"
    assert inlined(html) == html


def test_unclosed_elements_end_where_the_next_begins() -> None:
    assert body_of("<style>li li, p p, td td { top: 0 }</style><ul><li>a<li>b<p>c<p>d</ul><table><tr><td>e<td>f<tr><td>g") == (
        "<ul><li>a<li>b<p>c<p>d</ul><table><tr><td>e<td>f<tr><td>g"
    )


def test_another_sheet_is_inlined_and_not_shown() -> None:
    masked = Masked("<p>{{ a }}")
    assert masked.restored(styles.with_sheet(masked, masked.text, "p { top: 0 }")) == '<p style="top: 0">{{ a }}'


@pytest.mark.parametrize("selector", ["p:not(.a)", "p:has(b)", "a ~ p", ":is(p)", r"p:n\6ft(.a)"])
def test_a_selector_that_may_take_long_is_left_to_the_sheet(selector: str) -> None:
    html = f"<style>{selector} {{ top: 0 }} p:nth-child(2n + 1) {{ left: 0 }}</style>"
    assert inlined(html + "<p><b>a</b></p>") == html + '<p style="left: 0"><b>a</b></p>'


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 201,
        "<b>" * 33,
        "<p></p>" * 20_001,
        "<p></p>" * 5_000 + "<style>" + "p{top:0}" * 2_000 + "</style>",
        "<style>" + "".join(f".a{n}{{top:0}}" for n in range(1_500)) + "</style>" + "<p></p>" * 1_000,
        "<style>" + "p{" * 5_000 + "top:0</style><p>",
        "<style>p{top:" + "(" * 5_000 + "</style><p>",
    ],
)
def test_what_is_too_deep_or_too_much_is_refused(html: str) -> None:
    with pytest.raises(InvalidInput, match=r"more than|too m"):
        inlined("<style>p { top: 0 }</style>" + html)
