"""The end of patience with recipients that are refused for now: when, whom, and what is booked."""

from __future__ import annotations

import asyncio

import pytest

from desk import Desk
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.ledger.delivery import retries, windows
from postroom.ledger.delivery.retries import GivenUp
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview

DEADLINE_S, TAIL_S = 14_400, 1_800
FAILED = "SELECT position, attempt_no, evidence::text, reply FROM outcome WHERE job_id = %s AND kind = 'failed' ORDER BY position"
TAIL = "SELECT since, until - since FROM job_condition WHERE job_id = %s AND kind = 'retries'"


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


async def started(desk: Desk, count: int) -> JobOverview:
    return await desk.submit(await desk.account(threshold=10_000, connections=1), count)


async def hand_off(desk: Desk, job: JobOverview, refusals: int, *, kind: Kind = Kind.REFUSED, chunks: int = 1) -> None:
    """Each of the first so many chunks has all its recipients in a window, and they come back from it."""
    for _ in range(chunks):
        async with desk.pool.connection() as conn:
            claim = await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30)
            assert claim is not None
            window = await windows.turn_window(conn, claim, [], 50)
            assert window is not None
            said = {Kind.REFUSED: (Evidence.REPLY, 450, "4.2.1", "4.2.1 busy"), Kind.SENT: (Evidence.REPLY, 250, None, "Ok")}.get(
                kind, (Evidence.WORKER, None, None, None))
            await windows.turn_window(conn, claim, [
                Outcome(one.position, one.attempt_no, kind, *said, None if kind is Kind.SENT else 3_600.0, refusals)
                for one in window.recipients], 0)
            await windows.release_chunk(conn, claim)


async def give_up(desk: Desk) -> list[GivenUp]:
    async with desk.pool.connection() as conn:
        return await retries.give_up_due(conn)


async def later(desk: Desk, seconds: float) -> None:
    """As if so much time had passed since."""
    for statement in ("UPDATE job SET started_at = started_at - make_interval(secs => %s) WHERE status = 'sending' RETURNING 1",
                      "UPDATE retry SET since = since - make_interval(secs => %s) RETURNING 1",
                      "UPDATE job_condition SET since = since - make_interval(secs => %s) RETURNING 1",
                      "UPDATE job_condition SET until = until - make_interval(secs => %s) RETURNING 1"):
        await desk.query(statement, seconds)


async def counts(desk: Desk, job: JobOverview) -> tuple[int, int, int]:
    """Sent, failed, unsent."""
    async with desk.pool.connection() as conn:
        now = await jobs.view_job(conn, job.account_id, job.id)
    return now.sent, now.failed, now.unsent


async def test_who_was_refused_until_the_deadline_is_failed_with_the_gateways_last_answer(desk: Desk) -> None:
    job = await started(desk, 8)  # four chunks of two
    await hand_off(desk, job, 1, chunks=2)
    await later(desk, DEADLINE_S - 60)
    assert await give_up(desk) == []
    await later(desk, 120)
    assert await give_up(desk) == [GivenUp(job.account_id, job.id, 4)]
    told = "Temporary refusal: given up after 1 attempt in 241 minutes; the gateway's last answer: “450 4.2.1 busy”."
    assert await desk.query(FAILED, job.id) == [(position, 2, "worker", told) for position in range(1, 5)]
    assert await counts(desk, job) == (0, 4, 4)
    assert await desk.query("SELECT 1 FROM retry") == []
    assert await give_up(desk) == [], "once"


async def test_who_was_only_put_off_has_no_deadline(desk: Desk) -> None:
    job = await started(desk, 8)
    await hand_off(desk, job, 0)
    await later(desk, DEADLINE_S * 10)
    assert await give_up(desk) == []
    assert await counts(desk, job) == (0, 0, 8)


async def test_where_somebodys_deadline_came_who_was_only_put_off_has_none_all_the_same(desk: Desk) -> None:
    job = await started(desk, 8)
    await hand_off(desk, job, 1)
    await hand_off(desk, job, 0)
    await later(desk, DEADLINE_S * 10)
    assert await give_up(desk) == [GivenUp(job.account_id, job.id, 2)]
    assert [position for position, *_ in await desk.query(FAILED, job.id)] == [1, 2]


