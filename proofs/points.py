"""A process dies exactly at each named point of the code, in every life of a job of 50 recipients that comes to it.

A job is led through several lives: one that is sent, one that waits for its time, one that is cancelled, one that is paused, one
whose gateway is gone, one whose refused are given up, one whose worker died before with and without its journal, one whose doubt
a person settles, one in a database that was restored from a backup. The gateway asks for TLS and a login. Each life is led once
to count who comes to which points how often. Then each point kills at its first passage in every life that comes to it, and in
the one that comes to it most often at a middle and the last passage too; whoever has died is replaced or asked again. The short
version kills at each point once. No two lives are quite alike: one that did not come to its point as often is led once more, and
told where nobody died then either. Whatever died where, everybody is accounted for.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from postroom.domain.access import machine
from postroom.domain.job import Status
from postroom.errors import NotFound
from postroom.flow.job import report
from postroom.ledger.job.jobs import JobOverview
from proofs.forge import ROOT, Watched, Worker
from proofs.installation import Place, eventually, gateway, several
from proofs.verdict import Say, Scale, Verdict

RECIPIENTS = 50
SESSIONS = 4
PLACES = 6  # at once: a life is mostly waiting, for leases and for those that rescue
SCRIPT = ("rcpt:temp=8% 450 4.2.1 Busy,perm=10% 550 5.7.1 Not welcome; "  # of recipients: nothing that slows down
          "dot:temp=8% 452 4.2.2 Full,delay=8ms; seed=7")
MIDDLE = 15  # accepted messages: then somebody interferes
POINTS_MIN = 40
SOON_S = 8  # the job is approved before
NOBODY_LISTENS = 1  # a port of 127.0.0.1

RETRY_TAIL = "UPDATE account SET retry_tail_s = %s WHERE id = %s RETURNING 1"
RETRY_TAIL_S = 1_800

_LITERAL = re.compile(r'\breach\("([a-z_.]+)"\)')


@dataclass
class Life:
    """One job's life in a place. `fate` is what kills: "point:n", or nothing."""

    place: Place
    number: int
    fate: str = ""
    job: JobOverview | None = None
    deaths: int = 0
    changes: dict[str, Any] = field(default_factory=dict)  # of the place's settings
    _counts: list[Path] = field(default_factory=list)
    _worker: Worker | None = None

    async def ask(self, verb: str, *values: int) -> None:
        """A person or a program asks for something, and asks again where its process died of it."""
        given = verb, str(self.place.account_id), *map(str, values)
        asking = await self.place.forge.worker(self.environment, runs=given, watched=self._watch(self.fate))
        await asking.ended()
        if self._has_died(asking):
            again = await self.place.forge.worker(self.environment, runs=given)
            await again.ended()

    async def submitted(self, in_s: int) -> JobOverview:
        await self.ask("submit", self.number, RECIPIENTS, int(time.time()) + in_s)
        [[job_id]] = await self.place.query("SELECT max(id) FROM job")
        self.job = (await report.report(self.place.pool, machine(self.place.account_id, "proof"), job_id)).job
        return self.job

    async def approved(self, in_s: int = 0) -> JobOverview:
        """A job that workers have looked at, with its approval."""
        job = await self.submitted(in_s)
        await self.until(partial(self.place.is_checked, job))
        await self.ask("approve", job.id)
        return job

    async def working(self, fate: str = "") -> Worker:
        """A worker; the first one that is given the fate dies of it, and another one takes its place."""
        self._worker = await self.place.forge.worker(self.environment, watched=self._watch(fate))
        return self._worker

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        """Until it is so, with somebody at work all the time."""
        async def so() -> bool:
            if self._worker is not None and not self._worker.alive:
                self._has_died(self._worker)
                await self.working()
            return await look()
        await eventually(so)

    async def until_accepted(self, count: int) -> None:
        async def enough() -> bool:
            assert self.job is not None
            return self.place.truth.taken(self.job.id).total() >= count
        await self.until(enough)

    async def over(self) -> None:
        assert self.job is not None
        await self.until(partial(self.place.is_over, self.job))
        assert self._worker is not None
        await self._worker.stop()
        self._has_died(self._worker)

    async def end(self) -> None:
        """Whatever is left of it."""
        if self._worker is not None:
            await self._worker.kill()

    @property
    def passed(self) -> Counter[str]:
        """How often somebody came to a point."""
        found = Counter[str]()
        for path in self._counts:
            if path.exists():
                found |= Counter(json.loads(path.read_text()))
        return found

    @property
    def environment(self) -> dict[str, str]:
        return msgspec.structs.replace(self.place.settings, **self.changes).environment()

    def _watch(self, fate: str) -> Watched:
        self._counts.append(self.place.home / f"passed-{self.number}-{len(self._counts)}.json")
        return Watched(self._counts[-1], fate)

    def _has_died(self, worker: Worker) -> bool:
        died = worker.words.endswith(f"dies at {self.fate}\n") if self.fate else False
        self.deaths += died
        return died


