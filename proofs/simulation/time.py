"""Virtual time: an event loop whose clock jumps to the next timer, and processes in it that can freeze and die.

Promises: nothing waits for anything outside, and the same calls happen in the same order in every run. A process is a context:
all that is scheduled from within it belongs to it. A dead one is never called again, as after SIGKILL: no handler, no `finally`
of it runs. A frozen one is called when it wakes, in order. What belongs to no process (network, database, a person) goes on.
Fails: with Stuck where nothing is left to happen.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from typing import Any

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Stuck(Exception):
    """Nothing will ever happen again."""


class Process:
    """A worker process. `steps_left`: it dies when it has made so many more steps that can be seen from outside."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.host = host
        self.is_dead = False
        self.was_killed = False
        self.is_frozen = False
        self.steps_left: int | None = None
        self.slept_s = 0.0  # what its clock does not know of
        self.backlog: list[asyncio.Handle] = []
        self.dies: Callable[[], object]  # tells the world that it made its last step
        self.context = contextvars.copy_context()
        self.context.run(_process.set, self)

    def step(self) -> bool:
        """One effect that others can see. False: it died before it, and what comes until control is given back has no effect."""
        if self.steps_left is not None:
            if self.steps_left == 0:
                self.dies()
                return False
            self.steps_left -= 1
        return not self.is_dead

    @property
    def is_dying(self) -> bool:
        return self.steps_left == 0 and not self.is_dead


def current() -> Process | None:
    """The process that is running now."""
    return _process.get()


class Handle(asyncio.Handle):
    def _run(self) -> None:
        if may_run(self):
            super()._run()


class Timer(asyncio.TimerHandle):
    def _run(self) -> None:
        if may_run(self):
            super()._run()


def may_run(handle: asyncio.Handle) -> bool:
    process = handle._context.get(_process)  # type: ignore[attr-defined]
    if process is None:
        return True
    if process.is_frozen or process.is_dead:
        process.backlog.append(handle)  # of a dead one for the end of the run, when all that was left hanging is ended
        return False
    return True


class Loop(asyncio.BaseEventLoop):
    """Runs until something is true: `run_until`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.outside = contextvars.copy_context()  # of what belongs to no process
        self.tasks: list[asyncio.Task[Any]] = []  # kept, or those of the dead would be collected, which runs what is in them
        self.failures: list[str] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., Any], *args: Any,  # type: ignore[override]  # as the base does it
                  context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any,  # type: ignore[override]  # as the base does it
                context: contextvars.Context | None = None) -> asyncio.TimerHandle:
        timer = Timer(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def after(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """By the world, not by the process that asks for it."""
        return self.call_at(self.now + delay_s, callback, *args, context=self.outside)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **options)
        self.tasks.append(task)
        return task

    def start(self, coroutine: Coroutine[Any, Any, Any], process: Process | None = None) -> asyncio.Task[Any]:
        return self.create_task(coroutine, context=process.context if process is not None else self.outside)

    def run_in_executor(self, executor: Any, func: Callable[..., Any],  # type: ignore[override]  # as the base does it
                        *args: Any) -> asyncio.Future[Any]:
        """No threads: at once."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def wake(self, process: Process) -> None:
        process.is_frozen = False
        self._ready.extend(process.backlog)  # type: ignore[attr-defined]
        process.backlog.clear()

    def run_until(self, done: Callable[[], bool], every_s: float = 0.0) -> None:
        """`done` is asked as often as that. Raises Stuck."""
        asyncio._set_running_loop(self)
        ask_at = self.now
        try:
            while True:
                if self.now >= ask_at:
                    if done():
                        return
                    ask_at = self.now + every_s
                self._run_once()
        finally:
            asyncio._set_running_loop(None)

    def is_busy(self) -> bool:
        """Whether something happens at this instant still."""
        return bool(self._ready)  # type: ignore[attr-defined]

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        if not ready:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise Stuck
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "Future exception" not in context["message"]:  # the answer to a process that died
            self.failures.append(f"{context['message']}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """They are dropped as they come up."""
