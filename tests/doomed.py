"""A worker that will not live: with a journal and an open window, without a gateway. And what the guard of its machine does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg

from desk import Desk
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.flow.delivery.guard import Guard
from postroom.flow.delivery.journals import settle_dead_siblings
from postroom.gateway.journal import Intent, Journal, WindowKey
from postroom.ledger.database import installation
from postroom.ledger.database.db import Pool
from postroom.ledger.database.installation import Installation
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import Claim, InHand, Window
from postroom.ledger.job.jobs import JobOverview

OWNER = "host:1:abc"
STATES = """
    SELECT DISTINCT ON (position) position, kind::text, evidence::text, reply FROM outcome WHERE job_id = %s
    ORDER BY position, attempt_no DESC, evidence DESC"""
COUNTS = "SELECT sent, failed, unconfirmed, unsent FROM job_overview WHERE id = %s"


@dataclass
class Doomed:
    """A worker with a journal, in the middle of a window, without a gateway."""

    desk: Desk
    directory: Path
    job: JobOverview
    journal: Journal
    intent: Intent
    claim: Claim
    window: Window

    @property
    def key(self) -> WindowKey:
        return WindowKey(self.claim.account_id, self.claim.job_id, self.claim.chunk_no, self.window.window_no)

    def hand_over(self, one: InHand) -> None:
        self.journal.handing_over(self.intent, one.position, one.attempt_no)

    def hear(self, one: InHand, kind: Kind, code: int, text: str, refusals: int = 0) -> None:
        self.hand_over(one)
        self.journal.answered(self.intent, Outcome(one.position, one.attempt_no, kind, Evidence.REPLY, code, None, text,
                                                refusals=refusals))

    def die(self) -> Path:
        """The only segment that it leaves."""
        self.journal.close()
        (path,) = self.directory.glob("*.journal")
        return path

    async def settle(self) -> int:
        async with self.desk.pool.connection() as conn:
            now = await installation.look(conn)
        return await settle_dead_siblings(self.desk.pool, self.directory, now.id)

    async def states(self) -> list[tuple[str, str]]:
        return [(row[1], row[2]) for row in await self.desk.query(STATES, self.job.id)]

    async def counts(self) -> tuple[int, ...]:
        return (await self.desk.query(COUNTS, self.job.id))[0]


async def doomed(desk: Desk, directory: Path, *, size: int = 4, beat: int = 0) -> Doomed:
    """Its chunk has 4 recipients, the job 16."""
    account = await desk.account(threshold=10_000, connections=1)
    job = await desk.submit(account, 16)
    async with desk.pool.connection() as conn:
        now = await installation.look(conn)
        journal = Journal.open(directory, now.id, OWNER, beat)
        claim = await windows.claim_chunk(conn, account, job.id, owner=OWNER, lease_s=600)
        assert claim is not None
        intent = journal.intend(WindowKey(account, job.id, claim.chunk_no, claim.window_no + 1), size)
        window = await windows.turn_window(conn, claim, [], size)
    assert window is not None
    return Doomed(desk, directory, job, journal, intent, claim, window)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def lose(desk: Desk, statement: str) -> None:
    """As a standby that never received it. What is written once and never changed cannot be lost otherwise."""
    async with await psycopg.AsyncConnection.connect(desk.url, autocommit=True) as conn:
        await conn.execute("SET session_replication_role = replica")
        assert (await conn.execute(statement)).rowcount > 0


async def guard(pool: Pool, directory: Path, owner: str = OWNER) -> Installation:
    """One look of a worker of that machine."""
    return await Guard(pool, directory, owner, lease_s=30).look()


async def paused(desk: Desk) -> dict[int, str]:
    """The paused jobs, and by whom."""
    return dict(await desk.query("SELECT job_id, by FROM job_condition WHERE kind = 'paused'"))
