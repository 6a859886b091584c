"""A gateway in memory, and the connections to it. It writes down what it accepted before it answers: that is the truth.

What it does at each step is drawn: refusals of every kind, 421, silence, garbage, one word too many, an end of the connection
before or after it has taken a message. Octets of a process that dies may arrive, in part, or not at all.
"""

from __future__ import annotations

import random
import re
from collections import Counter

from postroom.gateway.connect import Endpoint, GatewayRefused, GatewayUnreachable
from postroom.gateway.conversation import Deadlines
from postroom.gateway.replies import Phase, Reply
from postroom.gateway.session import Session
from proofs.simulation.time import Loop, Process, current

LATENCY_S = (0.001, 0.02)
END = b"\r\n.\r\n"
GOOD = {Phase.MAIL: b"250 2.1.0 ok\r\n", Phase.RCPT: b"250 2.1.5 ok\r\n", Phase.DATA: b"354 go ahead\r\n",
        Phase.RSET: b"250 2.0.0 ok\r\n", Phase.QUIT: b"221 2.0.0 bye\r\n"}
REFUSALS = {
    Phase.MAIL: (b"451 4.3.0 later", b"421 4.3.2 closing", b"503 5.5.1 sequence"),
    Phase.RCPT: (b"450 4.2.1 busy", b"550 5.1.1 nobody", b"550 5.7.1 no, thanks", b"452 4.2.2 full", b"451 4.7.1 slower",
                 b"421 4.7.0 enough"),
    Phase.DATA: (b"451 4.3.0 later", b"554 5.6.0 no", b"421 4.3.2 closing"),
    Phase.DOT: (b"451 4.2.0 later", b"550 5.7.1 spam", b"552 5.2.2 full", b"452 4.3.1 slower", b"421 4.3.2 closing"),
}
NEEDS = {Phase.RCPT: Phase.MAIL, Phase.DATA: Phase.RCPT}
VERBS = {b"MAIL": Phase.MAIL, b"RCPT": Phase.RCPT, b"DATA": Phase.DATA, b"RSET": Phase.RSET, b"QUIT": Phase.QUIT}

ADDRESS = re.compile(rb"person(\d+)@list(\d+)")

Position = tuple[int, int]  # (job, position)


class Gateway:
    """`taken` is the truth; `refused` is what it said against each position, `refused_sender` before anybody was named;
    `in_doubt` are the positions whose dot went out in a connection that ended before its answer came."""

    def __init__(self, loop: Loop, chance: random.Random) -> None:
        self.loop, self.chance = loop, chance
        self.taken: Counter[Position] = Counter()
        self.refused: dict[Position, set[str]] = {}
        self.refused_sender: set[str] = set()
        self.in_doubt: set[Position] = set()
        self.written: dict[str, set[Position]] = {}  # by process: whose dot it has given away and has no answer to
        self.refuses = 0.0   # the share of steps with a refusal
        self.breaks = 0.0    # the share of steps with worse
        self.unreachable_until = 0.0
        self.links: dict[Link, None] = {}  # in the order of their making, so that a seed tells the same story

    async def open_session(self, endpoint: Endpoint, deadlines: Deadlines) -> Session:
        """As gateway/session.py's: the set-up is a matter of one draw here."""
        process = current()
        assert process is not None
        session = Session(deadlines)
        drawn = self.chance.random()
        if self.loop.now < self.unreachable_until or drawn < self.breaks / 4:
            raise GatewayUnreachable("gateway.example", Phase.CONNECT, "connection refused")
        if drawn < self.breaks / 2:
            raise GatewayRefused("gateway.example", Phase.CONNECT, Reply(421, "4.7.0", "4.7.0 too many"))
        link = Link(self, process, session)
        session.connection_made(link)  # type: ignore[arg-type]  # what of a transport a session uses
        assert session._asked is not None
        session._asked = None
        session.ready({"PIPELINING": "", "SIZE": "1000000"}, pipelining=endpoint.pipelining)
        return session

    def remember(self, phase: Phase, position: Position | None, answer: bytes | None) -> None:
        """What it says, if that is a no."""
        if answer is None or answer[:1] not in b"45":
            return
        said = self.refused_sender if phase is Phase.MAIL or position is None else self.refused.setdefault(position, set())
        said.add(answer.decode().rstrip())


