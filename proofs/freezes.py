"""A worker is frozen for longer than its lease, another one takes over, and it wakes up: a paused virtual machine, or swapping.

It begins nothing more of what it has lost, and tells what it knows of what it had in hand. Nobody is mailed twice, and in the
end nobody is left in doubt.
"""

from __future__ import annotations

import random
import signal

from proofs.forge import Worker
from proofs.installation import Place, eventually, installed, moments
from proofs.verdict import Say, Scale, Verdict

WORKERS = 2
SESSIONS = 4
SCRIPT = "dot:delay=10ms"
LEASE_S = 1.0

# What a worker is still taken to hold. Its number is part of its name.
HELD = "SELECT count(*) FROM chunk WHERE owner LIKE '%%:' || %s || ':%%' AND lease_until IS NOT NULL"


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    freezes, count = scale.of(100, 5), scale.of(60_000, 2_500)
    taken_over = 0
    async with installed(concurrency=SESSIONS, script=SCRIPT, recipients=count, lease_s=LEASE_S) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        for done, moment in enumerate(moments(draw, freezes, count), 1):
            await place.truth.until(moment)
            victim = draw.choice(place.crew)
            victim.send(signal.SIGSTOP)
            taken_over += await _held(place, victim)
            await eventually(lambda victim=victim: _is_fenced(place, victim))
            victim.send(signal.SIGCONT)
            if done % 10 == 0:
                say(f"{done} freezes, {place.truth.accepted:,} accepted")
        await place.over(job)
        await eventually(lambda: _no_doubt(place, job.id))
        await place.dismiss()
        sides = await place.sides(job)
        faults = await place.faults(job, sides, unconfirmed_max=0)
    return Verdict({"recipients": count, "freezes": freezes, "chunks taken over": taken_over, **sides.figures,
                    "samples": place.sampling.samples}, faults)


async def _held(place: Place, worker: Worker) -> int:
    [[held]] = await place.query(HELD, str(worker.pid))
    return int(held)


async def _is_fenced(place: Place, worker: Worker) -> bool:
    return await _held(place, worker) == 0


async def _no_doubt(place: Place, job_id: int) -> bool:
    [[doubtful]] = await place.query("SELECT sum(unconfirmed) FROM chunk WHERE job_id = %s", job_id)
    return bool(doubtful == 0)
