"""Hostile replies, to the parser and to whole sessions."""

from __future__ import annotations

from proofs import replies
from proofs.verdict import Scale


async def test_no_reply_is_taken_for_the_answer_to_something_else() -> None:
    verdict = await replies.prove(Scale.SHORT, 3, print)
    assert verdict.faults == []
    assert all(verdict.figures[name] for name in ("accepted", "refused", "in doubt")), "the servers were not random enough"
