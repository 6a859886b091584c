"""Two machines, each in a network namespace of its own; one is cut off, and its workers are killed. The other takes over.

Database and gateway are on a third. The other machine cannot read the journals of the first: what that had in hand is in doubt
when the lease is up, and only that. Then the first one comes back, and its journal settles what its workers knew. Nobody is lost,
and nobody is mailed twice. Needs the right to make network namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from postroom.config import Settings
from postroom.domain.pace import WINDOW_SIZE_MAX
from proofs.forge import Forge, Worker, forging
from proofs.installation import Place, account, eventually, installed, moments
from proofs.verdict import Say, Scale, Verdict

BRIDGE = f"proof{os.getpid()}"  # its own, so that two runs of this proof do not meet
NAMES = (f"{BRIDGE}-1", f"{BRIDGE}-2")
NETWORK = f"10.231.{os.getpid() % 256}"
WORKERS = 2  # on each machine
SESSIONS = 4
CONNECTIONS = 6
SCRIPT = "dot:delay=5ms"
LEASE_S = 2.0

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Machine:
    """A namespace, and what runs in it."""

    name: str
    forge: Forge
    settings: Settings
    workers: list[Worker] = field(default_factory=list)
    left: set[Path] = field(default_factory=set)  # the journals of the dead

    async def hire(self) -> None:
        self.workers = [await self.forge.worker(self.settings.environment()) for _ in range(WORKERS)]

    def cut_off(self) -> None:
        _ip("link", "set", self.name, "down")

    async def come_back(self) -> None:
        _ip("link", "set", self.name, "up")
        await self.hire()

    async def kill(self) -> None:
        for worker in self.workers:
            await worker.kill()
        self.left = set((self.settings.home / "journal").glob("*.journal"))

    async def is_settled(self) -> bool:
        return not any(path.exists() for path in self.left)


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    if why := await asyncio.to_thread(_why_not):
        return Verdict(skipped=f"Two machines need network namespaces, which this user may not make here: {why}")
    draw = random.Random(seed)
    rounds, count = scale.of(20, 1), scale.of(40_000, 3_000)
    doubted = 0
    async with installed(connections=CONNECTIONS, script=SCRIPT, recipients=count) as place, _machines(place) as machines:
        for machine in machines:
            await machine.hire()
        await place.at_work(2 * WORKERS)
        job = await place.sending(count)
        for done, moment in enumerate(moments(draw, rounds, count), 1):
            await place.truth.until(moment)
            lost, other = draw.sample(machines, 2)
            lost.cut_off()
            await lost.kill()
            await eventually(lambda lost=lost: _nothing_held(place, lost))
            now = (await place.sides(job)).numbers.unconfirmed
            doubted = max(doubted, now)
            await place.truth.until(min(place.truth.accepted + 50, count - now))  # the other goes on without it
            await lost.come_back()
            await eventually(lost.is_settled)
            say(f"{done} times cut off, {place.truth.accepted:,} accepted, {now} in doubt; {other.name} went on")
        await place.over(job)
        for machine in machines:
            await asyncio.gather(*(worker.stop() for worker in machine.workers))
        sides = await place.sides(job)
        bound = rounds * WORKERS * SESSIONS
        faults = await place.faults(job, sides, unconfirmed_max=bound)
    if doubted > (rounds + 1) * CONNECTIONS * WINDOW_SIZE_MAX:
        faults.append(f"{doubted} were in doubt at once: more than were in hand.")
    return Verdict({"recipients": count, "times cut off": rounds, "most in doubt before one came back": doubted, **sides.figures,
                    "unconfirmed at most": bound, **place.sampling.figures}, faults)


async def _nothing_held(place: Place, machine: Machine) -> bool:
    [[held]] = await place.query("SELECT count(*) FROM chunk WHERE owner LIKE %s AND window_open", f"{machine.name}:%")
    return bool(held == 0)


# -- the network -------------------------------------------------------------------------------------------------------


def _why_not() -> str:
    """Empty where namespaces can be made."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "ip or unshare is not installed."
    try:
        _tear_down_of_the_dead()
        _ip("netns", "add", NAMES[0])
        _ip("link", "add", BRIDGE, "type", "bridge")
    except subprocess.CalledProcessError as error:
        return str(error.stderr.strip() or error)
    finally:
        _tear_down()
    return ""


@contextlib.asynccontextmanager
async def _machines(place: Place) -> AsyncIterator[list[Machine]]:
    """Two machines that reach database and gateway of the place by the network, and nothing else."""
    try:
        await asyncio.to_thread(_build)
        async with contextlib.AsyncExitStack() as stack:
            database = urlsplit(place.server.url)
            socket = f"{unquote(parse_qs(database.query)['host'][0])}/.s.PGSQL.5432"
            ports = [(await stack.enter_async_context(await _passed_on(to))).sockets[0].getsockname()[1]
                     for to in (lambda: asyncio.open_unix_connection(socket),
                                lambda: asyncio.open_connection("127.0.0.1", place.truth.port))]
            url = f"postgresql://{database.username}:{database.password}@{NETWORK}.1:{ports[0]}{database.path}"
            place.account_id = await account(place.pool, ports[1], CONNECTIONS, host=f"{NETWORK}.1", name="Two machines")
            machines = []
            for name in NAMES:
                home = place.home / name
                home.mkdir()
                settings = msgspec.structs.replace(
                    place.settings, database_url=url, home=home, concurrency=SESSIONS, lease_s=LEASE_S, helo_name=name,
                    allowed_networks=f"{NETWORK}.0/24", allow_plaintext=True)
                inside = ("ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name)
                machines.append(Machine(name, await stack.enter_async_context(forging(home, inside=inside)), settings))
            yield machines
    finally:
        await asyncio.to_thread(_tear_down)


async def _passed_on(to: Callable[[], Awaitable[Stream]]) -> asyncio.Server:
    """A port of the third machine, behind which stands what listens on it alone."""
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await to()
            await asyncio.gather(_pass(reader, back), _pass(there, writer))

    return await asyncio.start_server(serve, f"{NETWORK}.1")


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while octets := await reader.read(65_536):
            writer.write(octets)
            await writer.drain()
    finally:
        writer.close()


def _build() -> None:
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for number, name in enumerate(NAMES, 11):
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "outside", "netns", name)
        _ip("link", "set", name, "master", BRIDGE, "up")
        _ip("-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "outside")
        _ip("-n", name, "link", "set", "outside", "up")


def _tear_down(run: int | None = None) -> None:
    """What this run, or another one, has built."""
    bridge = BRIDGE if run is None else f"proof{run}"
    for what in (("netns", "delete", f"{bridge}-1"), ("netns", "delete", f"{bridge}-2"), ("link", "delete", bridge)):
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip(*what)


def _tear_down_of_the_dead() -> None:
    """What runs that were killed have left."""
    for run in set(re.findall(r"\bproof(\d+)", _ip("netns", "list") + _ip("-brief", "link"))):
        if not Path(f"/proc/{run}").exists():
            _tear_down(int(run))


def _ip(*arguments: str) -> str:
    return subprocess.run(("ip", *arguments), check=True, capture_output=True, timeout=30, text=True).stdout
