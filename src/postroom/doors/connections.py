"""The connections of the web process: how many there may be, and how long one may take over a request or over an answer.

Whoever holds many open and says nothing loses the oldest of them, and keeps nobody else out. A request's body has its own clock
(`limits`), which begins when its header is there.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX, CONNECTIONS_EACH = 1_000, 400  # of all addresses, of one
DESCRIPTORS_MIN = 4 * CONNECTIONS_MAX  # of files, as far as the system lets us: each request may have a few
HEAD_S = 10.0  # for a request's first line and header, from the connection or from the answer before it on
UNREAD_S = 60.0  # for an answer of which nothing more is taken
LOOK_EVERY_S = 1.0


class Connection(H11Protocol):
    """uvicorn's, which knows since when it waits for whom."""

    _waits_since = 0.0
    _unread, _unread_since = 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._waits_since = self.loop.time()
        if len(self.connections) > CONNECTIONS_EACH:
            every = [one for one in self.connections if isinstance(one, Connection)]
            mine = [one for one in every if self.client and one.client and one.client[0] == self.client[0]]
            for some, most in ((mine, CONNECTIONS_EACH), (every, CONNECTIONS_MAX)):
                if len(some) > most:
                    min((one for one in some if one.is_silent), key=lambda one: one._waits_since).transport.abort()
                    break

    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        super().on_response_complete()

    @property
    def is_silent(self) -> bool:
        """Whether there is no request to answer."""
        return self.cycle is None or self.cycle.response_complete

    def look(self) -> None:
        """Ends it where its other side has taken too long."""
        now, unread = self.loop.time(), self.transport.get_write_buffer_size()
        if unread == 0 or unread < self._unread:
            self._unread_since = now
        self._unread = unread
        if unread:
            if now - self._unread_since > UNREAD_S:
                self.transport.abort()
        elif self.is_silent and now - self._waits_since > HEAD_S:
            self.transport.close()


async def watch(connections: Iterable[Any]) -> None:
    """Looks at all of a server's connections, again and again."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        for one in list(connections):
            if isinstance(one, Connection):
                one.look()


def allow_descriptors() -> None:
    """Room for that many connections, and for the files of their requests."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS_MIN:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if 0 <= hard < DESCRIPTORS_MIN else DESCRIPTORS_MIN, hard))
