"""Claims, windows, leases and sweeps, all at once: the epoch decides, and what the loser knows is not lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from acting import acting
from contest import claimed, hand_off_everything, turned
from postroom.domain.job import Status
from postroom.errors import Unavailable
from postroom.flow.delivery.recover import sweep
from postroom.flow.job import finish, report
from postroom.flow.job.pause import pause
from postroom.ledger.database import db
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import Claim, LeaseLost
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview
from proofs.checker import LATEST_OUTCOMES, MISCOUNTS
from proofs.races import all_sent, at_once
from stage import Stage, eventually

LANES = "SELECT count(*) FROM procrastinate_jobs WHERE (args ->> 'job_id')::bigint = %s"
WINDOWS = "SELECT count(*) FROM hand_off_window WHERE job_id = %s"


async def test_the_two_who_finish_the_last_two_chunks_complete_the_job_exactly_once(stage: Stage) -> None:
    account = await stage.account(connections=2)

    async def finish_chunk(claim: Claim) -> bool:
        window = await turned(stage.pool, claim, [], 50)
        assert window is not None
        await turned(stage.pool, claim, all_sent(window), 0)
        async with stage.pool.connection() as conn:
            await windows.release_chunk(conn, claim)
            done = await jobs.has_nothing_left(conn, account, job.id)
        return done and await finish.complete(stage.pool, account, job.id)

    for _ in range(60):
        job = await stage.submit(account, 2)
        claims = [await claimed(stage.pool, account, job.id, f"hand {n}") for n in range(2)]
        answers = await at_once(*(partial(finish_chunk, claim) for claim in claims if claim))
        assert sorted(answers) == [False, True], "one completes it, and the other finds it done"
        assert (await report.report(stage.pool, acting(account), job.id)).job.status is Status.COMPLETED


async def test_ten_who_claim_at_once_get_different_chunks_and_the_rest_get_none(stage: Stage) -> None:
    account = await stage.account(connections=1)
    job = await stage.submit(account, 4)
    claims = await at_once(*(partial(claimed, stage.pool, account, job.id, f"hand {n}") for n in range(10)))
    assert sorted(claim.chunk_no for claim in claims if claim) == [0, 1, 2, 3]


async def test_after_a_cancel_has_answered_no_window_is_opened(stage: Stage) -> None:
    account = await stage.account(connections=2)
    for _ in range(30):
        job = await stage.submit(account, 99)
        in_hand: list[tuple[Claim, windows.Window]] = []

        async def sender(job_id: int, in_hand: list[tuple[Claim, windows.Window]]) -> str:
            while (claim := await claimed(stage.pool, account, job_id)) is not None:
                outcomes = []
                try:
                    while (window := await turned(stage.pool, claim, outcomes, 1)) is not None:
                        outcomes = all_sent(window)
                        in_hand[:] = [(claim, window)]
                except LeaseLost:
                    return "fenced"
            return "no chunk"

        async def canceller(job_id: int) -> int:
            await asyncio.sleep(random.uniform(0, 0.02))
            await finish.cancel(stage.pool, acting(account, "boss"), job_id)
            return int((await stage.query(WINDOWS, job_id))[0][0])

        ended, opened_before = await at_once(partial(sender, job.id, in_hand), partial(canceller, job.id))
        assert ended in ("fenced", "no chunk")
        assert await stage.query(WINDOWS, job.id) == [(opened_before,)], "a window was opened after the cancel"
        for claim, window in in_hand:  # the loser books what it knows
            async with stage.pool.connection() as conn:
                await windows.settle_window(conn, claim, window.window_no, all_sent(window))
        view = (await report.report(stage.pool, acting(account), job.id)).job
        assert (view.sent, view.in_hand) == (opened_before, 0)


async def test_a_cancel_and_a_heartbeat_never_lock_each_other_out(stage: Stage) -> None:
    account = await stage.account(connections=20)
    for _ in range(20):
        job = await stage.submit(account, 80)
        claims = [claim for _ in range(80) if (claim := await claimed(stage.pool, account, job.id))]
        assert len(claims) == 80

        async def heartbeat(own: list[Claim]) -> None:
            for _ in range(5):
                async with stage.pool.connection() as conn:
                    await windows.renew_leases(conn, random.sample(own, len(own)), 30)

        # Four workers, each with chunks of its own, and a person.
        answers = await at_once(*(partial(heartbeat, claims[n::4]) for n in range(4)),
                                partial(finish.cancel, stage.pool, acting(account, "boss"), job.id))
        assert [answer for answer in answers if isinstance(answer, Exception)] == []


async def test_a_worker_that_is_frozen_in_the_middle_of_a_transaction_holds_up_neither_a_cancel_nor_the_next_owner(
        database: str, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its locks would stay as long as its connection does, and a host that has vanished does not hang up."""
    monkeypatch.setattr(db, "IDLE_IN_TRANSACTION_S_MAX", 1)
    account = await stage.account(connections=1)
    job = await stage.submit(account, 4)
    claim = await claimed(stage.pool, account, job.id, "frozen")
    assert claim is not None
    frozen = await db.connect(database, name="frozen worker")
    await frozen.execute("BEGIN")
    assert await windows.turn_window(frozen, claim, [], 50) is not None
    async with asyncio.timeout(10):
        cancelled = await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    assert (cancelled.status, cancelled.in_hand) == (Status.CANCELLED, 0), "what it had not committed never was"
    with pytest.raises(Unavailable, match="idle-in-transaction"), db.translate(database):
        await frozen.execute("COMMIT")
    await frozen.close()


