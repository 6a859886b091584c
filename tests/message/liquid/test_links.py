"""A recipient's value is no address that does anything but lead somewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes

import pytest

from postroom.errors import InvalidInput
from postroom.message.content import Bodies, Content, Identity
from postroom.message.liquid.template import check, check_made
from postroom.message.prepare.source import prepare
from postroom.message.render.compile import BlankFields, Compiled, Outfit, Stamp, compile  # noqa: A004
from postroom.message.wire.headers import Unrenderable

STAMP = Stamp("job-7", datetime(2026, 6, 5, tzinfo=UTC))
ACCOUNT = {"name": "Harbour", "site": "intranet:home"}
IDENTITY = Identity(3, "Harbour", "mailto:out@club.example")


def content(html: str, **parts: str | None) -> Content:
    return Content(**{"subject": "s", "html": html, "text": None, "from_address": "club@sender.example", **parts})


def job(html: str, *, fails_blanks: bool = False) -> Compiled:
    written = content(html)
    check(written)
    return compile(written, Bodies(html, None), STAMP, ACCOUNT, Outfit(IDENTITY, fails_blanks=fails_blanks))


def made(html: str, fields: dict[str, object], **options: bool) -> str:
    message = message_from_bytes(job(html, **options).render("ann@list.example", 1, fields))
    return message.get_payload(decode=True).decode().replace("\r\n", "\n").removesuffix("\n")


PLACES = [
    '<a href="{{ url }}">x</a>',
    '<a href="{{ fields["url"] | strip }}">x</a>',
    '<a href="{{ url | safe }}">x</a>',
    '<img src="{% if url %}{{ url }}{% endif %}">',
    '{% assign link = url | append: "" %}<form action="{{ link }}">',
    '{% assign all = url | split: "," %}{% for link in all %}<a href="{{ link }}">{% endfor %}',
    '{% capture link %}{{ url }}{% endcapture %}<a href="{% echo link %}">',
    '<a href="{{ url }}{{ other }}">',
    '<a href="{% cycle url %}">',
    '{% assign all = url | split: "," %}{% for account in all %}<a href="{{ account }}">{% endfor %}',
]


@pytest.mark.parametrize("html", PLACES)
@pytest.mark.parametrize("url", [
    "javascript:alert(1)", "JavaScript:alert(1)", " \tjava\nscript\t:alert(1)", "\x01javascript:alert(1)", "data:text/html;x",
    "vbscript:x", "file:///etc/passwd", ":x", "ann:x"])
def test_an_address_of_any_other_scheme_fails_its_recipient_and_names_the_field(html: str, url: str) -> None:
    with pytest.raises(Unrenderable, match=r'"(url|link|account)" gives an address that does not begin with http: or https:'):
        job(html).render("ann@list.example", 1, {"url": url})


@pytest.mark.parametrize("html", PLACES)
@pytest.mark.parametrize("url", [
    "https://x.example/a?b=c:d&e", "HTTP://x.example", "mailto:a@b.example", "tel:+47123", "cid:1@postroom", "/a:b", "a/b",
    "?a=b:c", "#a:b", "//x.example:8080/", "x.example"])
def test_what_leads_somewhere_is_printed_as_it_is(html: str, url: str) -> None:
    expected = url if "safe" in html or "&" not in url else url.replace("&", "&amp;")
    assert f'="{expected}"' in made(html, {"url": url})


def test_an_entity_is_read_as_a_browser_would_and_only_where_it_is_one() -> None:
    url = "javascript&colon;alert(1)"
    with pytest.raises(Unrenderable):
        job('<a href="{{ url | safe }}">').render("ann@list.example", 1, {"url": url})
    assert made('<a href="{{ url }}">', {"url": url}) == '<a href="javascript&amp;colon;alert(1)">'


def test_a_scheme_that_is_made_of_a_value_and_what_follows_it_is_looked_at_as_a_whole() -> None:
    html = '<a href="{{ s }}://x.example/">'
    assert made(html, {"s": "https"}) == '<a href="https://x.example/">'
    with pytest.raises(Unrenderable, match='"s" gives'):
        job(html).render("ann@list.example", 1, {"s": "javascript"})


def test_the_same_field_is_free_in_every_other_place() -> None:
    url = "javascript:alert(1)"
    for html in ("<p>{{ url }}</p>", '<p title="{{ url }}">', '<a href="https://x.example/?to={{ url }}">', "<!-- {{ url }} -->"):
        assert url in made(html, {"url": url})


def test_a_blank_address_is_a_blank_field_as_any_other() -> None:
    for html in ('<a href="{{ url }}">', '<a href="{{ url | strip }}">', '<a href="{% if true %}{{ url }}{% endif %}">'):
        for fields in ({}, {"url": ""}, {"url": " "}, {"url": None}):
            blanks: set[str] = set()
            job(html).render("ann@list.example", 1, fields, blanks)
            assert blanks == {"url"}
            assert made(html, fields) == '<a href="">'
    with pytest.raises(BlankFields):
        job('<a href="{{ url }}">', fails_blanks=True).render("ann@list.example", 1, {})
    assert made('<a href="{{ url | default: "/" }}">', {}) == '<a href="/">'


def test_what_the_account_and_the_template_say_is_not_looked_at() -> None:
    for written, printed in (("unsubscribe_url", "mailto:out@club.example"), ("account.site", "intranet:home"),
                             ("account.site | upcase", "INTRANET:HOME"), ("'sms:1'", "sms:1")):
        assert made(f'<a href="{{{{ {written} }}}}">', {}) == f'<a href="{printed}">'
    for html in ('{% for account in fields %}<a href="{{ account[1] }}">{% endfor %}',
                 '<a href="{{ unsubscribe_url | replace: unsubscribe_url, url }}">'):
        with pytest.raises(Unrenderable, match="gives an address"):
            made(html, {"url": "javascript:x"})


def test_no_template_can_name_the_check_as_a_filter() -> None:
    assert made('<a href="{{ url }}">', {"url": "/"})
    with pytest.raises(InvalidInput, match="no filter named"):
        check(content("{{ url | address }}"))


def test_an_output_outside_of_quotes_is_refused_when_it_is_checked_with_line_and_column() -> None:
    with pytest.raises(InvalidInput) as refused:
        check(content("<p>Hi</p>\r\n<a href={{ url }}>x</a><td width={{ n }}>"))
    assert [fault.field for fault in refused.value.faults] == ["html", "html"]
    assert refused.value.faults[0].message == (
        "In the html, line 2, column 9: \"{{ url }}\" stands in a tag outside of quotes, where a value could add attributes: put "
        "the attribute's value in quotes.")


@pytest.mark.parametrize("parts", [
    {"markdown": "Hi\n\n<td width={{ n }}>\n"},
    {"mjml": "<mjml><mj-body><mj-section><mj-column><mj-text><i {{ n }}=''>x</i></mj-text>"
             "</mj-column></mj-section></mj-body></mjml>"}])
def test_the_same_is_refused_in_the_html_that_is_made_of_markdown_and_mjml(parts: dict[str, str]) -> None:
    written = content("", **parts)
    check(written)
    with pytest.raises(InvalidInput, match=r'"\{\{ n \}\}" stands in a tag outside of quotes') as refused:
        check_made(written, prepare(written))
    assert [fault.field for fault in refused.value.faults] == list(parts)
    check_made(quoted := content("", markdown="[x]({{ url }}) `<td width={{ n }}>`"), prepare(quoted))


def test_an_address_is_looked_at_where_the_same_field_stands_in_text_and_in_the_text_part_too() -> None:
    written = content('<p>{{ url }} {{ name }}</p><a href="{{ url }}">{{ url }}</a>', text="{{ url }}")
    made = compile(written, Bodies(written.html, written.text), STAMP, ACCOUNT, Outfit(IDENTITY))
    for url in ("https://x.example/a?b=c", "/a", "https://x.example/" + "a" * 100, "https://x.example/ä&b"):
        parts = message_from_bytes(made.render("ann@list.example", 1, {"url": url, "name": "Ann"})).get_payload()
        plain, html = [part.get_payload(decode=True).decode().strip() for part in parts]
        shown = url.replace("&", "&amp;")
        assert (plain, html) == (url, f'<p>{shown} Ann</p><a href="{shown}">{shown}</a>')
    with pytest.raises(Unrenderable, match='"url" gives an address'):
        made.render("ann@list.example", 1, {"url": "javascript:1", "name": "Ann"})
