"""A backup takes the place of the database: under workers that are alive, or for a machine that has never seen it.

Workers that live know what they handed off since; every job stands still before anybody is mailed again, and their journals are
kept. A machine without a past stands still too, until a person says that this is the newest database.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter

from postroom.domain.pace import WINDOW_SIZE_MAX
from postroom.doors import wiring
from postroom.flow.job import finish
from proofs.installation import eventually, installed
from proofs.standbys import STANDS_STILL, copied, named_in_journals, outcome, stands_still
from proofs.verdict import Say, Scale, Verdict

WORKERS = 3
SESSIONS = 4
CONNECTIONS = 6
SCRIPT = "dot:delay=10ms"  # so that each session turns its window every 0.4 s
PER_S = CONNECTIONS / 0.01
OLD_S = (0.1, 0.5, 2.0, 10.0)
DOUBT_MAX = WORKERS * SESSIONS * WINDOW_SIZE_MAX
FRESH = "a machine without a past"
SIDES = ("accepted", "lost", "twice", "called sent but not accepted", "unconfirmed")


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw, faults, figures = random.Random(seed), list[str](), Counter[str]()
    cases = [*OLD_S, FRESH] * 10 if scale is Scale.FULL else [1.0, FRESH]
    for done, case in enumerate(cases, 1):
        words = case if isinstance(case, str) else f"a backup {case} s old"
        found = await (_without_a_past(draw, figures) if isinstance(case, str) else _restored(draw, case, figures))
        say(f"{done} of {len(cases)}, {words}: {'; '.join(found) or 'holds'}")
        faults += [f"{words}: {one}" for one in found]
    return Verdict({"restores": len(cases), **figures, "unconfirmed at most": DOUBT_MAX}, faults)


async def _restored(draw: random.Random, old_s: float, figures: Counter[str]) -> list[str]:
    """Under workers that go on as soon as the database is back."""
    count = round(PER_S * (12 + old_s))  # far more than is sent until then
    async with installed(connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count, durable=True) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        await place.truth.until(draw.randrange(1, round(PER_S)))
        backup = await copied(place.server, place.home / "backup")
        await asyncio.sleep(old_s)  # this much is what it is about
        await place.stop_database_at_once()
        data = place.server.data
        data.rename(place.home / "lost")
        backup.rename(data)
        await place.server.start()
        if await eventually(lambda: outcome(place, job)) == STANDS_STILL:
            figures["stood still"] += 1
            await finish.cancel(place.pool, job.account_id, job.id, by="prover")
        await place.dismiss()
        sides = await place.sides(job)
        figures["mailed without the database's knowing"] += len(sides.accepted_but_not_told)
        for name in SIDES:
            figures[name] += sides.figures[name]
        return sides.faults(DOUBT_MAX, excused=await named_in_journals(place, job)) + place.sampling.found[:5]


async def _without_a_past(draw: random.Random, figures: Counter[str]) -> list[str]:
    """The machine of all workers is lost, and another one starts on the database, which is the newest."""
    count = round(PER_S * 4)
    async with installed(connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count, durable=True) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        await place.truth.until(draw.randrange(1, count // 2))
        await place.kill_all()
        shutil.rmtree(place.settings.home)
        place.settings.home.mkdir()
        accepted = place.truth.accepted
        await place.hire(WORKERS)
        await eventually(lambda: stands_still(place, job))
        faults = [] if place.truth.accepted == accepted else ["Somebody was mailed before a person had looked."]
        await wiring.trust_database(place.settings, by="prover")
        await place.over(job)
        await place.dismiss()
        sides = await place.sides(job)
        for name in SIDES:
            figures[name] += sides.figures[name]
        return faults + await place.faults(job, sides, unconfirmed_max=DOUBT_MAX)
