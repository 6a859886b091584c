"""One seed again, with its story: `python -m proofs.simulation SEED`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from proofs.simulation import run_one

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        world = run_one(int(sys.argv[1]), Path(place), traces=True)
    print("\n".join(world.trace or []))
    print("\n".join(world.faults) or "Every promise holds.")
    print(f"The notes of this run: {world.digest.hexdigest()}")
    sys.exit(bool(world.faults))
