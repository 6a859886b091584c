"""The pre-flight: how long it takes two workers to make everybody's message once, while the job waits at the gate.

The bench's sample message of 10 KB with 14 personal values, rendered and verified for each recipient of a frozen list in
PostgreSQL, on the two cores that the database needs too. The clock begins when the job is there.
"""

from __future__ import annotations

import sys

from contender import Postroom
from harness import Figure, run_benchmark

TARGET_S = 15.0  # for 100,000 recipients on two cores


async def measure(recipients: int, workers: int) -> list[Figure]:
    async with Postroom() as postroom:
        seconds = await postroom.run_preflight(recipients, workers)
    name = f"everybody of {recipients:,} checked by {workers} workers"
    return [Figure.at_most("preflight", name, seconds, "s", TARGET_S * recipients / 100_000),
            Figure.plain("preflight", "messages made and verified", recipients / seconds, "messages/s")]


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "Seconds of a pre-flight", recipients=100_000, workers=2))
