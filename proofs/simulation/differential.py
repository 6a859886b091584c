"""The ledger in memory against the real one: the same operations, drawn from a seed, and after each the same answers and rows.

Leases last a minute and retries are due at once or in an hour, so that the two clocks, which differ by milliseconds, never
decide; what is to run out runs out by an operation of its own.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from postroom.domain.access import machine
from postroom.domain.job import Status
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.ledger.account.accounts import lock_account
from postroom.ledger.delivery import retries, windows
from postroom.ledger.delivery.windows import Claim, LeaseLost, Window
from postroom.ledger.job import jobs, pauses, settlements
from proofs.simulation.database import Cursor
from proofs.simulation.ledger.tables import Chunk, Job, Recipient, Tables

LEASE_S = 60.0
LATER_S = 3600.0
OWNERS = ("one", "two")
LIVING = (Kind.SENT, Kind.FAILED, Kind.REFUSED, Kind.UNCONFIRMED, Kind.RELEASED)

CHUNKS = """SELECT chunk_no, next_position, sent, failed, skipped, unconfirmed, lease_epoch, lease_until IS NOT NULL, owner,
                   window_no, window_open, available_at IS NOT NULL FROM chunk WHERE job_id = %s ORDER BY chunk_no"""
OUTCOMES = """SELECT position, attempt_no, kind::text, evidence::text, code, enhanced_code, reply FROM outcome WHERE job_id = %s
              ORDER BY position, attempt_no, outcome.evidence"""
RETRIES = """SELECT chunk_no, position, attempt_no, refusals, alike, is_about_us, own FROM retry WHERE job_id = %s
             ORDER BY position"""
WINDOWS = """SELECT chunk_no, window_no, lease_epoch, owner, positions, attempts FROM hand_off_window WHERE job_id = %s
             ORDER BY chunk_no, window_no"""


class Direct:
    """A connection to the tables without a network between."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._depth = 0

    async def execute(self, query: str, given: dict[str, Any] | None = None, **options: object) -> Cursor:
        return await self.cursor().execute(query, given)

    def cursor(self, row_factory: Any = None) -> Cursor:
        return Cursor(self, row_factory)

    async def run(self, statement: tuple[str, Callable[..., Sequence[Any]]], given: dict[str, Any]) -> Sequence[Any]:
        async with self.transaction():
            return statement[1](self.tables, time.time(), given)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        before = self.tables.copy()
        try:
            yield
        except BaseException:
            self.tables = before
            raise


