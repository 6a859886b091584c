"""What a session does with each thing that a gateway can say or do to it, over real sockets, octet by octet."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trustme
from hypothesis import given, settings, strategies

from loopback import local_endpoint
from postroom.errors import InvalidInput
from postroom.gateway.pieces import PIECE_OCTETS
from postroom.gateway.replies import Phase, Reply, Verdict
from postroom.gateway.sandbox.script import Script
from postroom.gateway.sandbox.server import Sandbox
from postroom.gateway.session import (
    Deadlines,
    Endpoint,
    Envelope,
    GatewayRefused,
    GatewayUnreachable,
    Session,
    SessionLost,
    open_session,
)

from .scripted import (
    EHLO,
    GREETING,
    LOCK_STEP,
    PIPELINED,
    QUIT,
    Deaf,
    Drip,
    HalfClose,
    Hang,
    Hear,
    HearNothing,
    Reset,
    Say,
    Scripted,
    StartTls,
    Step,
    Tell,
    opening,
)

DOT = b".\r\n"
OK = b"250 2.0.0 Ok: queued as 1\r\n"
GO = b"250 ok\r\n250 ok\r\n354 go\r\n"
NO_SUCH = b"250 ok\r\n550 5.1.1 no such user\r\n554 5.5.1 no valid recipients\r\n"
SHORT = Deadlines(greeting_s=0.1, ehlo_s=0.1, mail_s=0.1, rcpt_s=0.1, data_s=0.1, content_s=0.1, dot_s=0.1, tls_s=0.1)

PATIENT = Deadlines(dot_s=10)  # a script that hears less than it expects waits for the rest, and its client for the reply


def announce(name: str) -> bytes:
    return b"MAIL FROM:<s@example.org>\r\nRCPT TO:<%b@example.net>\r\nDATA\r\n" % name.encode()


def body(name: str) -> bytes:
    return b"Subject: to %b\r\n\r\nhello\r\n" % name.encode()


def lock_step(name: str) -> tuple[Step, ...]:
    """The commands of a good transaction, one by one, up to "go ahead"."""
    mail, rcpt, data = announce(name).splitlines(keepends=True)
    return (Hear(mail), Say(b"250 ok\r\n"), Hear(rcpt), Say(b"250 ok\r\n"), Hear(data), Say(b"354 go\r\n"))


class Window:
    """A source that writes down what it is told. `told` is (what, name, detail)."""

    def __init__(self, *names: str, contents: dict[str, bytes | tuple[bytes, bytes] | None] | None = None) -> None:
        self.waiting = list(names)
        self.contents = contents or {}
        self.told: list[tuple[str, str, str]] = []
        self.bombs: dict[str, Exception] = {}
        self.on_reply: Callable[[], None] = lambda: None

    def _bomb(self, where: str) -> None:
        if error := self.bombs.get(where):
            raise error

    def next(self) -> Envelope | None:
        self._bomb("next")
        if not self.waiting:
            return None
        name = self.waiting.pop(0)
        return Envelope(b"s@example.org", name.encode() + b"@example.net", name)

    def content(self, envelope: Envelope) -> bytes | tuple[bytes, bytes] | None:
        self._bomb("content")
        assert isinstance(envelope.token, str)
        return self.contents.get(envelope.token, body(envelope.token))

    def handing_over(self, envelope: Envelope) -> None:
        self._bomb("handing_over")

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        self.told.append((phase.name, str(envelope.token), str(reply)))
        self._bomb("replied")
        self.on_reply()

    def lost(self, envelope: Envelope, detail: str) -> None:
        self.told.append(("lost", str(envelope.token), detail))
        self._bomb("lost")

    @property
    def codes(self) -> list[tuple[str, str, str]]:
        """The same with the reply's code alone; no detail for a loss."""
        return [(what, name, "" if what == "lost" else text[:3]) for what, name, text in self.told]


@asynccontextmanager
async def session_with(*script: Step, deadlines: Deadlines | None = None, pipelining: bool = True):
    async with Scripted(script) as server:
        endpoint = local_endpoint("127.0.0.1", server.port, "none", pipelining=pipelining)
        session = await open_session(endpoint, deadlines or PATIENT)
        try:
            yield session
        finally:
            session.abort()
            await session.wait_closed()


async def run(
    window: Window, *script: Step, deadlines: Deadlines | None = None, pipelining: bool = True
) -> SessionLost | None:
    """One window against one script; the loss, if it ended with one. The session closes politely where it can."""
    async with session_with(*script, deadlines=deadlines, pipelining=pipelining) as session:
        try:
            await session.hand_off(window)
        except SessionLost as lost:
            assert not session.usable
            assert window.told.count(("lost", "", "")) == 0
            return lost
        assert session.usable
        await session.close()
        return None


# -- the good way ---------------------------------------------------------------------------------------------------


async def test_a_window_goes_in_one_write_and_one_round_trip_a_message():
    window = Window("a", "b", "c")
    lost = await run(
        window,
        *PIPELINED,
        Hear(announce("a")), Say(GO),
        Hear(body("a") + DOT + announce("b")), Say(OK + GO),
        Hear(body("b") + DOT + announce("c")), Say(OK + GO),
        Hear(body("c") + DOT), Say(OK),
        *QUIT,
    )  # fmt: skip
    assert lost is None
    assert window.told == [("DOT", name, "250 2.0.0 Ok: queued as 1") for name in "abc"]


async def test_a_session_takes_window_after_window():
    script = (*PIPELINED, *(step for n in "abc" for step in
              (Hear(announce(n)), Say(GO), Hear(body(n) + DOT), Say(OK))), *QUIT)  # fmt: skip
    async with session_with(*script) as session:
        for name in "abc":
            window = Window(name)
            await session.hand_off(window)
            assert window.codes == [("DOT", name, "250")]
        assert session.handed_off == 3
        assert session.extensions["SIZE"] == "1000000"
        await session.close()
        assert not session.usable


async def test_an_empty_window_says_nothing():
    assert await run(Window(), *PIPELINED, *QUIT) is None


