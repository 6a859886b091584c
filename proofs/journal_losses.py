"""All workers of a machine are killed and its journals are lost: what the disk of a dead machine takes with it.

Nobody can say then what the workers had handed over of their open windows. Those become unconfirmed, with that reason, and no
others; nobody is lost, and nobody is mailed twice.
"""

from __future__ import annotations

import random

from postroom.domain.pace import WINDOW_SIZE_MAX
from proofs.installation import installed, moments
from proofs.verdict import Say, Scale, Verdict

WORKERS = 2
SESSIONS = 4
CONNECTIONS = 6
SCRIPT = "dot:delay=4ms"


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    rounds, count = scale.of(50, 3), scale.of(100_000, 6_000)
    async with installed(connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count, lease_s=1.0) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        for done, moment in enumerate(moments(draw, rounds, count), 1):
            await place.truth.until(moment)
            await place.kill_all()
            await place.lose_journals()
            await place.hire(WORKERS)
            say(f"{done} losses, {place.truth.accepted:,} accepted")
        await place.over(job)
        await place.dismiss()
        sides = await place.sides(job)
        bound = rounds * CONNECTIONS * WINDOW_SIZE_MAX
        faults = await place.faults(job, sides, unconfirmed_max=bound)
    return Verdict({"recipients": count, "losses": rounds, **sides.figures, "unconfirmed at most": bound,
                    **place.sampling.figures}, faults)
