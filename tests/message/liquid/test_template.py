"""A content that cannot be used is refused with part, line and column."""

import contextlib
from dataclasses import replace

import pytest

from postroom.errors import InvalidInput
from postroom.message.liquid.template import Content, check
from postroom.message.prepare import plaintext

GOOD = Content(subject="Hello", html="<p>Hi {{ name }}</p>", text=None, from_address="club@sender.example")


def faults(**changes: str | None) -> list[tuple[str | None, str]]:
    with pytest.raises(InvalidInput) as refused:
        check(replace(GOOD, **changes))
    return [(fault.field, fault.message) for fault in refused.value.faults]


def test_a_good_content_passes() -> None:
    check(GOOD)
    check(replace(GOOD, html=None, text="Hi", from_name="Ünïon «Club»", reply_to="office@sender.example"))


@pytest.mark.parametrize(
    ("source", "where", "what"),
    [
        ("Hi {{ name", "line 1, column 4", "is not closed"),
        ("Hi\n  {{ name | shout }}", "line 2, column 13", 'no filter named "shout"'),
        ("a\nb {% if x %}", "line 2, column 13", "endif"),
        ("a\r\nb {% endif %}", "line 2, column 6", "endif"),
        ("{% include 'x' %}", "line 1, column 4", "include"),
        ("{% render 'x' %}", "line 1, column 4", "render"),
        ("{{ a b }}", "line 1, column 6", "expected"),
        ("{{ a | }}", "line 1", "expected"),
        ("{% raw %}", "line 1, column 1", '"raw" has no end tag'),
        ("{% for i in (1..n) %}{% endfor %}", "line 1, column 13", "range"),
        ("{% for i in (1..999999999) reversed %}{% endfor %}", "line 1, column 13", "range"),
        ("{{ ''.__class__ }}", "line 1", "expected"),
        ("{% if a %}" * 40 + "{% endif %}" * 40, "", "nesting limit"),
    ],
)
@pytest.mark.parametrize("part", ["html", "text"])
def test_a_template_error_names_part_line_and_column(part: str, source: str, where: str, what: str) -> None:
    found = faults(**{part: source})
    assert [field for field, _ in found] == [part]
    assert found[0][1].startswith(f"In the {part}")
    assert where in found[0][1]
    assert what in found[0][1]


def test_each_thing_that_is_wrong_is_told_at_once() -> None:
    found = faults(subject="", html="{{ a | x }} {{ b | y }}", from_address="nobody", reply_to="a@b", from_name="a\nb")
    assert {field for field, _ in found} >= {"subject", "from_address", "reply_to", "from_name"}
    found = faults(html="{{ a | x }} {{ b | y }}", text="{% if %}")
    assert [field for field, _ in found] == ["html", "html", "text"]


@pytest.mark.parametrize("empty", [None, "", "  \n"])
def test_a_message_needs_a_body_and_a_subject(empty: str | None) -> None:
    assert faults(html=empty, text=empty) == [
        ("text", "The message has no body: write an HTML part, a text part or both.")
    ]
    assert ("subject", "The subject is empty.") in faults(subject=empty or "")


def test_a_template_over_one_mebibyte_and_markdown_over_a_quarter_of_one_are_refused() -> None:
    assert faults(text="x" * 1_048_577) == [("text", "The text is larger than 1024 KiB.")]
    assert faults(html=None, markdown="x" * 262_145) == [("markdown", "The markdown is larger than 256 KiB.")]


def test_half_a_character_is_refused() -> None:
    assert faults(text="x\ud800") == [("text", "The text holds half a character at position 2.")]


def test_a_control_character_in_a_header_is_refused() -> None:
    assert faults(from_name="Club\r\nBcc: x@y.example")[0][0] == "from_name"
    assert faults(subject="Hello\x00")[0][0] == "subject"


@pytest.mark.parametrize(("field", "value", "shown"), [
    ("from_name", "{{ seller }} at the Club", "{{ seller }}"), ("from_name", "Club {% if vip %}VIP{% endif %}", "{% if vip %}"),
    ("from_name", "Club {{ seller", "{{ seller"), ("reply_to", "{{seller}}@club.example", "{{seller}}"),
    ("from_address", "{{ seller }}@club.example", "{{ seller }}"), ("from_name", "{{ " + "x" * 99 + " }}",
    "{{ " + "x" * 56 + "…"),
])  # fmt: skip
def test_a_merge_field_where_none_is_read_is_a_fault_that_names_it(field: str, value: str, shown: str) -> None:
    name = {"from_name": "The From name", "reply_to": "Reply-To", "from_address": "From"}[field]
    assert faults(**{field: value}) == [(field, f'{name} is the same for everybody and takes no merge field: "{shown}".')]


@pytest.mark.parametrize("value", ["{{ name }}", '{"a": "{{ name }}"}', "{% if vip %}", "{{ name"])
def test_a_merge_field_in_a_header_field_of_ones_own_is_a_fault_and_json_is_none(value: str) -> None:
    [(field, said)] = faults(headers=(("X-Mailgun-Variables", value),))
    assert field == "headers"
    assert 'The header field "X-Mailgun-Variables" is the same for everybody and takes no merge field: "{' in said
    check(replace(GOOD, headers=(("X-Mailgun-Variables", '{"a": {"b": 1}}'),)))


