"""What the tests have bounded processes do: importable there, as a test module is not."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import IO

from postroom.errors import Conflict, InvalidInput


def compute_for_ever() -> None:
    while True:
        pass


def compute(cpu_s: float) -> str:
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        pass
    return "computed"


def fill_memory() -> int:
    return len(bytearray(4 * 2**30))


def who() -> int:
    return os.getpid()


def nap(seconds: float) -> tuple[float, float]:
    """When it began and ended, by a clock that all processes share."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def refuse() -> None:
    raise InvalidInput("The third row is bad.", field="recipients", row=3)


def conflict() -> None:
    raise Conflict("It goes on as job 7.", job_id=7)


def fail() -> None:
    raise KeyError("a bug")


def die(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def double(source: IO[bytes], into: IO[bytes]) -> int:
    source.seek(0)
    return into.write(source.read() * 2)


def echo(value: object) -> object:
    return value


def nothing_can_carry_it() -> object:
    return lambda: None


def has_loaded(module: str) -> bool:
    return module in sys.modules
