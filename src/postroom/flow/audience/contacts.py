"""The people whom an account may write to."""

from __future__ import annotations

from collections.abc import Iterable

from postroom.bounded.processes import IN_THREAD, Runs
from postroom.domain.audience import IncomingRow
from postroom.errors import InvalidInput, NotFound
from postroom.flow.audience.intake import fill_intake, read_through
from postroom.ledger.audience import contacts
from postroom.ledger.audience.contacts import ContactProblem
from postroom.ledger.database.db import Pool
from postroom.message.wire.address import AddressRefused, parse_address


async def import_contacts(pool: Pool, account_id: int, rows: Iterable[IncomingRow],
                          bounded: Runs = IN_THREAD) -> tuple[int, list[ContactProblem], tuple[str, ...]]:
    """Takes every usable row; an address that is known gets the new fields. Returns (contacts now, rows not taken, what is
    remarked on the list)."""
    async with read_through(bounded, account_id, rows) as listed, pool.connection() as conn, conn.transaction():
        await fill_intake(conn, await contacts.create_contact_intake(conn), listed)
        return *await contacts.merge_contacts(conn, account_id), listed.remarks


async def delete_contact(pool: Pool, account_id: int, address: str) -> None:
    """What jobs have of it stays with them, and so does an opt-out of the address. Raises InvalidInput, NotFound."""
    try:
        key = parse_address(address).key
    except AddressRefused as refused:
        raise InvalidInput(str(refused), field="address") from None
    async with pool.connection() as conn:
        if not await contacts.delete_contact(conn, account_id, key):
            raise NotFound(f"{key} is no contact of this account.")
