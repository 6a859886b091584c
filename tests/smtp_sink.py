"""Postfix's smtp-sink: a gateway that somebody else has written, so that our own is not the only witness."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/lib/postfix/sbin"
_RECIPIENT = re.compile(rb"^X-Rcpt-Args: <([^>]*)>", re.MULTILINE)


@dataclass(frozen=True)
class Sink:
    """`accepted()` is its own counter, `recipients()` whom it was told, from the file that it writes."""

    port: int
    counters: Path
    dump: Path

    def accepted(self) -> int:
        found = re.findall(rb"mesg=(\d+)\r?\n?", self.counters.read_bytes())
        return int(found[-1]) if found else 0

    def recipients(self) -> Counter[str]:
        return Counter(one.decode() for one in _RECIPIENT.findall(self.dump.read_bytes()))


@contextlib.asynccontextmanager
async def smtp_sink(directory: Path) -> AsyncIterator[Sink]:
    """A fresh one on a free port; `directory` is one that another user may enter. Skips the test where there is none."""
    program = shutil.which("smtp-sink", path=PATH)
    if program is None:
        pytest.skip("smtp-sink is not installed (Debian package postfix)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    counters, dump = directory / "counters", directory / "dump"
    for path in (counters, dump):
        path.touch()
        path.chmod(0o666)
    directory.chmod(0o777)  # noqa: ASYNC240 - before anything runs
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with counters.open("wb") as words:
        process = await asyncio.create_subprocess_exec(program, "-c", "-D", str(dump), *user, f"127.0.0.1:{port}", "256",
                                                       stdout=words, stderr=asyncio.subprocess.DEVNULL)
    try:
        await _listening(port)
        yield Sink(port, counters, dump)
    finally:
        process.terminate()
        await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)
