"""Postroom itself as a contender: a whole job from the frozen list in PostgreSQL to the outcomes in PostgreSQL.

Promises: one database (embedded, made for this and thrown away), and for each job a fresh `postroom worker` process,
which is all that is counted as the sender. The clock is the job's own: `started_at` to `ended_at`, by the database. The
worker is up and waiting before the job is approved. Fails with `BenchmarkError` when a job ends other than completed
and wholly sent.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

from harness import BenchmarkError, Run
from process import cpu_seconds, rss_max_bytes
from sink import HOST, free_port, listening

CONNECTIONS = 20
POLL_S = 0.05
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
# A job that sends fewer than this is stuck, whatever the machine.
MESSAGES_PER_S_MIN = 500

# The command line of Postroom in a process where uvloop is not there: no setting that only a benchmark would use.
WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from postroom.doors.cli.main import main; main()"
WITH_UVLOOP = "from postroom.doors.cli.main import main; main()"


CONTACTS = """
    INSERT INTO contact (account_id, address, address_key, fields)
    SELECT %(account_id)s, address, address,
           json_build_object('first_name', 'Łukasz', 'last_name', 'Müller', 'city', 'Kraków',
                             'member_no', n, 'amount', n)
    FROM generate_series(1, %(rows)s) AS n, format('member%%s@recipient.example', n) AS address
