"""What sessions say became of each message, held against what a misbehaving gateway really accepted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque

import pytest

from loopback import local_endpoint
from postroom.gateway.replies import Phase, Reply, Verdict, classify
from postroom.gateway.sandbox.script import Answer, Script
from postroom.gateway.sandbox.server import Sandbox
from postroom.gateway.session import Endpoint, Envelope, GatewayRefused, SessionLost, open_session

RECIPIENTS = 4000
TROUBLE = Script(
    connect=Answer(temporary=0.02),
    mail=Answer(temporary=0.01, permanent=0.01, drop=0.005),
    rcpt=Answer(temporary=0.02, permanent=0.03, drop=0.005),
    data=Answer(temporary=0.01, permanent=0.01, drop=0.005),
    dot=Answer(temporary=0.02, permanent=0.02, drop=0.01, drop_after=0.01),
    messages_per_connection_max=200,
    seed=3,
)


class Ledger:
    """All sessions draw from one list of recipients; what is not settled when a session goes is drawn again."""

    def __init__(self, *, window: int) -> None:
        self.unsent = deque(b"r%d@example.net" % number for number in range(RECIPIENTS))
        self.window = window
        self.settled: dict[bytes, Verdict | None] = {}
        self.answers: Counter[str] = Counter()


class Window:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.left = ledger.window
        self.open: dict[bytes, None] = {}

    def next(self) -> Envelope | None:
        if not self.left or not self.ledger.unsent:
            return None
        self.left -= 1
        recipient = self.ledger.unsent.popleft()
        self.open[recipient] = None
        return Envelope(b"s@example.org", recipient)

    def content(self, envelope: Envelope) -> bytes:
        return b"Message-ID: <%b>\r\n\r\n.hello\r\n" % envelope.recipient

    def handing_over(self, envelope: Envelope) -> None:
        """Nobody needs to know."""

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        del self.open[envelope.recipient]  # KeyError would mean a second answer
        verdict = classify(phase, reply)
        self.ledger.answers[f"{phase.name} {verdict.name}"] += 1
        if verdict in (Verdict.ACCEPTED, Verdict.RECIPIENT_FAILED):
            assert envelope.recipient not in self.ledger.settled
            self.ledger.settled[envelope.recipient] = verdict
        else:
            self.ledger.unsent.append(envelope.recipient)

    def lost(self, envelope: Envelope, detail: str) -> None:
        del self.open[envelope.recipient]
        self.ledger.answers["lost"] += 1
        self.ledger.settled[envelope.recipient] = None


async def deliver(ledger: Ledger, endpoint: Endpoint) -> None:
    while ledger.unsent:
        with contextlib.suppress(SessionLost, GatewayRefused):
            session = await open_session(endpoint)
            while ledger.unsent and session.usable:
                window = Window(ledger)
                try:
                    await session.hand_off(window)
                    assert not window.open
                finally:
                    ledger.unsent.extend(window.open)
            await session.close()


@pytest.mark.parametrize("pipelining", [True, False])
async def test_what_was_said_is_what_was_accepted_and_doubt_is_only_where_a_reply_was_lost(pipelining: bool):
    ledger = Ledger(window=17)
    async with Sandbox(script=TROUBLE, keep=True) as sandbox:
        endpoint = local_endpoint("127.0.0.1", sandbox.port, "none", pipelining=pipelining)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(deliver(ledger, endpoint))
    accepted = Counter(record.rcpt[0].encode() for record in sandbox.records)
    said = {verdict: {r for r, v in ledger.settled.items() if v is verdict} for verdict in (*Verdict, None)}

    assert len(ledger.settled) == RECIPIENTS
    assert max(accepted.values()) == 1, "somebody got it twice"
    assert said[Verdict.ACCEPTED] <= set(accepted)
    assert not said[Verdict.RECIPIENT_FAILED] & set(accepted)
    assert set(accepted) - said[Verdict.ACCEPTED] <= said[None]
    assert 0 < len(said[None] & set(accepted)) < len(said[None]), "doubt was right in both directions"
    assert len(ledger.answers) == 10, ledger.answers
