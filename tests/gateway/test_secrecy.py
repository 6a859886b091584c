"""A gateway that repeats the login is not repeated: its words reach errors, replies and reasons without it."""

from __future__ import annotations

import base64
import time

import pytest

from loopback import local_endpoint
from postroom.gateway.replies import Reply, ReplyParser, good_group
from postroom.gateway.secrecy import hiding, hiding_all
from postroom.gateway.session import Envelope, GatewayError, open_session

from .scripted import Hear, HearNothing, Say, Scripted, Step, opening

USER, PASSWORD = "club", "corréct-Horse 9"
LOGIN = b"\0club\0" + PASSWORD.encode()
IN_CLEAR, IN_BASE64, AS_PLAIN = PASSWORD.encode(), base64.b64encode(PASSWORD.encode()), base64.b64encode(LOGIN)
FORMS = {
    "in clear": IN_CLEAR, "in base64": IN_BASE64, "as AUTH PLAIN": b"AUTH PLAIN " + AS_PLAIN, "upper case": AS_PLAIN.upper(),
    "with its user, in base64": base64.b64encode(b"club:" + PASSWORD.encode() + b"!"), "cut short": AS_PLAIN[:-9],
}
BY_PLAIN = (*opening(b"AUTH PLAIN"), Hear(b"AUTH PLAIN " + AS_PLAIN + b"\r\n"))
BY_LOGIN = (*opening(b"AUTH LOGIN"), Hear(b"AUTH LOGIN\r\n"), Say(b"334 VXNlcm5hbWU6\r\n"),
            Hear(base64.b64encode(b"club") + b"\r\n"), Say(b"334 UGFzc3dvcmQ6\r\n"), Hear(IN_BASE64 + b"\r\n"))


def gives_away(text: str) -> bool:
    """Whether four characters in a row of the password, or of what was sent for it, are in the text."""
    of_login = (AS_PLAIN[8:].decode(), IN_BASE64.decode(), FORMS["with its user, in base64"][8:-4].decode(), PASSWORD)
    return any(secret[at:at + 4].lower() in text.lower() for secret in of_login for at in range(len(secret) - 3))


def said(code: int, form: bytes, lines: int) -> bytes:
    """A reply that repeats the form in so many lines, each with its enhanced code, as gateways write them."""
    size = -(-len(form) // lines)
    parts = [form[at:at + size] for at in range(0, len(form), size)]
    begin = b"%d-%d.7.8 " % (code, code // 100)
    end = b"%d %d.7.8 end\r\n" % (code, code // 100)
    return b"".join(begin + part + b"\r\n" for part in (b"no: " + parts[0], *parts[1:])) + end


async def failure(*script: Step) -> str:
    async with Scripted((*script, HearNothing())) as server:
        with pytest.raises(GatewayError) as caught:
            await open_session(local_endpoint("127.0.0.1", server.port, "none", USER, PASSWORD))
    return str(caught.value)


@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("login", [BY_PLAIN, BY_LOGIN], ids=["PLAIN", "LOGIN"])
async def test_a_refusal_that_repeats_the_login_is_told_without_it(login: tuple[Step, ...], form: bytes, lines: int) -> None:
    told = await failure(*login, Say(said(535, form, lines)))
    assert "535" in told
    assert "no: " in told
    assert not gives_away(told), told


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("answer", [
    b"%b\r\n", b"299-%b\r\nnonsense %b\r\n", b"235 in\r\n250 %b\r\n", b"399 %b\r\n", b"334 %b\r\n"])
async def test_what_is_no_answer_to_a_login_is_told_without_it(form: bytes, answer: bytes) -> None:
    assert not gives_away(await failure(*BY_PLAIN, Say(answer.replace(b"%b", form))))


@pytest.mark.parametrize("form", [IN_CLEAR, AS_PLAIN])
async def test_a_gateway_that_offers_the_login_for_a_mechanism_is_told_without_it(form: bytes) -> None:
    assert not gives_away(await failure(*opening(b"AUTH X " + form)))


class OneMessage:
    """A source of one envelope, that keeps what it was told of it."""

    def __init__(self) -> None:
        self.told = ""
        self._left = [Envelope(b"a@b.example", b"c@d.example")]

    def next(self) -> Envelope | None:
        return self._left.pop() if self._left else None

    def content(self, envelope: Envelope) -> bytes:
        return b"x\r\n"

    def handing_over(self, envelope: Envelope) -> None: ...

    def replied(self, envelope: Envelope, phase: object, reply: Reply) -> None:
        self.told = str(reply)

    def lost(self, envelope: Envelope, detail: str) -> None:
        self.told = detail


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_login_that_is_repeated_later_in_the_session_is_hidden_too(form: bytes) -> None:
    script = (*BY_PLAIN, Say(b"235-" + form + b"\r\n235 in\r\n"), Hear(b"MAIL FROM:<a@b.example>\r\n"),
              Say(b"550 no: " + form + b"\r\n"))
    async with Scripted((*script, Hear(b"QUIT\r\n"), Say(b"221 " + form + b"\r\n"))) as server:
        session = await open_session(local_endpoint("127.0.0.1", server.port, "none", USER, PASSWORD))
        await session.hand_off(source := OneMessage())
        await session.close()
    assert source.told.startswith("550 no: ")
    assert not gives_away(source.told + session.ended)


def test_a_word_of_the_gateway_that_is_the_password_changes_no_judgement() -> None:
    hide = hiding(b"me", b"5.1.1")
    parser = ReplyParser(hide)
    parser.feed(b"550 5.1.1 no such user\r\n")
    assert parser.next() == Reply(550, "5.1.1", "******** no such user")
    assert good_group(b"250 2.0.0 5.1.1\r\n250 a\r\n250 b\r\n354 c\r\n", hide) == Reply(250, "2.0.0", "2.0.0 ********")


@pytest.mark.parametrize("size", [81, 3_000])
def test_of_a_long_secret_every_piece_is_hidden_at_once_and_nothing_else(size: int) -> None:
    secret = (b"eyJ0.eXAi_OiJKV1-QiLCJhbGci~" * 120)[:size]
    begun = time.perf_counter()
    hide = hiding(USER.encode(), secret)
    assert time.perf_counter() - begun < 0.5
    for form in (secret, secret[40:70].upper(), base64.b64encode(LOGIN[:6] + secret), base64.urlsafe_b64encode(b"??" + secret)):
        assert hide(b"535 no: <" + form + b"> really") == b"535 no: <********> really"
    usual = b"2.0.0 Ok: queued as 4Xy7Kq2Jb1z9 from mail-sor-f41.example.com id 71dfb90a1353d-abcdef0123456789"
    assert hide(usual) == usual
    assert hiding_all([b"short", secret])(b"a short " + secret[:30]) == b"a ******** ********"


def test_what_gateways_say_of_a_message_stays_as_it_is() -> None:
    hide = hiding(USER.encode(), PASSWORD.encode())
    usual = b"2.0.0 Ok: queued as 4Xy7Kq2Jb1z9 from mail-sor-f41.example.com id 71dfb90a1353d-abcdef0123456789"
    assert hide(usual) == usual
