"""The command as a person or a service manager runs it: `postroom` in a process of its own, `here` in this one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import pty
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from loopback import NETWORKS
from postroom.doors.cli.main import main

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


def environment(home: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTROOM_")}
    return kept | {"POSTROOM_HOME": str(home), "POSTROOM_HELO_NAME": "tests.example",
                   "POSTROOM_ALLOWED_NETWORKS": NETWORKS, **settings}


async def postroom(home: Path, *arguments: str, stdin: str = "", cwd: Path | None = None, **settings: str) -> Ended:
    """Run it to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "postroom.doors.cli.main", *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE,
        env=environment(home, **settings), cwd=cwd)
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return Ended(process.returncode, out.decode(), err.decode())


@contextlib.asynccontextmanager
async def running(home: Path, *arguments: str, until: str, **settings: str) -> AsyncIterator[tuple[Process, list[str]]]:
    """Run it until its output holds a line with `until`; the lines so far. Stopped at the end, if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "postroom.doors.cli.main", *arguments, stdin=DEVNULL, stdout=PIPE,
        env=environment(home, **settings))
    assert process.stdout is not None
    try:
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while not lines or until not in lines[-1]:
                line = await process.stdout.readline()
                assert line, f"ended before it said {until!r}: {lines}"
                lines.append(line.decode().strip())
        yield process, lines
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()


def is_alive(pid: int) -> bool:
    """Not even as a zombie: a container may have nobody who reaps orphans."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def here(home: Path, *arguments: str, stdin: str = "", **settings: str) -> Ended:
    """Run it in this process, in a thread of its own: quick, for commands that need no signals."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def command() -> int:
        try:
            main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
        return 0

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("POSTROOM_")]:
            patch.delenv(name)
        for name, value in ({"POSTROOM_HOME": str(home), "POSTROOM_ALLOWED_NETWORKS": NETWORKS} | settings).items():
            patch.setenv(name, value)
        for name, value in (("argv", ["postroom", *arguments]), ("stdout", out), ("stderr", err), ("stdin", given)):
            patch.setattr(sys, name, value)
        try:
            status = await asyncio.to_thread(command)
        finally:
            structlog.reset_defaults()
            root.handlers[:] = handlers
            root.setLevel(level)
    return Ended(status, out.getvalue(), err.getvalue())


class Terminal:
    """A command in a terminal of its own. `said` is all that it has shown."""

    def __init__(self, process: Process, descriptor: int) -> None:
        self.said = ""
        self._process, self._descriptor = process, descriptor
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # Linux says EIO where the other side is gone
            if octets := os.read(self._descriptor, 65536):
                self.said += octets.decode(errors="replace")
                self._more.set()
                return
        asyncio.get_running_loop().remove_reader(self._descriptor)

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    async def until(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.said:
                self._more.clear()
                await self._more.wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()


@contextlib.asynccontextmanager
async def in_terminal(home: Path, *arguments: str, **settings: str) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "from postroom.doors.cli.main import main; main()", *arguments, stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment(home, TERM="xterm", COLUMNS="120", **settings), start_new_session=True)
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
