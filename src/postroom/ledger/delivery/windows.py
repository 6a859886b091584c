"""Claims, windows and outcomes: what a worker writes while it hands messages off.

Every write is fenced by the epoch that its claim was given, and says so when it was too late.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from psycopg.rows import class_row
from psycopg.types.numeric import Int4, Int8

from postroom.domain.access import postroom_itself
from postroom.domain.job import Status
from postroom.domain.outcome import Contradiction, Evidence, Kind, Outcome
from postroom.domain.pace import ALIKE_MAX, REFUSED_IN_A_ROW_MAX
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load
from postroom.ledger.job import jobs
from postroom.points import reach

SQL = load(__file__)


@dataclass(slots=True)
class Claim:
    """A worker's right to one chunk while `epoch` is the chunk's. `next_position` moves on with each window, and `window_no`
    is that of the chunk's latest one."""

    account_id: int
    job_id: int
    chunk_no: int
    epoch: int
    owner: str
    next_position: int
    last_position: int
    window_no: int
    lease_s: float
    opened_at: float = 0.0  # its latest window, by this process's clock, or a moment before

    @property
    def key(self) -> dict[str, object]:
        """The parameters that every statement about it has. Typed, because the driver would send 7 and 70,000 as different
        types, and the server would plan the same statement once for each combination."""
        return {"account_id": Int8(self.account_id), "job_id": Int8(self.job_id), "chunk_no": Int4(self.chunk_no),
                "epoch": Int4(self.epoch), "owner": self.owner, "lease_s": float(self.lease_s)}


class InHand(NamedTuple):
    """A recipient of an open window. `fields` is JSON; `refusals` are the temporary ones it has had; `was_refused`: for good, and
    few others with it. `own` is an outcome's; `due_for_s`: how long it has waited for its turn."""

    position: int
    attempt_no: int
    address: str
    fields: str
    refusals: int
    was_refused: bool = False
    own: int | None = None
    due_for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """The recipients whose intent to hand off is committed."""

    window_no: int
    recipients: tuple[InHand, ...]


class DoubtfulWindow(NamedTuple):
    """What a dead worker may know of: a window, its (position, attempt) pairs, and the worker's claim, which is worth nothing."""

    claim: Claim
    window_no: int
    attempts: tuple[tuple[int, int], ...]


class LeaseLost(Exception):
    """The chunk has another epoch: a cancel, or another worker. Nothing of the statement was written."""


@dataclass(frozen=True, slots=True)
class SendingJob:
    account_id: int
    job_id: int
    lanes: int
    claimable: int
    nothing_left: bool
    waiting: bool
    probing: bool
    reason: str | None
    given_up: bool | None


async def claim_chunk(conn: Connection, account_id: int, job_id: int, *, owner: str, lease_s: float,
                      beat: int = 0) -> Claim | None:
    """The next chunk of a sending job that is not paused, or None; none either where the database's beat is below `beat`.

    An open window of a vanished owner becomes unconfirmed on the way.
    """
    job = {"account_id": account_id, "job_id": job_id}
    reach("ledger.before_claim")
    async with conn.transaction():
        if await jobs.hold_status(conn, account_id, job_id) is not Status.SENDING:
            return None
        row = await (await conn.execute(SQL.claim_chunk, {
            **job, "owner": owner, "lease_s": lease_s, "beat": beat})).fetchone()
        if row is None:
            return None
        chunk_no, epoch, next_position, last_position, window_no, was_open = row
        reach("ledger.in_claim")
        if was_open:
            await conn.execute(SQL.lose_window, {**job, "chunk_no": chunk_no})
            reach("ledger.in_takeover")
    reach("ledger.after_claim")
    return Claim(account_id, job_id, chunk_no, epoch, owner, next_position, last_position, window_no, lease_s)


async def turn_window(conn: Connection, claim: Claim, outcomes: Sequence[Outcome], size: int) -> Window | None:
    """Books `outcomes` and opens the next window of at most `size` fresh recipients; None when none are left (or size 0).

    Raises LeaseLost: then nothing was booked, and the outcomes are evidence for `settle_window`.
    """
    again = [one for one in outcomes if one.retry_in_s is not None]
    if not again:
        return await _turn(conn, claim, outcomes, size)
    async with conn.transaction():
        window = await _turn(conn, claim, outcomes, size)
        reach("ledger.before_retries")
        await conn.execute(SQL.book_retries, {**claim.key, **_columns(again), **_retry_columns(again)})
    reach("ledger.after_retries")
    return window


async def _turn(conn: Connection, claim: Claim, outcomes: Sequence[Outcome], size: int) -> Window | None:
    columns = _columns(outcomes)
    while True:
        reach("ledger.before_turn")
        asked_at = time.monotonic()
        cursor = await conn.execute(SQL.turn_window, {
            **claim.key, **columns, "next_position": Int4(claim.next_position), "last_position": Int4(claim.last_position),
            "window_no": Int4(claim.window_no), "size": Int4(size), "open_s": asked_at - claim.opened_at}, prepare=True)
        rows = await cursor.fetchall()
        reach("ledger.after_turn")
        if not rows:
            raise LeaseLost
        claim.window_no, claim.next_position, claim.opened_at = rows[0][0], rows[0][1], asked_at
        if rows[0][2] is not None:
            return Window(claim.window_no, tuple(InHand(row[2], 1, row[3], row[4], 0) for row in rows))
        if size == 0 or claim.next_position > claim.last_position:
            return None
        columns = _columns(())  # all of these were suppressed since the freeze; their skipping is booked, go on behind them


