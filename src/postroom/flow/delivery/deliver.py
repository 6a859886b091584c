"""Delivering one chunk: the loop that everything else is built around.

    claim a chunk, take a session
    ask the gateway's pace how many may go now, and say in the journal what is about to be opened
    T(k): one transaction, fenced by the epoch: book window k-1, open window k
    hand off window k; each recipient ends as sent, failed, unconfirmed or still unsent
    ... until none is left, the worker drains, or the gateway asks for patience
    release the chunk; when other lanes wait, put this one back at the tail of the queue in the same transaction

Promises: a recipient is in one window at a time and windows are committed before a word is said about it; nothing is booked
as sent but what the gateway accepted; a worker that lost its lease books what it knows and begins nothing new.
Fails: a database that goes away makes it wait, then settle what it has in hand by evidence and give the rest back. A journal
that cannot be written lets nothing go out, and the job says so. A worker that dies leaves its journal to its siblings.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import psycopg
import structlog

from postroom.domain.outcome import Kind
from postroom.domain.pace import window_size
from postroom.errors import Unavailable
from postroom.flow.account.deployment import NotSetUp
from postroom.flow.content.outgoing import OutgoingJob, OutgoingJobs
from postroom.flow.delivery.books import Books, Work
from postroom.flow.delivery.lease import Lease
from postroom.flow.delivery.pacing import Paces, quota_sentence
from postroom.flow.delivery.sessions import NoSlot, Sessions
from postroom.flow.delivery.waiting import refusing, wait
from postroom.flow.delivery.window_source import Row, WindowSource
from postroom.flow.delivery.witness import Witness
from postroom.flow.job import finish
from postroom.gateway.journal import Journal, JournalFull
from postroom.gateway.replies import Phase, Reply, Verdict, may_be_about_the_recipient
from postroom.gateway.session import GatewayError, SessionLost
from postroom.ledger.database import engine
from postroom.ledger.database.db import Pool
from postroom.ledger.database.installation import Installation
from postroom.ledger.delivery import retries, windows
from postroom.ledger.delivery.windows import Claim, LeaseLost
from postroom.ledger.job import jobs
from postroom.points import reach

PERMIT_WAIT_MAX_S = 1.0  # between two looks whether the lane may still go on

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Deliveries:
    """A worker process's deliveries. `deliver` is what the engine runs for each lane."""

    pool: Pool
    outgoing_jobs: OutgoingJobs
    sessions: Sessions
    paces: Paces
    journal: Journal
    owner: str
    lease_s: float
    retry_base_s: float
    witness: Witness = field(default_factory=Witness)
    beat: int = 0  # of the installation, when we last looked: a database that is behind it gives out no chunk
    draining: bool = False
    _books: Books = field(init=False)
    _held: dict[int, Lease] = field(default_factory=dict)
    _rows: dict[int, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._books = Books(self.pool, self.journal, self.witness)

    def trust(self, seen: Installation) -> None:
        """The guard has looked at the database, and this is how far it has come."""
        self.journal.beat = self.beat = seen.beat
        self._books.trusts = True

    async def deliver(self, account_id: int, job_id: int, may_stay: bool = False) -> bool:
        """One lane's turn: at most one chunk of this job. True: the lane may stay, there is more, and no other lane waits."""
        if self.draining or not self._books.trusts:
            return False  # the sweeper sees that a lane is missing
        granted_at = time.monotonic()
        async with self.pool.connection() as conn:
            claim = await windows.claim_chunk(conn, account_id, job_id, owner=self.owner, lease_s=self.lease_s,
                                               beat=self.beat)
        if claim is None:
            await self._complete_if_done(account_id, job_id)
            return False
        lease = Lease(claim, 0.0)
        lease.renewed(granted_at)
        self._held[id(lease)] = lease
        try:
            return await self._deliver_chunk(lease, may_stay=may_stay)
        finally:
            del self._held[id(lease)]

    # -- leases -------------------------------------------------------------------------------------------------------

    async def renew_leases(self) -> None:
        """The heartbeat: independent of the sessions, so that a gateway that takes its time loses nobody's lease."""
        leases = list(self._held.values())
        if not leases:
            return
        granted_at = time.monotonic()
        async with self.pool.connection() as conn:
            held = await windows.renew_leases(conn, [lease.claim for lease in leases], self.lease_s)
        for lease in leases:
            if (lease.claim.job_id, lease.claim.chunk_no, lease.claim.epoch) in held:
                lease.renewed(granted_at)
            else:
                lease.lost = True

    def stop_job(self, job_id: int) -> None:
        """The job is over: begin nothing more of it. Said by NOTIFY, so that a cancel takes effect within milliseconds."""
        for lease in self._held.values():
            if lease.claim.job_id == job_id:
                lease.lost = True
        self.outgoing_jobs.forget(job_id)
        self._rows.pop(job_id, None)

    # -- one chunk ----------------------------------------------------------------------------------------------------

    async def _deliver_chunk(self, lease: Lease, *, may_stay: bool) -> bool:
        claim = lease.claim
        try:
            outgoing = await self.outgoing_jobs.of_job(claim.account_id, claim.job_id)
            session = await self.sessions.take(outgoing.endpoint, outgoing.gateway_id)
        except NoSlot:  # other workers have all the connections that the gateway takes
            await self._release(claim)
            return False
        except (GatewayError, NotSetUp) as error:
            await self._wait_for_gateway(claim, error)
            await self._release(claim)
            return False
        work = Work(lease, outgoing, session, window_no=claim.window_no, size=outgoing.window_size)
        try:
            await self._hand_off_windows(work)
        except LeaseLost:
            lease.lost = True
            await self._books.settle(work)
            self._books.booked(work)
            return False
        except Exception as error:  # whatever it is, what the gateway said is known only here
            await self._books.recover(work)
            if not isinstance(error, (Unavailable, psycopg.OperationalError)):
                raise
            log.warning("a chunk was interrupted in the middle", job=claim.job_id, chunk=claim.chunk_no,
                        error=str(error))
            return False
        finally:
            await self.sessions.give_back(outgoing.endpoint, work.session)
        if work.troubled:
            await self._release(claim)
            return False
        return await self._go_on(claim, outgoing, may_stay=may_stay)

    async def _hand_off_windows(self, work: Work) -> None:
        gateway_id = work.outgoing.gateway_id
        while not self.draining and not work.troubled and (permitted := await self._permitted(work)):
            try:
                work.window = await self._books.turn(work, permitted)
            except JournalFull as error:  # nothing was opened, and nothing is: what is known is booked below
                work.troubled = True
                await self.paces.give_back(gateway_id, permitted)
                await wait(self.pool, work.lease.claim, "journal", str(error), base_s=self.retry_base_s)
                break
            if work.window is None:
                await self.paces.give_back(gateway_id, permitted)
                return  # everything is booked
            work.window_no = work.window.window_no
            reach("deliver.window_opened")
            await self._hand_off(work)
            reach("deliver.window_handed_off")
            tried = sum(one.kind is not Kind.RELEASED for one in work.outcomes)
            await self.paces.give_back(gateway_id, permitted - tried)
        await self._books.book(work)

    async def _permitted(self, work: Work) -> int:
        """How many messages the gateway's pace lets go now, when it lets any; 0: this lane may go on no longer."""
        gateway_id = work.outgoing.gateway_id
        while not self.draining and work.lease.may_go_on():
            permits = await self.paces.permits(gateway_id, min(work.size, self.sessions.room(work.session)))
            if permits.granted:
                return permits.granted
            await self._books.book(work)  # what is known need not wait for what may not go yet
            if permits.held_by == "quota":
                work.troubled = True
                await wait(self.pool, work.lease.claim, "quota", quota_sentence(permits), delay_s=permits.wait_s)
                return 0
            await asyncio.sleep(min(permits.wait_s, PERMIT_WAIT_MAX_S))
            async with self.pool.connection() as conn:
                if await engine.others_wait(conn, work.lease.claim.job_id):
                    return 0  # whoever waits for a slow gateway holds up nobody else: it goes on behind them
        return 0

    async def _hand_off(self, work: Work) -> None:
        assert work.window is not None
        claim = work.lease.claim
        source = WindowSource(work.window, work.outgoing, work.lease.may_go_on, journal=self.journal, intent=work.unbooked[-1],
                      retry_base_s=self.retry_base_s, row=self._rows.setdefault(claim.job_id, Row()),
                      takes_utf8=work.session.offers_utf8, size_max=work.session.size_max)
        began = time.monotonic()
        lost: SessionLost | None = None
        self.paces.begins(work.outgoing.gateway_id, source)
        try:
            if work.outgoing.is_slow:
                await asyncio.to_thread(source.prepare)
            await work.session.hand_off(source)
        except SessionLost as error:
            lost = error
        finally:
            self.paces.ends(work.outgoing.gateway_id, source)
            work.outcomes = source.outcomes()
        elapsed = time.monotonic() - began
        work.size = work.outgoing.window_size = window_size(len(work.outcomes) / max(elapsed, 1e-6))
        if not work.moving and (source.accepted or (source.is_heard and source.trouble is None)):
            work.moving = True
            async with self.pool.connection() as conn:
                await jobs.clear_conditions(conn, claim.account_id, claim.job_id)
        work.accepted += source.accepted
        # After some messages 421 is a gateway's way to say "enough on this connection"; only on a fresh one it means "slower".
        had_enough = lost is not None and work.accepted > 0 and source.trouble is not None and source.trouble[2].code == 421
        if source.trouble is not None and not had_enough:
            await self._heed(work, *source.trouble)
        if not work.troubled and work.lease.may_go_on() and (lost is not None or self.sessions.room(work.session) == 0):
            await self._reconnect(work, lost, was_told_why=source.trouble is not None)

    async def _reconnect(self, work: Work, lost: SessionLost | None, *, was_told_why: bool) -> None:
        """Goes on with a new session where this one did some good; one that only ever fails is a condition to wait on."""
        endpoint, gateway_id = work.outgoing.endpoint, work.outgoing.gateway_id
        distrusted = lost is not None and lost.lost_count and self.sessions.distrust_pipelining(endpoint)
        if lost is not None and work.accepted == 0 and not was_told_why and not distrusted:
            work.troubled = True
            await self._wait_for_gateway(work.lease.claim, lost)
            return
        await self.sessions.give_back(endpoint, work.session)
        try:
            work.session, work.accepted = await self.sessions.take(endpoint, gateway_id), 0
        except NoSlot:
            work.troubled = True
        except GatewayError as error:
            work.troubled = True
            await self._wait_for_gateway(work.lease.claim, error)

    async def _heed(self, work: Work, phase: Phase, verdict: Verdict, reply: Reply) -> None:
        """What the gateway's reply asks of more than one recipient: a slower pace, patience, or a person."""
        claim, said = work.lease.claim, f"“{reply}”."
        if verdict is Verdict.THROTTLED and (
                not await self.paces.throttled(work.outgoing.gateway_id, reply)
                or (phase is not Phase.MAIL and await self._is_about_few(work, phase, reply))):
            return  # the next window asks the slower pace
        work.troubled = True
        if verdict is Verdict.JOB_FAULT:
            await self._books.book(work)
            await finish.fail(self.pool, claim.account_id, claim.job_id, reason=f"The gateway refuses the message itself: {said}")
        elif verdict is Verdict.THROTTLED:
            await self._wait_for_gateway(claim, f"The gateway takes nothing for now: it says {said}")
        else:
            await self._wait_for_gateway(claim, refusing(str(reply)))

    async def _is_about_few(self, work: Work, phase: Phase, reply: Reply) -> bool:
        """Whether a few are all that is left of a job, and it is about them, so that it does not wait: its tail has to end."""
        claim = work.lease.claim
        await self._books.book(work)  # whoever was in hand is one of them
        async with self.pool.connection() as conn:
            few, about_them = await retries.has_few_left(conn, claim.account_id, claim.job_id)
            if is_so := about_them or (few and may_be_about_the_recipient(phase, reply)):
                await jobs.clear_conditions(conn, claim.account_id, claim.job_id)
        return is_so

    async def _wait_for_gateway(self, claim: Claim, reason: str | Exception) -> None:
        self.outgoing_jobs.forget(claim.job_id)  # credentials may be changed meanwhile
        await wait(self.pool, claim, "gateway", str(reason), base_s=self.retry_base_s)

    # -- the end of a chunk -------------------------------------------------------------------------------------------

    async def _release(self, claim: Claim) -> None:
        """Gives the chunk back without going on: the sweeper decides when a lane looks again."""
        async with self.pool.connection() as conn:
            await windows.release_chunk(conn, claim)
        await self._complete_if_done(claim.account_id, claim.job_id)

    async def _go_on(self, claim: Claim, outgoing: OutgoingJob, *, may_stay: bool) -> bool:
        """Releases the chunk. While other lanes wait, this one rejoins the tail in the same transaction, so that it is never
        lost in between, and leaves its connection to whoever takes it up; while none does, True: it keeps its place and spares
        the engine the way round."""
        async with self.pool.connection() as conn:
            somebody_waits, live, others_work = await engine.look_around(conn, claim.job_id)
        stays = may_stay and not somebody_waits and not self.draining and live <= outgoing.lanes
        if not stays and others_work:
            await self.sessions.close_one(outgoing.endpoint)
        async with self.pool.connection() as conn, conn.transaction():
            await windows.release_chunk(conn, claim)
            has_more = await windows.has_claimable_chunk(conn, claim.account_id, claim.job_id)
            if has_more and not stays and live <= outgoing.lanes:  # or a rescue took a slow worker for dead: it is a copy
                await engine.defer_lanes(conn, claim.account_id, claim.job_id, 1)
        if not has_more:
            await self._complete_if_done(claim.account_id, claim.job_id)
        return has_more and stays

    async def _complete_if_done(self, account_id: int, job_id: int) -> None:
        async with self.pool.connection() as conn:
            done = await jobs.has_nothing_left(conn, account_id, job_id)
        if done:
            await finish.complete(self.pool, account_id, job_id)
