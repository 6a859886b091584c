"""Resets before the dot and after it, sixty of each."""

from __future__ import annotations

from proofs import resets
from proofs.verdict import Scale


async def test_a_reset_before_the_dot_leaves_no_doubt_and_one_after_it_always_does() -> None:
    verdict = await resets.prove(Scale.SHORT, 3, print)
    assert verdict.faults == []
    assert (verdict.figures["unconfirmed by them"], verdict.figures["unconfirmed by these"]) == (0, 60)
