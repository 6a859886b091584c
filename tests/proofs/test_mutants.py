"""The planted faults: each has its place in the source, what is to catch it is there, and the documentation lists them all."""

from __future__ import annotations

import ast

import pytest

from proofs.__main__ import NAMES
from proofs.mutants import PLANTED_IN, PROOF, ROOT, Mutant, mutants, table

LISTED = mutants()


def test_there_are_as_many_as_were_promised_and_none_twice() -> None:
    assert len(LISTED) >= 60
    assert len({one.what for one in LISTED}) == len({(one.file, one.before, one.after) for one in LISTED}) == len(LISTED)


@pytest.mark.parametrize("mutant", LISTED, ids=lambda one: one.what)
def test_a_fault_can_be_planted_and_what_catches_it_is_there(mutant: Mutant) -> None:
    source = (ROOT / PLANTED_IN / mutant.file).read_text()
    planted = mutant.planted(source)
    assert planted != source
    if mutant.file.endswith(".py"):
        ast.parse(planted)
    if mutant.caught_by.startswith(PROOF):
        assert mutant.caught_by.removeprefix(PROOF) in NAMES
    else:
        path, _, name = mutant.caught_by.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text()


def test_the_guarantee_lists_them_all() -> None:
    assert table(LISTED) in (ROOT / "docs" / "guarantee.md").read_text()
