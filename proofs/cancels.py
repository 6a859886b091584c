"""A person cancels, at any moment of a send, and a worker in another process hears of it.

Counted from the moment at which the person has the answer: of each session at most one message begins after it, by the
gateway's own clock. Nobody is left in hand, and whoever was not mailed is unsent and stays so: when all workers are gone, each
job is compared with the gateway's record, what is left of journals, its events and the API. The time to effect runs from the
answer to the last message that the gateway accepts.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter

import msgspec

from postroom.domain.access import machine
from postroom.domain.job import Status
from postroom.errors import Conflict
from postroom.flow.job import finish
from postroom.gateway.sandbox.record import Record
from postroom.ledger.job.jobs import JobOverview
from proofs.checker import taken_of
from proofs.installation import Place, installed
from proofs.verdict import Say, Scale, Verdict

WORKERS = 2
SESSIONS = 4
RECIPIENTS = 200
CANCEL_WITHIN_S = 0.6
QUIET_TIMES = 3  # the gateway's delay: what it has in hand is accepted by then

LEFT = """
    SELECT status::text, (SELECT count(*) FROM chunk WHERE job_id = j.id AND (window_open OR owner IS NOT NULL)) FROM job j
    WHERE id = %s
"""


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw, cancels = random.Random(seed), scale.of(500, 20)
    # As of a gateway that is not next door: the word of the cancel takes a few milliseconds itself, and more on a machine that is
    # busy with other tests.
    delay_ms = scale.of(30, 150)
    faults: list[str] = []
    cancelled: list[JobOverview] = []
    effects_s: list[float] = []
    too_late = begun = 0
    async with installed(concurrency=SESSIONS, script=f"dot:delay={delay_ms}ms", recipients=cancels * RECIPIENTS) as place:
        await place.hire(WORKERS)
        for done in range(1, cancels + 1):
            job = await place.sending(RECIPIENTS)
            await asyncio.sleep(draw.uniform(0, CANCEL_WITHIN_S))
            try:
                await finish.cancel(place.pool, machine(job.account_id, "boss"), job.id)
            except Conflict:  # it was completed
                too_late += 1
                continue
            answered_at = time.time()
            await place.over(job)
            await asyncio.sleep(QUIET_TIMES * delay_ms / 1_000)
            effect_s, of_each_session = after(place, job, answered_at)
            effects_s.append(effect_s)
            begun += sum(of_each_session)
            if max(of_each_session, default=0) > 1:
                faults.append(f"Job {job.id}: one session began {max(of_each_session)} messages after the answer, the last "
                              f"accepted {effect_s * 1_000:.0f} ms later.")
            faults += await left_over(place, job)
            cancelled.append(job)
            if done % 50 == 0:
                say(f"{done} cancels, {begun} messages begun after the answer")
        await place.dismiss()
        for job in cancelled:
            found = await place.faults(job, await place.sides(job), unconfirmed_max=0)
            faults += [one if one in place.sampling.found else f"Job {job.id}: {one}" for one in found]
        faults = list(dict.fromkeys(faults + place.sampling.found[:5]))  # which each job told too
    return Verdict({"cancels": len(effects_s), "too late": too_late, "begun after the answer": begun, **distribution(effects_s),
                    **place.sampling.figures}, faults[:20])


def after(place: Place, job: JobOverview, answered_at: float) -> tuple[float, list[int]]:
    """How long after the answer the last message was accepted, and how many each session began after it."""
    last, begun = answered_at, Counter[int]()
    with place.truth.path.open("rb") as lines:
        for line in lines:
            record = msgspec.json.decode(line, type=Record)
            if record.t > answered_at and not record.refused and taken_of([record.message_id], job.id):
                last = max(last, record.t)
                begun[record.connection] += record.mail_t > answered_at
    return last - answered_at, list(begun.values())


async def left_over(place: Place, job: JobOverview) -> list[str]:
    """What of a cancelled job is not at its end, while its workers are still there."""
    [[status, held]] = await place.query(LEFT, job.id)
    found = [] if status == Status.CANCELLED else [f"Job {job.id} is {status}."]
    return found + ([f"{held} chunks of job {job.id} are still in hand."] if held else [])


def distribution(effects_s: list[float]) -> dict[str, str]:
    """From the answer to the last acceptance."""
    if len(effects_s) < 2:
        return {}
    percentiles = statistics.quantiles(effects_s, n=100, method="inclusive")
    told = {"median": percentiles[49], "95 of 100 within": percentiles[94], "longest": max(effects_s)}
    return {f"time to effect, {name}": f"{value * 1_000:.1f} ms" for name, value in told.items()}
