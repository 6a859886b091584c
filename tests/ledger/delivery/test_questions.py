"""Refusals for good that do not tell whom they are about: what is found out by those around them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from desk import Desk
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.ledger.delivery import retries, windows
from postroom.ledger.delivery.retries import Refused
from postroom.ledger.delivery.windows import Claim, InHand, Window
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview

SAID = "5.7.1 We do not want your mail"
TOLD = f"Refused for good, and others were accepted since; the gateway's answer: “550 {SAID}”."
FAILED = """SELECT position, attempt_no, evidence::text, code, enhanced_code, reply FROM outcome WHERE kind = 'failed'
            ORDER BY position"""
COUNT, CHUNK = 24, 6


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


@pytest.fixture
async def job(desk: Desk) -> JobOverview:
    """In four chunks of six."""
    return await desk.submit(await desk.account(threshold=10_000, connections=1), COUNT)


async def opened(desk: Desk, job: JobOverview, size: int = CHUNK) -> tuple[Claim, Window]:
    async with desk.pool.connection() as conn:
        claim = await windows.claim_chunk(conn, job.account_id, job.id, owner="one", lease_s=30)
        assert claim is not None
        window = await windows.turn_window(conn, claim, [], size)
        assert window is not None
        return claim, window


async def booked(desk: Desk, held: tuple[Claim, Window], become: Callable[[InHand], Outcome]) -> None:
    claim, window = held
    async with desk.pool.connection() as conn:
        await windows.turn_window(conn, claim, [become(one) for one in window.recipients], 0)
        await windows.release_chunk(conn, claim)


def accepted(one: InHand) -> Outcome:
    return Outcome(one.position, one.attempt_no, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "2.0.0 Ok")


def refused(one: InHand) -> Outcome:
    return Outcome(one.position, one.attempt_no, Kind.REFUSED, Evidence.REPLY, 550, "5.7.1", SAID, 3_600.0, 0, alike=7)


def refused_in_other_words(one: InHand) -> Outcome:
    return refused(one)._replace(alike=one.position)


async def answered(desk: Desk, job: JobOverview) -> tuple[int, str | None]:
    """How many have failed, and what is about us."""
    async with desk.pool.connection() as conn:
        found: Refused = await retries.answer(conn, job.account_id, job.id)
    return found.failed, found.about_us


async def counts(desk: Desk, job: JobOverview) -> tuple[int, int, int]:
    """Sent, failed, unsent."""
    async with desk.pool.connection() as conn:
        now = await jobs.view_job(conn, job.account_id, job.id)
    return now.sent, now.failed, now.unsent


async def test_it_was_about_them_where_others_are_accepted_afterwards(desk: Desk, job: JobOverview) -> None:
    await booked(desk, await opened(desk, job, 2), refused)
    assert await answered(desk, job) == (0, None)
    await booked(desk, await opened(desk, job), accepted)
    assert await answered(desk, job) == (2, None)
    assert await desk.query(FAILED) == [(at, 2, "worker", 550, "5.7.1", TOLD) for at in (1, 2)]
    assert await counts(desk, job) == (4, 2, 18)
    async with desk.pool.connection() as conn:
        assert await retries.answer_questions(conn) == [], "nothing is open any more"


async def test_whoever_was_accepted_from_a_window_that_was_open_before_proves_nothing(desk: Desk, job: JobOverview) -> None:
    early = await opened(desk, job)
    await booked(desk, await opened(desk, job, 2), refused)
    await booked(desk, early, accepted)
    assert await answered(desk, job) == (0, None)
    assert await counts(desk, job) == (6, 0, 18)


async def test_five_alike_are_about_us_and_what_the_gateway_said_is_told_once(desk: Desk, job: JobOverview) -> None:
    await booked(desk, await opened(desk, job, 4), refused)
    assert await answered(desk, job) == (0, None)
    await booked(desk, await opened(desk, job, 1), refused)
    assert await answered(desk, job) == (0, f"550 {SAID}")
    assert await answered(desk, job) == (0, None)


async def test_whoever_was_refused_for_something_about_us_is_tried_again_whoever_is_accepted_later(
        desk: Desk, job: JobOverview) -> None:
    await booked(desk, await opened(desk, job), refused)
    assert await answered(desk, job) == (0, f"550 {SAID}")
    await booked(desk, await opened(desk, job), accepted)
    assert await answered(desk, job) == (0, None)
    assert await counts(desk, job) == (6, 0, 18)


async def test_five_among_others_who_are_accepted_are_not_about_us(desk: Desk, job: JobOverview) -> None:
    early = await opened(desk, job, 2)
    await booked(desk, await opened(desk, job), refused)
    await booked(desk, early, accepted)
    assert await answered(desk, job) == (0, None), "it accepted somebody, before them or after them"


@pytest.mark.parametrize(("chunks", "about_us"), [(3, None), (4, f"550 {SAID}")])
async def test_no_two_need_be_alike_where_there_are_twenty(
        desk: Desk, job: JobOverview, chunks: int, about_us: str | None) -> None:
    for _ in range(chunks):
        await booked(desk, await opened(desk, job), refused_in_other_words)
    assert await answered(desk, job) == (0, about_us)


async def test_a_job_that_is_over_has_no_questions(desk: Desk, job: JobOverview) -> None:
    await booked(desk, await opened(desk, job), refused)
    await desk.query("UPDATE job SET status = 'cancelled', ended_at = now() RETURNING 1")
    assert await answered(desk, job) == (0, None)
