"""Postroom itself as a contender: a whole job from the frozen list in PostgreSQL to the outcomes in PostgreSQL.

Promises: one database (embedded, made for this and thrown away), and for each job a fresh worker process, as
`postroom serve` starts it, which is all that is counted as the sender. The clock is the job's own: `started_at` to
`ended_at`, by the database. The worker is up, and the pre-flight behind it, before the job is approved. Fails with
`BenchmarkError` when a job ends other than completed and wholly sent.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import psycopg
import structlog

import peers
import sample
from harness import BenchmarkError, Run
from postroom.config import Settings
from postroom.domain.access import machine
from postroom.domain.audience import IncomingRow
from postroom.doors import wiring
from postroom.flow.account import accounts, gateways, keys
from postroom.flow.audience import contacts
from postroom.flow.audience.list_file import ListFile
from postroom.flow.content.preparing import Content, Submission
from postroom.flow.job.approve import approve
from postroom.flow.job.submit import JobOverview, submit
from postroom.ledger.database.embedded import EmbeddedPostgres
from process import cpu_seconds, rss_max_bytes
from sink import HOST, free_port, listening

# Standard output belongs to the figures.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

CONNECTIONS = 20
POLL_S = 0.05
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
# A job that sends fewer than this is stuck, whatever the machine.
MESSAGES_PER_S_MIN = 500

# A worker as `postroom serve` starts it, and the command line.
WORKER = "from postroom.doors.worker import main; main()"
POSTROOM = "from postroom.doors.cli.main import main; main()"
# In front of them: uvloop is not there. No setting that only a benchmark would use.
WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; "

Connection = psycopg.AsyncConnection[tuple[object, ...]]

CONTENT = Content(subject=sample.SUBJECT, html=sample.HTML, text=sample.TEXT,
                  from_address=sample.SENDER, from_name=sample.SENDER_NAME)

# What is asked of Postroom's own code, in this one place.


async def create_account(parts: wiring.Postroom, port: int) -> int:
    """An account of its own, whose gateway is 127.0.0.1:`port`, plain, with `CONNECTIONS` connections."""
    account = await accounts.create_account(parts.pool, f"Bench {secrets.token_hex(4)}")
    await gateways.create_gateway(parts.pool, parts.secrets, machine(account.id, "bench"), name="bench", host=HOST, port=port,
                                  security="none", connections=CONNECTIONS, signs_dkim=True)
    return account.id


def rows(count: int) -> Iterator[IncomingRow]:
    """Recipients 0, 1, ... of the sample, with all its values."""
    return (IncomingRow(index + 1, sample.address(index), sample.values(index)) for index in range(count))


async def create_job(parts: wiring.Postroom, account_id: int, recipients: Iterator[IncomingRow] | None) -> JobOverview:
    """A frozen job that awaits approval; None: of all contacts of the account."""
    return await submit(parts.pool, parts.deployment, Submission(machine(account_id, "bench"), CONTENT), recipients)


async def approve_job(parts: wiring.Postroom, account_id: int, job_id: int) -> None:
    """Also starts it: the account has no other job."""
    await approve(parts.pool, machine(account_id, "bench"), job_id)


async def create_access(parts: wiring.Postroom) -> Access:
    """An account with a gateway that is never spoken to, and an API key for it."""
    account_id = await create_account(parts, free_port())
    key = await keys.create_key(parts.pool, machine(account_id, "bench"), "bench")
    message = {"subject": sample.SUBJECT, "html": sample.HTML, "text": sample.TEXT,
               "from": {"address": sample.SENDER, "name": sample.SENDER_NAME}}
    return Access(account_id, key, msgspec.json.encode({"message": message}).decode())


def serve_arguments(port: int) -> list[str]:
    """The command line of `postroom` that serves web and API on 127.0.0.1:`port`."""
    return ["serve", "--port", str(port), "--workers", "0"]


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
        self.parts: wiring.Postroom
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # Not below a directory of root alone: the server runs as another user.
        self.home = Path(tempfile.mkdtemp(prefix="postroom-bench-", dir="/var/tmp"))
        self.home.chmod(0o711)
        self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        try:
            self.url = (await self._stack.enter_async_context(EmbeddedPostgres(self.home / "home"))).url
            settings = Settings(database_url=self.url, home=self.home / "home", allowed_networks="127.0.0.0/8")
            self.parts = await self._stack.enter_async_context(wiring.opened(settings, name="bench"))
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
        """For every process of Postroom that the benchmark starts. With bytecode: an installation compiles nothing anew."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return inherited | {"POSTROOM_DATABASE_URL": self.url, "POSTROOM_HOME": str(self.home / "home"),
                            "POSTROOM_ALLOWED_NETWORKS": "127.0.0.0/8"}

    async def run_job(self, receiver: peers.Server, recipients: int, *, uvloop: bool = True, workers: int = 1,
                      before: str = "") -> Run:
        """Into a fresh receiver: freeze, start the workers, let them check everybody, approve, wait for the end. What was sent
        must be what the receiver counts. `before` is Python that each worker runs first. CPU and memory are those of all
        workers."""
        async with receiver() as sink:
            account_id = await create_account(self.parts, sink.port)
            job = await create_job(self.parts, account_id, rows(recipients))
            async with (
                await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection,
                AsyncExitStack() as running,
            ):
                pids = [await running.enter_async_context(self._worker(connection, uvloop, before)) for _ in range(workers)]
                await _checked(connection, job.id, recipients)
                cpu_before = sum(map(cpu_seconds, pids))
                await approve_job(self.parts, account_id, job.id)
                seconds = await _completed(connection, job.id, recipients)
                run = Run(recipients, seconds, sum(map(cpu_seconds, pids)) - cpu_before, sum(map(rss_max_bytes, pids)))
            await sink.expect(run.messages)
            return run

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[int]:
        """A worker process for as long as the context lasts; its process id."""
        async with (await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection,
                    self._worker(connection, uvloop=True) as pid):
            yield pid

    async def run_preflight(self, recipients: int, workers: int) -> float:
        """Seconds in which so many workers, that are up already, make the message of everybody in a new job once."""
        account_id = await create_account(self.parts, free_port())
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection, AsyncExitStack() as running:
            for _ in range(workers):
                await running.enter_async_context(self._worker(connection, uvloop=True))
            job = await create_job(self.parts, account_id, rows(recipients))
            frozen = time.perf_counter()
            await _checked(connection, job.id, recipients)
            return time.perf_counter() - frozen

    @asynccontextmanager
    async def server(self) -> AsyncIterator[Server]:
        """`postroom serve` on a free port, with an account to upload to."""
        access, port = await create_access(self.parts), free_port()
        async with self._running(POSTROOM, *serve_arguments(port)) as process:
            await listening(port, process, READY_TIMEOUT_S)
            yield Server(process.pid, f"http://{HOST}:{port}", access)

    async def import_contacts(self, path: Path, rows: int) -> tuple[int, float]:
        """Makes the rows of a CSV file contacts of a new account, whose gateway is never spoken to; (account, seconds)."""
        account_id = await create_account(self.parts, free_port())
        started = time.perf_counter()
        with path.open("rb") as file:
            count, problems, _ = await contacts.import_contacts(self.parts.pool, machine(account_id, "bench"),
                                                                ListFile(file, "table"))
        seconds = time.perf_counter() - started
        if count != rows or problems:
            raise BenchmarkError(f"{rows} rows were imported, the account has {count} contacts: {problems[:3]}")
        return account_id, seconds

    async def freeze_from_contacts(self, account_id: int, rows: int) -> float:
        """Seconds to freeze a job of all contacts of the account."""
        started = time.perf_counter()
        job = await create_job(self.parts, account_id, None)
        seconds = time.perf_counter() - started
        if job.recipient_count != rows:
            raise BenchmarkError(f"the account has {rows} contacts, the job {job.recipient_count} recipients")
        return seconds

    @asynccontextmanager
    async def _worker(self, connection: Connection, uvloop: bool, before: str = "") -> AsyncIterator[int]:
        """One worker process, up and registered with the engine; its process id."""
        async with self._running(before + (WORKER if uvloop else WITHOUT_UVLOOP + WORKER)) as process:
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
        """Until the engine has the rows of one worker more: those of earlier ones are gone, they were stopped politely."""
        count = "SELECT count(*) FROM procrastinate_workers"
        before = await (await connection.execute(count)).fetchone()
        for _ in range(int(READY_TIMEOUT_S / POLL_S)):
            if process.returncode is not None:
                break
            if await (await connection.execute(count)).fetchone() != before:
                return
            await asyncio.sleep(POLL_S)
        words = self.log.read_text(errors="replace")[-2000:]
        raise BenchmarkError(f"postroom worker did not come up:\n{words}")


async def pre_flown(url: str, job_id: int, recipients: int) -> None:
    """Wait until the job can be approved."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await _checked(connection, job_id, recipients)


async def _checked(connection: Connection, job_id: int, recipients: int) -> None:
    """Wait until every recipient's message was made once, without a finding that refuses the job."""
    deadline = asyncio.get_running_loop().time() + 30 + recipients / MESSAGES_PER_S_MIN
    while asyncio.get_running_loop().time() < deadline:
        found = await connection.execute(
            "SELECT count(*) FILTER (WHERE findings IS NULL), bool_or(refuses) FROM preflight WHERE job_id = %s", (job_id,))
        left, refused = await found.fetchone() or (None, None)
        if refused:
            raise BenchmarkError(f"job {job_id} was found unfit to send")
        if left == 0:
            return
        await asyncio.sleep(POLL_S)
    raise BenchmarkError(f"job {job_id} was not checked in time")


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
