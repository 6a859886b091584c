"""The servers that an account hands its mail to: set up, and listed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import msgspec

from postroom.domain.access import Actor, Right
from postroom.errors import InvalidInput, NotFound, check_range, storable
from postroom.flow.account.acting import permitted
from postroom.flow.account.secrets import SecretBox
from postroom.gateway import certificates
from postroom.gateway.certificates import Authority, authorities
from postroom.gateway.oauth import Grant as Grant
from postroom.gateway.oauth import Tokens
from postroom.gateway.session import Endpoint
from postroom.ledger.account import accounts
from postroom.ledger.account import gateways as ledger
from postroom.ledger.account.gateways import Gateway as Gateway
from postroom.ledger.account.gateways import Limits as Limits
from postroom.ledger.database.db import Pool

PORTS = {"implicit": 465, "starttls": 587, "none": 25}
RATE_MAX_PER_S = 1e6
PEM_MAX = certificates.OCTETS_MAX
NO_LIMITS = Limits()
LIMITS = tuple(asdict(NO_LIMITS))


@dataclass(frozen=True, slots=True)
class Login:
    """How a gateway is told who hands it mail: a user name with a password, or with what access tokens are asked for."""

    username: str
    password: str | None = None
    grant: Grant | None = None


async def create_gateway(pool: Pool, secrets: SecretBox, actor: Actor, *, name: str, host: str, port: int | None = None,
                         security: str = "implicit", username: str | None = None, password: str | None = None,
                         grant: Grant | None = None, ca_certificates: str | None = None,
                         connections: int = 10, signs_dkim: bool = False, limits: Limits = NO_LIMITS,
                         replace: bool = False) -> int:
    """The server that the account hands its mail to; the first one is its default. With `replace` the one of that name gets
    all of these, and jobs that wait for it go on with them. Raises Conflict, NotFound, InvalidInput.

    The login is by `password`, or by access tokens that are asked for with the `grant`. `ca_certificates` (PEM) vouch for it
    instead of the machine's. `signs_dkim`: it signs for the From domain by itself, as hosted services do.
    Whether mail may travel to it unencrypted is asked when it is spoken to: that is a setting of each process.
    """
    account_id = permitted(actor, Right.WRITE_SETTINGS)
    if security not in PORTS:
        raise InvalidInput(f'Security is one of {", ".join(PORTS)}, not "{security}".', field="security")
    if not 1 <= connections <= 100:
        raise InvalidInput("A gateway has 1 to 100 connections.", field="connections")
    if limits.messages_per_s is not None and not 0 < limits.messages_per_s <= RATE_MAX_PER_S:
        raise InvalidInput("A gateway's messages per second are more than 0.", field="messages_per_s")
    check_range("A connection takes", limits.messages_per_connection, "messages", "messages_per_connection")
    check_range("A day's quota is", limits.daily_quota, "messages", "daily_quota")
    check_range("A warm-up begins with", limits.warm_up_from, "messages", "warm_up_from")
    for field, text in (("name", name), ("host", host)):
        storable(text, field)
    port = PORTS[security] if port is None else port
    _check_login(host, port, security, username, password, grant)
    async with pool.connection() as conn:
        return await ledger.create_gateway(
            conn, account_id, name=name, host=host, port=port, security=security, username=username,
            password=None if password is None else secrets.seal(password), connections=connections, signs_dkim=signs_dkim,
            ca_certificates=authorities(ca_certificates)[1] if ca_certificates else None,
            oauth=None if grant is None else sealed_grant(secrets, grant), limits=limits, replace=replace)


async def change_gateway(pool: Pool, secrets: SecretBox, actor: Actor, name: str, *, ca_certificates: str | None = None,
                         login: Login | None = None, signs_dkim: bool | None = None) -> Gateway:
    """The gateway of that name with what is given; the rest stays. An empty text for the certificates: it has none of its own.
    Jobs that wait for it go on with these. Raises NotFound, InvalidInput."""
    account_id = permitted(actor, Right.WRITE_SETTINGS)
    own = authorities(ca_certificates)[1] if ca_certificates else None
    async with pool.connection() as conn, conn.transaction():
        await accounts.lock_account(conn, account_id)
        every = {one.name: one for one in await ledger.gateways_of_account(conn, account_id)}
        if name not in every:
            raise NotFound(f'The account has no gateway named "{name}".')
        changed = every[name]
        if ca_certificates is not None:
            changed = replace(changed, ca_certificates=own)
        if signs_dkim is not None:
            changed = replace(changed, signs_dkim=signs_dkim)
        if login is not None:
            _check_login(changed.host, changed.port, changed.security, login.username, login.password, login.grant)
            changed = replace(changed, username=login.username,
                              password=None if login.password is None else secrets.seal(login.password),
                              oauth=None if login.grant is None else sealed_grant(secrets, login.grant))
        values = {key: value for key, value in asdict(changed).items() if key not in LIMITS and key != "id"}
        limits = Limits(**{key: getattr(changed, key) for key in LIMITS})
        await ledger.create_gateway(conn, account_id, **values, limits=limits, replace=True)
    return changed


async def gateways(pool: Pool, actor: Actor) -> list[Gateway]:
    account_id = permitted(actor, Right.READ_SETTINGS)
    async with pool.connection() as conn:
        return await ledger.gateways_of_account(conn, account_id)


def vouching(gateway: Gateway) -> list[Authority]:
    """Whom its own CA certificates make vouch for it; nobody where it has none."""
    return authorities(gateway.ca_certificates)[0] if gateway.ca_certificates else []


def ending(gateway: Gateway) -> list[str]:
    """A sentence for each of these whose time is up, or soon will be."""
    now = datetime.now(UTC)
    return [warning for one in vouching(gateway) if (warning := one.warning(now)) is not None]


def sealed_grant(secrets: SecretBox, grant: Grant) -> bytes:
    return secrets.seal(msgspec.json.encode(grant).decode())


def opened_grant(secrets: SecretBox, oauth: bytes) -> Grant:
    """Raises Unavailable where it was sealed with another key."""
    return msgspec.json.decode(secrets.open(oauth), type=Grant)


def _check_login(host: str, port: int, security: str, username: str | None, password: str | None, grant: Grant | None) -> None:
    """Raises InvalidInput."""
    for field, text in (("username", username), ("password", password)):
        if text is not None:
            storable(text, field)
    Endpoint(host, port, security=security, username=username, password=password,  # type: ignore[arg-type]  # in PORTS
             tokens=None if grant is None else Tokens(username or "", grant), allow_plaintext=True)
