"""The sandbox gateway over real sockets, by bare streams and by aiosmtplib as a client that is not ours."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
import trustme

from postroom.errors import InvalidInput, NotFound, Unavailable
from postroom.gateway.sandbox.record import tally
from postroom.gateway.sandbox.script import DROP, DROP_AFTER_RECORDING, Answer, Refusal, Script, parse
from postroom.gateway.sandbox.server import Sandbox, serve

ENVELOPE = b"MAIL FROM:<from@example.org>\r\nRCPT TO:<to@example.org>\r\nDATA\r\n"
CONTENT = b"Subject: hi\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n"


class Peer:
    """A client that sends exactly these bytes and reads exactly so many replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        """One whole reply, or what came before the end of the connection."""
        lines = ""
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 10)).decode()
            lines += line
            if line[3:4] != "-":
                return lines.removesuffix("\r\n")

    async def say(self, commands: bytes, replies: int = 1) -> list[str]:
        self.writer.write(commands)
        return [await self.reply() for _ in range(replies)]

    async def codes(self, commands: bytes, replies: int = 1) -> list[str]:
        return [reply[:9] for reply in await self.say(commands, replies)]

    async def send(self, content: bytes = CONTENT, to: bytes = b"to@example.org") -> str:
        envelope = ENVELOPE.replace(b"to@example.org", to)
        for reply in await self.say(envelope, 3):
            if reply[:1] not in ("2", "3"):
                return reply
        return (await self.say(content + b".\r\n"))[0]


@asynccontextmanager
async def connected(sandbox: Sandbox, *, ehlo: bool = True, tls: ssl.SSLContext | None = None):
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection(sandbox.host, sandbox.port, ssl=tls, server_hostname=name)
    peer = Peer(reader, writer)
    try:
        if ehlo:
            assert (await peer.reply()).startswith("220 ")
            assert (await peer.say(b"EHLO client.example\r\n"))[0].startswith("250")
        yield peer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the sandbox has no event for what a test may wait for
            await asyncio.sleep(0.001)


@pytest.fixture(scope="module")
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


# ---- the conversation


async def test_it_offers_what_it_can_do_and_no_more():
    async with Sandbox(script=Script(size_max=5000)) as sandbox, connected(sandbox, ehlo=False) as peer:
        assert (await peer.reply()).startswith("220 ")
        (offer,) = await peer.say(b"EHLO client.example\r\n")
        words = [line[4:] for line in offer.splitlines()[1:]]
        assert words == ["PIPELINING", "SIZE 5000", "8BITMIME", "ENHANCEDSTATUSCODES"]
        assert await peer.codes(b"AUTH PLAIN AHUAcA==\r\nSTARTTLS\r\n", 2) == ["502 5.5.1", "502 5.5.1"]
        assert await peer.codes(b"HELO client.example\r\n") == ["250 sandb"]


async def test_commands_out_of_order_change_nothing():
    async with Sandbox() as sandbox, connected(sandbox, ehlo=False) as peer:
        await peer.reply()
        assert await peer.codes(ENVELOPE, 3) == ["503 5.5.1"] * 3
        await peer.say(b"EHLO client.example\r\n")
        assert await peer.codes(b"RCPT TO:<a@example.org>\r\nDATA\r\n", 2) == ["503 5.5.1"] * 2
        doubled = await peer.codes(b"MAIL FROM:<>\r\nMAIL FROM:<>\r\nDATA\r\n", 3)
        assert doubled == ["250 2.1.0", "503 5.5.1", "503 5.5.1"]
        assert await peer.codes(b"RSET\r\nRCPT TO:<a@example.org>\r\n", 2) == ["250 2.0.0", "503 5.5.1"]
        assert await peer.send() == "250 2.0.0 Ok: queued as S00000001"
        assert await peer.codes(b"NOOP\r\nVRFY a\r\nQUIT\r\n", 3) == ["250 2.0.0", "252 2.1.5", "221 2.0.0"]
        assert await peer.reader.read() == b""
        assert sandbox.accepted == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"BOGUS\r\n", "500 5.5.2"),
        (b"\r\n", "500 5.5.2"),
        (b"NOOP " + b"x" * 3000 + b"\r\n", "500 5.5.2"),
        (b"NOOP " + b"x" * 300_000 + b"\r\n", "500 5.5.2"),
        (b"EHLO\r\n", "501 5.5.4"),
        (b"VRFY\r\n", "501 5.5.4"),
        (b"MAIL FROM:a@example.org\r\n", "501 5.1.7"),
        (b"MAIL FROM:<a b@example.org>\r\n", "501 5.1.7"),
        (b"MAIL FROM:<a@example.org> SIZE=x\r\n", "501 5.5.4"),
        (b"MAIL FROM:<a@example.org> BODY=BINARYMIME\r\n", "501 5.5.4"),
        (b"MAIL FROM:<a@example.org> SMTPUTF8\r\n", "555 5.5.4"),
        (b"MAIL FROM:<a@example.org> SMTPUTF8=1\r\n", "555 5.5.4"),
        (b"MAIL FROM:<\xc3\xa9@example.org>\r\n", "553 5.6.7"),
        (b"MAIL FROM:<a@example.org>\nRCPT TO:<b@example.org>\r\n", "501 5.5.2"),
        (b"MAIL FROM:<a@example.org> SIZE=99999999999\r\n", "552 5.3.4"),
    ],
)
async def test_a_wrong_command_gets_one_reply_and_the_next_one_counts(command: bytes, code: str):
    async with Sandbox() as sandbox, connected(sandbox) as peer:
        assert await peer.codes(command + b"NOOP\r\n", 2) == [code, "250 2.0.0"]
        assert (await peer.send()).startswith("250")


