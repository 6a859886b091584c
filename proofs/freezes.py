"""A worker is frozen for longer than its lease, another one takes over, and it wakes up: a paused virtual machine, or swapping.

It begins nothing more of what it has lost, and tells what it knows of what it had in hand. Nobody is mailed twice, and in the
end nobody is left in doubt. A freeze is only one in which something was taken over: a worker that held nothing is woken at once,
and the other one is frozen.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal

from proofs.forge import Worker
from proofs.installation import Place, eventually, installed, moments
from proofs.verdict import Say, Scale, Verdict

WORKERS = 2
SESSIONS = 4
SCRIPT = "dot:delay=10ms"
LEASE_S = 1.0
TRIES_MAX = 40
ARRIVED_AFTER_S = 0.1  # the database has done by then what a worker asked before it was frozen

# What a worker is still taken to hold, and somebody else will want. Its number is part of its name.
HELD = """
    SELECT job_id, chunk_no, lease_epoch FROM chunk
    WHERE owner LIKE '%%:' || %s || ':%%' AND lease_until IS NOT NULL AND unsent > 0
"""
TAKEN_OVER = """
    SELECT count(*) FROM chunk c JOIN unnest(%s::bigint[], %s::integer[], %s::integer[]) AS held(job_id, chunk_no, lease_epoch)
        ON c.job_id = held.job_id AND c.chunk_no = held.chunk_no AND c.lease_epoch > held.lease_epoch
"""


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    freezes, count = scale.of(100, 5), scale.of(60_000, 2_500)
    frozen = taken_over = 0
    async with installed(concurrency=SESSIONS, script=SCRIPT, recipients=count, lease_s=LEASE_S) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        for done, moment in enumerate(moments(draw, freezes, count), 1):
            await place.truth.until(moment)
            taken = await _freeze_one(place, draw.sample(place.crew, WORKERS))
            frozen += taken > 0
            taken_over += taken
            if done % 10 == 0:
                say(f"{frozen} freezes, {place.truth.accepted:,} accepted")
        await place.over(job)
        await eventually(lambda: _no_doubt(place, job.id))
        await place.dismiss()
        sides = await place.sides(job)
        faults = await place.faults(job, sides, unconfirmed_max=0)
    return Verdict({"recipients": count, "freezes": frozen, "freezes left out, as nobody held anything": freezes - frozen,
                    "chunks taken over": taken_over, **sides.figures, **place.sampling.figures}, faults)


async def _freeze_one(place: Place, workers: list[Worker]) -> int:
    """Freezes the first of them that holds something, past its lease. How many chunks were taken over: 0 where nobody ever held
    any."""
    for victim in itertools.islice(itertools.cycle(workers), TRIES_MAX):
        victim.send(signal.SIGSTOP)
        await asyncio.sleep(ARRIVED_AFTER_S)
        held = await place.query(HELD, str(victim.pid))
        await eventually(lambda victim=victim: _holds_nothing(place, victim))
        [[taken_over]] = await place.query(TAKEN_OVER, *map(list, zip(*held, strict=True))) if held else [(0,)]
        victim.send(signal.SIGCONT)
        if taken_over:
            return int(taken_over)
    return 0


async def _holds_nothing(place: Place, worker: Worker) -> bool:
    return not await place.query(HELD, str(worker.pid))


async def _no_doubt(place: Place, job_id: int) -> bool:
    [[doubtful]] = await place.query("SELECT sum(unconfirmed) FROM chunk WHERE job_id = %s", job_id)
    return bool(doubtful == 0)
