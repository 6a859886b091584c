"""A backup takes the place of the database: under workers that are alive, or for a machine that has never seen it.

Workers that live know what they handed off since; every job stands still before anybody is mailed again, and their journals are
kept. A machine without a past stands still too, until a person says that this is the newest database. Where it is, nobody is
mailed twice. Where it is an old dump, and the word is wrong, those whom it knows as unsent are mailed once more, and nobody else.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from postroom.domain.access import machine
from postroom.domain.pace import WINDOW_SIZE_MAX
from postroom.doors import wiring
from postroom.flow.job import finish
from postroom.ledger.job.jobs import JobOverview
from proofs.installation import Place, eventually, installed
from proofs.standbys import STANDS_STILL, copied, dumped, go_on_with, loaded, named_in_journals, outcome, stands_still
from proofs.verdict import Say, Scale, Verdict

WORKERS = 3
SESSIONS = 4
CONNECTIONS = 6
SCRIPT = "dot:delay=10ms"  # so that each session turns its window every 0.4 s
PER_S = CONNECTIONS / 0.01
OLD_S = (0.1, 0.5, 2.0, 10.0)
OLD_DUMP_S = (0.5, 5.0)
NOW_S = 0.0  # of a dump that nothing came after
AT_ONCE = 3  # a restore is mostly waiting, for signs of life and for leases
WORDS_MAX = 2  # the second one is for the workers that the dump names and that do not answer
DOUBT_MAX = WORKERS * SESSIONS * WINDOW_SIZE_MAX
MAILED_AGAIN = "mailed again after a person's wrong word"
SIDES = ("accepted", "lost", "twice", "called sent but not accepted", "unconfirmed")

Case = Callable[[random.Random, Counter[str]], Awaitable[list[str]]]


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    faults, figures = list[str](), Counter[str]()
    cases = [*_cases(OLD_S, OLD_DUMP_S).items()] * 10 if scale is Scale.FULL else [*_cases((1.0,), (1.0,)).items()]
    waiting = iter(enumerate(cases, 1))

    async def try_them() -> None:
        for number, (words, case) in waiting:
            found = await case(random.Random(seed + number), figures)
            say(f"{number} of {len(cases)}, {words}: {'; '.join(found) or 'holds'}")
            faults.extend(f"{words}: {one}" for one in found)

    await asyncio.gather(*(try_them() for _ in range(AT_ONCE)))
    return Verdict({"restores": len(cases), **figures, "unconfirmed at most": DOUBT_MAX}, faults)


def _cases(old_s: tuple[float, ...], old_dump_s: tuple[float, ...]) -> dict[str, Case]:
    return {f"a backup {one} s old under living workers": partial(_restored, one) for one in old_s} | {
        "the newest database, a machine without a past": partial(_without_a_past, None),
        "the newest dump, a machine without a past": partial(_without_a_past, NOW_S)} | {
        f"a dump {one} s old, a machine without a past": partial(_without_a_past, one) for one in old_dump_s}


async def _restored(old_s: float, draw: random.Random, figures: Counter[str]) -> list[str]:
    """Under workers that go on as soon as the database is back."""
    count = round(PER_S * (12 + old_s))  # far more than is sent until then
    async with installed(connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count, durable=True) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        await place.truth.until(draw.randrange(1, round(PER_S)))
        backup = await copied(place.server, place.home / "backup")
        await asyncio.sleep(old_s)  # this much is what it is about
        await go_on_with(place, backup)
        if await eventually(lambda: outcome(place, job)) == STANDS_STILL:
            figures["stood still"] += 1
            await finish.cancel(place.pool, machine(job.account_id, "prover"), job.id)
        await place.dismiss()
        sides = await place.sides(job)
        figures["mailed without the database's knowing"] += len(sides.accepted_but_not_told)
        for name in SIDES:
            figures[name] += sides.figures[name]
        return sides.faults(DOUBT_MAX, excused=await named_in_journals(place, job)) + place.sampling.found[:5]


async def _without_a_past(old_s: float | None, draw: random.Random, figures: Counter[str]) -> list[str]:
    """The machine of all workers is lost, and another one starts on the database, or on what was dumped of it so long before."""
    count = round(PER_S * (4 + (old_s or 0)))
    async with installed(connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count, durable=True) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        await place.truth.until(draw.randrange(1, round(PER_S * 2)))
        if old_s:
            known, dump = set(place.truth.taken(job.id)), await dumped(place.server, place.home / "dump")
            await asyncio.sleep(old_s)
        await place.kill_all()
        shutil.rmtree(place.settings.home)
        place.settings.home.mkdir()
        if not old_s:
            known, dump = set(place.truth.taken(job.id)), await dumped(place.server, place.home / "dump")
        if old_s is not None:
            await go_on_with(place, await loaded(dump, place.home / "fresh", place.server))
        accepted = place.truth.accepted
        await place.hire(WORKERS)
        await eventually(lambda: _all_stand_still(place, job))
        before = await place.sides(job)
        unknown = before.accepted_but_not_told - known
        faults = before.faults(DOUBT_MAX, excused=unknown)
        if place.truth.accepted > accepted:
            faults.append("Somebody was mailed before a person had looked.")
        for _ in range(WORDS_MAX):
            if await eventually(lambda: outcome(place, job)) == STANDS_STILL:
                await wiring.trust_database(place.settings, by="prover")
                figures["a person's words"] += 1
        await place.over(job)
        await place.dismiss()
        sides = await place.sides(job)
        figures[MAILED_AGAIN] += len(unknown & sides.twice)
        sides = replace(sides, taken=sides.taken - Counter(unknown))  # the person answers for one message to each
        for name in SIDES:
            figures[name] += sides.figures[name]
        return faults + await place.faults(job, sides, unconfirmed_max=DOUBT_MAX)


async def _all_stand_still(place: Place, job: JobOverview) -> bool:
    """Whether the job does although every worker has begun, and would take chunks if there were any to take."""
    [[begun]] = await place.query("SELECT count(*) FROM worker w JOIN job_condition c ON w.seen_at > c.since "
                                  "WHERE c.job_id = %s AND c.kind = 'paused'", job.id)
    return begun == WORKERS and await stands_still(place, job)
