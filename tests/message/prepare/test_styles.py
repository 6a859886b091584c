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


@pytest.mark.parametrize(
    "rule",
    [
        "@media print { p { color: red } }",
        "@supports (top: 0) { p { color: red } }",
        "@layer a { p { color: red } }",
        "p:hover { color: red }",
        "p:not(.a) { color: red }",
        "b ~ p { color: red }",
        ":is(b, p) { color: red }",
        "p, p::fantasy { color: red }",
        "body { p { color: red } }",
        "body { & > p { @media print { color: red } } }",
        "p { all: unset } p:hover { all: revert }",
        ".{{ a }} { color: red }",
        "p { {{ a }}: red }",
        "{{ a }}",
    ],
)
def test_what_another_rule_may_overrule_is_left_to_the_sheet(rule: str) -> None:
    html = f"<style>p {{ color: blue }}</style><style>{rule}</style><body><b></b><p>a"
    assert inlined(html) == html


@pytest.mark.parametrize(
    ("stays", "said", "style"),
    [
        ("color: red !important", "color: blue", "color: blue"),
        ("color: red !important", "color: blue !important", ""),
        ("color: red", "color: blue !important", "color: blue !important"),
        ("color: red", "top: 0", "top: 0"),
        ("border-color: red", "border: 0; top: 0", "top: 0"),
        ("font: 12px serif", "line-height: 2; top: 0", "top: 0"),
        ("inset: 0", "left: 0; margin: 0", "margin: 0"),
        ("all: unset", "left: 0", ""),
        ("-webkit-text-size-adjust: none", "text-size-adjust: auto; top: 0", "top: 0"),
    ],
)
def test_families_and_importance_decide_what_is_overruled(stays: str, said: str, style: str) -> None:
    made = body_of(f"<style>p {{ {said} }} @media print {{ p {{ {stays} }} }}</style><p>")
    assert made == (f'<p style="{style}">' if style else "<p>")


def test_later_and_stronger_declarations_come_last() -> None:
    sheet = "p { left: 5px } p { inset: 0 } p { left: 6px; top: 1px; top: max(1px, 2px) } .a { left: 7px } b, p { left: 8px }"
    assert body_of(f"<style>{sheet}</style><p class=a>") == (
        '<p style="inset: 0; top: 1px; top: max(1px, 2px); left: 7px" class=a>'
    )


@pytest.mark.parametrize("comment", ["/* a (b) */", "/* ( */", "/* '; { ~ \\ */", "/* :not( */"])
def test_a_comment_hides_nothing(comment: str) -> None:
    assert body_of(f"<style>p {{ top: 0 }} {comment} p {{ top: 1px {comment} }}</style><p>").startswith('<p style="top: 1px')


def test_a_selector_that_reads_styles_keeps_them_as_they_are() -> None:
    sheet = "p { margin: 0; top: 0 } b { top: 0 } [style*='margin: 0'] { color: red }"
    assert body_of(f"<style>{sheet}</style><p><b></b></p>") == '<p><b style="top: 0"></b></p>'


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
