"""HTML, Markdown and MJML become the templates that are rendered, and Liquid comes through untouched."""

import re
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from liquid import BoundTemplate

from postroom.errors import InvalidInput
from postroom.message.content import Bodies, Content
from postroom.message.liquid import merge
from postroom.message.prepare import source

MARKUP = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
LIQUID = merge.environment(datetime(2026, 1, 1, tzinfo=UTC), html=True)
SHEET = "<style>td, p, a, li { color: red }</style>"

outputs = st.sampled_from(
    ["{{ a }}", '{{ link | default: "x" }}', "{{ b | replace: '<', '>' }}", "{{- c -}}", '{{ "é & <p>" }}', "{{\n d\n}}"]
)
tags = st.sampled_from(
    ['{% if a == "<b>" %}', "{% endif %}", "{%- for x in y -%}", "{% raw %}{{ 'no' }}{% endraw %}", "{% assign q = '\"' %}"]
)
markup = st.lists(outputs | tags, max_size=3).map("".join)
anything = markup | st.sampled_from(["", "text", "&amp; ü", " "])
elements = st.recursive(
    st.builds("{}<p>{}</p>{}".format, anything, anything, anything)
    | st.builds('<a href="{}">{}</a>'.format, markup, anything)
    | st.builds("<a href='{}' {}>{}".format, markup, markup, anything)
    | st.builds("<!--[if mso]>{}<![endif]--><!-- {} -->".format, anything, markup)
    | st.builds("<textarea>{}</textarea><title>{}</title>".format, anything, anything)
    | st.builds("<ul>{}<li {}>{}<li>{}</ul>".format, markup, markup, anything, anything),
    lambda inner: (
        st.builds("<table>{}<tr>{}<td {}>{}</td>{}</tr>{}</table>".format, markup, markup, markup, inner, markup, anything)
        | st.builds('<div {}class="{}">{}{}</div>'.format, markup, markup, inner, anything)
        | st.builds("{}<b>{}</div>{}".format, anything, inner, anything)
    ),
    max_leaves=8,
)


def prepare(html: str | None = None, text: str | None = None, **more: str) -> Bodies:
    return source.prepare(Content("Subject", html, text, "news@example.org", **more))


def html_of(html: str | None = None, **more: str) -> str:
    made = prepare(html, **more).html
    assert made is not None
    return made


def fault_of(html: str | None = None, **more: str) -> tuple[str | None, str]:
    with pytest.raises(InvalidInput) as caught:
        prepare(html, **more)
    return caught.value.faults[0].field, caught.value.faults[0].message


@given(elements.filter(str.strip))
@example("<p>\n<TD Class=x>&nbsp;</p></p><b><i></b></i>")
def test_html_without_a_sheet_stays_as_it_was_written(html: str) -> None:
    assert html_of(html) == html


@given(elements)
@example("<table>{% for x in y %}<tr><td>{{ x }}{% endfor %}</table>")
@example('<p {% if a %}class="b"{% endif %}>{% if a %}<div>{% else %}<div class="c">{% endif %}x</div>')
@example("<table>{% if a %}a text that a parser moves{% endif %}<tr><td></table>")
@settings(max_examples=500)
def test_inlining_adds_styles_and_changes_nothing_else(html: str) -> None:
    made = html_of(SHEET + html)
    assert made.replace(' style="color: red"', "") == SHEET + html


@given(st.lists(elements, min_size=1, max_size=3).map("".join))
def test_what_a_sheet_says_is_inlined_wherever_liquid_stands(html: str) -> None:
    made = html_of(SHEET + html + "<p>last</p>")
    assert made.endswith('<p style="color: red">last</p>')


on_one_line = outputs.filter(lambda piece: "\n" not in piece)


