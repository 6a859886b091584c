"""A small installation for tests: one database, a sandbox gateway on a socket, accounts, and workers, here or as processes.

While a stage stands, a connection of its own looks every 100 ms whether each job's numbers add up (`Sampling`). A story ends
with `stage.sides(...)`: the gateway's truth record, the ledger recounted row by row, and the job's numbers, compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acting import acting
from loopback import DIALER, NETWORKS
from postroom.config import Settings
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status
from postroom.doors import wiring
from postroom.flow.account import accounts, gateways
from postroom.flow.account.deployment import Deployment
from postroom.flow.account.secrets import SecretBox
from postroom.flow.check.preflight import Checks
from postroom.flow.content.outgoing import OutgoingJobs
from postroom.flow.content.preparing import Submission
from postroom.flow.delivery.deliver import Deliveries
from postroom.flow.delivery.pacing import Paces
from postroom.flow.delivery.sessions import Sessions
from postroom.flow.job import approve, report
from postroom.flow.job.submit import submit
from postroom.gateway.journal import Journal
from postroom.gateway.sandbox.script import Script
from postroom.gateway.sandbox.server import Sandbox
from postroom.ledger.database.db import Pool
from postroom.ledger.job.jobs import JobOverview
from proofs.checker import Sampling, Sides, sides_of, taken_of
from proofs.content import CONTENT, rows
from proofs.installation import eventually

SECRET_KEY = "test"

OPEN_WINDOWS = """
    SELECT unnest(w.positions) FROM chunk c JOIN hand_off_window w USING (account_id, job_id, chunk_no, window_no)
    WHERE c.account_id = %s AND c.job_id = %s AND c.window_open
