"""The simulation's parts in the places of clock, engine, disk and network, for as long as it runs, and then taken out again."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import structlog

from postroom.flow.delivery import books, deliver, guard, lease, pacing, recover, sessions, window_source
from postroom.flow.job import pause, start
from postroom.gateway import dead_journals, journal
from postroom.ledger.database.engine import CHECK_TASK, TASK
from postroom.ledger.delivery import windows
from proofs.simulation.database import Connection
from proofs.simulation.ledger.tables import Lane
from proofs.simulation.time import Loop, Process, current

RECORDS = 128  # in a segment, so that segments end within a job, and the dead are read quickly


async def _run(conn: Connection, name: str, act: Any) -> Any:
    return (await conn.run((name, lambda tables, now, given: [act(tables)]), {}))[0]


async def defer_lanes(conn: Connection, account_id: int, job_id: int, lanes: int) -> None:
    def defer(tables: Any) -> None:
        for _ in range(lanes):
            tables.lane[tables.draw("lane")] = Lane(account_id, job_id)

    if lanes > 0:
        await _run(conn, "defer_lanes", defer)


async def defer_checks(conn: Connection, account_id: int, job_id: int, lanes: int) -> None:
    """No job of the simulation waits for its pre-flight."""


async def live_lanes(conn: Connection, task: str = TASK) -> dict[int, int]:
    def count(tables: Any) -> dict[int, int]:
        found: dict[int, int] = {}
        for lane in tables.lane.values():
            found[lane.job_id] = found.get(lane.job_id, 0) + 1
        return found

    counts: dict[int, int] = await _run(conn, "live_lanes", count)
    return counts


async def look_around(conn: Connection, job_id: int) -> tuple[bool, int, bool]:
    def look(tables: Any) -> tuple[bool, int, bool]:
        lanes = tables.lane.values()
        owners = {lane.owner for lane in lanes} - {None}
        return any(lane.owner is None for lane in lanes), sum(lane.job_id == job_id for lane in lanes), len(owners) > 1

    seen: tuple[bool, int, bool] = await _run(conn, "look_around", look)
    return seen


async def others_wait(conn: Connection, job_id: int) -> bool:
    def look(tables: Any) -> bool:
        return any(lane.owner is None and lane.job_id != job_id for lane in tables.lane.values())

    seen: bool = await _run(conn, "others_wait", look)
    return seen


async def bound_heartbeats(conn: Connection) -> None:
    """Nobody's heart beats in the future there."""


ENGINE = SimpleNamespace(bound_heartbeats=bound_heartbeats, defer_lanes=defer_lanes, defer_checks=defer_checks,
                         live_lanes=live_lanes, look_around=look_around, others_wait=others_wait, CHECK_TASK=CHECK_TASK)


class Disk:
    """`os` for the journal: what a process that dies writes after that moment is not written. Its locks go with it."""

    def __init__(self) -> None:
        self.opened: dict[Process, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags, mode)
        if (process := current()) is not None:
            self.opened.setdefault(process, []).append(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        if (process := current()) is not None and descriptor in self.opened.get(process, ()):
            self.opened[process].remove(descriptor)
            os.close(descriptor)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        process = current()
        if offset and process is not None and not process.step():
            return len(data)
        return os.pwrite(descriptor, data, offset)

    def let_go(self, process: Process) -> None:
        """What the kernel does for a dead one."""
        for descriptor in self.opened.get(process, ()):
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def close_all(self) -> None:
        for descriptor in [one for descriptors in self.opened.values() for one in descriptors]:
            os.close(descriptor)
        self.opened.clear()


@contextlib.contextmanager
def installed(loop: Loop, disk: Disk, open_session: Any, boot_id: Any, seed: int) -> Iterator[None]:
    """Everything that is drawn without being told by what is drawn from this seed."""
    def monotonic() -> float:
        process = current()
        return loop.now - (process.slept_s if process is not None else 0.0)

    chance = random.Random(seed)
    clock = SimpleNamespace(monotonic=monotonic, thread_time=lambda: 0.0)
    segment = journal.HEADER_OCTETS + RECORDS * journal.RECORD_OCTETS
    places: list[tuple[Any, str, Any]] = [
        *((module, "time", clock) for module in (books, deliver, guard, window_source, windows, lease, pacing)),
        *((module, "engine", ENGINE) for module in (deliver, recover, start, pause)),
        *((module, "RECORDS", RECORDS) for module in (journal, dead_journals)),
        *((module, "SEGMENT_OCTETS", segment) for module in (journal, dead_journals)),
        *((module, "boot_id", boot_id) for module in (journal, dead_journals)),
        (sessions, "open_session", open_session), (journal, "os", disk), (dead_journals, "os", disk),
        (journal, "secrets", SimpleNamespace(token_hex=lambda n: f"{chance.getrandbits(8 * n):0{2 * n}x}"))]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    drawn, logs = random.getstate(), structlog.get_config()
    random.seed(seed)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False)
    try:
        for module, name, part in places:
            setattr(module, name, part)
        yield
    finally:
        for module, name, part in before:
            setattr(module, name, part)
        random.setstate(drawn)
        structlog.configure(**logs)
