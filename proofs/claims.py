"""Workers claim chunk after chunk of one job and give them back: no chunk is held by two, and no recipient is in hand twice.

Each worker has a connection of its own to a real PostgreSQL. Now and then one opens a window before it gives the chunk back, so
that the list lasts until so many claims were made.
"""

from __future__ import annotations

import random
from functools import partial

from postroom.domain.access import machine
from postroom.flow.job.approve import approve
from postroom.ledger.delivery import windows
from postroom.ledger.job.jobs import JobOverview
from proofs.place import database
from proofs.races import Contest, at_once
from proofs.verdict import Say, Scale, Verdict

CLAIMERS = 8
RECIPIENTS = 2_000
SAYS = 10  # times

TWICE_IN_HAND = """
    SELECT 'position ' || position || ' was in hand ' || count(*) || ' times' FROM hand_off_window
    CROSS JOIN unnest(positions) AS position WHERE job_id = %s GROUP BY position HAVING count(*) > 1 LIMIT 5
"""


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    async with database(connections=CLAIMERS) as (sampling, pool):
        contest = Contest(pool)
        account_id = await contest.account("Claims", lanes=CLAIMERS)
        job = await contest.job(account_id, RECIPIENTS)
        job = await approve(pool, machine(account_id, "boss"), job.id, digest=job.digest)
        made = await _claimed(contest, job, scale.of(1_000_000, 2_000), random.Random(seed), say)
        contest.faults += await contest.ask(TWICE_IN_HAND, job.id)
    return Verdict({"claims": made, **sampling.figures}, contest.faults[:20] + sampling.found[:5])


async def _claimed(contest: Contest, job: JobOverview, times: int, draw: random.Random, say: Say) -> int:
    """How many claims were made, by all together."""
    made, held = 0, set[int]()
    opens = RECIPIENTS / 2 / times

    async def claimer(name: str) -> None:
        nonlocal made
        async with contest.pool.connection() as conn:
            while made < times:
                claim = await windows.claim_chunk(conn, job.account_id, job.id, owner=name, lease_s=30)
                if claim is None:
                    contest.faults.append(f"After {made} claims there was no chunk for {name}.")
                    return
                made += 1
                if made % (times // SAYS) == 0:
                    say(f"{made:,} claims")
                contest.expect(claim.chunk_no not in held, f"Chunk {claim.chunk_no} was claimed by two.")
                held.add(claim.chunk_no)
                if draw.random() < opens:
                    await contest.one_window(conn, claim)
                held.discard(claim.chunk_no)
                await windows.release_chunk(conn, claim)

    answers = await at_once(*(partial(claimer, f"worker {n}") for n in range(CLAIMERS)))
    raised = [answer for answer in answers if answer is not None]
    contest.expect(not raised, f"A claim failed: {raised[:3]}")
    return made
