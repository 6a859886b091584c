"""kill -9 of workers, by the hundred, in one job. Each is replaced at once; its siblings settle what it knew by its journal.

Kills are spread over the whole job: each comes when the gateway has accepted so many more. Nobody is lost, nobody is mailed
twice, and each kill leaves doubt about one message for each of the worker's sessions at most. How long it takes from a kill until
the worker's journal is settled and gone is measured, and no kill waits for it.
"""

from __future__ import annotations

import asyncio
import random
import time

from proofs.forge import Worker
from proofs.installation import Place, eventually, installed, moments
from proofs.verdict import Say, Scale, Verdict

WORKERS = 3
SESSIONS = 4  # of each worker
CONNECTIONS = 10
SCRIPT = "dot:delay=4ms"


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    kills, count = scale.of(200, 10), scale.of(100_000, 3_000)
    settled_s: list[float] = []

    async def measure(victim: Worker) -> None:
        settled_s.append(await _settled_after_s(place, victim))

    async with installed(connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        async with asyncio.TaskGroup() as measuring:
            for done, moment in enumerate(moments(draw, kills, count), 1):
                await place.truth.until(moment)
                victim = draw.choice(place.crew)
                measuring.create_task(measure(victim))  # begins when this task waits next: for the end of the victim
                await place.replace(victim)
                if done % 20 == 0:
                    say(f"{done} kills, {place.truth.accepted:,} accepted")
            await place.over(job)
        await place.dismiss()
        sides = await place.sides(job)
        faults = await place.faults(job, sides, unconfirmed_max=kills * SESSIONS)
    return Verdict({"recipients": count, "kills": kills, **sides.figures, "unconfirmed at most": kills * SESSIONS,
                    "longest until the journal of who was killed was settled, s": round(max(settled_s), 1),
                    **place.sampling.figures}, faults)


async def _settled_after_s(place: Place, victim: Worker) -> float:
    """From now, when it is killed, until its siblings have settled its journal."""
    async def is_settled() -> bool:
        return not place.journals_of(victim)

    began = time.monotonic()
    await victim.ended()
    await eventually(is_settled, every_s=0.02)
    return time.monotonic() - began