class Side:
    """One of the two ledgers, and what its workers hold."""

    def __init__(self, conn: Any, account_id: int, job_id: int) -> None:
        self.conn, self.account_id, self.job_id = conn, account_id, job_id
        self.claims: list[Claim] = []
        self.windows: list[tuple[Claim, Window]] = []
        self.in_hand: dict[int, Window] = {}  # by the claim's index: what a worker has not booked yet

    def _name(self, owner: str) -> str:
        """Of this job, since there are others beside it that are none of ours."""
        return f"{owner} of {self.job_id}"

    def _turned(self, index: int, window: Window | None) -> Window | None:
        """It booked what it had in hand, and has this now: who waited how long is each side's own affair, but not their order."""
        self.in_hand.pop(index, None)
        if window is None:
            return None
        self.in_hand[index] = window
        self.windows.append((self.claims[index], window))
        return replace(window, recipients=tuple(one._replace(due_for_s=0.0) for one in window.recipients))

    async def claim(self, owner: str) -> object:
        claim = await windows.claim_chunk(self.conn, self.account_id, self.job_id, owner=self._name(owner), lease_s=LEASE_S)
        if claim is not None:
            self.claims.append(claim)
        return repr(claim)

    async def turn(self, index: int, booked: Callable[[Window | None], list[Outcome]], size: int) -> object:
        claim, in_hand = self.claims[index], self.in_hand.get(index)
        return self._turned(index, await windows.turn_window(self.conn, claim, booked(in_hand), size))

    async def retries(self, index: int, booked: Callable[[Window | None], list[Outcome]], size: int) -> object:
        claim, in_hand = self.claims[index], self.in_hand.get(index)
        return self._turned(index, await windows.turn_to_retries(self.conn, claim, booked(in_hand), size))

    async def settle(self, index: int, booked: Callable[[Window | None], list[Outcome]]) -> object:
        claim, window = self.windows[index]
        for held in [held for held, one in self.in_hand.items() if one is window]:
            del self.in_hand[held]  # a worker settles instead of booking, never both
        return await windows.settle_window(self.conn, claim, window.window_no, booked(window))

    async def settle_dead(self, owner: str) -> object:
        """As a sibling does: it fences first, and knows nothing of some."""
        await windows.fence_owner(self.conn, self._name(owner))
        named = {(claim.account_id, claim.job_id, claim.chunk_no, window.window_no) for claim, window in self.windows}
        doubtful = await windows.doubtful_windows(self.conn, self._name(owner), sorted(named))
        return [(repr(one), await windows.settle_window(self.conn, one.claim, one.window_no, [
            Outcome(position, attempt, Kind.UNCONFIRMED, Evidence.CRASH_AFTER_DOT, reply="it died") if position % 2 else
            Outcome(position, attempt, Kind.RELEASED, Evidence.WORKER, reply="untouched", retry_in_s=0.0)
            for position, attempt in one.attempts])) for one in doubtful]

    async def untouched(self, index: int, known: int) -> object:
        return await windows.untouched_window(self.conn, self.claims[index], known)

    async def release(self, index: int) -> object:
        await windows.release_chunk(self.conn, self.claims[index])
        return None

    async def renew(self) -> object:
        return sorted(await windows.renew_leases(self.conn, self.claims, LEASE_S))

    async def lose(self, chunk_no: int) -> object:
        await windows.lose_window(self.conn, self.account_id, self.job_id, chunk_no)
        return None

    async def look(self) -> object:
        sending = [one for one in await windows.sending_jobs(self.conn, 600.0) if one.job_id == self.job_id]
        return (repr(sending), await windows.has_claimable_chunk(self.conn, self.account_id, self.job_id),
                await jobs.has_nothing_left(self.conn, self.account_id, self.job_id),
                [one for one in await windows.abandoned_windows(self.conn) if one[1] == self.job_id])

    async def end(self, target: Status) -> object:
        """As flow/job/finish.py ends a job; a completion is tried only where the ledger would let it be."""
        async with self.conn.transaction():
            await lock_account(self.conn, self.account_id)
            job = await jobs.lock_job(self.conn, self.account_id, self.job_id)
            if job.status is not Status.SENDING or (
                    target is Status.COMPLETED and not await jobs.has_nothing_left(self.conn, self.account_id, self.job_id)):
                return False
            await jobs.move(self.conn, self.account_id, self.job_id, job.status, target, by=machine(self.account_id, "nobody"),
                            reason="so it is")
            await jobs.fence_chunks(self.conn, self.account_id, self.job_id)
            return True

    async def pause(self) -> object:
        async with self.conn.transaction():
            new = await pauses.insert_pause(self.conn, self.account_id, self.job_id, by=machine(self.account_id, "a person"),
                                            reason="wait", adds=False)
            await jobs.fence_chunks(self.conn, self.account_id, self.job_id)
            return new

    async def resume(self) -> object:
        return await pauses.delete_pause(self.conn, self.account_id, self.job_id)

    async def decide(self, kind: Kind) -> object:
        """A person settles all that is unconfirmed; nobody is sent again in a job that is over."""
        async with self.conn.transaction():
            await lock_account(self.conn, self.account_id)
            over = (await jobs.lock_job(self.conn, self.account_id, self.job_id)).status.is_over
            doubted = await settlements.doubts(self.conn, self.account_id, self.job_id, None)
            if doubted:
                kind = Kind.SENT if over else kind
                await settlements.settle(self.conn, self.account_id, self.job_id, doubted, kind, "so be it")
            return doubted

    async def answer(self) -> object:
        return repr(await retries.answer(self.conn, self.account_id, self.job_id))

    async def condition(self, kind: str) -> object:
        await jobs.set_condition(self.conn, self.account_id, self.job_id, kind, reason="because", delay_s=LATER_S)
        return await jobs.condition_times(self.conn, self.account_id, self.job_id, kind)

    async def clear(self) -> object:
        await jobs.clear_conditions(self.conn, self.account_id, self.job_id)
        return None

    async def expire(self) -> None:
        raise NotImplementedError

    async def rows(self) -> object:
        raise NotImplementedError