async def test_a_gateway_without_pipelining_is_spoken_to_command_by_command():
    window = Window("a", "b")
    script = [step for n in "ab" for step in (*lock_step(n), Hear(body(n) + DOT), Say(OK))]
    assert await run(window, *LOCK_STEP, *script, *QUIT) is None
    assert window.codes == [("DOT", "a", "250"), ("DOT", "b", "250")]


async def test_pipelining_can_be_switched_off():
    window = Window("a")
    script = (*lock_step("a"), Hear(body("a") + DOT), Say(OK))
    assert await run(window, *PIPELINED, *script, *QUIT, pipelining=False) is None
    assert window.codes == [("DOT", "a", "250")]


async def test_replies_octet_by_octet_and_in_many_lines_are_the_same_replies():
    window = Window("a", "b")
    await run(
        window,
        *PIPELINED,
        Hear(announce("a")), Say(GO, apart=True),
        Hear(body("a") + DOT + announce("b")), Say(b"250-2.0.0 very\r\n250 2.0.0 good\r\n" + GO, apart=True),
        Hear(body("b") + DOT), Say(OK, apart=True),
        *QUIT,
    )  # fmt: skip
    assert window.told == [("DOT", "a", "250 2.0.0 very\n2.0.0 good"), ("DOT", "b", "250 2.0.0 Ok: queued as 1")]


async def test_a_reply_that_began_before_is_not_taken_for_its_last_line():
    window = Window("a", "b")
    pause = Deaf(0.02)
    await run(
        window,
        *PIPELINED,
        Hear(announce("a")), Say(GO),
        Hear(body("a") + DOT + announce("b")), Say(b"250-2.0.0 very\r\n"), pause, Say(b"250 2.0.0 good\r\n" + GO),
        Hear(body("b") + DOT), Say(OK),
        *QUIT,
    )  # fmt: skip
    assert window.told == [("DOT", "a", "250 2.0.0 very\n2.0.0 good"), ("DOT", "b", "250 2.0.0 Ok: queued as 1")]


async def test_the_size_is_told_where_the_gateway_asks_for_it():
    class Sized(Window):
        def next(self) -> Envelope | None:
            envelope = super().next()
            if envelope is not None:
                envelope.size = 1234
            return envelope

    told = announce("a").replace(b"org>", b"org> SIZE=1234")
    assert await run(Sized("a"), *PIPELINED, Hear(told), Say(GO), Hear(body("a") + DOT), Say(OK), *QUIT) is None
    without = opening(b"PIPELINING")
    assert await run(Sized("a"), *without, Hear(announce("a")), Say(GO), Hear(body("a") + DOT), Say(OK), *QUIT) is None


@pytest.mark.parametrize(
    ("content", "travels"),
    [
        (b".\r\n..x\r\nno.\r\n.\r\n", b"..\r\n...x\r\nno.\r\n..\r\n"),
        (b".only the first\r\n", b"..only the first\r\n"),
        (b"only\r\n.the second\r\n", b"only\r\n..the second\r\n"),
        (b"\r\n.\r\n", b"\r\n..\r\n"),
        (b"\r\n", b"\r\n"),
    ],
)
async def test_leading_dots_are_doubled(content: bytes, travels: bytes):
    window = Window("a", contents={"a": content})
    assert await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(travels + DOT), Say(OK), *QUIT) is None


@pytest.mark.parametrize("size", [PIECE_OCTETS - 2, PIECE_OCTETS, PIECE_OCTETS + 2, 3 * PIECE_OCTETS, 5_000_000])
async def test_a_long_message_arrives_whole_with_the_next_announced_behind_it(size: int):
    content = (b"." + b"0123456789" * 6 + b"\r\n") * (size // 63) + b"x" * (size % 63) + b"\r\n"
    stuffed = b"." + content.replace(b"\r\n.", b"\r\n..")
    window = Window("a", "b", contents={"a": content})
    await run(
        window,
        *PIPELINED,
        Hear(announce("a")), Say(GO), Deaf(0.02),
        Hear(stuffed + DOT + announce("b")), Say(OK + GO),
        Hear(body("b") + DOT), Say(OK),
        *QUIT,
    )  # fmt: skip
    assert window.codes == [("DOT", "a", "250"), ("DOT", "b", "250")]


async def test_a_message_in_two_parts_arrives_as_one_with_the_next_announced_behind_it():
    window = Window("a", "b", contents={"a": (b"Subject: a\r\n\r\n", b"common\r\n"), "b": (b"no second part\r\n", b"")})
    await run(
        window,
        *PIPELINED,
        Hear(announce("a")), Say(GO),
        Hear(b"Subject: a\r\n\r\ncommon\r\n" + DOT + announce("b")), Say(OK + GO),
        Hear(b"no second part\r\n" + DOT), Say(OK),
        *QUIT,
    )  # fmt: skip
    assert window.codes == [("DOT", "a", "250"), ("DOT", "b", "250")]


# Each puts a dot at the beginning of a line, or nearly, where the content is cut.
SEAMS = [(b"\r\n", b".x"), (b"\r", b"\n.x"), (b"\r\n.", b"x"), (b"x", b".x"), (b"\r\n..", b".x"), (b"\n", b".x"), (b"\r", b".x")]


@pytest.mark.parametrize("around", SEAMS)
@pytest.mark.parametrize("cut", ["between short parts", "between long parts", "between pieces", "in the second part"])
async def test_leading_dots_are_doubled_wherever_the_content_is_cut(around: tuple[bytes, bytes], cut: str):
    before, after = around
    long = b"x" * 70 + b"\r\n"
    up_to_piece = (b"x" * (PIECE_OCTETS - len(before)) + before, after + b"\r\n" + long * 1000)
    content = {
        "between short parts": (before, after + b"\r\n"),
        "between long parts": (long * 2000 + before, after + b"\r\n" + long * 2000),
        "between pieces": b"".join(up_to_piece),
        "in the second part": (b"personal", b"".join(up_to_piece)),
    }[cut]
    whole = content if isinstance(content, bytes) else b"".join(content)
    window = Window("a", contents={"a": content})
    travels = whole.replace(b"\r\n.", b"\r\n..")
    await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(travels + DOT), Say(OK), *QUIT)
    assert window.codes == [("DOT", "a", "250")]


