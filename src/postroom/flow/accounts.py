"""Setting up: accounts and what they say of themselves, their gateways, keys, contacts and opt-outs."""

from __future__ import annotations

import re
from collections import Counter
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
from postroom.ledger.accounts import Limits as Limits
from postroom.ledger.db import Pool
from postroom.message.address import LOCAL_PART_MAX, AddressRefused, parse_address

PORTS = {"implicit": 465, "starttls": 587, "none": 25}
COUNT_MAX = 2**31 - 1
ATTEMPTS_MAX = 100
RATE_MAX_PER_S = 1e6
NO_LIMITS = Limits()
TEXT_MAX = 500  # characters of an unsubscribe address, and of a postal one

# Printable ASCII but for space, < and >. The host or the mailbox's domain is the same for everyone.
_URL = re.compile(rf"(?=[!-;=?-~]{{1,{TEXT_MAX}}}\Z)(?:https?://[^/?#{{}}]+(?:[/?#].*)?|mailto:[^@?]+@[^@?{{}}]+(?:\?.*)?)")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|[{}]")


async def create_account(pool: Pool, name: str, *, approval_threshold: int = 100,
                         fields: Mapping[str, str] | None = None) -> Account:
    """A new tenant. `fields` are its own merge fields, `{{ account.… }}`. Raises Conflict, InvalidInput."""
    _check_threshold(approval_threshold)
    name = storable(name, "name").strip()
    own = {storable(key, "fields"): storable(value, "fields") for key, value in (fields or {}).items()}
    async with pool.connection() as conn:
        account_id = await accounts.create_account(
            conn, name, approval_threshold=approval_threshold, fields={"name": name, **own})
        return await accounts.account_by_id(conn, account_id)


async def change_account(pool: Pool, account_id: int, *, approval_threshold: int | None = None, bounce_domain: str | None = None,
                         unsubscribe_url: str | None = None, postal_address: str | None = None,
                         requires_unsubscribe: bool | None = None, requires_postal_address: bool | None = None,
                         retry_attempts_max: int | None = None, retry_deadline_s: int | None = None,
                         retry_tail_s: int | None = None) -> Account:
    """What the account says of itself. None leaves a thing as it is, an empty text unsets it; jobs that exist keep what they
    were frozen with. Raises NotFound, InvalidInput.

    The last three end the patience with temporary refusals (`ledger/retries.py`), in jobs that are sending too.
    """
    if approval_threshold is not None:
        _check_threshold(approval_threshold)
    _check_range("A recipient is tried", retry_attempts_max, "times", "retry_attempts_max", ATTEMPTS_MAX)
    _check_range("A recipient is tried for", retry_deadline_s, "seconds", "retry_deadline_s")
    _check_range("A job with nothing but retries goes on for", retry_tail_s, "seconds", "retry_tail_s")
    async with pool.connection() as conn:
        return await accounts.change_account(
            conn, account_id, approval_threshold=approval_threshold,
            bounce_domain=bounce_domain and _bounce_domain(bounce_domain.strip()),
            unsubscribe_url=unsubscribe_url and _unsubscribe_url(unsubscribe_url.strip()),
            postal_address=postal_address and _postal_address(postal_address.strip()),
            requires_unsubscribe=requires_unsubscribe, requires_postal_address=requires_postal_address,
            retry_attempts_max=retry_attempts_max, retry_deadline_s=retry_deadline_s, retry_tail_s=retry_tail_s)


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
                         connections: int = 10, signs_dkim: bool = False, limits: Limits = NO_LIMITS,
                         replace: bool = False) -> int:
    """The server that the account hands its mail to; the first one is its default. With `replace` the one of that name gets
    all of these, and jobs that wait for it go on with them. Raises Conflict, NotFound, InvalidInput.

    `signs_dkim`: it signs for the From domain by itself, as hosted services do.
    Whether mail may travel to it unencrypted is asked when it is spoken to: that is a setting of each process.
    """
    if security not in PORTS:
        raise InvalidInput(f'Security is one of {", ".join(PORTS)}, not "{security}".', field="security")
    if not 1 <= connections <= 100:
        raise InvalidInput("A gateway has 1 to 100 connections.", field="connections")
    if limits.messages_per_s is not None and not 0 < limits.messages_per_s <= RATE_MAX_PER_S:
        raise InvalidInput("A gateway's messages per second are more than 0.", field="messages_per_s")
    _check_range("A connection takes", limits.messages_per_connection, "messages", "messages_per_connection")
    _check_range("A day's quota is", limits.daily_quota, "messages", "daily_quota")
    _check_range("A warm-up begins with", limits.warm_up_from, "messages", "warm_up_from")
    for field, text in (("name", name), ("host", host), ("username", username), ("password", password)):
        if text is not None:
            storable(text, field)
    port = PORTS[security] if port is None else port
    Endpoint(host, port, security=security, username=username, password=password,  # type: ignore[arg-type]  # in PORTS
             allow_plaintext=True)
    async with pool.connection() as conn:
        return await accounts.create_gateway(
            conn, account_id, name=name, host=host, port=port, security=security, username=username,
            password=None if password is None else secrets.seal(password), connections=connections,
            signs_dkim=signs_dkim, limits=limits, replace=replace)


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


def _check_threshold(threshold: int) -> None:
    _check_range("The approval threshold is", threshold, "recipients", "approval_threshold")


def _check_range(what: str, value: int | None, unit: str, field: str, value_max: int = COUNT_MAX) -> None:
    if value is not None and not 1 <= value <= value_max:
        raise InvalidInput(f"{what} 1 to {value_max:,} {unit}.", field=field)


def _bounce_domain(domain: str) -> str:
    """The domain in A-labels. It is tried behind the longest local part, so that every envelope sender fits before it."""
    try:
        return parse_address(f"{'b' * LOCAL_PART_MAX}@{domain}").envelope.decode("ascii").partition("@")[2]
    except AddressRefused as refused:
        raise InvalidInput(f"Nothing can bounce to this domain: {refused}", field="bounce_domain") from None


def _unsubscribe_url(url: str) -> str:
    """It stands in a header as it is, on one line between angle brackets (RFC 2369), so nothing in it may end or break that."""
    if not _URL.fullmatch(url):
        raise InvalidInput("The unsubscribe address begins with https:, http: or mailto: and the place that it leads to; "
                           f"it has no spaces, no < and >, nothing outside ASCII, and at most {TEXT_MAX} characters.",
                           field="unsubscribe_url")
    counts = Counter(_PLACEHOLDER.findall(url))
    if counts.keys() - {"{token}", "{email}"} or max(counts.values(), default=0) > 1:
        raise InvalidInput("In braces the unsubscribe address may have {token} and {email}, each once: the recipient's own "
                           "are put there.", field="unsubscribe_url")
    return url


def _postal_address(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise InvalidInput(f"A postal address has at most {TEXT_MAX} characters.", field="postal_address")
    return storable(text, "postal_address")
