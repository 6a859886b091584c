"""The system user as whom root lets the embedded PostgreSQL, the web process and the workers run.

PostgreSQL refuses root, and what reads the mail, the lists and the templates of others needs none of its rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroom.errors import Unavailable

SYSTEM_USER = "postroom"
COMMAND_TIMEOUT_S = 700.0
# Nothing of the caller's PG* variables or locale may reach the server.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}
BECOME = ("import os, sys; uid, gid = map(int, sys.argv[1:3]); os.setgroups([]); os.setgid(gid); os.setuid(uid); os.chdir('/'); "
          "os.execv(sys.argv[3], sys.argv[3:])")


@dataclass(frozen=True, slots=True)
class SystemUser:
    """The system user that root drops to. None stands for "the current user" throughout."""

    name: str
    uid: int
    gid: int

    @classmethod
    async def choose(cls, data: Path | None, name: str = SYSTEM_USER) -> SystemUser | None:
        """The owner of existing data, else the user of that name; None when this process is not root. Raises Unavailable."""
        if os.geteuid() != 0:
            return None
        if data is not None:
            owner = os.stat(data)
            if owner.st_uid == 0:
                raise Unavailable(f"{data} belongs to root, as whom PostgreSQL does not run: chown -R {name}: {data}")
            return cls(_name(owner.st_uid), owner.st_uid, owner.st_gid)
        entry = _user(name)
        if entry is None and name != SYSTEM_USER:
            raise Unavailable(f"There is no user {name!r} on this machine. Create it, or correct POSTROOM_USER.")
        if entry is None:
            code, words = await run_as(
                None,
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--home-dir",
                "/nonexistent",
                "--shell",
                "/usr/sbin/nologin",
                SYSTEM_USER,
            )
            entry = _user(SYSTEM_USER)  # another process may have created it meanwhile, then useradd failed
            if entry is None:
                raise Unavailable(
                    f"The system user {SYSTEM_USER!r}, as whom root's PostgreSQL and workers run, could not be created "
                    f"(useradd ended with {code}: {words.strip()}). Create it, run Postroom as another user, "
                    "or set POSTROOM_USER to one that there is."
                )
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    @classmethod
    def known(cls, data: Path | None, name: str = SYSTEM_USER) -> SystemUser | None:
        """As `choose`, but nobody is created: None where there is no such user yet."""
        if data is not None:
            owner = os.stat(data)
            return cls(_name(owner.st_uid), owner.st_uid, owner.st_gid)
        entry = _user(name)
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid) if entry else None

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)

    def take_over(self, name: str, directory: int) -> None:
        """What root has made in an open directory becomes this user's. A link, or a file that has a second name, does not:
        somebody may have put it there to be given what it leads to."""
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        except OSError:
            return
        try:
            found = os.fstat(descriptor)
            is_plain = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
            if found.st_uid == 0 and is_plain:
                os.fchown(descriptor, self.uid, self.gid)
        finally:
            os.close(descriptor)

    def command(self, *command: str) -> tuple[str, ...]:
        """The command as this user, for whoever can start processes only as itself: it becomes the user first."""
        return (sys.executable, "-I", "-S", "-c", BECOME, str(self.uid), str(self.gid), *command)

    def environment(self) -> dict[str, str]:
        """What of a user's environment is its own: libpq looks below HOME, and fails where it may not."""
        entry = _user(self.name)
        return {"HOME": entry.pw_dir if entry else "/", "USER": self.name, "LOGNAME": self.name}


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@dataclass(frozen=True, slots=True)
class RunsAs:
    """As whom the web process and the workers run: `user`, or None for whoever starts them. `is_wrong`: that is root, and need
    not be; `told` says why."""

    user: SystemUser | None
    told: str
    is_wrong: bool = False


async def runs_as(home: Path, data: Path | None, name: str, modules: str, *, may_create: bool = True) -> RunsAs:
    """Where root starts them, the owner of the embedded `data`, which nobody else reaches, or else the user of that name.

    Whether that user can go to the home, and load `modules` by this very Python, is tried. Raises Unavailable.
    """
    if os.geteuid() != 0:
        return RunsAs(None, f"Web and workers run as {_name(os.geteuid())}, who starts them.")
    if name == "root":
        return RunsAs(None, "Web and workers run as root, because POSTROOM_USER says so.", is_wrong=True)
    user = SystemUser.known(data, name)
    if user is None and (may_create or name != SYSTEM_USER):
        user = await SystemUser.choose(data, name)
    if user is None:
        return RunsAs(None, f"Web and workers run as the system user {name}, who is made at the first start.")
    if user.uid == 0:
        return RunsAs(None, f"Web and workers run as root, to whom {data or name} belongs.", is_wrong=True)
    stays = f"Web and workers run as root, because {user.name} "
    if (await run_as(user, "/bin/sh", "-c", 'cd "$1"', "sh", str(_existing(home))))[0] != 0:
        return RunsAs(None, f"{stays}cannot enter {home}. Stop Postroom and move it to where others may pass, such as /var/lib.",
                      is_wrong=True)
    code, words = await run_as(user, sys.executable, "-c", f"import {modules}")
    if code != 0:
        said = (words.strip().splitlines() or [""])[-1]
        return RunsAs(None, f"{stays}cannot use {sys.executable} with what is installed there ({said}). Install Postroom where "
                      "others may read it, such as below /opt.", is_wrong=True)
    return RunsAs(user, f"Web and workers run as {user.name}.")


def _existing(path: Path) -> Path:
    """The path, or the nearest above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def hand_over(home: Path, user: SystemUser) -> None:
    """What that user needs of a home that root has made: the key, the journals, the way into the embedded database."""
    place = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir("journal", 0o700, dir_fd=place)
        for name in os.listdir(place):
            if name in ("journal", "secret_key", "pgpassword") or name.startswith("postgres."):
                user.take_over(name, place)
        journal = os.open("journal", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
        try:
            for name in os.listdir(journal):
                user.take_over(name, journal)
        finally:
            os.close(journal)
    finally:
        os.close(place)


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


async def run_as(account: SystemUser | None, *command: str) -> tuple[int, str]:
    """Run a command to its end and return its exit code and all that it wrote. 127: it could not be executed."""
    return await asyncio.to_thread(_run, account, command)  # uvloop cannot start a process as another user


def _run(account: SystemUser | None, command: tuple[str, ...]) -> tuple[int, str]:
    identity: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    try:
        # A session of its own: a Ctrl-C in the terminal is for Postroom, which stops the server last.
        done = subprocess.run(  # noqa: S603 - only this file and embedded.py name the commands
            command,
            cwd="/",
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            **identity,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode(errors="replace")