@pytest.mark.parametrize(("source", "column"), [
    ("{{ Last Name }}", 9), ("{{ Last Name | upcase }}", 9), ("{{- Last Name -}}", 10), ("{{ fields.Last Name }}", 16),
    ("{{ x | append: Last Name }}", 21), ("{% if Last Name %}{% endif %}", 12), ("{% if x == Last Name or y %}{% endif %}", 17),
    ("{% unless x and Last Name %}{% endunless %}", 22), ("{% for x in Last Name %}{% endfor %}", 18),
    ("{% assign x = Last Name %}", 20),
    ("{% case Last Name %}{% endcase %}", 14), ("{% echo Last Name %}", 14),
])  # fmt: skip
def test_a_name_with_a_space_says_how_it_is_written(source: str, column: int) -> None:
    [(_, message)] = faults(html=None, text=f"Hello!\n{source}\nBye")
    assert f"line 2, column {column}: " in message
    assert message.endswith('; for a column "Last Name" write {{ fields["Last Name"] }}.')


@pytest.mark.parametrize("name", [
    "Price (EUR)", "Zip/Place", "Price €", "Cust.-No.", "E-Mail Address", "Höhe in cm", "Is it paid, or not",
])  # fmt: skip
def test_so_does_a_name_with_any_other_sign(name: str) -> None:
    [(_, message)] = faults(html=None, text=f"{{{{ {name} | strip }}}} {{{{ other }}}}")
    assert message.endswith(f'; for a column "{name}" write {{{{ fields["{name}"] }}}}.')


@pytest.mark.parametrize(("source", "column", "told"), [
    ("{% if n == 'one' %}1{%- else if n == 'two' %}2{% endif %}", 30, 'takes no condition: "elsif" may be meant'),
    ("{% if n %}1{% else n == 'two' %}2{% endif %}", 20, 'takes no condition: "elsif" may be meant'),
    ("{% unless n %}1{% else if m %}2{% endunless %}", 24, 'takes no condition: "elsif" may be meant'),
    ("{% if n %}1{% elseif m %}2{% endif %}", 15, '"elsif", within "if" and "unless", may be meant'),
    ("{% if n %}1{% else %}2{% else %}3{% endif %}", 26, "is the last branch"),
    ("{% unless n %}1{% else %}2{% elsif m %}3{% endunless %}", 30, "is the last branch"),
    ("{% case n %}{% when 1 %}1{% else %}2{% else %}3{% endcase %}", 40, "is the last branch"),
    ("{% case n %}{% else %}2{% when 1 %}1{% endcase %}", 27, "is the last branch"),
    ("{% case n %}{% when 1 %}1{% else if m %}2{% endcase %}", 34, "nothing stands behind the name"),
    ("{% case n %}{% when 1 and 2 %}1{% endcase %}", 23, "takes values, with a comma"),
    ("{% case n %}{% when n > 3 %}1{% endcase %}", 23, "takes values, with a comma"),
    ("{% case n %}{% when 1, > 3 %}1{% endcase %}", 24, "takes values, with a comma"),
])  # fmt: skip
def test_no_branch_and_no_condition_is_left_out_unsaid(source: str, column: int, told: str) -> None:
    [(_, message)] = faults(html=None, text=source)
    assert f"line 1, column {column}: " in message
    assert told in message
    assert "for a column" not in message


@pytest.mark.parametrize("source", [
    "{% if n %}1{% elsif m %}2{% else %}3{% endif %}", "{% unless n %}1{% elsif m %}2{% else %}3{% endunless %}",
    "{% case n %}\n{% when 1, 2 or 3 %}1{% when '4' %}2{% else %}3{% endcase %}", "{% for x in n %}1{% else %}2{% endfor %}",
])
def test_branches_that_are_all_read_pass(source: str) -> None:
    check(replace(GOOD, text=source))


@pytest.mark.parametrize("source", ["{{ a | }}", "{{ 'x y' z }}", "{% if a == %}{% endif %}", "{{ {{ a }} }}", "{% nope %}"])
def test_what_is_no_name_is_called_none(source: str) -> None:
    assert "for a column" not in faults(html=None, text=source)[0][1]


@pytest.mark.parametrize(
    "source",
    ["{{" * 300_000, "{%" * 300_000, "{% raw %}" * 9_000, "{% comment %}" * 9_000, "{{ a }}" * 20_000, "{" * 900_000,
     "{{" + " " * 900_000 + "}}", "<" * 50_000, "<!--" * 9_000, "&" * 100_000],
)  # fmt: skip
def test_a_hostile_template_is_answered_within_a_moment(source: str) -> None:
    with contextlib.suppress(InvalidInput):  # quadratic time would be minutes, and the suite's own limit
        check(replace(GOOD, html=source))



def test_a_text_part_is_made_from_the_html_with_its_fields_alive() -> None:
    html = (
        "<html><head><title>T</title><style>p { color: {{ colour }} }</style></head><body>"
        '<h1>Dear {{ name | default: "<you>" }},</h1><p>Read   <a href="https://x.example/?u={{ id }}">this &amp; that</a>\n'
        "now.<br>Soon.</p><ul><li>one</li><li>two {{ b }}</li></ul><img alt='Logo' src='x'>{% if vip < 3 %}<p>VIP</p>{% endif %}"
        "<script>if (a) { b }</script><table><tr><td>a</td><td>b</td></tr></table><p>{ &#123;{ name }} &lt;</p></body></html>"
    )
    assert plaintext.from_html(html) == (
        'Dear {{ name | default: "<you>" }},\n\n'
        "Read this & that (https://x.example/?u={{ id }}) now.\nSoon.\n\n"
        "- one\n- two {{ b }}\n\nLogo{% if vip < 3 %}\n\nVIP\n\n{% endif %}\n\na b\n\n"
        '{{ "{" }} {{ "{" }}{{ "{" }} name }} <\n'
    )