@given(
    st.lists(
        st.builds("# {} \"quoted\" {}".format, outputs, outputs)
        | st.builds("[{}]({{{{ link | default: \"x\" }}}}) **{}** _{}_ `{}`".format, outputs, outputs, outputs, outputs)
        | st.builds("{{% for x in y %}}\n- {}\n{{% endfor %}}".format, outputs)
        | st.builds("| a | b |\n|---|---|\n| {} | ~~{}~~ |".format, on_one_line, on_one_line)
        | st.builds("> {}\n\n```\n{}\n{}\n```".format, outputs, markup, tags)
        | st.builds("<div {} title=\"{}\">\n{}\n</div>".format, tags, outputs, markup)
        | st.builds("a <span {{% if a %}}class=\"b\"{{% endif %}}>{}</span>".format, outputs),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=300)
def test_liquid_comes_through_markdown(parts: list[str]) -> None:
    written = "\n\n".join(parts)
    made = MARKUP.findall(html_of(markdown=written))
    assert sorted(made) == sorted(MARKUP.findall(written))
    assert [piece for piece in made if piece[1] == "%"] == [piece for piece in MARKUP.findall(written) if piece[1] == "%"]


def test_the_address_of_a_link_in_markdown_may_stand_far_from_it() -> None:
    html = html_of(markdown="{% for x in y %}\n[{% if x.a %}{{ x.a }}{% endif %}][shop]\n{% endfor %}\n\n[shop]: {{ link }}")
    assert '<a href="{{ link }}">{% if x.a %}{{ x.a }}{% endif %}</a></p>\n{% endfor %}' in html


@given(
    st.lists(
        st.builds("<mj-raw>{}</mj-raw>".format, markup)
        | st.builds(
            "{}<mj-section>{}<mj-column>{}</mj-column>{}</mj-section>{}".format,
            tags,
            tags,
            st.builds('{}<mj-text color="{}">{}</mj-text>{}'.format, tags, outputs, anything, tags)
            | st.builds("<mj-text><b {{% if a %}}id='b'{{% endif %}} class='{}'>{}</b></mj-text>".format, outputs, anything)
            | st.builds("<mj-table>{}<tr><td>{}</td></tr>{}</mj-table>".format, tags, anything, tags)
            | st.builds('<mj-button href="{}">{}</mj-button><mj-image src="{}" />'.format, outputs, outputs, outputs),
            tags,
            tags,
        ),
        max_size=4,
    )
)
@settings(max_examples=300)
def test_liquid_comes_through_mjml(sections: list[str]) -> None:
    written = "<mjml><mj-body>" + "\n".join(sections) + "</mj-body></mjml>"
    assert MARKUP.findall(html_of(mjml=written)) == MARKUP.findall(written)


def test_markdown_becomes_a_complete_page_with_its_styles_inline() -> None:
    html = html_of(markdown="# Hi\n\nA ~~b~~ <u>c</u>\n\n|a|\n|-|\n|b|")
    assert html.startswith("<!DOCTYPE html>")
    assert '<meta charset="utf-8">' in html
    assert 'name="viewport"' in html
    assert "<style" not in html
    assert re.search(r'<h1 style="[^"]*font-size: 28px', html)
    assert "<s>b</s> <u>c</u>" in html
    assert "<td" in html


def test_liquid_tags_on_a_line_of_their_own_stand_between_the_blocks_of_markdown() -> None:
    html = html_of(markdown="{% for x in y %}\n## {{ x }}\n{% endfor %}\nEnd")
    bare = re.sub(r' style="[^"]*"', "", html)
    assert "{% for x in y %}\n<h2>{{ x }}</h2>\n{% endfor %}\n<p>End</p>" in bare


def test_mjml_becomes_html_that_asks_nobody_for_fonts() -> None:
    html = html_of(mjml="<mjml><mj-body><mj-section><mj-column><mj-text>Hi</mj-text></mj-column></mj-section></mj-body></mjml>")
    assert "Hi" in html
    assert "https://" not in html


def test_a_sheet_of_mjml_is_inlined_if_it_says_so() -> None:
    html = html_of(
        mjml='<mjml><mj-head><mj-style inline="inline">.a { color: {{ c | default: "red" }} }</mj-style>'
        '<mj-style>.b {}</mj-style></mj-head><mj-body><mj-section><mj-column><mj-text><i class="a">x</i></mj-text>'
        "</mj-column></mj-section></mj-body></mjml>"
    )
    assert '<i style="color: {{ c | default: "red" }}" class="a">' in html
    assert ".b {}" in html
    assert ".a {" not in html


def test_a_field_in_the_title_of_mjml_may_come_out_twice() -> None:
    html = html_of(mjml="<mjml><mj-head><mj-title>For {{ name }}</mj-title></mj-head><mj-body></mj-body></mjml>")
    assert html.count("For {{ name }}") == 2


@pytest.mark.parametrize(
    ("mjml", "place"),
    [
        ("<mjml><mj-body>\n <mj-section {% if a %}padding='1px'{% endif %}></mj-section></mj-body></mjml>", "2, column 14"),
        ("<mjml><mj-head><mj-title>{% if a %}x{% endif %}</mj-title></mj-head><mj-body/></mjml>", "1, column 26"),
        ("<mjml><mj-head><mj-raw>{% assign a = 1 %}</mj-raw>\n<mj-title>{{ a }}</mj-title></mj-head><mj-body/></mjml>",
         "2, column 11"),
    ],
)
def test_liquid_that_mjml_would_lose_repeat_or_move_is_refused_by_its_place(mjml: str, place: str) -> None:
    field, message = fault_of(mjml=mjml)
    assert field == "mjml"
    assert f"line {place}" in message
    assert "<mj-raw>" in message


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("html", "<style>\np { top: 0 }\n</style>\n<pre>{{ a }}\n</pre>"),
        ("markdown", "{% for x in y %}\n- {{ x }}\n{% endfor %}\n\n```\na\nb\n```\n\nEnd  \nof it"),
        ("mjml", "<mjml>\n<mj-head>\n<mj-attributes>\n<mj-all padding='0' />\n</mj-attributes>\n</mj-head>\n"
         "<mj-body>\n</mj-body>\n</mjml>"),
        ("text", "a\n\n{{ b }}\n"),
    ],
)
def test_a_line_end_is_the_same_however_it_is_written(field: str, written: str, end: str) -> None:
    assert prepare(**{field: written.replace("\n", end)}) == prepare(**{field: written})


