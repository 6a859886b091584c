"""G10: what TLS costs the sending side, as a multiple of the same hand-off without it.

    python bench/tls.py [--json]

One session of Postroom hands the sample (10 KB) to a sandbox gateway in a process of its own, plain and with TLS in turns, window
after window on connections that stay open; login and handshake are outside the clock. CPU time of this process alone, and the
figure is the median of the ratios of neighbours.
"""

from __future__ import annotations

import ssl
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from ipaddress import ip_network
from pathlib import Path

import trustme
import uvloop

import sample
from harness import BenchmarkError, Figure, note, run_benchmark
from postroom.gateway.dialer import Dialer
from postroom.gateway.replies import Phase, Reply
from postroom.gateway.session import Endpoint, Envelope, Session, open_session
from sandbox import sandbox
from sink import HOST

ROUNDS = 15
MESSAGES = 1_000
WINDOW = 50
TARGET = 2.2
DIALER = Dialer((ip_network("127.0.0.0/8"),))


class Window:
    """A source of the same message `WINDOW` times; every one of them must be taken."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left = WINDOW
        self.taken = 0

    def next(self) -> Envelope | None:
        if self._left == 0:
            return None
        self._left -= 1
        return Envelope(b"news@sender.example", b"member@list.example", self._left)

    def content(self, envelope: Envelope) -> bytes:
        return self._content

    def handing_over(self, envelope: Envelope) -> None:
        """Nobody needs to know."""

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        self.taken += phase is Phase.DOT and reply.code == 250

    def lost(self, envelope: Envelope, detail: str) -> None:
        raise BenchmarkError(f"a message was lost: {detail}")


async def us_per_message(session: Session, content: bytes) -> float:
    """CPU microseconds of this process, for each of `MESSAGES`."""
    started = time.process_time()
    for _ in range(MESSAGES // WINDOW):
        window = Window(content)
        await session.hand_off(window)
        if window.taken != WINDOW:
            raise BenchmarkError(f"the sandbox took {window.taken} of {WINDOW}")
    return (time.process_time() - started) / MESSAGES * 1e6


async def measure() -> list[Figure]:
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    content = sample.ready_message()
    plain, secured, ratios = [], [], []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificate = folder / "certificate.pem"
        authority.issue_cert("localhost", HOST).private_key_and_cert_chain_pem.write_to_path(certificate)
        _, open_port = await stack.enter_async_context(sandbox())
        _, tls_port = await stack.enter_async_context(sandbox("--implicit-tls", "--tls", str(certificate)))
        in_clear = await open_session(Endpoint(HOST, open_port, "none", dialer=DIALER))
        in_tls = await open_session(Endpoint(HOST, tls_port, ssl_context=context, dialer=DIALER))
        for _ in range(ROUNDS):
            plain.append(await us_per_message(in_clear, content))
            secured.append(await us_per_message(in_tls, content))
            ratios.append(secured[-1] / plain[-1])
            note(f"plain {plain[-1]:.0f} us, TLS {secured[-1]:.0f} us, {ratios[-1]:.2f} times")
        await in_clear.close()
        await in_tls.close()
    return [
        Figure.at_most("G10", f"CPU of TLS at {len(content) / 1000:.0f} KB", statistics.median(ratios), "x plain", TARGET),
        Figure.plain("G10", "session CPU, plain", statistics.median(plain), "us/message"),
        Figure.plain("G10", "session CPU, TLS", statistics.median(secured), "us/message"),
    ]


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "What TLS costs the sending side", loop_factory=uvloop.new_event_loop))
