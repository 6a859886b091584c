"""What people and programs are told of a job: its counts, its place in the queue, and why nothing is moving.

The counts are read in one statement, so they are of one instant and always add up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf

from postroom.domain.access import Actor, Right
from postroom.domain.job import HELD_UP, QUEUE_SENTENCE, Status
from postroom.domain.outcome import CLASSES, UNSENT, Kind
from postroom.domain.pace import grown_to_per_s
from postroom.domain.preflight import Preflight
from postroom.domain.wording import counted, ended
from postroom.errors import InvalidInput, storable
from postroom.flow.account.acting import permitted
from postroom.flow.content import outgoing
from postroom.ledger.account import gateways
from postroom.ledger.account.gateways import Gateway
from postroom.ledger.check import preflight
from postroom.ledger.content import contents
from postroom.ledger.database.db import Connection
from postroom.ledger.database.db import Pool as Pool
from postroom.ledger.job import jobs, pauses, recipients
from postroom.ledger.job.jobs import UNCHANGED, Ahead, Correction, Progress
from postroom.ledger.job.jobs import Continuation as Continuation
from postroom.ledger.job.jobs import JobEvent as JobEvent
from postroom.ledger.job.jobs import JobOverview as JobOverview
from postroom.ledger.job.recipients import Exclusion as Exclusion
from postroom.ledger.job.recipients import RecipientRow as RecipientRow
from postroom.ledger.job.recipients import Told as Told
from postroom.ledger.job.recipients import goes_on as goes_on
from postroom.message.content import Content as Content
from postroom.message.wire.address import AddressRefused, parse_address

PAGE_MAX = 1_000
WATCH_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """`position` counts from 1. `waits_for` is the active job, or the queued one before this; `starts_in_s` an estimate."""

    position: int
    waits_for: Ahead | None
    starts_in_s: float | None
    sentence: str = QUEUE_SENTENCE


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job, whole. `sentence` is always true and answers "why is nothing moving?"; `per_second` is None while nothing does.
    `preflight` while it waits at the gate; `continued_by` are the jobs that send its rest, `contradictions` what came to light
    against a person's word."""

    job: JobOverview
    sentence: str
    per_second: float | None
    seconds_left: float | None
    queue: QueuePlace | None
    preflight: Preflight | None = None
    continued_by: tuple[Continuation, ...] = ()
    slowed_to_per_s: float | None = None  # all workers together, while the gateway is slowed
    contradictions: tuple[str, ...] = ()
    waits_for: str | None = None  # what `waits_for` says
    correction: Correction = UNCHANGED  # the jobs that it was changed from and into

    @property
    def rests(self) -> dict[str, int]:
        """How many unsent and failed recipients no other job has taken up. Doubtful ones that are sent again count as failed."""
        if self.correction.corrected_by is not None:
            return {"unsent": 0, "failed": 0}
        taken = Counter[str]()
        for one in self.continued_by:
            taken["failed" if one.which == "unconfirmed" else one.which] += one.count
        return {"unsent": self.job.unsent - taken["unsent"], "failed": self.job.failed - taken["failed"]}


async def report(pool: Pool, actor: Actor, job_id: int) -> JobReport:
    """Raises NotFound, also for another account's job."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn, conn.transaction():
        await jobs.read_one_instant(conn)
        job = await jobs.view_job(conn, account_id, job_id)
        ahead = await jobs.ahead_in_queue(conn, account_id, job_id) if job.status is Status.QUEUED else []
        found = await _preflight(conn, job) if job.status is Status.PENDING_APPROVAL else None
        continued = await jobs.continuations(conn, account_id, [job_id])
        contradicted = await jobs.contradictions(conn, account_id, [job_id])
        corrected = await jobs.corrections(conn, account_id, [job_id])
        paused_s = await pauses.seconds_paused(conn, account_id, job_id) if job.status is Status.SENDING else 0.0
    return _told(job, ahead, found, continued.get(job_id, ()), contradicted.get(job_id, ()), paused_s,
                 corrected.get(job_id, UNCHANGED))


async def preflight_of(pool: Pool, actor: Actor, job_id: int) -> Preflight:
    """What was found when every recipient was looked at; kept for as long as the job. Raises NotFound."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        return await _preflight(conn, await jobs.view_job(conn, account_id, job_id))


async def _preflight(conn: Connection, job: JobOverview) -> Preflight:
    return await preflight.summary(conn, job.account_id, job.id, job.field_policy)


