"""Open SMTP sessions of one worker process, kept between chunks: a new TLS connection costs as much as dozens of messages.

Each needs one of its gateway's connection slots, which all workers and machines share; it goes back when the session is closed,
and runs out by itself when the worker dies.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import psycopg
import structlog

from postroom.domain.pace import WINDOW_SIZE_MAX
from postroom.errors import Unavailable
from postroom.gateway.replies import Phase, Verdict
from postroom.gateway.session import Deadlines, Endpoint, GatewayRefused, Session, open_session
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import pace
from postroom.ledger.delivery.pace import Slot

IDLE_MAX_S = 5.0

log = structlog.get_logger(__name__)


class NoSlot(Unavailable):
    """Every connection that the gateway allows is in use. Nothing is wrong: the lane ends, and the sweep tries again."""


@dataclass(slots=True)
class Sessions:
    """`take` one for a chunk, `give_back` afterwards; what lies idle for five seconds is closed by `close_idle`.

    `renew` is called several times in `lease_s`, or the slots run out under the sessions.
    """

    pool: Pool
    owner: str
    lease_s: float
    deadlines: Deadlines = field(default_factory=Deadlines)
    _idle: dict[Endpoint, list[tuple[float, Session]]] = field(default_factory=dict)
    _slots: dict[Session, tuple[int, Slot]] = field(default_factory=dict)
    _held: set[tuple[int, int]] = field(default_factory=set)  # (gateway, number), those of connections that are opening too
    _lock_step: set[Endpoint] = field(default_factory=set)

    async def take(self, endpoint: Endpoint, gateway_id: int) -> Session:
        """A session that is logged in. Raises NoSlot, GatewayRefused, GatewayUnreachable."""
        idle = self._idle.get(endpoint, [])
        while idle:
            _, session = idle.pop()
            if session.usable:
                return session
            await self._end(session)
        async with self.pool.connection() as conn:
            slot = await pace.take_slot(conn, gateway_id, self.owner, self.lease_s)
        if slot is None:
            raise NoSlot("Every connection that the gateway allows is in use.")
        self._held.add((gateway_id, slot.no))
        try:
            session = await self._opened(endpoint, gateway_id)
        except BaseException:
            await self._free(gateway_id, slot)
            raise
        self._slots[session] = gateway_id, slot
        return session

    async def _opened(self, endpoint: Endpoint, gateway_id: int) -> Session:
        """Refused at its first word, while others are connected, is "not so many at once": then there are fewer slots."""
        pipelining = endpoint.pipelining and endpoint not in self._lock_step
        try:
            return await open_session(replace(endpoint, pipelining=pipelining), self.deadlines)
        except GatewayRefused as refused:
            if refused.phase not in (Phase.CONNECT, Phase.EHLO) or refused.verdict is not Verdict.THROTTLED:
                raise
            async with self.pool.connection() as conn:
                allowed = await pace.fewer_connections(conn, gateway_id)
            if allowed is None:
                raise
            log.warning("gateway takes no more connections", gateway=gateway_id, allowed=allowed, reply=str(refused.reply))
            raise NoSlot(str(refused)) from refused

    def room(self, session: Session) -> int:
        """How many messages the gateway takes on it still. With none, `give_back` closes it."""
        _, slot = self._slots[session]
        return WINDOW_SIZE_MAX if slot.messages_max is None else max(0, slot.messages_max - session.handed_off)

    async def give_back(self, endpoint: Endpoint, session: Session) -> None:
        if session.usable and self.room(session) > 0:
            self._idle.setdefault(endpoint, []).append((asyncio.get_running_loop().time(), session))
        else:
            await self._end(session)

    def distrust_pipelining(self, endpoint: Endpoint) -> bool:
        """The gateway lost count of pipelined commands: from now on one command at a time with it. False: so it was already."""
        trusted = endpoint not in self._lock_step
        self._lock_step.add(endpoint)
        return trusted

    async def renew(self) -> None:
        """The heartbeat of the slots."""
        if self._held:
            async with self.pool.connection() as conn:
                await pace.renew_slots(conn, self.owner, self._held, self.lease_s)

    async def close_idle(self, older_than_s: float = IDLE_MAX_S) -> None:
        limit = asyncio.get_running_loop().time() - older_than_s
        closing = []
        for endpoint, idle in list(self._idle.items()):
            closing += [session for since, session in idle if since <= limit]
            idle[:] = [(since, session) for since, session in idle if since > limit]
            if not idle:
                del self._idle[endpoint]
        await asyncio.gather(*(self._end(session) for session in closing))

    async def close_one(self, endpoint: Endpoint) -> None:
        """Leaves one of its connections to another worker."""
        if idle := self._idle.get(endpoint):
            _, session = idle.pop(0)
            await self._end(session)

    async def _end(self, session: Session) -> None:
        """With a goodbye where it still listens. Its slot is free when the socket is."""
        await session.close()
        if (held := self._slots.pop(session, None)) is not None:
            await self._free(*held)

    async def _free(self, gateway_id: int, slot: Slot) -> None:
        """Without a database it runs out by itself, since nobody renews it."""
        self._held.discard((gateway_id, slot.no))
        try:
            async with self.pool.connection() as conn:
                await pace.free_slot(conn, gateway_id, self.owner, slot.no)
        except (Unavailable, psycopg.Error) as error:
            log.warning("a connection slot was not given back", gateway=gateway_id, error=str(error))