"""

Connection = psycopg.AsyncConnection[tuple[object, ...]]

# What is asked of Postroom's own code, in this one place.


async def create_job(url: str, sink_port: int, recipients: int) -> int:
    """Freeze a job of `recipients` sample recipients that awaits approval, through `flow.submit`; its id.

    In an account of its own, whose gateway is 127.0.0.1:`sink_port`, plain, with `CONNECTIONS` connections; content is
    `sample.SUBJECT`, `sample.TEXT` and `sample.HTML`, recipient i is `sample.address(i)` with `sample.values(i)`.
    """
    raise NotImplementedError("flow.submit is not there yet")


async def approve_job(url: str, job_id: int) -> None:
    """Approve through `flow.approve`, which also starts it: the account has no other job."""
    raise NotImplementedError("flow.approve is not there yet")


async def create_access(url: str) -> Access:
    """An account with a gateway that is never spoken to, and an API key for it."""
    raise NotImplementedError("accounts and keys are not there yet")


def serve_arguments(port: int) -> list[str]:
    """The command line of `postroom` that serves web and API on 127.0.0.1:`port`."""
    raise NotImplementedError("postroom serve is not there yet")


async def create_job_from_contacts(url: str, account_id: int) -> int:
    """Freeze a job of all contacts of the account, through `flow.submit`; its recipient_count."""
    raise NotImplementedError("flow.submit is not there yet")


@dataclass(frozen=True)
class Access:
    """What a caller of the API needs: the account, its key, and the `message` part of a request (JSON)."""

    account_id: int
    key: str
    message: str


@dataclass(frozen=True)
class Server:
    """A running `postroom serve`."""

    pid: int
    base_url: str
    access: Access


class Postroom:
    """The database of the benchmark, for as long as the context lasts."""

    def __init__(self) -> None:
        self.url = ""
        self.home = Path()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        from postroom.ledger.embedded import EmbeddedPostgres

        # Not below a directory of root alone: the server runs as another user.
        self.home = Path(tempfile.mkdtemp(prefix="postroom-bench-", dir="/var/tmp"))
        self.home.chmod(0o711)
        self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        try:
            self.url = (await self._stack.enter_async_context(EmbeddedPostgres(self.home / "home"))).url
            await self._run_command("migrate")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def log(self) -> Path:
        return self.home / "postroom.log"

    def environment(self) -> dict[str, str]:
        """For every process of Postroom that the benchmark starts."""
        return os.environ | {"POSTROOM_DATABASE_URL": self.url, "POSTROOM_HOME": str(self.home / "home")}

    async def run_job(self, sink_port: int, recipients: int, uvloop: bool) -> Run:
        """Freeze, start a worker, approve, wait for the end."""
        job_id = await create_job(self.url, sink_port, recipients)
        async with (
            await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection,
            self._worker(connection, uvloop) as pid,
        ):
            cpu_before = cpu_seconds(pid)
            await approve_job(self.url, job_id)
            seconds = await _completed(connection, job_id, recipients)
            return Run(recipients, seconds, cpu_seconds(pid) - cpu_before, rss_max_bytes(pid))

    async def _run_command(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WITH_UVLOOP, *arguments, env=self.environment(),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise BenchmarkError(f"postroom {' '.join(arguments)} failed:\n{output.decode(errors='replace')[-2000:]}")

    @asynccontextmanager
    async def server(self) -> AsyncIterator[Server]:
        """`postroom serve` on a free port, with an account to upload to."""
        access, port = await create_access(self.url), free_port()
        async with self._running(WITH_UVLOOP, *serve_arguments(port)) as process:
            await listening(port, process, READY_TIMEOUT_S)
            yield Server(process.pid, f"http://{HOST}:{port}", access)

    async def freeze_from_contacts(self, rows: int) -> float:
        """Seconds to freeze a job of `rows` contacts, which are put there before the clock starts."""
        access = await create_access(self.url)
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(CONTACTS, {"account_id": access.account_id, "rows": rows})
            await connection.execute("ANALYZE contact")
        started = time.perf_counter()
        count = await create_job_from_contacts(self.url, access.account_id)
        seconds = time.perf_counter() - started
        if count != rows:
            raise BenchmarkError(f"the account has {rows} contacts, the job {count} recipients")
        return seconds

    @asynccontextmanager
    async def _worker(self, connection: Connection, uvloop: bool) -> AsyncIterator[int]:
        """One worker process, up and registered with the engine; its process id."""
        async with self._running(WITH_UVLOOP if uvloop else WITHOUT_UVLOOP, "worker") as process:
            await self._ready(connection, process)
            yield process.pid

    @asynccontextmanager
    async def _running(self, program: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process of Postroom, stopped politely at the end. What it says goes to `self.log`."""
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, *arguments, env=self.environment(), stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()

    async def _ready(self, connection: Connection, process: asyncio.subprocess.Process) -> None:
        """Until the engine has a row of this worker. The last one is gone: it was stopped politely."""
        for _ in range(int(READY_TIMEOUT_S / POLL_S)):
            if process.returncode is not None:
                break
            found = await connection.execute("SELECT FROM procrastinate_workers")
            if await found.fetchone() is not None:
                return
            await asyncio.sleep(POLL_S)
        words = self.log.read_text(errors="replace")[-2000:]
        raise BenchmarkError(f"postroom worker did not come up:\n{words}")


async def _completed(connection: Connection, job_id: int, recipients: int) -> float:
    """Wait for the end; the seconds from start to end by the database's clock."""
    deadline = asyncio.get_running_loop().time() + 30 + recipients / MESSAGES_PER_S_MIN
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL_S)
        found = await connection.execute(
            "SELECT status, reason, extract(epoch FROM ended_at - started_at)::float8 FROM job WHERE id = %s", (job_id,)
        )
        row = await found.fetchone()
        if row is None or row[0] in ("cancelled", "failed"):
            raise BenchmarkError(f"job {job_id} ended as {row and row[0]}: {row and row[1]}")
        if row[0] == "completed":
            sent = await connection.execute("SELECT sum(sent)::int FROM chunk WHERE job_id = %s", (job_id,))
            if await sent.fetchone() != (recipients,):
                raise BenchmarkError(f"job {job_id} is completed, but not all of its {recipients} recipients are sent")
            return float(str(row[2]))
    raise BenchmarkError(f"job {job_id} of {recipients} recipients did not end in time")
