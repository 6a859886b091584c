"""G8: into a real Postfix with its queue, beside smtp-source and aiosmtplib.

    python bench/postfix.py [--json] [--messages N] [--rounds N]

A Postfix of its own for each run, on a free loopback port, its configuration and queue below /var/tmp, stopped at the end: smtpd,
cleanup (fsync and all), qmgr, and a transport that throws the mail away. It takes 1 to 2 ms of CPU a message, ten to twenty times
what a sender does, so rates are Postfix's and what tells senders apart is their own CPU. 20 connections each. Needs root, as
Postfix does. Six minutes; exit status as that of `send.py`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from contender import CONNECTIONS, Postroom
from harness import BenchmarkError, Comparison, Figure, MissingError, compare, run_benchmark
from peers import peer
from sink import HOST, Sink, free_port, postfix_tool

OURS = "Postroom"
SMTP_SOURCE = "smtp-source -s 20"
SMTP_SOURCE_KEEPING = "smtp-source -d -s 20"
AIOSMTPLIB = "aiosmtplib, pool of 20, ready bytes"
PEERS = (SMTP_SOURCE, SMTP_SOURCE_KEEPING, AIOSMTPLIB)
RATE_TARGET = 0.9
CPU_TARGETS = {SMTP_SOURCE: 0.6, SMTP_SOURCE_KEEPING: None, AIOSMTPLIB: 0.12}
DRAIN_TIMEOUT_S = 60.0
START_TIMEOUT_S = 20.0

# in_flow_delay would let arrivals wait a second for deliveries: it is the speed of taking mail that is measured.
MAIN = """
compatibility_level = 3.6
config_directory = {home}/conf
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log/mail.log
maillog_file_prefixes = {home}/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
mynetworks = 127.0.0.0/8
myhostname = gateway.example
alias_maps =
default_transport = discard:
local_transport = discard:
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_client_event_limit_exceptions = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
"""

MASTER = """
127.0.0.1:{port} inet n - n - 100 smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix(Sink):
    """A running Postfix. `counters` is its log."""

    settle_timeout_s: float = DRAIN_TIMEOUT_S

    def accepted(self) -> int:
        """Messages that it took, delivered to nowhere and removed from its queue."""
        return self.counters.read_bytes().count(b": removed\n")


@asynccontextmanager
async def postfix() -> AsyncIterator[Sink]:
    """A Postfix with its own queue, stopped and removed at the end. Raises MissingError."""
    program = postfix_tool("postfix")
    if os.geteuid() != 0:
        raise MissingError("Postfix is started by root only")
    home, port = Path(tempfile.mkdtemp(prefix="postfix-bench-", dir="/var/tmp")), free_port()
    try:
        _lay_out(home, port)
        await _control(program, home, "start")
        try:
            await _greets(port)
            yield Postfix(port, home / "log" / "mail.log")
        finally:
            await _control(program, home, "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _lay_out(home: Path, port: int) -> None:
    home.chmod(0o755)
    for name in ("conf", "queue", "data", "log"):
        (home / name).mkdir()
    shutil.chown(home / "data", "postfix")
    (home / "conf" / "main.cf").write_text(MAIN.format(home=home))
    (home / "conf" / "master.cf").write_text(MASTER.format(port=port))


async def _control(program: str, home: Path, verb: str) -> None:
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(home / "conf"), verb, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    if process.returncode != 0:
        log = home / "log" / "mail.log"
        said = output.decode(errors="replace") + (log.read_text(errors="replace") if log.exists() else "")
        raise BenchmarkError(f"postfix {verb} failed:\n{said[-2000:]}")


async def _greets(port: int) -> None:
    """Its smtpd is started by the first connection: wait until one is greeted."""
    for _ in range(int(START_TIMEOUT_S / 0.1)):
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
            greeting = await asyncio.wait_for(reader.readline(), START_TIMEOUT_S)
            writer.write(b"QUIT\r\n")
            writer.close()
            await writer.wait_closed()
        except OSError:
            await asyncio.sleep(0.1)
            continue
        if greeting.startswith(b"220"):
            return
    raise BenchmarkError(f"Postfix does not greet on port {port}")


async def measure(messages: int, rounds: int) -> list[Figure]:
    peers = {
        SMTP_SOURCE: peer("smtp_source.py", messages, CONNECTIONS, server=postfix),
        SMTP_SOURCE_KEEPING: peer("smtp_source.py", messages, CONNECTIONS, "keep", server=postfix),
        AIOSMTPLIB: peer("aiosmtplib_pool.py", messages, CONNECTIONS, needs=("aiosmtplib",), server=postfix),
    }
    async with Postroom() as postroom:
        ours = partial(postroom.run_job, postfix, messages)
        comparison = await compare({OURS: ours}, peers, {OURS: PEERS}, rounds)
    return figures(comparison)


def figures(comparison: Comparison) -> list[Figure]:
    found = []
    our_cpu = comparison.median_cpu_us(OURS)
    for name in PEERS:
        rate, their_cpu = comparison.ratio(OURS, name), comparison.median_cpu_us(name)
        cpu = our_cpu / their_cpu if our_cpu and their_cpu else None
        target = CPU_TARGETS[name]
        if name == SMTP_SOURCE:
            found.append(Figure.at_least("G8", "rate as a multiple", rate, "x", RATE_TARGET, name))
        else:
            found.append(Figure.plain("G8", "rate as a multiple", rate, "x", name))
        if target is None:
            found.append(Figure.plain("G8", "CPU of the sender as a multiple", cpu, "x", name))
        else:
            found.append(Figure.at_most("G8", "CPU of the sender as a multiple", cpu, "x", target, name))
    for name in (OURS, *PEERS):
        found.append(Figure.plain("G8", f"{name}: rate", comparison.median_rate(name), "messages/s"))
        found.append(Figure.plain("G8", f"{name}: CPU", comparison.median_cpu_us(name), "us/message"))
    return found


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "Into a real Postfix, beside other senders", messages=10_000, rounds=2))
