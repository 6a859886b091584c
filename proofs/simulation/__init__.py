"""The hand-off in virtual time: the real deliveries, sessions, journals and sweeps, with the ledger's statements and the gateway
in memory, through whatever befalls them, drawn from one seed. `python -m proofs.simulation SEED` repeats one run and tells it.

Promises: two runs of a seed are the same, word for word. Nothing waits for a clock, a disk that syncs or a network.
What it does not: transactions do not overlap, rates and quotas grant everything, and there is one account.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Self

from proofs.simulation.run import Run
from proofs.simulation.world import World
from proofs.verdict import Say, Scale, Verdict

MEMORY = Path("/dev/shm")
FAULTS_MAX = 5
COLLECT_EVERY = 50
BATCH = 500  # seeds


@dataclass
class Result:
    """`broken` has the sentences of each seed that broke a promise."""

    seeds: int = 0
    recipients: int = 0
    handed_off: int = 0
    deaths: int = 0
    unconfirmed: int = 0
    virtual_s: float = 0.0
    broken: dict[int, list[str]] = field(default_factory=dict)

    def add(self, other: Self) -> None:
        """Other seeds' result."""
        for name in ("seeds", "recipients", "handed_off", "deaths", "unconfirmed", "virtual_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.broken |= other.broken


def run_one(seed: int, place: Path, *, traces: bool = False) -> World:
    """One run to its end. `faults` of the world are the promises that did not hold."""
    world = World(seed, place / str(seed), traces=traces)
    Run(world).run()
    return world


def run(seeds: Iterable[int]) -> Result:
    """All of them, or until five have broken a promise."""
    result = Result()
    memory = MEMORY if MEMORY.is_dir() else None
    with _collecting_rarely() as collect, tempfile.TemporaryDirectory(prefix="postroom-simulation-", dir=memory) as place:
        for seed in seeds:
            world = run_one(seed, Path(place))
            tables = world.database.tables
            result.seeds += 1
            result.recipients += sum(job.recipient_count for job in tables.job.values())
            result.handed_off += sum(world.gateway.taken.values())
            result.deaths += sum(process.was_killed for process in world.workers)
            result.unconfirmed += sum(chunk.unconfirmed for chunk in tables.chunk.values())
            result.virtual_s += world.loop.now
            if world.faults:
                result.broken[seed] = world.faults
                if len(result.broken) >= FAULTS_MAX:
                    break
            if result.seeds % COLLECT_EVERY == 0:
                collect()
    return result


@contextlib.contextmanager
def _collecting_rarely() -> Iterator[Callable[[], object]]:
    """A world is one large circle of references: to look for such after each few hundred objects costs a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield gc.collect
    finally:
        if was_enabled:
            gc.enable()


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    """100,000 seeds, from this one on; 2,000 in short. A process for each core."""
    result, last = Result(), seed + scale.of(100_000, 2_000)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as cores:
        loop = asyncio.get_running_loop()
        batches = [loop.run_in_executor(cores, run, range(first, min(first + BATCH, last))) for first in range(seed, last, BATCH)]
        try:
            for batch in asyncio.as_completed(batches):
                result.add(await batch)
                say(f"{result.seeds:,} seeds, {result.handed_off:,} messages accepted, broken: {sorted(result.broken) or 'none'}")
                if len(result.broken) >= FAULTS_MAX:
                    break
        finally:
            cores.shutdown(wait=False, cancel_futures=True)
    return Verdict(
        figures={"seeds": result.seeds, "recipients": result.recipients, "messages accepted": result.handed_off,
                 "workers killed": result.deaths, "unconfirmed": result.unconfirmed,
                 "virtual hours": round(result.virtual_s / 3600, 1)},
        faults=[f"seed {one}: {sentence} (python -m proofs.simulation {one})"
                for one, sentences in result.broken.items() for sentence in sentences[:3]])