# -- the lives ---------------------------------------------------------------------------------------------------------


async def sent(life: Life) -> None:
    await life.working(life.fate)
    await life.approved()
    await life.over()


async def scheduled(life: Life) -> None:
    """It waits for its time, and the sweeper starts it."""
    await life.working(life.fate)
    await life.approved(SOON_S)
    await life.over()


async def failed(life: Life) -> None:
    """Its gateway is gone, and the sweeper gives up."""
    place, life.changes = life.place, {"gateway_give_up_s": 1.0}
    await gateway(place.pool, place.account_id, NOBODY_LISTENS, SESSIONS)
    try:
        await sent(life)
    finally:
        await gateway(place.pool, place.account_id, place.truth.port, SESSIONS, secured=True)


async def given_up(life: Life) -> None:
    """Who is refused for now is not tried again before the job's patience is over."""
    place, life.changes = life.place, {"retry_base_s": 600.0}
    await place.query(RETRY_TAIL, 1, place.account_id)
    try:
        await sent(life)
    finally:
        await place.query(RETRY_TAIL, RETRY_TAIL_S, place.account_id)


async def cancelled(life: Life) -> None:
    """Who was refused is not tried again so soon, and the job cannot be over before the cancel, however late that comes."""
    life.changes = {"retry_base_s": 600.0}
    await life.working(life.fate)
    job = await life.approved()
    await life.until_accepted(MIDDLE)
    await life.ask("cancel", job.id)
    await life.over()


async def paused(life: Life) -> None:
    await life.working(life.fate)
    job = await life.approved()
    await life.until_accepted(MIDDLE)
    await life.ask("pause", job.id)
    await life.ask("resume", job.id)
    await life.over()


async def inherited(life: Life) -> None:
    """Its worker dies in the middle, and the next one settles that by the journal."""
    await _killed_in_the_middle(life)
    await life.working(life.fate)
    await life.over()


async def orphaned(life: Life) -> None:
    """The same without a journal: the next one takes over when the lease is up."""
    await _killed_in_the_middle(life)
    await life.place.lose_journals()
    await life.working(life.fate)
    await life.over()


async def settled(life: Life) -> None:
    """The same; then a person who has read the gateway's log says of those in doubt which were sent."""
    await orphaned(life)
    assert life.job is not None
    sides = await life.place.sides(life.job)
    await life.ask("assume_sent", life.job.id, *sorted(sides.positions("unconfirmed") & sides.taken.keys()))


async def abandoned(life: Life) -> None:
    """The same in a job that is cancelled: the sweeper finds the window that nobody holds. As above, it cannot be over before."""
    life.changes = {"retry_base_s": 600.0}
    job = await _killed_in_the_middle(life)
    await life.place.lose_journals()
    await life.ask("cancel", job.id)
    await life.working(life.fate)
    await life.over()


async def restored(life: Life) -> None:
    """The machine has seen a later state of the database. A person looks, and lets the job go on."""
    job = await _killed_in_the_middle(life)
    mark = life.place.journals / "mark"
    whose, beat = mark.read_text().split()
    mark.write_text(f"{whose} {int(beat) + 1_000}\n")
    await life.working(life.fate)

    async def stands_still() -> bool:  # the guard raises the beat last: before that it would pause the job once more
        return bool(await life.place.query("SELECT 1 FROM job_condition, installation WHERE job_id = %s AND kind = 'paused' "
                                           "AND beat > %s", job.id, int(beat) + 1_000))
    await life.until(stands_still)
    await life.ask("resume", job.id)
    await life.over()


async def _killed_in_the_middle(life: Life) -> JobOverview:
    worker = await life.working()
    job = await life.approved()
    await life.until_accepted(MIDDLE)
    await worker.kill()
    return job


Live = Callable[[Life], Awaitable[None]]
LIVES: tuple[Live, ...] = (sent, scheduled, failed, given_up, cancelled, paused, inherited, orphaned, settled, abandoned,
                          restored)