async def test_where_smtputf8_is_offered_an_address_in_utf8_needs_the_parameter():
    async with Sandbox(script=parse("utf8=on"), keep=True) as sandbox, connected(sandbox, ehlo=False) as peer:
        await peer.reply()
        (offer,) = await peer.say(b"EHLO client.example\r\n")
        assert {"8BITMIME", "SMTPUTF8"} <= {line[4:] for line in offer.splitlines()}
        to = "RCPT TO:<josé@example.org>\r\n".encode()
        plain, asking = b"MAIL FROM:<a@example.org>", b"MAIL FROM:<a@example.org> BODY=8BITMIME SMTPUTF8"
        assert await peer.codes(plain + b"\r\n" + to + b"RSET\r\n", 3) == ["250 2.1.0", "553 5.6.7", "250 2.0.0"]
        assert await peer.codes(plain + b" SMTPUTF8=1\r\n") == ["555 5.5.4"]
        assert await peer.codes(asking + b"\r\nRCPT TO:<jos\xe9@example.org>\r\n", 2) == ["250 2.1.0", "501 5.1.3"]
        assert await peer.codes(to + b"DATA\r\n", 2) == ["250 2.1.5", "354 End d"]
        assert await peer.codes(CONTENT + b".\r\n") == ["250 2.0.0"]
        assert sandbox.records[0].rcpt == ("josé@example.org",)
        assert await peer.codes(plain + b"\r\n" + to, 2) == ["250 2.1.0", "553 5.6.7"], "the parameter holds for one message"


@pytest.mark.parametrize("to", [b"<>", b"a@example.org", b"<a@b> NOTIFY=NEVER", b"<a>", b'<a"b@example.org>'])
async def test_a_recipient_that_is_no_address_is_refused(to: bytes):
    async with Sandbox() as sandbox, connected(sandbox) as peer:
        refused, taken = await peer.codes(b"MAIL FROM:<>\r\nRCPT TO:" + to + b"\r\n", 2)
        assert (refused, taken[0]) == ("250 2.1.0", "5")
        assert await peer.codes(b'RCPT TO:<"a b"@example.org>\r\nRCPT TO:<a.b@example.org>\r\n', 2) == ["250 2.1.5"] * 2


async def test_a_pipelined_group_with_content_gets_its_replies_in_order():
    async with Sandbox(keep=True) as sandbox, connected(sandbox) as peer:
        await peer.say(ENVELOPE, 3)
        for _ in range(20):
            codes = await peer.codes(CONTENT + b".\r\n" + ENVELOPE, 4)
            assert codes == ["250 2.0.0", "250 2.1.0", "250 2.1.5", "354 End d"]
        assert sandbox.contents == [CONTENT] * 20


