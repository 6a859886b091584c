"""The contenders that Postroom is measured against: each a script of its own, run in a process of its own.

Promises: `peer(...)` gives a contender for `harness.compare`, with a fresh server for each run, whose count is checked
against the server's: an smtp-sink, if no other is given. Fails with `MissingError` where a tool or package is missing.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import sample
from harness import BenchmarkError, Contender, MissingError, Run
from sink import Sink, smtp_sink

Server = Callable[[], AbstractAsyncContextManager[Sink]]

HERE = Path(__file__).parent
RUN_TIMEOUT_S = 180.0
PEOPLE_MAX = 2_000


def peer(script: str, count: int, connections: int, *switches: str, needs: tuple[str, ...] = (),
         server: Server = smtp_sink) -> Contender:
    """A Python peer: `script` in this folder. `needs` names the packages without which it cannot run."""

    async def run() -> Run:
        missing = [name for name in needs if importlib.util.find_spec(name) is None]
        if missing:
            raise MissingError(f"not installed: {', '.join(missing)} (dependency group bench)")
        return await _run_script([sys.executable, str(HERE / script)], count, connections, switches, server=server)

    return run


def node_peer(script: str, count: int, connections: int, *switches: str) -> Contender:
    """A Node.js peer. Its packages are installed from the lock file at the first run."""

    async def run() -> Run:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise MissingError("Node.js with npm is not installed")
        await _install_node_packages(npm)
        people = sample.as_json(min(count, PEOPLE_MAX)).encode()
        return await _run_script([node, str(HERE / script)], count, connections, switches, people)

    return run


async def _install_node_packages(npm: str) -> None:
    if (HERE / "node_modules" / "nodemailer").is_dir():
        return
    process = await asyncio.create_subprocess_exec(
        npm, "ci", "--ignore-scripts", cwd=HERE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        last = output.decode(errors="replace").strip().splitlines()[-1:]
        raise MissingError(f"npm could not install nodemailer: {' '.join(last)}")


async def _run_script(
    command: list[str], count: int, connections: int, switches: tuple[str, ...], stdin: bytes | None = None,
    server: Server = smtp_sink,
) -> Run:
    """Run a script against a fresh server and read its line."""
    async with server() as sink:
        command = [*command, "--port", str(sink.port), "--count", str(count), "--connections", str(connections)]
        process = await asyncio.create_subprocess_exec(
            *command,
            *(f"--{switch}" for switch in switches),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(HERE.parent)},
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(stdin), RUN_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise BenchmarkError(f"{Path(command[1]).name} took longer than {RUN_TIMEOUT_S} s") from None
        if process.returncode != 0:
            raise BenchmarkError(f"{Path(command[1]).name} failed:\n{errors.decode(errors='replace')[-2000:]}")
        run = Run(**json.loads(output.splitlines()[-1]))
        await sink.expect(run.messages)
        return run
