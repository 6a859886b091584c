"""How what a worker knows of a chunk gets into the ledger: in turn with the next window, or afterwards as evidence.

Promises: what the gateway said is booked whatever the database does meanwhile, and the journal remembers it until then. A turn
that was interrupted leaves nobody in hand: a window of which we never heard was never touched, and goes back.
Fails: a database that comes back without a window that we opened has lost it: then it is not trusted until the guard has looked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psycopg
import structlog

from postroom.domain.outcome import Outcome
from postroom.errors import Unavailable
from postroom.flow.content.outgoing import OutgoingJob
from postroom.flow.delivery.guard import NEWER
from postroom.flow.delivery.lease import Lease
from postroom.flow.delivery.witness import Witness
from postroom.gateway.journal import Intent, Journal, WindowKey
from postroom.gateway.session import Session
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.delivery import roll_call, windows
from postroom.ledger.delivery.windows import Claim, Window
from postroom.points import reach

DATABASE_RETRY_S = 0.5

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Work:
    """One chunk in progress: what of it is not booked yet."""

    lease: Lease
    outgoing: OutgoingJob
    session: Session
    size: int  # of the next window
    window: Window | None = None
    window_no: int = 0  # of the last window that we heard of, also when it is booked
    unbooked: list[Intent] = field(default_factory=list)  # windows that the journal must still be able to tell of
    outcomes: list[Outcome] = field(default_factory=list)
    troubled: bool = False  # the lane ends: the sweeper decides when it goes on
    moving: bool = False
    accepted: int = 0  # on the present session, in this chunk


@dataclass(slots=True)
class Books:
    """A worker process's."""

    pool: Pool
    journal: Journal
    witness: Witness
    trusts: bool = True  # the database: False where it lacked a window of ours, until the guard has looked

    async def turn(self, work: Work, size: int) -> Window | None:
        """Books the last window, opens the next one: first those that no window has held, then the retries that are due."""
        claim, granted_at = work.lease.claim, time.monotonic()
        key = WindowKey(claim.account_id, claim.job_id, claim.chunk_no, claim.window_no + 1)
        intent = self.journal.intend(key, size)
        work.unbooked.append(intent)
        reach("deliver.before_turn")
        async with self.pool.connection() as conn:
            window = None
            if claim.next_position <= claim.last_position:
                window = await windows.turn_window(conn, claim, work.outcomes, size)
                self.witness.booked(claim, work.outcomes)
                work.outcomes = []
            if window is None:
                window = await windows.turn_to_retries(conn, claim, work.outcomes, size)
        reach("deliver.after_turn")
        self.booked(work, still_open=intent if window is not None else None)
        if window is not None:
            self.witness.opened(key._replace(window_no=window.window_no))
        work.lease.renewed(granted_at)
        return window

    async def book(self, work: Work) -> None:
        """Books the last window and opens none."""
        if work.window is None:
            return
        async with self.pool.connection() as conn:
            await windows.turn_window(conn, work.lease.claim, work.outcomes, 0)
        self.booked(work)

    def booked(self, work: Work, still_open: Intent | None = None) -> None:
        """What was known is committed: the journal may forget it, once the guard has seen the database beyond it."""
        self.witness.booked(work.lease.claim, work.outcomes)
        work.window, work.outcomes = None, []
        for intent in work.unbooked:
            if intent is not still_open:
                self.journal.booked(intent)
        work.unbooked = [still_open] if still_open else []

    async def settle(self, work: Work) -> None:
        """What is known of the own window is evidence, whoever has the chunk by now; nothing more may be begun."""
        claim = work.lease.claim

        async def book(conn: Connection) -> bool:
            if work.window is None:
                return True
            key = WindowKey(claim.account_id, claim.job_id, claim.chunk_no, work.window.window_no)
            if await roll_call.lost_windows(conn, claim.owner, [key]):
                self._distrust()
                return True
            return await windows.settle_window(conn, claim, work.window.window_no, work.outcomes)

        await self._insist(book)

    def _distrust(self) -> None:
        """The guard says what it means when it looks next; what is written down of the window is kept. Raises JournalFull."""
        self.trusts = False
        self.journal.set_aside(NEWER)

    async def recover(self, work: Work) -> None:
        """The work was interrupted, perhaps in the middle of a commit. Booking by evidence is right whether it came through
        or not; a window that was opened without our hearing of it was not touched, and goes back."""
        await self.settle(work)
        claim = work.lease.claim

        own: Claim | None = None

        async def give_back(conn: Connection) -> bool:
            nonlocal own
            own = own or await windows.fence_claim(conn, claim)
            untouched = await windows.untouched_window(conn, claim, work.window_no)
            if untouched is not None:
                await windows.settle_window(conn, claim, *untouched)
            if own is not None:
                await windows.release_chunk(conn, own)
            return True

        await self._insist(give_back)
        self.booked(work)

    async def _insist(self, act: Callable[[Connection], Awaitable[bool]]) -> None:
        """Until it is done, and the database back: what the gateway said is known nowhere else."""
        while True:
            try:
                async with self.pool.connection() as conn:
                    if await act(conn):
                        return
            except (Unavailable, psycopg.Error) as error:  # whatever the database says: no error of its makes this less true
                log.warning("what the gateway said could not be booked; trying again", error=str(error))
            await asyncio.sleep(DATABASE_RETRY_S)
