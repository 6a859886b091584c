"""The simulation: it finds nothing in what we ship, finds what is broken on purpose, repeats itself, and its ledger is the real
one's twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from desk import Desk
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.flow.delivery import journals
from postroom.flow.delivery.window_source import WindowSource
from proofs.simulation import run, run_one
from proofs.simulation.differential import differ

SEEDS = 2_000
SEEDS_TO_SEE_A_BUG = 200
SEQUENCES, STEPS, RECIPIENTS = 150, 30, 12


def test_nothing_that_befalls_workers_database_gateway_and_journals_breaks_a_promise() -> None:
    result = run(range(SEEDS))
    assert result.broken == {}
    assert result.seeds == SEEDS
    assert result.recipients > 40 * SEEDS
    assert result.deaths > SEEDS / 2
    assert result.unconfirmed > 0


def test_a_seed_tells_the_same_story_each_time(tmp_path: Path) -> None:
    for seed in (3, 47, 66):
        first, second = (run_one(seed, tmp_path / name, traces=True) for name in ("first", "second"))
        assert first.trace == second.trace
        assert first.digest.hexdigest() == second.digest.hexdigest()


def test_a_recovery_that_sends_again_what_was_handed_over_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = journals._told

    def wrong(position: int, attempt_no: int, *known: object) -> Outcome:
        told = right(position, attempt_no, *known)  # type: ignore[arg-type]
        if told.kind is Kind.UNCONFIRMED:
            return Outcome(position, attempt_no, Kind.RELEASED, Evidence.WORKER, retry_in_s=0.0)
        return told

    monkeypatch.setattr(journals, "_told", wrong)
    assert "was accepted 2 times" in str(run(range(SEEDS_TO_SEE_A_BUG)).broken)


def test_a_sender_that_takes_a_lost_answer_for_a_no_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: WindowSource, envelope: object, detail: str) -> None:
        """Nothing is noted, so the recipient goes back to unsent."""

    monkeypatch.setattr(WindowSource, "lost", wrong)
    assert "was accepted 2 times" in str(run(range(SEEDS_TO_SEE_A_BUG)).broken)


def test_a_sender_that_takes_a_lost_answer_for_a_yes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: WindowSource, envelope: object, detail: str) -> None:
        one = envelope.token[0]  # type: ignore[attr-defined]
        self._outcomes[one.position] = Outcome(one.position, one.attempt_no, Kind.SENT, Evidence.REPLY, 250)

    monkeypatch.setattr(WindowSource, "lost", wrong)
    assert "was never accepted" in str(run(range(SEEDS_TO_SEE_A_BUG)).broken)


def test_a_recovery_that_fails_whom_a_dead_worker_had_not_touched_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = journals._told

    def wrong(*known: object) -> Outcome:
        told = right(*known)  # type: ignore[arg-type]
        return told._replace(kind=Kind.FAILED, retry_in_s=None) if told.kind is Kind.RELEASED else told

    monkeypatch.setattr(journals, "_told", wrong)
    assert "is failed, and nothing happened that it would rest on" in str(run(range(SEEDS_TO_SEE_A_BUG)).broken)


def test_a_sender_that_takes_a_refusal_for_now_for_one_for_good_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = WindowSource._judged

    def wrong(self: WindowSource, *heard: object) -> Outcome:
        told = right(self, *heard)  # type: ignore[arg-type]
        return told._replace(kind=Kind.FAILED, retry_in_s=None, refusals=0) if told.kind is Kind.REFUSED else told

    monkeypatch.setattr(WindowSource, "_judged", wrong)
    assert "is failed, and nothing happened that it would rest on" in str(run(range(SEEDS_TO_SEE_A_BUG)).broken)


def test_a_sender_that_skips_who_wants_to_be_mailed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = WindowSource.outcomes

    def wrong(self: WindowSource) -> list[Outcome]:
        return [told._replace(kind=Kind.SKIPPED, retry_in_s=None) if told.kind is Kind.RELEASED else told for told in right(self)]

    monkeypatch.setattr(WindowSource, "outcomes", wrong)
    assert "is skipped, and nothing happened that it would rest on" in str(run(range(SEEDS_TO_SEE_A_BUG)).broken)


async def test_the_ledger_in_memory_does_what_the_real_one_does(pool, database) -> None:
    desk = Desk(pool, database)
    for seed in range(SEQUENCES):
        account_id = await desk.account(f"Club {seed}", connections=1)
        job = await desk.submit(account_id, RECIPIENTS)
        async with pool.connection() as conn:
            assert await differ(conn, account_id, job.id, seed, STEPS) is None
