"""The database stops at once, in the middle of a send, again and again: no word to anybody, as when its machine loses power.

Workers run on through it. Each finishes the message that it is about, keeps what the gateway said, and books it when the
database is back. Nobody is lost, nobody is mailed twice, nobody is left in doubt.
"""

from __future__ import annotations

import random
import time

from proofs.installation import installed, moments
from proofs.verdict import Say, Scale, Verdict

WORKERS = 2
SESSIONS = 4
RESUMED_WITHIN_S = 10.0
SCRIPT = "dot:delay=4ms"


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    rounds, count = scale.of(50, 3), scale.of(25_000, 1_000)
    longest = 0.0
    async with installed(concurrency=SESSIONS, script=SCRIPT, recipients=count, durable=True) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        for done, moment in enumerate(moments(draw, rounds, count), 1):
            await place.truth.until(moment)
            await place.stop_database_at_once()
            await place.server.start()
            began, accepted = time.monotonic(), place.truth.accepted
            await place.truth.until(min(accepted + 1, count))
            longest = max(longest, time.monotonic() - began)
            say(f"{done} stops, {place.truth.accepted:,} accepted")
        await place.over(job)
        await place.dismiss()
        sides = await place.sides(job)
        faults = await place.faults(job, sides, unconfirmed_max=0)
    if scale is Scale.FULL and longest > RESUMED_WITHIN_S:
        faults.append(f"Workers took up to {longest:.1f} s to go on; {RESUMED_WITHIN_S:.0f} s are promised.")
    return Verdict({"recipients": count, "stops": rounds, **sides.figures, "longest until the next message, s": round(longest, 1),
                    **place.sampling.figures}, faults)
