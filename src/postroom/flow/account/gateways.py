"""The servers that an account hands its mail to: set up, and listed."""

from __future__ import annotations

from postroom.errors import InvalidInput, check_range, storable
from postroom.flow.account.secrets import SecretBox
from postroom.gateway.session import Endpoint
from postroom.ledger.account import gateways as ledger
from postroom.ledger.account.gateways import Gateway as Gateway
from postroom.ledger.account.gateways import Limits as Limits
from postroom.ledger.database.db import Pool

PORTS = {"implicit": 465, "starttls": 587, "none": 25}
RATE_MAX_PER_S = 1e6
NO_LIMITS = Limits()


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
    check_range("A connection takes", limits.messages_per_connection, "messages", "messages_per_connection")
    check_range("A day's quota is", limits.daily_quota, "messages", "daily_quota")
    check_range("A warm-up begins with", limits.warm_up_from, "messages", "warm_up_from")
    for field, text in (("name", name), ("host", host), ("username", username), ("password", password)):
        if text is not None:
            storable(text, field)
    port = PORTS[security] if port is None else port
    Endpoint(host, port, security=security, username=username, password=password,  # type: ignore[arg-type]  # in PORTS
             allow_plaintext=True)
    async with pool.connection() as conn:
        return await ledger.create_gateway(
            conn, account_id, name=name, host=host, port=port, security=security, username=username,
            password=None if password is None else secrets.seal(password), connections=connections,
            signs_dkim=signs_dkim, limits=limits, replace=replace)


async def gateways(pool: Pool, account_id: int) -> list[Gateway]:
    async with pool.connection() as conn:
        return await ledger.gateways_of_account(conn, account_id)
