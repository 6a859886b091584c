"""Where the parts are put together: database, pool, secrets, engine. The only door that knows the floors below flow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import structlog

from postroom.bounded.processes import IN_THREAD, Processes, Runs
from postroom.bounded.turns import Turns
from postroom.config import Settings
from postroom.domain.job import Status
from postroom.errors import PostroomError, Unavailable
from postroom.flow.account.deployment import Deployment
from postroom.flow.account.secrets import SecretBox
from postroom.flow.check.preflight import Checks
from postroom.flow.content.outgoing import OutgoingJobs
from postroom.flow.delivery.audit import AUDIT_EVERY_S, audit
from postroom.flow.delivery.deliver import Deliveries
from postroom.flow.delivery.guard import GUARD_EVERY_S, Guard, trust
from postroom.flow.delivery.journals import settle_dead_siblings
from postroom.flow.delivery.pacing import Paces
from postroom.flow.delivery.recover import SWEEP_EVERY_S, sweep
from postroom.flow.delivery.sessions import Sessions
from postroom.gateway.journal import Journal
from postroom.gateway.sandbox import server as sandbox
from postroom.gateway.sandbox.providers import script_of
from postroom.gateway.sandbox.record import tally
from postroom.gateway.sandbox.script import parse as parse_script
from postroom.ledger.database import db, system_user
from postroom.ledger.database.db import Listening, Pool
from postroom.ledger.database.embedded import EmbeddedPostgres
from postroom.ledger.database.engine import Engine
from postroom.ledger.database.installation import Installation
from postroom.ledger.database.migrate import migrate, pending
from postroom.ledger.database.system_user import SYSTEM_USER, RunsAs
from postroom.ledger.database.system_user import SystemUser as SystemUser
from postroom.ledger.database.system_user import hand_over as hand_over
from postroom.tasks import end

WEB_CONNECTIONS = 10
PROCESSES = ("postroom.doors.web_process", "postroom.doors.worker")
WORKED_ON_BY = ("postroom.doors.api.requests", "postroom.flow.job.submit", "postroom.flow.preview.try_out",
                "postroom.message.liquid.merge", "postroom.message.liquid.links")
FREEZES_AT_ONCE = 5  # one of an account, so that they never hold all the connections
KEPT_FOR_SHORT = 2  # of those, and of the processes
BOUNDED_PROCESSES = 6  # of which an account has one at work, and another while a job below its threshold is checked
# A session needs one only while it turns a window, a few milliseconds of each 200: ten serve a worker's hundred sessions.
WORKER_CONNECTIONS = 10
LEASE_RENEWALS = 3  # in the time of one lease
RESTART_AFTER_S = 1.0
JOURNAL_RETRY_S = 5.0
ROLL_CALL_EVERY_S = 1.0
# Pre-flights and slow messages compute in threads: the sessions get the interpreter back after this, and not after 5 ms.
SWITCH_S = 0.0005
DATABASE_LOOK_EVERY_S = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Postroom:
    """What the doors hand to flow."""

    settings: Settings
    pool: Pool
    deployment: Deployment

    @property
    def secrets(self) -> SecretBox:
        return self.deployment.secrets

    @property
    def url(self) -> str:
        """The database's, for a connection of one's own."""
        assert isinstance(self.pool.conninfo, str), "the pool was opened with a URL"
        return self.pool.conninfo


@contextlib.asynccontextmanager
async def database(settings: Settings) -> AsyncGenerator[str]:
    """The URL of a database that is up to date: yours, or the embedded one, which runs while somebody uses it."""
    if settings.database_url is not None:
        url = settings.database_url
        await migrate(url)
        yield url
        return
    async with embedded_of(settings) as embedded:
        await migrate(embedded.url)
        async with _kept_running(embedded):
            yield embedded.url


def embedded_of(settings: Settings) -> EmbeddedPostgres:
    return EmbeddedPostgres(settings.home, user=SYSTEM_USER if settings.user == "root" else settings.user)


async def runs_as(settings: Settings, *, may_create: bool = True) -> RunsAs:
    """As whom the web process and the workers of this installation run. Raises Unavailable."""
    data = embedded_of(settings).data if settings.database_url is None and has_database(settings) else None
    return await system_user.runs_as(settings.home.absolute(), data, settings.user, ", ".join(PROCESSES), may_create=may_create)


@contextlib.asynccontextmanager
async def _kept_running(embedded: EmbeddedPostgres) -> AsyncGenerator[None]:
    """A server of ours that dies (killed, out of memory) is started again, at the same address: pools find it there."""
    url = embedded.url

    async def look() -> None:
        if await embedded.start() != url:
            log.error("the embedded PostgreSQL came back at another address; restart postroom")

    keeper = asyncio.create_task(_every(DATABASE_LOOK_EVERY_S, look))
    try:
        yield
    finally:
        await end(keeper)


@contextlib.asynccontextmanager
async def opened(settings: Settings, *, name: str, connections: int = WEB_CONNECTIONS, generic_plans: bool = False,
                 bounded: Runs = IN_THREAD, freezing: Turns | None = None) -> AsyncGenerator[Postroom]:
    """Everything a short command or the web process needs. Raises Unavailable."""
    async with database(settings) as url, await db.open_pool(
            url, size_max=connections, name=f"postroom {name}", unsafe=settings.unsafe_database,
            generic_plans=generic_plans) as pool:
        yield Postroom(settings, pool, deployment(settings, bounded, freezing, pool))


@contextlib.asynccontextmanager
async def opened_for_many(settings: Settings) -> AsyncGenerator[Postroom]:
    """For the web process, at whose doors everybody's templates and lists come in: processes of its own work on them."""
    freezing = Turns(FREEZES_AT_ONCE, kept=KEPT_FOR_SHORT)
    with contextlib.closing(Processes(BOUNDED_PROCESSES, WORKED_ON_BY, kept=KEPT_FOR_SHORT)) as bounded:
        async with opened(settings, name="web", bounded=bounded, freezing=freezing) as postroom:
            yield postroom


