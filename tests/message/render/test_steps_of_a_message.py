"""The steps of a message are counted over all of its parts, and come to the same whatever is remembered of other recipients."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from postroom.message.content import Content
from postroom.message.liquid import merge
from postroom.message.liquid.steps import STEPS_MAX
from postroom.message.prepare.source import prepare
from postroom.message.render.compile import Compiled, Outfit, Stamp
from postroom.message.render.compile import compile as compile_content
from postroom.message.wire.headers import Unrenderable

STAMP = Stamp("job-7", datetime(2026, 6, 5, tzinfo=UTC))
LOOP = "{% for i in (1..9000) %}{{ i }}{% endfor %}"
LONG = "x" * 40_000  # a value that a filter takes hundreds of steps for


def compiled(**parts: str) -> Compiled:
    content = Content(parts.get("subject", "News"), parts.get("html"), parts.get("text"), "a@club.example")
    return compile_content(content, prepare(content), STAMP, {}, Outfit())


def fails(message: Compiled, **fields: str) -> bool:
    try:
        message.render("ann@x.example", 1, fields)
    except Unrenderable as refused:
        return "too many steps" in str(refused)
    return False


@pytest.mark.parametrize("parts", [{"html": LOOP, "text": "News"}, {"text": LOOP}, {"subject": "{{ n }}", "text": LOOP}])
def test_a_loop_in_one_part_is_within_them(parts: dict[str, str]) -> None:
    assert not fails(compiled(**parts))


def test_loops_in_two_parts_are_counted_together() -> None:
    assert fails(compiled(html=f"<p>{LOOP}</p>", text=LOOP))


def test_each_message_begins_with_all_of_them() -> None:
    message = compiled(text=LOOP)
    assert [fails(message) for _ in range(3)] == [False, False, False]


def test_what_stands_alone_is_free_as_long_as_it_takes_few_and_counts_when_it_takes_many() -> None:
    message = compiled(text="".join(f"{{{{ a{n} | upcase | downcase }}}}\n" for n in range(200)))
    assert not fails(message, **{f"a{n}": f"Ann {n}" for n in range(200)})
    assert fails(message, **{f"a{n}": LONG for n in range(200)})


def test_so_does_a_condition() -> None:
    message = compiled(text="".join(f"{{% if a{n} contains 'y' %}}y{{% endif %}}\n" for n in range(150)))
    assert not fails(message, **{f"a{n}": "x" for n in range(150)})
    assert fails(message, **{f"a{n}": LONG for n in range(150)})


def test_what_took_many_is_not_remembered_so_a_recipient_who_fails_fails_again() -> None:
    message = compiled(text="".join(f"{{{{ a{n}" + " | date: '%Y-%m-%d'" * 10 + " }}\n" for n in range(200)))
    fields = {f"a{n}": "2026-06-05" for n in range(200)}
    assert [fails(message, **fields) for _ in range(4)] == [True] * 4


def test_an_account_s_values_are_worked_out_within_the_steps_of_one_message() -> None:
    steps = merge.Steps()
    template = merge.parse("{{ 'x' }}", merge.environment(STAMP.date, html=False), "text")
    assert not isinstance(template, list)
    evaluator = merge.Evaluator(template, {}, steps, [])
    with evaluator.context({}) as context:
        context.take(merge.ALONE_STEPS_FREE)
    assert steps.left == STEPS_MAX
    with evaluator.context({}) as context:
        context.take(merge.ALONE_STEPS_FREE + 1)
    assert steps.left == STEPS_MAX - merge.ALONE_STEPS_FREE - 1
