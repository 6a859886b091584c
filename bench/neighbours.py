"""Fairness between accounts: what a neighbour feels while another account, or somebody without one, does its worst.

    python bench/neighbours.py [--json] [--seconds N] [--only NAME,NAME] [--python PATH]

A real `postroom serve` with one worker and a sandbox gateway. One attack of `hostile.py` after the other, `--seconds` each;
meanwhile the neighbour reads (its jobs, a job, a page of recipients), creates jobs of one recipient and asks for `/healthz`, at
a pace that no slow answer slows down, each on a connection of its own. Figures are p99 from the request to the end of the answer;
an answer that is no 2xx, or none within 30 s, counts as 30 s and as a failure. With so few samples a p99 is about the slowest.

Only HTTP and the command line are used, so any checkout can be measured: `--python` is the interpreter of its environment.
`--only` names attacks; "nothing" is what the neighbour measures alone. After each attack what it left behind is cancelled;
an installation that does not answer as usual within half a minute is said, and the next attack gets a new one. Seven
minutes, and more where that happens often.

Exit status: 0 when measured, 1 when something broke (the reason is on standard error).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import hostile
from harness import BenchmarkError, Figure, note, run_benchmark
from hostile import JOBS, ask, job_of, request
from process import tree
from sink import HOST, free_port, listening

TARGETS_MS = {"reads": 250.0, "creation": 1_000.0, "healthz": 100.0}
READS_PER_S, CREATIONS_PER_S, HEALTHZ_PER_S = 12, 4, 6
ANSWER_MAX_S = 30.0
START_MAX_S = 60.0
READY_MAX_S = 90.0  # an attack that makes jobs first
STOP_MAX_S = 10.0
SETTLE_MAX_S = 30.0
SETTLED_S = 2.0  # so long must answers be usual ones
USUAL_MS = 1_000.0
JOB_RECIPIENTS = 90  # below the threshold
UNBOUNDED = 2_000_001  # recipients, more than a list may have
UNFINISHED = ("sending", "queued", "pending_approval")
HERE = Path(__file__).parent
CLI = ("-m", "postroom.doors.cli.main")

# -- the installation --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Installation:
    """One that runs. `job` is the neighbour's, and is completed."""

    process: Process
    port: int
    tarpit: int
    key: str
    hostile: str
    unbounded: str
    job: int

    def parts(self) -> frozenset[int]:
        """The processes that it consists of, by id: of the supervisor, and of what that started."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return frozenset([self.process.pid, *(int(child) for task in children for child in task.read_text().split())])


@contextlib.asynccontextmanager
async def installation(python: str) -> AsyncIterator[Installation]:
    """A new one, with its accounts, for as long as the block lasts; its files are thrown away."""
    home = _new_home()
    port, sandbox, tarpit = free_port(), free_port(), free_port()
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith("POSTROOM_") and name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    environment = inherited | {"POSTROOM_HOME": str(home / "home"), "POSTROOM_ALLOWED_NETWORKS": "127.0.0.0/8",
                               "POSTROOM_PORT": str(port), "POSTROOM_WORKERS": "1"}
    log = home / "log"
    try:
        async with (_running(python, home, environment, log, "sandbox", "--port", str(sandbox)) as receiver,
                    _running(python, home, environment, log, "serve") as process):
            try:
                await listening(sandbox, receiver, START_MAX_S)
                await listening(port, process, START_MAX_S)
                key, hostile_key, unbounded = await _accounts(python, home, environment, sandbox, tarpit)
                yield Installation(process, port, tarpit, key, hostile_key, unbounded, await _job(port, key))
            except BenchmarkError:
                note(log.read_text(errors="replace")[-2000:])
                raise
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _new_home() -> Path:
    """Not below a directory of root alone: PostgreSQL may run as another user."""
    home = Path(tempfile.mkdtemp(prefix="postroom-bench-", dir="/var/tmp"))
    home.chmod(0o711)
    return home


@contextlib.asynccontextmanager
async def _running(python: str, home: Path, environment: dict[str, str], log: Path, *arguments: str) -> AsyncIterator[Process]:
    with log.open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            python, *CLI, *arguments, cwd=home, env=environment, stdout=said, stderr=said)
    try:
        yield process
    finally:
        await _stopped(process)


async def _stopped(process: Process) -> None:
    """Politely, then in a hurry, then at once, with whatever it had started."""
    for _ in range(2):
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_MAX_S)
    if process.returncode is None:
        for pid in tree(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()


async def _accounts(python: str, home: Path, environment: dict[str, str], sandbox: int, tarpit: int) -> tuple[str, str, str]:
    """Keys of the neighbour, of who attacks, and of an account that attacks without a threshold."""
    async def postroom(*arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            python, *CLI, *arguments, cwd=home, env=environment, stdout=PIPE, stderr=PIPE)
        out, errors = await process.communicate()
        if process.returncode != 0:
            raise BenchmarkError(f"postroom {' '.join(arguments)} failed: {errors.decode(errors='replace')[-1000:]}")
        return out

    async def account(name: str, threshold: int, **gateways: int) -> str:
        await postroom("account", "create", name, "--threshold", str(threshold))
        for gateway, port in gateways.items():
            await postroom("gateway", "create", "--account", name, "--name", gateway, "--host", HOST, "--port", str(port),
                           "--security", "none", "--signs-dkim")
        return str(json.loads(await postroom("key", "create", "--account", name, "--json"))["key"])

    return await asyncio.gather(account("Neighbour", 100, main=sandbox), account("Hostile", 100, main=sandbox, tarpit=tarpit),
                                account("Unbounded", UNBOUNDED, main=sandbox))


async def _job(port: int, key: str) -> int:
    """The number of a completed job."""
    status, told = await ask(port, request("POST", JOBS, key, job_of(JOB_RECIPIENTS)), HOST)
    if status != 201:
        raise BenchmarkError(f"the neighbour's job was answered with {status}: {told[:500].decode(errors='replace')}")
    job = int(json.loads(told)["id"])
    deadline = time.monotonic() + START_MAX_S
    while time.monotonic() < deadline:
        _, told = await ask(port, request("GET", f"{JOBS}/{job}", key), HOST)
        if json.loads(told)["status"] == "completed":
            return job
        await asyncio.sleep(0.1)
    raise BenchmarkError("the neighbour's first job was not completed in time")


# -- the neighbour -----------------------------------------------------------------------------------------------------


@dataclass
class Felt:
    """What the neighbour measured: milliseconds of each request by kind, and what failed."""

    ms: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in TARGETS_MS})
    failures: Counter[str] = field(default_factory=Counter)

    def p99(self, kind: str) -> float | None:
        values = sorted(self.ms[kind])
        return values[math.ceil(len(values) * 0.99) - 1] if values else None

    @property
    def is_usual(self) -> bool:
        return not self.failures and all(value < USUAL_MS for values in self.ms.values() for value in values)


async def live_beside(there: Installation, seconds: float) -> Felt:
    """What the neighbour does, for so long; the answers that are still out then are waited for."""
    felt = Felt()
    reads = [request("GET", path, there.key) for path in (JOBS, f"{JOBS}/{there.job}", f"{JOBS}/{there.job}/recipients")]
    creation, healthz = request("POST", JOBS, there.key, job_of(1)), request("GET", "/healthz")
    await asyncio.gather(_paced(there.port, felt, "reads", READS_PER_S, seconds, reads),
                         _paced(there.port, felt, "creation", CREATIONS_PER_S, seconds, [creation]),
                         _paced(there.port, felt, "healthz", HEALTHZ_PER_S, seconds, [healthz]))
    return felt


async def _paced(port: int, felt: Felt, kind: str, per_s: int, seconds: float, requests: Sequence[bytes]) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as asked:
        for number, each in zip(range(int(seconds * per_s)), cycle(requests), strict=False):
            await asyncio.sleep(began + number / per_s - time.monotonic())
            asked.create_task(_measured(port, felt, kind, each))


async def _measured(port: int, felt: Felt, kind: str, asked: bytes) -> None:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(ANSWER_MAX_S):
            status, _ = await ask(port, asked, HOST)
        trouble = "" if 200 <= status < 300 else str(status)
    except TimeoutError:
        trouble = f"no answer in {ANSWER_MAX_S:.0f} s"
    except OSError as error:
        trouble = type(error).__name__
    felt.ms[kind].append((ANSWER_MAX_S if trouble else time.perf_counter() - began) * 1000)
    if trouble:
        felt.failures[f"{kind}: {trouble}"] += 1


# -- an attack ---------------------------------------------------------------------------------------------------------


async def under(there: Installation, attack: str, seconds: int) -> Felt | None:
    """What the neighbour felt; None where the attack did not get ready."""
    program = f"import sys; sys.path.insert(0, {str(HERE)!r}); import hostile; hostile.main()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        order = {"attack": attack, "seconds": seconds, "port": there.port, "tarpit": there.tarpit,
                 "key": there.hostile, "unbounded": there.unbounded}
        process.stdin.write(json.dumps(order).encode() + b"\n")
        try:
            ready = await asyncio.wait_for(process.stdout.readline(), READY_MAX_S)
        except TimeoutError:
            ready = b""
        if not ready:
            note(f"{attack}: it did not get ready")
            return None
        before = there.parts()
        felt = await live_beside(there, seconds)
        if gone := len(before - there.parts()):
            felt.failures["a process of the installation ended"] += gone
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_MAX_S):
                told = json.loads(await process.stdout.read() or b"{}")
                note(f"{attack}: it was answered {told.get('answers')}, and took {told.get('cores', 0):.2f} cores itself")
        return felt
    finally:
        await _ended(process)


async def _ended(process: Process) -> None:
    """By itself, as it should, or at once."""
    try:
        await asyncio.wait_for(process.wait(), 1)
    except TimeoutError:
        process.kill()
        await process.wait()


async def settled(there: Installation) -> bool:
    """Whether, within half a minute, nothing is left of an attack and the neighbour is answered as usual."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_MAX_S):
            while there.process.returncode is None:
                with contextlib.suppress(OSError, ValueError, KeyError):
                    left = await _withdraw(there, there.hostile) + await _withdraw(there, there.unbounded)
                    if (await live_beside(there, SETTLED_S)).is_usual and not left:
                        return True
                await asyncio.sleep(0.2)
    return False