def deployment(settings: Settings, bounded: Runs = IN_THREAD, freezing: Turns | None = None,
               pool: Pool | None = None) -> Deployment:
    """One for each process, since it remembers what gateways said. Raises Unavailable."""
    return Deployment(SecretBox(secret_key(settings)), helo_name=settings.helo_name, allow_plaintext=settings.allow_plaintext,
                      base_url=settings.base_url, allowed=settings.networks(), bounded=bounded, freezing=freezing, pool=pool)


def secret_key(settings: Settings) -> str:
    """The installation's key: given, or generated once and kept under the home for its owner only."""
    if settings.secret_key is not None:
        return settings.secret_key
    path = settings.home / "secret_key"
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write_key(path)
        key = path.read_text().strip()
    except OSError as error:
        raise Unavailable(f"The secret key in {path} cannot be read or made: {error.strerror}. Set POSTROOM_SECRET_KEY, "
                          "or name a POSTROOM_HOME that you may write.") from None
    if not key:
        raise Unavailable(f"{path} is empty. Remove it to have a new key made; "
                          "stored gateway passwords must then be given again.")
    return key


def _write_key(path: Path) -> None:
    """Written beside its place and linked into it: of several processes one wins, and none ever reads half a key."""
    draft = path.with_name(f"secret_key.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def has_secret_key(settings: Settings) -> bool:
    """Whether there is one already, given or generated before."""
    return settings.secret_key is not None or (settings.home / "secret_key").exists()


def has_database(settings: Settings) -> bool:
    """Whether there is one: yours, or an embedded one that was made before."""
    return settings.database_url is not None or embedded_of(settings).data.exists()


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """One worker process until `stop` is set: then it finishes its windows, gives the rest back, and returns."""
    from postroom.message.liquid import merge  # noqa: F401 - the templates' language takes 0.3 s to load: now, not in the first job

    sys.setswitchinterval(SWITCH_S)
    async with opened(settings, name="worker", connections=WORKER_CONNECTIONS, generic_plans=True) as postroom:
        pool, owner = postroom.pool, f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        directory = settings.home / "journal"
        guard = Guard(pool, directory, owner, lease_s=settings.lease_s)
        begun = await _begin(guard, stop)
        if begun is None:
            return
        installation, journal = begun
        deliveries = Deliveries(
            pool=pool, outgoing_jobs=OutgoingJobs(pool, postroom.deployment), sessions=Sessions(pool, owner, settings.lease_s),
            paces=Paces(pool), journal=journal, owner=owner, lease_s=settings.lease_s, retry_base_s=settings.retry_base_s,
            witness=guard.witness, beat=installation.beat)

        async def look_at_database() -> None:
            deliveries.trust(await guard.look())

        async def answer_roll_calls() -> None:
            if await guard.is_called():
                await look_at_database()

        async def settle_the_dead() -> None:
            await settle_dead_siblings(pool, directory, installation.id, retry_base_s=settings.retry_base_s)

        await _round(settle_the_dead)  # where leases ran out meanwhile, a claim or the sweep would know only doubt
        engine = Engine(pool, deliveries.deliver, Checks(pool, postroom.deployment).check, concurrency=settings.concurrency)
        besides = [asyncio.create_task(_every(seconds, act)) for seconds, act in (
            (settings.lease_s / LEASE_RENEWALS, deliveries.renew_leases),
            (settings.lease_s / LEASE_RENEWALS, deliveries.sessions.renew),
            (SWEEP_EVERY_S, engine.rescue),
            (SWEEP_EVERY_S, lambda: sweep(pool, give_up_s=settings.gateway_give_up_s, lease_s=settings.lease_s,
                                          retry_base_s=settings.retry_base_s)),
            (SWEEP_EVERY_S, settle_the_dead),
            (AUDIT_EVERY_S, lambda: audit(pool)),
            (SWEEP_EVERY_S, deliveries.sessions.close_idle),
            (GUARD_EVERY_S, look_at_database),
            (ROLL_CALL_EVERY_S, answer_roll_calls),
        )]
        besides.append(asyncio.create_task(_stop_jobs_that_may_not_go_on(postroom.url, deliveries)))
        drain = asyncio.create_task(_drain_when(stop, deliveries))
        try:
            await _run_engine(engine, stop)
        finally:
            await end(*besides, drain)
            await deliveries.sessions.close_idle(older_than_s=0)
            await _round(guard.last_look)
            journal.close()


async def _begin(guard: Guard, stop: asyncio.Event) -> tuple[Installation, Journal] | None:
    """A worker that cannot write what it has seen of the database, or its journal, sends nothing: it waits until it can, or None
    when it is told to stop."""
    while not stop.is_set():
        try:
            installation = await guard.first_look()
            guard.journal = Journal.open(guard.directory, installation.id, guard.owner, installation.beat)
            return installation, guard.journal
        except Unavailable as error:
            log.error("the worker waits", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), JOURNAL_RETRY_S)
    return None


