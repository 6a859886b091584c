"""Cancels at any moment, with workers in processes of their own."""

from __future__ import annotations

from proofs import cancels
from proofs.verdict import Scale


async def test_after_a_cancel_has_answered_each_session_begins_one_message_at_most() -> None:
    verdict = await cancels.prove(Scale.SHORT, 5, print)
    assert verdict.faults == []
    assert verdict.figures["cancels"], "every job was over before its cancel"
