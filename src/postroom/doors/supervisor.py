"""`postroom serve`: one web process and N worker processes, so that sending never slows a page.

Promises: the port and the database are looked at before anything starts; a process that dies is started again, with
backoff; on SIGTERM the workers drain, and the embedded PostgreSQL stops last; when this process is killed its children
stop by themselves. Only this process owns the embedded server: its children are given a URL.
Fails with Unavailable: the port is taken, the database is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from postroom.config import PREFIX, Settings
from postroom.doors import wiring
from postroom.doors.process import LISTENER, UNTIL_STDIN_ENDS, stop_on_signals
from postroom.doors.wiring import SystemUser
from postroom.errors import InvalidInput, Unavailable

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
HEALTHY_AFTER_S = 30.0  # a process that lived this long begins with the shortest backoff again
STOP_GRACE_S = 55.0
BACKLOG = 512

log = structlog.get_logger(__name__)


class Stop:
    """What the operator asked for: `asked` by the first signal; the second one, `hurried`, does not wait for gateways."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        stop_on_signals(self.asked.set, self.hurried.set)


class Children:
    """Processes of this program that are kept running until `stop`."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._stopping = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._processes: dict[str, Process] = {}

    def keep(self, name: str, module: str, *arguments: str, environment: Mapping[str, str], pass_fds: Sequence[int] = (),
             user: SystemUser | None = None) -> None:
        """Start `python -m module arguments` as `user`, and again whenever it ends. It hears of our death at its standard input.
        """
        command: tuple[str, ...] = (sys.executable, "-m", module, *arguments, UNTIL_STDIN_ENDS)
        if user is not None:
            command, environment = user.command(*command), {**environment, **user.environment()}
        self._keepers.append(asyncio.create_task(self._keep(name, command, dict(environment), tuple(pass_fds))))

    def pids(self) -> dict[str, int]:
        """Those that run now."""
        return {name: process.pid for name, process in self._processes.items()}

    async def stop(self) -> None:
        """SIGTERM to all; SIGKILL to those that are still there after the time of grace, or when the operator hurries."""
        self._stopping.set()
        for process in self._processes.values():
            _signal(process, kill=False)
        if not self._keepers:
            return
        ended = asyncio.create_task(_all(self._keepers))
        hurried = asyncio.create_task(self._stop.hurried.wait())
        await asyncio.wait([ended, hurried], timeout=STOP_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            log.warning("not waiting any longer", processes=sorted(self._processes))
            for process in self._processes.values():
                _signal(process, kill=True)
        await ended

    async def _keep(self, name: str, command: tuple[str, ...], environment: dict[str, str], pass_fds: tuple[int, ...]) -> None:
        backoff_s = BACKOFF_MIN_S
        while not self._stopping.is_set():
            began = time.monotonic()
            # A session of its own: Ctrl-C in the terminal is ours to pass on, in our order.
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=DEVNULL, env=environment, pass_fds=pass_fds, start_new_session=True)
            self._processes[name] = process
            if self._stopping.is_set():
                _signal(process, kill=False)
            code = await process.wait()
            del self._processes[name]
            if self._stopping.is_set():
                return
            backoff_s = BACKOFF_MIN_S if time.monotonic() - began > HEALTHY_AFTER_S else min(2 * backoff_s, BACKOFF_MAX_S)
            log.error("a process ended and is started again", process=name, exit_status=code, in_s=backoff_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s)


@dataclass(frozen=True, slots=True)
class Installation:
    """One that runs, and where its pages are. `settings` hold its database's URL."""

    settings: Settings
    address: str
    children: Children


@contextlib.asynccontextmanager
async def installation(settings: Settings, stop: Stop, *, is_for_this_machine: bool = False) -> AsyncGenerator[Installation]:
    """A database, a web process and the workers, for as long as the block lasts. Raises Unavailable.

    `is_for_this_machine`: its recipients are here too, so the address at which it listens is good enough for their links.
    """
    with listen(settings.host, settings.port) as listener:
        async with wiring.database(settings) as url:
            wiring.secret_key(settings)  # made once, here, so that its children find the same
            user = await unprivileged(settings)
            address = address_of(settings, listener.getsockname()[1])
            running = replace(settings, database_url=url, home=settings.home.absolute(),
                              base_url=address if is_for_this_machine else settings.base_url)
            children = Children(stop)
            try:
                children.keep("web", "postroom.doors.web_process", pass_fds=(listener.fileno(),), user=user, environment={
                    **environment_of(running), LISTENER: str(listener.fileno())})
                for number in range(1, settings.workers + 1):
                    children.keep(f"worker {number}", "postroom.doors.worker", user=user, environment=environment_of(running))
                yield Installation(running, address, children)
            finally:
                await children.stop()


async def unprivileged(settings: Settings) -> SystemUser | None:
    """Whom the processes that root starts become, with what they need of the home; None: they stay who they are, which is said
    where it need not be. Raises Unavailable."""
    runs_as = await wiring.runs_as(settings)
    (log.warning if runs_as.is_wrong else log.info)(runs_as.told)
    if runs_as.user is not None:
        wiring.hand_over(settings.home, runs_as.user)
    return runs_as.user


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or a sentence on why not. Raises Unavailable, InvalidInput."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise InvalidInput(f"POSTROOM_HOST {host} is no address of this machine: {error.strerror}.", field="host") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        match error.errno:
            case errno.EADDRINUSE:
                why = ("is taken by another program, or Postroom runs already. Stop that one, "
                       "or choose another: --port or POSTROOM_PORT")
            case errno.EACCES:
                why = "needs rights that this user does not have. Choose one above 1023: --port or POSTROOM_PORT"
            case errno.EADDRNOTAVAIL:
                why = "cannot be opened: that is no address of this machine. Correct POSTROOM_HOST"
            case _:
                why = f"cannot be opened: {error.strerror}"
        raise Unavailable(f"Port {port} on {host} {why}.") from None
    return listener


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment in which a child reads exactly these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return inherited | settings.environment()


def address_of(settings: Settings, port: int) -> str:
    """How a browser gets there: as the operator says, or at the port that was really taken."""
    if settings.base_url:
        return settings.base_url.rstrip("/")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - only shown
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{port}"


async def _all(tasks: Sequence[asyncio.Task[None]]) -> bool:
    await asyncio.gather(*tasks)
    return True


def _signal(process: Process, *, kill: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if kill:
            process.kill()
        else:
            process.terminate()
