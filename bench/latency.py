"""G5: how much of a far gateway's time is used, beside a sender that waits for each answer.

    python bench/latency.py [--json] [--recipients N]

Every octet takes 20 ms each way (`servers/delay.py`), so a round trip takes R = 40 ms, and C = 20 connections could carry
C/R = 500 messages a second at one round trip a message. aiosmtplib waits for the answers to MAIL, RCPT, DATA and the content.
Both have 20 connections. A minute and a half; exit status as that of `send.py`.
"""

from __future__ import annotations

import sys
from functools import partial

from contender import CONNECTIONS, Postroom
from harness import Comparison, Figure, run_benchmark
from peers import peer
from sink import far_sink

ROUND_TRIP_S = 0.040
MOST_PER_S = CONNECTIONS / ROUND_TRIP_S
SHARE = 0.9
OURS = "Postroom"
LOCK_STEP = "aiosmtplib, pool of 20, ready bytes"


async def measure(recipients: int) -> list[Figure]:
    comparison, far = Comparison(), partial(far_sink, ROUND_TRIP_S)
    async with Postroom() as postroom:
        await comparison.attempt(OURS, partial(postroom.run_job, far, recipients))
        theirs = peer("aiosmtplib_pool.py", recipients // 4, CONNECTIONS, needs=("aiosmtplib",), server=far)
        await comparison.attempt(LOCK_STEP, theirs)
    rate, lock_step = comparison.median_rate(OURS), comparison.median_rate(LOCK_STEP)
    assert rate is not None
    name = f"{CONNECTIONS} connections at {ROUND_TRIP_S * 1000:.0f} ms: "
    return [
        Figure.at_least("G5", f"{name}share of C/R", rate / MOST_PER_S, "x", SHARE),
        Figure.plain("G5", f"{name}rate", rate, "messages/s"),
        Figure.plain("G5", f"{name}rate of the peer", lock_step, "messages/s", LOCK_STEP),
        Figure.plain("G5", f"{name}rate as a multiple", lock_step and rate / lock_step, "x", LOCK_STEP),
    ]


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "The share of a far gateway's time that is used", recipients=12_000))
