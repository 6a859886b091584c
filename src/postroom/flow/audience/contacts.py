"""The people whom an account may write to."""

from __future__ import annotations

from collections.abc import Iterable

from postroom.bounded.processes import IN_THREAD, Runs
from postroom.domain.access import Actor, Right
from postroom.domain.audience import NAME_SHOWN_MAX, IncomingRow
from postroom.domain.wording import counted
from postroom.errors import InvalidInput, NotFound
from postroom.flow.account.acting import permitted
from postroom.flow.audience.intake import fill_intake, read_through
from postroom.ledger.audience import contacts
from postroom.ledger.audience.contacts import ContactProblem
from postroom.ledger.database.db import Pool
from postroom.message.wire.address import AddressRefused, parse_address


async def import_contacts(pool: Pool, actor: Actor, rows: Iterable[IncomingRow], bounded: Runs = IN_THREAD, *,
                          name: str = "a list") -> tuple[int, list[ContactProblem], tuple[str, ...]]:
    """Takes every usable row of the list of that name; an address that is known gets the new fields. Whose own row says that they
    are out is suppressed, known or not; nobody is ever mailed again by an import. Returns (contacts now, rows not taken, what is
    remarked on the list)."""
    account_id = permitted(actor, Right.WRITE_CONTACTS)
    async with read_through(bounded, account_id, rows) as listed, pool.connection() as conn, conn.transaction():
        await fill_intake(conn, await contacts.create_contact_intake(conn), listed)
        source = f"Import of contacts from {name[:NAME_SHOWN_MAX]}: "
        suppressed = await contacts.suppress_opted_out(conn, account_id, source, by=actor)
        count, problems = await contacts.merge_contacts(conn, account_id)
    if not suppressed:
        return count, problems, listed.remarks
    told = (f"{counted(suppressed, 'address is', 'addresses are')} suppressed by this import, by what their own rows say: "
            "the account does not mail them, contacts from before included.")
    return count, problems, (*listed.remarks, told)


async def delete_contact(pool: Pool, actor: Actor, address: str) -> None:
    """What jobs have of it stays with them, and so does an opt-out of the address. Raises InvalidInput, NotFound."""
    account_id = permitted(actor, Right.WRITE_CONTACTS)
    try:
        key = parse_address(address).key
    except AddressRefused as refused:
        raise InvalidInput(str(refused), field="address") from None
    async with pool.connection() as conn:
        if not await contacts.delete_contact(conn, account_id, key):
            raise NotFound(f"{key} is no contact of this account.")
