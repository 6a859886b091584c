"""What a worker knows of its chunk gets into the ledger, and a database that has lost a window of it is not trusted."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from desk import Desk
from doomed import Doomed, doomed, lose, names
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.flow.delivery.books import Books, Work
from postroom.flow.delivery.lease import Lease
from postroom.flow.delivery.witness import Witness
from postroom.ledger.database import db
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import LeaseLost


@pytest.fixture
def desk(pool: db.Pool, database: str) -> Desk:
    return Desk(pool, database)


def in_hand(at: Doomed) -> tuple[Books, Work]:
    """Everybody in the open window was accepted, and nothing of it is booked."""
    nothing: Any = None
    work = Work(Lease(at.claim, math.inf), nothing, nothing, 4, window=at.window, window_no=at.window.window_no,
                unbooked=[at.intent])
    work.outcomes = [Outcome(one.position, one.attempt_no, Kind.SENT, Evidence.REPLY, 250) for one in at.window.recipients]
    return Books(at.desk.pool, at.journal, Witness()), work


async def test_what_is_known_of_the_own_window_is_booked_after_the_lease_is_lost(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    books, work = in_hand(at)
    await desk.query("UPDATE chunk SET lease_epoch = lease_epoch + 1 WHERE window_open RETURNING 1")
    await books.settle(work)
    books.booked(work)
    assert await at.counts() == (4, 0, 0, 12)
    assert books.trusts
    assert books.witness.newest().outcomes == {(at.job.account_id, at.job.id, 4, 1)}
    at.journal.close()
    assert names(tmp_path) == []


async def test_what_the_gateway_said_waits_for_a_database_that_cannot_be_reached(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    books, work = in_hand(at)
    async with await db.open_pool(desk.url, size_max=1, name="postroom test", unsafe=True) as books.pool:
        books.pool.timeout = 0.1
        async with books.pool.connection():
            settling = asyncio.create_task(books.settle(work))
            await asyncio.wait([settling], timeout=1)
        await settling
    assert await at.counts() == (4, 0, 0, 12)


async def test_what_the_gateway_said_of_who_is_in_hand_again_is_booked_after_that(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    books, work = in_hand(at)
    one = at.window.recipients[0]
    async with desk.pool.connection() as conn:
        await windows.settle_window(conn, at.claim, at.window.window_no, [
            Outcome(one.position, one.attempt_no, Kind.RELEASED, Evidence.WORKER, retry_in_s=0)])
        again = await windows.turn_to_retries(conn, at.claim, [], 1)
        assert again is not None
        settling = asyncio.create_task(books.settle(work))
        while await at.counts() != (3, 0, 0, 13):  # noqa: ASYNC110 - the first try has no event
            await asyncio.sleep(0.01)
        await windows.turn_window(conn, at.claim, [
            Outcome(one.position, 2, Kind.FAILED, Evidence.REPLY, 550) for one in again.recipients], 0)
    await settling
    assert await desk.query("SELECT kind::text FROM outcome WHERE position = %s ORDER BY attempt_no, evidence", one.position) == [
        ("released",), ("sent",), ("failed",)]


async def test_a_database_that_lost_the_own_window_is_not_trusted_and_the_journal_is_kept(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    for one in at.window.recipients:
        at.hand_over(one)
    books, work = in_hand(at)
    await lose(desk, "DELETE FROM hand_off_window")
    await books.settle(work)
    books.booked(work)
    assert not books.trusts
    at.journal.close()
    [kept] = names(tmp_path)
    assert kept.endswith(".newer-than-the-database")


async def test_a_turn_is_remembered_by_its_window_and_by_one_of_what_it_booked(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    books, work = in_hand(at)
    assert await books.turn(work, 4) is None, "its chunk has four"
    assert books.witness.newest() == (frozenset(), {(at.job.account_id, at.job.id, 4, 1)}, frozenset())
    assert await at.counts() == (4, 0, 0, 12)


async def test_a_window_that_a_turn_opened_is_remembered_by_witness_and_journal(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path, size=2)
    books, work = in_hand(at)
    assert await books.turn(work, 2) is not None
    assert books.witness.newest().windows == {at.key._replace(window_no=2)}
    at.journal.close()
    assert len(names(tmp_path)) == 1


async def test_what_was_on_its_way_when_a_turn_was_interrupted_opens_no_window_after_that(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path, size=2)
    books, work = in_hand(at)
    await books.recover(work)
    assert await at.counts() == (2, 0, 0, 14)
    async with desk.pool.connection() as conn:
        with pytest.raises(LeaseLost):
            await windows.turn_window(conn, at.claim, [], 2)
    assert await desk.query("SELECT FROM chunk WHERE window_open OR owner IS NOT NULL") == []


async def test_a_window_that_was_opened_without_our_hearing_of_it_is_in_nobodys_hand(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    books, work = in_hand(at)
    work.window, work.window_no, work.outcomes = None, 0, []
    await books.recover(work)
    assert await at.states() == [("released", "worker")] * 4
    assert await desk.query("SELECT FROM chunk WHERE window_open OR owner IS NOT NULL") == []
    at.journal.close()
    assert names(tmp_path) == []
