"""An installation to torment: a PostgreSQL, a gateway that writes the truth before it answers, and worker processes.

    async with installed() as place:
        await place.hire(3)
        job = await place.sending(3_000)
        ...                                  kill, freeze, cut off
        await place.over(job)
        await place.dismiss()
        await place.faults(job, await place.sides(job), unconfirmed_max=12)

The gateway is a process of its own (`postroom sandbox --record`), which nothing here harms. While a place stands, the numbers of
every job are sampled each 100 ms, and a part of them recounted. All of it is on this machine, under one temporary directory, and
ends with the block.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import psycopg
import trustme

from postroom.config import Settings
from postroom.domain.access import machine
from postroom.doors import wiring
from postroom.doors.app import create_app
from postroom.doors.process import UNTIL_STDIN_ENDS
from postroom.doors.wiring import Postroom
from postroom.errors import Unavailable
from postroom.flow.account import accounts, gateways, keys
from postroom.flow.account.deployment import Deployment
from postroom.flow.account.secrets import SecretBox
from postroom.flow.content.preparing import Submission
from postroom.flow.job import approve, report
from postroom.flow.job.submit import submit
from postroom.gateway.dead_journals import dead_journals
from postroom.gateway.journal import HEADER
from postroom.gateway.sandbox.record import Record
from postroom.ledger.database import db
from postroom.ledger.database.db import Pool
from postroom.ledger.database.embedded import EmbeddedPostgres
from postroom.ledger.database.embedded_place import is_postmaster
from postroom.ledger.database.migrate import migrate
from postroom.ledger.job.jobs import JobOverview
from proofs.checker import SAMPLES_PER_RECOUNT, Sampling, Sides, api_faults, journal_faults, sides_of, taken_of
from proofs.content import CONTENT, rows
from proofs.forge import Forge, Worker, forging

PATIENCE_S = 60.0
SECRET_KEY = "proof"
HOME_PREFIX = "postroom-proof-"
SAMPLES_PER_RECOUNT_OF_MANY = 100
ABANDONED_AFTER_S = 600
JOBS_MAX = 1_000_000  # of one place
MANY = 20_000  # recipients: recounting their outcomes takes a while
TROUBLE = re.compile(r"PANIC|terminat|crash|shutdown request|lock file|interrupted")
TROUBLES_SHOWN = 40
LOGIN = ("prover", "open sesame")


@contextlib.asynccontextmanager
async def fresh_server(*, durable: bool = False) -> AsyncIterator[tuple[Path, EmbeddedPostgres]]:
    """A directory below /tmp and a database server in it, without any table. Both are gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix=HOME_PREFIX, dir="/tmp"))
    home.chmod(0o711)  # the server's system user passes through
    try:
        async with EmbeddedPostgres(home / "database", durable=durable) as server:
            try:
                yield home, server
            finally:
                print(troubles_of(server), end="", file=sys.stderr)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def troubles_of(server: EmbeddedPostgres) -> str:
    """What its log says of ends, of its own and of connections: why they were lost. Its directory is gone afterwards."""
    with contextlib.suppress(OSError):
        lines = [line for line in server.log_path.read_text(errors="replace").splitlines() if TROUBLE.search(line)]
        return "".join(f"The server's log: {line}\n" for line in lines[-TROUBLES_SHOWN:])
    return ""


async def eventually(look: Callable[[], Any], *, every_s: float = 0.05, patience_s: float = PATIENCE_S) -> Any:
    """What `look` finds, as soon as it finds something."""
    async with asyncio.timeout(patience_s):
        while not (found := await look()):  # noqa: ASYNC110 - it happens in another process, or in the database
            await asyncio.sleep(every_s)
        return found


