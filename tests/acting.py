"""Who acts in a test."""

from __future__ import annotations

from postroom.domain.access import Actor, machine


def acting(account_id: int, name: str = "tester") -> Actor:
    """Somebody who may do everything in an account."""
    return machine(account_id, name)
