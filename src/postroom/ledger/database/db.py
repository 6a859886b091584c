"""The way to the database: the pool, what a server must be to be used, driver errors as ours, and LISTEN.

Promises:
- A connection from here is in autocommit, so one statement is one transaction; where several belong together the caller
  says `async with connection.transaction()`. Its time zone is UTC, and it is alive as far as this host has heard.
- A server that cannot keep our promises is refused at once: older than PostgreSQL 15, read-only, not UTF-8, or set so
  that a crash could lose what it had committed. So is a pooler that gives each transaction another connection: locks, LISTEN and
  settings of a session would be somebody else's there.
- What our settings are is asked of the server, not believed: a pooler may drop what a client says when it connects.
- A database that is not there becomes errors.Unavailable, which names host, port and database and never the password.
  Every other driver error (a violated constraint, a deadlock) passes unchanged: whoever wrote the statement knows its
  meaning.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from postroom.errors import NotFound, Unavailable

VERSION_MIN = 150000
CONNECT_TIMEOUT_S = 10
CHECKOUT_TIMEOUT_S = 30.0
PREPARE_AFTER_EXECUTIONS = 2
LISTEN_BACKOFF_S_MAX = 5.0
# A host that has vanished is noticed after about 45 s, instead of the two hours of the kernel's defaults.
# A process that was frozen, or whose host has vanished, in the middle of a transaction keeps its row locks: nobody could take
# over its chunk, and a cancel would wait for it. Ours never pause that long between two statements.
IDLE_IN_TRANSACTION_S_MAX = 5
KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 45_000}
# SQLSTATEs that mean "not now" of the whole server: connection, resources, shutdown, a standby that takes no writes, and
# that it hung up on a transaction that stood still.
UNAVAILABLE_CLASSES = ("08", "53", "57P", "28", "3D000", "25006", "25P03")

# remote_apply promises more than on; what promises less, for this role or database, is no matter of an operator's here.
SETTLE_IN = """
    SELECT set_config('synchronous_commit',
                      CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
           set_config('timezone', 'UTC', false), set_config('default_transaction_isolation', 'read committed', false),
           set_config('idle_in_transaction_session_timeout', %(idle_s)s, false),
           set_config('plan_cache_mode', %(plan_cache_mode)s, false)
"""
SAFE_COMMITS = ("on", "remote_apply")
PROBES = 5  # looks for transaction pooling
PROBE_S = 5.0

Connection = psycopg.AsyncConnection[TupleRow]

log = structlog.get_logger(__name__)


class Pool(AsyncConnectionPool[Connection]):
    """psycopg's pool, whose `connection()` turns an absent database into errors.Unavailable. Made by `open_pool`."""

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - as psycopg
        with translate(self.conninfo if isinstance(self.conninfo, str) else ""):
            async with super().connection(timeout) as connection:
                yield connection

    async def check_alive(self, connection: Connection) -> None:
        """At checkout: an idle connection with something to read was most likely closed by the server, so only then ask it.

        A system call and no round trip. Without it a restart of the server costs one error for each idle connection.
        """
        poll = select.poll()
        poll.register(connection.pgconn.socket, select.POLLIN)
        if poll.poll(0):
            try:
                await self.check_connection(connection)
            except psycopg.OperationalError:
                await self.check()  # the others are dead as well: one by one the pool would wait longer after each
                raise


async def open_pool(url: str, *, size_max: int, name: str, size_min: int = 1, unsafe: bool = False,
                    generic_plans: bool = False) -> Pool:
    """Open a pool on a server that was looked at first. Close it with `await pool.close()` or `async with`.

    `name` is the application_name that the server shows. `unsafe` accepts a server without fsync, for tests.
    `generic_plans` is for a worker, which says the same few statements thousands of times: planning each anew would cost as
    much as a tenth of the server's time. Raises Unavailable.
    """
    async with await connect(url, name=name) as connection:
        require_version(connection)
        await require_writable(connection, unsafe=unsafe)
    plan_cache_mode = "force_generic_plan" if generic_plans else "auto"
    pool = Pool(
        url,
        kwargs=_arguments(url, name),
        min_size=min(size_min, size_max),
        max_size=size_max,
        name=name,
        open=False,
        timeout=CHECKOUT_TIMEOUT_S,
        check=lambda connection: pool.check_alive(connection),
        configure=lambda connection: _settle_in(connection, plan_cache_mode),
    )
    with translate(url):
        await pool.open(wait=True, timeout=CHECKOUT_TIMEOUT_S)  # closes itself when it fails
    return pool


async def connect(url: str, *, name: str) -> Connection:
    """One connection outside the pool, with the same settings. Raises Unavailable, also for a pooler that keeps no session."""
    with translate(url):
        connection = await psycopg.AsyncConnection.connect(url, **_arguments(url, name))
        try:
            await _settle_in(connection)
            await _require_session(connection, url, name)
        except BaseException:
            await connection.close()
            raise
        return connection


async def _settle_in(connection: Connection, plan_cache_mode: str = "auto") -> None:
    """Gives a new connection our settings. Said by statements, since a pooler passes these on: what stands in the startup packet
    it may refuse or drop. Raises Unavailable where the server does not do as it is told."""
    await connection.set_autocommit(True)
    row = await (await connection.execute(SETTLE_IN, {
        "plan_cache_mode": plan_cache_mode, "idle_s": f"{IDLE_IN_TRANSACTION_S_MAX}s"})).fetchone()
    assert row is not None
    if row[0] not in SAFE_COMMITS:
        raise Unavailable(f"{_where(connection)} keeps synchronous_commit={row[0]}: a crash could make it forget mail that was "
                          "handed off, and it would be sent again. Let this role set it.")


async def _require_session(connection: Connection, url: str, name: str) -> None:
    """Refuse a pooler that may run two statements of a connection in two sessions of the server.

    It is told by what it does: while another client is in a transaction, the server's process must still be the same. Only who is
    behind a pooler is asked twice: the process that was named when we connected is then not the one that answers.
    """
    if await _backend(connection) == connection.info.backend_pid:
        return
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, **_arguments(url, name)) as other:
        await _answer(_backend(other), connection)
        for _ in range(PROBES):
            ours = await _answer(_backend(connection), connection)
            try:
                async with other.transaction():
                    await _backend(other)
                    now = await asyncio.wait_for(_backend(connection), PROBE_S)
            except (TimeoutError, psycopg.errors.DatabaseError):  # it has one session for both, or takes no transactions
                now = None
            if now != ours:
                raise Unavailable(
                    f"{_where(connection)} is reached through a pooler that may give each statement another session (transaction "
                    "or statement pooling). Set pool_mode = session for it, or name the server itself in POSTROOM_DATABASE_URL.")