async def test_the_replies_of_a_group_come_in_one_write():
    async with Sandbox() as sandbox, connected(sandbox) as peer:
        peer.writer.write(ENVELOPE)
        await peer.reader.readexactly(1)
        # What one write brought is in the reader's buffer as a whole.
        assert (await peer.reader.read(4096)).count(b"\r\n") == 3


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 7])
async def test_the_end_of_data_is_found_wherever_the_reads_are_cut(step: int):
    content = b"Message-ID: <cut@example.org>\r\n\r\n.\r.\n.\n\r\n..\r\n\r\n...\r\nend\r\n"
    plain = content.replace(b"\r\n..", b"\r\n.")
    async with Sandbox(keep=True) as sandbox, connected(sandbox) as peer:
        await peer.say(ENVELOPE, 3)
        sent = content + b".\r\nNOOP\r\n"
        peer.writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), step):
            peer.writer.write(sent[start : start + step])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert (await peer.reply()).startswith("250 2.0.0 Ok: queued")
        assert await peer.reply() == "250 2.0.0 Ok"
        assert sandbox.contents == [plain]
        assert sandbox.records[0].size == len(content)
        assert sandbox.records[0].message_id == "<cut@example.org>"


@pytest.mark.parametrize(("content", "kept"), [(b"", b""), (b"..\r\n", b".\r\n"), (b"\r\n", b"\r\n")])
async def test_an_odd_content_is_still_one_message(content: bytes, kept: bytes):
    async with Sandbox(keep=True) as sandbox, connected(sandbox) as peer:
        assert (await peer.send(content)).startswith("250")
        assert (sandbox.contents, sandbox.records[0].size) == ([kept], len(content))


async def test_a_message_over_the_limit_is_read_to_its_end_and_refused():
    async with Sandbox(script=parse("size=1000")) as sandbox, connected(sandbox) as peer:
        assert (await peer.send(b"x" * 998 + b"\r\n")).startswith("250")
        assert (await peer.send(b"x" * 999 + b"\r\n")).startswith("552 5.3.4")
        assert (await peer.send(b"x" * 99_000 + b"\r\n")).startswith("552 5.3.4")
        assert (await peer.send()).startswith("250")
        assert sandbox.accepted == 2


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"Message-ID: <a@b>", "<a@b>"),
        (b"message-id:<a@b>", "<a@b>"),
        (b"MESSAGE-ID:\r\n <a@b>", "<a@b>"),
        (b"Message-ID: \r\n <a@b>", "<a@b>"),
        (b"X: y\r\nMessage-ID: <a@b> \r\nZ: y", "<a@b>"),
        (b"X-Message-ID: <a@b>", ""),
        (b"X: y\r\n\r\nMessage-ID: <body@b>", ""),
    ],
)
async def test_the_message_id_is_taken_from_the_header_block_only(header: bytes, found: str):
    async with Sandbox(keep=True) as sandbox, connected(sandbox) as peer:
        await peer.send(header + b"\r\n\r\nMessage-ID: <no@b>\r\n")
        assert sandbox.records[0].message_id == found


# ---- TLS and credentials


def plain(user: str, password: str) -> bytes:
    return base64.b64encode(f"\0{user}\0{password}".encode())


async def test_wrong_credentials_get_535_and_mail_before_them_530():
    async with Sandbox(credentials=("user", "päss")) as sandbox, connected(sandbox) as peer:
        assert await peer.codes(b"MAIL FROM:<>\r\n") == ["530 5.7.0"]
        assert await peer.codes(b"AUTH PLAIN " + plain("user", "wrong") + b"\r\n") == ["535 5.7.8"]
        assert await peer.codes(b"AUTH PLAIN !\r\nAUTH CRAM-MD5\r\n", 2) == ["501 5.5.2", "504 5.5.4"]
        assert await peer.say(b"AUTH PLAIN\r\n") == ["334 "]
        assert await peer.codes(b"*\r\n") == ["501 5.7.0"]
        assert await peer.codes(b"MAIL FROM:<>\r\n") == ["530 5.7.0"]
        assert await peer.say(b"AUTH LOGIN\r\n") == ["334 VXNlcm5hbWU6"]
        assert await peer.say(base64.b64encode(b"user") + b"\r\n") == ["334 UGFzc3dvcmQ6"]
        assert await peer.codes(base64.b64encode("päss".encode()) + b"\r\n") == ["235 2.7.0"]
        assert await peer.codes(b"AUTH PLAIN\r\n") == ["503 5.5.1"]
        assert (await peer.send()).startswith("250")


def bearer(user: str, token: str) -> bytes:
    return base64.b64encode(f"user={user}\1auth=Bearer {token}\1\1".encode())


