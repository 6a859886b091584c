"""Delivering one chunk: the loop that everything else is built around.

    claim a chunk, take a session
    T(k): one transaction, fenced by the epoch: book window k-1, open window k
    hand off window k; each recipient ends as sent, failed, unconfirmed or still unsent
    ... until none is left, the worker drains, or the gateway asks for patience
    release the chunk; when other lanes wait, put this one back at the tail of the queue in the same transaction

Promises: a recipient is in one window at a time and windows are committed before a word is said about it; nothing is booked
as sent but what the gateway accepted; a worker that lost its lease books what it knows and begins nothing new.
Fails: a database that goes away makes it wait, then settle what it has in hand by evidence and give the rest back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psycopg
import structlog

from postroom.domain.outcome import Outcome
from postroom.domain.pace import window_size
from postroom.errors import Unavailable
from postroom.flow import finish
from postroom.flow.hands import Hands, Streak
from postroom.flow.letters import Letter, Letters, NotSetUp
from postroom.flow.sessions import Sessions
from postroom.gateway.replies import Reply, Verdict
from postroom.gateway.session import GatewayError, Session, SessionLost
from postroom.ledger import delivery, engine, jobs
from postroom.ledger.db import Connection, Pool
from postroom.ledger.delivery import Claim, LeaseLost, Window

FIRST_WINDOW_SIZE = 10
LEASE_MARGIN = 0.25  # of the lease: past its last quarter no message is begun, whatever the database may think
GATEWAY_RETRY_MAX_S = 300.0
DATABASE_RETRY_S = 0.5

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Lease:
    """A claim and how long this process may act on it, by its own monotonic clock."""

    claim: Claim
    safe_until: float
    lost: bool = False

    def renewed(self, granted_at: float) -> None:
        self.safe_until = granted_at + self.claim.lease_s * (1 - LEASE_MARGIN)

    def may_go_on(self) -> bool:
        return not self.lost and time.monotonic() < self.safe_until


@dataclass(slots=True)
class Work:
    """One chunk in progress: what of it is not booked yet."""

    lease: Lease
    letter: Letter
    session: Session
    window: Window | None = None
    window_no: int = 0  # of the last window that we heard of, also when it is booked
    outcomes: list[Outcome] = field(default_factory=list)
    size: int = FIRST_WINDOW_SIZE
    troubled: bool = False  # a condition of the job was met: the sweeper decides when it goes on
    moving: bool = False
    accepted: int = 0  # on the present session, in this chunk


@dataclass(slots=True)
class Deliveries:
    """A worker process's deliveries. `deliver` is what the engine runs for each lane."""

    pool: Pool
    letters: Letters
    sessions: Sessions
    owner: str
    lease_s: float
    retry_base_s: float
    draining: bool = False
    _held: dict[int, Lease] = field(default_factory=dict)
    _streaks: dict[int, Streak] = field(default_factory=dict)

    async def deliver(self, account_id: int, job_id: int, may_stay: bool = False) -> bool:
        """One lane's turn: at most one chunk of this job. True: the lane may stay, there is more, and no other lane waits."""
        if self.draining:
            return False  # the sweeper of another worker sees that a lane is missing
        granted_at = time.monotonic()
        async with self.pool.connection() as conn:
            claim = await delivery.claim_chunk(conn, account_id, job_id, owner=self.owner, lease_s=self.lease_s)
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
            held = await delivery.renew_leases(conn, [lease.claim for lease in leases], self.lease_s)
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
        self.letters.forget(job_id)
        self._streaks.pop(job_id, None)

    # -- one chunk ----------------------------------------------------------------------------------------------------

    async def _deliver_chunk(self, lease: Lease, *, may_stay: bool) -> bool:
        claim = lease.claim
        try:
            letter = await self.letters.of_job(claim.account_id, claim.job_id)
            session = await self.sessions.take(letter.endpoint)
        except (GatewayError, NotSetUp) as error:
            await self._wait_for_gateway(claim, str(error))
            await self._release(claim)
            return False
        work = Work(lease, letter, session)
        try:
            await self._hand_off_windows(work)
        except LeaseLost:
            lease.lost = True
            await self._settle(work)
            return False
        except Exception as error:  # whatever it is, what the gateway said is known only here
            await self._recover(work)
            if not isinstance(error, (Unavailable, psycopg.OperationalError)):
                raise
            log.warning("the database went away in the middle of a chunk", job=claim.job_id, chunk=claim.chunk_no,
                        error=str(error))
            return False
        finally:
            self.sessions.give_back(letter.endpoint, work.session)
        if work.troubled:
            await self._release(claim)
            return False
        return await self._go_on(claim, lanes=letter.lanes, may_stay=may_stay)

    async def _hand_off_windows(self, work: Work) -> None:
        while not self.draining and not work.troubled:
            work.window = await self._turn(work)
            if work.window is None:
                return  # everything is booked
            work.window_no = work.window.window_no
            await self._hand_off(work)
        async with self.pool.connection() as conn:  # book the last one, open none
            await delivery.turn_window(conn, work.lease.claim, work.outcomes, 0)
        work.window, work.outcomes = None, []

    async def _turn(self, work: Work) -> Window | None:
        """Books the last window, opens the next one: first those that no window has held, then the retries that are due."""
        claim, granted_at = work.lease.claim, time.monotonic()
        async with self.pool.connection() as conn:
            window = None
            if claim.next_position <= claim.last_position:
                window = await delivery.turn_window(conn, claim, work.outcomes, work.size)
                work.outcomes = []
            if window is None:
                window = await delivery.turn_to_retries(conn, claim, work.outcomes, work.size)
        work.outcomes = []
        work.lease.renewed(granted_at)
        return window

    async def _hand_off(self, work: Work) -> None:
        assert work.window is not None
        claim = work.lease.claim
        hands = Hands(work.window, work.letter, work.lease.may_go_on, retry_base_s=self.retry_base_s,
                      streak=self._streaks.setdefault(claim.job_id, Streak()))
        began = time.monotonic()
        lost: SessionLost | None = None
        try:
            await work.session.hand_off(hands)
        except SessionLost as error:
            lost = error
        finally:
            work.outcomes = hands.outcomes()
        elapsed = time.monotonic() - began
        work.size = window_size(len(work.outcomes) / max(elapsed, 1e-6))
        if hands.accepted and not work.moving:
            work.moving = True
            async with self.pool.connection() as conn:
                await jobs.clear_conditions(conn, claim.account_id, claim.job_id)
        work.accepted += hands.accepted
        # After some messages 421 is a gateway's way to say "enough on this connection"; only on a fresh one it means "slower".
        had_enough = lost is not None and work.accepted > 0 and hands.trouble is not None and hands.trouble[1].code == 421
        if hands.trouble is not None and not had_enough:
            await self._heed(work, *hands.trouble)
        elif lost is not None and work.lease.may_go_on():
            await self._reconnect(work, lost)

    async def _reconnect(self, work: Work, lost: SessionLost) -> None:
        """Goes on with a new session where this one did some good; one that only ever fails is a condition to wait on."""
        may_mend = lost.lost_count and self.sessions.distrust_pipelining(work.letter.endpoint)
        if work.accepted == 0 and not may_mend:
            work.troubled = True
            await self._wait_for_gateway(work.lease.claim, str(lost))
            return
        try:
            work.session, work.accepted = await self.sessions.take(work.letter.endpoint), 0
        except GatewayError as error:
            work.troubled = True
            await self._wait_for_gateway(work.lease.claim, str(error))

    async def _heed(self, work: Work, verdict: Verdict, reply: Reply) -> None:
        """What the gateway's reply asks of more than one recipient: a slower pace, patience, or a person."""
        claim, work.troubled = work.lease.claim, True
        said = f"“{reply}”."
        if verdict is Verdict.JOB_FAULT:
            async with self.pool.connection() as conn:
                await delivery.turn_window(conn, claim, work.outcomes, 0)
            work.window, work.outcomes = None, []
            await finish.fail(self.pool, claim.account_id, claim.job_id, reason=f"The gateway refuses the message itself: {said}")
        elif verdict is Verdict.THROTTLED:
            await self._set_condition(claim, "throttled", f"Slowed down: the gateway says {said}")
        else:
            await self._wait_for_gateway(claim, f"The gateway refuses the account's mail: {said}")

    # -- waiting ------------------------------------------------------------------------------------------------------

    async def _wait_for_gateway(self, claim: Claim, reason: str) -> None:
        log.warning("gateway not usable", job=claim.job_id, reason=reason)
        self.letters.forget(claim.job_id)  # credentials may be changed meanwhile
        await self._set_condition(claim, "gateway", reason)

    async def _set_condition(self, claim: Claim, kind: str, reason: str) -> None:
        async with self.pool.connection() as conn:
            times = await jobs.condition_times(conn, claim.account_id, claim.job_id, kind)
            # Without jitter: when the wait is over a single lane goes to see, so there is no herd to scatter.
            delay_s = min(GATEWAY_RETRY_MAX_S, self.retry_base_s / 2 * 2.0 ** min(times, 20))
            await jobs.set_condition(conn, claim.account_id, claim.job_id, kind, reason=reason, delay_s=delay_s)

    # -- the end of a chunk -------------------------------------------------------------------------------------------

    async def _release(self, claim: Claim) -> None:
        """Gives the chunk back without going on: the sweeper decides when a lane looks again."""
        async with self.pool.connection() as conn:
            await delivery.release_chunk(conn, claim)
        await self._complete_if_done(claim.account_id, claim.job_id)

    async def _go_on(self, claim: Claim, *, lanes: int, may_stay: bool) -> bool:
        """Releases the chunk. While other lanes wait, this one rejoins the tail in the same transaction, so that it is never
        lost in between; while none does, True: it keeps its place and spares the engine the way round."""
        async with self.pool.connection() as conn, conn.transaction():
            await delivery.release_chunk(conn, claim)
            if await delivery.has_claimable_chunk(conn, claim.account_id, claim.job_id):
                somebody_waits, live = await engine.look_around(conn, claim.job_id)
                if live > lanes:
                    return False  # a rescue took a slow worker for dead: there is a copy of this lane
                if may_stay and not somebody_waits and not self.draining:
                    return True
                await engine.defer_lanes(conn, claim.account_id, claim.job_id, 1)
                return False
        await self._complete_if_done(claim.account_id, claim.job_id)
        return False

    async def _complete_if_done(self, account_id: int, job_id: int) -> None:
        async with self.pool.connection() as conn:
            done = await jobs.has_nothing_left(conn, account_id, job_id)
        if done:
            await finish.complete(self.pool, account_id, job_id)

    async def _settle(self, work: Work) -> None:
        """The lease is lost. What is known of the own window is evidence; nothing more may be begun."""
        window = work.window
        if window is None:
            return

        async def settle(conn: Connection) -> None:
            await delivery.settle_window(conn, work.lease.claim, window.window_no, work.outcomes)

        await self._insist(settle)

    async def _recover(self, work: Work) -> None:
        """The work was interrupted, perhaps in the middle of a commit. Booking by evidence is right whether it came through
        or not; a window that was opened without our hearing of it was not touched, and goes back."""
        await self._settle(work)
        claim = work.lease.claim

        async def give_back(conn: Connection) -> None:
            untouched = await delivery.untouched_window(conn, claim, work.window_no)
            if untouched is not None:
                await delivery.settle_window(conn, claim, *untouched)
            await delivery.release_chunk(conn, claim)

        await self._insist(give_back)

    async def _insist(self, act: Callable[[Connection], Awaitable[None]]) -> None:
        """Until the database is back: what the gateway said is known nowhere else."""
        while True:
            try:
                async with self.pool.connection() as conn:
                    return await act(conn)
            except (Unavailable, psycopg.OperationalError):
                await asyncio.sleep(DATABASE_RETRY_S)
