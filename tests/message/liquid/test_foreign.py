"""Other systems' fields are found wherever they stand and however they are encoded, and ordinary text is left alone."""

import time
from collections.abc import Collection

import pytest

from postroom.message.content import Attachment, Content
from postroom.message.liquid import foreign, template


def found(source: str, part: str = "html", columns: Collection[str] = ()) -> list[str]:
    return [sentence.partition(": ")[2] for tag in foreign.found({part: source}) if (sentence := tag.told(columns))]


def tags(source: str, part: str = "html", columns: Collection[str] = ()) -> list[str]:
    return [tag.shown for tag in foreign.found({part: source}) if tag.told(columns)]


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
        ('[[data:surname:"friend"]]', '{{ surname | default: "friend" }}'),
        ("[%nickname%]", "{{ nickname }}"),
        ("[LNAME]", "{{ LNAME }}"),
        ("[Last Name]", '{{ fields["Last Name"] }}'),
        ("[lastname,fallback=friend]", '{{ lastname | default: "friend" }}'),
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


@pytest.mark.parametrize(
    "tag",
    [
        "«Vorname»", "&laquo;Nachname&raquo;", "&#171;City&#187;", "%%[ SET @a = 1 ]%%", "%%[\nVAR @a\nIF @a THEN\n]%%",
        '[subscriber:lastname | default:"you"]', "[link:subscription_unsubscribe_url]", "{contactfield=lastname|friend}",
        "{last_name|friend}", "{ surname }", "{surname}}", "{!$Contact.LastName}", "$LAST_NAME$", "@LASTNAME@", "#LASTNAME#",
        "-surname-", "<?php echo $surname; ?>", "<?= $surname ?>", "[Shoe size,fallback=]", "$[LI:UNSUBSCRIBE]$", "$[LNAME|you]$",
        "<%= recipient.lastName %>", "<%@ include view='x' %>", "{contact.last_name}", "[[Last Name]]", "[LNAME%%you]",
        "{ MERGEFIELD Ort }", "${recipient.surname!'you'}", "[[data:surname]]", "*|MC:TOC|*", "%recipient.surname%",
    ],
)
def test_a_field_is_found_in_the_marks_of_many_systems(tag: str) -> None:
    assert tags(f"<p>Dear {tag},</p>") == [" ".join(tag.split())]


@pytest.mark.parametrize("element", ["unsubscribe", "webversion", "preferences", "forwardtoafriend"])
def test_an_element_of_another_system_is_found(element: str) -> None:
    assert tags(f"<p><{element}>here</{element}></p>") == [f"<{element}>"]


@pytest.mark.parametrize(
    "tag",
    ["*%7CUNSUB%7C*", "*|UNSUB|*", "%7Bunsubscribe_url%7D", "&#123;unsubscribe&#125;", "%5Bunsubscribe%5D",
     "%5B%5Bunsubscribe%5D%5D", "%25%25unsub_center_url%25%25", "%25UNSUBSCRIBELINK%25", "%3C%25unsub_url%25%3E",
     "*&#x7c;UNSUB&#x7C;*"],
)
def test_a_tag_that_an_editor_encoded_in_an_address_is_found(tag: str) -> None:
    for html in (f'<a href="{tag}">x</a>', f"<a href='https://list.example/?u={tag}&amp;n=1'>x</a>"):
        [sentence] = found(html)
        assert f'"{tag}"' in sentence
        assert "write {{ unsubscribe_url }}" in sentence
    assert tags(f"See https://list.example/?u={tag}", "markdown") == [tag]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("*|<b>LNAME</b>|*", "*|<b>LNAME</b>|*"),
        ("<span>%%</span>surname<span>%%</span>", "%%</span>surname<span>%%"),
        ('{<i class="a">surname</i>}', '{<i class="a">surname</i>}'),
        ("*|LNAME\n|*", "*|LNAME |*"),
        ("&lt;%=&nbsp;surname&nbsp;%&gt;", "&lt;%=&nbsp;surname&nbsp;%&gt;"),
        ("{<span>{ surname }</span>}", "{<span>{ surname }</span>}"),
    ],
)
def test_a_tag_that_markup_or_a_line_parts_is_found(source: str, shown: str) -> None:
    assert tags(f"<p>é {source}</p>") == [shown]
    assert tags("<td>{</td><td>surname</td><td>}</td>") == []


def test_liquid_with_markup_within_its_braces_is_said_to_be_no_field() -> None:
    [sentence] = found("<p>{<b>{ surname }</b>}</p>")
    assert sentence.endswith("is no field with something between its braces, and goes out as it is: write {{ surname }}, by the "
                             "name of its column.")


def test_what_outlook_alone_shows_is_looked_at() -> None:
    assert tags('<!--[if mso]><v:roundrect href="*|UNSUB|*"></v:roundrect><![endif]--><!-- *|LNAME|* -->') == ["*|UNSUB|*"]


@pytest.mark.parametrize(
    "text",
    [
        "{see above} {here} {B12} Price {net} [see_here] [[Main Page]] [[Help:Contents]] ##Heading## x <<y>> «so» %APP_DATA%",
        "[email]a@list.example[/email] [city]Bonn[/city]",
        "<code>{name}</code> <pre>{name}\n%name% *|FNAME|*</pre> <kbd>%NAME%</kbd>",
        "{% raw %}{name} *|FNAME|* {{ name }}{% endraw %}",
        "50% name 20%, 100%email%, a@name@b.example, C#name#, x-name-y, pre-name-",
        '<a href="https://a.example/?filter%5Bname%5D=1&q=100%25%20name%20">x</a>',
        "LaTeX \\textbf{text} \\frac{a}{b}, function(){return x}",
    ],
)
def test_what_prose_and_code_hold_too_is_left_alone(text: str) -> None:
    assert tags(f"<p>{text}</p>") == []


