"""What it costs that nothing is lost, nothing is sent twice, and doubt is named: the whole job with and without it.

    python bench/promises.py [--json] [--recipients N] [--rounds N]

The same worker, sink and job as in `send.py`; the contender has no journal, no windows within a chunk and no commit that waits
for the disk (`bare.py`). It runs between two runs of the real one, in three rounds, and the figure is the median of the part of
its rate that the real one lacks. Four minutes; exit status as that of `send.py`.
"""

from __future__ import annotations

import sys
from functools import partial

import bare
from contender import Postroom
from harness import Figure, compare, run_benchmark
from sink import smtp_sink

COST_MAX_PERCENT = 10.0
REAL, BARE = "Postroom", "Postroom without journal and windows"


async def measure(recipients: int, rounds: int) -> list[Figure]:
    async with Postroom() as postroom:
        job = partial(postroom.run_job, smtp_sink, recipients)
        comparison = await compare({REAL: job}, {BARE: partial(job, before=bare.BEFORE)}, {REAL: [BARE]}, rounds)
    ratio = comparison.ratio(REAL, BARE)
    assert ratio is not None
    return [
        Figure.at_most("cost", "journal and windows: less rate", (1 - ratio) * 100, "%", COST_MAX_PERCENT, BARE),
        *(Figure.plain("cost", f"{name}: rate", comparison.median_rate(name), "messages/s") for name in (REAL, BARE)),
        *(Figure.plain("cost", f"{name}: CPU", comparison.median_cpu_us(name), "us/message") for name in (REAL, BARE)),
    ]


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "What the promises of the hand-off cost", recipients=100_000, rounds=3))
