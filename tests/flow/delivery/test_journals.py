"""Settling dead workers by their journals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from acting import acting
from desk import Desk
from doomed import OWNER, STATES, doomed, guard, names, paused
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.errors import Unavailable
from postroom.flow.delivery.journals import settle_dead_siblings
from postroom.flow.job import finish
from postroom.gateway.journal import HEADER_OCTETS, RECORD_OCTETS
from postroom.ledger.database import db
from postroom.ledger.delivery import pace, windows
from postroom.ledger.delivery.windows import LeaseLost


@pytest.fixture
def desk(pool: db.Pool, database: str) -> Desk:
    return Desk(pool, database)


async def test_the_connections_of_the_dead_are_free_at_once(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    ((gateway_id,),) = await desk.query("SELECT gateway_id FROM job WHERE id = %s", at.job.id)
    async with desk.pool.connection() as conn:
        assert await pace.take_slot(conn, gateway_id, OWNER, 600) is not None
        assert await pace.take_slot(conn, gateway_id, "another", 600) is None, "the gateway takes one"
        at.die()
        await at.settle()
        assert await pace.take_slot(conn, gateway_id, "another", 600) is not None


async def test_each_recipient_becomes_what_the_journal_says(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    sent, refused, doubtful, _ = at.window.recipients
    at.hear(sent, Kind.SENT, 250, "2.0.0 Ok: queued as 4XYZ")
    at.hear(refused, Kind.REFUSED, 451, "4.7.1 Greylisted, please come back in a while", refusals=2)
    at.hand_over(doubtful)
    assert await at.settle() == 0, "it lives"
    at.die()
    assert await at.settle() == 1
    assert await desk.query(STATES, at.job.id) == [
        (1, "sent", "reply", "(from the journal) 2.0.0 Ok: queued as 4XYZ"),
        (2, "refused", "reply", "(from the journal) …eylisted, please come back in a while"),
        (3, "unconfirmed", "crash_after_dot", "The worker died after the end of the message and before the gateway's answer."),
        (4, "released", "worker", "Never handed off: the worker died before that, as its journal shows.")]
    assert await at.counts() == (1, 0, 1, 14)
    retries = "SELECT position, attempt_no, refusals, not_before <= now() + interval '20 s' FROM retry ORDER BY position"
    assert await desk.query(retries) == [(2, 2, 2, True), (4, 2, 0, True)]
    assert await desk.query("SELECT owner, lease_until FROM chunk WHERE window_open OR owner IS NOT NULL") == []
    assert names(tmp_path) == [], "settled, and so forgotten"


async def test_what_a_dead_worker_had_on_its_way_opens_no_window_once_it_is_settled(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path, size=2)
    for one in at.window.recipients:
        at.hear(one, Kind.SENT, 250, "Ok")
    at.die()
    assert await at.settle() == 1
    async with desk.pool.connection() as conn:
        with pytest.raises(LeaseLost):
            await windows.turn_window(conn, at.claim, [], 2)
    assert await at.counts() == (2, 0, 0, 14)


async def test_a_journal_settles_what_a_takeover_from_another_machine_had_to_doubt(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    sent, doubtful, *_ = at.window.recipients
    at.hear(sent, Kind.SENT, 250, "Ok")
    at.hand_over(doubtful)
    async with desk.pool.connection() as conn:
        await conn.execute("UPDATE chunk SET lease_until = now() - interval '1 s' WHERE owner IS NOT NULL")
        taken = await windows.claim_chunk(conn, at.job.account_id, at.job.id, owner="other", lease_s=600)
    assert taken is not None
    assert await at.counts() == (0, 0, 4, 12)
    at.die()
    assert await at.settle() == 1
    assert await at.counts() == (1, 0, 1, 14)
    assert await desk.query("SELECT owner FROM chunk WHERE owner IS NOT NULL") == [("other",)]


async def test_a_window_that_is_booked_needs_no_settling_and_its_journal_goes(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    for one in at.window.recipients:
        at.hear(one, Kind.SENT, 250, "Ok")
    async with desk.pool.connection() as conn:  # it dies before it can tell its journal
        await windows.turn_window(conn, at.claim, [
            Outcome(one.position, 1, Kind.FAILED, Evidence.REPLY, 550) for one in at.window.recipients], 0)
    at.die()
    assert await at.settle() == 0
    assert await at.counts() == (0, 4, 0, 12), "what was booked stays"
    assert names(tmp_path) == []


async def test_an_intent_whose_commit_never_came_leaves_nobody_in_doubt(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    for one in at.window.recipients:
        at.hear(one, Kind.SENT, 250, "Ok")
    at.journal.intend(at.key._replace(window_no=2), 4)
    at.die()
    assert await at.settle() == 1
    assert await at.counts() == (4, 0, 0, 12)


async def test_a_torn_journal_makes_doubt_of_its_silence_and_never_unsent(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    sent, torn, *_ = at.window.recipients
    at.hear(sent, Kind.SENT, 250, "Ok")
    at.hand_over(torn)
    path = at.die()
    with path.open("r+b") as file:
        file.seek(HEADER_OCTETS + 3 * RECORD_OCTETS + 8)
        file.write(b"torn")
    assert await at.settle() == 1
    assert await at.states() == [("sent", "reply")] + [("unconfirmed", "crash_after_dot")] * 3
    assert await desk.query("SELECT DISTINCT reply FROM outcome WHERE kind = 'unconfirmed'") == [
        ("The worker died, and the end of its journal is lost: it may have been handed off.",)]


async def test_a_window_that_the_journal_does_not_know_is_doubted(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    path = at.die()
    with path.open("r+b") as file:
        file.seek(HEADER_OCTETS)
        file.write(bytes(RECORD_OCTETS))
    assert await at.settle() == 1
    assert await at.states() == [("unconfirmed", "crash_after_dot")] * 4
    assert await at.counts() == (0, 0, 4, 12)


@pytest.mark.parametrize(("end", "counts"), [("cancel", (1, 0, 1, 14)), ("fail", (1, 0, 1, 14))])
async def test_what_a_worker_had_in_hand_is_settled_also_when_the_job_is_over(
        desk: Desk, tmp_path: Path, end: str, counts: tuple[int, ...]) -> None:
    at = await doomed(desk, tmp_path)
    sent, doubtful, *_ = at.window.recipients
    at.hear(sent, Kind.SENT, 250, "Ok")
    at.hand_over(doubtful)
    if end == "cancel":
        await finish.cancel(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    else:
        await finish.fail(desk.pool, at.job.account_id, at.job.id, reason="Enough.")
    at.die()
    assert await at.settle() == 1
    assert await at.counts() == counts
    assert await desk.query("SELECT * FROM retry") == []
    assert await desk.query("SELECT * FROM chunk WHERE window_open") == []


async def test_many_siblings_settle_one_dead_worker_once(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    at.hear(at.window.recipients[0], Kind.SENT, 250, "Ok")
    at.die()
    assert sum(await asyncio.gather(*(at.settle() for _ in range(5)))) == 1
    assert await at.counts() == (1, 0, 0, 15)


async def test_settling_that_was_interrupted_is_done_again_from_the_start(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    at.hear(at.window.recipients[0], Kind.SENT, 250, "Ok")
    path = at.die()
    content = path.read_bytes()
    assert await at.settle() == 1
    path.write_bytes(content)  # as if it had been killed before it could remove the journal
    before = await desk.query("SELECT count(*) FROM outcome")
    assert await at.settle() == 0
    assert (await at.counts(), await desk.query("SELECT count(*) FROM outcome")) == ((1, 0, 0, 15), before)
    assert not path.exists()


async def test_without_a_database_the_journal_stays(desk: Desk, tmp_path: Path, database: str) -> None:
    at = await doomed(desk, tmp_path)
    path = at.die()
    async with await db.open_pool(database, size_max=1, name="gone", unsafe=True) as pool:
        await pool.close()
        with pytest.raises(Unavailable):
            await settle_dead_siblings(pool, tmp_path, at.journal._installation)
    assert path.exists()
    assert await at.settle() == 1, "and nobody holds it any more"


async def test_what_has_to_come_again_keeps_its_journal(desk: Desk, tmp_path: Path) -> None:
    """A person said "send again" of a doubt, that attempt is in hand, and now the first one's answer turns up."""
    at = await doomed(desk, tmp_path, size=1)
    at.hear(at.window.recipients[0], Kind.SENT, 250, "Ok")
    async with desk.pool.connection() as conn:
        await conn.execute("UPDATE chunk SET lease_until = now() - interval '1 s' WHERE owner IS NOT NULL")
        taken = await windows.claim_chunk(conn, at.job.account_id, at.job.id, owner="other", lease_s=600)
        assert taken is not None
        await conn.execute("INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, reply) "
                           "VALUES (%s, %s, 1, 1, 'released', 'person', 'Again.')", (at.job.account_id, at.job.id))
        await conn.execute("INSERT INTO retry (account_id, job_id, chunk_no, position, attempt_no, refusals, not_before) "
                           "VALUES (%s, %s, 0, 1, 2, 0, now())", (at.job.account_id, at.job.id))
        await conn.execute("UPDATE chunk SET unconfirmed = 0 WHERE chunk_no = 0")
        again = await windows.turn_to_retries(conn, taken, [], 1)
        assert again is not None
        path = at.die()
        await at.settle()
        assert path.exists()
        await windows.turn_window(conn, taken, [Outcome(1, 2, Kind.FAILED, Evidence.REPLY, 550)], 0)
    await at.settle()
    assert not path.exists()
    assert await desk.query("SELECT kind::text FROM outcome WHERE attempt_no = 1 AND evidence = 'reply'") == [("sent",)]
    assert await at.counts() == (0, 1, 0, 15)


async def test_a_journal_that_knows_more_than_the_database_pauses_every_job_and_is_set_aside(desk: Desk, tmp_path: Path) -> None:
    """The mark, by which the guard would have seen it, is lost."""
    at = await doomed(desk, tmp_path, beat=5)
    path = at.die()
    assert await at.settle() == 0
    assert names(tmp_path) == [f"{path.name}.newer-than-the-database"]
    assert await at.counts() == (0, 0, 0, 16)
    assert await paused(desk) == {at.job.id: "postroom"}
    assert (await guard(desk.pool, tmp_path)).beat == 7, "once: nothing that this machine has seen is newer now"
