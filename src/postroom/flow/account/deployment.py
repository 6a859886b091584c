"""What this installation adds to what the database holds: the key of its secrets, its name, its address; and from these the way
to a gateway, and what that gateway can take.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from postroom.bounded.processes import IN_THREAD, Runs
from postroom.bounded.turns import Turns
from postroom.errors import InvalidInput, PostroomError, Unavailable
from postroom.flow.account.secrets import SecretBox
from postroom.gateway.addresses import Network
from postroom.gateway.dialer import Dialer, NotAllowed
from postroom.gateway.session import Endpoint, GatewayError, open_session

ASK_S = 4.0  # when a gateway is only asked; less than a transaction may stand still
FACTS_KEPT_S = 60.0
ANY_NUMBER = 1_000_000


class GatewayRow(Protocol):
    """A gateway as the ledger has it; `password` is sealed."""

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


class NotSetUp(PostroomError):
    """The gateway cannot be used as it is set up here: a person has to mend it. Nothing is wrong with the job."""


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What a gateway said of itself. `size_max` in octets, None where it names none; `trouble`: why it could not be asked."""

    size_max: int | None = None
    takes_utf8: bool = False
    trouble: str | None = None
    offers_login: bool = False


class Deployment:
    """One of it per process. `base_url` is where people reach the pages, None where that is not known; `allowed` are the networks
    beside the Internet in which gateways may stand. `bounded` does the work whose length a template or a list decides; `freezing`
    lets a few jobs be made at a time, None any number.
    """

    def __init__(self, secrets: SecretBox, *, helo_name: str, allow_plaintext: bool = False, base_url: str | None = None,
                 allowed: tuple[Network, ...] = (),
                 bounded: Runs = IN_THREAD, freezing: Turns | None = None) -> None:
        self.secrets = secrets
        self.base_url = base_url
        self.bounded = bounded
        self.freezing = freezing or Turns(ANY_NUMBER, each=ANY_NUMBER)
        self._helo_name = helo_name
        self._allow_plaintext = allow_plaintext
        self._dialer = Dialer(allowed)
        self._facts: dict[Endpoint, tuple[float, asyncio.Task[GatewayFacts]]] = {}

    def endpoint(self, gateway: GatewayRow) -> Endpoint:
        """Raises NotSetUp."""
        try:
            return Endpoint(
                gateway.host, gateway.port, security=gateway.security,  # type: ignore[arg-type]  # held by a CHECK
                username=gateway.username, password=self.secrets.open(gateway.password) if gateway.password else None,
                helo_name=self._helo_name, allow_plaintext=self._allow_plaintext, dialer=self._dialer)
        except (InvalidInput, Unavailable) as error:
            raise NotSetUp(str(error)) from None

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
