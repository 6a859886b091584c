"""Work whose length somebody else decides, by a template or a list: done by a few processes beside this one, in turns.

Promises: a call never holds up this process, nor those of other accounts for longer than others' calls last; it has a bound of
processor time and of memory. Fails with InvalidInput where a call goes beyond them, with TooMany where an account asks for too
many at once, and with whatever the call raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Protocol, TypeVar

import structlog

from postroom.bounded.passing import receive, send
from postroom.bounded.process import MEMORY_MAX
from postroom.bounded.spool import is_small
from postroom.bounded.turns import Turns
from postroom.errors import InvalidInput

QUIET = {"RUST_BACKTRACE": "0"}  # a library that is out of memory may hang while it draws one
ENDING_S = 5.0
SHORT_CPU_S = 10
IDLE_S = 60.0
PATIENCE = 3  # a call may last so many times its processor time, on a machine that is busy with other things

R = TypeVar("R")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of it: what is worked on, for the sentence where that is too much, and the processor time that a call has."""

    what: str
    cpu_s: int

    def on(self, file: BinaryIO) -> Work:
        """The work on that file: short where it is small."""
        return replace(self, cpu_s=SHORT_CPU_S) if is_small(file) else self

    @property
    def is_short(self) -> bool:
        return self.cpu_s <= SHORT_CPU_S


class Runs(Protocol):
    """Who does such work."""

    async def run(self, whose: Hashable, work: Work, function: Callable[..., R], *args: Any) -> R:
        """What the function returns. `whose` it is says who waits for whom: of each, one call is at work at a time."""


class InThread:
    """For a process that has one account's work alone: a command, a worker. Nothing is bounded."""

    async def run(self, whose: Hashable, work: Work, function: Callable[..., R], *args: Any) -> R:
        return await asyncio.to_thread(function, *args)


IN_THREAD = InThread()


class Processes:
    """At most `count`, started when they are needed, and one ahead of that: starting takes longer than most calls. Each loads
    `modules` first. Some of them are `kept` for what is short."""

    def __init__(self, count: int, modules: Sequence[str] = (), *, kept: int = 0) -> None:
        self._count, self._modules = count, modules
        self._turns = Turns(count, kept=kept)
        self._threads = ThreadPoolExecutor(count, "bounded")
        self._busy: set[_Process] = set()
        self._idle = [_Process(modules)]

    async def run(self, whose: Hashable, work: Work, function: Callable[..., R], *args: Any) -> R:
        async with self._turns.taken(whose, is_short=work.is_short), self._process(work) as process:
            call = self._threads.submit(process.call, (work.cpu_s, function, args))
            async with asyncio.timeout(PATIENCE * work.cpu_s):
                returned, value = await asyncio.wrap_future(call)
        if not returned:
            if isinstance(value, MemoryError):
                raise _too_much_memory(work)
            raise value if isinstance(value, Exception) else RuntimeError(repr(value)) from value
        result: R = value
        return result

    @contextlib.asynccontextmanager
    async def _process(self, work: Work) -> AsyncIterator[_Process]:
        """One that is good for another call afterwards, or is ended. Raises InvalidInput."""
        process = self._take()
        self._busy.add(process)
        if not self._idle and len(self._busy) < self._count:
            self._idle.append(_Process(self._modules))
        try:
            yield process
        except BaseException as error:
            self._busy.remove(process)
            status = await asyncio.to_thread(process.close, has_ended=isinstance(error, EOFError | OSError))
            if isinstance(error, TimeoutError) or status == -signal.SIGXCPU:
                raise _too_long(work) from None
            if isinstance(error, EOFError | OSError):
                log.warning("a bounded process ended", what=work.what, exit_status=status)
                if -status in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
                    raise _too_much_memory(work) from None
            raise
        self._busy.remove(process)
        self._idle.append(process)
        asyncio.get_running_loop().call_later(IDLE_S, self._end_idle, process, process.calls)

    def _end_idle(self, process: _Process, calls: int) -> None:
        """The one, if nobody has needed it since, and it is not the last."""
        if process.calls == calls and process in self._idle and len(self._idle) > 1:
            self._idle.remove(process)
            self._threads.submit(process.close)

    def _take(self) -> _Process:
        while self._idle:
            if (process := self._idle.pop()).lives:
                return process
            process.close()  # it ended while it had nothing to do
        return _Process(self._modules)

    def close(self) -> None:
        """All end, in the middle of what they do."""
        for process in (*self._idle, *self._busy):
            process.close()
        self._idle.clear()
        self._threads.shutdown(wait=False)


class _Process:
    """One, started. It is asked from a thread, one call after the other."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.calls = 0
        self._asked = threading.Lock()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", "postroom.bounded.process", *modules], stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **QUIET})

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def call(self, asked: object) -> tuple[bool, Any]:
        """Whether it returned, and what; or what it raised. Raises EOFError or OSError when the process has ended."""
        with self._asked:
            self.calls += 1
            send(self._channel, asked)
            answer: tuple[bool, Any] = receive(self._channel)
            return answer

    def close(self, *, has_ended: bool = False) -> int:
        """Its exit status: negative for the signal that ended it, our own unless it `has_ended`. A call that waits ends."""
        if has_ended:  # its socket closes a moment before the system knows what it died of
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._closed(self._process.wait(ENDING_S))
        if self.lives:
            self._process.kill()
        return self._closed(self._process.wait())

    def _closed(self, status: int) -> int:
        with self._asked:
            self._channel.close()
        return status


def _too_long(work: Work) -> InvalidInput:
    return InvalidInput(f"{work.what} takes more than {work.cpu_s} s to work through. Make it simpler or smaller.")


def _too_much_memory(work: Work) -> InvalidInput:
    memory = f"{MEMORY_MAX >> 20} MiB of memory"
    return InvalidInput(f"{work.what} takes more than {memory} to work through. Make it simpler or smaller.")
