"""Setting up: accounts, their gateways, keys, contacts and opt-outs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from postroom.domain.audience import IncomingRow
from postroom.errors import InvalidInput, NotFound, storable
from postroom.flow.intake import fill_intake
from postroom.flow.secrets import SecretBox, hash_of, new_api_key
from postroom.gateway.session import Endpoint
from postroom.ledger import accounts
from postroom.ledger.accounts import Account as Account
from postroom.ledger.accounts import ContactProblem
from postroom.ledger.accounts import Gateway as Gateway
from postroom.ledger.accounts import KeyHolder as KeyHolder
from postroom.ledger.db import Pool
from postroom.message.address import AddressRefused, parse_address

PORTS = {"implicit": 465, "starttls": 587, "none": 25}


async def create_account(pool: Pool, name: str, *, approval_threshold: int = 100,
                         fields: Mapping[str, str] | None = None) -> Account:
    """A new tenant. `fields` are its own merge fields, `{{ account.… }}`. Raises Conflict, InvalidInput."""
    if approval_threshold < 1:
        raise InvalidInput("The approval threshold is at least 1.", field="approval_threshold")
    name = storable(name, "name").strip()
    own = {storable(key, "fields"): storable(value, "fields") for key, value in (fields or {}).items()}
    async with pool.connection() as conn:
        account_id = await accounts.create_account(
            conn, name, approval_threshold=approval_threshold, fields={"name": name, **own})
        return await accounts.account_by_id(conn, account_id)


async def find_account(pool: Pool, name: str | None) -> Account:
    """By name; without a name the only account there is. Raises NotFound, InvalidInput."""
    async with pool.connection() as conn:
        if name is not None:
            return await accounts.account_by_name(conn, name)
        every = await accounts.all_accounts(conn)
    if not every:
        raise NotFound("There is no account yet. Create one: postroom account create NAME.")
    if len(every) > 1:
        names = ", ".join(one.name for one in every[:5])
        raise InvalidInput(f"There are {len(every)} accounts; name one: {names}.", field="account")
    return every[0]


async def account_by_id(pool: Pool, account_id: int) -> Account:
    async with pool.connection() as conn:
        return await accounts.account_by_id(conn, account_id)


async def all_accounts(pool: Pool) -> list[Account]:
    async with pool.connection() as conn:
        return await accounts.all_accounts(conn)


async def create_gateway(pool: Pool, secrets: SecretBox, account_id: int, *, name: str, host: str, port: int | None = None,
                         security: str = "implicit", username: str | None = None, password: str | None = None,
                         connections: int = 10, replace: bool = False) -> int:
    """The server that the account hands its mail to; the first one is its default. With `replace` the one of that name gets
    all of these, and jobs that wait for it go on with them. Raises Conflict, NotFound, InvalidInput.

    Whether mail may travel to it unencrypted is asked when it is spoken to: that is a setting of each process.
    """
    if security not in PORTS:
        raise InvalidInput(f'Security is one of {", ".join(PORTS)}, not "{security}".', field="security")
    if not 1 <= connections <= 100:
        raise InvalidInput("A gateway has 1 to 100 connections.", field="connections")
    for field, text in (("name", name), ("host", host), ("username", username), ("password", password)):
        if text is not None:
            storable(text, field)
    port = PORTS[security] if port is None else port
    Endpoint(host, port, security=security, username=username, password=password,  # type: ignore[arg-type]  # in PORTS
             allow_plaintext=True)
    async with pool.connection() as conn:
        return await accounts.create_gateway(
            conn, account_id, name=name, host=host, port=port, security=security, username=username,
            password=None if password is None else secrets.seal(password), connections=connections, replace=replace)


async def gateways(pool: Pool, account_id: int) -> list[Gateway]:
    async with pool.connection() as conn:
        return await accounts.gateways_of_account(conn, account_id)


async def create_key(pool: Pool, account_id: int, name: str) -> str:
    """A new API key, in clear: it cannot be shown again. Raises Conflict, InvalidInput."""
    key = new_api_key()
    async with pool.connection() as conn:
        await accounts.create_api_key(conn, account_id, storable(name, "name"), hash_of(key))
    return key


async def holder_of(pool: Pool, api_key: str) -> KeyHolder | None:
    """Whom a key speaks for; None for one that is unknown or revoked."""
    async with pool.connection() as conn:
        return await accounts.api_key_by_hash(conn, hash_of(api_key))


async def import_contacts(pool: Pool, account_id: int, rows: Iterable[IncomingRow]) -> tuple[int, list[ContactProblem]]:
    """Takes every usable row; an address that is known gets the new fields. Returns (contacts now, rows not taken)."""
    async with pool.connection() as conn, conn.transaction():
        await fill_intake(conn, await accounts.create_contact_intake(conn), rows)
        return await accounts.merge_contacts(conn, account_id)


async def suppress(pool: Pool, account_id: int, addresses: Iterable[str], reason: str = "Opted out.") -> int:
    """The account never mails these again, jobs that are already frozen included. Raises InvalidInput with the row."""
    keys = []
    storable(reason, "reason")
    for row_no, address in enumerate(addresses, start=1):
        try:
            keys.append(parse_address(address).key)
        except AddressRefused as refused:
            raise InvalidInput(f"Row {row_no}: {refused}", row=row_no) from None
    async with pool.connection() as conn:
        return await accounts.suppress(conn, account_id, keys, reason)
