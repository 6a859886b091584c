"""API keys: made, listed, revoked. Their secrets are nowhere but with their holders."""

from __future__ import annotations

from postroom.errors import storable
from postroom.flow.account.secrets import hash_of, new_api_key
from postroom.ledger.account import keys as ledger
from postroom.ledger.account.keys import ApiKey as ApiKey
from postroom.ledger.account.keys import KeyHolder as KeyHolder
from postroom.ledger.database.db import Pool


async def create_key(pool: Pool, account_id: int, name: str) -> str:
    """A new API key, in clear: it cannot be shown again. Raises Conflict, InvalidInput."""
    key = new_api_key()
    async with pool.connection() as conn:
        await ledger.create_api_key(conn, account_id, storable(name, "name"), hash_of(key))
    return key


async def holder_of(pool: Pool, api_key: str) -> KeyHolder | None:
    """Whom a key speaks for; None for one that is unknown or revoked."""
    async with pool.connection() as conn:
        return await ledger.api_key_by_hash(conn, hash_of(api_key))


async def keys(pool: Pool, account_id: int | None = None) -> list[ApiKey]:
    """An account's in the order of their making, or all accounts'; those that were revoked too."""
    async with pool.connection() as conn:
        return await ledger.api_keys(conn, account_id)


async def revoke_key(pool: Pool, key_id: int, account_id: int | None = None) -> ApiKey:
    """From the commit on the key speaks for nobody. Revoking again changes nothing. Raises NotFound, also for a key of another
    account than `account_id`."""
    async with pool.connection() as conn:
        return await ledger.revoke_api_key(conn, key_id, account_id)
