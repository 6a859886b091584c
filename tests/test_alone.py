"""`make alone` names exactly the tests that need a neighbour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALONE = Path(__file__).resolve().parent.parent / "tools" / "alone.py"
TESTS = """
import pytest

left = []

@pytest.mark.parametrize("what", ["a", "b[c]"])
def test_that_leaves_something(what):
    left.append(what)

def test_that_leans_on_it():
    assert left

class TestOfAClass:
    def test_that_stands_by_itself(self):
        pass
"""


def test_a_test_that_leans_on_its_neighbour_is_named_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "test_leaning.py").write_text(TESTS)
    done = subprocess.run([sys.executable, ALONE, "--jobs", "2", "test_leaning.py"], cwd=tmp_path, text=True, check=False,
                          stdout=subprocess.PIPE)
    said = [line for line in done.stdout.splitlines() if line.startswith(("holds", "FAILS"))]
    assert (done.returncode, said) == (1, [
        "holds: test_leaning.py::test_that_leaves_something",
        "FAILS: test_leaning.py::test_that_leans_on_it",
        "holds: test_leaning.py::TestOfAClass::test_that_stands_by_itself"])
