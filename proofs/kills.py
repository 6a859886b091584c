"""kill -9 of workers, by the hundred, in one job. Each is replaced at once; its siblings settle what it knew by its journal.

Kills are spread over the whole job: each comes when the gateway has accepted so many more. Nobody is lost, nobody is mailed
twice, and each kill leaves doubt about one message for each of the worker's sessions at most.
"""

from __future__ import annotations

import random

from proofs.installation import installed, moments
from proofs.verdict import Say, Scale, Verdict

WORKERS = 3
SESSIONS = 4  # of each worker
CONNECTIONS = 10
SCRIPT = "dot:delay=4ms"


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    kills, count = scale.of(200, 10), scale.of(100_000, 3_000)
    async with installed(connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        for done, moment in enumerate(moments(draw, kills, count), 1):
            await place.truth.until(moment)
            await place.replace(draw.choice(place.crew))
            if done % 20 == 0:
                say(f"{done} kills, {place.truth.accepted:,} accepted")
        await place.over(job)
        await place.dismiss()
        sides = await place.sides(job)
        faults = await place.faults(job, sides, unconfirmed_max=kills * SESSIONS)
    return Verdict({"recipients": count, "kills": kills, **sides.figures, "unconfirmed at most": kills * SESSIONS,
                    "samples": place.sampling.samples}, faults)
