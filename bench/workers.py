"""G11: two worker processes beside one, where the receiving server is not the limit.

    python bench/workers.py [--json] [--recipients N] [--rounds N]

The same job each time, into a sink that takes several times what a worker sends (`servers/fast_sink.c`). Two workers, one, two,
...: each ratio is formed between neighbours, and the figure is their median. Two workers need a core each, and PostgreSQL and
the sink take theirs from the same two here. Three minutes; exit status as that of `send.py`.
"""

from __future__ import annotations

import sys
from functools import partial

from contender import Postroom
from harness import Figure, compare, run_benchmark
from sink import fast_sink

TARGET = 1.4
ONE, TWO = "one worker process", "two worker processes"


async def measure(recipients: int, rounds: int) -> list[Figure]:
    async with Postroom() as postroom:
        two, one = (partial(postroom.run_job, fast_sink, recipients, workers=workers) for workers in (2, 1))
        comparison = await compare({TWO: two}, {ONE: one}, {TWO: [ONE]}, rounds)
    return [
        Figure.at_least("G11", f"{TWO}: rate as a multiple", comparison.ratio(TWO, ONE), "x", TARGET, ONE),
        *(Figure.plain("G11", f"{name}: rate", comparison.median_rate(name), "messages/s") for name in (ONE, TWO)),
        *(Figure.plain("G11", f"{name}: CPU", comparison.median_cpu_us(name), "us/message") for name in (ONE, TWO)),
    ]


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "Two worker processes beside one", recipients=100_000, rounds=3))