async def test_what_is_stuffed_already_travels_as_it_is():
    class Stuffed(Window):
        def next(self) -> Envelope | None:
            envelope = super().next()
            if envelope is not None:
                envelope.stuffed = True
            return envelope

    content = (b"..a\r\n" * 20_000, b"..b\r\n" * 20_000)
    window = Stuffed("a", contents={"a": content})
    await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(b"".join(content) + DOT), Say(OK), *QUIT)
    assert window.codes == [("DOT", "a", "250")]


async def test_sessions_that_send_the_same_attachments_share_them():
    """Twenty sessions amid a tail of 14 MB: were each to join or to copy it, that would be 280 MB."""
    common = LONG * (14_000_000 // len(LONG))
    wires = [Wire(Session(Deadlines()), stalled=True) for _ in range(20)]
    tracemalloc.start()
    try:
        tasks = [asyncio.create_task(wire.session.hand_off(Window("a", contents={"a": (body("a"), common)}))) for wire in wires]
        await asyncio.sleep(0)
        for wire in wires:
            wire.session.data_received(GO)
            wire.written = b""
            for _ in range(3):
                wire.drain()
            assert len(wire.written) == 3 * PIECE_OCTETS
        assert tracemalloc.get_traced_memory()[1] < len(common)
    finally:
        tracemalloc.stop()
    for wire in wires:
        wire.session.abort()
    assert all(isinstance(end, SessionLost) for end in await asyncio.gather(*tasks, return_exceptions=True))


# -- addresses in UTF-8 ---------------------------------------------------------------------------------------------

UTF8 = opening(b"PIPELINING", b"8BITMIME", b"SMTPUTF8")


def announce_utf8(name: str) -> bytes:
    return announce(name).replace(b"org>", b"org> BODY=8BITMIME SMTPUTF8")


async def test_an_address_in_utf8_asks_for_smtputf8_and_its_neighbours_do_not():
    window = Window("a", "josé", "c")
    await run(
        window,
        *UTF8,
        Hear(announce("a")), Say(GO),
        Hear(body("a") + DOT + announce_utf8("josé")), Say(OK + GO),
        Hear(body("josé") + DOT + announce("c")), Say(OK + GO),
        Hear(body("c") + DOT), Say(OK),
        *QUIT,
    )  # fmt: skip
    assert window.codes == [("DOT", name, "250") for name in ("a", "josé", "c")]


@pytest.mark.parametrize("offered", [(b"8BITMIME",), (b"SMTPUTF8",), ()])
@pytest.mark.parametrize("pipelining", [True, False])
async def test_an_address_in_utf8_is_never_told_to_a_gateway_that_does_not_offer_it(offered: tuple[bytes, ...], pipelining: bool):
    window = Window("josé")
    async with session_with(*opening(b"PIPELINING", *offered), HearNothing(), pipelining=pipelining) as session:
        assert not session.offers_utf8
        with pytest.raises(ValueError, match="SMTPUTF8"):
            await session.hand_off(window)
        assert not session.usable
    assert window.told == []


async def test_an_address_in_utf8_behind_another_message_ends_the_session_before_that_one_goes_out():
    window = Window("a", "josé")
    async with session_with(*PIPELINED, Hear(announce("a")), Say(GO), HearNothing()) as session:
        with pytest.raises(ValueError, match="SMTPUTF8"):
            await session.hand_off(window)
        assert session.handed_off == 0
    assert window.told == []


async def test_what_cannot_be_written_down_is_not_handed_over():
    window = Window("a")
    window.bombs["handing_over"] = OSError("no room")
    async with session_with(*PIPELINED, Hear(announce("a")), Say(GO), HearNothing()) as session:
        with pytest.raises(OSError, match="no room"):
            await session.hand_off(window)
        assert session.handed_off == 0
    assert window.told == [], "it is in nobody's hands, and so in no doubt"


async def test_the_sandbox_takes_an_address_in_utf8_where_it_offers_that():
    async with Sandbox(script=Script(utf8=True), keep=True) as sandbox:
        session = await open_session(local_endpoint("127.0.0.1", sandbox.port, "none"))
        assert session.offers_utf8
        window = Window("josé", "b", "用户")
        await session.hand_off(window)
        await session.close()
        assert [record.rcpt for record in sandbox.records] == [("josé@example.net",), ("b@example.net",), ("用户@example.net",)]
    assert window.codes == [("DOT", name, "250") for name in ("josé", "b", "用户")]


@pytest.mark.parametrize(
    ("said", "size_max"),
    [
        (b"SIZE 35882577", 35_882_577),
        (b"SIZE 0", None),
        (b"SIZE", None),
        (b"SIZE much", None),
        (b"SIZE -1", None),
        (b"SIZE " + b"9" * 400, None),
        (b"8BITMIME", None),
    ],
)
async def test_the_largest_message_is_what_the_gateway_says_it_is(said: bytes, size_max: int | None):
    async with session_with(*opening(b"PIPELINING", said), *QUIT) as session:
        assert session.size_max == size_max
        await session.close()


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("MAIL", b"550 5.1.8 sender\r\n503 5.5.1 need MAIL\r\n503 5.5.1 need RCPT\r\n"),
        ("MAIL", b"451 4.3.0 later\r\n503 5.5.1 need MAIL\r\n503 5.5.1 need RCPT\r\n"),
        ("RCPT", NO_SUCH),
        ("RCPT", b"250 ok\r\n450 4.2.1 busy\r\n503 5.5.1 need RCPT\r\n"),
        ("RCPT", b"250 ok\r\n550-5.1.1 no\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n503 5.5.1 need RCPT\r\n"),
        ("DATA", b"250 ok\r\n250 ok\r\n454 Throttling failure: Maximum sending rate exceeded\r\n"),
        ("DATA", b"250 ok\r\n250 ok\r\n554 5.7.1 no\r\n"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_a_refused_recipient_never_harms_the_next(phase: str, said: bytes, apart: bool):
    window = Window("a", "b", "c", "d")
    await run(
        window,
        *PIPELINED,
        Hear(announce("a")), Say(GO),
        Hear(body("a") + DOT + announce("b")), Say(OK + said, apart),
        Hear(b"RSET\r\n" + announce("c")), Say(b"250 ok\r\n" + GO, apart),
        Hear(body("c") + DOT + announce("d")), Say(OK + GO, apart),
        Hear(body("d") + DOT), Say(OK),
        *QUIT,
    )  # fmt: skip
    assert [(what, name) for what, name, _ in window.told] == [("DOT", "a"), (phase, "b"), ("DOT", "c"), ("DOT", "d")]
    refusal = {"MAIL": 0, "RCPT": 1, "DATA": 2}[phase]
    assert window.codes[1][2].encode() == said.splitlines()[refusal][:3]


async def test_a_refusal_at_the_dot_is_that_messages_own_and_the_pipelined_next_goes_on():
    window = Window("a", "b")
    refused = b"554 5.7.1 spam\r\n"
    await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(body("a") + DOT + announce("b")),
              Say(refused + GO), Hear(body("b") + DOT), Say(OK), *QUIT)  # fmt: skip
    assert window.codes == [("DOT", "a", "554"), ("DOT", "b", "250")]


async def test_refused_after_refused_after_refused():
    window = Window("a", "b", "c")
    again = b"RSET\r\n"
    await run(
        window,
        *PIPELINED,
        Hear(announce("a")), Say(NO_SUCH),
        Hear(again + announce("b")), Say(b"250 ok\r\n" + NO_SUCH),
        Hear(again + announce("c")), Say(b"250 ok\r\n" + NO_SUCH),
        *QUIT,
    )  # fmt: skip
    assert window.codes == [("RCPT", name, "550") for name in "abc"]


async def test_a_refusal_at_the_end_of_a_window_is_reset_in_the_next():
    script = (*PIPELINED, Hear(announce("a")), Say(NO_SUCH), Hear(b"RSET\r\n" + announce("b")),
              Say(b"250 ok\r\n" + GO), Hear(body("b") + DOT), Say(OK), *QUIT)  # fmt: skip
    async with session_with(*script) as session:
        await session.hand_off(Window("a"))
        window = Window("b")
        await session.hand_off(window)
        assert window.codes == [("DOT", "b", "250")]
        await session.close()


@pytest.mark.parametrize("refused_at", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_refusals_in_lock_step_go_no_further_and_start_over(refused_at: str):
    steps = [*lock_step("a"), Hear(body("a") + DOT), Say(OK)]
    until = {"MAIL": 1, "RCPT": 3, "DATA": 5, "DOT": 7}[refused_at]
    window = Window("a", "b")
    await run(
        window,
        *LOCK_STEP,
        *steps[:until], Say(b"550 no\r\n"),
        Hear(b"RSET\r\n"), Say(b"250 ok\r\n"),
        *lock_step("b"), Hear(body("b") + DOT), Say(OK),
        *QUIT,
    )  # fmt: skip
    assert window.codes == [(refused_at, "a", "550"), ("DOT", "b", "250")]


async def test_go_ahead_after_a_refused_recipient_drops_the_connection_and_never_submits_an_empty_message():
    window = Window("a", "b")
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(b"250 ok\r\n550 no\r\n354 go\r\n"), HearNothing())
    assert window.codes == [("RCPT", "a", "550")]
    assert lost is not None
    assert lost.lost_count


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        (b"421 bye\r\n", [("DOT", "a", "421")]),
        (b"250 ok\r\n421 bye\r\n", [("DOT", "a", "250"), ("MAIL", "b", "421")]),
        (b"250 ok\r\n250 ok\r\n421 bye\r\n", [("DOT", "a", "250"), ("RCPT", "b", "421")]),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n421 bye\r\n", [("DOT", "a", "250"), ("DATA", "b", "421")]),
        (b"250 ok\r\n250 ok\r\n550 no\r\n421 bye\r\n", [("DOT", "a", "250"), ("RCPT", "b", "550")]),
        (b"550 no\r\n421 bye\r\n", [("DOT", "a", "550"), ("MAIL", "b", "421")]),
    ],
)
async def test_421_answers_whom_it_answers_and_commands_without_a_reply_had_no_effect(replies: bytes, told: list[object]):
    window = Window("a", "b", "c")
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(GO),
                     Hear(body("a") + DOT + announce("b")), Say(replies), HearNothing())  # fmt: skip
    assert window.codes == told
    assert lost is not None
    assert "421" in lost.detail


