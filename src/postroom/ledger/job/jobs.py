"""The job's row: its making, its moves, and what people are shown of it.

Locks are always taken in this order: account, job, chunks. `move` is the one function that changes a status.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from postroom.domain.access import Actor
from postroom.domain.job import Status
from postroom.errors import Conflict
from postroom.ledger.account.actors import said_by
from postroom.ledger.content.contents import no_such_job
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class JobOverview:
    """One job as people are shown it; the counts are of one instant and add up to `recipient_count`."""

    id: int
    account_id: int
    account_name: str
    status: Status
    subject: str
    recipient_count: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    not_before: datetime | None
    reason: str | None
    digest: bytes
    duplicates: str
    unusable_addresses: str
    lanes: int
    excluded_duplicates: int
    excluded_unusable: int
    excluded_suppressed: int
    approval_threshold: int
    approved_by: str | None
    approved_at: datetime | None
    sent: int
    failed: int
    skipped: int
    unconfirmed: int
    unsent: int
    in_hand: int  # chunks with a window that is open right now
    a_worker_runs: bool
    due_at: datetime | None  # when only retries are left: the earliest of them
    queue_position: int | None
    waits_for: str | None
    waits_because: str | None
    waits_since: datetime | None
    waits_until: datetime | None
    field_policy: str
    to_check: int | None  # recipients that the pre-flight looks at, while the job is pending approval
    checked: int
    continues: int | None  # the job whose rest it sends
    continued_class: str | None
    paused_by: str | None
    paused_since: datetime | None
    paused_because: str | None
    alarm: str | None  # what the auditor found
    slowed_to: float | None  # messages a second, at the moment when the gateway was slowed
    slowed_because: str | None
    slowed_at: datetime | None
    limit_per_s: float | None  # the gateway's own
    retries_until: datetime | None  # when only retries are left: the end of patience with them

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))


@dataclass(frozen=True, slots=True)
class LockedJob:
    status: Status
    digest: bytes
    approved_digest: bytes | None


@dataclass(frozen=True, slots=True)
class Progress:
    status: Status
    started_at: datetime | None
    sent: int
    failed: int
    skipped: int
    unconfirmed: int
    unsent: int


@dataclass(frozen=True, slots=True)
class Ahead:
    """A job that another one of the same account waits for."""

    id: int
    subject: str
    status: Status
    started_at: datetime | None
    recipient_count: int
    unsent: int
    held_up_by: str | None  # a key of `domain.job.HELD_UP`

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))


@dataclass(frozen=True, slots=True)
class Continuation:
    """A job that sends the rest of another one: `count` of its `which`, unsent, failed or unconfirmed."""

    id: int
    which: str
    count: int


@dataclass(frozen=True, slots=True)
class Correction:
    """The job whose place one takes, and the one that takes its own: it was changed before it was sent."""

    corrects: int | None = None
    corrected_by: int | None = None


UNCHANGED = Correction()


@dataclass(frozen=True, slots=True)
class JobEvent:
    at: datetime
    verb: str
    from_status: str | None
    to_status: str
    by: str
    reason: str | None


async def insert_job(conn: Connection, values: Mapping[str, object]) -> int:
    """The new job's number. `values` are the columns by name; `by` is who makes it."""
    row = await (await conn.execute(SQL.insert_job, values)).fetchone()
    assert row is not None
    return int(row[0])


async def read_as(conn: Connection, account_id: int, job_id: int) -> dict[str, str]:
    """How the job's list was read, by the names of the form. Raises NotFound, also for another account's job."""
    cursor = await conn.execute(SQL.read_as, {"account_id": account_id, "job_id": job_id})
    if (row := await cursor.fetchone()) is None:
        raise no_such_job(job_id)
    told: dict[str, str] = row[0]
    return told


async def lock_job(conn: Connection, account_id: int, job_id: int) -> LockedJob:
    """Raises NotFound, also for another account's job."""
    cursor = await conn.execute(SQL.lock_job, {"account_id": account_id, "job_id": job_id})
    if (row := await cursor.fetchone()) is None:
        raise no_such_job(job_id)
    return LockedJob(Status(row[0]), row[1], row[2])


async def hold_status(conn: Connection, account_id: int, job_id: int) -> Status | None:
    """The status, which cannot change until this transaction ends."""
    cursor = await conn.execute(SQL.hold_status, {"account_id": account_id, "job_id": job_id})
    row = await cursor.fetchone()
    return Status(row[0]) if row else None


