"""Cancels, approvals, creations, claims: one of those who want the same thing gets it, and the others are told so."""

from __future__ import annotations

from proofs import claims, races
from proofs.verdict import Scale


async def test_of_all_who_race_one_wins_and_the_others_are_answered() -> None:
    verdict = await races.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    assert verdict.figures["cancel or complete"] == 300


async def test_no_chunk_is_held_by_two_workers_and_nobody_is_in_hand_twice() -> None:
    verdict = await claims.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    assert verdict.figures["claims"] >= 2_000