async def test_421_to_the_reset_is_nobodys():
    window = Window("a", "b")
    script = (Hear(announce("a")), Say(NO_SUCH), Hear(b"RSET\r\n" + announce("b")), Say(b"421 bye\r\n"))
    lost = await run(window, *PIPELINED, *script, HearNothing())
    assert window.codes == [("RCPT", "a", "550")]
    assert lost is not None
    assert lost.phase is Phase.RSET


# -- losses ---------------------------------------------------------------------------------------------------------

BEFORE_DOT = {
    "MAIL": (),
    "RCPT": (Say(b"250 ok\r\n"),),
    "DATA": (Say(b"250 ok\r\n250 ok\r\n"),),
}


@pytest.mark.parametrize("end", [(), (Reset(),), (Say(b"rubbish\r\n"),), (Say(b"25"),), (Hang(),)])
@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
async def test_a_connection_that_goes_before_the_dot_leaves_the_message_unsent(phase: str, end: Sequence[Step]):
    window = Window("a", "b")
    lost = await run(window, *PIPELINED, Hear(announce("a")), *BEFORE_DOT[phase], *end, deadlines=SHORT)
    assert lost is not None
    assert lost.phase.name == phase
    assert window.told == []


@pytest.mark.parametrize("end", [(), (Reset(),), (Say(b"rubbish\r\n"),), (Say(b"25"),), (Say(b"354 go\r\n"),), (Hang(),)])
async def test_a_connection_that_goes_after_the_dot_leaves_exactly_that_message_in_doubt(end: Sequence[Step]):
    window = Window("a", "b", "c")
    heard = Hear(body("b") + DOT + announce("c"))
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(body("a") + DOT + announce("b")),
                     Say(OK + GO), heard, *end, deadlines=SHORT)  # fmt: skip
    assert lost is not None
    assert lost.phase is Phase.DOT
    assert window.codes == [("DOT", "a", "250"), ("lost", "b", "")]