@pytest.mark.parametrize("stop", [pause, finish.cancel])
async def test_a_turn_to_retries_and_who_stops_the_job_never_lock_each_other_out(
        database: str, stage: Stage, stop: Callable[..., Awaitable[JobOverview]]) -> None:
    """It writes its chunk twice, and the second time PostgreSQL looks at the job once more (the foreign key)."""
    account = await stage.account(connections=1)
    job = await stage.submit(account, 4)
    claim = await claimed(stage.pool, account, job.id, "worker")
    assert claim is not None
    async with await db.connect(database, name="worker") as worker:
        async with worker.transaction():
            await windows.turn_window(worker, claim, [], 0)
            stopping = asyncio.create_task(stop(stage.pool, acting(account, "boss"), job.id))

            async def waits() -> bool:
                return bool(await stage.query("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
                                              "AND wait_event_type = 'Lock'"))
            await eventually(waits)
            await windows.turn_window(worker, claim, [], 0)
        stopped = await stopping
    assert stopped.unsent == 4


async def test_a_heartbeat_that_comes_after_the_release_does_not_take_the_chunk_back(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 10)
    claim = await claimed(stage.pool, account, job.id)
    assert claim is not None
    async with stage.pool.connection() as conn:
        await windows.release_chunk(conn, claim)
        held = await windows.renew_leases(conn, [claim], 30)
    assert held == set()
    again = await claimed(stage.pool, account, job.id)
    assert again is not None
    assert again.chunk_no == claim.chunk_no


async def test_of_a_late_owner_and_the_one_who_takes_over_each_outcome_is_counted_once(stage: Stage) -> None:
    account = await stage.account(connections=1)

    async def late_owner(claim: Claim, window: windows.Window) -> str:
        try:
            await turned(stage.pool, claim, all_sent(window), 0)
        except LeaseLost:
            async with stage.pool.connection() as conn:
                await windows.settle_window(conn, claim, window.window_no, all_sent(window))
            return "fenced"
        return "in time"

    ways = set()
    for _ in range(40):
        job = await stage.submit(account, 4)
        claim = await claimed(stage.pool, account, job.id, "late", lease_s=0.0)
        assert claim is not None
        window = await turned(stage.pool, claim, [], 50)
        assert window is not None
        await stage.query("UPDATE chunk SET lease_until = clock_timestamp() - interval '1 second' "
                          "WHERE job_id = %s AND chunk_no = %s RETURNING 1", job.id, claim.chunk_no)
        way, _taken = await at_once(partial(late_owner, claim, window),
                                    partial(claimed, stage.pool, account, job.id, "new owner"))
        ways.add(way)
        told = {row[0]: row[1] for row in await stage.query(LATEST_OUTCOMES, account, job.id)}
        assert told == {one.position: "sent" for one in window.recipients}
        assert await stage.query(MISCOUNTS) == []
        await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    assert ways <= {"in time", "fenced"}


async def test_five_sweeps_at_once_put_back_what_was_lost_exactly_once(stage: Stage) -> None:
    account = await stage.account(connections=4)
    for _ in range(10):
        job, following = await stage.submit(account, 40), await stage.submit(account, 1)
        await stage.query("DELETE FROM procrastinate_jobs RETURNING 1")
        assert set(await at_once(*[partial(sweep, stage.pool, give_up_s=60, lease_s=30)] * 5)) == {None}
        assert await stage.query(LANES, job.id) == [(4,)]
        await hand_off_everything(stage.pool, account, job.id)
        assert set(await at_once(*[partial(sweep, stage.pool, give_up_s=60, lease_s=30)] * 5)) == {None}
        assert (await report.report(stage.pool, acting(account), job.id)).job.status is Status.COMPLETED
        ends = await stage.query("SELECT count(*) FROM job_event WHERE job_id = %s AND verb = 'complete'", job.id)
        starts = await stage.query("SELECT count(*) FROM job_event WHERE job_id = %s AND verb = 'start'", following.id)
        assert (ends, starts) == ([(1,)], [(1,)])
        await finish.cancel(stage.pool, acting(account, "boss"), following.id)