class Link:
    """One connection: a transport for the session, a server behind it. Octets arrive in order."""

    def __init__(self, gateway: Gateway, process: Process, session: Session) -> None:
        self._gateway, self.process, self._session = gateway, process, session
        self._on_the_way: list[bytes] = []
        self._is_open = True
        self._received = b""
        self._in_content = False
        self._recipient: Position | None = None
        self._last_good: Phase | None = None
        self._arrives_at = 0.0
        self._answers_at = 0.0
        self._dots: list[Position] = []  # given away, in order, and not answered
        gateway.links[self] = None

    # -- the session's side

    def write(self, data: bytes) -> None:
        if not self._is_open:
            return
        gateway, position = self._gateway, _position(data) if END in data else None
        if not self.process.step():
            gateway.in_doubt.update({position} if position is not None else ())  # its journal says that it was about to
            return
        if position is not None:
            self._dots.append(position)
            gateway.written.setdefault(self.process.name, set()).add(position)
        self._on_the_way.append(data)
        self._arrives_at = max(self._arrives_at, gateway.loop.now + gateway.chance.uniform(*LATENCY_S))
        gateway.loop.call_at(self._arrives_at, self._arrive, context=gateway.loop.outside)

    def abort(self) -> None:
        self.cut()

    def is_closing(self) -> bool:
        return not self._is_open

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def cut(self) -> None:
        """The connection ends at our side: of what is on the way some may arrive still."""
        if not self._is_open:
            return
        rest = b"".join(self._on_the_way)
        self._on_the_way.clear()
        if rest:
            some = self._gateway.chance.choice((0, len(rest), self._gateway.chance.randrange(len(rest) + 1)))
            self._take(rest[:some], answers=False)
        self._end()

    def _end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._gateway.links.pop(self, None)
            self._gateway.in_doubt.update(self._dots)
            self._gateway.loop.call_soon(self._session.connection_lost, None, context=self.process.context)

    # -- the server's side

    def _arrive(self) -> None:
        if self._is_open and self._on_the_way:
            self._take(self._on_the_way.pop(0), answers=True)

    def _take(self, data: bytes, *, answers: bool) -> None:
        self._received += data
        said: list[bytes] = []
        dots = 0
        while self._is_open:
            if self._in_content:
                content, end, rest = self._received.partition(END)
                if not end:
                    break
                self._received, self._in_content = rest, False
                dots += 1
                phase, self._recipient = Phase.DOT, _position(content + END)
                answer = self._at_dot(self._recipient, answers=answers)
            else:
                line, end, rest = self._received.partition(b"\r\n")
                if not end:
                    break
                self._received = rest
                phase = VERBS[line[:4]]
                if phase is Phase.RCPT:
                    self._recipient = _named(line)
                answer = self._at(phase)
                self._in_content = phase is Phase.DATA and answer is not None and answer.startswith(b"354")
            if answers:
                self._gateway.remember(phase, self._recipient, answer)
            if answer is None:  # it stands silent, or hangs up
                break
            said.append(answer)
            if answer.startswith(b"421"):
                break
        if said and answers:
            self._answer(b"".join(said), dots)

    def _at(self, phase: Phase) -> bytes | None:
        gateway, drawn = self._gateway, self._gateway.chance.random()
        if drawn < gateway.breaks:
            return self._misbehave()
        if NEEDS.get(phase) not in (None, self._last_good):
            return b"503 5.5.1 not yet\r\n"
        if drawn < gateway.breaks + gateway.refuses and phase in REFUSALS:
            self._last_good = None
            return gateway.chance.choice(REFUSALS[phase]) + b"\r\n"
        self._last_good = phase
        return GOOD[phase]

    def _at_dot(self, position: Position, *, answers: bool) -> bytes | None:
        """Truth first, then the answer, if it comes to one."""
        gateway, drawn = self._gateway, self._gateway.chance.random()
        if answers and drawn < gateway.refuses:
            return gateway.chance.choice(REFUSALS[Phase.DOT]) + b"\r\n"
        if answers and drawn < gateway.refuses + gateway.breaks / 2:
            return self._misbehave((0, 1, 4))  # and does not take it
        gateway.taken[position] += 1
        if answers and drawn < gateway.refuses + gateway.breaks:
            return self._misbehave()
        return b"250 2.0.0 taken as %d.%d\r\n" % position

    def _misbehave(self, kinds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> bytes | None:
        kind = self._gateway.chance.choice(kinds)
        if kind == 0:
            self._gateway.loop.after(self._gateway.chance.uniform(0, 0.05), self._end)
        elif kind == 1:
            return b"what?\r\n"
        elif kind == 2:
            return b"250 ok\r\n250 and more\r\n"
        elif kind == 3:
            self._answers_at = max(self._answers_at, self._gateway.loop.now + self._gateway.chance.uniform(0, 15))
            return b"250 2.0.0 late\r\n"
        return None  # silence

    def _answer(self, data: bytes, dots: int) -> None:
        gateway = self._gateway
        self._answers_at = max(self._answers_at, gateway.loop.now + gateway.chance.uniform(*LATENCY_S))
        gateway.loop.call_at(self._answers_at, self._deliver, data, dots, context=self.process.context)

    def _deliver(self, data: bytes, dots: int) -> None:
        """In the process: what it hears before it dies it may write down, or not."""
        if not self._is_open:
            return
        answered = self._dots[:dots]
        self._session.data_received(data)
        if not self.process.is_dying:  # otherwise on its way to its journal
            del self._dots[:dots]
            self._gateway.written.get(self.process.name, set()).difference_update(answered)
        if data.startswith(b"421") or b"\r\n421" in data:
            self._end()


def _position(content: bytes) -> Position:
    """The messages of the simulation end in their job and position."""
    job, position = content[:content.index(END)].rsplit(b"\r\n", 1)[-1].split(b".")
    return int(job), int(position)


def _named(rcpt: bytes) -> Position:
    found = ADDRESS.search(rcpt)
    assert found is not None
    return int(found[2]), int(found[1])
