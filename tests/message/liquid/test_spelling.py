"""Liquid that editors and browsers encoded is read as Liquid, and nothing else is changed."""

import pytest

from postroom.errors import InvalidInput
from postroom.message.content import Bodies, Content
from postroom.message.liquid import template
from postroom.message.liquid.spelling import as_meant
from postroom.message.prepare import source


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('<a href="%7B%7B%20link%20%7D%7D">', '<a href="{{ link }}">'),
        ('<a href="?a=%7b%7bname+%7d%7d&b=1">', '<a href="?a={{name }}&b=1">'),
        ("%7B%25%20if%20a%20%25%7Dx%7B%25+endif+%25%7D", "{% if a %}x{% endif %}"),
        ("&#123;&#123; name &#125;&#125;", "{{ name }}"),
        ("&#x7B;{ name }&#x7d;", "{{ name }}"),
        ("&lbrace;&lcub;name&rbrace;&rcub;", "{{name}}"),
        ("&#123;% if a &gt; 1 %&#125;", "{% if a > 1 %}"),
        ("{{&nbsp;name\u00a0|%20upcase&#160;}}", "{{ name | upcase }}"),
        ("{{ name | default: &quot;R&amp;D&quot; | append: &#39;x&#39; }}", "{{ name | default: \"R&D\" | append: 'x' }}"),
        ("{% if a &lt;= 2 %}", "{% if a <= 2 %}"),
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("\ufeff{{ name }}\ufeff", "{{ name }}\ufeff"),
    ],
)
def test_what_was_encoded_is_read_as_it_was_meant(written: str, meant: str) -> None:
    assert as_meant(written) == meant
    assert as_meant(meant) == meant


@pytest.mark.parametrize(
    "written",
    [
        "?q=%7B%22a%22%3A%7B%22b%22%3A1%7D%7D",
        "@media print{a{top:0}}",
        '{{ "a &amp; b\u00a0%20" }}&nbsp;&quot;',
        "{% raw %}{{&nbsp;a }}{% endraw %}",
        "&#123; a &#125; %7Ba%7D",
    ],
)
def test_what_is_no_encoded_liquid_stays(written: str) -> None:
    assert as_meant(written) == written


def test_encoded_fields_are_filled_in_wherever_they_stand() -> None:
    encoded = "%7B%7B%20link%20%7D%7D"
    mjml = f"<mjml><mj-body><mj-raw><a href='{encoded}'>x</a></mj-raw></mj-body></mjml>"
    for body in ({"markdown": f"[x]({encoded})"}, {"mjml": mjml}):
        content = Content("Subject", None, None, "news@example.org", **body)
        template.check(content)
        assert "{{ link }}" in (source.prepare(content).html or "")
    html = f'<a href="{encoded}">x</a>'
    content = Content("Subject", html, None, "news@example.org", preheader="&#123;&#123; name &#125;&#125;")
    template.check(content)
    assert template.mentioned(content, source.prepare(content)).names == {"link", "name"}


def test_what_was_frozen_is_rendered_as_it_was_frozen() -> None:
    content = Content("Subject", "x", None, "news@example.org")
    assert template.mentioned(content, Bodies("%7B%7B name %7D%7D", None)).names == frozenset()


def test_encoded_fields_are_checked_like_others() -> None:
    with pytest.raises(InvalidInput, match="upcase"):
        template.check(Content("Subject", "<p>\n&#123;&#123; a | upper &#125;&#125;", None, "news@example.org"))


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("{{ Last Name }}", 'fields["Last Name"]'),
        ("{{ Last Name | upcase }}", 'fields["Last Name"]'),
        ("{{{surname}}}", "write {{ surname }}"),
    ],
)
def test_a_fault_says_what_may_be_meant(written: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        template.check(Content("Subject", f"a\n{written}", None, "news@example.org"))
    assert "line 2" in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("piece", ["%7B%7B", "%7B%25", "&#123;&#123;", "{&#123;", "&#123;%", "{{ &quot;", "{{", "%7B%7Ba%7D"])
def test_hostile_sources_take_no_long(piece: str) -> None:
    as_meant(piece * (1_000_000 // len(piece)))
