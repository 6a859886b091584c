"""What there is in a run: two machines, a database, a gateway, jobs and their recipients, all drawn from one seed. What happens
is noted; the notes of two runs of a seed are equal.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

from postroom.domain.job import Status
from postroom.domain.outcome import Evidence, Kind
from postroom.flow.delivery.deliver import Deliveries
from proofs.simulation.database import Database
from proofs.simulation.gateway import Gateway
from proofs.simulation.installed import Disk
from proofs.simulation.ledger.tables import Chunk, Job, Recipient, Tables, Told
from proofs.simulation.time import Loop, Process

HOSTS = ("alder", "birch")
ACCOUNT = 1
GATEWAY = 1
LANES = 2


class World:
    def __init__(self, seed: int, place: Path, *, traces: bool = False) -> None:
        self.chance = random.Random(seed)
        self.seed, self.place = seed, place
        self.loop, self.tables, self.disk = Loop(), Tables(), Disk()
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
