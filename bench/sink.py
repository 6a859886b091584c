"""The servers that contenders send to: Postfix's `smtp-sink`, one that is never the limit, and either of them far away.

Promises: a fresh sink on a free loopback port for each run, and the number of messages that it accepted, so that no
contender is believed on its own word. Fails with `MissingError` when the tool is not installed and with
`BenchmarkError` when it does not come up or did not get what a contender says it sent.

The running counters (`-c`) cost nothing that can be measured (40,000 messages at 10 KB: 1.05 s with and without).
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import BenchmarkError, MissingError

HOST = "127.0.0.1"
SERVERS = Path(__file__).parent / "servers"
BACKLOG = 512
SESSIONS_MAX = 256
START_TIMEOUT_S = 5.0
SETTLE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Sink:
    """A running smtp-sink."""

    port: int
    counters: Path
    settle_timeout_s: float = SETTLE_TIMEOUT_S

    def accepted(self) -> int:
        """Messages that the sink has answered 250 to, from the last line of its counters."""
        last = self.counters.read_bytes()[-200:].replace(b"\r", b"\n")
        found = re.findall(rb"mesg=(\d+)\n", last)
        return int(found[-1]) if found else 0

    async def expect(self, messages: int) -> None:
        """Raise unless the sink took exactly `messages`."""
        for _ in range(int(self.settle_timeout_s / 0.05)):
            if self.accepted() >= messages:
                break
            await asyncio.sleep(0.05)
        if self.accepted() != messages:
            raise BenchmarkError(f"the contender reports {messages} messages, the sink accepted {self.accepted()}")


def postfix_tool(name: str) -> str:
    """The path of a Postfix tool. Debian installs them where only root's PATH looks."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/lib/postfix/sbin")
    if path is None:
        raise MissingError(f"{name} is not installed (Debian package postfix; `make bench` installs it)")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def smtp_sink() -> AsyncIterator[Sink]:
    """A fresh smtp-sink, stopped at the end. Takes up to `SESSIONS_MAX` connections at once."""
    command = [postfix_tool("smtp-sink"), "-c", "-m", str(SESSIONS_MAX)]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]
    port = free_port()
    async with _listener(port, *command, f"{HOST}:{port}", str(BACKLOG)) as counters:
        yield Sink(port, counters)


@asynccontextmanager
async def fast_sink() -> AsyncIterator[Sink]:
    """A fresh sink of ours (`servers/fast_sink.c`), which takes several times what smtp-sink takes. Raises MissingError."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise MissingError("there is no C compiler (cc), and the sink that is never the limit is written in C")
    with tempfile.TemporaryDirectory() as folder:
        program, port = Path(folder) / "fast_sink", free_port()
        made = await asyncio.create_subprocess_exec(compiler, "-O2", "-o", str(program), str(SERVERS / "fast_sink.c"))
        if await made.wait() != 0:
            raise BenchmarkError("fast_sink.c could not be compiled")
        async with _listener(port, str(program), str(port)) as counters:
            yield Sink(port, counters)


@asynccontextmanager
async def far_sink(round_trip_s: float) -> AsyncIterator[Sink]:
    """A fresh smtp-sink at the other end of a line on which every octet takes half of `round_trip_s`."""
    async with smtp_sink() as near:
        port = free_port()
        async with _listener(port, sys.executable, str(SERVERS / "delay.py"), str(port), str(near.port),
                             str(round_trip_s / 2)):
            yield Sink(port, near.counters)


@asynccontextmanager
async def _listener(port: int, *command: str) -> AsyncIterator[Path]:
    """A process that listens on the port, stopped at the end, and the file of what it says."""
    with tempfile.TemporaryFile() as errors, tempfile.NamedTemporaryFile(prefix="sink-") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=errors)
        try:
            await listening(port, process, START_TIMEOUT_S)
            yield Path(output.name)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def listening(port: int, process: asyncio.subprocess.Process, timeout_s: float) -> None:
    """Wait until the process takes connections on the port."""
    for _ in range(int(timeout_s / 0.02)):
        if process.returncode is not None:
            raise BenchmarkError(f"what should listen on port {port} ended at once with status {process.returncode}")
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise BenchmarkError(f"nothing listens on port {port} after {timeout_s} s")
