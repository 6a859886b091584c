"""The frame of every benchmark here: figures, contenders side by side, and how both are printed.

Promises: a ratio is only ever formed between runs that stood next to each other in the same round, because the rate of
a shared machine drifts by 30 % from one minute to the next; a figure without a measurement says so (`met` is null)
instead of leaving it out. Fails by raising `BenchmarkError`, whose text names what was missing or broke.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


class BenchmarkError(Exception):
    """Something that the benchmark needs is missing, or a contender did not do what it was asked."""


class MissingError(BenchmarkError):
    """A contender that cannot run on this machine (a tool is not installed). The others go on without it."""


@dataclass(frozen=True)
class Run:
    """What one contender did in one go. `cpu_seconds` is the sending side's alone, without sink and database."""

    messages: int
    seconds: float
    cpu_seconds: float
    rss_max_bytes: int | None = None

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def cpu_us_per_message(self) -> float:
        return self.cpu_seconds / self.messages * 1e6


@dataclass(frozen=True)
class Figure:
    """One measured number. `met` is None where there is no target or no measurement.

    Made by `at_least`, `at_most` and `plain`, so that `met` always follows from value and target.
    """

    goal: str
    name: str
    value: float | None
    unit: str
    target: float | None = None
    peer: str | None = None
    met: bool | None = None
    sign: str = field(default="", repr=False)

    @classmethod
    def at_least(
        cls, goal: str, name: str, value: float | None, unit: str, target: float, peer: str | None = None
    ) -> Figure:
        met = None if value is None else value >= target
        return cls(goal, name, value, unit, target, peer, met, ">=")

    @classmethod
    def at_most(
        cls, goal: str, name: str, value: float | None, unit: str, target: float, peer: str | None = None
    ) -> Figure:
        met = None if value is None else value <= target
        return cls(goal, name, value, unit, target, peer, met, "<=")

    @classmethod
    def plain(cls, goal: str, name: str, value: float | None, unit: str, peer: str | None = None) -> Figure:
        return cls(goal, name, value, unit, None, peer, None)

    def as_json(self) -> str:
        """One line: goal, name, value, unit, target, peer, met."""
        value = None if self.value is None else rounded(self.value)
        keys = {"goal": self.goal, "name": self.name, "value": value, "unit": self.unit}
        return json.dumps(keys | {"target": self.target, "peer": self.peer, "met": self.met})


def rounded(value: float) -> float:
    """Four significant digits and no fewer than the whole part: more would pretend to a precision nobody has."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def report(figures: Sequence[Figure], as_json: bool) -> None:
    """Print the figures to standard output: a line of JSON each, or one table."""
    if as_json:
        for figure in figures:
            print(figure.as_json(), flush=True)
        return
    table = Table()
    for column in ("goal", "figure", "value", "unit", "target", "peer", "met"):
        table.add_column(column, justify="right" if column in ("value", "target") else "left")
    for figure in figures:
        value = "not measured" if figure.value is None else f"{rounded(figure.value):,}"
        target = "" if figure.target is None else f"{figure.sign} {figure.target:,}"
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.met]
        table.add_row(figure.goal, figure.name, value, figure.unit, target, figure.peer or "", met)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def run_benchmark(measure: Callable[..., Coroutine[Any, Any, Sequence[Figure]]], description: str, *,
                  loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None, **defaults: int | str) -> int:
    """The command line of a benchmark: `--json`, and an option for each of the `defaults`, which `measure` is given by name.
    Returns the exit status: 1 where it could not be measured."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one JSON object a figure and line")
    for name, default in defaults.items():
        told = f"by default {default:,}" if isinstance(default, int) else f"by default {default or 'all'}"
        parser.add_argument(f"--{name}", type=type(default), default=default, help=told)
    options = vars(parser.parse_args())
    as_json = options.pop("json")
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            figures = runner.run(measure(**options))
    except BenchmarkError as error:
        note(f"{Path(sys.argv[0]).name}: {error}")
        return 1
    report(figures, as_json)
    return 0


def note(text: str) -> None:
    """Say what is going on, on standard error: standard output belongs to the figures."""
    print(text, file=sys.stderr, flush=True)


Contender = Callable[[], Awaitable[Run]]


@dataclass
class Comparison:
    """All runs of a benchmark, and which run of ours stood next to which run of a peer."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    ratios: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def median_rate(self, name: str) -> float | None:
        return statistics.median(run.rate for run in self.runs[name]) if self.runs.get(name) else None

    def median_cpu_us(self, name: str) -> float | None:
        return statistics.median(run.cpu_us_per_message for run in self.runs[name]) if self.runs.get(name) else None

    def ratio(self, ours: str, peer: str) -> float | None:
        """Median over the rounds of our rate divided by the peer's; None when either did not run."""
        ratios = self.ratios.get((ours, peer))
        return statistics.median(ratios) if ratios else None

    async def attempt(self, name: str, contender: Contender) -> Run | None:
        """Run a contender once and keep the run; None, now and from then on, when it is unavailable."""
        if name in self.unavailable:
            return None
        try:
            run = await contender()
        except MissingError as error:
            self.unavailable[name] = str(error)
            note(f"{name}: left out: {error}")
            return None
        self.runs.setdefault(name, []).append(run)
        note(f"{name}: {run.rate:,.0f} messages/s, {run.cpu_us_per_message:,.0f} us CPU each")
        return run


async def compare(
    ours: Mapping[str, Contender], peers: Mapping[str, Contender], pairs: Mapping[str, Sequence[str]], rounds: int
) -> Comparison:
    """Run each peer `rounds` times, each time between two runs of each of ours that it is paired with.

    `pairs` says for each of ours which peers it is measured against. A run of ours between two peers serves both.
    A contender that is `MissingError` is left out from then on, with the reason kept.
    """
    result = Comparison()
    for _ in range(rounds):
        for our_name, peer_names in pairs.items():
            before = await result.attempt(our_name, ours[our_name])
            for peer_name in peer_names:
                theirs = await result.attempt(peer_name, peers[peer_name])
                if theirs is None:
                    continue
                after = await result.attempt(our_name, ours[our_name])
                if before is not None and after is not None:
                    our_rate = (before.rate + after.rate) / 2
                    result.ratios.setdefault((our_name, peer_name), []).append(our_rate / theirs.rate)
                before = after
    return result