@pytest.mark.parametrize("end", [(), (Reset(),), (Say(b"rubbish\r\n"),), (Hang(),)])
@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
async def test_a_counted_reply_to_the_dot_stands_whatever_comes_after_it(phase: str, end: Sequence[Step]):
    window = Window("a", "b")
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(body("a") + DOT + announce("b")),
                     Say(OK), *BEFORE_DOT[phase], *end, deadlines=SHORT)  # fmt: skip
    assert lost is not None
    assert lost.phase.name == phase
    assert window.codes == [("DOT", "a", "250")]


@pytest.mark.parametrize("more", [b"250 what\r\n", b"421 bye\r\n", b"x"])
async def test_what_is_said_beyond_the_count_is_seen_before_any_dot_leaves(more: bytes):
    window = Window("a", "b")
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(GO + more), HearNothing())
    assert window.told == []
    assert lost is not None
    assert lost.lost_count


@pytest.mark.parametrize("replies", [b"354 go\r\n", b"250 ok\r\n354 go\r\n", b"250 ok\r\n250 ok\r\n250 ok\r\n"])
async def test_a_reply_out_of_its_place_closes_the_session(replies: bytes):
    window = Window("a", "b")
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(replies), HearNothing())
    assert window.told == []
    assert lost is not None
    assert lost.lost_count


async def test_a_group_that_fits_but_comes_too_late_is_one_reply_too_many():
    window = Window("a", "b")
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(body("a") + DOT + announce("b")), Say(OK),
                     Deaf(0.02), Say(b"250 ok\r\n" + GO), HearNothing())  # fmt: skip
    assert window.codes == [("DOT", "a", "250")]
    assert lost is not None
    assert lost.lost_count


async def test_each_reply_has_the_time_of_its_own_phase():
    window = Window("a", "b")
    script = (Hear(announce("a")), Say(GO), Hear(body("a") + DOT + announce("b")), Say(OK), Hang())
    lost = await asyncio.wait_for(run(window, *PIPELINED, *script, deadlines=Deadlines(mail_s=0.2, dot_s=600)), 10)
    assert lost is not None
    assert (lost.phase, lost.detail) == (Phase.MAIL, "no answer within 0.2 seconds")


async def test_what_is_said_while_idle_makes_a_session_unusable():
    async with session_with(*PIPELINED, Say(b"421 idle too long\r\n"), HearNothing()) as session:
        await asyncio.wait([session._closed], timeout=5)
        assert not session.usable
        with pytest.raises(SessionLost, match="421 idle too long"):
            await session.hand_off(Window("a"))


async def test_a_gateway_that_drips_gets_one_deadline_a_reply_and_not_one_an_octet():
    window = Window("a")
    script = (*PIPELINED, Hear(announce("a")), Drip(b"250-" + b"x" * 1000))
    lost = await run(window, *script, deadlines=SHORT)
    assert lost is not None
    assert "within 0.1 seconds" in lost.detail


LONG = b"x" * 70 + b"\r\n"


@pytest.mark.parametrize("said", [b"452 4.3.1 storage\r\n", b"552 5.3.4 too big\r\n", b"421 bye\r\n"])
async def test_a_refusal_amid_a_long_message_is_its_answer_and_no_dot_follows(said: bytes):
    window = Window("a", "b", contents={"a": LONG * 400_000})
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(LONG * 1000), Say(said), Deaf(0.1), Hang())
    assert window.codes == [("DATA", "a", said[:3].decode())]
    assert lost is not None


@pytest.mark.parametrize("end", [(), (Reset(),), (Say(b"250 ok\r\n"), Hang()), (Deaf(0.5),), (HalfClose(), Hang())])
async def test_a_long_message_that_is_cut_short_is_unsent(end: Sequence[Step]):
    window = Window("a", "b", contents={"a": LONG * 400_000})
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(LONG * 1000), *end, deadlines=SHORT)
    assert window.told == []
    assert lost is not None
    assert lost.phase is Phase.DATA


# -- the source -----------------------------------------------------------------------------------------------------


async def test_a_withheld_message_is_dropped_without_a_dot():
    window = Window("a", "b", "c", contents={"b": None})
    lost = await run(window, *PIPELINED, Hear(announce("a")), Say(GO), Hear(body("a") + DOT + announce("b")),
                     Say(OK + GO), HearNothing())  # fmt: skip
    assert window.codes == [("DOT", "a", "250")]
    assert lost is not None
    assert "withheld" in lost.detail


@pytest.mark.parametrize("where", ["next", "content", "replied"])
async def test_an_error_of_the_source_closes_the_session_and_comes_out(where: str):
    window = Window("a", "b")
    window.bombs[where] = LookupError("bug")
    script = {
        "next": (),
        "content": (Hear(announce("a")), Say(GO)),
        "replied": (Hear(announce("a")), Say(NO_SUCH)),
    }[where]
    async with session_with(*PIPELINED, *script, HearNothing()) as session:
        with pytest.raises(LookupError, match="bug"):
            await session.hand_off(window)
        assert not session.usable
    assert not [entry for entry in window.told if entry[0] == "lost"]


async def test_an_error_while_booking_a_loss_comes_out_too():
    window = Window("a")
    window.bombs["lost"] = LookupError("bug")
    async with session_with(*PIPELINED, Hear(announce("a")), Say(GO), Hear(body("a") + DOT)) as session:
        with pytest.raises(LookupError, match="bug"):
            await session.hand_off(window)


async def test_content_that_does_not_end_its_last_line_is_never_sent():
    window = Window("a", contents={"a": b"no end"})
    async with session_with(*PIPELINED, Hear(announce("a")), Say(GO), HearNothing()) as session:
        with pytest.raises(ValueError, match="CRLF"):
            await session.hand_off(window)


