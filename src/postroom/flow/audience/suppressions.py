"""Addresses that an account must not mail: taken off, looked up, and, where a person says why, mailed again.

Promises: who took an address off or lifted it, when and why is kept for as long as the account, also once it is lifted.
"""

from __future__ import annotations

from collections.abc import Iterable

from postroom.domain.access import Actor, Right
from postroom.errors import Conflict, InvalidInput, NotFound, storable
from postroom.flow.account.acting import permitted
from postroom.ledger.audience import suppressions as ledger
from postroom.ledger.audience.suppressions import Suppression as Suppression
from postroom.ledger.audience.suppressions import SuppressionEvent as SuppressionEvent
from postroom.ledger.database.db import Pool
from postroom.message.wire.address import AddressRefused, parse_address

MEANING = ("Lifting it means that the account mails this person again, in jobs that are sending too. Do it only where they asked "
           "for it, or where the address was taken off by mistake; who did it and why is kept.")
REASON_MAX = 1_000  # characters


async def suppress(pool: Pool, actor: Actor, addresses: Iterable[str], reason: str = "Opted out.") -> int:
    """The account never mails these again, jobs that are already frozen included. Raises InvalidInput with the row."""
    account_id = permitted(actor, Right.WRITE_SUPPRESSIONS)
    keys = []
    _check_reason(reason)
    for row_no, address in enumerate(addresses, start=1):
        try:
            keys.append(parse_address(address).key)
        except AddressRefused as refused:
            raise InvalidInput(f"Row {row_no}: {refused}", row=row_no) from None
    async with pool.connection() as conn:
        return await ledger.suppress(conn, account_id, keys, reason, by=actor)


async def suppressions(pool: Pool, actor: Actor, *, address: str | None = None, after: str = "",
                       limit: int) -> list[Suppression]:
    """In the order of the addresses, behind the address `after`; `address` finds one, however it is spelt.

    Raises InvalidInput.
    """
    account_id = permitted(actor, Right.READ_SUPPRESSIONS)
    key = None if address is None else _key(address)
    async with pool.connection() as conn:
        return await ledger.suppressions(conn, account_id, address_key=key, after=storable(after, "cursor"), limit=limit)


async def trail(pool: Pool, actor: Actor, address: str) -> list[SuppressionEvent]:
    """All that was decided about an address, in order. Raises InvalidInput."""
    account_id = permitted(actor, Right.READ_SUPPRESSIONS)
    key = _key(address)
    async with pool.connection() as conn:
        return await ledger.events(conn, account_id, key)


async def lift(pool: Pool, actor: Actor, address: str, reason: str, *, is_deliberate: bool) -> Suppression:
    """From the commit on the account may mail the address again; whom a job has skipped before stays skipped there.

    Raises InvalidInput; NotFound where it is not suppressed; Conflict, which says what it means, unless it is deliberate.
    """
    account_id = permitted(actor, Right.WRITE_SUPPRESSIONS)
    key = _key(address)
    if not reason.strip():
        raise InvalidInput("Say why the address is to be mailed again: the reason is kept.", field="reason")
    _check_reason(reason)
    async with pool.connection() as conn:
        if not is_deliberate:
            for found in await ledger.suppressions(conn, account_id, address_key=key, limit=1):
                raise Conflict(f"{said(found)} {MEANING}")
        lifted = await ledger.lift(conn, account_id, key, reason, by=actor) if is_deliberate else None
    if lifted is None:
        raise NotFound(f"{key} is not suppressed in this account.")
    return lifted


def said(one: Suppression) -> str:
    """In a sentence."""
    return f"{one.address} is suppressed since {one.since:%Y-%m-%d} ({one.by}): {one.reason.rstrip('.')}."


def _key(address: str) -> str:
    try:
        return parse_address(address).key
    except AddressRefused as refused:
        raise InvalidInput(str(refused), field="address") from None


def _check_reason(reason: str) -> None:
    if len(storable(reason, "reason")) > REASON_MAX:
        raise InvalidInput(f"A reason has at most {REASON_MAX:,} characters.", field="reason")