def not_inlined(html: str | None = None, **more: str) -> str:
    made = source.prepare(Content("Subject", html, None, "news@example.org", inline_css=False, **more)).html
    assert made is not None
    return made


def test_inlining_can_be_switched_off() -> None:
    html = "<style>p { top: 0 }</style><p>{{ a }}"
    assert not_inlined(html) == html
    markdown = not_inlined(markdown="# {{ a }}")
    assert "<h1>{{ a }}</h1>" in markdown
    assert "h1 { font-size: 28px" in markdown.partition("</head>")[0]
    sheet = "<mj-style inline='inline'>p { top: {{ a }}px }</mj-style>"
    mjml = not_inlined(mjml=f"<mjml><mj-head>{sheet}</mj-head><mj-body><mj-raw><p></p></mj-raw></mj-body></mjml>")
    assert "<style>p { top: {{ a }}px }</style></head>" in mjml
    assert "<p></p>" in mjml


def test_a_sheet_in_markdown_may_overrule_ours() -> None:
    html = html_of(markdown="<style>h1 { color: red } @media print { p { margin: 0 } }</style>\n\n# a\n\nb")
    assert '<h1 style="font-size: 28px; line-height: 1.25; margin: 0 0 16px; color: red">a</h1>' in html
    assert "<p>b</p>" in html
    assert "p, ul, ol" in html.partition("</head>")[0]


def test_two_sources_are_one_too_many() -> None:
    field, message = fault_of("<p>a", markdown="a")
    assert field == "markdown"
    assert message == "Write the body as HTML, as Markdown or as MJML, not as several of them."


def test_a_text_is_made_of_the_html_and_holds_no_preheader() -> None:
    bodies = prepare(markdown="Hi {{ name }},\n\n[shop]({{ link }})", preheader="Before")
    assert bodies.text == "Hi {{ name }},\n\nshop ({{ link }})\n"
    assert bodies.html is not None
    assert "Before" in bodies.html
    assert prepare("<p>a", "b").text == "b"
    assert prepare(None, "b") == Bodies(None, "b")
    assert prepare(" \n", "b", markdown="") == Bodies(None, "b")
    assert prepare("<p>a", " ") == Bodies("<p>a", "a\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<!doctype html><html><head></head><body class="{{ ">" }}" {% if a %}id="b"{% endif %}>', "Hi</body>"),
        ("<!doctype html><head></head>", "{% if a %}<body class=a>{% else %}<body class=b>{% endif %}Hi"),
        ("<!doctype html>", "{% unless a %}<head></head><body>Hi{% endunless %}"),
        ("<html><head></head>", "{% raw %}<body>{{ a }}{% endraw %}Hi"),
        ("", "<!-- {% if a %} --><!doctype html><body><!-- {% endif %} -->Hi"),
        ("", "<body {% if a %}class=a>{% else %}class=b>{% endif %}Hi"),
        ("{% if a %}<body class=a>{% endif %}<body>", "Hi"),
        ("<!-- <body> --><body>", "Hi<body>"),
        ("<html><head></head>", "<p>Hi"),
        ("<!DOCTYPE html>", "<p>Hi"),
        ("", "Hi {{ name }}"),
    ],
)
def test_the_preheader_stands_hidden_where_the_body_begins(before: str, after: str) -> None:
    html = html_of(before + after, preheader='<3 {{ name | default: "<you>" }} & {% raw %}{{ "&" }}{% endraw %}')
    assert html.startswith(before + '<div style="display:none;')
    assert '>&lt;3 {{ name | default: "<you>" }} &amp; {% raw %}{{ "&" }}{% endraw %}&zwnj;' in html
    assert html.endswith("&nbsp;</div>" + after)