async def _withdraw(there: Installation, key: str) -> int:
    """Cancel what an account has unfinished; how many jobs that were."""
    jobs = []
    for status in UNFINISHED:
        _, told = await ask(there.port, request("GET", f"{JOBS}?status={status}&limit=500", key), HOST)
        jobs += [one["id"] for one in json.loads(told)["items"]]
    for job in jobs:
        await ask(there.port, request("PUT", f"{JOBS}/{job}/cancellation", key), HOST)
    return len(jobs)


# -- the figures -------------------------------------------------------------------------------------------------------


def chosen(only: str) -> list[str]:
    """The attacks, in order. Raises BenchmarkError."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(hostile.ATTACKS)
    if unknown := set(names) - hostile.ATTACKS.keys():
        raise BenchmarkError(f"there is no attack {min(unknown)!r}; there are: {', '.join(hostile.ATTACKS)}")
    return names


async def measure(seconds: int, only: str, python: str) -> list[Figure]:
    waiting, felt = chosen(only), dict[str, Felt | None]()
    while waiting:
        async with installation(python) as there:
            while waiting:
                name = waiting.pop(0)
                felt[name] = now = await under(there, name, seconds)
                if now is not None:
                    told = ", ".join(f"{kind} {now.p99(kind):,.0f} ms" for kind in TARGETS_MS)
                    note(f"{name}: {told}{', failures ' + str(dict(now.failures)) if now.failures else ''}")
                if not await settled(there):
                    note(f"{name}: {SETTLE_MAX_S:.0f} s later the installation is not as it was; it is replaced")
                    break
    return figures(felt)


def figures(felt: dict[str, Felt | None]) -> list[Figure]:
    found = []
    for kind, target_ms in TARGETS_MS.items():
        values = {name: value for name, one in felt.items() if one is not None and (value := one.p99(kind)) is not None}
        worst = max(values, key=lambda name: values[name], default="")
        found.append(Figure.at_most("fairness", f"{kind}, the worst p99 ({worst})", values.get(worst), "ms", target_ms))
    failures = sum(one.failures.total() for one in felt.values() if one is not None)
    found.append(Figure.at_most("fairness", "failures, all together", failures, "", 0))
    for name, one in felt.items():
        found += [Figure.plain("fairness", f"{name}: {kind}, p99", one.p99(kind) if one else None, "ms") for kind in TARGETS_MS]
        found.append(Figure.plain("fairness", f"{name}: failures", one.failures.total() if one else None, ""))
    return found


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "What other accounts feel while one does its worst",
                           seconds=10, only="", python=sys.executable))