WITHOUT_A_JOURNAL = (orphaned, settled, abandoned, restored)
ENDS = {cancelled: Status.CANCELLED, abandoned: Status.CANCELLED, failed: Status.FAILED}


# -- the proof ---------------------------------------------------------------------------------------------------------


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    points = named_points()
    found: list[str] = [] if len(points) >= POINTS_MIN else [f"There are {len(points)} named points; {POINTS_MIN} are promised."]
    async with several(PLACES, connections=SESSIONS, concurrency=SESSIONS, script=SCRIPT, lease_s=1.0, secured=True) as places:
        run = _Run(say, places)
        await run.all([(live, "") for live in LIVES])
        fates = _fates(points, run.passed, scale)
        draw.shuffle(fates)
        await run.all(fates)
        again, run.spared = run.spared, []
        await run.all(again)
    tried = {(live.__name__, _point(fate)) for live, fate in fates}
    killed = {point for _, point in run.died}
    if len(killed) < POINTS_MIN:
        found.append(f"Somebody died at {len(killed)} points; {POINTS_MIN} are promised.")
    return Verdict({"named points": len(points), "points where somebody died": len(killed),
                    "points in each life that comes to them": len(tried), "of these, where somebody died": len(run.died),
                    "lives": len(LIVES) + len(fates) + len(again), "lives led once more": len(again), "deaths": run.deaths,
                    "lives in which nobody died though somebody was to": len(run.spared),
                    "these": ", ".join(sorted(f"{live.__name__} at {fate}" for live, fate in run.spared)) or "none",
                    **run.figures, "nobody died at": ", ".join(sorted(set(points) - killed)) or "none"}, found + run.faults)


def _fates(points: list[str], passed: Mapping[str, Counter[str]], scale: Scale) -> list[tuple[Live, str]]:
    """Where to die: in short once at each point, in the life that comes there most often."""
    fates = []
    for point in points:
        times = {live: passed[live.__name__][point] for live in LIVES if passed[live.__name__][point]}
        if not times:
            continue
        most = max(times, key=times.__getitem__)
        if scale is Scale.FULL:
            nths = {live: {1} for live in times} | {most: {1, (times[most] + 1) // 2, times[most]}}
        else:
            nths = {most: {1}}
        fates += [(live, f"{point}:{nth}") for live in nths for nth in sorted(nths[live])]
    return fates


def _point(fate: str) -> str:
    return fate.partition(":")[0]


@dataclass
class _Run:
    say: Say
    places: list[Place]
    passed: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    deaths: int = 0
    died: set[tuple[str, str]] = field(default_factory=set)  # lives and points
    spared: list[tuple[Live, str]] = field(default_factory=list)  # who was to die, and did not
    faults: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    _led: int = 0

    async def all(self, lives: list[tuple[Live, str]]) -> None:
        """Leads them, in each place one after the other."""
        waiting = iter(lives)
        await asyncio.gather(*(self._lead(place, waiting) for place in self.places))

    async def _lead(self, place: Place, waiting: Iterator[tuple[Live, str]]) -> None:
        for live, fate in waiting:
            self._led += 1
            await self._one(place, live, Life(place, self._led, fate))

    async def _one(self, place: Place, live: Live, life: Life) -> None:
        name = f"{live.__name__}, {life.fate or 'nobody dies'}"
        try:
            await live(life)
        except (TimeoutError, NotFound) as error:
            self.faults.append(f"{name}: it did not come to its end ({type(error).__name__}).")
            await life.end()
            return
        assert life.job is not None
        sides = await place.sides(life.job)
        bound = RECIPIENTS if live in WITHOUT_A_JOURNAL else SESSIONS * (life.deaths + (live is inherited))
        found = await place.faults(life.job, sides, unconfirmed_max=bound)
        if sides.numbers.status is not ENDS.get(live, Status.COMPLETED):
            found.append(f"the job ended as {sides.numbers.status}.")
        self.faults += [f"{name}: {fault}" for fault in found]
        self.figures.update(sides.figures)
        if life.deaths:
            self.deaths += 1
            self.died.add((live.__name__, _point(life.fate)))
        elif life.fate:
            self.spared.append((live, life.fate))
        self.passed[live.__name__] |= life.passed
        self.say(f"{name}: {life.deaths} deaths, {sides.counts}")


def named_points() -> list[str]:
    """Every `reach("...")` of the code."""
    found: set[str] = set()
    for path in (ROOT / "src" / "postroom").rglob("*.py"):
        found |= set(_LITERAL.findall(path.read_text()))
    return sorted(found)