@pytest.mark.parametrize("a", ["yes", None])
@pytest.mark.parametrize(
    "html",
    [
        "<head></head>{% if a %}<body class=a>{% else %}<body class=b>{% endif %}Hi",
        "{% if a %}<!doctype html><head></head><body>{% endif %}Hi",
        "{% raw %}<body>{% endraw %}{% capture b %}<body>{% endcapture %}Hi",
        "{% for x in y %}<body>{% endfor %}Hi",
    ],
)
def test_everybody_gets_the_preheader_once_and_filled_in(html: str, a: str | None) -> None:
    template = merge.parse(html_of(html, preheader="For {{ name }}"), LIQUID, "html")
    assert isinstance(template, BoundTemplate)
    assert template.render(name="Ada", a=a).count(">For Ada&zwnj;") == 1


def test_a_preheader_needs_html() -> None:
    assert fault_of(None, text="a", preheader="b")[0] == "preheader"


def test_nothing_is_read_from_disk_or_network(tmp_path: Path) -> None:
    (tmp_path / "sheet.css").write_text("p { color: green }")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        places = [f"http://127.0.0.1:{server.getsockname()[1]}", f"{tmp_path}", f"file://{tmp_path}"]
        for address in [f"{place}/sheet.css" for place in places]:
            html = html_of(f'<link rel="stylesheet" href="{address}"><style>@import "{address}"; i {{ top: 0 }}</style><p>a')
            assert html.endswith("<p>a")
            fault_of(mjml=f'<mjml><mj-body><mj-include path="{address}" /></mj-body></mjml>')
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    ("field", "written"),
    [
        *[("html", SHEET + piece * (600_000 // len(piece))) for piece in (
            "<", "<!--", "<a ", '<a b="', "<div>", "<p>", "{{", "{%", "{% raw %}{% endraw %}{{", "{% comment %}", "</", "<style>",
            "<svg/>", "<b><p>", "<![CDATA[", "{{ a }}",
        )],
        ("html", SHEET + "<table>" + "".join(f"<b id={n}>" for n in range(150)) + "<tr></tr><i></i>" * 20_000),
        ("html", "<style>" + "/*" * 100_000 + "</style>" + "<p></p>" * 100),
        ("html", "<style>" + "p:not(" * 5 + "p~a" + "~p)" * 5 + "{top:0}</style>" + "<p></p>" * 5_000),
        ("html", "<style>p{" + "".join(f"a{n}:b;" for n in range(5_000)) + "}</style>" + "<p></p>" * 5_000),
        ("html", "<style>" + "p{top:0}" * 10_000 + "</style>" + "<p></p>" * 5_000),
        *[("markdown", piece * (100_000 // len(piece))) for piece in (
            "![", "*a_ ", "> ", "- ", "`", "|a", "{{ a }}\n", "<a b='c'{{a}}",
        )],
        *[("mjml", "<mjml><mj-body>" + piece * (400_000 // len(piece))) for piece in (
            "<", "<mj-wrapper>", "<b>", "<é>", "<mj-title>", "<!--", "<mj-raw>", "{{ a }}",
        )],
        ("html", "x" * 1_048_577),
        ("markdown", "x" * 262_145),
    ],
    ids=lambda value: value[-12:],
)
def test_hostile_sources_end_in_a_result_or_a_fault(field: str, written: str) -> None:
    with suppress(InvalidInput):  # quadratic time would be minutes, and too deep a stack the end of the process
        assert len(html_of(**{field: written}).encode()) <= 1_048_576


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ("markdown", "# Title"),
        ("html", "<h1>Title</h1>"),
        ("mjml", "<mjml><mj-body><mj-raw>Title</mj-raw></mj-body></mjml>"),
        ("text", "Title"),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_body(part: str, written: str) -> None:
    assert prepare(**{part: "\ufeff" + written}) == prepare(**{part: written})