async def test_a_token_logs_in_its_user_by_either_mechanism_and_a_wrong_one_is_challenged_before_its_535():
    known = {"good": "user", "l" * 8000: "a,b"}
    async with Sandbox(tokens=known) as sandbox, connected(sandbox, ehlo=False) as peer:
        await peer.reply()
        assert "AUTH XOAUTH2 OAUTHBEARER" in (await peer.say(b"EHLO a\r\n"))[0]
        assert await peer.codes(b"MAIL FROM:<>\r\nAUTH PLAIN AHUAcA==\r\n", 2) == ["530 5.7.0", "504 5.5.4"]
        for user, token in (("other", "good"), ("user", "bad"), ("", "good")):
            (challenge,) = await peer.say(b"AUTH XOAUTH2 " + bearer(user, token) + b"\r\n")
            assert json.loads(base64.b64decode(challenge.removeprefix("334 ")))["status"] == "401"
            assert await peer.codes(b"\r\n") == ["535 5.7.8"]
        assert await peer.codes(b"AUTH XOAUTH2 " + bearer("a,b", "l" * 8000) + b"\r\n") == ["500 5.5.2"], "too long for a command"
        assert await peer.say(b"AUTH OAUTHBEARER\r\n") == ["334 "]
        by_rfc = f"n,a=a=2Cb,\1host=smtp.example\1port=587\1auth=Bearer {'l' * 8000}\1\1".encode()
        assert await peer.codes(base64.b64encode(by_rfc) + b"\r\n") == ["235 2.7.0"]
        assert (await peer.send()).startswith("250")
    async with Sandbox(tokens=known, token_mechanisms=("XOAUTH2",)) as sandbox, connected(sandbox) as peer:
        known["new"] = "user"
        assert await peer.codes(b"AUTH OAUTHBEARER\r\n") == ["504 5.5.4"]
        assert await peer.codes(b"auth xoauth2 " + bearer("user", "new") + b"\r\n") == ["235 2.7.0"]


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_another_client_sends_over_tls_with_credentials(mode: str, certificates):
    server, client = certificates
    implicit = mode == "implicit"
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Grüße"
    message["Message-ID"] = "<tls@example.org>"
    message.set_content(".one\n..two\n" * 3000)
    async with Sandbox(tls=server, implicit_tls=implicit, credentials=("user", "pw"), keep=True) as sandbox:
        for _ in range(2):
            await aiosmtplib.send(
                message, hostname="localhost", port=sandbox.port, username="user", password="pw", tls_context=client,
                use_tls=implicit, start_tls=not implicit,
            )  # fmt: skip
        assert [record.message_id for record in sandbox.records] == ["<tls@example.org>"] * 2
        assert sandbox.contents[0].count(b"\r\n.one\r\n..two") == 3000
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await aiosmtplib.send(
                message, hostname="localhost", port=sandbox.port, username="user", password="no", tls_context=client,
                use_tls=implicit, start_tls=not implicit,
            )  # fmt: skip
        assert sandbox.accepted == 2