async def _backend(connection: Connection) -> int:
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    assert row is not None
    return int(row[0])


async def _answer(asking: Coroutine[Any, Any, int], connection: Connection) -> int:
    try:
        return await asyncio.wait_for(asking, PROBE_S)
    except TimeoutError:
        raise Unavailable(f"{_where(connection)} is reached through a pooler that had no connection free for {PROBE_S:.0f} s. "
                          "Give it more (default_pool_size), or run fewer workers.") from None


def require_version(connection: Connection) -> None:
    """Refuse a server older than PostgreSQL 15."""
    version = connection.info.server_version
    if version < VERSION_MIN:
        raise Unavailable(
            f"{_where(connection)} is version {version // 10000}; Postroom needs PostgreSQL {VERSION_MIN // 10000} "
            "or newer. Upgrade it, or unset POSTROOM_DATABASE_URL to use the embedded one."
        )


async def require_writable(connection: Connection, *, unsafe: bool = False) -> None:
    """Refuse a server that takes no writes, cannot hold every name, or may forget commits (allowed if `unsafe`)."""
    cursor = await connection.execute(
        "SELECT current_setting('transaction_read_only'), current_setting('server_encoding'), "
        "current_setting('fsync'), current_setting('full_page_writes')"
    )
    row = await cursor.fetchone()
    assert row is not None
    read_only, encoding, fsync, full_page_writes = row
    where = _where(connection)
    if read_only == "on":
        raise Unavailable(f"{where} takes no writes (a standby, or set read-only). Name the primary in POSTROOM_DATABASE_URL.")
    if encoding != "UTF8":
        raise Unavailable(f"{where} stores text as {encoding}. Create the database with ENCODING 'UTF8'.")
    if not unsafe and "off" in (fsync, full_page_writes):
        raise Unavailable(
            f"{where} runs with fsync={fsync}, full_page_writes={full_page_writes}: after a crash it could forget "
            "mail that was handed off, and it would be sent again. Set both to on."
        )


@contextlib.contextmanager
def translate(url: str) -> Iterator[None]:
    """The one place where driver errors become ours: an absent database is Unavailable, an account that is gone is NotFound,
    anything else passes."""
    try:
        yield
    except (PoolTimeout, PoolClosed) as error:
        raise Unavailable(
            f"{describe(url)}: no connection became free ({error}). Either the server is away, or all connections "
            "of this process are busy."
        ) from error
    except psycopg.errors.ForeignKeyViolation as error:
        if not (error.diag.constraint_name or "").endswith("_account_id_fkey"):
            raise
        raise NotFound("There is no such account: it was deleted meanwhile.") from None
    except psycopg.errors.PipelineAborted:
        raise  # an OperationalError, but it is about the statement before
    except psycopg.OperationalError as error:
        if error.sqlstate is not None and not error.sqlstate.startswith(UNAVAILABLE_CLASSES):
            raise
        raise Unavailable(_sentence(url, error)) from error
    except psycopg.Error as error:
        if error.sqlstate is not None and error.sqlstate.startswith(UNAVAILABLE_CLASSES):
            raise Unavailable(_sentence(url, error)) from error
        raise


