"""Accounts: what each says of itself, and the lock under which its queue is decided."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.ledger.database.db import Connection, number
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    name: str
    approval_threshold: int
    fields: str  # JSON object
    bounce_domain: str | None
    unsubscribe_url: str | None
    postal_address: str | None
    requires_unsubscribe: bool
    requires_postal_address: bool
    retry_attempts_max: int  # temporary refusals of one recipient
    retry_deadline_s: int  # from its first refusal on
    retry_tail_s: int  # that a job goes on when nothing but retries are left


async def create_account(conn: Connection, name: str, *, approval_threshold: int, fields: Mapping[str, str]) -> int:
    """A new account's number. Raises Conflict where the name is taken."""
    try:
        cursor = await conn.execute(SQL.create_account, {
            "name": name, "approval_threshold": approval_threshold, "fields": json.dumps(fields, ensure_ascii=False)})
    except psycopg.errors.UniqueViolation:
        raise Conflict(f'There is already an account named "{name}".') from None
    except psycopg.errors.CheckViolation:
        wrong = "The name of an account has at most 200 characters." if name else "The name of the account is empty."
        raise InvalidInput(wrong, field="name") from None
    except psycopg.DataError as error:
        raise InvalidInput(f"The account is not valid: {error}.", field="name") from None
    return await number(cursor)


async def account_by_name(conn: Connection, name: str) -> Account:
    """Raises NotFound, also for a name that no account can have."""
    async with conn.cursor(row_factory=class_row(Account)) as cursor:
        try:
            await cursor.execute(SQL.account_by_name, {"name": name})
        except (psycopg.DataError, UnicodeEncodeError):  # NUL, a lone surrogate
            shown = name.encode("utf-8", "replace").decode().replace("\0", "?")
            raise NotFound(f'There is no account named "{shown}".') from None
        if (account := await cursor.fetchone()) is None:
            raise NotFound(f'There is no account named "{name}".')
        return account


async def account_by_id(conn: Connection, account_id: int) -> Account:
    """Raises NotFound."""
    async with conn.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(SQL.account_by_id, {"account_id": account_id})
        if (account := await cursor.fetchone()) is None:
            raise NotFound("There is no such account.")
        return account


async def hold_account(conn: Connection, account_id: int) -> Account:
    """As `account_by_id`; neither it nor its gateways and domains are deleted until the transaction ends. Raises NotFound."""
    await conn.execute(SQL.hold_account, {"account_id": account_id})
    return await account_by_id(conn, account_id)


async def all_accounts(conn: Connection) -> list[Account]:
    """By name."""
    async with conn.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(SQL.all_accounts)
        return await cursor.fetchall()


async def change_account(conn: Connection, account_id: int, *, approval_threshold: int | None, bounce_domain: str | None,
                         unsubscribe_url: str | None, postal_address: str | None, requires_unsubscribe: bool | None,
                         requires_postal_address: bool | None, retry_attempts_max: int | None, retry_deadline_s: int | None,
                         retry_tail_s: int | None) -> Account:
    """The account as it is then: None leaves a thing as it was, an empty text unsets it. Raises NotFound."""
    async with conn.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(SQL.change_account, {
            "account_id": account_id, "approval_threshold": approval_threshold, "bounce_domain": bounce_domain,
            "unsubscribe_url": unsubscribe_url, "postal_address": postal_address,
            "requires_unsubscribe": requires_unsubscribe, "requires_postal_address": requires_postal_address,
            "retry_attempts_max": retry_attempts_max, "retry_deadline_s": retry_deadline_s, "retry_tail_s": retry_tail_s})
        if (account := await cursor.fetchone()) is None:
            raise NotFound("There is no such account.")
        return account


async def lock_account(conn: Connection, account_id: int) -> None:
    """The first lock of every approval, start and ending. Raises NotFound."""
    cursor = await conn.execute(SQL.lock_account, {"account_id": account_id})
    if await cursor.fetchone() is None:
        raise NotFound("There is no such account.")
