"""Nothing in a message or an address becomes a command, whatever the server behind the gateway takes for the end of a line.

What a message is made of arrives as it was, or its recipient is refused with a reason; one message in, one message out.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import product

import pytest

from loopback import local_endpoint
from postroom.errors import InvalidInput
from postroom.gateway.replies import Phase, Reply
from postroom.gateway.session import Envelope, open_session
from postroom.message.content import Bodies, Content, Identity
from postroom.message.render.compile import Compiled, Outfit, Stamp, compile  # noqa: A004
from postroom.message.wire.address import AddressRefused, envelope
from postroom.message.wire.headers import Unrenderable

from .lenient import BREAKS, ENDS_OF_DATA, Lenient

SMUGGLED = "MAIL FROM:<eve@evil.example>\r\nRCPT TO:<anna@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\npay me\r\n"
STAMP = Stamp("7-abc", datetime(2026, 6, 5, 7, 8, 9, tzinfo=UTC))
FIELDS = Bodies("<p>{{ html }}</p>\n<p>{{ both }}</p>\n", "{{ text }}\n{{ both }}{% if true %}{{ rich }}{% endif %}\n")


class Window:
    """Hands off what it is given; the session's answer to each is in `codes`."""

    def __init__(self, letters: Iterable[tuple[Envelope, bytes]]) -> None:
        self._letters = iter(letters)
        self.codes: list[int] = []

    def next(self) -> Envelope | None:
        one, content = next(self._letters, (None, b""))
        if one is not None:
            one.token = content
        return one

    def content(self, envelope: Envelope) -> bytes:
        assert isinstance(envelope.token, bytes)
        return envelope.token

    def handing_over(self, envelope: Envelope) -> None:
        """Nobody needs to know."""

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        assert phase is Phase.DOT
        self.codes.append(reply.code)

    def lost(self, envelope: Envelope, detail: str) -> None:
        raise AssertionError(detail)


async def handed_off(server: Lenient, letters: list[tuple[Envelope, bytes]]) -> None:
    """All of them through one session, each of them taken."""
    session = await open_session(local_endpoint("127.0.0.1", server.port, "none"))
    window = Window(letters)
    await session.hand_off(window)
    await session.close()
    assert window.codes == [250] * len(letters)


def to(number: int) -> Envelope:
    return Envelope(b"s@example.org", b"r%d@example.net" % number, stuffed=True)


def compiled(*, bodies: Bodies = FIELDS, from_name: str = "Club", account_name: str = "Harbour") -> Compiled:
    content = Content("News {{ subject }}", bodies.html, bodies.text, "club@sender.example", from_name)
    identity = Identity(7, account_name, "https://out.example/{email}")
    return compile(content, bodies, STAMP, {"name": account_name}, Outfit(identity))


def parts(octets: bytes) -> tuple[str, str]:
    """Text and HTML as a reader has them, line ends as LF."""
    message = message_from_bytes(octets, policy=policy.default)
    assert isinstance(message, EmailMessage)
    text, page = (part.get_payload(decode=True).decode().replace("\r\n", "\n") for part in message.iter_parts())  # type: ignore[union-attr]
    return text, html.unescape(page)


def lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


# -- ends of data ---------------------------------------------------------------------------------------------------


async def test_the_lenient_server_is_smuggled_through_by_every_variant():
    """Without this, the tests below would prove nothing."""
    assert len(set(ENDS_OF_DATA)) >= 400
    for variant in ENDS_OF_DATA:
        async with Lenient() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"MAIL FROM:<s@example.org>\r\nRCPT TO:<r@example.net>\r\nDATA\r\nSubject: a\r\n\r\nhello")
            writer.write((variant + SMUGGLED).encode() + b".\r\n")
            writer.write_eof()
            await reader.read()
            writer.close()
            recipients = [taken.recipients for taken in server.messages]
            assert recipients == [(b"r@example.net",), (b"anna@example.net",)], repr(variant)


@pytest.mark.parametrize("place", ["text", "html", "both", "rich"])
async def test_an_end_of_data_in_a_value_of_a_body_arrives_as_a_value(place: str):
    job = compiled()
    values = [f"hello{variant}{SMUGGLED}" for variant in ENDS_OF_DATA] + [f"{variant[1:]}{SMUGGLED}." for variant in ENDS_OF_DATA]
    letters = [(to(number), job.render("anna@example.net", number, {place: value})) for number, value in enumerate(values)]
    async with Lenient() as server:
        await handed_off(server, letters)
        assert [taken.content for taken in server.messages] == [content for _, content in letters]
    for value, taken in zip(values, server.messages, strict=True):
        text, page = parts(taken.content)
        shown = {place: lf(value)}
        assert text == f"{shown.get('text', '')}\n{shown.get('both', '')}{shown.get('rich', '')}\n"
        assert page == f"<p>{shown.get('html', '')}</p>\n<p>{shown.get('both', '')}</p>\n"


