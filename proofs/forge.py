"""Makes worker processes quickly: one process that has loaded Postroom once and forks a worker for each order.

What it forks is `postroom worker` in all but its start: the same `main()`, in a process of its own, with an environment, a log
and a fate of its own. Loading takes half a second of CPU, and the proofs kill workers by the hundred. An order may name another
coroutine instead (`life.py`), which is then given the settings.
Workers end with their forge, and the forge with whoever started it. Linux only: it holds processes by pidfd.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
END_TIMEOUT_S = 30.0
SEGMENT_RECORDS = 60


@dataclass(frozen=True)
class Watched:
    """Points of a process are counted, into a file when it ends. `die_at` "point:n": it kills itself where it comes to that point
    for the n-th time."""

    count_into: Path
    die_at: str = ""


# -- on this side ------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Worker:
    """A worker process, to be treated badly."""

    pid: int
    log: Path
    _descriptor: int
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        asyncio.get_running_loop().add_reader(self._descriptor, self._note_end)

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set()

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    def send(self, number: signal.Signals) -> None:
        """Nothing where it has ended already."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    async def ended(self) -> None:
        await self._ended.wait()

    async def kill(self) -> None:
        """SIGKILL, and its end awaited."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> None:
        """SIGTERM: it drains. One that does not in half a minute is a fault."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        async with asyncio.timeout(END_TIMEOUT_S):
            await self.ended()

    @property
    def words(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")


@dataclass(eq=False)
class Forge:
    """Made by `forging`."""

    logs: Path
    _process: asyncio.subprocess.Process
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _made: list[Worker] = field(default_factory=list)

    async def worker(self, environment: Mapping[str, str], *, watched: Watched | None = None,
                     runs: tuple[str, ...] = ()) -> Worker:
        """A new worker; or a process that runs one of `life.py`'s verbs with its values."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            log = self.logs / f"worker-{len(self._made) + 1:04}.log"
            order = {"environment": dict(environment), "log": str(log), "runs": runs,
                     "watched": watched and [watched.die_at, str(watched.count_into)]}
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            pid = int(await self._process.stdout.readline())
            descriptor = os.pidfd_open(pid)
            self._process.stdin.write(b"\n")  # only now may it end, so that its number is nobody else's
            made = Worker(pid, log, descriptor)
            self._made.append(made)
        return made

    async def end(self) -> None:
        for worker in self._made:
            await worker.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@contextlib.asynccontextmanager
async def forging(logs: Path, *, inside: Sequence[str] = (), trusts: Path | None = None) -> AsyncIterator[Forge]:
    """A forge until the end of the block, then all its workers are killed. `inside` is a command that runs it elsewhere; `trusts`
    holds the certificates that its workers take for authorities."""
    environment = os.environ | ({"SSL_CERT_FILE": str(trusts)} if trusts else {})
    process = await asyncio.create_subprocess_exec(
        *inside, sys.executable, "-m", "proofs.forge", cwd=ROOT, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    forge = Forge(logs, process)
    try:
        yield forge
    finally:
        await forge.end()


# -- on the other side -------------------------------------------------------------------------------------------------


def main() -> None:
    from postroom.doors import worker  # noqa: F401 - everything that a worker loads, once
    from postroom.message.liquid import merge  # noqa: F401
    from proofs import life  # noqa: F401

    alive, ours = os.pipe()
    os.set_inheritable(alive, True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            _work(json.loads(line), alive)
        print(pid, flush=True)
        sys.stdin.readline()
        _reap()
    _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _work(order: dict[str, Any], alive: int) -> NoReturn:
    """In the new process: becomes a worker whose standard input ends when the forge does."""
    from postroom.doors import worker
    from postroom.doors.process import UNTIL_STDIN_ENDS
    from proofs import life

    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, place in ((alive, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    os.environ.update(order["environment"])
    sys.argv = ["postroom-worker", UNTIL_STDIN_ENDS]
    passed = _watched(order["watched"][0]) if order["watched"] else None
    status = 0
    try:
        if order["runs"]:
            life.main(*order["runs"])
        else:
            worker.main()
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 70
    if passed is not None:
        Path(order["watched"][1]).write_text(json.dumps(passed))
    sys.stdout.flush()
    os._exit(status)


def _watched(die_at: str) -> Counter[str]:
    """From now on counts the points of this process. Its journal has short segments, so that a small job needs several, and it
    waits less for the dead than it would, since it will meet many."""
    from postroom import points
    from postroom.doors import wiring
    from postroom.gateway import journal
    from postroom.ledger.database import engine

    journal.RECORDS = SEGMENT_RECORDS
    engine.HEARTBEAT_S, engine.STALLED_AFTER_S, engine.POLL_S = 0.2, 1.0, 0.5
    wiring.SWEEP_EVERY_S = 0.3
    passed: Counter[str] = Counter()
    point, _, nth = die_at.partition(":")

    def watcher(reached: str) -> None:
        passed[reached] += 1
        if reached == point and passed[reached] == int(nth):
            os.write(2, f"dies at {die_at}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    points.watch(watcher)
    return passed


if __name__ == "__main__":
    main()