async def turn_to_retries(conn: Connection, claim: Claim, outcomes: Sequence[Outcome], size: int) -> Window | None:
    """The same for recipients that had a window before and whose time has come, who waits longest first. Raises LeaseLost."""
    async with conn.transaction():
        await turn_window(conn, claim, outcomes, 0)
        due = {row[0]: row[1:] for row in await (await conn.execute(SQL.take_due_retries, {
            **claim.key, "size": size, "alike_max": ALIKE_MAX, "row_max": REFUSED_IN_A_ROW_MAX})).fetchall()}
        if not due:
            return None
        rows = await (await conn.execute(SQL.recipients_at, {**claim.key, "positions": list(due)})).fetchall()
        skipped = [Outcome(position, due[position][0], Kind.SKIPPED, Evidence.SUPPRESSION, reply=suppressed)
                   for position, _, _, suppressed in rows if suppressed is not None]
        if skipped:
            await turn_window(conn, claim, skipped, 0)
        taken = sorted((InHand(position, due[position][0], address, fields, *due[position][1:])
                        for position, address, fields, suppressed in rows if suppressed is None),
                       key=lambda one: (-one.due_for_s, one.position))
        if not taken:
            return None
        row = await (await conn.execute(SQL.open_retry_window, {
            **claim.key, "positions": [one.position for one in taken], "attempts": [one.attempt_no for one in taken]})).fetchone()
        if row is None:
            raise LeaseLost
        reach("ledger.in_retry_window")
    claim.window_no = row[0]
    reach("ledger.after_retry_window")
    return Window(claim.window_no, tuple(taken))


async def release_chunk(conn: Connection, claim: Claim) -> None:
    """Gives the chunk back; a lost lease has nothing to give back, which is no harm."""
    reach("ledger.before_release")
    await conn.execute(SQL.release_chunk, claim.key)
    reach("ledger.after_release")


async def has_claimable_chunk(conn: Connection, account_id: int, job_id: int) -> bool:
    row = await (await conn.execute(SQL.has_claimable_chunk, {"account_id": account_id, "job_id": job_id})).fetchone()
    return bool(row and row[0])


async def renew_leases(conn: Connection, claims: Sequence[Claim], lease_s: float) -> set[tuple[int, int, int]]:
    """(job, chunk, epoch) of those that still hold, all of one owner. What is missing is lost."""
    if not claims:
        return set()
    reach("ledger.before_renewal")
    cursor = await conn.execute(SQL.renew_leases, {
        "accounts": [claim.account_id for claim in claims], "jobs": [claim.job_id for claim in claims],
        "chunks": [claim.chunk_no for claim in claims], "epochs": [claim.epoch for claim in claims],
        "owner": claims[0].owner, "lease_s": lease_s})
    return {(row[0], row[1], row[2]) for row in await cursor.fetchall()}


async def settle_window(conn: Connection, claim: Claim, window_no: int, outcomes: Sequence[Outcome]) -> bool:
    """Books what a fenced or dead worker knows of its own window, as evidence. It may open nothing new.

    A window that the ledger does not know of this owner is passed over. The chunk's open window ends with it, and the lease of
    a worker that was fenced since. What a person had settled otherwise stands in the job's trail. False: one recipient is in hand
    again, so come once more when that attempt is over.
    """
    reach("ledger.before_settlement")
    async with conn.transaction():
        status = await jobs.hold_status(conn, claim.account_id, claim.job_id)
        if status is Status.COMPLETED:
            outcomes = [_never_sent(one) if one.kind in (Kind.RELEASED, Kind.REFUSED) else one for one in outcomes]
        await conn.execute(SQL.lock_chunk, claim.key)
        row = await (await conn.execute(SQL.settle_window, {
            **claim.key, **_columns(outcomes), **_retry_columns(outcomes), "window_no": window_no,
            "still_sending": status is Status.SENDING})).fetchone()
        too_early, *counts = row or (0, 0, 0, 0, 0)
        for told in Contradiction(*counts).sentences:
            await jobs.record_event(conn, claim.account_id, claim.job_id, "contradict", by=postroom_itself(claim.account_id),
                                    reason=told)
        reach("ledger.in_settlement")
    reach("ledger.after_settlement")
    return bool(too_early == 0)


def _never_sent(outcome: Outcome) -> Outcome:
    """In a completed job nobody can be unsent again: this one came to nothing, and "continue the rest" can have it."""
    return Outcome(outcome.position, outcome.attempt_no, Kind.FAILED, outcome.evidence, outcome.code, outcome.enhanced_code,
                   outcome.reply or "Never handed off: the worker that had it in hand was gone until the job was over.")


