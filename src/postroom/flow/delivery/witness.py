"""What a worker process has heard of last: commits that must still be there, whatever server the database goes on as."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from postroom.domain.outcome import Outcome
from postroom.gateway.journal import WindowKey
from postroom.ledger.database.db import Connection
from postroom.ledger.delivery import roll_call
from postroom.ledger.delivery.windows import Claim

MOST = 64  # more than a process has on their way at once: the newest commit is among the last so many that were heard of


class Known(NamedTuple):
    """Windows that were opened, (account, job, position, attempt) of outcomes that were booked, and jobs that were over."""

    windows: frozenset[WindowKey]
    outcomes: frozenset[tuple[int, int, int, int]]
    ends: frozenset[int]


class Witness:
    """Commits are lost from the end: while the newest are there, all are."""

    def __init__(self) -> None:
        self._windows: deque[WindowKey] = deque(maxlen=MOST)
        self._outcomes: deque[tuple[int, int, int, int]] = deque(maxlen=MOST)
        self._ends: deque[int] = deque(maxlen=MOST)

    def opened(self, key: WindowKey) -> None:
        self._windows.append(key)

    def booked(self, claim: Claim, outcomes: list[Outcome]) -> None:
        """They were committed together, so one stands for them all."""
        if outcomes:
            self._outcomes.append((claim.account_id, claim.job_id, outcomes[-1].position, outcomes[-1].attempt_no))

    def ended(self, job_id: int) -> None:
        """Cancelled, say: it is never sent again."""
        self._ends.append(job_id)

    def newest(self) -> Known:
        return Known(frozenset(self._windows), frozenset(self._outcomes), frozenset(self._ends))

    def forget(self, known: Known) -> None:
        """Something later than these stands for them from now on."""
        self._windows = deque((one for one in self._windows if one not in known.windows), MOST)
        self._outcomes = deque((one for one in self._outcomes if one not in known.outcomes), MOST)
        self._ends = deque((one for one in self._ends if one not in known.ends), MOST)


async def is_lost(conn: Connection, owner: str, known: Known) -> bool:
    """Whether the database lacks any of what `owner` knew."""
    return (await roll_call.lost_windows(conn, owner, known.windows) + await roll_call.lost_outcomes(conn, known.outcomes)
                + await roll_call.lost_ends(conn, known.ends)) > 0
