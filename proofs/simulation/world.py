"""One run: a few workers on two machines, a database, a gateway, a person, and what befalls them, all drawn from one seed.

What happens is noted; the notes of two runs of a seed are equal. After a while nothing more befalls anybody, and then every job
must come to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import shutil
from pathlib import Path

from postroom.domain.job import Status
from postroom.domain.outcome import Evidence, Kind
from postroom.flow.deliver import Deliveries
from proofs.simulation import checks
from proofs.simulation.database import Database
from proofs.simulation.fate import Fate
from proofs.simulation.gateway import Gateway
from proofs.simulation.installed import Disk, installed
from proofs.simulation.ledger.tables import Chunk, Job, Lane, Recipient, Tables, Told
from proofs.simulation.time import Loop, Process, Stuck, current
from proofs.simulation.worker import ACCOUNT, GATEWAY, LANES, SETTLE_EVERY_S, work

HOSTS = ("alder", "birch")
PATIENCE_S = 1500.0
LOOK_EVERY_S = 0.2
ROUNDS_HOME = 10


class World:
    def __init__(self, seed: int, place: Path, *, traces: bool = False) -> None:
        self.chance = random.Random(seed)
        self.seed, self.place = seed, place
        self.loop, self.tables, self.disk = Loop(), Tables(), Disk()
        self.fate = Fate(self)
        self.gateway = Gateway(self.loop, random.Random(self.chance.random()))
        self.database = Database(self.loop, random.Random(self.chance.random()), self.tables, self._committed)
        self.workers: dict[Process, Deliveries | None] = {}
        self.frozen_since: dict[Process, float] = {}
        self.blind: set[str] = set()        # owners whose journal was lost, or its end
        self.boots = {host: bytes([number]) * 16 for number, host in enumerate(HOSTS, 1)}
        self.faults: list[str] = []
        self.trace: list[str] | None = [] if traces else None
        self.digest = hashlib.blake2b(digest_size=8)
        self.over_since: float | None = None
        self.calm_at = 0.0
        self.running: set[tuple[str, int]] = set()  # (owner, number) of lanes
        self.idle: list[asyncio.Future[None]] = []
        self._statuses: dict[int, Status] = {}
        self._names = 0

    def note(self, what: str) -> None:
        line = f"{self.loop.now:.6f} {what}"
        self.digest.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    # -- what there is

    def job(self, job_id: int, count: int, status: Status) -> None:
        tables, size = self.tables, max(1, -(-count // 5))
        tables.job[job_id] = Job(job_id, ACCOUNT, status, LANES, count, GATEWAY, queue_no=job_id)
        tables.recipient[job_id] = tuple(
            Recipient(f"person{position}@list{job_id}.example", "{}", self.chance.random() < 0.03)
            for position in range(1, count + 1))
        for number, first in enumerate(range(1, count + 1, size)):
            n = min(size, count + 1 - first)
            booked = [position for position in range(first, first + n) if tables.recipient[job_id][position - 1].booked]
            tables.chunk[job_id, number] = Chunk(job_id, number, first, n, first, skipped=len(booked))
            for position in booked:
                tables.tell(job_id, position, Told(1, Kind.SKIPPED, Evidence.FREEZE, None, None, "a duplicate", 0.0))
        for one in tables.recipient[job_id]:
            if self.chance.random() < 0.02:
                tables.suppression[one.address] = "opted out"

    def spawn(self, host: str) -> Process:
        self._names += 1
        process = Process(f"{host}:{self._names}", host)
        process.dies = lambda: self.loop.after(0, self.fate.kill, process)
        self.workers[process] = None
        self.loop.start(work(self, process), process)
        return process

    # -- what the database tells

    def _committed(self) -> None:
        tables = self.database.tables
        self.digest.update(b"%.9f %d;" % (self.loop.now, self.gateway.taken.total()))
        if self.idle and any(lane.owner is None for lane in tables.lane.values()):
            idle, self.idle = self.idle, []
            for waiting in idle:
                if not waiting.done():
                    waiting.set_result(None)
        for job in tables.job.values():
            told = job.status.is_over or (job.id, "paused") in tables.condition
            if told and self._statuses.get(job.id) is not job.status:
                self._statuses[job.id] = job.status
                self.note(f"job {job.id} is {job.status}")
                self._tell_workers(job.id)

    def _tell_workers(self, job_id: int) -> None:
        """By NOTIFY, which may get lost."""
        for process, deliveries in self.workers.items():
            if deliveries is not None and not process.is_dead and self.chance.random() < 0.9:
                self.loop.call_at(self.loop.now + self.chance.uniform(0.001, 0.05), deliveries.stop_job, job_id,
                                  context=process.context)

    # -- the run

    def is_done(self) -> bool:
        tables = self.database.tables
        jobs_are_over = all(job.status.is_over for job in tables.job.values()) and not any(
            chunk.window_open for chunk in tables.chunk.values())
        is_over = jobs_are_over and self.loop.now > self.calm_at and not self.fate.coming and not any(
            process.is_frozen or (not process.is_dead and (deliveries is None or deliveries._held))
            for process, deliveries in self.workers.items())
        if not is_over:
            self.over_since = None
            return bool(self.faults) or self.loop.now > self.calm_at + PATIENCE_S
        self.over_since = self.over_since or self.loop.now
        return self.loop.now > self.over_since + 3 * SETTLE_EVERY_S  # what the dead knew is settled by then

    def run(self) -> None:
        """Fills `faults`."""
        chance = self.chance
        self.tables.account[ACCOUNT] = None
        self.tables.gateway[GATEWAY] = chance.choice((2, 4, 8))
        self.job(1, chance.randrange(5, 80), Status.SENDING)
        if chance.random() < 0.4:
            self.job(2, chance.randrange(3, 40), Status.QUEUED)
        for _ in range(LANES):
            self.tables.lane[self.tables.draw("lane")] = Lane(ACCOUNT, 1)
        self.calm_at = chance.uniform(1, 6)
        self.loop.after(self.calm_at, self.fate.calm)
        with installed(self.loop, self.disk, self.gateway.open_session, self._boot_id, self.seed):
            try:
                for host in ("alder", chance.choice(HOSTS))[:chance.choice((1, 2, 2))]:
                    self.spawn(host)
                self.fate.befall()
                self.loop.run_until(self.is_done, LOOK_EVERY_S)
            except Stuck:
                self.faults.append("nothing moves any more")
            self.faults += checks.broken(self)
            self.faults += self.loop.failures
            self._go_home()

    def _boot_id(self) -> bytes:
        process = current()
        return self.boots[process.host] if process is not None else bytes(16)

    def _go_home(self) -> None:
        """Ends what still runs, the dead too, so that nothing of it comes up later."""
        self.database.is_over = True
        for process in self.workers:
            process.is_dead = False
            self.loop.wake(process)
            process.steps_left, process.dies = 0, lambda: None
        with contextlib.suppress(Stuck):
            for _ in range(ROUNDS_HOME):
                for task in self.loop.tasks:
                    task.cancel()
                self.loop.run_until(lambda: not self.loop.is_busy())
        self.disk.close_all()
        shutil.rmtree(self.place, ignore_errors=True)
        self.loop.close()
