"""Addresses that an account must not mail."""

from __future__ import annotations

from collections.abc import Iterable

from postroom.errors import InvalidInput, storable
from postroom.ledger.audience import suppressions
from postroom.ledger.database.db import Pool
from postroom.message.wire.address import AddressRefused, parse_address


async def suppress(pool: Pool, account_id: int, addresses: Iterable[str], reason: str = "Opted out.") -> int:
    """The account never mails these again, jobs that are already frozen included. Raises InvalidInput with the row."""
    keys = []
    storable(reason, "reason")
    for row_no, address in enumerate(addresses, start=1):
        try:
            keys.append(parse_address(address).key)
        except AddressRefused as refused:
            raise InvalidInput(f"Row {row_no}: {refused}", row=row_no) from None
    async with pool.connection() as conn:
        return await suppressions.suppress(conn, account_id, keys, reason)
