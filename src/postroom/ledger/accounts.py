"""Accounts and what belongs to them: gateways, keys, contacts, suppressions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.ledger.db import Connection
from postroom.ledger.queries import load

SQL = load("accounts")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A gateway's own, for all workers and machines together; None: none. A warm-up's first day is capped at `warm_up_from`,
    and each day that follows at twice as many."""

    messages_per_s: float | None = None
    messages_per_connection: int | None = None
    daily_quota: int | None = None
    warm_up_from: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway(Limits):
    """`password` is sealed: only the one who holds the installation's secret key can open it."""

    id: int
    name: str
    host: str
    port: int
    security: str
    username: str | None
    password: bytes | None
    connections: int
    signs_dkim: bool


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who an API key speaks for."""

    account_id: int
    name: str
    account_name: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it can be shown; its secret cannot."""

    id: int
    account_name: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


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
    return await _number(cursor)


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


async def create_gateway(conn: Connection, account_id: int, *, name: str, host: str, port: int, security: str,
                         username: str | None, password: bytes | None, connections: int, signs_dkim: bool,
                         limits: Limits, replace: bool) -> int:
    """The gateway's number; `password` sealed. Raises Conflict where the name is taken, with `replace` NotFound where not."""
    values = {"account_id": account_id, "name": name, "host": host, "port": port, "security": security, "username": username,
              "password": password, "connections": connections, "signs_dkim": signs_dkim, **asdict(limits)}
    try:
        cursor = await conn.execute(SQL.replace_gateway if replace else SQL.create_gateway, values)
    except psycopg.errors.UniqueViolation:
        raise Conflict(f'The account already has a gateway named "{name}".') from None
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f'The account has no gateway named "{name}" to replace.')
    return int(row[0])


async def gateways_of_account(conn: Connection, account_id: int) -> list[Gateway]:
    """In the order of their making; the first is the default."""
    async with conn.cursor(row_factory=class_row(Gateway)) as cursor:
        await cursor.execute(SQL.gateways_of_account, {"account_id": account_id})
        return await cursor.fetchall()


async def create_api_key(conn: Connection, account_id: int, name: str, secret_hash: bytes) -> int:
    """Raises Conflict where the account has a key of that name."""
    try:
        cursor = await conn.execute(SQL.create_api_key,
                                    {"account_id": account_id, "name": name, "secret_hash": secret_hash})
    except psycopg.errors.UniqueViolation:
        raise Conflict(f'The account already has a key named "{name}", which may be a revoked one. Choose another name: it '
                       "stands with the jobs that a key makes.") from None
    return await _number(cursor)


async def api_key_by_hash(conn: Connection, secret_hash: bytes) -> KeyHolder | None:
    """None for a key that never was or is revoked."""
    async with conn.cursor(row_factory=class_row(KeyHolder)) as cursor:
        await cursor.execute(SQL.api_key_by_hash, {"secret_hash": secret_hash})
        return await cursor.fetchone()


async def api_keys(conn: Connection, account_id: int | None) -> list[ApiKey]:
    """In the order of their making; None: of all accounts."""
    async with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        await cursor.execute(SQL.api_keys, {"account_id": account_id})
        return await cursor.fetchall()


async def revoke_api_key(conn: Connection, key_id: int, account_id: int | None) -> ApiKey:
    """The key as it is then. Raises NotFound."""
    async with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        await cursor.execute(SQL.revoke_api_key, {"key_id": key_id, "account_id": account_id})
        if (key := await cursor.fetchone()) is None:
            raise NotFound(f"There is no key {key_id}{'' if account_id is None else ' in this account'}.")
        return key


@dataclass(frozen=True, slots=True)
class Addressee:
    """One recipient of one job, and the account that mailed it. `token_key` makes and proves the account's tokens."""

    account_id: int
    account_name: str
    token_key: bytes
    address: str
    address_key: str


@dataclass(frozen=True, slots=True)
class ContactProblem:
    row_no: int
    value: str
    reason: str


async def create_contact_intake(conn: Connection) -> str:
    """Makes the temporary table and returns the COPY statement that fills it."""
    await conn.execute(SQL.create_contact_intake)
    copy: str = SQL.copy_contact_intake
    return copy


async def merge_contacts(conn: Connection, account_id: int) -> tuple[int, list[ContactProblem]]:
    """(contacts that the account has now, the first hundred rows that were not taken)."""
    await conn.execute(SQL.merge_contacts, {"account_id": account_id})
    async with conn.cursor(row_factory=class_row(ContactProblem)) as cursor:
        await cursor.execute(SQL.contact_problems)
        problems = await cursor.fetchall()
    return await _number(await conn.execute(SQL.count_contacts, {"account_id": account_id})), problems


async def suppress(conn: Connection, account_id: int, address_keys: Sequence[str], reason: str) -> int:
    """How many addresses became suppressed by this."""
    cursor = await conn.execute(SQL.suppress, {"account_id": account_id, "address_keys": list(address_keys), "reason": reason})
    return cursor.rowcount


async def suppressed_among(conn: Connection, account_id: int, address_keys: Sequence[str]) -> set[str]:
    """Those of the keys that the account must not mail."""
    cursor = await conn.execute(SQL.suppressed_among, {"account_id": account_id, "address_keys": list(address_keys)})
    return {row[0] for row in await cursor.fetchall()}


async def contact_at(conn: Connection, account_id: int, position: int) -> tuple[str, str] | None:
    """(address, fields as JSON) of the contact at a position from 1 on."""
    cursor = await conn.execute(SQL.contact_at, {"account_id": account_id, "before": position - 1})
    row = await cursor.fetchone()
    return (row[0], row[1]) if row else None


async def addressee(conn: Connection, job_id: int, position: int) -> Addressee | None:
    """None where the job has nobody at `position` whom it mails."""
    async with conn.cursor(row_factory=class_row(Addressee)) as cursor:
        await cursor.execute(SQL.addressee, {"job_id": job_id, "position": position})
        return await cursor.fetchone()


async def _number(cursor: psycopg.AsyncCursor[tuple[object, ...]]) -> int:
    row = await cursor.fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
