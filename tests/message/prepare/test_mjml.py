"""MJML becomes the HTML that the mjml package makes of it, or is refused by the place of what is wrong."""

import pytest

from postroom.errors import InvalidInput
from postroom.message.content import Content
from postroom.message.prepare import source


def in_column(components: str) -> str:
    return f"<mjml><mj-body><mj-section><mj-column>{components}</mj-column></mj-section></mj-body></mjml>"


def html_of(mjml: str) -> str:
    made = source.prepare(Content("Subject", None, None, "news@example.org", mjml=mjml)).html
    assert made is not None
    return made


def fault_of(mjml: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        html_of(mjml)
    assert [one.field for one in caught.value.faults] == ["mjml"]
    return caught.value.faults[0].message


@pytest.mark.parametrize(
    "characters",
    ["two\nlines", "a\ttab", "C:\\new", "🏳️‍🌈 👩🏽‍🚀 ☎️", "Zoë", "नमस्ते", "שָׁלוֹם", "نمی‌شود", "\u00ad\u200b", "5 < 6 > 4", "R&D",
     "$[^`{}]"],
)
@pytest.mark.parametrize("component", ['<mj-image src="a.png" alt="{}" />', '<mj-image src="a.png" href="b" title="{}" />'])
def test_an_attribute_holds_the_characters_that_were_written(component: str, characters: str) -> None:
    assert f'="{characters}"' in html_of(in_column(component.format(characters)))


def test_quotation_marks_in_an_attribute_do_not_end_it() -> None:
    assert 'alt="the &quot;old&quot; mill"' in html_of(in_column("""<mj-image src="a.png" alt='the "old" mill' />"""))
    html = html_of('<mjml><mj-head><mj-title>The "old" mill – Zoë</mj-title></mj-head><mj-body></mj-body></mjml>')
    assert html.count("The &quot;old&quot; mill – Zoë") == 2


def test_attributes_may_stand_close_together_and_without_quotes() -> None:
    html = html_of(in_column('<mj-image src="a.png"alt="mill"width=100px />'))
    assert 'alt="mill"' in html
    assert 'width="100"' in html


@pytest.mark.parametrize("tag", ["mj-text", "mj-button", "mj-table", "mj-raw"])
@pytest.mark.parametrize(
    "content",
    [
        "3 < 4, and I <3 it & you",
        "<p style='\n  margin: 0;\n'>Zoë\n<br>x",
        '<img src=a.png><a title="é 👋🏽" HREF="?a=1&b=2">{{ name }}</a>',
        "<!-- {{ a }} --><!--[if mso]>{% if b %}<i>{% endif %}<![endif]-->",
        "<div><p>never closed",
    ],
)
def test_the_html_within_a_component_is_as_it_was_written(tag: str, content: str) -> None:
    assert content in html_of(in_column(f"<{tag}>{content}</{tag}>"))


def test_a_sheet_and_a_preview_are_as_they_were_written() -> None:
    head = "<mj-style>td > a::after { content: '\\2192 é <' }</mj-style><mj-preview>5 < 6 – Zoë</mj-preview>"
    html = html_of(f"<mjml><mj-head>{head}</mj-head><mj-body></mj-body></mjml>")
    assert "td > a::after { content: '\\2192 é <' }" in html
    assert ">5 < 6 – Zoë</div>" in html


@pytest.mark.parametrize(
    "component",
    [
        '<mj-image src="a.png" />',
        '<mj-carousel><mj-carousel-image src="a.png" /></mj-carousel>',
        '<mj-social><mj-social-element name="github" href="https://list.example">x</mj-social-element></mj-social>',
    ],
)
def test_an_image_without_words_has_an_empty_alternative(component: str) -> None:
    html = html_of(in_column(component))
    images = [image.partition(">")[0] for image in html.split("<img ")[1:]]
    assert images
    assert all("alt=" in image for image in images)
    assert any('alt=""' in image for image in images)


def test_an_image_in_somebodys_own_html_stays_without_one() -> None:
    assert "<img src=a.png>" in html_of(in_column("<mj-text><img src=a.png></mj-text>"))


def test_a_prologue_of_xml_says_nothing() -> None:
    assert html_of('<?xml version="1.0"?>\n<!DOCTYPE mjml>' + in_column("<mj-text>x</mj-text>")).endswith("</html>")


@pytest.mark.parametrize(
    ("mjml", "place", "words"),
    [
        (in_column("\n<mj-tex>a</mj-tex>"), "line 2, column 1", "<mj-tex> cannot be used"),
        (in_column("\n<p>a</p>"), "line 2, column 1", "HTML stands within <mj-text>"),
        (in_column("\n<MJ-TEXT>a</MJ-TEXT>"), "line 2, column 1", "<MJ-TEXT> cannot be used"),
        (in_column("{{ é }}\n  {% if a %}<mj-include path='a.mjml' />{% endif %}"), "line 2, column 13", "<mj-include> cannot"),
        ("<mjml><mj-head>\n<mj-html-attributes></mj-html-attributes></mj-head></mjml>", "line 2, column 1", "not supported"),
        ("<mjml><mj-body></mj-body>\n<mj-body></mj-body></mjml>", "line 2, column 1", "a second <mj-body>"),
        ("<mjml><mj-head />\n<mj-head /><mj-body /></mjml>", "line 2, column 1", "a second <mj-head>"),
        (in_column("\n5 < 6"), "line 2, column 3", "&lt;"),
        (in_column("\n<mj-text>a</mj-button>"), "line 2, column 1", "<mj-text> is not closed"),
        ("<mjml>\n<mj-body>", "line 2, column 1", "<mj-body> is not closed"),
        ("<mjml><mj-body>\n</mj-section></mj-body></mjml>", "line 2, column 1", "<mj-body> is open"),
        ("</mjml>", "line 1, column 1", "nothing is open"),
        ("<mj-body>\n</mj-body>", "line 1, column", ""),
    ],
)
def test_what_mjml_does_not_have_is_a_fault_with_its_place(mjml: str, place: str, words: str) -> None:
    message = fault_of(mjml)
    assert place in message
    assert words in message


def test_mjml_needs_a_body() -> None:
    assert fault_of("<mjml></mjml>") == "The MJML has no <mj-body>, so there is nothing to show."


def test_an_attribute_that_is_none_is_a_fault_with_its_place() -> None:
    assert "line 2, column 46" in fault_of(in_column("é\n{{ a }}<mj-text>🙂</mj-text><mj-image alt='🙂' \"' />"))


def test_the_first_of_two_attributes_of_one_name_counts() -> None:
    assert 'alt="a"' in html_of(in_column('<mj-image src="a.png" alt="a" ALT="b" />'))


def test_what_the_library_cannot_read_is_a_fault_with_its_place_in_what_was_written() -> None:
    head = "<mj-title>é</mj-title><mj-style inline='inline'>p {}</mj-style>{{ a }}<mj-text>🙂</mj-text>"
    assert "line 2, column 72" in fault_of(f"<mjml><mj-head>\n{head}</mj-head><mj-body /></mjml>")