async def test_plaintext_behind_starttls_is_thrown_away(certificates):
    server, client = certificates
    async with Sandbox(tls=server) as sandbox, connected(sandbox) as peer:
        (ready,) = await peer.say(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n")
        assert ready.startswith("220 ")
        await peer.writer.start_tls(client, server_hostname="localhost")
        # Nothing of before is known: neither the injected MAIL nor the greeting; a reply too many would show here.
        assert await peer.codes(b"RCPT TO:<to@example.org>\r\nMAIL FROM:<>\r\n", 2) == ["503 5.5.1"] * 2
        (offer,) = await peer.say(b"EHLO client.example\r\n")
        assert "STARTTLS" not in offer
        assert await peer.codes(b"STARTTLS\r\n") == ["503 5.5.1"]
        assert (await peer.send()).startswith("250")


async def test_credentials_are_not_taken_in_the_clear_where_tls_is_offered(certificates):
    async with Sandbox(tls=certificates[0], credentials=("user", "pw")) as sandbox, connected(sandbox) as peer:
        (offer,) = await peer.say(b"EHLO client.example\r\n")
        assert "AUTH" not in offer
        assert await peer.codes(b"AUTH PLAIN " + plain("user", "pw") + b"\r\n") == ["538 5.7.11"[:9]]


async def test_a_broken_handshake_ends_only_its_own_connection(certificates):
    async with Sandbox(tls=certificates[0]) as sandbox:
        async with connected(sandbox) as peer:
            await peer.say(b"STARTTLS\r\n")
            peer.writer.write(b"this is no handshake\r\n")
            await peer.reader.read()
        async with connected(sandbox) as peer:
            assert (await peer.send()).startswith("250")


# ---- the script


@pytest.mark.parametrize(
    ("phase", "temporary", "permanent"),
    [
        ("mail", "451 4.3.0", "550 5.7.1"),
        ("rcpt", "450 4.2.1", "550 5.1.1"),
        ("data", "451 4.3.0", "554 5.7.1"),
        ("dot", "451 4.3.0", "554 5.7.1"),
    ],
)
async def test_a_phase_refuses_its_share_and_the_session_goes_on(phase: str, temporary: str, permanent: str):
    script = Script(**{phase: Answer(temporary=0.3, permanent=0.2)})
    seen = []
    async with Sandbox(script=script) as sandbox, connected(sandbox) as peer:
        for _ in range(200):
            seen.append((await peer.send())[:9])
            assert await peer.codes(b"RSET\r\n") == ["250 2.0.0"]
    assert set(seen) == {"250 2.0.0", temporary, permanent}
    assert 30 < seen.count(temporary) < 90
    assert 15 < seen.count(permanent) < 65
    assert sandbox.accepted == seen.count("250 2.0.0")


async def fates(script: Script) -> list[str]:
    async with Sandbox(script=script) as sandbox, connected(sandbox) as peer:
        return [(await peer.send())[:3] for _ in range(100)]


async def test_a_run_with_the_same_seed_is_the_same_run():
    first = await fates(parse("dot:temp=30%; seed=7"))
    assert first == await fates(parse("dot:temp=30%; seed=7; mail:delay=0ms"))
    assert first != await fates(parse("dot:temp=30%; seed=8"))


async def test_refused_service_at_connect_and_at_ehlo():
    async with Sandbox(script=parse("connect:temp=100%")) as sandbox:
        async with connected(sandbox, ehlo=False) as peer:
            assert (await peer.reply()).startswith("421 4.3.2")
            assert await peer.reader.read() == b""
        sandbox.script = parse("connect:perm=100%")
        async with connected(sandbox, ehlo=False) as peer:
            assert (await peer.reply()).startswith("554 5.3.2")
            assert await peer.codes(b"EHLO a\r\nQUIT\r\n", 2) == ["503 5.5.1", "221 2.0.0"]
        sandbox.script = parse("ehlo:perm=100%")
        async with connected(sandbox, ehlo=False) as peer:
            await peer.reply()
            assert await peer.codes(b"EHLO a\r\nMAIL FROM:<>\r\n", 2) == ["550 5.7.1", "503 5.5.1"]


@pytest.mark.parametrize("phase", ["connect", "ehlo", "auth", "mail", "rcpt", "data", "dot"])
async def test_a_dropped_connection_gives_no_reply_and_accepts_nothing(phase: str):
    script = Script(**{phase: Answer(drop=1.0)})
    credentials = ("user", "pw")
    conversation = [
        ("ehlo", b"EHLO a\r\n"),
        ("auth", b"AUTH PLAIN " + plain("user", "pw") + b"\r\n"),
        ("mail", b"MAIL FROM:<>\r\n"),
        ("rcpt", b"RCPT TO:<to@example.org>\r\n"),
        ("data", b"DATA\r\n"),
        ("dot", CONTENT + b".\r\n"),
    ]
    async with Sandbox(script=script, credentials=credentials) as sandbox, connected(sandbox, ehlo=False) as peer:
        greeting = await peer.reply()
        if phase == "connect":
            assert greeting == ""
        for name, command in conversation if greeting else []:
            (reply,) = await peer.say(command)
            assert (reply == "") == (name == phase)
            if name == phase:
                break
        assert await peer.reader.read() == b""
        assert sandbox.accepted == 0


async def test_a_reply_lost_after_recording_is_an_accepted_message(tmp_path: Path):
    record = tmp_path / "record.jsonl"
    async with Sandbox(script=parse("dot:drop_after=100%"), record=record) as sandbox:
        async with connected(sandbox) as peer:
            assert await peer.send() == ""
        assert (sandbox.accepted, tally(record).accepted) == (1, 1)
        sandbox.script = parse("dot:drop=100%")
        async with connected(sandbox) as peer:
            assert await peer.send() == ""
        assert (sandbox.accepted, tally(record).accepted) == (1, 1)


async def test_earlier_replies_of_a_group_are_given_before_the_connection_drops():
    async with Sandbox(script=parse("data:drop=100%")) as sandbox, connected(sandbox) as peer:
        assert await peer.codes(ENVELOPE, 3) == ["250 2.1.0", "250 2.1.5", ""]


async def test_named_addresses_are_answered_as_told():
    script = Script(
        refuse={
            "gone@example.org": ("rcpt", 550, "5.1.1 No such user"),
            "grey@example.org": Refusal("rcpt", 450, "4.7.1 Greylisted", times=1),
            "late@example.org": Refusal("dot", 554, "5.7.1 Spam"),
            "lost@example.org": Refusal("dot", DROP),
            "doubt@example.org": Refusal("dot", DROP_AFTER_RECORDING),
            "closing@example.org": Refusal("data", 421, "4.3.2 Shutting down"),
            "from@example.net": Refusal("mail", 553, "5.7.1 Not yours"),
        }
    )
    async with Sandbox(script=script, keep=True) as sandbox:
        async with connected(sandbox) as peer:
            senders = await peer.codes(b"MAIL FROM:<from@example.net>\r\nMAIL FROM:<>\r\n", 2)
            assert senders == ["553 5.7.1", "250 2.1.0"]
            refused = await peer.codes(b"RCPT TO:<gone@example.org>\r\nRCPT TO:<grey@example.org>\r\n", 2)
            assert refused == ["550 5.1.1", "450 4.7.1"]
            assert await peer.codes(b"DATA\r\nRSET\r\n", 2) == ["503 5.5.1", "250 2.0.0"]
            assert (await peer.send(to=b"grey@example.org")).startswith("250")
            assert await peer.send(to=b"late@example.org") == "554 5.7.1 Spam"
            assert await peer.send(to=b"closing@example.org") == "421 4.3.2 Shutting down"
            assert await peer.reader.read() == b""
        for to in (b"lost@example.org", b"doubt@example.org"):
            async with connected(sandbox) as peer:
                assert await peer.send(to=to) == ""
        assert [record.rcpt for record in sandbox.records] == [("grey@example.org",), ("doubt@example.org",)]


async def test_a_delayed_answer_holds_the_rest_of_the_group_and_loses_nothing():
    script = parse("connect:delay=5ms; ehlo:delay=5ms; mail:delay=5ms; rcpt:delay=5ms; data:delay=5ms; dot:delay=5ms")
    async with Sandbox(script=script, keep=True) as sandbox, connected(sandbox, ehlo=False) as peer:
        # All at once, before the greeting, in many more bytes than the sandbox likes to hold.
        group = (b"X" * 998 + b"\r\n") * 1000 + b".\r\n" + ENVELOPE
        peer.writer.write(b"EHLO client.example\r\n" + ENVELOPE + group + CONTENT + b".\r\nQUIT\r\n")
        codes = [(await peer.reply())[:3] for _ in range(11)]
        assert codes == ["220", "250", "250", "250", "354", "250", "250", "250", "354", "250", "221"]
        assert [record.size for record in sandbox.records] == [1_000_000, len(CONTENT)]


async def test_a_delayed_reply_to_the_dot_comes_after_the_record():
    async with Sandbox(script=parse("dot:delay=60s")) as sandbox:
        async with connected(sandbox) as peer:
            await peer.say(ENVELOPE, 3)
            peer.writer.write(CONTENT + b".\r\n")
            await until(lambda: sandbox.accepted == 1)
        await until(lambda: sandbox.connections == 0)
        assert sandbox.accepted == 1


async def test_the_throttle_counts_all_connections_and_refuses_after_the_dot():
    async with Sandbox(script=parse("throttle=0.001/s")) as sandbox:
        async with connected(sandbox) as first, connected(sandbox) as second:
            assert (await first.send()).startswith("250")
            throttled = "454 4.7.0 Throttling failure: Maximum sending rate exceeded"
            assert [await first.send(), await second.send()] == [throttled] * 2
            sandbox.script = Script()
            assert (await second.send()).startswith("250")
        assert sandbox.accepted == 2


async def test_a_connection_takes_its_maximum_of_messages():
    async with Sandbox(script=parse("per_connection=2")) as sandbox:
        async with connected(sandbox) as peer:
            assert [(await peer.send())[:9] for _ in range(3)] == ["250 2.0.0", "250 2.0.0", "421 4.7.0"]
            assert await peer.reader.read() == b""
        assert sandbox.accepted == 2


async def test_a_connection_too_many_is_turned_away_and_its_place_is_free_again():
    async with Sandbox(script=parse("connections=1")) as sandbox:
        async with connected(sandbox) as peer:
            async with connected(sandbox, ehlo=False) as other:
                assert (await other.reply()).startswith("421 4.7.0")
                assert await other.reader.read() == b""
            assert (await peer.send()).startswith("250")
        await until(lambda: sandbox.connections == 0)
        async with connected(sandbox) as peer:
            assert (await peer.send()).startswith("250")


def test_the_text_form_says_the_same_as_the_script():
    text = (
        "rcpt:temp=2%,perm=1% 550 5.1.1 Unknown here; dot:drop=0.5%, drop_after=0.001, delay=20ms; data:delay=1.5s;"
        "throttle=500/s; per_connection=100; connections=20; size=5000; utf8=on; seed=7;"
    )
    assert parse(text) == Script(
        rcpt=Answer(temporary=0.02, permanent=0.01, permanent_reply="550 5.1.1 Unknown here"),
        dot=Answer(drop=0.005, drop_after=0.001, delay_s=0.02),
        data=Answer(delay_s=1.5),
        throttle_per_s=500.0,
        messages_per_connection_max=100,
        connections_max=20,
        size_max=5000,
        utf8=True,
        seed=7,
    )
    assert parse("") == Script()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rctp:temp=2%", "rctp"),
        ("rcpt:tmep=2%", "tmep=2%"),
        ("rcpt:temp=two", "temp=two"),
        ("rcpt:delay=5", "delay=5"),
        ("rcpt", "'rcpt'"),
        ("rcpt:temp=60%,perm=60%", "rcpt"),
        ("rcpt:drop_after=1%", "drop_after"),
        ("rcpt:temp=1% 550 5.1.1 No", "550 5.1.1 No"),
        ("rcpt:drop=1% 550 5.1.1 No", "drop"),
        ("rcpt:temp=1%;rcpt:perm=1%", "twice"),
        ("throttle=fast", "throttle=fast"),
        ("throttle=0/s", "throttle_per_s"),
        ("connections=-1", "connections_max"),
        ("size=big", "size=big"),
        ("size=0", "size_max"),
        ("utf8=maybe", "utf8=maybe"),
    ],
)
def test_a_script_that_cannot_be_read_is_refused_by_name(text: str, named: str):
    with pytest.raises(InvalidInput, match=named):
        parse(text)


