"""Other states of a proof's database: a standby that streams from its server, behind by as much as is asked for, a backup, and a
dump. And what is left when a database goes on that does not know everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import psycopg
from psycopg import sql

from postroom.flow.delivery.guard import DOUBT
from postroom.gateway.dead_journals import dead_journals
from postroom.ledger.database.embedded import SOCKET_NAME, EmbeddedPostgres
from postroom.ledger.database.embedded_place import Binaries
from postroom.ledger.database.system_user import SystemUser
from postroom.ledger.job.jobs import JobOverview
from postroom.tasks import end
from proofs.installation import Place, eventually

STANDS_STILL = "stands still"
STREAMS = "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'"


@dataclass
class Standby:
    """Made by `standby`. `url` names both servers: whoever connects by it finds the one that takes writes."""

    server: EmbeddedPostgres
    url: str
    _holds: asyncio.Event = field(default_factory=asyncio.Event)

    def hold(self) -> None:
        """From now on it receives nothing more of what the primary commits."""
        self._holds.set()

    async def promote(self) -> None:
        """It goes on as the primary, with what it has."""
        async with await psycopg.AsyncConnection.connect(self.server.url, autocommit=True) as conn:
            await conn.execute("SELECT pg_promote()")


@contextlib.asynccontextmanager
async def standby(primary: EmbeddedPostgres, home: Path, *, synchronous: bool) -> AsyncIterator[Standby]:
    """It has caught up when it is given out. `home` is a directory that the server's user can pass through."""
    there = urlsplit(primary.url)
    front = home / "replication"
    data = home / "standby" / "pgdata"
    data.parent.mkdir(mode=0o711)
    front.mkdir(mode=0o777)
    shutil.copy(primary.home / "pgpassword", data.parent / "pgpassword")
    made = Standby(EmbeddedPostgres(data.parent), "")
    async with _passed_on(made, front, Path(unquote(parse_qs(there.query)["host"][0])) / SOCKET_NAME):
        await copied(primary, data, "-R", through=front)
        async with made.server:
            async with await psycopg.AsyncConnection.connect(primary.url, autocommit=True) as conn:
                async def streams() -> bool:
                    row = await (await conn.execute(STREAMS)).fetchone()
                    return bool(row and row[0])
                await eventually(streams)
                if synchronous:
                    await conn.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                    await conn.execute("SELECT pg_reload_conf()")
            hosts = ",".join(unquote(parse_qs(urlsplit(url).query)["host"][0]) for url in (primary.url, made.server.url))
            made.url = (f"postgresql://{there.username}:{there.password}@{there.path}?host={quote(hosts, safe=',')}"
                        "&port=5432,5432&target_session_attrs=read-write")
            yield made


async def copied(server: EmbeddedPostgres, data: Path, *options: str, through: Path | None = None) -> Path:
    """A base backup of it as it is when this returns: a data directory. `through` is the directory of another socket."""
    there = urlsplit(server.url)
    binaries = await Binaries.find(await SystemUser.choose(server.data))
    owner = server.data.stat()
    data.mkdir(mode=0o700)
    os.chown(data, owner.st_uid, owner.st_gid)
    identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    front = through or Path(unquote(parse_qs(there.query)["host"][0]))
    command = [binaries.path("pg_basebackup"), "-h", str(front), "-U", str(there.username), "-D", str(data), "-X", "stream",
               "-c", "fast", *options]
    environment = {"PGPASSWORD": unquote(there.password or ""), "PATH": os.environ["PATH"]}
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, cwd="/tmp", env=environment, **identity)
    return data


async def dumped(server: EmbeddedPostgres, dump: Path) -> Path:
    """What `pg_dump` sees of it: the state of when this is called."""
    await _run("pg_dump", "--format=custom", f"--file={dump}", server.url)
    return dump


async def loaded(dump: Path, home: Path, server: EmbeddedPostgres) -> Path:
    """The data directory of a new server that knows only the dump, and has the password of `server`."""
    async with EmbeddedPostgres(home) as fresh:
        await _run("pg_restore", "--exit-on-error", "--single-transaction", f"--dbname={fresh.url}", str(dump))
        async with await psycopg.AsyncConnection.connect(fresh.url, autocommit=True) as conn:
            await conn.execute(sql.SQL("ALTER ROLE postroom PASSWORD {}").format(unquote(urlsplit(server.url).password or "")))
    return fresh.data


async def _run(name: str, *options: str) -> None:
    binaries = await Binaries.find(await SystemUser.choose(None))
    await asyncio.to_thread(subprocess.run, [binaries.path(name), *options], check=True, capture_output=True)


@contextlib.asynccontextmanager
async def _passed_on(standby: Standby, front: Path, primary: Path) -> AsyncIterator[None]:
    """A socket through which the standby reaches the primary, until it is held."""
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, there = await asyncio.open_unix_connection(str(primary))
        except OSError:
            writer.close()
            return
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(_pass(reader, there, asyncio.Event()), _pass(back, writer, standby._holds))
        finally:
            writer.transport.abort()
            there.transport.abort()

    serving = set[asyncio.Task[None]]()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_unix_server(begin, str(front / SOCKET_NAME))
    (front / SOCKET_NAME).chmod(0o777)
    try:
        yield
    finally:
        server.close()
        await end(*serving)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, holds: asyncio.Event) -> None:
    while octets := await reader.read(65_536):
        if holds.is_set():
            continue  # read, and lost on the way
        writer.write(octets)
        await writer.drain()
    writer.close()


# -- when a database goes on that does not know everything -----------------------------------------------------------------


async def go_on_with(place: Place, data: Path) -> None:
    """The server stops at once, what it had is lost, and it starts on this data directory."""
    await place.stop_database_at_once()
    ours = place.server.data
    ours.rename(place.home / "lost")
    data.rename(ours)
    await place.server.start()


async def stands_still(place: Place, job: JobOverview) -> bool:
    """Whether it is paused for doubt of the database, and nobody has anything in hand."""
    return bool(await place.query(
        "SELECT 1 FROM job_condition c JOIN job_overview o ON o.id = c.job_id "
        "WHERE c.job_id = %s AND c.kind = 'paused' AND starts_with(c.reason, %s) AND o.in_hand = 0", job.id, DOUBT))


async def outcome(place: Place, job: JobOverview) -> str:
    """What became of the job, when nobody has anything in hand; nothing before."""
    if await stands_still(place, job):
        return STANDS_STILL
    return "over" if await place.is_over(job) else ""


async def named_in_journals(place: Place, job: JobOverview) -> set[int]:
    """The positions that are named in journals which were set aside, on any machine, or left by who is dead."""
    reading = place.home / "reading"
    reading.mkdir()
    for number, path in enumerate(place.home.glob("*/journal/*.journal*")):
        shutil.copy(path, reading / f"{number}-{path.name.partition('.')[0]}.journal")
    [[whose]] = await place.query("SELECT uuid_send(id) FROM installation")
    named = set()
    for dead in dead_journals(reading, bytes(whose)):
        named |= {position for key, attempts in dead.windows.items() if key.job_id == job.id for position, _ in attempts}
        dead.release()
    return named