def _told(job: JobOverview, ahead: list[Ahead], found: Preflight | None, continued_by: tuple[Continuation, ...],
          contradictions: tuple[str, ...], paused_s: float, correction: Correction) -> JobReport:
    now = datetime.now(UTC)
    queue = _place(job, ahead, now) if job.status is Status.QUEUED else None
    moves = job.status is Status.SENDING and job.paused_since is None and job.waits_for is None
    rate = None
    if moves or job.status.is_over:
        rate = _per_second(job.recipient_count - job.unsent, job.started_at,
                           (job.ended_at or now) - timedelta(seconds=paused_s))
    left = job.unsent / rate if rate and moves else None
    sentence = _paused_sentence(job, now) if job.paused_since is not None else _sentence(job, queue, found, now)
    return JobReport(job, sentence, rate, left, queue, found, continued_by, _slowed_to_per_s(job, now),
                     contradictions, waits_for(job, queue, now), correction)


def waits_for(job: JobOverview, queue: QueuePlace | None, now: datetime) -> str | None:
    """What holds a job up that looks as if it moved: its "gateway", the gateway's "quota", a dead worker's "journal", a "worker",
    its "time", or a "job" before it that is held up itself. None where nothing does; a pause is said by itself."""
    if job.status is Status.SENDING and job.waits_for is not None:
        return job.waits_for
    is_for_workers = job.status is Status.SENDING or (
        job.status is Status.PENDING_APPROVAL and job.checked < (job.to_check or 0))
    if is_for_workers and not job.a_worker_runs:
        return "worker"
    if job.status is Status.QUEUED and job.not_before is not None and job.not_before > now:
        return "time"
    if queue is not None and queue.waits_for is not None and queue.waits_for.held_up_by:
        return "job"
    return None


async def progress(pool: Pool, actor: Actor, job_id: int) -> Progress:
    """Only the numbers that change. Raises NotFound."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        return await jobs.job_progress(conn, account_id, job_id)


async def watch(pool: Pool, actor: Actor, job_id: int) -> AsyncGenerator[JobReport, None]:
    """The job now, and again whenever something of it has changed, until it is over and nothing of it is in hand.

    Reads twice a second, and only while somebody iterates. Raises NotFound.
    """
    last: JobReport | None = None
    while True:
        now = await report(pool, actor, job_id)
        if last is None or _differs(now, last):
            yield now
            last = now
        if now.job.status.is_over and now.job.in_hand == 0:
            return
        await asyncio.sleep(WATCH_EVERY_S)


async def history(pool: Pool, actor: Actor, *, status: Status | None = None, since: datetime | None = None,
                  until: datetime | None = None, before: int | None = None, limit: int = 50) -> list[JobOverview]:
    """Newest first; the next page begins with `before` = the last job's number of this one."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        return await jobs.page_of_jobs(conn, account_id, status=status, since=since, until=until, before=before,
                                       limit=_limit(limit))


async def reports(pool: Pool, actor: Actor, *, status: Status | None = None, since: datetime | None = None,
                  until: datetime | None = None, before: int | None = None, limit: int = 50) -> list[JobReport]:
    """The history with all that `report` says of each job. One look at the queue serves every queued job of the page."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn, conn.transaction():
        await jobs.read_one_instant(conn)
        page = await jobs.page_of_jobs(conn, account_id, status=status, since=since, until=until, before=before,
                                       limit=_limit(limit))
        last = max((job for job in page if job.status is Status.QUEUED), key=lambda job: job.queue_position or 0, default=None)
        ahead = await jobs.ahead_in_queue(conn, account_id, last.id) if last else []
        found = {job.id: await _preflight(conn, job) for job in page if job.status is Status.PENDING_APPROVAL}
        continued = await jobs.continuations(conn, account_id, [job.id for job in page])
        contradicted = await jobs.contradictions(conn, account_id, [job.id for job in page])
        corrected = await jobs.corrections(conn, account_id, [job.id for job in page])
        paused_s = {job.id: await pauses.seconds_paused(conn, account_id, job.id)
                    for job in page if job.status is Status.SENDING}
    before_it = {one.id: ahead[:place] for place, one in enumerate(ahead)}
    return [_told(job, before_it.get(job.id, ahead), found.get(job.id), continued.get(job.id, ()),
                  contradicted.get(job.id, ()), paused_s.get(job.id, 0.0), corrected.get(job.id, UNCHANGED)) for job in page]


async def content_of(pool: Pool, actor: Actor, job_id: int) -> Content:
    """The message as it was written, with its merge fields. Raises NotFound, also for another account's job."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        return outgoing.content_of(await contents.job_content(conn, account_id, job_id))


async def read_as(pool: Pool, actor: Actor, job_id: int) -> dict[str, str]:
    """How its list was read, by the names of the form. Raises NotFound, also for another account's job."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        return await jobs.read_as(conn, account_id, job_id)


async def gateway_of(pool: Pool, actor: Actor, job_id: int) -> Gateway:
    """The server that the job is handed to. Raises NotFound, also for another account's job."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        gateway_id = (await contents.job_content(conn, account_id, job_id)).gateway_id
        return next(one for one in await gateways.gateways_of_account(conn, account_id) if one.id == gateway_id)