async def test_a_source_may_abort_the_session_from_within_a_callback():
    window = Window("a", "b")
    script = (Hear(announce("a")), Say(GO), Hear(body("a") + DOT + announce("b")), Say(OK + GO), HearNothing())
    async with session_with(*PIPELINED, *script) as session:
        window.on_reply = session.abort
        with pytest.raises(SessionLost, match="aborted"):
            await session.hand_off(window)
    assert window.codes == [("DOT", "a", "250")]


@pytest.mark.parametrize("critical", [False, True])
async def test_cancelling_a_hand_off_tells_the_doubt_if_there_is_any(critical: bool):
    window = Window("a")
    reached = asyncio.Event()
    script = (Say(GO), Hear(body("a") + DOT)) if critical else ()
    async with session_with(*PIPELINED, Hear(announce("a")), *script, Tell(reached), Hang()) as session:
        task = asyncio.create_task(session.hand_off(window))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not session.usable
        assert window.codes == ([("lost", "a", "")] if critical else [])


@pytest.mark.parametrize(
    "address",
    [b"", b"a b@x.org", b"a@x.org>\r\nRCPT TO:<b@x.org", b"a@x.org\0", b"<a@x.org>", b"a@x.org\n", b"a" * 250 + b"@x.org",
     b"\xe4@x.org", b"\xc0\x8a@x.org", b"\xed\xa0\x80@x.org", "ä\x85@x.org".encode(), "ä\u2028RSET\u2028@x.org".encode(),
     "ä\u3000@x.org".encode(), "ä>@x.org".encode(), "ä\r\n@x.org".encode(), "ä".encode() * 125 + b"@x.org"],
)  # fmt: skip
def test_an_address_that_could_be_read_as_a_command_makes_no_envelope(address: bytes):
    with pytest.raises(ValueError, match="not an address"):
        Envelope(b"s@example.org", address)
    if address:
        with pytest.raises(ValueError, match="not an address"):
            Envelope(address, b"r@example.net")


def test_a_recipient_may_be_in_utf8_and_a_sender_may_not():
    assert Envelope(b"s@example.org", "josé@example.net".encode()).utf8
    assert not Envelope(b"s@example.org", b"jose@example.net").utf8
    with pytest.raises(ValueError, match="not an address"):
        Envelope("josé@example.net".encode(), b"r@example.net")


def test_the_null_sender_is_an_address():
    assert Envelope(b"", b"r@example.net").sender == b""


# -- the same in any pieces -----------------------------------------------------------------------------------------


class Wire:
    """A transport without a network. With `stalled` the kernel takes nothing until `drain`."""

    def __init__(self, session: Session, *, stalled: bool = False) -> None:
        self.session = session
        self.stalled = stalled
        self.high = 65536
        self.written = b""
        self.buffered = 0
        self.closing = False
        session.connection_made(self)  # type: ignore[arg-type]
        session.ready({"PIPELINING": ""}, pipelining=True)

    def write(self, data: bytes | memoryview) -> None:
        self.written += data
        self.buffered += len(data) if self.stalled else 0
        if self.buffered > self.high:
            self.session.pause_writing()

    def drain(self) -> None:
        self.buffered = 0
        self.session.resume_writing()

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def set_write_buffer_limits(self, high: int = 65536, low: int = 0) -> None:
        self.high = high


async def test_the_dot_of_a_long_message_waits_until_all_before_it_is_in_the_kernel():
    session, content = Session(Deadlines()), LONG * 3000
    wire = Wire(session, stalled=True)
    task = asyncio.create_task(session.hand_off(Window("a", contents={"a": content})))
    await asyncio.sleep(0)
    session.data_received(GO)
    pieces = 0
    while not session.handed_off:
        assert len(wire.written) - len(announce("a")) == (pieces + 1) * PIECE_OCTETS
        wire.drain()
        pieces += 1
    assert wire.written == announce("a") + content + DOT
    session.data_received(OK)
    await task


ANSWERS = strategies.sampled_from(
    [GO, NO_SUCH, b"250 ok\r\n250-a\r\n250 b\r\n354 go\r\n", b"450 x\r\n503 x\r\n503 x\r\n", b"250 x\r\n250 x\r\n451 x\r\n",
     b"250 x\r\n550 x\r\n354 go\r\n", b"250 x\r\n421 x\r\n", b"rubbish\r\n", b"250 x\n250 x\n354 x\n"]
)  # fmt: skip
DOTS = strategies.sampled_from([OK, b"250-a\r\n250 b\r\n", b"451 4.3.0 x\r\n", b"554 x\r\n", b"421 x\r\n", b"354 x\r\n"])


async def converse(answers: list[tuple[bytes, bytes]], cuts: Callable[[bytes], list[bytes]]) -> tuple[object, ...]:
    session = Session(Deadlines())
    wire = Wire(session)
    window = Window(*(str(number) for number in range(len(answers))))
    task = asyncio.create_task(session.hand_off(window))
    await asyncio.sleep(0)
    for announced, dotted in answers:
        dot = dotted if session._in_doubt is not None else b""
        reset = b"250 reset\r\n" if Phase.RSET in session._owed else b""
        for piece in cuts(dot + reset + announced):
            session.data_received(piece)
    if session._in_doubt is not None:
        session.data_received(OK)
    session.abort()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    return window.told, wire.written, str(outcome)


@settings(max_examples=200)
@given(
    answers=strategies.lists(strategies.tuples(ANSWERS, DOTS), min_size=1, max_size=6),
    places=strategies.lists(strategies.integers(1, 120), max_size=40),
)
async def test_the_same_replies_in_any_pieces_have_the_same_result(
    answers: list[tuple[bytes, bytes]], places: list[int]
):
    def cut(data: bytes) -> list[bytes]:
        ends = sorted({place for place in places if place < len(data)} | {len(data)})
        return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    assert await converse(answers, cut) == await converse(answers, lambda data: [data])