@pytest.mark.parametrize("refusal", [("connect", 550, "5.1.1 No"), ("rcpt", 99, "x"), ("rcpt", 550, "a\r\nb")])
def test_a_refusal_that_is_no_reply_is_refused(refusal: tuple[str, int, str]):
    with pytest.raises(InvalidInput, match=r"a@example\.org"):
        Script(refuse={"a@example.org": refusal})


# ---- the record


async def test_the_line_is_in_the_file_when_the_reply_comes(tmp_path: Path):
    record = tmp_path / "record.jsonl"
    async with Sandbox(record=record) as sandbox, connected(sandbox) as peer:
        for count in range(1, 21):
            assert (await peer.send(CONTENT.replace(b"<1@", b"<%d@" % count))).startswith("250")
            assert record.read_bytes().count(b"\n") == count
        line = json.loads(record.read_text().splitlines()[0])
        assert sandbox.records == []
    t, mail_t = line.pop("t"), line.pop("mail_t")
    assert line == {
        "mail_from": "from@example.org",
        "rcpt": ["to@example.org"],
        "message_id": "<1@example.org>",
        "size": len(CONTENT),
        "connection": 1,
    }
    assert 0 < mail_t <= t
    assert sandbox.mail_at >= mail_t


async def test_a_message_that_cannot_be_recorded_is_not_accepted():
    async with Sandbox(record=Path("/dev/full")) as sandbox, connected(sandbox) as peer:
        assert (await peer.send()).startswith("452 4.3.1 Not recorded")
        assert sandbox.accepted == 0
        assert await peer.codes(b"NOOP\r\n") == ["250 2.0.0"]