async def test_an_end_of_data_that_the_author_wrote_arrives_as_written():
    letters = []
    for number, variant in enumerate(ENDS_OF_DATA):
        written = f"hello{variant}{SMUGGLED}"
        job = compiled(bodies=Bodies(written, written + "{{ account.name }}\n"), account_name=written)
        letters.append((to(number), job.render("anna@example.net", number, {})))
    async with Lenient() as server:
        await handed_off(server, letters)
    for variant, taken in zip(ENDS_OF_DATA, server.messages, strict=True):
        text, page = parts(taken.content)
        written = lf(f"hello{variant}{SMUGGLED}")
        assert (text, page) == (f"{written}{written}\n", written)


def test_an_end_of_data_in_a_header_is_refused():
    job = compiled()
    for variant in ENDS_OF_DATA:
        with pytest.raises(Unrenderable, match="The Subject contains"):
            job.render("anna@example.net", 1, {"subject": variant})
        with pytest.raises(InvalidInput, match="from name contains"):
            compiled(from_name=f"Club{variant}")
        with pytest.raises(AddressRefused):
            job.render(f"anna@example.net{variant}{SMUGGLED}", 1, {})


# -- commands in addresses ------------------------------------------------------------------------------------------

# What was ever turned into a line end on the way: by cutting a character to its low octet, by decoding, by unescaping.
DISGUISES = ("\u010d\u010a", "\u560d\u560a", "\uff0d\uff0a", "\ue00d\ue00a", "\udc0d\udc0a", "%0D%0A", "\\r\\n", "=0D=0A",
             "=?utf-8?q?=0D=0A?=", "&#13;&#10;", "+AA0ACg-", " ", "\t", ">", ">\r\n", "> ", '"\r\n', "\u2424", "\xad",
             "\u200b")  # fmt: skip
COMMANDS = ("RCPT TO:<eve@evil.example>", "RCPT\tTO:<eve@evil.example>", "MAIL FROM:<eve@evil.example>", "DATA", "RSET", "QUIT",
            "NOOP", "STARTTLS", "BDAT 5 LAST", "NOTIFY=NEVER", "SIZE=0", "AUTH=<>", SMUGGLED)  # fmt: skip
SHAPES = ("a{0}{1}{0}b@x.example", "{0}{1}{0}a@x.example", "a@x.example{0}{1}{0}", "a@x{0}{1}{0}.example", "a@x.example>{0}{1}",
          "<a@x.example>{0}{1}", '"a{0}{1}{0}"@x.example', "é{0}{1}{0}é@x.example", "a@é{0}{1}{0}.example",
          "{1}{0}@x.example")  # fmt: skip
HOSTILE = [shape.format(line_end, command) for shape, line_end, command in product(SHAPES, BREAKS + DISGUISES, COMMANDS)]


def octets_of(text: str) -> Iterator[bytes]:
    """The text as careless programs write it."""
    yield text.encode("utf-8", "surrogatepass")
    yield text.encode("utf-8", "ignore")
    yield text.encode("utf-16-le", "surrogatepass")
    yield text.encode("latin-1", "replace")
    yield bytes(ord(character) & 0xFF for character in text)


async def commands_of(envelopes: list[Envelope]) -> None:
    """Hands a message to each off, and looks that the server was told what each of them says, and nothing else."""
    content = b"Subject: s\r\n\r\nhello\r\n"
    async with Lenient() as server:
        await handed_off(server, [(one, content) for one in envelopes])
    expected = [b"EHLO localhost"]
    for one in envelopes:
        expected.append(b"MAIL FROM:<%b>" % one.sender + (b" BODY=8BITMIME SMTPUTF8" if one.utf8 else b""))
        expected += [b"RCPT TO:<%b>" % one.recipient, b"DATA"]
    assert server.commands == [*expected, b"QUIT"]
    assert [taken.content for taken in server.messages] == [content] * len(envelopes)


async def test_no_hostile_address_that_was_read_becomes_a_command():
    assert len(HOSTILE) >= 5_000
    taken = []
    for text in HOSTILE:
        try:
            taken.append(Envelope(b"s@example.org", envelope(text)))
        except AddressRefused:
            continue
    assert 0 < len(taken) < len(HOSTILE) // 10
    await commands_of(taken)


@pytest.mark.parametrize("side", ["sender", "recipient"])
async def test_no_octets_that_were_never_read_as_an_address_become_a_command(side: str):
    tried, taken = 0, []
    for octets in dict.fromkeys(octets for text in HOSTILE for octets in octets_of(text)):
        tried += 1
        try:
            taken.append(Envelope(octets, b"r@example.net") if side == "sender" else Envelope(b"s@example.org", octets))
        except ValueError:
            continue
    assert 0 < len(taken) < tried // 4
    await commands_of(taken)
