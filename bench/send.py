"""Messages per second from a frozen list in PostgreSQL to outcomes in PostgreSQL, beside other senders.

    python bench/send.py [--json] [--quick] [--rounds N] [--ours-only | --peers-only] [--skip-memory]

Prints the goals G1, G2, G3, the CPU part of G4, and G6. Every contender sends the same message (`sample.py`: 10 KB,
multipart/alternative, 14 personal values) to a fresh `smtp-sink` on loopback, whose count is checked against theirs.
Each peer runs between two runs of ours, in three rounds; a ratio is the median of the three.

Exit status: 0 when the figures were measured, 1 when a contender broke (the reason is on standard error). A goal that
is missed is a figure (`met` false), and so is a peer that is not installed (`met` null): neither is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from contender import Postroom
from harness import BenchmarkError, Comparison, Contender, Figure, compare, note, report
from peers import node_peer, peer
from sink import smtp_sink

UVLOOP = "Postroom, uvloop"
STDLIB = "Postroom, stdlib asyncio"

SMTP_SOURCE = "smtp-source -s 20"
SMTP_SOURCE_KEEPING = "smtp-source -d -s 20"  # -d: its connections are kept, as ours are; the harder yardstick
AIOSMTPLIB = "aiosmtplib, pool of 10, ready bytes"
AIOSMTPLIB_COMPOSING = "aiosmtplib, pool of 10, Jinja2 + EmailMessage"
NODEMAILER = "nodemailer, pool of 10, ready bytes"
NODEMAILER_COMPOSING = "nodemailer, pool of 10, composing"
DJANGO = "Django EmailMultiAlternatives, one connection"
CELERY = "Celery, a task per recipient, one worker process"


@dataclass(frozen=True)
class RatioGoal:
    goal: str
    ours: str
    peer: str
    target: float | None


RATIO_GOALS = (
    RatioGoal("G1", UVLOOP, SMTP_SOURCE, 1.2),
    RatioGoal("G1", STDLIB, SMTP_SOURCE, 1.0),
    RatioGoal("G1", UVLOOP, SMTP_SOURCE_KEEPING, None),
    RatioGoal("G2", UVLOOP, AIOSMTPLIB, 6),
    RatioGoal("G2", UVLOOP, AIOSMTPLIB_COMPOSING, 40),
    RatioGoal("G3", UVLOOP, NODEMAILER, 5),
    RatioGoal("G3", UVLOOP, NODEMAILER_COMPOSING, 15),
    RatioGoal("G3", UVLOOP, DJANGO, 25),
    RatioGoal("G3", UVLOOP, CELERY, 40),
)
CPU_TARGETS_US = {UVLOOP: 80, STDLIB: 120}
MEMORY_TARGET_MB = 64
MEMORY_GROWTH_TARGET_PERCENT = 5

# Messages of one run: three to six seconds each on two shared cores, so that starting up does not show.
JOB_RECIPIENTS = 100_000


def peer_contenders(scale: float) -> dict[str, Contender]:
    """All peers by name; `scale` shortens their runs."""

    def count(messages: int) -> int:
        return max(50, round(messages * scale))

    return {
        SMTP_SOURCE: peer("smtp_source.py", count(50_000), 20),
        SMTP_SOURCE_KEEPING: peer("smtp_source.py", count(80_000), 20, "keep"),
        AIOSMTPLIB: peer("aiosmtplib_pool.py", count(12_000), 10, needs=("aiosmtplib",)),
        AIOSMTPLIB_COMPOSING: peer("aiosmtplib_pool.py", count(1_600), 10, "compose", needs=("aiosmtplib", "jinja2")),
        NODEMAILER: node_peer("nodemailer_pool.js", count(8_000), 10),
        NODEMAILER_COMPOSING: node_peer("nodemailer_pool.js", count(3_000), 10, "compose"),
        DJANGO: peer("django_connection.py", count(4_000), 1, needs=("django",)),
        CELERY: peer("celery_tasks.py", count(1_500), 1, needs=("django", "celery", "redis")),
    }


def own_contenders(postroom: Postroom, recipients: int) -> dict[str, Contender]:
    return {name: partial(postroom.run_job, smtp_sink, recipients, uvloop=name == UVLOOP) for name in (UVLOOP, STDLIB)}


def pairs() -> dict[str, list[str]]:
    result: dict[str, list[str]] = {UVLOOP: [], STDLIB: []}
    for goal in RATIO_GOALS:
        result[goal.ours].append(goal.peer)
    return result


def speed_figures(comparison: Comparison) -> list[Figure]:
    figures = []
    for goal in RATIO_GOALS:
        name, ratio = f"{goal.ours}: rate as a multiple", comparison.ratio(goal.ours, goal.peer)
        if goal.target is None:
            figures.append(Figure.plain(goal.goal, name, ratio, "x", goal.peer))
        else:
            figures.append(Figure.at_least(goal.goal, name, ratio, "x", goal.target, goal.peer))
    for ours, target in CPU_TARGETS_US.items():
        name = f"{ours}: CPU of the sender for the whole job"
        figures.append(Figure.at_most("G4", name, comparison.median_cpu_us(ours), "us/message", target))
    goal_of = {goal.peer: goal.goal for goal in RATIO_GOALS} | {UVLOOP: "G1", STDLIB: "G1"}
    for name in (UVLOOP, STDLIB, *(goal.peer for goal in RATIO_GOALS if goal.ours == UVLOOP)):
        figures.append(Figure.plain(goal_of[name], f"{name}: rate", comparison.median_rate(name), "messages/s"))
        figures.append(Figure.plain(goal_of[name], f"{name}: CPU", comparison.median_cpu_us(name), "us/message"))
    return figures


async def memory_figures(postroom: Postroom, sizes: Sequence[int]) -> list[Figure]:
    """G6: the most memory that the worker process ever held, for jobs of growing size; a fresh worker each."""
    peaks: list[int] = []
    for recipients in sizes:
        run = await postroom.run_job(smtp_sink, recipients)
        if run.rss_max_bytes is None:
            raise BenchmarkError("the run does not say how much memory the worker held")
        note(f"memory of the worker at {recipients:,} recipients: {run.rss_max_bytes / 1e6:.1f} MB")
        peaks.append(run.rss_max_bytes)
    figures = [
        Figure.at_most("G6", f"worker process, {recipients:,} recipients", peak / 1e6, "MB", MEMORY_TARGET_MB)
        for recipients, peak in zip(sizes, peaks, strict=True)
    ]
    growth = (max(peaks) - min(peaks)) / min(peaks) * 100
    name = f"difference between {min(sizes):,} and {max(sizes):,} recipients"
    return [*figures, Figure.at_most("G6", name, growth, "%", MEMORY_GROWTH_TARGET_PERCENT)]


async def only_peers(scale: float, rounds: int) -> list[Figure]:
    """The peers alone: for a look at what the machine does, without any ratio."""
    contenders = peer_contenders(scale)
    comparison = Comparison()
    for _ in range(rounds):
        for name, contender in contenders.items():
            await comparison.attempt(name, contender)
    return [figure for figure in speed_figures(comparison) if figure.value is not None]


async def only_ours(scale: float, rounds: int) -> list[Figure]:
    """Postroom alone: for a look at what a change does."""
    comparison = Comparison()
    async with Postroom() as postroom:
        ours = own_contenders(postroom, round(JOB_RECIPIENTS * scale))
        for _ in range(rounds):
            for name, contender in ours.items():
                await comparison.attempt(name, contender)
    return [figure for figure in speed_figures(comparison) if figure.value is not None]


async def measure(options: argparse.Namespace) -> list[Figure]:
    scale = 0.1 if options.quick else 1.0
    rounds = options.rounds or (1 if options.quick else 3)
    if options.peers_only:
        return await only_peers(scale, rounds)
    if options.ours_only:
        return await only_ours(scale, rounds)
    async with Postroom() as postroom:
        ours = own_contenders(postroom, round(JOB_RECIPIENTS * scale))
        comparison = await compare(ours, peer_contenders(scale), pairs(), rounds)
        figures = speed_figures(comparison)
        if not options.skip_memory:
            sizes = (1_000, 10_000) if options.quick else (10_000, 100_000, 1_000_000)
            figures += await memory_figures(postroom, sizes)
        return figures


def main() -> int:
    parser = argparse.ArgumentParser(description="Messages per second, beside other senders, as ratios")
    parser.add_argument("--json", action="store_true", help="one JSON object a figure and line")
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages, one round")
    parser.add_argument("--rounds", type=int, help="how often everything is repeated (default 3)")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--ours-only", action="store_true", help="Postroom alone, without any ratio")
    alone.add_argument("--peers-only", action="store_true", help="the other senders alone")
    parser.add_argument("--skip-memory", action="store_true", help="leave out G6, whose job of 1,000,000 takes minutes")
    options = parser.parse_args()
    try:
        figures = asyncio.run(measure(options))
    except BenchmarkError as error:
        note(f"send.py: {error}")
        return 1
    report(figures, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