# -- the set-up -----------------------------------------------------------------------------------------------------

AUTHORITY = trustme.CA()


def server_context(*names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(*names).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def refusal(endpoint: Endpoint, deadlines: Deadlines | None = None) -> GatewayRefused | GatewayUnreachable:
    with pytest.raises((GatewayRefused, GatewayUnreachable)) as caught:
        await open_session(endpoint, deadlines)
    assert str(endpoint.port) in str(caught.value)
    assert caught.value.__class__ in (GatewayRefused, GatewayUnreachable)
    return caught.value  # type: ignore[return-value]


STARTTLS = (*opening(b"PIPELINING", b"STARTTLS"), Hear(b"STARTTLS\r\n"))
SECURED = (EHLO, Say(b"250-here\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n"))
PLAIN = Hear(b"AUTH PLAIN " + base64.b64encode(b"\0me\0secret") + b"\r\n")


async def test_implicit_tls_and_a_login_open_a_session():
    greet = (GREETING, *SECURED, PLAIN, Say(b"235 2.7.0 in\r\n"))
    script = (*greet, Hear(announce("a")), Say(GO), Hear(body("a") + DOT), Say(OK), *QUIT)
    async with Scripted(script, tls=server_context("localhost")) as server:
        endpoint = local_endpoint("localhost", server.port, username="me", password="secret", ssl_context=client_context())
        session = await open_session(endpoint)
        window = Window("a")
        await session.hand_off(window)
        await session.close()
    assert window.codes == [("DOT", "a", "250")]


async def test_a_long_message_arrives_whole_through_tls():
    content = LONG * 40_000
    script = (GREETING, *SECURED, Hear(announce("a")), Say(GO), Hear(content + DOT), Say(OK), *QUIT)
    async with Scripted(script, tls=server_context("localhost")) as server:
        session = await open_session(local_endpoint("localhost", server.port, ssl_context=client_context()))
        window = Window("a", contents={"a": content})
        await session.hand_off(window)
        await session.close()
    assert window.codes == [("DOT", "a", "250")]


@pytest.mark.parametrize("end", [(), (Reset(),)], ids=["closed with a goodbye of TLS", "cut"])
async def test_a_tls_connection_that_goes_after_the_dot_leaves_exactly_that_message_in_doubt(end: tuple[Step, ...]):
    script = (GREETING, *SECURED, Hear(announce("a")), Say(GO), Hear(body("a") + DOT + announce("b")), *end)
    async with Scripted(script, tls=server_context("localhost")) as server:
        session = await open_session(local_endpoint("localhost", server.port, ssl_context=client_context()))
        window = Window("a", "b")
        with pytest.raises(SessionLost):
            await session.hand_off(window)
        await session.wait_closed()
    assert window.codes == [("lost", "a", "")]


async def test_starttls_forgets_what_was_said_before_it():
    script = (*STARTTLS, Say(b"220 go\r\n"), StartTls(server_context("localhost")), *SECURED, PLAIN,
              Say(b"235 in\r\n"), *QUIT)  # fmt: skip
    async with Scripted(script) as server:
        session = await open_session(
            local_endpoint("localhost", server.port, "starttls", "me", "secret", ssl_context=client_context())
        )
        assert "STARTTLS" not in session.extensions
        await session.close()


@pytest.mark.parametrize("apart", [False, True])
async def test_plain_text_smuggled_in_before_the_handshake_ends_the_connection(apart: bool):
    said = b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n"
    async with Scripted((*STARTTLS, Say(said, apart), Hang())) as server:
        error = await refusal(local_endpoint("localhost", server.port, "starttls", "me", "secret", ssl_context=client_context()))
    assert error.phase is Phase.STARTTLS


async def test_a_gateway_without_starttls_gets_nothing():
    async with Scripted((*PIPELINED, HearNothing())) as server:
        error = await refusal(local_endpoint("localhost", server.port, "starttls"))
    assert error.verdict is Verdict.GATEWAY_FAULT
    assert "does not offer STARTTLS" in str(error)


async def test_a_refused_starttls_is_never_given_up():
    async with Scripted((*STARTTLS, Say(b"454 4.7.0 TLS not available\r\n"), HearNothing())) as server:
        error = await refusal(local_endpoint("localhost", server.port, "starttls"))
    assert error.verdict is Verdict.THROTTLED
    assert "454 4.7.0 TLS not available" in str(error)


@pytest.mark.parametrize("security", ["implicit", "starttls"])
@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_a_certificate_that_does_not_prove_the_gateway_ends_the_connection(security: str, wrong: str):
    theirs = server_context("elsewhere.example" if wrong == "name" else "localhost")
    ours = client_context() if wrong == "name" else ssl.create_default_context()
    script = (*STARTTLS, Say(b"220 go\r\n"), StartTls(theirs)) if security == "starttls" else (GREETING,)
    async with Scripted(script, tls=theirs if security == "implicit" else None) as server:
        endpoint = local_endpoint("localhost", server.port, security, "me", "secret", ssl_context=ours)  # type: ignore[arg-type]
        error = await refusal(endpoint)
    assert error.phase is Phase.STARTTLS
    assert error.verdict is Verdict.GATEWAY_FAULT
    assert "certificate" in str(error)


async def test_tls_on_a_plain_port_says_so():
    async with Scripted((GREETING, Hang())) as server:
        error = await refusal(local_endpoint("localhost", server.port, ssl_context=client_context()))
    assert "does not speak TLS on this port" in str(error)


async def test_login_by_auth_login_where_plain_is_not_offered():
    script = (*opening(b"AUTH=LOGIN"), Hear(b"AUTH LOGIN\r\n"), Say(b"334 VXNlcm5hbWU6\r\n"),
              Hear(base64.b64encode(b"me") + b"\r\n"), Say(b"334 UGFzc3dvcmQ6\r\n"),
              Hear(base64.b64encode("gehéim".encode()) + b"\r\n"), Say(b"235 in\r\n"), *QUIT)  # fmt: skip
    async with Scripted(script) as server:
        session = await open_session(local_endpoint("127.0.0.1", server.port, "none", "me", "gehéim"))
        await session.close()


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (b"535 5.7.8 bad credentials\r\n", Verdict.GATEWAY_FAULT),
        (b"454 4.7.0 try later\r\n", Verdict.THROTTLED),
        (b"421 4.3.2 bye\r\n", Verdict.THROTTLED),
    ],
)
async def test_a_refused_login_says_what_was_said_and_never_the_password(said: bytes, verdict: Verdict):
    async with Scripted((*opening(b"AUTH PLAIN"), PLAIN, Say(said), HearNothing())) as server:
        endpoint = local_endpoint("127.0.0.1", server.port, "none", "me", "secret")
        error = await refusal(endpoint)
    assert isinstance(error, GatewayRefused)
    assert (error.phase, error.verdict) == (Phase.AUTH, verdict)
    assert said.decode().strip() in str(error)
    assert "secret" not in repr(endpoint) + str(error)


