"""The database's clock is set, or nobody looks for a while: whose time that is, and what may still wait for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from desk import Desk
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.ledger.database import db, engine
from postroom.ledger.delivery import clock, pace, retries, roll_call, windows
from postroom.ledger.job.jobs import JobOverview
from proofs.clock import make_clock_settable, set_by

DEADLINE_S, TAIL_S = 120, 1_800
DAY_S = 86_400


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    await make_clock_settable(database)
    async with await db.open_pool(database, size_max=4, name="postroom test", unsafe=True) as pool:
        yield Desk(pool, database)


async def set_clock(desk: Desk, seconds: float) -> None:
    await set_by(desk.url, seconds)


async def looked(desk: Desk) -> float:
    """What a look finds, in seconds, and what follows it in each sweep."""
    async with desk.pool.connection() as conn:
        unseen = await clock.look(conn)
        await clock.bound(conn, lease_s=30)
        await engine.bound_heartbeats(conn)
    return unseen.total_seconds()


async def pass_by(desk: Desk, seconds: int) -> None:
    """So much time, while somebody looks."""
    for _ in range(seconds // 10):
        await set_clock(desk, 10)
        assert await looked(desk) == 0


async def refused_once(desk: Desk) -> JobOverview:
    """A job of four recipients, whom the gateway refused for now."""
    account = await desk.account(threshold=10_000, connections=1)
    await desk.query("UPDATE account SET retry_deadline_s = %s, retry_tail_s = %s WHERE id = %s RETURNING 1",
                     DEADLINE_S, TAIL_S, account)
    job = await desk.submit(account, 4)
    await refuse(desk, job, 1)
    return job


async def refuse(desk: Desk, job: JobOverview, refusals: int) -> None:
    """Each of them once; they are due again in ten minutes."""
    async with desk.pool.connection() as conn:
        claim = await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30)
        while claim is not None:
            window = (await windows.turn_window(conn, claim, [], 50)) or (await windows.turn_to_retries(conn, claim, [], 50))
            assert window is not None
            await windows.turn_window(conn, claim, [
                Outcome(one.position, one.attempt_no, Kind.REFUSED, Evidence.REPLY, 450, "4.2.1", "4.2.1 busy", 600.0, refusals)
                for one in window.recipients], 0)
            await windows.release_chunk(conn, claim)
            claim = await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30)


async def given_up(desk: Desk) -> int:
    async with desk.pool.connection() as conn:
        return sum(one.recipients for one in await retries.give_up_due(conn))


async def still_to_go_s(desk: Desk, column: str) -> float:
    """Until the latest moment of that column; negative: it is over."""
    table, name = column.split(".")
    [[length]] = await desk.query(f"SELECT extract(epoch FROM max({name}) - clock_timestamp())::float FROM {table}")
    return float(length)


@pytest.mark.parametrize("seconds", [150, 3_600, DAY_S, 400 * DAY_S])
async def test_a_clock_that_is_set_forward_gives_nobody_up_before_it_is_noticed_nor_after(desk: Desk, seconds: int) -> None:
    await refused_once(desk)
    await set_clock(desk, seconds)
    assert await given_up(desk) == 0, "nobody has looked at the clock yet"
    assert await looked(desk) == pytest.approx(seconds, abs=30)
    assert await looked(desk) == 0, "once"
    assert await given_up(desk) == 0


async def test_before_a_clock_that_is_set_is_noticed_only_those_are_given_up_whose_time_was_over(desk: Desk) -> None:
    await refused_once(desk)
    await desk.query("UPDATE job SET started_at = started_at - interval '1 hour' RETURNING 1")
    await desk.query("UPDATE retry SET since = since - interval '1 hour' WHERE position = 1 RETURNING 1")
    await set_clock(desk, DAY_S)
    assert await given_up(desk) == 1
    assert await desk.query("SELECT position FROM outcome WHERE kind = 'failed'") == [(1,)]


async def test_patience_goes_on_from_where_it_was_when_the_clock_was_set(desk: Desk) -> None:
    await refused_once(desk)
    for _ in range(2):
        await pass_by(desk, 40)
        await set_clock(desk, DAY_S)
        assert await looked(desk) > 0
        assert await given_up(desk) == 0
    await pass_by(desk, 60)
    assert await given_up(desk) == 4


async def test_a_further_refusal_does_not_bring_back_the_time_that_was_passed_over(desk: Desk) -> None:
    job = await refused_once(desk)
    await set_clock(desk, DAY_S)
    await looked(desk)
    await refuse(desk, job, 2)
    assert [row[0] for row in await desk.query("SELECT attempt_no FROM retry")] == [3] * 4
    assert -60 < await still_to_go_s(desk, "retry.since") <= 0
    assert await given_up(desk) == 0


async def test_a_tail_does_not_end_by_a_clock_that_is_set(desk: Desk) -> None:
    await refused_once(desk)
    assert await given_up(desk) == 0
    await set_clock(desk, DAY_S)
    assert await given_up(desk) == 0
    await looked(desk)
    assert await given_up(desk) == 0
    assert await still_to_go_s(desk, "job_condition.until") == pytest.approx(TAIL_S, abs=60)


async def test_a_clock_that_goes_as_it_should_is_left_alone(desk: Desk) -> None:
    job = await refused_once(desk)
    before = await desk.query("SELECT * FROM chunk WHERE job_id = %s ORDER BY chunk_no", job.id)
    for seconds in (0, 4, 6, 12, -0.5):
        await set_clock(desk, seconds)
        assert await looked(desk) == 0
    assert await desk.query("SELECT * FROM chunk WHERE job_id = %s ORDER BY chunk_no", job.id) == before
    assert await desk.query("SELECT * FROM clock_gap") == []


@pytest.mark.parametrize("seconds", [60, 3_600, DAY_S])
async def test_nothing_waits_longer_for_a_clock_that_is_set_back(desk: Desk, seconds: int) -> None:
    job = await refused_once(desk)
    await given_up(desk)  # its tail begins
    other = await desk.submit(await desk.account("Other", threshold=10_000, connections=1), 4)
    [[gateway_id]] = await desk.query("SELECT gateway_id FROM job WHERE id = %s", job.id)
    async with desk.pool.connection() as conn:
        assert await pace.take_slot(conn, gateway_id, "one", 30) is not None
        assert await windows.claim_chunk(conn, other.account_id, other.id, owner="one", lease_s=30) is not None
    await desk.query("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING 1")
    await set_clock(desk, -seconds)
    assert await looked(desk) == pytest.approx(-seconds, abs=30)
    assert await looked(desk) == 0
    assert 0 < await still_to_go_s(desk, "chunk.lease_until") <= 30
    for column in ("retry.not_before", "chunk.available_at"):
        assert await still_to_go_s(desk, column) <= 900, "as long as a retry waits at most"
    assert await still_to_go_s(desk, "job_condition.until") <= TAIL_S + 60
    assert await still_to_go_s(desk, "retry.since") <= 0
    assert 0 < await still_to_go_s(desk, "gateway_session.until") <= 30
    assert await still_to_go_s(desk, "gateway_pace.refilled_at") <= 0
    assert await still_to_go_s(desk, "procrastinate_workers.last_heartbeat") <= 0
    assert await given_up(desk) == 0


async def test_a_clock_that_was_wrong_for_a_moment_leaves_no_gap(desk: Desk) -> None:
    await refused_once(desk)
    await set_clock(desk, DAY_S)
    assert await looked(desk) > 0
    await set_clock(desk, -DAY_S)
    assert await looked(desk) < 0
    assert await desk.query("SELECT * FROM clock_gap") == []
    assert -60 < await still_to_go_s(desk, "retry.since") <= 0


async def test_a_clock_that_is_set_back_into_a_gap_leaves_what_went_before_passed_over(desk: Desk) -> None:
    await refused_once(desk)
    await set_clock(desk, 3 * DAY_S)
    await looked(desk)
    await set_clock(desk, -DAY_S)
    await looked(desk)
    assert await desk.query("SELECT extract(epoch FROM until - since)::integer / 86400 FROM clock_gap") == [(2,)]
    assert await given_up(desk) == 0


async def test_a_clock_that_is_set_by_a_year_again_and_again_gives_nobody_up(desk: Desk) -> None:
    job = await refused_once(desk)
    for attempts in (2, 3, 4):
        await set_clock(desk, 365 * DAY_S)
        await looked(desk)
        await refuse(desk, job, attempts)
        assert await given_up(desk) == 0


async def test_nobody_waits_longer_than_the_job_whatever_a_clock_said_that_was_wrong_between_two_looks(desk: Desk) -> None:
    await refused_once(desk)
    await desk.query("UPDATE retry SET since = since - interval '10 years' RETURNING 1")
    assert await given_up(desk) == 0


async def test_a_worker_with_short_leases_cuts_no_longer_one_short(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, 4)
    async with desk.pool.connection() as conn:
        await roll_call.answer(conn, "patient", 600)
        await roll_call.answer(conn, "hasty", 5)
        assert await windows.claim_chunk(conn, account, job.id, owner="patient", lease_s=600) is not None
        await clock.bound(conn, lease_s=5)
    assert await still_to_go_s(desk, "chunk.lease_until") == pytest.approx(600, abs=30)
