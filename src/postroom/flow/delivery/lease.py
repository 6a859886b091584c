"""A worker's right to a chunk, as its own process may believe in it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from postroom.ledger.delivery.windows import Claim

LEASE_MARGIN = 0.25  # of the lease: past its last quarter no message is begun, whatever the database may think


@dataclass(slots=True)
class Lease:
    """A claim and how long this process may act on it, by its own monotonic clock."""

    claim: Claim
    safe_until: float
    lost: bool = False

    def renewed(self, granted_at: float) -> None:
        self.safe_until = granted_at + self.claim.lease_s * (1 - LEASE_MARGIN)

    def may_go_on(self) -> bool:
        return not self.lost and time.monotonic() < self.safe_until