async def test_a_job_that_has_nothing_but_retries_left_ends_with_its_tail(desk: Desk) -> None:
    job = await started(desk, 4)
    await hand_off(desk, job, 0, chunks=3)
    await give_up(desk)
    assert await desk.query(TAIL, job.id) == [], "somebody was never in a window yet"
    await hand_off(desk, job, 0, kind=Kind.RELEASED)
    await give_up(desk)
    assert [length.total_seconds() for _, length in await desk.query(TAIL, job.id)] == [TAIL_S]
    await later(desk, TAIL_S - 60)
    assert await give_up(desk) == []
    await later(desk, 61)
    assert await give_up(desk) == [GivenUp(job.account_id, job.id, 4)]
    assert [reply.partition(":")[0] for _, _, _, reply in await desk.query(FAILED, job.id)] == [
        *["Temporary refusal"] * 3, "Never handed off"]
    assert await counts(desk, job) == (0, 4, 0)


async def test_whom_a_worker_has_in_hand_is_not_given_up(desk: Desk) -> None:
    job = await started(desk, 1)
    await hand_off(desk, job, 1)
    await desk.query("UPDATE retry SET not_before = now() RETURNING 1")
    await desk.query("UPDATE chunk SET available_at = NULL RETURNING 1")
    await give_up(desk)
    async with desk.pool.connection() as conn:
        claim = await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30)
        assert claim is not None
        assert await windows.turn_to_retries(conn, claim, [], 50) is not None
    await later(desk, DEADLINE_S + TAIL_S)
    assert await give_up(desk) == []
    assert await counts(desk, job) == (0, 0, 1)


@pytest.mark.parametrize("kind", ["paused", "gateway", "quota", "journal"])
async def test_nobody_is_given_up_while_the_job_waits_and_its_tail_begins_anew(desk: Desk, kind: str) -> None:
    job = await started(desk, 4)
    await hand_off(desk, job, 1, chunks=4)
    await give_up(desk)
    assert len(await desk.query(TAIL, job.id)) == 1
    await desk.query("INSERT INTO job_condition (account_id, job_id, kind, reason, until) "
                     "VALUES (%s, %s, %s, 'so it is', now()) RETURNING 1", job.account_id, job.id, kind)
    await later(desk, DEADLINE_S + TAIL_S)
    assert await give_up(desk) == []
    assert await desk.query(TAIL, job.id) == []
    await desk.query("DELETE FROM job_condition RETURNING 1")
    await desk.query("UPDATE retry SET since = now() RETURNING 1")
    assert await give_up(desk) == []
    assert len(await desk.query(TAIL, job.id)) == 1


async def test_a_job_that_is_over_keeps_its_unsent_and_no_tail(desk: Desk) -> None:
    job = await started(desk, 4)
    await hand_off(desk, job, 1, chunks=4)
    await give_up(desk)
    await desk.query("UPDATE job SET status = 'cancelled', ended_at = now() WHERE id = %s RETURNING 1", job.id)
    await later(desk, DEADLINE_S + TAIL_S)
    assert await give_up(desk) == []
    assert await counts(desk, job) == (0, 0, 4)
    assert await desk.query(TAIL, job.id) == []


async def test_more_than_one_statement_takes_are_all_given_up(desk: Desk) -> None:
    job = await started(desk, 1_200)
    async with desk.pool.connection() as conn:
        while claim := await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30):
            while window := await windows.turn_window(conn, claim, [], 50):
                await windows.turn_window(conn, claim, [
                    Outcome(one.position, 1, Kind.REFUSED, Evidence.REPLY, 450, None, "busy", 3_600.0, 1)
                    for one in window.recipients], 0)
            await windows.release_chunk(conn, claim)
    await later(desk, DEADLINE_S + 1)
    assert await give_up(desk) == [GivenUp(job.account_id, job.id, 1_200)]
    assert await counts(desk, job) == (0, 1_200, 0)