class Real(Side):
    async def expire(self) -> None:
        """Every lease runs out, and every retry is due."""
        await self.conn.execute("UPDATE chunk SET lease_until = lease_until - interval '1 day', "
                                "available_at = available_at - interval '1 day' WHERE job_id = %s", (self.job_id,))
        await self.conn.execute("UPDATE retry SET not_before = not_before - interval '1 day' WHERE job_id = %s", (self.job_id,))

    async def rows(self) -> object:
        return [await (await self.conn.execute(query, (self.job_id,))).fetchall()
                for query in (CHUNKS, OUTCOMES, RETRIES, WINDOWS)]


class Modelled(Side):
    async def expire(self) -> None:
        tables, day = self.conn.tables, 86400.0
        for key, chunk in tables.chunk.items():
            tables.chunk[key] = chunk._replace(
                lease_until=None if chunk.lease_until is None else chunk.lease_until - day,
                available_at=None if chunk.available_at is None else chunk.available_at - day)
        for key, retry in tables.retry.items():
            tables.retry[key] = retry._replace(not_before=retry.not_before - day)

    async def rows(self) -> object:
        tables = self.conn.tables
        chunks = [(c.chunk_no, c.next_position, c.sent, c.failed, c.skipped, c.unconfirmed, c.lease_epoch,
                   c.lease_until is not None, c.owner, c.window_no, c.window_open, c.available_at is not None)
                  for c in tables.chunks_of(self.job_id)]
        outcomes = [(position, one.attempt_no, one.kind.value, one.evidence.value, one.code, one.enhanced_code, one.reply)
                    for (_, position), told in sorted(tables.outcome.items()) for one in sorted(told, key=lambda row: row.rank)]
        retries = [(chunk_no, position, one.attempt_no, one.refusals, one.alike, one.is_about_us, one.own)
                   for (_, chunk_no, position), one in sorted(tables.retry.items(), key=lambda item: item[0][2])]
        windows = [(chunk_no, window_no, one.lease_epoch, one.owner, [position for position, _ in one.attempts],
                    [attempt for _, attempt in one.attempts]) for (_, chunk_no, window_no), one in sorted(tables.window.items())]
        return [chunks, outcomes, retries, windows]


async def mirror(conn: Any, account_id: int, job_id: int) -> Modelled:
    """A model of a started job as the real ledger has it."""
    tables = Tables()
    tables.account[account_id] = None
    recipients = await (await conn.execute(
        "SELECT address, fields::text, booked IS NOT NULL FROM recipient WHERE job_id = %s ORDER BY position",
        (job_id,))).fetchall()
    tables.recipient[job_id] = tuple(Recipient(*row) for row in recipients)
    tables.suppression.update(await (await conn.execute(
        "SELECT r.address, s.reason FROM recipient r JOIN suppression s USING (account_id, address_key) WHERE r.job_id = %s",
        (job_id,))).fetchall())
    lanes = await (await conn.execute("SELECT lanes, gateway_id FROM job WHERE id = %s", (job_id,))).fetchone()
    tables.job[job_id] = Job(job_id, account_id, Status.SENDING, lanes[0], len(recipients), lanes[1], queue_no=1)
    chunks = await (await conn.execute(
        "SELECT chunk_no, first_position, n, next_position FROM chunk WHERE job_id = %s ORDER BY chunk_no", (job_id,))).fetchall()
    for row in chunks:
        tables.chunk[job_id, row[0]] = Chunk(job_id, *row)
    return Modelled(Direct(tables), account_id, job_id)


