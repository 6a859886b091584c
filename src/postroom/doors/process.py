"""What every process of Postroom does alike: its event loop, and how it is told to stop.

A process stops on SIGTERM or SIGINT, and, when a supervisor started it, at the end of its standard input too: that is a
pipe whose other end only the supervisor holds, so that even one that is killed takes its children with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

DRAIN_WITHOUT_PARENT_S = 55.0
UNTIL_STDIN_ENDS = "--until-stdin-ends"

# By environment from the supervisor to the web process: the number of the file descriptor of a listening socket.
LISTENER = "POSTROOM_LISTENER"

SIGNALS = (signal.SIGTERM, signal.SIGINT)

Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end, on uvloop where there is one. KeyboardInterrupt comes out after the coroutine was cancelled."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def stop_on_signals(stop: Callable[[], None], hurry: Callable[[], None] | None = None) -> None:
    """The first signal calls `stop`; a second one calls `hurry`, and without it does what it does to any process."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        for number in SIGNALS:
            if hurry is None:
                loop.remove_signal_handler(number)
            else:
                loop.add_signal_handler(number, hurry)
        stop()

    for number in SIGNALS:
        loop.add_signal_handler(number, first)


def stop_with_parent(stop: Callable[[], None]) -> None:
    """Calls `stop` when the supervisor is gone; a drain that never ends is ended. Nothing for a process of its own."""
    if UNTIL_STDIN_ENDS not in sys.argv:
        return
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def ended() -> None:
        with contextlib.suppress(OSError):
            if os.read(descriptor, 1):
                return
        loop.remove_reader(descriptor)
        loop.call_later(DRAIN_WITHOUT_PARENT_S, os._exit, 1)
        stop()

    loop.add_reader(descriptor, ended)