async def test_of_the_sweep_and_a_worker_that_takes_them_into_a_window_each_recipient_has_one(desk: Desk) -> None:
    job = await started(desk, 200)  # four chunks of 50
    await hand_off(desk, job, 1, chunks=4)
    await desk.query("UPDATE retry SET not_before = now() RETURNING 1")
    await desk.query("UPDATE chunk SET available_at = NULL RETURNING 1")
    await later(desk, DEADLINE_S + 1)

    async def work() -> int:
        async with desk.pool.connection() as conn:
            claim = await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30)
            window = await windows.turn_to_retries(conn, claim, [], 25) if claim is not None else None
        return len(window.recipients) if window is not None else 0

    given_up, *in_hand = await asyncio.gather(give_up(desk), *(work() for _ in range(4)))
    rest = await give_up(desk)
    failed = sum(one.recipients for one in (*given_up, *rest))
    assert failed + sum(in_hand) == 200
    assert await counts(desk, job) == (0, failed, sum(in_hand))


# -- one whom the gateway puts off for ever must not be all that it is ever asked for ----------------------------------------


async def test_of_those_whose_time_has_come_the_first_come_first(desk: Desk) -> None:
    job = await desk.submit(await desk.account(threshold=10_000, connections=1), 16)  # four in a chunk
    await hand_off(desk, job, 1)
    await desk.query("UPDATE retry SET not_before = now() - mod(position, 3) * interval '1 s' - interval '1 s' RETURNING 1")
    await desk.query("UPDATE chunk SET available_at = NULL WHERE chunk_no = 0 RETURNING 1")
    async with desk.pool.connection() as conn:
        claim = await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30)
        assert claim is not None
        taken: list[int] = []
        failed: list[Outcome] = []
        while window := await windows.turn_to_retries(conn, claim, failed, 1):
            taken.append(window.recipients[0].position)
            failed = [Outcome(taken[-1], 2, Kind.FAILED, Evidence.REPLY, 550)]
    assert taken == [2, 1, 4, 3]


async def test_while_the_gateway_is_probed_who_never_had_a_turn_goes_before_who_had_one(desk: Desk) -> None:
    job = await desk.submit(await desk.account(threshold=10_000, connections=1), 8)  # four chunks
    await hand_off(desk, job, 1)
    await desk.query("UPDATE retry SET not_before = now() RETURNING 1")
    await desk.query("UPDATE chunk SET available_at = now() WHERE chunk_no = 0 RETURNING 1")

    async def claimed() -> int:
        async with desk.pool.connection() as conn:
            claim = await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30)
            assert claim is not None
            await windows.release_chunk(conn, claim)
            return claim.chunk_no

    assert await claimed() == 0, "a retry is not put off until all have had their turn"
    async with desk.pool.connection() as conn:
        await jobs.set_condition(conn, job.account_id, job.id, "gateway", reason="Busy.", delay_s=0)
    assert await claimed() == 1


@pytest.mark.parametrize(("refused", "few", "about_them"), [(1, True, True), (2, False, False)])
async def test_a_few_are_left_whom_the_gateway_refused_before_it_accepted_others(
        desk: Desk, refused: int, few: bool, about_them: bool) -> None:
    job = await started(desk, 8)  # four chunks of two
    await hand_off(desk, job, 0, chunks=refused)
    await hand_off(desk, job, 0, kind=Kind.SENT, chunks=4 - refused)
    async with desk.pool.connection() as conn:
        assert await retries.has_few_left(conn, job.account_id, job.id) == (few, about_them)


async def test_whether_it_is_about_a_few_is_not_known_where_nobody_was_accepted_since(desk: Desk) -> None:
    job = await started(desk, 8)
    await hand_off(desk, job, 0, kind=Kind.SENT, chunks=3)
    await hand_off(desk, job, 0)
    async with desk.pool.connection() as conn:
        assert await retries.has_few_left(conn, job.account_id, job.id) == (True, False)
