"""Runs proofs and prints their figures: `python -m proofs [NAME ...] [--short] [--seed N] [--json]`.

Ends with 1 where one does not hold. The seed is printed; the same seed draws the same kills, at the same recipients.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import secrets
import signal
import sys
import time
from typing import Any

import structlog

from postroom.doors import logs
from postroom.doors.process import run
from proofs.installation import sweep
from proofs.verdict import Scale, Verdict

NAMES = ("kills", "databases", "journal_losses", "power_losses", "freezes", "points", "machines", "failover", "poolers", "clocks",
         "restores", "matrix", "resets", "cancels", "races", "claims", "replies", "simulation")

log = structlog.get_logger(__name__)


async def prove(name: str, scale: Scale, seed: int) -> tuple[Verdict, float]:
    """The verdict, and the seconds it took. A proof that ends with an error does not hold."""
    began = time.monotonic()
    proof = importlib.import_module(f"proofs.{name}")
    try:
        verdict = await proof.prove(scale, seed, lambda words: print(f"  {words}", file=sys.stderr, flush=True))
    except Exception as error:
        log.exception("the proof broke off", proof=name)
        verdict = Verdict(faults=[f"It broke off: {type(error).__name__}: {error}"])
    return verdict, time.monotonic() - began


def told(name: str, scale: Scale, seed: int, verdict: Verdict, seconds: float) -> str:
    """A proof's answer for people."""
    word = "skipped" if verdict.skipped else "holds" if verdict.holds else "DOES NOT HOLD"
    lines = [f"{name}: {word} (seed {seed}, {seconds:.0f} s)", *([f"  {verdict.skipped}"] if verdict.skipped else [])]
    lines += [f"  {label}: {value:,}" if isinstance(value, int) else f"  {label}: {value}"
              for label, value in verdict.figures.items()]
    lines += [f"  {fault}" for fault in verdict.faults]
    if not verdict.holds:
        short = " --short" if scale is Scale.SHORT else ""
        lines.append(f"  Again: python -m proofs {name}{short} --seed {seed}")
    return "\n".join(lines)


async def main(arguments: argparse.Namespace) -> int:
    scale = Scale.SHORT if arguments.short else Scale.FULL
    broken = 0
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # servers and workers end with it
    await sweep()
    for name in arguments.names or NAMES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        verdict, seconds = await prove(name, scale, arguments.seed)
        broken += not verdict.holds
        if arguments.json:
            line: dict[str, Any] = {"proof": name, "scale": scale, "seed": arguments.seed, "holds": verdict.holds,
                                    "seconds": round(seconds, 1), "skipped": verdict.skipped, "figures": verdict.figures,
                                    "faults": verdict.faults}
            print(json.dumps(line), flush=True)
        else:
            print(told(name, scale, arguments.seed, verdict, seconds), flush=True)
    return 1 if broken else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proofs", description="Torments a real Postroom and counts what was lost.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--short", action="store_true", help="the numbers of the test suite")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="of a run to be repeated")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in NAMES]:
        parser.error(f"there is no proof {unknown[0]!r}; there are {', '.join(NAMES)}")
    return arguments


if __name__ == "__main__":
    logs.configure(logging.WARNING)
    sys.exit(run(main(parsed())))