async def test_a_tally_counts_each_copy_and_names_what_came_twice(tmp_path: Path):
    record = tmp_path / "record.jsonl"
    for _ in range(2):
        # Opened again, the file is continued.
        async with Sandbox(record=record) as sandbox, connected(sandbox) as peer:
            await peer.send()
            await peer.send(to=b"other@example.org")
            await peer.send(to=b"other%d@example.org" % record.stat().st_size)
    counted = tally(record)
    assert (counted.accepted, counted.distinct) == (6, 4)
    message_id = "<1@example.org>"
    assert counted.duplicates == {(message_id, "to@example.org"): 2, (message_id, "other@example.org"): 2}
    record.write_text(record.read_text() + "{}\n")
    with pytest.raises(InvalidInput, match="Line 7"):
        tally(record)
    with pytest.raises(NotFound):
        tally(tmp_path / "missing")


async def test_contents_are_kept_in_a_directory(tmp_path: Path):
    async with Sandbox(keep=tmp_path / "mail") as sandbox, connected(sandbox) as peer:
        await peer.send()
        await peer.send(b"..dot\r\n")
        assert (sandbox.records, sandbox.contents) == ([], [])
    assert (tmp_path / "mail" / "00000001.eml").read_bytes() == CONTENT
    assert (tmp_path / "mail" / "00000002.eml").read_bytes() == b".dot\r\n"


