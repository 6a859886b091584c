"""Messages per second that the sandbox gateway takes on one core, each written to its record file before the reply.

    python bench/sandbox.py [--json]

The client is `smtp-source -d` (20 connections, kept), with the sample's bytes. The sandbox is `postroom sandbox` in a
process of its own, held to one core where the system can do that. Its record has to hold as many lines as messages were
sent. The figure is the median of three rounds, about eight seconds in all.

Exit status: 0 when it was measured, 1 when a side broke (the reason is on standard error). Without `smtp-source` the
figure is said to be missing (`met` null), which is no error.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from harness import BenchmarkError, Figure, MissingError, Run, note, run_benchmark
from process import cpu_seconds
from sink import HOST, postfix_tool

HERE = Path(__file__).parent
TARGET_PER_S = 3_000
ROUNDS = 3
MESSAGES = 40_000
CONNECTIONS = 20
TIMEOUT_S = 20.0


@asynccontextmanager
async def sandbox(*options: str) -> AsyncIterator[tuple[int, int]]:
    """(process, port) of a fresh sandbox gateway, stopped at the end. `options` are those of `postroom sandbox`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "postroom.doors.cli.main", "sandbox", "--port", "0", "--json", *options, stdout=PIPE)
    try:
        assert process.stdout is not None
        try:
            said = await asyncio.wait_for(process.stdout.readuntil(b"}"), TIMEOUT_S)
        except (TimeoutError, asyncio.IncompleteReadError):
            raise BenchmarkError("the sandbox gateway did not start") from None
        yield process.pid, json.loads(said)["port"]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def send(port: int) -> Run:
    """All messages of a round, as the client measured it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "peers" / "smtp_source.py"), "--port", str(port), "--host", HOST, "--keep",
        "--count", str(MESSAGES), "--connections", str(CONNECTIONS),
        stdout=PIPE, stderr=PIPE, env=os.environ | {"PYTHONPATH": str(HERE)},
    )  # fmt: skip
    try:
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise BenchmarkError(f"the sandbox gateway did not take {MESSAGES} messages in {TIMEOUT_S:.0f} s") from None
    if process.returncode != 0:
        raise BenchmarkError(f"smtp_source.py failed:\n{errors.decode(errors='replace')[-2000:]}")
    return Run(**json.loads(output.splitlines()[-1]))


async def one_round() -> Run:
    """The client's time, the sandbox's CPU."""
    with tempfile.TemporaryDirectory(prefix="sandbox-bench-") as directory:
        record = Path(directory) / "record.ndjson"
        async with sandbox("--record", str(record)) as (pid, port):
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(pid, {max(os.sched_getaffinity(pid))})
            before = cpu_seconds(pid)
            sent = await send(port)
            run = Run(sent.messages, sent.seconds, cpu_seconds(pid) - before)
        recorded = record.read_bytes().count(b"\n")
    if recorded != run.messages:
        raise BenchmarkError(f"the client sent {run.messages} messages, the sandbox gateway recorded {recorded}")
    note(f"sandbox gateway: {run.rate:,.0f} messages/s, {run.cpu_us_per_message:,.0f} us CPU each")
    return run


async def measure() -> list[Figure]:
    rate = cpu_us = None
    try:
        postfix_tool("smtp-source")
        runs = [await one_round() for _ in range(ROUNDS)]
        rate = statistics.median(run.rate for run in runs)
        cpu_us = statistics.median(run.cpu_us_per_message for run in runs)
    except MissingError as error:
        note(f"sandbox.py: left out: {error}")
    client = f"smtp-source -d -s {CONNECTIONS}"
    return [
        Figure.at_least("sandbox", "sandbox gateway on one core, recording", rate, "messages/s", TARGET_PER_S, client),
        Figure.plain("sandbox", "sandbox gateway: CPU", cpu_us, "us/message", client),
    ]


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "Messages per second that the sandbox gateway takes on one core"))