async def test_a_password_that_is_too_long_for_a_command_goes_when_it_is_asked_for():
    """A command has 512 octets at most (RFC 4954, 4)."""
    password = "p" * 400
    script = (*opening(b"AUTH PLAIN"), Hear(b"AUTH PLAIN\r\n"), Say(b"334 \r\n"),
              Hear(base64.b64encode(b"\0me\0" + password.encode()) + b"\r\n"), Say(b"235 in\r\n"), Hear(b"QUIT\r\n"),
              Say(b"221 bye\r\n"))
    async with Scripted(script) as server:
        session = await open_session(local_endpoint("127.0.0.1", server.port, "none", "me", password))
        await session.close()


async def test_a_gateway_with_no_login_that_we_know_is_not_sent_one():
    async with Scripted((*opening(b"AUTH CRAM-MD5"), HearNothing())) as server:
        error = await refusal(local_endpoint("127.0.0.1", server.port, "none", "me", "secret"))
    assert error.phase is Phase.AUTH
    assert "CRAM-MD5" in str(error)


@pytest.mark.parametrize(
    ("script", "phase", "verdict", "words"),
    [
        ((Say(b"554 no service\r\n"), HearNothing()), Phase.CONNECT, Verdict.GATEWAY_FAULT, "554 no service"),
        ((Say(b"421 busy\r\n"), HearNothing()), Phase.CONNECT, Verdict.THROTTLED, "421 busy"),
        ((Say(b"HTTP/1.1 400 Bad Request\r\n"), HearNothing()), Phase.CONNECT, Verdict.THROTTLED, "HTTP/1.1 400"),
        ((Say(b"220 a\r\n220 b\r\n"), HearNothing()), Phase.CONNECT, Verdict.THROTTLED, "more than it was asked"),
        ((), Phase.CONNECT, Verdict.THROTTLED, "closed the connection"),
        ((Hang(),), Phase.CONNECT, Verdict.THROTTLED, "within 0.1 seconds"),
        ((GREETING, EHLO, Say(b"502 no\r\n"), HearNothing()), Phase.EHLO, Verdict.GATEWAY_FAULT, "502 no"),
        ((GREETING, EHLO, Hang()), Phase.EHLO, Verdict.THROTTLED, "within 0.1 seconds"),
    ],
)
async def test_a_set_up_that_fails_says_where_and_what(
    script: Sequence[Step], phase: Phase, verdict: Verdict, words: str
):
    async with Scripted(script) as server:
        error = await refusal(local_endpoint("127.0.0.1", server.port, "none"), SHORT)
    assert (error.phase, error.verdict) == (phase, verdict)
    assert words in str(error)


async def test_a_port_where_nobody_listens_and_a_name_that_does_not_exist():
    async with Scripted() as server:
        port = server.port
    assert "nothing listens" in str(await refusal(local_endpoint("127.0.0.1", port, "none")))
    assert "cannot be resolved" in str(await refusal(Endpoint("gateway.invalid", port)))


@pytest.mark.parametrize("host", ["a..example", ".example", "a" * 64 + ".example", "ü" * 60 + ".example"])
@pytest.mark.parametrize("security", ["implicit", "none"])
async def test_a_host_name_that_cannot_be_asked_for_is_a_fault_of_the_gateway(host: str, security: str):
    error = await refusal(Endpoint(host, 465, security, allow_plaintext=True))  # type: ignore[arg-type]
    assert (error.phase, error.verdict) == (Phase.CONNECT, Verdict.GATEWAY_FAULT)
    assert f"“{host}” is no host name" in str(error)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"host": ""}, "host"),
        ({"host": "a b"}, "host"),
        ({"port": 0}, "port"),
        ({"security": "maybe"}, "security"),
        ({"security": "none"}, "security"),
        ({"helo_name": "a\r\nMAIL"}, "helo_name"),
        ({"username": "me"}, "password"),
        ({"username": "me", "password": "a\0b"}, "password"),
    ],
)
def test_an_endpoint_that_cannot_be_right_is_refused(change: dict[str, object], field: str):
    with pytest.raises(InvalidInput) as caught:
        Endpoint(**({"host": "mail.example.org", "port": 465} | change))  # type: ignore[arg-type]
    assert caught.value.faults[0].field == field


# -- the other event loop -------------------------------------------------------------------------------------------


async def test_it_is_the_same_session_on_the_standard_event_loop():
    async def all_of_it() -> None:
        await test_a_window_goes_in_one_write_and_one_round_trip_a_message()
        await test_a_long_message_arrives_whole_with_the_next_announced_behind_it(5_000_000)
        await test_a_connection_that_goes_after_the_dot_leaves_exactly_that_message_in_doubt(())
        await test_a_long_message_that_is_cut_short_is_unsent((Deaf(0.5),))
        await test_a_long_message_that_is_cut_short_is_unsent((HalfClose(), Hang()))
        await test_starttls_forgets_what_was_said_before_it()
        await test_a_long_message_arrives_whole_through_tls()
        await test_a_certificate_that_does_not_prove_the_gateway_ends_the_connection("starttls", "name")

    def on_its_own_loop() -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(all_of_it())

    await asyncio.to_thread(on_its_own_loop)