async def trail(pool: Pool, actor: Actor, job_id: int) -> list[JobEvent]:
    """Every move of the job: when, from what to what, by whom."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        return await jobs.job_events(conn, account_id, job_id)


async def recipient_page(pool: Pool, actor: Actor, job_id: int, *, recipient_class: str | None = None,
                         address: str | None = None, after: int = 0, limit: int = 100) -> list[RecipientRow]:
    """The ledger in the order of the list, whole, or one class of it, or who is at one address, however it is spelt; the next
    page begins after the last position. Raises NotFound, InvalidInput."""
    account_id = permitted(actor, Right.READ_JOBS)
    if recipient_class is not None and recipient_class not in CLASSES:
        raise InvalidInput(f'A recipient is one of {", ".join(CLASSES)}, not "{recipient_class}".', field="state")
    spellings = [] if address is None else _spellings(storable(address, "address"))
    async with pool.connection() as conn:
        await jobs.job_progress(conn, account_id, job_id)
        if not spellings:
            return await recipients.page_of_recipients(conn, account_id, job_id, recipient_class=recipient_class, after=after,
                                                       limit=_limit(limit))
        return await recipients.page_at_address(
            conn, account_id, job_id, addresses=spellings, address_keys=[_key_of(one) for one in spellings],
            recipient_class=recipient_class, after=after, limit=_limit(limit))


async def outcomes_of(pool: Pool, actor: Actor, job_id: int, position: int) -> tuple[str, list[Told]]:
    """(a recipient's address, all that became of it, attempt by attempt). Raises NotFound."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        return await recipients.outcomes_of_recipient(conn, account_id, job_id, position)


async def exclusion_page(pool: Pool, actor: Actor, job_id: int, *, after: int = 0, limit: int = 100) -> list[Exclusion]:
    """What was left out before the freeze, each row with its value and the reason."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        await jobs.job_progress(conn, account_id, job_id)
        return await recipients.page_of_exclusions(conn, account_id, job_id, after=after, limit=_limit(limit))


def state_of(row: RecipientRow) -> str:
    """The class that a recipient is counted in right now."""
    return UNSENT if row.kind is None else Kind(row.kind).recipient_class


def _spellings(address: str) -> list[str]:
    """What may be meant: a plus in a URL arrives as a space unless it is written as %2B, and no usable address has a space."""
    return [address, address.replace(" ", "+")]


def _key_of(address: str) -> str:
    """What the ledger knows an address by: '' for one that is unusable."""
    try:
        return parse_address(address).key
    except AddressRefused:
        return ""


def _limit(limit: int) -> int:
    if not 1 <= limit <= PAGE_MAX:
        raise InvalidInput(f"A page has 1 to {PAGE_MAX:,} entries.", field="limit")
    return limit


def _per_second(done: int, since: datetime | None, until: datetime) -> float | None:
    if since is None or done == 0:
        return None
    return done / max((until - since).total_seconds(), 0.1)


def _place(job: JobOverview, ahead: list[Ahead], now: datetime) -> QueuePlace:
    """The estimate assumes that those before it go as fast as the active one goes now; without one that moves there is none, and
    none for a job that somebody has to resume first."""
    assert job.queue_position is not None
    active = ahead[0] if ahead and ahead[0].status is Status.SENDING else None
    starts_in_s = None
    if job.paused_since is not None or (active is not None and active.held_up_by):
        return QueuePlace(job.queue_position, ahead[0] if ahead else None, None, _queue_sentence(active))
    if active is not None:
        rate = _per_second(active.recipient_count - active.unsent, active.started_at, now)
        starts_in_s = sum(one.unsent for one in ahead) / rate if rate else None
    if job.not_before is not None and job.not_before > now:
        starts_in_s = max(starts_in_s or 0.0, (job.not_before - now).total_seconds())
    return QueuePlace(job.queue_position, ahead[0] if ahead else None, starts_in_s)


def _queue_sentence(active: Ahead | None) -> str:
    if active is None or active.held_up_by is None:
        return QUEUE_SENTENCE
    return f"Your send is queued. It waits for job {active.id}, which {HELD_UP[active.held_up_by]}."


def _sentence(job: JobOverview, queue: QueuePlace | None, found: Preflight | None, now: datetime) -> str:
    doubt = f" {_doubt(job.unconfirmed)}" if job.unconfirmed else ""
    match job.status:
        case Status.PENDING_APPROVAL if job.checked < (job.to_check or 0):
            return _checking_sentence(job)
        case Status.PENDING_APPROVAL if found is not None and found.refusing:
            return "It cannot be approved as it is: see what was found when the message was checked. No emails have been sent."
        case Status.PENDING_APPROVAL:
            return f"Waiting for a person to approve it: {counted(job.recipient_count, 'recipient')}. No emails have been sent."
        case Status.QUEUED if job.not_before and job.not_before > now:
            return f"Scheduled: it does not start before {job.not_before:%Y-%m-%d %H:%M %Z}."
        case Status.QUEUED:
            assert queue is not None
            return f"{queue.sentence} Position {queue.position} in the queue."
        case Status.SENDING:
            return _sending_sentence(job, now)
        case Status.COMPLETED:
            return f"All recipients are processed.{doubt}"
        case Status.CANCELLED:
            note = f" Note: {job.reason}" if job.reason else ""
            failed = f", {job.failed:,} had failed" if job.failed else ""
            return f"{job.sent:,} had been sent before{failed}; {_left(f'{job.unsent:,}', job.unsent)}{doubt}{note}"
        case Status.FAILED:
            return f"Stopped: {ended(job.reason or '')} {_left(counted(job.unsent, 'recipient'), job.unsent)}{doubt}"


def _doubt(unconfirmed: int) -> str:
    them = "it" if unconfirmed == 1 else "them"
    return f"{counted(unconfirmed, 'is', 'are')} unconfirmed: the gateway may have {them}."


def _left(unsent: str, number: int) -> str:
    return f"{unsent} was not sent and stays unsent." if number == 1 else f"{unsent} were not sent and stay unsent."


def _waiting(job: JobOverview) -> str:
    return f"{job.unsent:,} of {job.recipient_count:,} {'waits' if job.unsent == 1 else 'wait'}"


def _checking_sentence(job: JobOverview) -> str:
    so_far = f"{job.checked:,} of {counted(job.to_check or 0, 'recipient')} so far"
    if not job.a_worker_runs:
        return f"No worker is running, so the check before the approval waits: {so_far}. Start one: postroom worker."
    return f"Checking the message for everyone before it can be approved: {so_far}. No emails have been sent."


def _paused_sentence(job: JobOverview, now: datetime) -> str:
    assert job.paused_since is not None
    since = f"{job.paused_since:%H:%M %Z}" if job.paused_since.date() == now.date() else f"{job.paused_since:%Y-%m-%d %H:%M %Z}"
    because = f": {ended(job.paused_because)}" if job.paused_because else "."
    settling = " What workers had in hand is being settled." if job.in_hand else ""
    return (f"Paused by {job.paused_by} since {since}{because} {_waiting(job)}; nothing is sent "
            f"until somebody resumes it.{settling}")


def _sending_sentence(job: JobOverview, now: datetime) -> str:
    if job.waits_for == "quota" and job.waits_because and job.waits_until and job.waits_until > now:
        return job.waits_because
    if job.waits_because and job.waits_until and (job.a_worker_runs or job.waits_until > now):
        again = f"at {job.waits_until:%H:%M:%S %Z}" if job.waits_until > now else "now"
        return f"{job.waits_because} Trying again {again}; nobody is failed by this."
    if not job.a_worker_runs:
        return f"No worker is running, so {_waiting(job)}. Start one: postroom worker."
    if job.due_at and job.due_at > now:
        patience = f" Patience with them ends at {job.retries_until:%H:%M:%S %Z}." if job.retries_until else ""
        return f"Waiting until {job.due_at:%H:%M:%S %Z} to try {job.unsent:,} again that the gateway refused for now.{patience}"
    still_to_go = f"{job.unsent:,} of {job.recipient_count:,} still to go."
    if (slowed_to := _slowed_to_per_s(job, now)) is not None:
        return f"Slowed to {_speed(slowed_to)} a second: the gateway says “{job.slowed_because}”. {still_to_go}"
    if job.limit_per_s is not None:
        return f"Sending within the gateway's limit of {_speed(job.limit_per_s)} a second: {still_to_go}"
    return f"Sending: {still_to_go}"


def _slowed_to_per_s(job: JobOverview, now: datetime) -> float | None:
    """By now: it grows faster by and by."""
    if job.slowed_to is None or job.slowed_at is None:
        return None
    grown = grown_to_per_s(job.slowed_to, (now - job.slowed_at).total_seconds())
    return grown if grown is not None and grown < (job.limit_per_s or inf) else None


def _speed(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.1f}".removesuffix(".0")


def _differs(now: JobReport, before: JobReport) -> bool:
    """Whether there is anything to tell; the passing of time alone is not."""
    return (now.job, now.queue, now.sentence, now.preflight) != (before.job, before.queue, before.sentence, before.preflight)
