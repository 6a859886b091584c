"""Unsubscribing: a link in a message takes its recipient off everything that the account sends, for as long as both exist.

A link is worth what its token is: made with the account's own key, it names one recipient of one job, and nobody can make
another. What is no link of ours is None, whatever is wrong with it: forged, damaged, or of a test message.
"""

from __future__ import annotations

from dataclasses import replace

from postroom.domain.access import recipient
from postroom.ledger.audience import suppressions
from postroom.ledger.audience.suppressions import Addressee as Addressee
from postroom.ledger.database.db import Connection, Pool
from postroom.message.wire.token import Claimed, read_unsubscribe


async def addressee_of(pool: Pool, token: str) -> Addressee | None:
    """Whom a link is about. Changes nothing."""
    if (claimed := read_unsubscribe(token)) is None:
        return None
    async with pool.connection() as conn:
        return await _proven(conn, claimed)


async def unsubscribe(pool: Pool, token: str) -> Addressee | None:
    """The account never mails the link's address again: from the next window on it is skipped, whatever job it is in.

    Once it is there it stays, with its first reason, however often the link is used.
    """
    if (claimed := read_unsubscribe(token)) is None:
        return None
    async with pool.connection() as conn:
        if (addressee := await _proven(conn, claimed)) is not None:
            await suppressions.suppress(conn, addressee.account_id, [addressee.address_key],
                                        f"Unsubscribed by the link in job {claimed.job_id}.",
                                        by=recipient(addressee.account_id))
            addressee = replace(addressee, is_suppressed=True)
        return addressee


async def _proven(conn: Connection, claimed: Claimed) -> Addressee | None:
    addressee = await suppressions.addressee(conn, claimed.job_id, claimed.position)
    return addressee if addressee is not None and claimed.is_genuine(addressee.token_key) else None
