"""The steps of a rendering: what is done counts, and what is large counts more, wherever and however often it is rendered."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

import pytest
from liquid import BoundTemplate
from liquid.exceptions import ResourceLimitError

from postroom.message.liquid import merge
from postroom.message.liquid.steps import SLOW_FILTERS, STEP_CHARACTERS, STEP_PARTS, STEP_TEXT, STEPS_MAX, Context, Steps

NOW = datetime(2026, 6, 5, tzinfo=UTC)


def steps(source: str, **fields: object) -> int:
    """How many steps a template takes."""
    template = merge.parse(source, merge.environment(NOW, html=True), "html")
    assert isinstance(template, BoundTemplate)
    context = Context(template, {**fields, "fields": fields}, Steps(), [])
    for node in template.nodes:
        node.render(context, StringIO())
    return STEPS_MAX - context.steps.left


def test_each_node_path_and_filter_is_a_step() -> None:
    assert steps("text") == 1
    assert steps("{{ a }}", a="x") == 2
    assert steps("{{ a | upcase | downcase }}", a="x") == 4
    assert steps("{{ fields.b.c.d }}") == 1 + 4
    assert steps("{% for i in (1..5) %}x{% endfor %}") == 1 + 5 * 2


def test_the_same_template_takes_the_same_steps_each_time() -> None:
    source = "{% for key in fields %}{{ key | join: '=' }}{% endfor %}{% if a contains 'x' %}{{ a }}{% endif %}"
    assert len({steps(source, a="x" * 999, b=None, c=1.5) for _ in range(3)}) == 1


@pytest.mark.parametrize("source", [
    "{{ a }}", "{% echo a %}", "{% cycle a %}", "{% assign b = a %}", "{% for f in fields %}{% endfor %}",
    "{% if a == 'x' %}{% endif %}",
    "{% if a contains 'x' %}{% endif %}", "{% case a %}{% when 'y' %}{% endcase %}",
])  # fmt: skip
def test_a_large_value_is_weighed_wherever_it_is_used(source: str) -> None:
    assert steps(source, a="x" * 100_000) - steps(source, a="") >= 100_000 // STEP_CHARACTERS


def test_so_is_what_a_filter_makes() -> None:
    assert steps("{{ a | replace: 'x', 'yyyyyyyyyy' | size }}", a="x" * 9_000) > 90_000 // STEP_CHARACTERS
    assert steps("{{ a | split: ',' | size }}", a="1," * 4_000) > 4_000 * 10 // STEP_CHARACTERS
    assert steps("{{ (1..9999) | size }}") > 9_999 * 10 // STEP_CHARACTERS


def test_each_branch_and_operand_counts_even_if_it_is_a_literal() -> None:
    assert steps("{% if false %}" + "{% elsif false %}" * 1_000 + "{% endif %}") >= 1_000 // STEP_PARTS
    assert steps("{% if " + " or ".join(["false"] * 300) + " %}{% endif %}") >= 300 // STEP_PARTS
    assert steps("{% cycle " + ",".join(["'a'"] * 500) + " %}") >= 500 // STEP_PARTS
    assert steps("{% case 1 %}{% when " + ",".join(["2"] * 500) + " %}{% endcase %}") >= 500 // STEP_PARTS


def test_text_costs_little_and_dates_cost_much() -> None:
    assert steps("y" * 500_000) == 1 + 500_000 // STEP_TEXT
    assert steps("{{ a | date: '%Y' }}", a="2026-01-02") == 2 + SLOW_FILTERS["date"]


def test_whoever_takes_more_than_there_are_is_stopped() -> None:
    with pytest.raises(ResourceLimitError, match="too many steps"):
        steps("{% for i in (1..10000) %}{{ i }}{% endfor %}" * 2)
