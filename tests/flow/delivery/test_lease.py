"""How long a worker may believe in its lease."""

from __future__ import annotations

import time

import pytest

from postroom.flow.delivery.lease import Lease
from postroom.ledger.delivery.windows import Claim

LEASE_S = 100.0


def held(granted_s_ago: float) -> Lease:
    lease = Lease(Claim(1, 2, 3, 4, "me", 1, 10, 0, LEASE_S), 0.0)
    lease.renewed(time.monotonic() - granted_s_ago)
    return lease


@pytest.mark.parametrize(("granted_s_ago", "goes_on"), [(0, True), (74, True), (76, False), (1_000, False)])
def test_in_its_last_quarter_nothing_more_is_begun(granted_s_ago: float, goes_on: bool) -> None:
    assert held(granted_s_ago).may_go_on() is goes_on


def test_one_that_is_lost_does_not_go_on() -> None:
    lease = held(0)
    lease.lost = True
    assert not lease.may_go_on()
