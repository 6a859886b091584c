"""Doubt is exact: a connection that is reset before the final dot leaves none, and one that is reset after it always does.

A session hands off windows of three to a gateway that resets the connection at a place drawn at random. Before: in any phase up
to DATA, or in the middle of a long message's content. After: when it has read the whole message, or when of its last
"CRLF dot CRLF" a part is still unread. The client cannot know the difference, and the gateway may have the message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from postroom.domain.outcome import Kind
from postroom.flow.content.outgoing import OutgoingJob
from postroom.flow.delivery.window_source import Row, WindowSource
from postroom.gateway.journal import Journal, WindowKey
from postroom.gateway.replies import Phase
from postroom.gateway.session import Endpoint, GatewayError, SessionLost, open_session
from postroom.ledger.delivery.windows import InHand, Window
from postroom.message.content import Bodies
from postroom.message.render.compile import Stamp
from postroom.message.render.compile import compile as compile_content
from proofs.content import CONTENT
from proofs.faulty import LOOPBACK_DIALER, Faulty, resets
from proofs.verdict import Say, Scale, Verdict

AT_ONCE = 10
VICTIM = 2  # of three
END_OF_MESSAGE = b"\r\n.\r\n"
STAMP = Stamp("1-0", datetime(2030, 1, 1, tzinfo=UTC))


def _outgoing(text: str) -> OutgoingJob:
    return OutgoingJob(compile_content(CONTENT, Bodies(CONTENT.html, text), STAMP, {"name": "Club"}), None,
                  Endpoint("127.0.0.1", 1, security="none"), gateway_id=1, lanes=1, retry_attempts_max=8)


OUTGOING = _outgoing("Hello {{ name }}\n")
LONG = _outgoing(("x" * 70 + "\n") * 14_000)  # more than the kernels hold between the two
BEFORE = (Phase.CONNECT, Phase.EHLO, Phase.MAIL, Phase.RCPT, Phase.DATA)


@dataclass
class Count:
    """What the three of each window became."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    resets_each, draw = scale.of(1_000, 60), random.Random(seed)
    before, after = Count(), Count()
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal.open(Path(directory), bytes(16), "resets", 0)
        for count, places in ((before, [_before(draw) for _ in range(resets_each)]),
                              (after, [_after(draw) for _ in range(resets_each)])):
            turns = asyncio.Semaphore(AT_ONCE)

            async def one(place: Place, number: int, count: Count = count, turns: asyncio.Semaphore = turns) -> None:
                async with turns:
                    await reset(place, number, journal, count)

            await asyncio.gather(*(one(place, number) for number, place in enumerate(places)))
            say(f"{len(places)} resets: {dict(count.kinds)}")
    faults = before.faults + after.faults
    if before.kinds[Kind.UNCONFIRMED] or before.kinds[Kind.FAILED]:
        faults.append(f"Resets before the dot left doubt or failed somebody: {dict(before.kinds)}.")
    if after.kinds[Kind.UNCONFIRMED] != resets_each:
        faults.append(f"{resets_each} resets after the dot left {after.kinds[Kind.UNCONFIRMED]} unconfirmed.")
    return Verdict({"resets before the dot": resets_each, "unconfirmed by them": before.kinds[Kind.UNCONFIRMED],
                    "resets after the dot": resets_each, "unconfirmed by these": after.kinds[Kind.UNCONFIRMED]}, faults)


@dataclass(frozen=True)
class Place:
    """Where the connection is reset. `content`: amid the content. After the dot: `unread` octets of the message never read."""

    phase: Phase
    pipelining: bool
    content: bool = False
    unread: int = 0


def _before(draw: random.Random) -> Place:
    phase, pipelining = draw.choice([*BEFORE, None]), draw.random() < 0.5
    return Place(phase, pipelining) if phase else Place(Phase.DATA, pipelining, content=True)


def _after(draw: random.Random) -> Place:
    return Place(Phase.DOT, draw.random() < 0.5, unread=draw.randrange(len(END_OF_MESSAGE) + 1))


async def reset(place: Place, number: int, journal: Journal, count: Count) -> None:
    """One window, and what became of its three."""
    key = WindowKey(1, 1, number, 1 if place.phase is Phase.DOT else 2)
    outgoing = LONG if place.content else OUTGOING
    window = Window(1, tuple(InHand(n, 1, f"person{n}@list.example", '{"name": "Ann"}', 0) for n in (1, 2, 3)))
    intent = journal.intend(key, len(window.recipients))
    source = WindowSource(window, outgoing, lambda: True, journal=journal, intent=intent, retry_base_s=1.0, row=Row())
    async with resetting(place) as port:
        try:
            session = await open_session(Endpoint("127.0.0.1", port, security="none", dialer=LOOPBACK_DIALER))
            await session.hand_off(source)
            count.faults.append(f"{place}: the session went on")
        except (GatewayError, SessionLost):
            pass
    journal.booked(intent)
    for outcome in source.outcomes():
        count.kinds[outcome.kind] += 1
        if place.phase is Phase.DOT and outcome.kind is Kind.UNCONFIRMED and outcome.position != VICTIM:
            count.faults.append(f"{place}: the wrong one is unconfirmed")


@contextlib.asynccontextmanager
async def resetting(place: Place) -> AsyncIterator[int]:
    """The port of a gateway that resets there."""
    if place.phase is Phase.DOT:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        serving = asyncio.create_task(_reset_after_dot(listening, place))
        yield listening.getsockname()[1]
        await serving
        listening.close()
        return
    async with Faulty(pipelining=place.pipelining) as gateway:
        first = place.phase in (Phase.CONNECT, Phase.EHLO) or place.content  # later, the kernels would hold most of a message
        gateway.arm(place.phase, resets, content=place.content, nth=1 if first else VICTIM)
        yield gateway.port
        assert gateway.struck, f"{place}: the reset never came"


async def _reset_after_dot(listening: socket.socket, place: Place) -> None:
    """Takes the first message, and of the second all but the last octets, counted one by one."""
    loop = asyncio.get_running_loop()
    peer, _ = await loop.sock_accept(listening)

    async def hear(octets: int) -> None:
        while octets:
            octets -= len(await loop.sock_recv(peer, octets))

    async def hear_line() -> None:
        while await loop.sock_recv(peer, 1) != b"\n":
            pass

    await loop.sock_sendall(peer, b"220 here\r\n")
    await hear_line()
    await loop.sock_sendall(peer, b"250-here\r\n250 PIPELINING\r\n" if place.pipelining else b"250 here\r\n")
    for position in range(1, VICTIM + 1):
        for yes in (b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await hear_line()
            await loop.sock_sendall(peer, yes)
        message = OUTGOING.write(b"", f"person{position}@list.example", position, '{"name": "Ann"}')
        octets = len(message) + len(END_OF_MESSAGE) - 2  # its own last CRLF is the first of them
        await hear(octets if position < VICTIM else octets - place.unread)
        if position < VICTIM:
            await loop.sock_sendall(peer, b"250 ok\r\n")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
