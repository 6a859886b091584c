"""Other systems' fields are found wherever they stand, and ordinary text is left alone."""

import pytest

from postroom.message.content import Content
from postroom.message.liquid import foreign, template


def found(source: str, part: str = "html") -> list[str]:
    return [sentence for _, _, sentence in foreign.found({part: source})]


@pytest.mark.parametrize(
    ("tag", "instead"),
    [
        ("*|LNAME|*", "{{ LNAME }}"),
        ("*|UNSUB|*", "{{ unsubscribe_url }}"),
        ("*|IF:MEMBER|*", "{% if … %}"),
        ("%2A%7CEMAIL%7C%2A", "{{ email }}"),
        ("%%last_name%%", "{{ last_name }}"),
        ("%%=ProperCase(@first)=%%", "{{"),
        ("%LASTNAME%", "{{ LASTNAME }}"),
        ("[[surname]]", "{{ surname }}"),
        ('[[data:surname:"friend"]]', "{{ surname }}"),
        ("[%nickname%]", "{{ nickname }}"),
        ("[LNAME]", "{{ LNAME }}"),
        ("[Last Name]", '{{ fields["Last Name"] }}'),
        ("[lastname,fallback=friend]", "{{ lastname }}"),
        ("[member_id]", "{{ member_id }}"),
        ("[OPT-OUT]", "{{ unsubscribe_url }}"),
        ("{last_name}", "{{ last_name }}"),
        ("{$surname}", "{{ surname }}"),
        ("{!Contact.LastName}", "{{ LastName }}"),
        ("{contactfield=lastname}", "{{ lastname }}"),
        ("${surname}", "{{ surname }}"),
        ("#{surname}", "{{ surname }}"),
        ("$[LNAME]$", "{{ LNAME }}"),
        ("##surname##", "{{ surname }}"),
        ("<%= surname %>", "{{ surname }}"),
        ("&lt;%= surname %&gt;", "{{ surname }}"),
        ("<<Last Name>>", '{{ fields["Last Name"] }}'),
    ],
)
@pytest.mark.parametrize("around", ["<p>Dear {},</p>", '<a href="https://list.example/?a={}">x</a>', "{{{{ a }}}}{}"])
def test_a_field_of_another_system_is_found_with_what_to_write(tag: str, instead: str, around: str) -> None:
    [sentence] = found(around.format(tag))
    assert sentence.startswith(f'"{tag}"')
    assert instead in sentence


@pytest.mark.parametrize(
    "text",
    [
        "See [1], [sic], [PDF], [x], [ ], [...], [name withheld] and array[name]",
        "p { color: red } {0} {} { } {a} f{x: 1}",
        "50% off, 100%% sure, %20CITY%20, %C3%A9NAME",
        "a * | b | * c, 1 << 2 >> 3, C#, # not, $5, #{ }, ${ }",
        "<style>.a{margin}</style><script>`${name} {name}`</script><!-- *|FNAME|* -->",
        "{{ name }} {% if a %}{name: 1}{% endif %} {% raw %}x{% endraw %}",
        "[{{ name }}] [[{{ name }}]] *|{{ name }}|*",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert found(f"<p>{text}</p>") == []
    assert found(text, "text") == [] or "<script>" in text


def test_links_and_code_of_markdown_are_left_alone() -> None:
    assert found("[name](a) [email][b] ![city](c) `{name}`\n\n```\n*|FNAME|*\n```\n\n[name]: d", "markdown") == []
    assert len(found("Dear [FIRST NAME], {city}", "markdown")) == 2


def test_each_is_said_once_and_with_its_place_in_what_was_written() -> None:
    html = "<p>{{ a }} \r\n é %%city%% %%city%%"
    content = Content("For *|FNAME|*", html, "{city}", "news@example.org", preheader="[FNAME]")
    assert [sentence.partition(" is how")[0] for sentence in template.foreign_fields(content)] == [
        'In the subject, line 1, column 5: "*|FNAME|*"', 'In the preheader, line 1, column 1: "[FNAME]"',
        'In the html, line 2, column 4: "%%city%%"', 'In the text, line 1, column 1: "{city}"']


def test_no_more_than_some_are_told() -> None:
    assert len(found(" ".join(f"*|A{number}|*" for number in range(100)))) == foreign.FOUND_MAX


@pytest.mark.parametrize("piece", ["*|", "%%", "%%=", "[[a", "[a_", "{a ", "<%", "<<a ", "##a", "a_", "%2A%7C", "a ", "$[", "`"])
def test_hostile_text_takes_no_long(piece: str) -> None:
    found(piece * (300_000 // len(piece)), "markdown")