async def move(conn: Connection, account_id: int, job_id: int, origin: Status, target: Status, *, by: Actor,
               reason: str | None = None, approved_digest: bytes | None = None) -> None:
    """The one function that changes a status; the caller holds the locks. The database refuses a move that is no move."""
    cursor = await conn.execute(SQL.move_job, {
        "account_id": account_id, "job_id": job_id, "origin": origin, "target": target, **said_by(by), "reason": reason,
        "approved_digest": approved_digest})
    if cursor.rowcount != 1:
        raise Conflict(f"Job {job_id} is no longer {origin.label}.", job_id=job_id)


async def insert_approval(conn: Connection, account_id: int, job_id: int, *, by: Actor, digest: bytes) -> None:
    await conn.execute(SQL.insert_approval, {"account_id": account_id, "job_id": job_id, "digest": digest, **said_by(by)})


async def next_in_queue(conn: Connection, account_id: int) -> tuple[int, int] | None:
    """(job, its lanes) that may start now, under the account's lock; None while one is sending or none is due."""
    cursor = await conn.execute(SQL.next_in_queue, {"account_id": account_id})
    row = await cursor.fetchone()
    return (int(row[0]), int(row[1])) if row else None


async def fence_chunks(conn: Connection, account_id: int, job_id: int) -> None:
    """After this commits, no window of an older epoch can be opened."""
    await conn.execute(SQL.fence_chunks, {"account_id": account_id, "job_id": job_id})


async def has_nothing_left(conn: Connection, account_id: int, job_id: int) -> bool:
    cursor = await conn.execute(SQL.has_nothing_left, {"account_id": account_id, "job_id": job_id})
    row = await cursor.fetchone()
    return bool(row and row[0])


async def read_one_instant(conn: Connection) -> None:
    """The first statement of a transaction that only reads: all that follow see the same instant."""
    await conn.execute(SQL.read_one_instant)


async def view_job(conn: Connection, account_id: int, job_id: int) -> JobOverview:
    """Raises NotFound, also for another account's job."""
    async with conn.cursor(row_factory=class_row(JobOverview)) as cursor:
        await cursor.execute(SQL.view_job, {"account_id": account_id, "job_id": job_id})
        if (job := await cursor.fetchone()) is None:
            raise no_such_job(job_id)
        return job


async def page_of_jobs(conn: Connection, account_id: int, *, status: Status | None, since: datetime | None,
                       until: datetime | None, before: int | None, limit: int) -> list[JobOverview]:
    """Newest first; `before` is the last job's number of the page before."""
    async with conn.cursor(row_factory=class_row(JobOverview)) as cursor:
        await cursor.execute(SQL.page_of_jobs, {
            "account_id": account_id, "status": status, "since": since, "until": until, "before": before, "limit": limit})
        return await cursor.fetchall()


async def job_progress(conn: Connection, account_id: int, job_id: int) -> Progress:
    """Raises NotFound."""
    cursor = await conn.execute(SQL.job_progress, {"account_id": account_id, "job_id": job_id})
    if (row := await cursor.fetchone()) is None:
        raise no_such_job(job_id)
    return Progress(Status(row[0]), *row[1:])


async def ahead_in_queue(conn: Connection, account_id: int, job_id: int) -> list[Ahead]:
    """The active job first, then the queued ones before this one."""
    async with conn.cursor(row_factory=class_row(Ahead)) as cursor:
        await cursor.execute(SQL.ahead_in_queue, {"account_id": account_id, "job_id": job_id})
        return await cursor.fetchall()


async def continuations(conn: Connection, account_id: int, job_ids: Sequence[int]) -> dict[int, tuple[Continuation, ...]]:
    """By job: those that continue it, in the order in which they were made."""
    cursor = await conn.execute(SQL.continuations, {"account_id": account_id, "job_ids": list(job_ids)})
    found: dict[int, tuple[Continuation, ...]] = {}
    for continues, *made in await cursor.fetchall():
        found[continues] = (*found.get(continues, ()), Continuation(*made))
    return found


