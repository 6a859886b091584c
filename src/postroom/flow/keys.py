"""The API keys that there are: listed and revoked. Their secrets are nowhere but with their holders."""

from __future__ import annotations

from postroom.ledger import accounts
from postroom.ledger.accounts import ApiKey as ApiKey
from postroom.ledger.db import Pool


async def keys(pool: Pool, account_id: int | None = None) -> list[ApiKey]:
    """An account's in the order of their making, or all accounts'; those that were revoked too."""
    async with pool.connection() as conn:
        return await accounts.api_keys(conn, account_id)


async def revoke_key(pool: Pool, key_id: int, account_id: int | None = None) -> ApiKey:
    """From the commit on the key speaks for nobody. Revoking again changes nothing. Raises NotFound, also for a key of another
    account than `account_id`."""
    async with pool.connection() as conn:
        return await accounts.revoke_api_key(conn, key_id, account_id)
