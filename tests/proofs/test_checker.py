"""The sampling: it finds a number that is not true, recounts everything in turn, and is never silent about not looking."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from contest import claimed, turned
from desk import Desk
from proofs.checker import Foundation, Sampling, Told, sides_of
from proofs.installation import eventually
from proofs.races import all_sent

NEVER = 1_000_000  # a whole recount, after the first look

A_WRONG_COUNTER = "UPDATE chunk SET sent = sent - 1, failed = failed + 1 WHERE job_id = %s AND chunk_no = %s RETURNING 1"
THE_SAMPLING = "SELECT pid FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid() AND datname = current_database()"
GONE = "SELECT pg_terminate_backend(%s)"


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


@pytest.fixture
async def observer(database) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        yield conn


async def begun(desk: Desk, count: int = 1_200) -> int:
    """A job in four chunks, of whose first one ten are sent, and ten are in hand."""
    account_id = await desk.account(connections=1)
    job = await desk.started(account_id, count)
    claim = await claimed(desk.pool, account_id, job.id)
    window = await turned(desk.pool, claim, [], 10)
    await turned(desk.pool, claim, all_sent(window), 10)
    return job.id


async def test_a_wrong_counter_of_a_chunk_in_hand_is_found_at_the_next_look(desk: Desk, observer) -> None:
    job_id, sampling = await begun(desk), Sampling(desk.url, NEVER)
    await sampling.look(observer)
    assert sampling.found == []
    await desk.query(A_WRONG_COUNTER, job_id, 0)
    await sampling.look(observer)
    assert sampling.found == [f"chunk 0 of job {job_id} counts (9,1,0,0,290), but its recipients are (10,0,0,0,290)"]


async def test_every_chunk_is_recounted_in_its_turn(desk: Desk, observer) -> None:
    job_id, sampling = await begun(desk), Sampling(desk.url, NEVER)
    await sampling.look(observer)
    await desk.query("UPDATE chunk SET sent = 1 WHERE job_id = %s AND chunk_no = 3 RETURNING 1", job_id)
    await sampling.look(observer)
    assert sampling.found == [f"chunk 3 of job {job_id} counts (1,0,0,0,299), but its recipients are (0,0,0,0,300)"]
    assert sampling.figures == {"samples": 2, "chunks recounted": 6, "whole recounts": 1}, "two in turn and the one in hand"


async def test_a_wrong_counter_is_found_by_a_whole_recount(desk: Desk, observer) -> None:
    job_id, sampling = await begun(desk), Sampling(desk.url)
    await desk.query(A_WRONG_COUNTER, job_id, 0)
    await sampling.look(observer)
    assert [one for one in sampling.found if one.startswith(f"job {job_id} counts (")]


async def test_a_recipient_that_vanished_is_found(desk: Desk, observer) -> None:
    job_id, sampling = await begun(desk), Sampling(desk.url, NEVER)
    async with desk.pool.connection() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute("DELETE FROM recipient WHERE job_id = %s AND position = 300", (job_id,))
    await sampling.look(observer)
    assert set(sampling.found) == {f"chunk 0 of job {job_id} counts (10,0,0,0,290), but its recipients are (10,0,0,0,289)"}


async def test_a_sampling_that_breaks_off_says_so(desk: Desk, observer) -> None:
    await begun(desk)
    async with Sampling(desk.url).watching() as sampling:
        await observer.execute("ALTER TABLE outcome RENAME TO mislaid")

        async def has_found() -> bool:
            return bool(sampling.found)
        await eventually(has_found)
    assert sampling.found[0].startswith('the sampling broke off: UndefinedTable: relation "outcome" does not exist')


async def test_a_sampling_goes_on_when_the_database_is_there_again(desk: Desk) -> None:
    await begun(desk)
    async with Sampling(desk.url).watching() as sampling:
        async def looks(times: int) -> bool:
            return sampling.samples >= times
        await eventually(lambda: looks(1))
        [[pid]] = await desk.query(THE_SAMPLING, "%FROM chunk%")
        await desk.query(GONE, pid)
        before = sampling.samples
        await eventually(lambda: looks(before + 3))
    assert sampling.found == []


# -- what a word of the ledger rests on ------------------------------------------------------------------------------------


def told(kind: str, evidence: str, code: int | None = None, reply: str = "Why.") -> Told:
    return Told(kind, 1, evidence, code, reply)


PUT_OFF = "Never handed off: given up after 1 attempt in 31 minutes."
GIVEN_UP = "Temporary refusal: given up after 3 attempts in 241 minutes; the gateway's last answer: “450 4.2.1 busy”."
WAS_ABOUT_THEM = "Refused for good, and others were accepted since; the gateway's answer: “550 5.1.1 no such user”."


def rests_on(*refused: str, intended: bool = True, doubted: bool = False, suppressed: bool = False,
             booked: str | None = None) -> Foundation:
    return Foundation(refused, intended, doubted, suppressed, booked)


@pytest.mark.parametrize(("word", "foundation", "founded"), [
    (told("failed", "reply", 550), rests_on("450 Why.", "550 Why."), True),
    (told("failed", "reply", 550), rests_on("450 Why."), False),
    (told("failed", "reply", 550), rests_on("550 Something else."), False),
    (told("failed", "reply", 450), rests_on("450 Why."), False),
    (told("failed", "reply", 450)._replace(attempt_no=10), rests_on("450 Why."), True),
    (told("failed", "reply", 450), rests_on("450 Why.", doubted=True), True),
    (told("refused", "reply", 450), rests_on("450 Why."), True),
    (told("refused", "reply", 450), rests_on(), False),
    (told("failed", "worker", reply=GIVEN_UP), rests_on("450 4.2.1 busy"), True),
    (told("failed", "worker", reply=GIVEN_UP), rests_on("450 4.2.1 later"), False),
    (told("refused", "reply", 450, "(from the journal) Why."), rests_on("450 Why."), True),
    (told("failed", "worker", reply=GIVEN_UP.replace("450", "450 (from the journal)")), rests_on("450 4.2.1 busy"), True),
    (told("failed", "worker", reply=WAS_ABOUT_THEM), rests_on("550 5.1.1 no such user"), True),
    (told("failed", "worker", reply=WAS_ABOUT_THEM), rests_on("550 5.1.1 no such person"), False),
    (told("failed", "worker", reply=PUT_OFF)._replace(attempt_no=2), rests_on(intended=False), True),
    (told("failed", "worker", reply=PUT_OFF), rests_on(), False),
    (told("failed", "worker"), rests_on(doubted=True), True),
    (told("failed", "worker"), rests_on(), False),
    (told("skipped", "suppression"), rests_on(intended=False, suppressed=True), True),
    (told("skipped", "suppression"), rests_on(intended=False), False),
    (told("skipped", "freeze"), rests_on(intended=False, booked="duplicate"), True),
    (told("skipped", "freeze"), rests_on(intended=False), False),
    (told("failed", "freeze"), rests_on(intended=False, booked="unusable"), True),
    (told("failed", "freeze"), rests_on(intended=False, booked="duplicate"), False),
    (told("unconfirmed", "lease_lost"), rests_on(), True),
    (told("unconfirmed", "lease_lost"), rests_on(intended=False), False),
    (told("released", "worker"), rests_on(), True),
    (told("released", "worker"), rests_on(intended=False), False),
    (told("failed", "person"), rests_on(intended=False), True),
])
async def test_a_word_that_rests_on_nothing_is_found(
        desk: Desk, word: Told, foundation: Foundation, founded: bool) -> None:
    job = await desk.submit(await desk.account(), 1)
    sides = await sides_of(desk.pool, job.account_id, job.id, lambda _: Counter())
    found = replace(sides, told={1: word}, foundations={1: foundation}).unfounded
    assert found == (set() if founded else {1})


async def test_a_failed_recipient_whom_the_gateway_never_refused_is_told_with_its_position(desk: Desk) -> None:
    job_id = await begun(desk)
    [[account_id]] = await desk.query("SELECT account_id FROM job")
    await desk.query("INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, reply) "
                     "VALUES (%s, %s, 700, 1, 'failed', 'worker', 'Died.') RETURNING 1", account_id, job_id)
    await desk.query("UPDATE chunk SET failed = 1 WHERE job_id = %s AND chunk_no = 2 RETURNING 1", job_id)
    sides = await sides_of(desk.pool, account_id, job_id, lambda _: Counter(range(1, 11)), lambda _: ())
    assert sides.unfounded == {700}
    assert any(fault.startswith("1 told something that never happened") and fault.endswith(": 700") for fault in sides.faults())
