"""The database's clock is set forward and back, by an hour, a day or a year, in the middle of a send.

The gateway refuses many for now, so that people wait for their next attempt all the time. Nobody is given up for a clock, nobody
waits for one, and what leases that ran out early leave in doubt is settled by who had them.
"""

from __future__ import annotations

import random

from postroom.ledger.database import db
from proofs.clock import make_clock_settable, set_by
from proofs.installation import installed, moments
from proofs.verdict import Say, Scale, Verdict

WORKERS = 2
SESSIONS = 4
SCRIPT = "rcpt:temp=10%; dot:delay=4ms"
STEPS_S = (3_600, 86_400, 365 * 86_400)


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    rounds, count = scale.of(60, 4), scale.of(60_000, 3_000)
    async with installed(concurrency=SESSIONS, script=SCRIPT, recipients=count) as place:
        url = place.settings.database_url
        assert url is not None
        await make_clock_settable(url)
        async with await db.open_pool(url, size_max=4, name="postroom proof", unsafe=True) as place.pool:
            await place.hire(WORKERS)
            job = await place.sending(count)
            for done, moment in enumerate(moments(draw, rounds, count), 1):
                await place.truth.until(moment)
                step = draw.choice(STEPS_S) * draw.choice((-1, 1))
                await set_by(url, step)
                say(f"{done} steps, the last by {step:,} s, {place.truth.accepted:,} accepted")
            await place.over(job)
            await place.dismiss()
            sides = await place.sides(job)
            faults = await place.faults(job, sides, unconfirmed_max=0)
            [[noticed]] = await place.query("SELECT count(*) FROM job_event WHERE job_id = %s AND verb = 'clock'", job.id)
    if sides.numbers.failed:
        faults.append(f"{sides.numbers.failed} were given up.")
    if noticed == 0:
        faults.append("No step was noticed.")
    return Verdict({"recipients": count, "steps": rounds, "noticed": noticed, "failed": sides.numbers.failed, **sides.figures,
                    **place.sampling.figures}, faults)
