"""What is taken away from a worker to see what the promises of the hand-off cost. It runs `bare.strip()` before it begins.

Its journal writes nowhere, its windows are as large as its chunks, and no commit waits for the disk. All the rest stays as it is:
it claims, reads recipients from the ledger, renders, sends, and books every outcome there. Only for a benchmark: a worker like
this that dies takes with it what it knew.
"""

from __future__ import annotations

from pathlib import Path

from postroom.domain.pace import CHUNK_SIZE_MAX
from postroom.flow.delivery import deliver, sessions
from postroom.gateway.journal import Intent, Journal
from postroom.ledger.database import db
from postroom.ledger.delivery import windows

BEFORE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bare; bare.strip(); "
WAITS = "ELSE 'on' END"  # of synchronous_commit


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
    db.SETTLE_IN, db.SAFE_COMMITS = _without_waiting(db.SETTLE_IN), ("off",)
    windows.SQL.turn_window = _without_waiting(windows.SQL.turn_window)


def _without_waiting(statement: str) -> str:
    assert WAITS in statement
    return statement.replace(WAITS, "ELSE 'off' END")