async def corrections(conn: Connection, account_id: int, job_ids: Sequence[int]) -> dict[int, Correction]:
    """By job: what it takes the place of, and what takes its own; nothing of those that were not changed."""
    cursor = await conn.execute(SQL.corrections, {"account_id": account_id, "job_ids": list(job_ids)})
    pairs = [(int(made), int(changed)) for made, changed in await cursor.fetchall()]
    after, before = {changed: made for made, changed in pairs}, dict(pairs)
    return {job_id: Correction(before.get(job_id), after.get(job_id)) for job_id in before.keys() | after.keys()}


async def contradictions(conn: Connection, account_id: int, job_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """By job: what came to light against a person's word. Each window said its own; sentences that end alike are one here, with
    the sum of their numbers. What versions before wrote begins with no number, and stays as it is."""
    cursor = await conn.execute(SQL.contradictions, {"account_id": account_id, "job_ids": list(job_ids)})
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for job_id, told in await cursor.fetchall():
        number, _, words = told.partition(" ")
        count = number.replace(",", "")
        counts[job_id][words if count.isdecimal() else told] += int(count) if count.isdecimal() else 0
    return {job_id: tuple(f"{count:,} {words}" if count else words for words, count in found.items())
            for job_id, found in counts.items()}


async def lock_rest(conn: Connection, job_id: int) -> None:
    """Until the end of the transaction nobody else continues this job's rest or takes its place."""
    await conn.execute(SQL.lock_rest, {"job_id": job_id})


async def job_events(conn: Connection, account_id: int, job_id: int) -> list[JobEvent]:
    async with conn.cursor(row_factory=class_row(JobEvent)) as cursor:
        await cursor.execute(SQL.job_events, {"account_id": account_id, "job_id": job_id})
        return await cursor.fetchall()


async def record_event(conn: Connection, account_id: int, job_id: int, verb: str, *, by: Actor,
                       reason: str | None = None) -> None:
    """The trail of what was done without a move. The caller holds the account's lock, so the status is what it is."""
    await conn.execute(SQL.record_event, {"account_id": account_id, "job_id": job_id, "verb": verb, "reason": reason,
                                          **said_by(by)})


async def record_test(conn: Connection, account_id: int, job_id: int, addresses: int, *, by: Actor) -> None:
    """The trail of a test message that is about to be tried: to how many. To whom is nobody's business. What becomes of it is
    an event of its own, and the hour counts what was tried."""
    reason = f"Tried a test to {addresses} address{'' if addresses == 1 else 'es'}."
    await record_event(conn, account_id, job_id, "test", by=by, reason=reason)


async def tests_go_on_at(conn: Connection, account_id: int, more: int, *, most: int) -> datetime | None:
    """When test messages to `more` addresses are within `most` an hour for the whole account; None: they are now."""
    cursor = await conn.execute(SQL.tests_go_on_at, {"account_id": account_id, "more": more, "most": most})
    row = await cursor.fetchone()
    return row[0] if row else None


async def set_condition(conn: Connection, account_id: int, job_id: int, kind: str, *, reason: str, delay_s: float) -> None:
    """Says why the job does not move and when it is tried again."""
    await conn.execute(SQL.set_condition, {
        "account_id": account_id, "job_id": job_id, "kind": kind, "reason": reason, "delay_s": delay_s})


async def condition_times(conn: Connection, account_id: int, job_id: int, kind: str) -> int:
    """How often in a row this condition was met; 0 when it is not in force."""
    cursor = await conn.execute(SQL.condition_times, {"account_id": account_id, "job_id": job_id, "kind": kind})
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def clear_conditions(conn: Connection, account_id: int, job_id: int) -> None:
    await conn.execute(SQL.clear_conditions, {"account_id": account_id, "job_id": job_id})


async def recall_idempotency_key(conn: Connection, account_id: int, key: str) -> tuple[bytes, int] | None:
    """(fingerprint of the request, its job). Holds the key's lock for this transaction; raises Conflict while another does."""
    values = {"account_id": account_id, "key": key}
    row = await (await conn.execute(SQL.try_idempotency_lock, values)).fetchone()
    if not (row and row[0]):
        raise Conflict(f'A request with the Idempotency-Key "{key}" is still running.')
    known = await (await conn.execute(SQL.recall_idempotency_key, values)).fetchone()
    return (known[0], known[1]) if known else None


async def remember_idempotency_key(conn: Connection, account_id: int, key: str, fingerprint: bytes, job_id: int) -> None:
    await conn.execute(SQL.remember_idempotency_key,
                       {"account_id": account_id, "key": key, "fingerprint": fingerprint, "job_id": job_id})
