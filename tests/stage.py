"""A small installation for tests: one database, a sandbox gateway on a socket, accounts, and workers in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from postroom.config import Settings
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status
from postroom.doors import wiring
from postroom.flow import accounts, report
from postroom.flow.secrets import SecretBox
from postroom.flow.submit import Submission, submit
from postroom.gateway.sandbox import Sandbox, Script
from postroom.ledger.db import Pool
from postroom.ledger.jobs import JobOverview
from postroom.message.template import Content

CONTENT = Content(subject="News for {{ name }}", html="<p>Hello {{ name }}</p>", text="Hello {{ name }}\n",
                  from_address="news@club.example", from_name="The Club")
PATIENCE_S = 60.0


def rows(count: int, start: int = 1) -> list[IncomingRow]:
    """Rows 2, 3, ... with different addresses."""
    return [IncomingRow(n + 1, f"person{n}@list.example", {"name": f"Person {n}"}) for n in range(start, start + count)]


@dataclass
class Stage:
    """What a story is told with."""

    pool: Pool
    url: str
    sandbox: Sandbox

    async def account(self, name: str = "Club", *, threshold: int = 100, connections: int = 4, port: int | None = None) -> int:
        account = await accounts.create_account(self.pool, name, approval_threshold=threshold)
        await accounts.create_gateway(self.pool, SecretBox("test"), account.id, name="main", host="127.0.0.1", security="none",
                                      port=port or self.sandbox.port, connections=connections)
        return account.id

    async def submit(self, account_id: int, list_rows: Iterable[IncomingRow] | int, **options: Any) -> JobOverview:
        content = options.pop("content", CONTENT)
        return await submit(self.pool, Submission(account_id, "tester", content, **options),
                            rows(list_rows) if isinstance(list_rows, int) else list_rows)

    def settings(self, **changes: Any) -> Settings:
        return Settings(database_url=self.url, secret_key="test", unsafe_database=True, **{
            "concurrency": 8, "lease_s": 3, "retry_base_s": 0.05, "helo_name": "worker.example", **changes})

    @contextlib.asynccontextmanager
    async def worker(self, **changes: Any) -> AsyncIterator[asyncio.Event]:
        """A worker in this process, drained at the end."""
        stop = asyncio.Event()
        working = asyncio.create_task(wiring.work(self.settings(**changes), stop))
        try:
            yield stop
        finally:
            stop.set()
            await working

    async def until(self, account_id: int, job_id: int, *statuses: Status) -> JobOverview:
        """Waits for one of the statuses with nothing left in hand; the identity is looked at all the while."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                view = (await report.report(self.pool, account_id, job_id)).job
                assert view.sent + view.failed + view.skipped + view.unconfirmed + view.unsent == view.recipient_count
                if view.status in statuses and view.in_hand == 0:
                    return view
                await asyncio.sleep(0.05)

    async def over(self, account_id: int, job_id: int) -> JobOverview:
        return await self.until(account_id, job_id, Status.COMPLETED, Status.CANCELLED, Status.FAILED)

    async def query(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return await (await conn.execute(statement, values)).fetchall()


@contextlib.asynccontextmanager
async def staged(pool: Pool, url: str, script: Script | None = None) -> AsyncIterator[Stage]:
    async with Sandbox(script=script or Script(), keep=True) as sandbox:
        yield Stage(pool, url, sandbox)
