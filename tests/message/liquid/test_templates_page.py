"""docs/templates.md: its examples print what it says, and it names the language as it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom.message.liquid import filters, merge, values
from postroom.message.liquid.merge import environment
from postroom.message.liquid.steps import STEPS_MAX

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "templates.md").read_text(encoding="utf-8")
LANGUAGE = environment(datetime(2026, 6, 5, tzinfo=UTC), html=False)
NAMES = {"name": "Ann Lee", "city": "", "interests": "sailing,chess", "amount": "12.5", "until": "2026-07-04"}
ROW = re.compile(r"^\| `(.+)` \| (.+) \|$", re.MULTILINE)
EXAMPLES = [(source.replace("\\|", "|"), printed) for source, printed in ROW.findall(PAGE)]


@pytest.mark.parametrize(("source", "printed"), EXAMPLES)
def test_each_example_prints_what_the_page_says(source: str, printed: str) -> None:
    assert LANGUAGE.from_string(source).render(**NAMES, fields={**NAMES, "First name": "Ann"}) == printed


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 5


def test_the_page_names_every_filter_and_no_other() -> None:
    told = re.search(r"Filters:\n(.+?)\n`safe`", PAGE, re.DOTALL)
    assert told
    assert set(re.findall(r"`(\w+)`", told[1])) == set(LANGUAGE.filters)


def test_the_page_names_every_tag_and_no_other() -> None:
    told = re.search(r"Tags: (.+?)\. There", PAGE, re.DOTALL)
    assert told
    parts_of_the_lexer = {"#", "content", "illegal", "output"}
    assert set(re.findall(r"`(\w+)`", told[1])) - {"raw"} == set(LANGUAGE.tags) - parts_of_the_lexer


def test_the_limits_are_those_of_the_language() -> None:
    assert f"{filters.LOOP_MAX:,} turns" in PAGE
    assert f"{values.DIGITS_MAX:,} digits" in PAGE
    assert f"{filters.OUTPUT_MAX // 2**20} MiB" in PAGE
    assert f"{STEPS_MAX:,}\nsteps" in PAGE
    assert f"{merge.MARKUP_MAX:,} characters" in PAGE
    assert f"{merge.NAMES_DEEP_MAX} deep" in PAGE
