"""Where outputs stand in HTML: outside of quotes, at the beginning of an address, or anywhere else, where escaping is enough."""

from __future__ import annotations

import time

import pytest

from postroom.message.liquid.places import read


def outside(html: str) -> list[str]:
    return [piece.text for piece, _ in read(html).outside]


def addresses(html: str) -> list[tuple[str, str]]:
    return [(html[one.start : one.end], one.after) for one in read(html).addresses]


@pytest.mark.parametrize(("html", "found"), [
    ("<a href={{ url }}>x</a>", ["{{ url }}"]),
    ("<a href=/{{ a }}{{ b }}>", ["{{ a }}", "{{ b }}"]),
    ("<td {{ attributes }}>", ["{{ attributes }}"]),
    ("<td {{ name }}='x'>", ["{{ name }}"]),
    ("<h{{ n }}>", ["{{ n }}"]),
    ("3<{{ n }} and <b>bold</b>", ["{{ n }}"]),
    ("<td width={% echo n %}>", ["{% echo n %}"]),
    ("<td width={% liquid\n assign m = n\n echo m\n%}>", ["{% liquid\n assign m = n\n echo m\n%}"]),
    ("<a title\"={{ a }}\">", ["{{ a }}"]),
    ("<a {% cycle a %}><a {% cycle '1', a %}>", ["{% cycle a %}", "{% cycle '1', a %}"]),
    ("<a onclick=\"x('{{ a }}')\"><iframe srcdoc='{{ b }}'>", ["{{ a }}", "{{ b }}"]),
    ("<meta http-equiv='Refresh' content='0; url={{ a }}'><meta name='x' content='{{ b }}'>", ["{{ a }}"]),
    ("<!--[if mso]><td width={{ n }}><![endif]--><td height={{ m }}>", ["{{ n }}", "{{ m }}"]),
])
def test_an_output_in_a_tag_and_outside_of_quotes_is_found(html: str, found: list[str]) -> None:
    assert outside(html) == found


@pytest.mark.parametrize("html", [
    "{{ a }} <b>{{ b }}</b> 1 < {{ c }}",
    "<td {% if a %}class=\"x {{ b }}\"{% endif %}>",
    "<td{% if a %} class='x'{% else %} class=y{% endif %} title='{{ b }}'>",
    "<a href={% if a %}\"{{ a }}\"{% endif %}>",
    "<{% if a %}a href=\"{{ a }}\"{% else %}span{% endif %} title=\"{{ b }}\">",
    "<td class=\"{% for a in b %}{{ a }} {% endfor %}\" width={% cycle '1', '2' %}>",
    "<!-- <td {{ a }}> --><style>td { width: {{ n }}px }</style><title><td {{ a }}></title>",
    "{% raw %}<td {{ a }}>{% endraw %}{% comment %}<td {{ a }}>{% endcomment %}",
    "</{{ a }}>",
])
def test_what_stands_in_text_or_in_quotes_is_not_and_tags_of_liquid_may_stand_anywhere(html: str) -> None:
    assert outside(html) == []


@pytest.mark.parametrize(("html", "found"), [
    ("<a href=\"{{ url }}\">", ["{{ url }}"]),
    ("<IMG SRC='  {{ url }}?{{ b }}'>", ["{{ url }}"]),
    ("<a href=\"{{ a }}{{ b }}/{{ c }}\">", ["{{ a }}", "{{ b }}"]),
    ("<a href=\"{{ a }}#{{ c }}\" title='{{ b }}'>", ["{{ a }}"]),
    ("<a href=\"{% echo a %}\">", ["{% echo a %}"]),
    ("<a href=\"{% cycle a, 'x' %}\"><a href=\"{% cycle 'g': '/x', '/y' %}\">", ["{% cycle a, 'x' %}"]),
    ("<a href='&#32;{{ a }}'><a href='&sol;{{ b }}'>", ["{{ a }}"]),
    ("<object data='{{ a }}'><video poster='{{ b }}'>", ["{{ a }}", "{{ b }}"]),
    ("<a href=\"https://x.example/{{ a }}\"><a href='mailto:{{ a }}'><a href='/{{ a }}'><a href='?a={{ a }}'>", []),
    ("<a href='page{{ a }}'>", ["{{ a }}"]),
    ("<a {% if a %}href=\"{{ a }}\"{% endif %}>", ["{{ a }}"]),
    ("<a href='{% if a %}{{ a }}{% else %}{{ b }}{% endif %}'>", ["{{ a }}", "{{ b }}"]),
    ("<a href='{% if a %}https://x/{{ a }}{% else %}{{ b }}{% endif %}{{ c }}'>", ["{{ b }}", "{{ c }}"]),
    ("<a href='{% if a %}https://x/{% else %}http://y/{% endif %}{{ c }}'>", []),
    ("<a href='{% if a %}https://x/{% elsif b %}http://y/{% endif %}{{ c }}'>", ["{{ c }}"]),
    ("<a href='{% case a %} {% when 1 %}https://x/{{ a }}{% else %}/{% endcase %}{{ c }}'>", []),
    ("<a href='{% case a %}{% when 1 %}https://x/{% endcase %}{{ c }}'>", ["{{ c }}"]),
    ("<a href='https://x/{% if a %}{{ a }}{% else %}{{ b }}{% endif %}'>", []),
    ("<a href='{% for a in b %}/{{ a }}{% endfor %}{{ c }}'>", ["{{ c }}"]),
    ("<a href='{% assign a = b %}{{ a }}'>", ["{{ a }}"]),
    ("<form action='{{ a }}'><button formaction='{{ b }}'><body background='{{ c }}'><a xlink:href='{{ d }}'>",
     ["{{ a }}", "{{ b }}", "{{ c }}", "{{ d }}"]),
    ("<!--[if mso]><v:roundrect href=\"{{ url }}\"><![endif]-->", ["{{ url }}"]),
])
def test_an_output_before_the_scheme_of_an_address_is_decided_is_found(html: str, found: list[str]) -> None:
    assert [text for text, _ in addresses(html)] == found
    assert outside(html) == []


def test_what_follows_is_told_where_it_makes_a_scheme_of_the_value() -> None:
    assert addresses("<a href='{{ a }}://x'><a href='{{ b }}script:x'><a href='{{ c }}?a:b'>") == [
        ("{{ a }}", ":"), ("{{ b }}", "script:"), ("{{ c }}", "")]


@pytest.mark.parametrize("html", [
    "<a href='" + "{{ a }}" * 2_000 + "'>", "<a " + "b='{{ c }}' " * 1_000 + "d=e " * 200_000 + ">",
    "<a href='{% if a %}" * 2_000, "<!--[if mso]>" * 50_000 + "{{ a }}", "<" * 500_000 + "{{ a }}"])
def test_a_hostile_source_is_read_within_a_moment(html: str) -> None:
    began = time.thread_time()
    read(html)
    assert time.thread_time() - began < 3
