"""Work whose length somebody else decides, by a template or a list: done by a few processes beside this one, in turns.

Promises: a call never holds up this process, nor those of other accounts for longer than others' calls last; it has a bound of
processor time and of memory. Fails with InvalidInput where a call goes beyond them, with TooMany where an account asks for too
many at once, and with whatever the call raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import structlog

from postroom.bounded.passing import receive, send
from postroom.bounded.process import MEMORY_MAX
from postroom.bounded.turns import Turns
from postroom.errors import InvalidInput

PATIENCE = 10  # a call may last so many times its processor time, on a machine that is busy with other things

R = TypeVar("R")
log = structlog.get_logger(__name__)


class Runs(Protocol):
    """Who does such work."""

    async def run(self, whose: Hashable, what: str, function: Callable[..., R], *args: Any) -> R:
        """What the function returns; `what` is what it looks at, for the sentence where that is too much."""


class InThread:
    """For a process that has one account's work alone: a command, a worker. Nothing is bounded."""

    async def run(self, whose: Hashable, what: str, function: Callable[..., R], *args: Any) -> R:
        return await asyncio.to_thread(function, *args)


IN_THREAD = InThread()


class Processes:
    """At most `count` at once, one for each of `whose`; started when they are needed. A call has `cpu_s` of processor time."""

    def __init__(self, count: int, *, cpu_s: int) -> None:
        self._turns = Turns(count)
        self._threads = ThreadPoolExecutor(count, "bounded")
        self._cpu_s = cpu_s
        self._idle: list[_Process] = []

    async def run(self, whose: Hashable, what: str, function: Callable[..., R], *args: Any) -> R:
        async with self._turns.taken(whose), self._process(what) as process:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(PATIENCE * self._cpu_s):
                returned, value = await loop.run_in_executor(self._threads, process.call, (self._cpu_s, function, args))
        if not returned:
            if isinstance(value, MemoryError):
                raise _too_much_memory(what)
            raise value
        result: R = value
        return result

    @contextlib.asynccontextmanager
    async def _process(self, what: str) -> AsyncIterator[_Process]:
        """One that is good for another call afterwards, or is ended. Raises InvalidInput."""
        process = self._take()
        try:
            yield process
        except (EOFError, OSError):
            status = await asyncio.to_thread(process.end)
            log.warning("a bounded process ended", what=what, exit_status=status)
            if status == -signal.SIGXCPU:
                raise self._too_long(what) from None
            if -status in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
                raise _too_much_memory(what) from None
            raise
        except TimeoutError:
            await asyncio.to_thread(process.end)
            raise self._too_long(what) from None
        except BaseException:
            await asyncio.to_thread(process.end)
            raise
        self._idle.append(process)

    def _take(self) -> _Process:
        while self._idle:
            if (process := self._idle.pop()).lives:
                return process
            process.close()
        return _Process()

    def _too_long(self, what: str) -> InvalidInput:
        return InvalidInput(f"{what} takes more than {self._cpu_s} s to work through. Make it simpler or smaller.")

    def close(self) -> None:
        """Those that are idle end; nobody may be at work any more."""
        while self._idle:
            self._idle.pop().close()
        self._threads.shutdown(wait=False)


class _Process:
    """One, started. It is asked from a thread, one call after the other."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-m", "postroom.bounded.process"], stdin=theirs.fileno(),
                                             stdout=subprocess.DEVNULL, start_new_session=True)

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def call(self, asked: object) -> tuple[bool, Any]:
        """Whether it returned, and what; or what it raised. Raises EOFError or OSError when the process has ended."""
        try:
            send(self._channel, asked)
            answer: tuple[bool, Any] = receive(self._channel)
        except BaseException:
            self._channel.close()
            raise
        return answer

    def end(self) -> int:
        """Its exit status: negative for the signal that ended it. A call that waits hears of it."""
        if self.lives:
            self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        """It is not asked any more."""
        self.end()
        self._channel.close()


def _too_much_memory(what: str) -> InvalidInput:
    return InvalidInput(f"{what} takes more than {MEMORY_MAX >> 20} MiB of memory to work through. Make it simpler or smaller.")