@pytest.mark.parametrize("tag", ["{see above}", "[[Shoe size]]", "«PLZ»", "[PLZ]", "%plz%", "##Shoe size##", "[shoe_size]"])
def test_a_column_of_the_list_is_a_field_in_any_marks(tag: str) -> None:
    assert tags(f"<p>{tag}</p>") == []
    [sentence] = found(f"<p>{tag}</p>", columns=("email", "See above", "Shoe size", "plz"))
    assert sentence.endswith((': write {{ fields["See above"] }}.', ': write {{ fields["Shoe size"] }}.', ": write {{ plz }}."))


def test_an_element_that_is_never_closed_hides_nothing() -> None:
    assert tags("<p><code>{name} *|FNAME|*</p>") == ["{name}", "*|FNAME|*"]


@pytest.mark.parametrize(
    "markdown",
    [
        "[name](a) [email][b] ![city](c) `{name}`\n\n```\n*|FNAME|*\n```\n\n[name]: d",
        "~~~\n{name}\n~~~", "``{name} ` x``", "    {name}\n\nText", "- one\n\n      {name}\n", "[Name]\n\n[name]: https://a.example",
    ],
)
def test_links_and_code_of_markdown_are_left_alone(markdown: str) -> None:
    assert tags(markdown, "markdown") == []


def test_what_only_looks_like_code_in_markdown_is_looked_at() -> None:
    assert len(tags("Dear [FIRST NAME], {city}", "markdown")) == 2
    assert tags("- one\n\n    {name}\n\nHi [Vorname]: {city}", "markdown") == ["{name}", "[Vorname]", "{city}"]


@pytest.mark.parametrize(
    ("output", "end"),
    [
        ("{{ contact.lastname }}", "is blank here: write {{ lastname }}, by the name of its column."),
        ("{{ params.LASTNAME | default: 'you' }}", 'write {{ LASTNAME | default: "you" }}, by the name of its column.'),
        ("{{ subscriber.unsubscribe_link }}", "write {{ unsubscribe_url }}, the address of a link."),
        ("{{ unsubscribe }}", "write {{ unsubscribe_url }}, the address of a link."),
        ("{{ organization.name }}", "write {{ account.name }}."),
        ("{{ company.domain }}", "is blank here."),
    ],
)
def test_a_field_of_another_systems_liquid_is_told_with_what_to_write(output: str, end: str) -> None:
    [sentence] = found(f"<p>{output} {output}</p>")
    assert sentence.endswith(end)
    assert found(output, "text") == [sentence]


def test_liquid_that_names_what_is_there_is_left_alone() -> None:
    assert tags("{{ contact }} {{ account.name }} {{ unsubscribe_url }} {{ name.size }}") == []
    assert tags("{{ contact.size }} {{ unsubscribe }}", columns=("contact", "unsubscribe")) == []
    assert tags("{% for person in all %}{{ person.name }}{% endfor %}") == []


def test_each_is_said_once_and_with_its_place_in_what_was_written() -> None:
    html = "<p>{{ a }} \r\n é %%city%% %%city%% <b title='{zip}'>&eacute;</b> {phone}"
    content = Content("For *|FNAME|*", html, "{city}", "news@example.org", preheader="[FNAME]")
    assert [tag.told(()).partition(" is how")[0] for tag in template.foreign_fields(content)] == [
        'In the subject, line 1, column 5: "*|FNAME|*"', 'In the preheader, line 1, column 1: "[FNAME]"',
        'In the html, line 2, column 4: "%%city%%"', 'In the html, line 2, column 32: "{zip}"',
        'In the html, line 2, column 52: "{phone}"', 'In the text, line 1, column 1: "{city}"']


def test_what_is_the_same_for_everybody_is_said_to_take_no_field() -> None:
    content = Content("Hello", "<p>x</p>", None, "%%from%%@club.example", "*|LIST:COMPANY|*", "*|EMAIL|*@club.example",
                      headers=(("X-Campaign", "[CAMPAIGN_ID]"), ("X-Other", "{plain}")),
                      attachments=(Attachment("*|LNAME|*.pdf", "application/pdf", 1, "0"),))
    told = [tag.told(()) for tag in template.foreign_fields(content)]
    for part in ("From address", "From name", "Reply-To address", "header field X-Campaign", "name of file 1"):
        [sentence] = [one for one in told if one.startswith(f"In the {part}, line 1, column 1: ")]
        assert sentence.endswith(f"goes out as it is: the {part} is the same for everybody and takes no merge field.")
    assert len([one for one in told if one]) == 5


def test_no_more_than_some_are_told() -> None:
    assert len(found(" ".join(f"*|A{number}|*" for number in range(300)))) == foreign.FOUND_MAX


@pytest.mark.parametrize("piece", [
    "*|", "%%", "%%=", "%%[a", "[[a", "[[a|", "[a_", "[a]: b\n", "{a ", "{a|", "{{a", "{%raw%}", "${a!", "<%", "<a>", "<?php ",
    "<<a ", "##a", "-a", "a_", "%2A%7C", "&lt;", "a ", "$[", "`", "``a "])
@pytest.mark.parametrize("part", ["html", "markdown"])
def test_hostile_text_takes_no_long(piece: str, part: str) -> None:
    began = time.process_time()
    found(piece * (250_000 // len(piece)), part)
    assert time.process_time() - began < 2
