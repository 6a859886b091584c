"""The connections of the web process: how many there may be, and how long one may take over a request or over an answer.

Whoever holds many open and says nothing, or leaves us waiting for a body, loses the oldest of them, and keeps nobody else out. A
request's body has its own clock (`limits`), which begins when its header is there.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX, CONNECTIONS_EACH = 1_000, 400  # of all addresses, of one
DESCRIPTORS_MIN = 4 * CONNECTIONS_MAX  # of files, as far as the system lets us: each request may have a few
HEAD_S = 10.0  # for a request's first line and header, from the connection or from the answer before it on
UNREAD_S = 60.0  # for an answer of which nothing more is taken
LOOK_EVERY_S = 1.0
HEAD_OCTETS_MAX = 16 * 1024
PIECE_OCTETS = 4 * 1024
SLICE_S, REST_S = 0.004, 0.004  # of taking apart, and between two of those: half of the loop's time for all of them
CHUNKS_FREE, CHUNK_OCTETS_MIN = 1_000, 8

log = structlog.get_logger(__name__)


class Connection(H11Protocol):
    """uvicorn's, which knows since when it waits for its other side, and takes its turn where that gives it much to do."""

    _waits_since = 0.0
    _unread, _unread_since = 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.conn = _Parser(transport.abort)
        self._incoming = bytearray()
        self._waits_since = self.loop.time()
        if len(self.connections) <= min(CONNECTIONS_EACH, CONNECTIONS_MAX):
            return
        every = [one for one in self.connections if isinstance(one, Connection)]
        mine = [one for one in every if one.address == self.address]
        if len(mine) > CONNECTIONS_EACH and not self.is_a_proxy:
            _make_room(mine, self)
        elif len(every) > CONNECTIONS_MAX:
            most = Counter(one.address for one in every).most_common(1)[0][0]
            _make_room([one for one in every if one.address == most], self)

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def is_a_proxy(self) -> bool:
        """Whether its requests are those of others: an address that is trusted to say whose."""
        return _is_among(self.address, str(self.config.forwarded_allow_ips))

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()  # it said something, whenever its turn comes
        self._waits_since = self.loop.time() if self.waits_for_a_body else self._waits_since
        if self._incoming:  # its turn comes
            self._incoming += data
            self.transport.pause_reading()  # whoever reads a body has it resumed
            return
        self._incoming = bytearray(data)
        queue = _Queue.of(self.loop)
        queue.first(self)
        if self._incoming:
            self.transport.pause_reading()
            queue.append(self)

    def take(self) -> None:
        """Of what came in, as much as there is time for. h11 needs as long for a chunk of an octet as for a thousand octets."""
        until = self.loop.time() + SLICE_S
        while self._incoming and not self.transport.is_closing():
            piece = bytes(self._incoming[:PIECE_OCTETS])
            del self._incoming[:PIECE_OCTETS]
            super().data_received(piece)
            if self.loop.time() > until:
                break

    def go_on(self) -> bool:
        """In its turn. Whether there is more."""
        self.take()
        if self._incoming and not self.transport.is_closing():
            return True
        self._incoming.clear()
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()
        return False

    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        super().on_response_complete()

    @property
    def is_silent(self) -> bool:
        """Whether there is no request to answer, nor the beginning of one."""
        return not self._incoming and (self.cycle is None or self.cycle.response_complete)

    @property
    def waits_for_a_body(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body

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


@lru_cache(1_000)
def _is_among(address: str, trusted: str) -> bool:
    """As uvicorn reads FORWARDED_ALLOW_IPS: addresses, networks, or * for all."""
    for one in trusted.split(","):
        with suppress(ValueError):
            if one.strip() == "*" or ip_address(address) in ip_network(one.strip()):
                return True
    return False


def _make_room(some: Sequence[Connection], newest: Connection) -> None:
    """Ends the one that has kept us waiting for longest; the newest where all others are being answered."""
    waited_for = [one for one in some if one is not newest and (one.is_silent or one.waits_for_a_body)]
    min(waited_for, key=lambda one: one._waits_since, default=newest).transport.abort()


class _Parser(h11.Connection):
    """A body in chunks of a few octets takes a thousand times as long as it is worth: refused, as what is no HTTP is."""

    def __init__(self, give_up: Callable[[], None]) -> None:
        super().__init__(h11.SERVER, HEAD_OCTETS_MAX)
        self._give_up = give_up
        self._chunks, self._octets = 0, 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._octets = 0
        elif isinstance(event, h11.Data):
            self._chunks, self._octets = self._chunks + 1, self._octets + len(event.data)
            if self._chunks > CHUNKS_FREE and self._octets < CHUNK_OCTETS_MIN * self._chunks:
                if self.our_state is h11.SEND_RESPONSE:
                    raise h11.RemoteProtocolError("The chunks are too small.")
                self._give_up()  # it was answered already
                return h11.NEED_DATA
        return event


class _Queue:
    """Connections that have more to take apart than fits into one turn of the loop, or whose address had its turn already:
    together they have a part of its time."""

    _queues: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Connection] = deque()
        self._turn_began, self._taken = 0.0, defaultdict[str, float](float)  # seconds, by address

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Queue:
        return cls._queues.setdefault(loop, cls(loop))

    def first(self, connection: Connection) -> None:
        """Takes apart what has just come, unless others of its address were at it a moment ago for as long as they may be."""
        began = time.perf_counter()  # the loop's clock may count in milliseconds
        if began > self._turn_began + SLICE_S + REST_S:
            self._turn_began = began
            self._taken.clear()
        if connection.is_a_proxy or self._taken[connection.address] < SLICE_S:
            connection.take()
            self._taken[connection.address] += time.perf_counter() - began

    def append(self, connection: Connection) -> None:
        self._waiting.append(connection)
        if len(self._waiting) == 1:
            self._loop.call_later(REST_S, self._turn)

    def _turn(self) -> None:
        connection = self._waiting[0]
        try:
            goes_on = connection.go_on()
        except Exception:  # as the loop does with what a protocol raises
            log.exception("a connection failed")
            connection.transport.abort()
            goes_on = False
        self._waiting.popleft()
        if goes_on:
            self._waiting.append(connection)
        if self._waiting:
            self._loop.call_later(REST_S, self._turn)


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