"""


@dataclass
class Stage:
    """What a story is told with."""

    pool: Pool
    url: str
    sandbox: Sandbox
    home: Path
    deployment: Deployment = field(default_factory=lambda: Deployment(
        SecretBox(SECRET_KEY), helo_name="worker.example", allowed=DIALER.allowed))

    # -- an installation and its jobs

    async def account(self, name: str = "Club", *, threshold: int = 100, connections: int = 4, port: int | None = None,
                      login: tuple[str, str] | None = None, signs_dkim: bool = True) -> int:
        account = await accounts.create_account(self.pool, name, approval_threshold=threshold)
        await self.gateway(account.id, connections=connections, port=port, login=login, signs_dkim=signs_dkim)
        return account.id

    async def gateway(self, account_id: int, name: str = "main", *, connections: int = 4, port: int | None = None,
                      login: tuple[str, str] | None = None, signs_dkim: bool = True) -> None:
        username, password = login or (None, None)
        await gateways.create_gateway(
            self.pool, SecretBox(SECRET_KEY), acting(account_id), name=name, host="127.0.0.1", security="none",
            port=port or self.sandbox.port, connections=connections, username=username, password=password,
            signs_dkim=signs_dkim)

    async def submit(self, account_id: int, list_rows: Iterable[IncomingRow] | int, **options: Any) -> JobOverview:
        content = options.pop("content", CONTENT)
        return await submit(self.pool, self.deployment, Submission(acting(account_id), content, **options),
                            rows(list_rows) if isinstance(list_rows, int) else list_rows)

    async def checked(self, account_id: int, list_rows: Iterable[IncomingRow] | int, **options: Any) -> JobOverview:
        """A job that can be approved, if it needs to be."""
        job = await self.submit(account_id, list_rows, **options)
        await self.check(job)
        return (await report.report(self.pool, acting(account_id), job.id)).job

    async def started(self, account_id: int, list_rows: Iterable[IncomingRow] | int, **options: Any) -> JobOverview:
        """A job that is past its gate."""
        job = await self.checked(account_id, list_rows, **options)
        if job.status is not Status.PENDING_APPROVAL:
            return job
        return await approve.approve(self.pool, acting(account_id, "boss"), job.id, digest=job.digest)

    async def check(self, job: JobOverview) -> None:
        """The pre-flight of a job, to its end."""
        async def done() -> bool:
            while await checks.check(job.account_id, job.id, True):
                pass
            found = await report.preflight_of(self.pool, acting(job.account_id), job.id)
            return found.is_done  # a worker may look at a part of it

        checks = Checks(self.pool, self.deployment)
        await eventually(done)

    # -- workers

    def settings(self, **changes: Any) -> Settings:
        return Settings(database_url=self.url, secret_key=SECRET_KEY, unsafe_database=True, home=self.home, **{
            "concurrency": 8, "lease_s": 3, "retry_base_s": 0.05, "helo_name": "worker.example",
            "allowed_networks": NETWORKS, **changes})

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

    @contextlib.asynccontextmanager
    async def worker_process(self, **changes: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker as a process of its own, to be treated badly; killed at the end if it is still there."""
        given = {"database_url": self.url, "secret_key": SECRET_KEY, "unsafe_database": "true", "home": self.home,
                 "concurrency": 8, "lease_s": 3, "retry_base_s": 0.05, "helo_name": "worker.example",
                 "allowed_networks": NETWORKS, **changes}
        environment = os.environ | {f"POSTROOM_{name.upper()}": str(value) for name, value in given.items()}
        with tempfile.TemporaryFile() as words:
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "postroom.doors.worker", env=environment,
                                                           stdout=words, stderr=words)
            try:
                yield process
            except BaseException:
                words.seek(0)
                print(words.read().decode(errors="replace"))
                raise
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                    await process.wait()

    @contextlib.asynccontextmanager
    async def deliveries(self, jobs: OutgoingJobs | None = None) -> AsyncIterator[Deliveries]:
        """A worker's deliveries with the engine left out: the test is the lane."""
        sessions = Sessions(self.pool, "tester", lease_s=30)
        journal = Journal.open(self.home / "journal", bytes(16), "tester", 0)
        yield Deliveries(self.pool, jobs or OutgoingJobs(self.pool, self.deployment), sessions, Paces(self.pool), journal,
                         owner="tester", lease_s=30, retry_base_s=0.01)
        await sessions.close_idle(older_than_s=0)
        journal.close()
        assert list(journal_files(self.home)) == [], "everything is booked"

    # -- waiting

    async def until(self, account_id: int, job_id: int, *statuses: Status) -> JobOverview:
        """Waits for one of the statuses with nothing left in hand."""
        async def there() -> JobOverview | None:
            view = (await report.report(self.pool, acting(account_id), job_id)).job
            return view if view.status in statuses and view.in_hand == 0 else None
        return await eventually(there)

    async def over(self, account_id: int, job_id: int) -> JobOverview:
        return await self.until(account_id, job_id, Status.COMPLETED, Status.CANCELLED, Status.FAILED)

    async def until_working(self, count: int) -> None:
        """So many workers are there: they hear what they are told, and take part."""
        async def there() -> bool:
            return (await self.query("SELECT count(*) FROM procrastinate_workers"))[0][0] >= count
        await eventually(there)

    async def until_accepted(self, count: int) -> None:
        """The middle of a send: the gateway has taken this many."""
        async def enough() -> bool:
            return self.sandbox.accepted >= count
        await eventually(enough, every_s=0.002)

    # -- looking

    async def query(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return await (await conn.execute(statement, values)).fetchall()

    async def open_windows(self, account_id: int, job_id: int) -> set[int]:
        """The positions that some worker has in hand now."""
        return {row[0] for row in await self.query(OPEN_WINDOWS, account_id, job_id)}

    def taken(self, job_id: int) -> Counter[int]:
        """What the gateway accepted of a job, by position, from its own record."""
        return taken_of((record.message_id for record in self.sandbox.records), job_id)

    async def sides(self, account_id: int, job_id: int) -> Sides:
        """The three sides. Fails unless they agree: everyone counted once, Sent is what the gateway has, and nobody twice."""
        sides = await sides_of(self.pool, account_id, job_id, self.taken)
        assert sides.faults() == []
        return sides


def journal_files(home: Path) -> Iterator[Path]:
    return (home / "journal").glob("*.journal")


@contextlib.asynccontextmanager
async def staged(pool: Pool, url: str, script: Script | None = None, **sandbox_options: Any) -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory() as home:
        async with (Sampling(url).watching() as sampling,
                    Sandbox(script=script or Script(), keep=True, **sandbox_options) as sandbox):
            yield Stage(pool, url, sandbox, Path(home))
    assert sampling.found == [], sampling.found[:5]
