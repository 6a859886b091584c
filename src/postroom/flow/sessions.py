"""Open SMTP sessions of one worker process, kept between chunks: a new TLS connection costs as much as dozens of messages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from postroom.gateway.session import Deadlines, Endpoint, Session, open_session

IDLE_MAX_S = 5.0


@dataclass(slots=True)
class Sessions:
    """`take` one for a chunk, `give_back` afterwards; what lies idle for five seconds is closed by `close_idle`."""

    deadlines: Deadlines = field(default_factory=Deadlines)
    _idle: dict[Endpoint, list[tuple[float, Session]]] = field(default_factory=dict)
    _lock_step: set[Endpoint] = field(default_factory=set)

    async def take(self, endpoint: Endpoint) -> Session:
        """A session that is logged in. Raises GatewayRefused, GatewayUnreachable."""
        idle = self._idle.get(endpoint, [])
        while idle:
            _, session = idle.pop()
            if session.usable:
                return session
            session.abort()
        pipelining = endpoint.pipelining and endpoint not in self._lock_step
        return await open_session(replace(endpoint, pipelining=pipelining), self.deadlines)

    def give_back(self, endpoint: Endpoint, session: Session) -> None:
        if session.usable:
            self._idle.setdefault(endpoint, []).append((asyncio.get_running_loop().time(), session))
        else:
            session.abort()

    def distrust_pipelining(self, endpoint: Endpoint) -> bool:
        """The gateway lost count of pipelined commands: from now on one command at a time with it. False: so it was already."""
        trusted = endpoint not in self._lock_step
        self._lock_step.add(endpoint)
        return trusted

    async def close_idle(self, older_than_s: float = IDLE_MAX_S) -> None:
        limit = asyncio.get_running_loop().time() - older_than_s
        closing = []
        for endpoint, idle in list(self._idle.items()):
            closing += [session for since, session in idle if since <= limit]
            idle[:] = [(since, session) for since, session in idle if since > limit]
            if not idle:
                del self._idle[endpoint]
        await asyncio.gather(*(session.close() for session in closing))