def describe(url: str) -> str:
    """The server of a URL in words, without the password. Raises Unavailable when the URL is none."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The driver's own message repeats the URL and with it the password.
        raise Unavailable(
            "POSTROOM_DATABASE_URL is no PostgreSQL URL. It looks like postgresql://user:password@host:5432/database."
        ) from None
    host, port = str(parts.get("host") or "localhost"), str(parts.get("port") or "5432")
    is_cut = "@" in str(parts.get("dbname")) or ("@" in host and host[0] != "/") or not port.replace(",", "").isdecimal()
    if "://" in url and is_cut:
        # A password with a bare @ or / is cut there, and its rest would be told as the host, port or database.
        raise Unavailable("POSTROOM_DATABASE_URL is no PostgreSQL URL. In its password, write @ as %40, / as %2F and : as %3A.")
    return f'PostgreSQL at {host}:{port}, database "{parts.get("dbname") or parts.get("user") or "postgres"}"'


def _where(connection: Connection) -> str:
    info = connection.info
    return f'PostgreSQL at {info.host}:{info.port}, database "{info.dbname}"'


# What libpq says when it cannot connect carries no SQLSTATE, so its words must do. First match wins.
_REMEDIES = (
    ("password authentication failed", "refused the user or the password. Correct them in POSTROOM_DATABASE_URL"),
    ("no password supplied", "wants a password. Put it into POSTROOM_DATABASE_URL"),
    ("no pg_hba.conf entry", "does not let this host in. Add it to the server's pg_hba.conf"),
    ("does not exist", "does not know that database or user. Create it, or correct POSTROOM_DATABASE_URL"),
    ("too many", "has no connection left. Raise max_connections there, or run fewer workers"),
    ("remaining connection slots", "has no connection left. Raise max_connections there, or run fewer workers"),
    ("refused", "is not listening. Start it, or correct host and port in POSTROOM_DATABASE_URL"),
    ("No such file", "is not listening. Start it, or correct the socket directory in POSTROOM_DATABASE_URL"),
    ("resolve host", "has a host name that cannot be resolved. Correct it in POSTROOM_DATABASE_URL"),
    ("starting up", "is starting up. Try again in a moment"),
    ("timeout", "did not answer in time. Is the host up, and is a firewall in between?"),
)


def _sentence(url: str, error: psycopg.Error) -> str:
    words = " ".join(str(error).split())
    remedy = next((remedy for mark, remedy in _REMEDIES if mark in words), "cannot be used now. Look at the server")
    return f"{describe(url)} {remedy.rstrip('?.')}{'?' if remedy.endswith('?') else '.'} It said: {words}"


def _arguments(url: str, name: str) -> dict[str, Any]:
    """What is settled before there is a connection; what the URL says of timeouts and keepalives stays."""
    describe(url)
    given = conninfo_to_dict(url)
    defaults = KEEPALIVE | {"connect_timeout": CONNECT_TIMEOUT_S}
    return {
        "prepare_threshold": PREPARE_AFTER_EXECUTIONS,
        "application_name": name,
        **{key: value for key, value in defaults.items() if key not in given},
    }


async def number(cursor: psycopg.AsyncCursor[tuple[Any, ...]]) -> int:
    """The one number that a statement returned."""
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Listening:
    """LISTEN is in force from here on. What was said before may have been missed: read the tables again."""


async def listen(
    url: str,
    channels: Sequence[str],
    *,
    name: str = "postroom listen",
) -> AsyncGenerator[psycopg.Notify | Listening, None]:
    """Notifications of the channels, for ever, on a connection of its own.

    Yields `Listening` first, and again after each reconnect; then psycopg.Notify (`channel`, `payload`). A lost server
    is waited for with backoff and full jitter. Use it within `contextlib.aclosing`. Raises Unavailable only for a URL
    that is none.
    """
    where = describe(url)
    failures = 0
    while True:
        try:
            async with await connect(url, name=name) as connection:
                for channel in channels:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                failures = 0
                yield Listening()
                # Closed before the connection is: the suspended iterator holds its lock.
                async with aclosing(connection.notifies()) as notices:
                    async for notice in notices:
                        yield notice
        except (psycopg.OperationalError, Unavailable) as error:
            failures += 1
            log.warning("lost the connection that listens", server=where, failures=failures, error=str(error))
        backoff_s = min(LISTEN_BACKOFF_S_MAX, 0.1 * 2 ** min(failures, 10))
        await asyncio.sleep(random.uniform(0, backoff_s))  # noqa: S311 - jitter
