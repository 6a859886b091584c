"""The database's server dies in the middle of a send, and a standby goes on in its place: one that has everything, or one that
lacks the last tenth of a second, or the last ten.

Each worker is a machine of its own. Where all was replicated the send goes on as if nothing had been. Where something was lost,
every job stands still before anybody is mailed again, and who was mailed without the database's knowing is named in journals that
are left. Sometimes a worker dies with the server: nobody can say then what it had handed off, so the others stand still too.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import msgspec

from postroom.domain.access import machine
from postroom.domain.pace import WINDOW_SIZE_MAX
from postroom.flow.job import finish
from postroom.ledger.database import db
from proofs.forge import Worker
from proofs.installation import Place, eventually, installed
from proofs.standbys import STANDS_STILL, Standby, named_in_journals, outcome, standby
from proofs.verdict import Say, Scale, Verdict

MACHINES = 3
SESSIONS = 4
CONNECTIONS = 6
SCRIPT = "dot:delay=10ms"  # so that each session turns its window every 0.4 s
PER_S = CONNECTIONS / 0.01
LOST_S = (0.0, 0.1, 0.5, 2.0, 10.0)
DIES = 0.3  # how often a worker goes with the server
SIDES = ("accepted", "lost", "twice", "called sent but not accepted", "unconfirmed")


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw, faults, figures = random.Random(seed), list[str](), Counter[str]()
    cases = [None, *LOST_S] * 10 if scale is Scale.FULL else [None, 1.0]
    for case in cases:
        dies = scale is Scale.FULL and draw.random() < DIES
        words = ("synchronous" if case is None else f"{case} s of commits lost") + (", a worker dies" if dies else "")
        figures["fail-overs"] += 1
        found = await _fail_over(draw, case, dies=dies, figures=figures)
        say(f"{figures['fail-overs']} of {len(cases)}, {words}: {'; '.join(found) or 'holds'}")
        faults += [f"{words}: {one}" for one in found]
    return Verdict(dict(figures), faults)


async def _fail_over(draw: random.Random, lost_s: float | None, *, dies: bool, figures: Counter[str]) -> list[str]:
    """One of them, from an empty database to the end of a job; what was wrong."""
    count = round(PER_S * (12 + lost_s if lost_s else 4))  # where it will stand still, far more than is sent until then
    moment = draw.randrange(1, round(PER_S))
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(installed(
            connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count, durable=True))
        other = await stack.enter_async_context(standby(place.server, place.home, synchronous=lost_s is None))
        place.sampling.url = other.url
        place.pool = await stack.enter_async_context(await db.open_pool(other.url, size_max=4, name="postroom proof"))
        machines = await _machines(place, other)
        await place.at_work(MACHINES)
        job = await place.sending(count)
        await place.truth.until(moment)
        if lost_s:
            other.hold()
            await asyncio.sleep(lost_s)  # this much is what it is about
        await place.stop_database_at_once()
        if dies:
            await draw.choice(list(machines)).kill()
        await other.promote()
        stopped = await eventually(lambda: outcome(place, job)) == STANDS_STILL
        figures["stood still"] += stopped
        if stopped:
            await finish.cancel(place.pool, machine(job.account_id, "prover"), job.id)
        await asyncio.gather(*(worker.stop() for worker in machines if worker.alive))
        sides = await place.sides(job)
        named = await named_in_journals(place, job)
        figures["mailed without the database's knowing"] += len(sides.accepted_but_not_told)
        figures["unconfirmed at most"] = MACHINES * SESSIONS * WINDOW_SIZE_MAX
        for name in SIDES:
            figures[name] += sides.figures[name]
        faults = sides.faults(figures["unconfirmed at most"], excused=named if stopped else ()) + place.sampling.found[:5]
        if lost_s is None and not dies and (stopped or sides.numbers.unconfirmed):
            faults.append("Nothing was lost, and it stood still, or somebody is in doubt.")
        return faults


async def _machines(place: Place, other: Standby) -> dict[Worker, Path]:
    """Workers, each with a home of its own, which reach the database by both names."""
    found = {}
    for number in range(MACHINES):
        home = place.home / f"machine-{number}"
        home.mkdir()
        own = msgspec.structs.replace(place.settings, database_url=other.url, home=home)
        found[await place.forge.worker(own.environment())] = home
    return found