async def untouched_window(conn: Connection, claim: Claim, known_window_no: int) -> tuple[int, list[Outcome]] | None:
    """The window that a turn opened although its answer never came back: (its number, every recipient given back)."""
    row = await (await conn.execute(SQL.untouched_window, {**claim.key, "known_window_no": known_window_no})).fetchone()
    if row is None:
        return None
    return row[0], [Outcome(position, attempt_no, Kind.RELEASED, Evidence.WORKER, retry_in_s=0)
                    for position, attempt_no in zip(row[1], row[2], strict=True)]


async def fence_claim(conn: Connection, claim: Claim) -> Claim | None:
    """After a connection was lost: the same claim with a new epoch, so that nothing that is still on its way opens a window. None
    where the chunk is not the worker's any more."""
    row = await (await conn.execute(SQL.fence_claim, claim.key)).fetchone()
    return None if row is None else replace(claim, epoch=row[0])


async def abandoned_windows(conn: Connection) -> list[tuple[int, int, int]]:
    """(account, job, chunk) of windows that are open in jobs that are over or paused, and whose worker is gone."""
    return [(row[0], row[1], row[2]) for row in await (await conn.execute(SQL.abandoned_windows)).fetchall()]


async def lose_window(conn: Connection, account_id: int, job_id: int, chunk_no: int) -> None:
    """Makes the open window of a vanished worker unconfirmed, unless the chunk has another worker by now."""
    chunk = {"account_id": account_id, "job_id": job_id, "chunk_no": chunk_no}
    reach("ledger.before_loss")
    async with conn.transaction():
        row = await (await conn.execute(SQL.lock_chunk, chunk)).fetchone()
        if row and row[0]:
            await conn.execute(SQL.lose_window, chunk)
    reach("ledger.after_loss")


async def fence_owner(conn: Connection, owner: str) -> None:
    """A worker that is known to be dead opens nothing more, and holds nothing but what it has in hand."""
    reach("ledger.before_fence")
    await conn.execute(SQL.fence_owner, {"owner": owner})
    reach("ledger.after_fence")


async def doubtful_windows(conn: Connection, owner: str, named: Collection[tuple[int, int, int, int]]) -> list[DoubtfulWindow]:
    """Of `named` (account, job, chunk, window) and of those that are open, what is not settled for good; `owner`'s only."""
    accounts, jobs_, chunks, windows = zip(*named, strict=True) if named else [()] * 4
    cursor = await conn.execute(SQL.doubtful_windows, {
        "owner": owner, "accounts": list(accounts), "jobs": list(jobs_), "chunks": list(chunks), "windows": list(windows)})
    return [DoubtfulWindow(Claim(account_id, job_id, chunk_no, epoch, owner, 0, 0, window_no, 0.0), window_no,
                           tuple(zip(positions, attempts, strict=True)))
            for account_id, job_id, chunk_no, window_no, epoch, positions, attempts in await cursor.fetchall()]


async def sending_jobs(conn: Connection, give_up_s: float) -> list[SendingJob]:
    """What the sweeper looks at."""
    async with conn.cursor(row_factory=class_row(SendingJob)) as cursor:
        await cursor.execute(SQL.sending_jobs, {"give_up_s": give_up_s})
        return await cursor.fetchall()


async def accounts_with_an_idle_queue(conn: Connection) -> list[int]:
    return [row[0] for row in await (await conn.execute(SQL.accounts_with_an_idle_queue)).fetchall()]


def _columns(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """An array literal for each column of `outcome`. Literals written here cost a tenth of what lists cost in the driver,
    or JSON in the server, where this is the hot path."""
    transposed = zip(*outcomes, strict=True) if outcomes else [()] * len(Outcome._fields)
    positions, attempts, kinds, evidences, codes, enhanced_codes, replies, *_ = transposed
    return {
        "positions": _literal(map(str, positions)),
        "attempts": _literal(map(str, attempts)),
        "kinds": _literal(kinds),
        "evidences": _literal(evidences),
        "codes": _literal(["NULL" if code is None else str(code) for code in codes]),
        "enhanced_codes": _literal(map(_quoted, enhanced_codes)),
        "replies": _literal(map(_quoted, replies)),
    }


def _retry_columns(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The same for what only a retry has."""
    return {
        "delays_s": _literal(["NULL" if one.retry_in_s is None else repr(one.retry_in_s) for one in outcomes]),
        "refusals": _literal([str(one.refusals) for one in outcomes]),
        "alike": _literal(["NULL" if one.alike is None else str(one.alike) for one in outcomes]),
        "own": _literal(["NULL" if one.own is None else str(one.own) for one in outcomes]),
    }


def _literal(elements: Iterable[str]) -> str:
    return "{" + ",".join(elements) + "}"


def _quoted(text: str | None) -> str:
    """One element of a text array, as PostgreSQL reads it ("Array Input and Output Syntax")."""
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def try_sweep_lock(conn: Connection) -> bool:
    """Whether this transaction may sweep; another worker's does otherwise."""
    row = await (await conn.execute(SQL.try_sweep_lock)).fetchone()
    return bool(row and row[0])
