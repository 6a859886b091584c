"""Whose keys sign for which From domain."""

from __future__ import annotations

import psycopg
import pytest

from postroom.errors import Conflict
from postroom.flow.account import accounts
from postroom.ledger.account import domains
from postroom.ledger.account.domains import NewKey
from postroom.ledger.database.db import Pool


def key(selector: str) -> NewKey:
    return NewKey(selector, "ed25519-sha256", b"sealed", "AAAA")


async def add(pool: Pool, account_id: int, domain: str, *selectors: str) -> None:
    async with pool.connection() as conn, conn.transaction():
        await domains.create_domain(conn, account_id, domain, [key(selector) for selector in selectors])


async def test_a_domain_and_its_keys_come_together_or_not_at_all(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await add(pool, account.id, "club.example", "same", "same")
    async with pool.connection() as conn:
        assert await domains.keys_of_account(conn, account.id) == []
    await add(pool, account.id, "club.example", "s1", "s2")
    with pytest.raises(Conflict, match=r"club\.example is a sending domain of this account already"):
        await add(pool, account.id, "club.example", "s3")
    async with pool.connection() as conn:
        assert [(one.domain, one.selector) for one in await domains.keys_of_account(conn, account.id)] == [
            ("club.example", "s1"), ("club.example", "s2")]


@pytest.mark.parametrize(("from_domain", "selectors"), [
    ("club.example", ["club-1", "club-2"]), ("a.b.club.example", ["club-1", "club-2"]), ("mail.club.example", ["mail"]),
    ("x.mail.club.example", ["mail"]), ("xmail.club.example", ["club-1", "club-2"]), ("xclub.example", []), ("example", []),
    ("school.example", []), ("", []),
])
async def test_the_nearest_domain_at_or_above_the_from_domain_signs(pool: Pool, from_domain: str, selectors: list[str]) -> None:
    account, other = [await accounts.create_account(pool, name) for name in ("Club", "School")]
    await add(pool, account.id, "club.example", "club-1", "club-2")
    await add(pool, account.id, "mail.club.example", "mail")
    await add(pool, other.id, "school.example", "school")
    await add(pool, other.id, "a.b.club.example", "nearer-but-not-ours")
    async with pool.connection() as conn:
        assert [one.selector for one in await domains.keys_for(conn, account.id, from_domain)] == selectors


async def test_nobody_gets_the_keys_of_another_account(pool: Pool) -> None:
    account, other = [await accounts.create_account(pool, name) for name in ("Club", "School")]
    await add(pool, account.id, "club.example", "ours")
    await add(pool, other.id, "club.example", "theirs")
    async with pool.connection() as conn:
        [ours], [theirs] = [await domains.keys_of_account(conn, one.id) for one in (account, other)]
        assert await domains.keys_by_id(conn, account.id, [theirs.id, ours.id]) == [ours]
        assert "sealed" not in repr(ours)