async def answer(act: Awaitable[object]) -> str:
    """What came of it. Which constraint refuses first is the server's own affair."""
    try:
        return repr(await act)
    except LeaseLost:
        return "the lease is lost"
    except psycopg.IntegrityError:
        return "refused"


def drawn(chance: random.Random, side: Side) -> tuple[str, tuple[Any, ...]]:
    """One operation that both sides can try, by what they hold."""
    kinds = {position: chance.choice(LIVING) for position in range(1, 100)}
    later, alike = chance.random() < 0.3, chance.choice((None, 7, 7, -8))

    def booked(window: Window | None) -> list[Outcome]:
        return [_outcome(one.position, one.attempt_no, kinds[one.position], later, one.refusals, alike)
                for one in window.recipients] if window is not None else []

    choices: list[tuple[str, tuple[Any, ...]]] = [
        ("claim", (chance.choice(OWNERS),)), ("claim", (chance.choice(OWNERS),)), ("renew", ()), ("look", ()), ("expire", ()),
        ("lose", (chance.randrange(4),)), ("settle_dead", (chance.choice(OWNERS),)),
        ("decide", (chance.choice((Kind.RELEASED, Kind.SENT, Kind.FAILED)),)), ("condition", ("gateway",)), ("clear", ()),
        ("answer", ())]
    if chance.random() < 0.15:
        choices += [("end", (chance.choice((Status.COMPLETED, Status.COMPLETED, Status.CANCELLED)),)), ("pause", ()),
                    ("resume", ()), ("resume", ())]
    if side.claims:
        # Mostly the latest: the older ones are fenced, and say no more than that.
        index = chance.choice((len(side.claims) - 1, chance.randrange(len(side.claims))))
        choices += 4 * [("turn", (index, booked, chance.choice((0, 1, 2, 5))))] + 2 * [("retries", (index, booked, 3))]
        choices += [("release", (index,)), ("untouched", (index, chance.randrange(3)))]
    if side.windows:
        choices += 2 * [("settle", (chance.randrange(len(side.windows)), booked))]
    return chance.choice(choices)


def _outcome(position: int, attempt_no: int, kind: Kind, later: bool, refusals: int, alike: int | None) -> Outcome:
    evidence = {Kind.UNCONFIRMED: Evidence.CONNECTION_LOST, Kind.RELEASED: Evidence.WORKER}.get(kind, Evidence.REPLY)
    code = {Kind.SENT: 250, Kind.FAILED: 550, Kind.REFUSED: 450}.get(kind)
    delay_s = (LATER_S if later else 0.0) if kind in (Kind.REFUSED, Kind.RELEASED) else None
    return Outcome(position, attempt_no, kind, evidence, code, "4.2.1" if kind is Kind.REFUSED else None, 'so "it\\" said, {ä}',
                   delay_s, refusals + (kind is Kind.REFUSED), alike if kind is Kind.REFUSED else None, own=alike)


async def differ(conn: Any, account_id: int, job_id: int, seed: int, steps: int) -> str | None:
    """The first difference, with the operations that led to it; None where there is none. The job is started and untouched."""
    chance = random.Random(seed)
    real, model = Real(conn, account_id, job_id), await mirror(conn, account_id, job_id)
    story = []
    for _ in range(steps):
        name, given = drawn(chance, model)
        story.append(f"{name}{tuple(one for one in given if not callable(one))}")
        answers = [await answer(getattr(side, name)(*given)) for side in (real, model)]
        rows = [await side.rows() for side in (real, model)]
        if answers[0] != answers[1] or rows[0] != rows[1]:
            told = "\n".join(map(str, (*answers, *rows)))
            return f"seed {seed}, after {'; '.join(story)}:\n{told}"
    return None
