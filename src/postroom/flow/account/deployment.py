"""What this installation adds to what the database holds: the key of its secrets, its name, its address; and from these the way
to a gateway, and what that gateway can take.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import psycopg
import structlog

from postroom.bounded.processes import IN_THREAD, Runs
from postroom.bounded.turns import Turns
from postroom.errors import InvalidInput, PostroomError, Unavailable
from postroom.flow.account.gateways import opened_grant, sealed_grant
from postroom.flow.account.secrets import SecretBox
from postroom.gateway.addresses import Network
from postroom.gateway.dialer import Dialer, NotAllowed
from postroom.gateway.oauth import Grant, Tokens
from postroom.gateway.session import Endpoint, GatewayError, open_session
from postroom.ledger.account import gateways
from postroom.ledger.database.db import Pool

ASK_S = 4.0  # when a gateway is only asked; less than a transaction may stand still
FACTS_KEPT_S = 60.0
ANY_NUMBER = 1_000_000

log = structlog.get_logger(__name__)


class GatewayRow(Protocol):
    """A gateway as the ledger has it; `password` and `oauth` are sealed."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def security(self) -> str: ...
    @property
    def username(self) -> str | None: ...
    @property
    def password(self) -> bytes | None: ...
    @property
    def ca_certificates(self) -> str | None: ...
    @property
    def oauth(self) -> bytes | None: ...


class NotSetUp(PostroomError):
    """The gateway cannot be used as it is set up here: a person has to mend it. Nothing is wrong with the job."""


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What a gateway said of itself. `size_max` in octets, None where it names none; `trouble`: why it could not be asked."""

    size_max: int | None = None
    takes_utf8: bool = False
    trouble: str | None = None
    offers_login: bool = False


class _Login(NamedTuple):
    """What tokens are asked for with, whatever the refresh token is now."""

    username: str
    ca_certificates: str | None
    token_url: str
    client_id: str
    client_secret: str | None
    scope: str


class Deployment:
    """One of it per process. `base_url` is where people reach the pages, None where that is not known; `allowed` are the networks
    beside the Internet in which gateways may stand. `bounded` does the work whose length a template or a list decides; `freezing`
    lets a few jobs be made at a time, None any number. `pool`: where a refresh token is kept that was given in exchange.
    """

    def __init__(self, secrets: SecretBox, *, helo_name: str, allow_plaintext: bool = False, base_url: str | None = None,
                 allowed: tuple[Network, ...] = (),
                 bounded: Runs = IN_THREAD, freezing: Turns | None = None, pool: Pool | None = None) -> None:
        self.secrets = secrets
        self.base_url = base_url
        self.bounded = bounded
        self.freezing = freezing or Turns(ANY_NUMBER, each=ANY_NUMBER)
        self._helo_name = helo_name
        self._allow_plaintext = allow_plaintext
        self._dialer = Dialer(allowed)
        self._pool = pool
        self._tokens: dict[_Login, Tokens] = {}
        self._sealed: dict[_Login, bytes] = {}  # as the database has them, so far as this process knows
        self._facts: dict[Endpoint, tuple[float, asyncio.Task[GatewayFacts]]] = {}

    def endpoint(self, gateway: GatewayRow) -> Endpoint:
        """Raises NotSetUp."""
        try:
            return Endpoint(
                gateway.host, gateway.port, security=gateway.security,  # type: ignore[arg-type]  # held by a CHECK
                username=gateway.username, password=self.secrets.open(gateway.password) if gateway.password else None,
                helo_name=self._helo_name, allow_plaintext=self._allow_plaintext, dialer=self._dialer,
                ca_certificates=gateway.ca_certificates, tokens=self._tokens_of(gateway) if gateway.oauth else None)
        except (InvalidInput, Unavailable) as error:
            raise NotSetUp(str(error)) from None

    def _tokens_of(self, gateway: GatewayRow) -> Tokens:
        """The same of each gateway and job with that login, so that a token is asked for once. Raises Unavailable."""
        assert gateway.oauth is not None
        assert gateway.username is not None, "held by a CHECK"
        grant = opened_grant(self.secrets, gateway.oauth)
        login = _Login(gateway.username, gateway.ca_certificates, grant.token_url, grant.client_id, grant.client_secret,
                       grant.scope)
        if login not in self._tokens:
            self._tokens[login] = Tokens(gateway.username, grant, gateway.ca_certificates, partial(self._keep, login))
        if self._sealed.get(login) != gateway.oauth:
            self._tokens[login].grant, self._sealed[login] = grant, gateway.oauth
        return self._tokens[login]

    async def _keep(self, login: _Login, grant: Grant) -> None:
        """For other processes, and the next start. Without a database this one goes on with it all the same."""
        sealed = sealed_grant(self.secrets, grant)
        if self._pool is not None:
            try:
                async with self._pool.connection() as conn:
                    await gateways.renew_oauth(conn, self._sealed[login], sealed)
                self._sealed[login] = sealed
            except (Unavailable, psycopg.Error) as error:
                log.warning("a refresh token was not kept", error=str(error))

    async def look_up(self, host: str, port: int) -> None:
        """Raises InvalidInput if the host leads where no mail may go. One without an address now is looked at when used."""
        try:
            async with asyncio.timeout(ASK_S):
                await self._dialer.addresses(host, port)
        except NotAllowed as refused:
            raise InvalidInput(f"The gateway {host}:{port} cannot be used: {refused}.", field="host") from None
        except (OSError, ValueError):
            pass

    async def facts(self, gateway: GatewayRow) -> GatewayFacts:
        """What the gateway can take, asked at most once a minute; nothing is sent. Never raises."""
        try:
            endpoint = self.endpoint(gateway)
        except NotSetUp as error:
            return GatewayFacts(trouble=str(error))
        now = time.monotonic()
        # What is older goes, and with it the login that a gateway had then.
        self._facts = {one: (at, asking) for one, (at, asking) in self._facts.items() if now - at <= FACTS_KEPT_S}
        if endpoint not in self._facts:
            self._facts[endpoint] = now, asyncio.create_task(_ask(endpoint))  # one asks for all who want to know
        return await asyncio.shield(self._facts[endpoint][1])


async def try_gateway(endpoint: Endpoint) -> GatewayFacts:
    """One whole way in: name, connection, TLS, login; nothing is sent. Raises GatewayError with what is wrong."""
    session = await open_session(endpoint)
    facts = GatewayFacts(session.size_max, session.offers_utf8, offers_login="AUTH" in session.extensions)
    await session.close()
    return facts


async def _ask(endpoint: Endpoint) -> GatewayFacts:
    try:
        async with asyncio.timeout(ASK_S):
            return await try_gateway(endpoint)
    except GatewayError as error:
        return GatewayFacts(trouble=str(error))
    except TimeoutError:
        return GatewayFacts(trouble=f"The gateway {endpoint} did not answer within {ASK_S:.0f} s.")
