"""The filters that are not the library's own, and the numbers that none of them reckons with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from liquid.builtin.filters.array import uniq
from liquid.builtin.filters.string import strip_html
from liquid.exceptions import LiquidError

from postroom.message.liquid.merge import environment

NOW = datetime(2026, 6, 5, 4, 3, 2, tzinfo=UTC)


def printed(source: str, **names: object) -> str:
    return environment(NOW, html=False).from_string(source).render(**names)


@pytest.mark.parametrize("value", [
    "a <b>bold</b> word", "<p>one</p><p>two</p>", "1 < 2 > 1", "a<br/>b<!-- not shown -->c", "<script>x < y</script>z",
    "<style>p { }</style>z", "<SCRIPT>x</script >z", "Tom &amp; Ann &#33;<i>", "no markup", "", "<a href='x>y'>z</a>", "a <> b",
])
def test_strip_html_leaves_the_text_that_the_library_leaves(value: str) -> None:
    env = environment(NOW, html=False)
    assert printed("{{ value | strip_html }}", value=value) == strip_html(value, environment=env)


def test_what_is_left_of_markup_is_escaped_in_html_as_any_value() -> None:
    template = environment(NOW, html=True).from_string("{{ value | strip_html }}")
    assert template.render(value="<b>1 < 2</b>") == "1 &lt; 2"


@pytest.mark.parametrize("values", [
    [], ["b", "a", "b"], [1, 1.0, True, "1"], [[1], [1], [2]], [{"a": 1}, {"a": 1}], [None, None],
])
def test_uniq_keeps_the_first_of_each_in_order(values: list[object]) -> None:
    assert environment(NOW, html=False).filters["uniq"](values) == uniq(values)


def test_uniq_by_a_key_keeps_the_first_of_each_that_the_key_leads_to() -> None:
    people = [{"of": "a", "n": 1}, {"of": "a", "n": 2}, {"n": 3}, {"n": 4}, {"of": "b", "n": 5}]
    assert environment(NOW, html=False).filters["uniq"](people, "of") == uniq(people, "of") == [people[0], people[2], people[4]]


@pytest.mark.parametrize(("source", "text"), [
    ("{{ 'a,b' | split: ',' | join: separator: '+' }}", "a+b"), ("{{ 'aa' | replace: 'a', sub: 'b' }}", "bb"),
    ("{{ 2 | times: other: 3 }}", "6"), ("{{ 'x' | default: 'y', allow_false: true }}", "x"),
    ("{{ nothing | default: 'y', allow_false: true }}", "y"),
])
def test_an_argument_may_be_given_by_its_name(source: str, text: str) -> None:
    assert printed(source) == text


@pytest.mark.parametrize("source", ["{{ 2 | times: nobody: 3 }}", "{{ 2 | times: 3, other: 4 }}", "{{ 2 | times }}"])
def test_an_argument_that_is_none_is_said(source: str) -> None:
    with pytest.raises(LiquidError):
        printed(source)


def test_what_cannot_be_read_as_a_date_stays_as_it_is() -> None:
    for value in ("9" * 33 + "m'", "soon", "1e999", "32.13.2026"):
        assert printed('{{ value | date: "%Y" }}', value=value) == value


@pytest.mark.parametrize(("layout", "text"), [
    ("%s", "1780632182"), ("%-s|%_s|%10s|%Es", "|".join(["1780632182"] * 4)), ("%%s %Y", "%s 2026"), ("%%%s", "%1780632182"),
    ("%d.%-m.%Y", "05.6.2026"),
])
def test_seconds_of_the_epoch_are_the_moments_own(layout: str, text: str) -> None:
    assert printed("{{ 'now' | date: layout }}", layout=layout) == text
