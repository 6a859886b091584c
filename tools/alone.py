"""Runs each test function in a process of its own, and says which of them fail there: they lean on what a neighbour left.

    python tools/alone.py                       all of them, in an hour or two
    python tools/alone.py --jobs 2 tests/flow   what pytest collects so, two at once
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def functions(chosen: Sequence[str]) -> list[str]:
    """As pytest collects them, those with several sets of parameters once."""
    collected = subprocess.run([*PYTEST, "--collect-only", *chosen], text=True, check=True, stdout=subprocess.PIPE).stdout
    return list(dict.fromkeys(line.partition("[")[0] for line in collected.splitlines() if "::" in line))


def alone(function: str) -> str:
    """What pytest says where it fails, or nothing."""
    done = subprocess.run([*PYTEST, function], text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout if done.returncode else ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs each test function in a process of its own. Other arguments are pytest's.")
    parser.add_argument("--jobs", type=int, default=1, help="at once")
    arguments, others = parser.parse_known_args()
    began, failed = time.monotonic(), 0
    chosen = functions(others)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for function, said in zip(chosen, pool.map(alone, chosen), strict=True):
            failed += bool(said)
            print(f"{'FAILS' if said else 'holds'}: {function}\n{said}", end="", flush=True)
    print(f"{len(chosen)} alone, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
