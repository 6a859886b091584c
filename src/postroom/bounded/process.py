"""A bounded process: `python -m postroom.bounded.process MODULE…`. Its standard input is a socket; calls come in, answers go out.

It is nicer than whoever serves, and bounded in memory and in the processor time of each call: at the end of that the system ends
it, in the middle of whatever a library does. It ends by itself when nobody is at the other end any more.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence

from postroom.bounded.passing import receive, send
from postroom.errors import PostroomError

NICENESS = 10
MEMORY_MAX = 768 * 2**20  # octets of data
STDIN = 0
PR_SET_PDEATHSIG = 1


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    for module in sys.argv[1:]:
        importlib.import_module(module)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody waits for an answer then
    os.nice(NICENESS)
    _bound(resource.RLIMIT_DATA, MEMORY_MAX)
    _bound(resource.RLIMIT_CORE, 0)
    with socket.socket(fileno=STDIN) as channel:
        while True:
            try:
                cpu_s, function, args = receive(channel)
            except EOFError:
                return
            used = resource.getrusage(resource.RUSAGE_SELF)
            _bound(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + cpu_s + 1)
            _send(channel, _answer(function, args))
            del args  # the files among them are closed with that


def _answer(function: Callable[..., object], args: Sequence[object]) -> tuple[bool, object]:
    """Whether it returned, and what; or what it raised. Its files are written by then."""
    try:
        returned = function(*args)
        for one in args:
            if isinstance(one, io.IOBase):
                one.flush()
    except BaseException as error:  # a panic of Rust is none of Exception
        if not isinstance(error, PostroomError):
            error.add_note(traceback.format_exc())
        return False, error
    return True, returned


def _send(channel: socket.socket, answer: tuple[bool, object]) -> None:
    try:
        send(channel, answer)
    except MemoryError as error:  # nothing of it is sent then
        send(channel, (False, error))
    except (pickle.PickleError, AttributeError, TypeError, RecursionError) as error:
        send(channel, (False, RuntimeError(f"the answer cannot be pickled: {error}")))


def _bound(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
