"""API keys: made, listed, revoked. Their secrets are nowhere but with their holders."""

from __future__ import annotations

from postroom.domain.access import KEY_RIGHTS, Actor, Kind, Right
from postroom.errors import storable
from postroom.flow.account.acting import permitted
from postroom.flow.account.secrets import hash_of, new_api_key
from postroom.ledger.account import keys as ledger
from postroom.ledger.account.keys import ApiKey as ApiKey
from postroom.ledger.database.db import Pool


async def create_key(pool: Pool, actor: Actor, name: str) -> str:
    """A new API key, in clear: it cannot be shown again. Raises Conflict, InvalidInput."""
    account_id = permitted(actor, Right.WRITE_ACCESS)
    key = new_api_key()
    async with pool.connection() as conn:
        await ledger.create_api_key(conn, account_id, storable(name, "name"), hash_of(key))
    return key


async def holder_of(pool: Pool, api_key: str) -> Actor | None:
    """Whom a key speaks for; None for one that is unknown or revoked."""
    async with pool.connection() as conn:
        holder = await ledger.api_key_by_hash(conn, hash_of(api_key))
    if holder is None:
        return None
    return Actor(Kind.KEY, f"key {holder.name}", holder.account_id, KEY_RIGHTS, key_id=holder.id)


async def keys(pool: Pool, actor: Actor) -> list[ApiKey]:
    """The account's in the order of their making, those that were revoked too."""
    account_id = permitted(actor, Right.WRITE_ACCESS)
    async with pool.connection() as conn:
        return await ledger.api_keys(conn, account_id)


async def revoke_key(pool: Pool, actor: Actor, key_id: int) -> ApiKey:
    """From the commit on the key speaks for nobody. Revoking again changes nothing. Raises NotFound, also for a key of another
    account."""
    account_id = permitted(actor, Right.WRITE_ACCESS)
    async with pool.connection() as conn:
        return await ledger.revoke_api_key(conn, key_id, account_id)
