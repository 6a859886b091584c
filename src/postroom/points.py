"""Named points that a process passes: nothing outside the proofs.

The proofs (`make prove`) let a worker die at each of these, for each phase of a job, and look what became of every recipient.
No setting and no environment arms them: only who calls `watch` in the process itself.
"""

from __future__ import annotations

from collections.abc import Callable

_watcher: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Here is `point`. Costs a call."""
    if _watcher is not None:
        _watcher(point)


def watch(watcher: Callable[[str], None] | None) -> None:
    """From now on `watcher` is told each point of this process."""
    global _watcher
    _watcher = watcher