# ---- its life


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_it_binds_to_nothing_but_loopback(host: str):
    with pytest.raises(InvalidInput, match="loopback only"):
        Sandbox(host=host)


async def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path):
    async with Sandbox(host="localhost") as sandbox:
        with pytest.raises(Unavailable, match=f"Port {sandbox.port} on 127.0.0.1 is taken .* choose another"):
            await Sandbox(port=sandbox.port, record=tmp_path / "record.jsonl").start()


async def test_a_record_file_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(Unavailable, match="cannot be written"):
        await Sandbox(record=tmp_path).start()


async def test_closing_drops_open_sessions_in_every_state(certificates):
    server, client = certificates
    sandbox = Sandbox(script=parse("rcpt:delay=60s"), tls=server)
    await sandbox.start()
    idle, delayed, handshaking, secure = (connected(sandbox) for _ in range(4))
    async with idle, delayed as delayed, handshaking as handshaking, secure as secure:
        await secure.say(b"STARTTLS\r\n")
        await secure.writer.start_tls(client, server_hostname="localhost")
        assert (await secure.say(b"EHLO a\r\n"))[0].startswith("250")
        await handshaking.say(b"STARTTLS\r\n")
        await delayed.say(b"MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n")
        assert sandbox.connections == 4
        await sandbox.close()
        assert sandbox.connections == 0
        assert await delayed.reply() == ""
    await sandbox.close()
    with pytest.raises(OSError):  # noqa: PT011 - refused, whatever the platform calls it
        await asyncio.open_connection(sandbox.host, sandbox.port)


async def test_closing_does_not_wait_for_a_client_that_stopped_amid_its_handshake(certificates):
    async with Sandbox(tls=certificates[0], implicit_tls=True) as sandbox:
        _, writer = await asyncio.open_connection(sandbox.host, sandbox.port)
        writer.write(b"\x16\x03\x01")
        await asyncio.sleep(0.01)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def test_it_is_the_same_server_on_uvloop(certificates, tmp_path: Path):
    uvloop = pytest.importorskip("uvloop")
    record = tmp_path / "record.jsonl"

    async def converse() -> int:
        server, client = certificates
        script = parse("mail:delay=1ms; dot:delay=1ms")
        async with Sandbox(script=script, tls=server, credentials=("user", "pw"), record=record) as sandbox:
            async with connected(sandbox) as peer:
                await peer.say(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n")
                await peer.writer.start_tls(client, server_hostname="localhost")
                assert await peer.codes(b"MAIL FROM:<>\r\n") == ["503 5.5.1"]
                login = b"EHLO a\r\nAUTH PLAIN " + plain("user", "pw") + b"\r\n"
                assert await peer.codes(login, 2) == ["250-sandb", "235 2.7.0"]
                for _ in range(3):
                    assert (await peer.send()).startswith("250")
            return sandbox.accepted

    assert await asyncio.to_thread(uvloop.run, converse()) == tally(record).accepted == 3


async def test_serving_goes_on_until_it_is_cancelled():
    running: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(Sandbox(), started=running.set_result))
    sandbox = await running
    async with connected(sandbox) as peer:
        assert (await peer.send()).startswith("250")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert await peer.reply() == ""
    assert sandbox.accepted == 1
