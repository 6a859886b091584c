"""Plants faults into a copy of Postroom, one at a time, and looks whether the test or the proof that is named for it notices.

    python -m proofs.mutants                 all of them; ends with 1 where one survives
    python -m proofs.mutants --only journal  those with that in their sentence or file
    python -m proofs.mutants --table         the list as it stands in docs/guarantee.md

The faults are in mutants.toml: what is wrong, in which file, the text and what stands in its place, and by what it is caught: a
test of pytest, or `proof:` and the name of a proof, which runs short. First all of these have to hold without any fault.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PLANTED_IN = "src/postroom"
COPIED = ("src", "tests", "proofs", "docs", "pyproject.toml")
PROOF = "proof:"
TEST_TIMEOUT_S, TIMEOUT_S = 120, 1800


class Mutant(NamedTuple):
    what: str
    file: str  # below src/postroom
    before: str
    after: str
    caught_by: str

    def planted(self, source: str) -> str:
        """Raises ValueError where it has no place, or more than one."""
        if source.count(self.before) != 1:
            raise ValueError(f"{self.what}: {self.file} has its place {source.count(self.before)} times")
        return source.replace(self.before, self.after)


def mutants() -> list[Mutant]:
    """As they are listed."""
    return [Mutant(**one) for one in tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["mutant"]]


def table(listed: Iterable[Mutant]) -> str:
    """For people."""
    rows = [f"| {one.what} | `{one.file}` | `{one.caught_by}` |" for one in listed]
    return "\n".join(["| What was planted | In | Caught by |", "|---|---|---|", *rows])


def objections(mutant: Mutant | None, catchers: Sequence[str]) -> str:
    """What those tests and proofs say against a copy with that fault in it, or none. Empty: they hold."""
    proofs = [by.removeprefix(PROOF) for by in catchers if by.startswith(PROOF)]
    tests = [by for by in catchers if not by.startswith(PROOF)]
    with tempfile.TemporaryDirectory(prefix="postroom-mutant-", dir="/tmp") as place:
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, Path(place) / name)
        if mutant:
            file = Path(place) / PLANTED_IN / mutant.file
            file.write_text(mutant.planted(file.read_text()))
        said = ""
        if tests:
            said += _run(place, "pytest", "-x", "-q", "-p", "no:cacheprovider", "-o", f"timeout={TEST_TIMEOUT_S}", *tests)
        if proofs:
            said += _run(place, "proofs", "--short", "--seed", "1", *proofs)
        return said


def _run(place: str, *module: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{place}/src", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-m", *module], cwd=place, env=environment, text=True, check=False, timeout=TIMEOUT_S,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode not in (0, 1):  # it was not even tried
        raise RuntimeError(f"{' '.join(module)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout if done.returncode else ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m proofs.mutants", description="Plants faults and looks whether they are noticed.")
    parser.add_argument("--only", default="", help="those with that in their sentence or file")
    parser.add_argument("--jobs", type=int, default=1, help="at once")
    parser.add_argument("--table", action="store_true", help="print the list and plant nothing")
    arguments = parser.parse_args()
    chosen = [one for one in mutants() if arguments.only.lower() in f"{one.what} {one.file}".lower()]
    if arguments.table:
        print(table(chosen))
        return 0
    began = time.monotonic()
    if said := objections(None, sorted({one.caught_by for one in chosen})):
        print(f"{said}\nNot all that is to catch them holds without any fault.")
        return 1
    surviving = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for mutant, said in zip(chosen, pool.map(lambda one: objections(one, [one.caught_by]), chosen), strict=True):
            surviving += not said
            print(f"{'caught' if said else 'SURVIVES'}: {mutant.what}, by {mutant.caught_by}", flush=True)
    print(f"{len(chosen)} planted, {surviving} survive, {time.monotonic() - began:.0f} s")
    return 1 if surviving else 0


if __name__ == "__main__":
    sys.exit(main())