async def _drain_when(stop: asyncio.Event, deliveries: Deliveries) -> None:
    await stop.wait()
    deliveries.draining = True


async def _run_engine(engine: Engine, stop: asyncio.Event) -> None:
    """The engine ends with an error when its database goes; the worker does not: it starts it again."""
    while not stop.is_set():
        try:
            await engine.run(stop)
        except Exception as error:  # whatever the engine died of, sending goes on when it can
            if stop.is_set():
                raise
            log.warning("the engine stopped and is started again", error=str(error))
            await asyncio.sleep(RESTART_AFTER_S)


async def _every(seconds: float, act: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await _round(act)


async def _round(act: Callable[[], Awaitable[object]]) -> None:
    """A round that fails is logged and does not end the rounds."""
    try:
        await act()
    except (PostroomError, psycopg.Error) as error:
        log.warning("a round was missed", what=getattr(act, "__qualname__", "round"), error=str(error))
    except Exception:  # a bug in one round must not end what keeps the rest alive
        log.exception("a round failed", what=getattr(act, "__qualname__", "round"))


async def _stop_jobs_that_may_not_go_on(url: str, deliveries: Deliveries) -> None:
    """A cancel or a pause reaches the sessions through NOTIFY, within milliseconds; without it, at the window's end by the
    epoch."""
    async with aclosing(db.listen(url, ["postroom_job"], name="postroom worker listens")) as notices:
        async for notice in notices:
            if not isinstance(notice, Listening):
                _account, job_id, happened = notice.payload.split(" ")
                is_over = happened != "paused" and Status(happened).is_over
                if is_over:
                    deliveries.witness.ended(int(job_id))
                if is_over or happened == "paused":
                    deliveries.stop_job(int(job_id))


# -- what the command line needs of the floors below -------------------------------------------------------------------


async def migrate_database(settings: Settings) -> list[str]:
    """Applies what is pending, and returns it. Raises Unavailable."""
    async with _server(settings) as url:
        return await migrate(url)


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What `check` says of a database that can be used. `pending` are the migrations that it lacks."""

    where: str
    version: str
    pending: list[str]


async def look_at_database(settings: Settings) -> DatabaseFacts | None:
    """Looks and changes nothing; None for an embedded one that does not exist yet.

    Raises Unavailable: not there, too old, takes no writes, or may forget what it committed.
    """
    if not has_database(settings):
        return None
    async with _server(settings) as url, await db.connect(url, name="postroom check") as connection:
        db.require_version(connection)
        await db.require_writable(connection, unsafe=settings.unsafe_database)
        version = connection.info.server_version
        return DatabaseFacts(db.describe(url), f"{version // 10000}.{version % 10000}", await pending(url))


@contextlib.asynccontextmanager
async def _server(settings: Settings) -> AsyncGenerator[str]:
    """The URL of the database as it is, not migrated."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    async with embedded_of(settings) as embedded:
        yield embedded.url


async def run_sandbox(*, script: str, provider: str, port: int, record: Path | None, keep: Path | None,
                      tls: ssl.SSLContext | None, implicit_tls: bool, credentials: tuple[str, str] | None,
                      started: Callable[[str, int], None]) -> None:
    """A sandbox gateway until cancelled, by a script or as a provider; `started` is told host and port. Raises InvalidInput,
    Unavailable."""
    answers = script_of(provider) if provider else parse_script(script)
    gateway = sandbox.Sandbox(script=answers, port=port, record=record, keep=keep or False, tls=tls,
                              implicit_tls=implicit_tls, credentials=credentials)
    await sandbox.serve(gateway, started=lambda one: started(one.host, one.port))


async def trust_database(settings: Settings, *, by: str) -> list[tuple[int, int]]:
    """A person says that this is the newest database there is. (account, job) of what goes on by that. Raises Unavailable."""
    async with opened(settings, name="trust") as postroom:
        trusted = await trust(postroom.pool, settings.home / "journal", by=by)
    if (user := (await runs_as(settings)).user) is not None:
        hand_over(settings.home, user)
    return trusted


def sandbox_tally(record: Path) -> tuple[int, int]:
    """(messages that a sandbox accepted, how many of them more than once), by its record file."""
    counted = tally(record)
    return counted.accepted, counted.accepted - counted.distinct
