"""No template runs on: each is refused with its place, or ends within its steps, in memory and time that the kernel holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .adversarial import ENDED, REFUSED, SENT

Outcomes = dict[str, tuple[str, str, bool]]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """All of them in one process, of 512 MiB and two minutes of CPU; what takes more is killed, and nothing is printed."""
    command = [sys.executable, str(Path(__file__).with_name("adversarial.py"))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"ended by {ended.returncode}: {ended.stderr[-2_000:]}"
    return {name: (outcome, words, is_unharmed) for name, outcome, words, is_unharmed in json.loads(ended.stdout)}


def test_there_are_more_than_a_hundred(outcomes: Outcomes) -> None:
    assert len(outcomes) == len(REFUSED) + len(ENDED) + len(SENT) > 100


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_line_and_column(name: str, outcomes: Outcomes) -> None:
    outcome, words, _ = outcomes[name]
    assert outcome == "refused"
    assert re.match(r"In the html, line \d+, column \d+: .+\.$", words)


@pytest.mark.parametrize("name", ENDED)
def test_what_would_run_on_ends_for_that_recipient_alone(name: str, outcomes: Outcomes) -> None:
    outcome, words, _ = outcomes[name]
    assert (outcome, bool(re.search(ENDED[name][1], words))) == ("ended", True), words


@pytest.mark.parametrize("name", SENT)
def test_what_only_looks_bad_is_sent(name: str, outcomes: Outcomes) -> None:
    assert outcomes[name][0] == "sent", outcomes[name][1]


def test_another_job_in_the_same_process_is_unharmed_after_each(outcomes: Outcomes) -> None:
    assert [name for name, (_, _, is_unharmed) in outcomes.items() if not is_unharmed] == []
