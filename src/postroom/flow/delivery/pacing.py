"""One worker's view of how fast its gateways may go: it asks the shared pace, and tells it what it meets.

A gateway without limits that is not slowed costs one look a second and nothing else. Four things slow or stop one:

    limits         its operator's: messages a second, a day's quota, a warm-up; permits are taken before each window
    a throttle     421, 450, 451, 452, 454 of the gateway: half as fast for all workers, then faster again by and by
    the breaker    throttles in five seconds, one after the other, with nothing accepted between: the job waits for its
                   gateway with backoff, and a single lane probes it
    a fault        of account, TLS or DNS: the same, at once; it never comes here

Fails: Unavailable or a driver's error without a database, like everything else.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from postroom.domain.pace import SLOWED_EVERY_S, THROTTLES_IN_A_ROW_MAX
from postroom.gateway.replies import Reply
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import pace
from postroom.ledger.delivery.pace import Permits as Permits

LOOK_EVERY_S = 1.0
MEASURED_OVER_S = 1.0
MEASURED_OVER_MIN_S = 0.05

log = structlog.get_logger(__name__)


class Counted(Protocol):
    """A window on its way, with how many of it the gateway has accepted so far."""

    accepted: int


@dataclass(slots=True)
class Known:
    """What this worker knows of one gateway, by its own monotonic clock."""

    is_limited: bool = True  # until somebody looked
    looked_at: float = float("-inf")
    accepted: deque[tuple[float, float, int]] = field(default_factory=deque)  # (from, to, how many) of the last second
    under_way: dict[Counted, float] = field(default_factory=dict)  # windows, and since when
    throttles: int = 0  # in a row; a burst that meets all sessions at once is one
    throttled_at: float = float("-inf")

    def forget_before(self, moment: float) -> None:
        while self.accepted and self.accepted[0][1] < moment:
            self.accepted.popleft()

    def per_s(self, now: float) -> float:
        """What the gateway took lately, of windows that are not over too, each evenly over its time; 0 where it took nothing."""
        self.forget_before(now - MEASURED_OVER_S)
        windows = [*self.accepted, *((began, now, one.accepted) for one, began in self.under_way.items() if one.accepted)]
        since = max(now - MEASURED_OVER_S, min((began for began, _, _ in windows), default=now))
        lately = sum(n * (to - max(began, since)) / max(to - began, 1e-6) for began, to, n in windows)
        return lately / max(MEASURED_OVER_MIN_S, now - since)


class Paces:
    """One for each worker process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._gateways: dict[int, Known] = {}

    async def permits(self, gateway_id: int, wanted: int) -> Permits:
        """How many of the `wanted` messages may be handed off now; `give_back` those that were not."""
        known = self._known(gateway_id)
        if time.monotonic() - known.looked_at > LOOK_EVERY_S:
            known.looked_at = time.monotonic()
            async with self._pool.connection() as conn:
                known.is_limited = (await pace.look(conn, gateway_id)).is_limited
        if not known.is_limited:
            return Permits(wanted)
        async with self._pool.connection() as conn:
            return await pace.take_permits(conn, gateway_id, wanted)

    async def give_back(self, gateway_id: int, n: int) -> None:
        """Of a gateway without limits there is nothing to give back, and nothing is."""
        if n > 0 and self._known(gateway_id).is_limited:
            async with self._pool.connection() as conn:
                await pace.give_back(conn, gateway_id, n)

    def begins(self, gateway_id: int, window: Counted) -> None:
        """A session hands a window off. It has to be told when that `ends`."""
        self._known(gateway_id).under_way[window] = time.monotonic()

    def ends(self, gateway_id: int, window: Counted) -> None:
        began = self._known(gateway_id).under_way.pop(window)
        self.accepted(gateway_id, window.accepted, time.monotonic() - began)

    def accepted(self, gateway_id: int, n: int, within_s: float) -> None:
        """The gateway took so many of a session's: its speed is measured by them, and throttles before them are forgotten."""
        if n > 0:
            known, now = self._known(gateway_id), time.monotonic()
            known.forget_before(now - MEASURED_OVER_S)
            known.accepted.append((now - within_s, now, n))
            known.throttles = 0

    async def throttled(self, gateway_id: int, reply: Reply) -> bool:
        """Slows the gateway for everybody. True: it takes nothing at all, so the job had better wait for it."""
        known, now = self._known(gateway_id), time.monotonic()
        if now - known.throttled_at >= SLOWED_EVERY_S:
            known.throttles, known.throttled_at = known.throttles + 1, now
        async with self._pool.connection() as conn:
            per_s = await pace.slow_down(conn, gateway_id, str(reply), known.per_s(now))
        known.is_limited, known.looked_at = True, time.monotonic()
        if per_s is not None:
            log.warning("gateway slowed down", gateway=gateway_id, per_s=round(per_s, 1), reply=str(reply))
        return known.throttles >= THROTTLES_IN_A_ROW_MAX

    def _known(self, gateway_id: int) -> Known:
        return self._gateways.setdefault(gateway_id, Known())


def quota_sentence(permits: Permits) -> str:
    """Why a job waits until midnight, to be shown while it does."""
    what = "warm-up limit" if permits.warming_up else "quota"
    return f"Today's {what} of the gateway ({permits.quota:,}) is used up; sending goes on at 00:00 UTC."
