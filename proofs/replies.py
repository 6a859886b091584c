"""Hostile replies: nothing that a gateway says, in whatever pieces, is taken for the answer to something else.

The parser is held against a slow model of the same grammar, which sees all octets at once and cuts them where replies really
end. Then whole sessions talk to servers that answer at random: rightly, with refusals, garbage, replies too many, too few or in
crumbs, or not at all. Each remembers what it said and heard, and the model says which reply was whose: no envelope has two
answers, each answer is the one that the server gave in that place, and one without an answer was never handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field

from postroom.gateway.replies import (
    LINE_OCTETS_MAX,
    REPLY_LINES_MAX,
    REPLY_OCTETS_MAX,
    Phase,
    ProtocolError,
    Reply,
    ReplyParser,
    accepts,
    good_group,
)
from postroom.gateway.session import Deadlines, Endpoint, Envelope, GatewayError, SessionLost, open_session
from postroom.tasks import end
from proofs.faulty import LOOPBACK_DIALER
from proofs.verdict import Say, Scale, Verdict

SESSIONS_AT_ONCE = 20
RECIPIENTS = 5
WAITS_MAX_S = 0.5
HANGS_AFTER_S = 60.0
DEADLINES = Deadlines(**{f"{step}_s": WAITS_MAX_S for step in (
    "connect", "tls", "greeting", "ehlo", "auth", "mail", "rcpt", "data", "content", "dot", "quit")})
GROUP = (Phase.DOT, Phase.MAIL, Phase.RCPT, Phase.DATA)
TRANSACTION = (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT)
CODES = (b"220", b"250", b"250", b"354", b"421", b"450", b"452", b"503", b"550", b"552", b"554")
CRUMBS = (b"\r\n", b"\n", b"\r", b"250", b"250-", b"250 ok\r\n", b"354 go\r\n", b"\0", b"\xff", b"-", b" ", b"5.1.1", b"99")


# -- the model ---------------------------------------------------------------------------------------------------------


def modelled(said: bytes) -> tuple[list[tuple[int, list[bytes]]], bool]:
    """The replies in these octets, as (code, lines), and whether something that is none came behind them."""
    replies: list[tuple[int, list[bytes]]] = []
    lines: list[bytes] = []
    code, octets = b"", 0
    *whole, rest = said.split(b"\n")
    for each in whole:
        line = each[:-1] if each.endswith(b"\r") else each
        digits, mark = line[:3], line[3:4]
        is_one = len(digits) == 3 and digits.isdigit() and digits[:1] in b"2345" and mark in (b"", b" ", b"-")
        octets += len(line)
        if (len(each) > LINE_OCTETS_MAX or not is_one or (lines and digits != code) or len(lines) == REPLY_LINES_MAX
                or octets > REPLY_OCTETS_MAX):
            return replies, True
        code = digits
        lines.append(line[4:])
        if mark != b"-":
            replies.append((int(code), lines))
            lines, octets = [], 0
    return replies, len(rest) > LINE_OCTETS_MAX


def parsed(pieces: list[bytes]) -> tuple[list[tuple[int, list[bytes]]], bool]:
    """The same, by the parser of the product."""
    parser, replies = ReplyParser(), []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (reply := parser.next()) is not None:
                replies.append((reply.code, list(parser.lines)))
        except ProtocolError:
            return replies, True
    return replies, False


# -- the parser --------------------------------------------------------------------------------------------------------


def hostile(draw: random.Random) -> bytes:
    """Something between a good group and noise."""
    said = b""
    for _ in range(draw.randrange(1, 12)):
        code = draw.choice(CODES)
        match draw.randrange(10):
            case 0:
                said += draw.choice(CRUMBS) * draw.randrange(1, 4)
            case 1:
                said += draw.randbytes(draw.randrange(1, 60))
            case 2:
                said += b"".join(code + b"-" + draw.randbytes(3).hex().encode() + b"\r\n" for _ in range(draw.randrange(1, 140)))
            case 3:
                said += code + b" " + b"x" * (LINE_OCTETS_MAX - draw.choice((0, 4, 5, 6, 7_000))) + b"\r\n"
            case 4:
                said += b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
            case _:
                said += code + draw.choice((b" ", b"-", b"")) + draw.choice((b"", b"ok", b"5.1.1 no", b"\xc3\xa4 \0")) + b"\r\n"
    return said


def cut(draw: random.Random, said: bytes) -> list[bytes]:
    """In pieces: anywhere."""
    places = sorted(draw.randrange(len(said) + 1) for _ in range(draw.choice((1, 3, 20))))
    return [said[start:end] for start, end in zip([0, *places], [*places, len(said)], strict=True)]


def try_parser(draw: random.Random) -> tuple[int, list[str]]:
    """How many octets it was fed, and what came out wrong."""
    said = hostile(draw)
    expected = modelled(said)
    wrong = [f"{pieces!r:.200} gave {found!r:.200}, not {expected!r:.200}"
             for pieces in ([said], cut(draw, said), [said[at:at + 1] for at in range(len(said))])
             if (found := parsed(pieces)) != expected]
    if (first := good_group(said)) is not None:
        codes = [code for code, _ in expected[0]]
        good = [accepts(phase, code) for phase, code in zip(GROUP, codes, strict=True)]
        if expected[1] or not all(good) or first.code != codes[0]:
            wrong.append(f"{said!r:.200} is no good group")
    return 3 * len(said), wrong


# -- sessions ----------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """One connection with a server that answers at random; what it said and heard."""

    draw: random.Random
    said: bytearray = field(default_factory=bytearray)
    commands: list[tuple[Phase, bytes]] = field(default_factory=list)  # each is owed the reply of its number
    writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        with contextlib.suppress(OSError, ConnectionError):
            await self.answer(Phase.CONNECT, b"220 here\r\n")
            recipient = b""
            while line := await reader.readline():
                phase = Phase(line.split()[0].decode())
                if phase in (Phase.MAIL, Phase.RCPT):
                    recipient = line
                hello = b"250-here\r\n250 PIPELINING\r\n" if self.draw.random() < 0.8 else b"250 here\r\n"
                yes = {Phase.EHLO: hello, Phase.DATA: b"354 go on\r\n"}.get(phase, b"250 2.0.0 fine\r\n")
                if await self.answer(phase, yes, recipient) and phase is Phase.DATA:
                    while (line := await reader.readline()) != b".\r\n":
                        if not line:
                            return
                    await self.answer(Phase.DOT, b"250 2.0.0 got %d\r\n" % len(self.commands), recipient)

    async def answer(self, phase: Phase, yes: bytes, recipient: bytes = b"") -> bool:
        """Whether it said yes, and nothing else."""
        self.commands.append((phase, recipient))
        calm = 0.97 if phase in (Phase.CONNECT, Phase.EHLO) else 0.85
        if self.draw.random() < calm:
            await self.say(yes)
            return True
        match self.draw.randrange(8):
            case 0:
                await self.say(self.draw.choice((b"550 5.1.1 no\r\n", b"450 4.2.1 later\r\n", b"554-no\r\n554 never\r\n")))
            case 1:
                await self.say(hostile(self.draw))
            case 2:
                await self.say(yes + self.draw.choice((b"250 2.0.0 and more\r\n", b"2", b"354 go\r\n", b"\0")))
            case 3:
                await self.say(yes[: self.draw.randrange(len(yes))])
            case 4:
                for at in range(len(yes)):
                    await self.say(yes[at:at + 1])
                    await asyncio.sleep(0.001)
                return True
            case 5:
                await self.say(self.draw.choice(CODES) + b" at random\r\n")
            case 6:
                raise ConnectionError("it has had enough")
            case _:
                await self.say(yes[:3] + b"-" + b"\r\n" + yes)
                return yes.count(b"\n") == 1
        return False

    async def say(self, octets: bytes) -> None:
        assert self.writer is not None
        self.said += octets
        self.writer.write(octets)
        await self.writer.drain()

    def code(self, phase: Phase, recipient: bytes) -> int | None:
        """That of the reply that stands where the answer to this command of theirs has to stand; None if there is none.

        It hears them say MAIL, RCPT, DATA and the dot in this order. It may have said too much before it heard them all, and have
        hung up since: what it said is counted as their answers all the same.
        """
        replies, _ = modelled(bytes(self.said))
        person = b"<" + recipient.partition(b"@")[0] + b"@"
        begun = [at for at, (one, named) in enumerate(self.commands) if one is Phase.MAIL and person in named]
        at = begun[0] + TRANSACTION.index(phase) if begun else len(replies)
        return replies[at][0] if at < len(replies) else None


@dataclass
class Window:
    """A source that remembers everything it was told."""

    left: list[bytes]
    dots: list[bytes] = field(default_factory=list)
    told: list[tuple[bytes, Phase | None, Reply | None]] = field(default_factory=list)

    def next(self) -> Envelope | None:
        if not self.left:
            return None
        recipient = self.left.pop(0)
        return Envelope(recipient.replace(b"list", b"club"), recipient)

    def content(self, envelope: Envelope) -> bytes:
        return b"Subject: hello\r\n\r\n.hello\r\n"

    def handing_over(self, envelope: Envelope) -> None:
        self.dots.append(envelope.recipient)

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        self.told.append((envelope.recipient, phase, reply))

    def lost(self, envelope: Envelope, detail: str) -> None:
        self.told.append((envelope.recipient, None, None))


async def try_session(draw: random.Random, count: Counter[str]) -> list[str]:
    """One session with one such server, and what came out wrong."""
    server = Server(draw)
    window = Window([b"person%d@list.example" % n for n in range(RECIPIENTS)])
    serving: list[asyncio.Task[None]] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        try:
            await server.serve(reader, writer)
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(served, "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", listening.sockets[0].getsockname()[1], security="none", dialer=LOOPBACK_DIALER)
    try:
        async with asyncio.timeout(HANGS_AFTER_S):
            with contextlib.suppress(GatewayError, SessionLost):
                session = await open_session(endpoint, DEADLINES)
                await session.hand_off(window)
                await session.close()
    except TimeoutError:
        return ["a session hung"]
    finally:
        listening.close()
        await end(*serving)
    count["octets"] += len(server.said)
    return judged(server, window, count)


def judged(server: Server, window: Window, count: Counter[str]) -> list[str]:
    """What the session told its source, against what the server said in that place."""
    wrong = [f"{one!r} has two answers" for one, times in Counter(one for one, *_ in window.told).items() if times > 1]
    for recipient, phase, reply in window.told:
        if phase is None or reply is None:
            count["lost"] += 1
            wrong += [] if recipient in window.dots else [f"{recipient!r} is lost, and its dot was never written"]
        else:
            count["accepted" if accepts(phase, reply.code) else "refused"] += 1
            if (code := server.code(phase, recipient)) != reply.code:
                wrong.append(f"{recipient!r} was told {reply.code} to {phase.value}, and the server said {code}")
    unanswered = set(window.dots) - {one for one, *_ in window.told}
    return wrong + [f"{one!r} was handed over and nothing was told of it" for one in unanswered]


# -- the proof ---------------------------------------------------------------------------------------------------------


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    octets_wanted, sessions = scale.of(10_000_000, 100_000), scale.of(20_000, 300)
    draw, wrong, octets = random.Random(seed), [], 0
    while octets < octets_wanted:
        fed, found = try_parser(draw)
        octets += fed
        wrong += found
    say(f"{octets:,} octets parsed, {len(wrong)} wrong")
    count: Counter[str] = Counter()
    seeds = iter([draw.randrange(2**63) for _ in range(sessions)])

    async def talker() -> None:
        for one in seeds:
            found = await try_session(random.Random(one), count)
            wrong.extend(f"session of seed {one}: {sentence}" for sentence in found)

    await asyncio.gather(*(talker() for _ in range(SESSIONS_AT_ONCE)))
    say(f"{sessions:,} sessions, {len(wrong)} wrong")
    return Verdict({"octets parsed": octets, "sessions": sessions, "octets said to them": count["octets"],
                    "accepted": count["accepted"], "refused": count["refused"], "in doubt": count["lost"],
                    "wrong": len(wrong)}, wrong[:20])
