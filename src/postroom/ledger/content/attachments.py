"""The octets of files that messages carry: each content once for an account, by its SHA-256."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


async def keep(conn: Connection, account_id: int, files: Mapping[str, bytes]) -> None:
    """Store files by digest (hex); one that is there already stays."""
    for digest, octets in files.items():
        await conn.execute(SQL.keep_attachment, {"account_id": account_id, "digest": bytes.fromhex(digest), "octets": octets})


async def octets_of(conn: Connection, account_id: int, digests: Sequence[str]) -> dict[str, bytes]:
    """The files of these digests (hex)."""
    cursor = await conn.execute(SQL.attachments, {
        "account_id": account_id, "digests": [bytes.fromhex(digest) for digest in digests]}, binary=True)
    return {row[0].hex(): row[1] for row in await cursor.fetchall()}
