"""What is taken away from a worker to see what the promises of the hand-off cost. It runs `bare.strip()` before it begins.

Its journal writes nowhere, its windows are as large as its chunks, and no commit waits for the disk. All the rest stays as it is:
it claims, reads recipients from the ledger, renders, sends, and books every outcome there. Only for a benchmark: a worker like
this that dies takes with it what it knew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from postroom.domain.pace import CHUNK_SIZE_MAX
from postroom.flow.delivery import deliver, sessions
from postroom.gateway.journal import Intent, Journal
from postroom.ledger.database import db

BEFORE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bare; bare.strip(); "


def strip() -> None:
    def nothing(*_: object) -> None:
        """In place of what the journal does."""

    def intent(journal: Journal, *_: object) -> Intent:
        return Intent(journal._current, 0)

    Journal.intend = intent
    for act in ("handing_over", "answered", "booked"):
        setattr(Journal, act, nothing)

    def whole_chunk(_: float) -> int:
        return CHUNK_SIZE_MAX

    deliver.window_size = whole_chunk
    sessions.WINDOW_SIZE_MAX = CHUNK_SIZE_MAX
    arguments = db._arguments

    def without_waiting(url: str, name: str, options: str = "") -> dict[str, Any]:
        return arguments(url, name, f"{options} -c synchronous_commit=off")

    db._arguments = without_waiting