def moments(draw: random.Random, rounds: int, count: int) -> list[int]:
    """When to strike: after how many accepted messages. The last fifth is left, so that there is something to go on with."""
    return sorted(draw.randrange(1, count * 4 // 5) for _ in range(rounds))


@dataclass
class Truth:
    """The gateway's record: what it accepted, whatever anybody else believes."""

    path: Path
    port: int
    _read_to: int = 0
    _message_ids: list[str] = field(default_factory=list)
    _refused: dict[str, set[str]] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Messages so far."""
        with self.path.open("rb") as lines:
            lines.seek(self._read_to)
            new = lines.read()
        whole = new[:new.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for record in (msgspec.json.decode(line, type=Record) for line in whole.splitlines()):
            if not record.refused:
                self._message_ids.append(record.message_id)
                continue
            for address in record.rcpt:
                self._refused.setdefault(address, set()).add(record.refused)
        return len(self._message_ids)

    def taken(self, job_id: int) -> Counter[int]:
        """By position, how often it was accepted."""
        assert self.accepted >= 0
        return taken_of(self._message_ids, job_id)

    def refused(self, address: str) -> set[str]:
        """What it said each time when it refused it."""
        assert self.accepted >= 0
        return self._refused.get(address, set())

    async def until(self, count: int) -> None:
        """The middle of a send: the gateway has taken this many. Only when it takes no more for a minute, TimeoutError."""
        while (before := self.accepted) < count:
            await eventually(lambda before=before: self._has_more_than(before), every_s=0.005)

    async def _has_more_than(self, before: int) -> bool:
        return self.accepted > before


@dataclass
class Place:
    """A standing installation. Made by `installed`."""

    home: Path
    server: EmbeddedPostgres
    pool: Pool
    truth: Truth
    forge: Forge
    settings: Settings
    sampling: Sampling
    account_id: int = 0
    crew: list[Worker] = field(default_factory=list)

    @property
    def journals(self) -> Path:
        return self.settings.home / "journal"

    # -- workers

    async def hire(self, workers: int) -> None:
        """So many more worker processes."""
        for _ in range(workers):
            self.crew.append(await self.forge.worker(self.settings.environment()))

    async def at_work(self, workers: int) -> None:
        """Until so many have begun. Machines that have never seen the database join those that are at work on it."""
        async def begun() -> bool:
            [[count]] = await self.query("SELECT count(*) FROM worker")
            return bool(count >= workers)
        await eventually(begun)

    async def replace(self, worker: Worker) -> None:
        """Kills it, and starts another one in its place."""
        await worker.kill()
        self.crew[self.crew.index(worker)] = await self.forge.worker(self.settings.environment())

    async def kill_all(self) -> None:
        for worker in self.crew:
            worker.send(signal.SIGKILL)
        for worker in self.crew:
            await worker.ended()
        self.crew.clear()

    async def dismiss(self) -> None:
        """Everybody is told to stop, and drains."""
        await asyncio.gather(*(worker.stop() for worker in self.crew))
        self.crew.clear()

    async def lose_journals(self) -> None:
        """With all that the machine has seen of the database, as a lost disk takes it. A person says that it is the newest."""
        shutil.rmtree(self.journals, ignore_errors=True)  # workers may have had no time to make it
        await wiring.trust_database(self.settings, by="prover")

    # -- the database

    async def stop_database_at_once(self) -> None:
        """As `pg_ctl stop -m immediate`: nothing is finished, nobody is told; `server.start()` recovers from its log."""
        postmaster = int((self.server.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGQUIT)

        async def gone() -> bool:
            return not is_postmaster(postmaster, self.server.data)
        await eventually(gone, every_s=0.01)

    # -- jobs

    async def sending(self, count: int, *, by: str = "boss") -> JobOverview:
        """A new job that is past its gate. Workers look at its list, so some must be there."""
        job = await submit(self.pool, self.deployment, Submission(machine(self.account_id, "prover"), CONTENT), rows(count))
        await eventually(lambda: self.is_checked(job))
        return await approve.approve(self.pool, machine(self.account_id, by), job.id, digest=job.digest)

    async def is_checked(self, job: JobOverview) -> bool:
        """Whether it can be approved."""
        return (await report.preflight_of(self.pool, machine(job.account_id, "proof"), job.id)).is_done

    async def is_over(self, job: JobOverview) -> bool:
        """Whether it has ended, nothing of it is in hand, and what dead workers knew of it is told."""
        view = (await report.report(self.pool, machine(job.account_id, "proof"), job.id)).job
        return view.status.is_over and view.in_hand == 0 and await self.dead_are_settled()

    @property
    def deployment(self) -> Deployment:
        return wiring.deployment(self.settings)

    async def over(self, job: JobOverview) -> None:
        """Until it is over. TimeoutError when the gateway takes no more for a minute."""
        ended = False
        while not ended:
            before = self.truth.accepted

            async def moves(before: int = before) -> bool:
                nonlocal ended
                with contextlib.suppress(Unavailable):
                    ended = await self.is_over(job)
                return ended or self.truth.accepted > before
            await eventually(moves)

    async def dead_are_settled(self) -> bool:
        """Whether their siblings have read all journals of dead workers."""
        for dead in dead_journals(self.journals, await self._installation()):
            dead.release()
            return False
        return True

    # -- looking

    def journals_of(self, worker: Worker) -> list[Path]:
        """Those that are there. Their owner's name is in their headers, and its number is part of that."""
        found = []
        for path in self.journals.glob("*.journal"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as journal:  # somebody has just settled it
                *_, owner = HEADER.unpack(journal.read(HEADER.size))
                found += [path] * (f":{worker.pid}:".encode() in owner)
        return found

    async def sides(self, job: JobOverview) -> Sides:
        return await sides_of(self.pool, job.account_id, job.id, self.truth.taken, self.truth.refused)

    async def faults(self, job: JobOverview, sides: Sides, *, unconfirmed_max: int | None = None) -> list[str]:
        """What truth, ledger, journals, events, samples and API say against each other, when all workers are gone."""
        found = sides.faults(unconfirmed_max) + self.sampling.found[:5]
        found += journal_faults(self.journals, await self._installation(), sides)
        key = await keys.create_key(self.pool, machine(job.account_id, "proof"), f"of job {job.id}")
        app = create_app(Postroom(self.settings, self.pool, self.deployment))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://postroom") as client:
            answer = await client.get(f"/api/v1/jobs/{job.id}", headers={"Authorization": f"Bearer {key}"})
        return found + api_faults(answer.raise_for_status().json(), sides)

    async def _installation(self) -> bytes:
        [[installation]] = await self.query("SELECT uuid_send(id) FROM installation")
        return bytes(installation)

    async def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return await (await conn.execute(statement, values)).fetchall()

    def words(self) -> str:
        """The end of each worker's log, for who has to find out what happened."""
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2_000:]}" for path in sorted(self.home.glob("*.log")))


@contextlib.asynccontextmanager
async def installed(**options: Any) -> AsyncIterator[Place]:
    """One place; the options are those of `several`."""
    async with several(1, **options) as [place]:
        yield place


@contextlib.asynccontextmanager
async def several(count: int, *, connections: int = 8, concurrency: int = 4, script: str = "", recipients: int = 0,
                  durable: bool = False, lease_s: float = 2.0, secured: bool = False) -> AsyncIterator[list[Place]]:
    """Places that have a database server, a gateway and a forge in common, and nothing else.

    Each has an account whose gateway takes `connections` at once, `secured` only by TLS and with a login. Workers have
    `concurrency` sessions each.
    """
    settings = Settings(unsafe_database=not durable, secret_key=SECRET_KEY, concurrency=concurrency, lease_s=lease_s,
                        retry_base_s=0.05, helo_name="worker.example", allowed_networks="127.0.0.0/8")
    async with fresh_server(durable=durable) as (home, server):
        authority = home / "authority.pem" if secured else None
        urls = await _databases(server.url, count)
        asks = _certified(authority) if authority else ()
        async with (truthful(home / "truth.jsonl", script, *asks) as truth, forging(home, trusts=authority) as forge,
                    contextlib.AsyncExitStack() as stack):
            places = []
            for number, url in enumerate(urls):
                pool = await db.open_pool(url, size_max=8, name="postroom proof", unsafe=not durable)
                await stack.enter_async_context(pool)
                samples = SAMPLES_PER_RECOUNT_OF_MANY if recipients > MANY else SAMPLES_PER_RECOUNT
                sampling = await stack.enter_async_context(Sampling(url, samples).watching())
                own = msgspec.structs.replace(settings, database_url=url, home=home / f"home-{number}")
                own.home.mkdir()
                place = Place(home, server, pool, truth, forge, own, sampling)
                place.account_id = await account(pool, truth.port, connections, secured=secured)
                places.append(place)
            try:
                yield places
            except BaseException:
                print(places[0].words(), file=sys.stderr)
                raise


async def sweep() -> None:
    """Ends what proofs that were killed have left behind. Those of a running one are left alone: it uses its server."""
    for home in Path("/tmp").glob(f"{HOME_PREFIX}*"):
        server = EmbeddedPostgres(home / "database")
        await server.stop()
        with contextlib.suppress(OSError):  # its own run was just about to
            if not (server.data / "postmaster.pid").exists() and time.time() - home.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(home)


async def _databases(url: str, count: int) -> list[str]:
    """The server's own, migrated, and copies of it. No two of them give a job the same number, as the gateway sees them all."""
    await migrate(url)
    urls = [urlsplit(url)._replace(path=f"/{name}").geturl() for name in ("postroom", *(f"copy_{n}" for n in range(1, count)))]
    async with await psycopg.AsyncConnection.connect(urlsplit(url)._replace(path="/postgres").geturl(), autocommit=True) as conn:
        for number in range(1, count):
            await conn.execute(f"CREATE DATABASE copy_{number} TEMPLATE postroom")
    for number, one in enumerate(urls):
        async with await psycopg.AsyncConnection.connect(one, autocommit=True) as conn:
            await conn.execute(f"ALTER TABLE job ALTER COLUMN id RESTART WITH {number * JOBS_MAX + 1}")
    return urls


async def account(pool: Pool, port: int, connections: int, *, host: str = "127.0.0.1", name: str = "Club",
                  secured: bool = False) -> int:
    made = await accounts.create_account(pool, name, approval_threshold=1)
    await gateway(pool, made.id, port, connections, host=host, replace=False, secured=secured)
    return made.id


async def gateway(pool: Pool, account_id: int, port: int, connections: int, *, host: str = "127.0.0.1",
                  replace: bool = True, secured: bool = False) -> None:
    """The account's only one, in place of the one before."""
    username, password = LOGIN if secured else (None, None)
    await gateways.create_gateway(pool, SecretBox(SECRET_KEY), machine(account_id, "proof"), name="main", host=host, port=port,
                                  security="starttls" if secured else "none", username=username, password=password,
                                  connections=connections, signs_dkim=True, replace=replace)


def _certified(authority: Path) -> tuple[str, ...]:
    """What a gateway is told that speaks TLS and asks for the login. Its authority is made and written there."""
    made, certificate = trustme.CA(), authority.with_name("gateway.pem")
    made.cert_pem.write_to_path(authority)
    made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    return "--tls", str(certificate), "--login", LOGIN[0], "--password-stdin"


@contextlib.asynccontextmanager
async def truthful(record: Path, script: str, *asks: str) -> AsyncIterator[Truth]:
    """A sandbox gateway in a process of its own, which records each message before the reply that accepts it."""
    record.touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "postroom.doors.cli.main", "sandbox", "--port", "0", "--record", str(record),
        "--script", script, *asks, UNTIL_STDIN_ENDS, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    if "--password-stdin" in asks:
        process.stdin.write(LOGIN[1].encode() + b"\n")
    assert process.stdout is not None
    try:
        listening = re.search(rb"127\.0\.0\.1:(\d+)", await process.stdout.readline())
        assert listening, "the gateway did not start"
        yield Truth(record, int(listening[1]))
    finally:
        process.stdin.close()
        await process.wait()
