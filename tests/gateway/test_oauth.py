"""Logins by access token: got at a real token endpoint, used on the wire of the sandbox, got anew where they are refused."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from loopback import local_endpoint
from postroom.errors import InvalidInput
from postroom.gateway import oauth
from postroom.gateway.oauth import Grant, Tokens
from postroom.gateway.replies import Phase, Verdict
from postroom.gateway.sandbox.script import Answer, Script
from postroom.gateway.sandbox.server import Sandbox
from postroom.gateway.session import Endpoint, GatewayError, GatewayRefused, GatewayUnreachable, open_session
from token_endpoint import AUTHORITY, CA_PEM, LONG, SECRET, TokenEndpoint, token_endpoint

from .scripted import Hear, HearNothing, Say, Scripted, opening

USER = "club@club.example"


@dataclass
class Place:
    sandbox: Sandbox
    issuer: TokenEndpoint
    tokens: Tokens

    @property
    def endpoint(self) -> Endpoint:
        return local_endpoint("localhost", self.sandbox.port, "starttls", USER, ca_certificates=CA_PEM, tokens=self.tokens)

    async def enter(self) -> None:
        await (await open_session(self.endpoint)).close()

    async def fails(self) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.enter()
        assert not gives_away(str(caught.value))
        return caught.value


def gives_away(text: str) -> bool:
    """Whether a dozen characters of a token or five of a secret are in the text, in clear or in base64."""
    forms = [base64.b64encode(b"x" * shift + secret.encode())[4:-4].decode() for secret in (LONG, SECRET) for shift in range(3)]
    pieces = {form[at:at + 12].lower() for form in (*forms, LONG) for at in range(len(form) - 11)}
    return SECRET in text or any(piece in text.lower() for piece in pieces)


@asynccontextmanager
async def place(grant: dict[str, str | None] | None = None, **options) -> AsyncIterator[Place]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    known: dict[str, str] = {}
    async with token_endpoint(known) as issuer, Sandbox(tls=context, tokens=known, **options) as sandbox:
        given = Grant(**{"token_url": issuer.url, "client_id": "postroom", "client_secret": SECRET, **(grant or {})})
        yield Place(sandbox, issuer, Tokens(USER, given, CA_PEM))


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_token_opens_a_session_by_either_mechanism(mechanism: str) -> None:
    async with place({"scope": "https://outlook.office365.com/.default"}, token_mechanisms=(mechanism,)) as here:
        await here.enter()
        assert here.issuer.asked == [{"grant_type": "client_credentials", "client_id": "postroom", "client_secret": SECRET,
                                      "scope": "https://outlook.office365.com/.default"}]


async def test_a_user_name_is_told_as_each_mechanism_writes_it() -> None:
    for mechanism in ("XOAUTH2", "OAUTHBEARER"):
        async with place(token_mechanisms=(mechanism,)) as here:
            here.tokens.user = here.issuer.user = "a=b,c@club.example"
            await here.enter()


async def test_a_refresh_token_is_used_where_there_is_one_and_the_one_that_comes_in_exchange_afterwards() -> None:
    kept: list[Grant] = []

    async def keep(grant: Grant) -> None:
        kept.append(grant)

    async with place({"refresh_token": "refresh-0"}) as here:
        here.issuer.refreshes = True
        here.tokens = Tokens(USER, here.tokens.grant, CA_PEM, keep)
        for _ in range(2):
            await here.enter()
            here.tokens.drop(await here.tokens.current())
        assert [(form["grant_type"], form["refresh_token"]) for form in here.issuer.asked] == [
            ("refresh_token", "refresh-0"), ("refresh_token", "refresh-1")]
        assert [one.refresh_token for one in kept] == ["refresh-1", "refresh-2"]


async def test_sessions_share_a_token_and_one_asks_for_all() -> None:
    async with place() as here:
        await asyncio.gather(*(here.enter() for _ in range(8)))
        await here.enter()
        assert len(here.issuer.asked) == 1


@pytest.mark.parametrize(("life_s", "asked"), [
    (3600, 1), ("3600", 1), (0, 3), (-5, 3), (None, 1), ("soon", 1), (10**400, 1), ([], 1)], ids=lambda one: str(one)[:8])
async def test_a_token_is_kept_until_shortly_before_its_end(life_s: object, asked: int) -> None:
    async with place() as here:
        here.issuer.life_s = life_s
        for _ in range(3):
            await here.enter()
        assert len(here.issuer.asked) == asked


async def test_it_is_got_anew_a_minute_before_its_end_or_after_half_of_a_short_life() -> None:
    async with place() as here:
        loop = asyncio.get_running_loop()
        for life_s, kept_s in ((3600, 3540), (60, 30)):
            here.issuer.life_s = life_s
            token = await here.tokens.current()
            assert kept_s - 5 < token.good_until - loop.time() <= kept_s
            here.tokens.drop(token)


async def test_a_token_that_was_taken_back_is_got_anew_once_and_mail_goes_on() -> None:
    async with place() as here:
        await here.enter()
        here.sandbox.tokens.clear()
        await here.enter()
        assert len(here.issuer.asked) == 2


async def test_a_token_that_the_gateway_does_not_take_is_refused_in_its_own_words_after_one_try() -> None:
    async with place() as here:
        here.issuer.user = "somebody-else"
        error = await here.fails()
        assert isinstance(error, GatewayRefused)
        assert (error.phase, error.verdict, error.reply.code) == (Phase.AUTH, Verdict.GATEWAY_FAULT, 535)
        assert "refused the access token: “535 5.7.8 Authentication credentials invalid” (status 401, schemes " in str(error)
        assert len(here.issuer.asked) == 1
        await here.fails()
        assert len(here.issuer.asked) == 2, "it is not kept: rights that are mended show only in a new one"


async def test_a_gateway_that_says_not_now_to_a_token_costs_none() -> None:
    script = Script(auth=Answer(temporary=1, temporary_reply="454 4.7.0 Temporary authentication failure"))
    async with place(script=script) as here:
        for _ in range(2):
            assert (await here.fails()).verdict is Verdict.THROTTLED
        assert len(here.issuer.asked) == 1


@pytest.mark.parametrize(("answer", "words", "verdict"), [
    ((400, b'{"error": "invalid_grant", "error_description": "AADSTS70008: The refresh token\\r\\nhas expired."}'),
     "refused with 400, “invalid_grant: AADSTS70008: The refresh token has expired.”", Verdict.GATEWAY_FAULT),
    ((401, json.dumps({"error": "invalid_client", "error_description": f"got {SECRET} and {LONG}"}).encode()),
     "refused with 401, “invalid_client: got ******** and ", Verdict.GATEWAY_FAULT),
    ((400, b'{"error": "x", "error_description": "' + b"y" * 2000 + b'"}'), "refused with 400, “x: " + "y" * 300 + "”",
     Verdict.GATEWAY_FAULT),
    ((400, b'{"error": "\\u001b[31m", "error_description": 7}'), "refused with 400, “\\x1b[31m”", Verdict.GATEWAY_FAULT),
    ((503, b"<html>busy"), "refused with 503 and no words", Verdict.THROTTLED),
    ((429, b'{"error": "slow_down"}'), "refused with 429, “slow_down”", Verdict.THROTTLED),
    ((302, b""), "refused with 302 and no words", Verdict.GATEWAY_FAULT),
    ((200, b"not JSON"), "refused with 200 and no words", Verdict.GATEWAY_FAULT),
    ((200, b"[" * 60_000), "refused with 200 and no words", Verdict.GATEWAY_FAULT),
    ((200, b"{}"), "no access token that can be used", Verdict.GATEWAY_FAULT),
    ((200, b'{"access_token": 7}'), "no access token that can be used", Verdict.GATEWAY_FAULT),
    ((200, b'{"access_token": "a b"}'), "no access token that can be used", Verdict.GATEWAY_FAULT),
    ((200, b'{"access_token": "a\\u0001auth=x"}'), "no access token that can be used", Verdict.GATEWAY_FAULT),
    ((200, b'{"access_token": "' + b"a" * 9_000 + b'"}'), "no access token that can be used", Verdict.GATEWAY_FAULT),
    ((200, b'{"access_token": "abc", "token_type": "mac"}'), "no bearer token", Verdict.GATEWAY_FAULT),
    ((200, b" " * 65_537), "more than a token", Verdict.GATEWAY_FAULT),
])
async def test_what_a_token_endpoint_refuses_is_told_in_its_words_bounded_and_without_a_secret(
        answer: tuple[int, bytes], words: str, verdict: Verdict) -> None:
    async with place({"refresh_token": LONG}) as here:
        here.issuer.answer = answer
        error = await here.fails()
        assert isinstance(error, GatewayUnreachable)
        assert (error.phase, error.verdict) == (Phase.AUTH, verdict)
        assert "its token endpoint, localhost:" in str(error)
        assert words in str(error)
        assert len(str(error)) < 600
        assert here.sandbox.connections_total == 0


async def test_a_token_endpoint_that_is_silent_away_or_nobody_that_is_known_is_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(oauth, "WITHIN_S", 0.3)
    async with place() as here:
        here.issuer.silent = True
        error = await here.fails()
        assert "no answer within 0.3 seconds" in str(error)
        here.tokens = Tokens(USER, here.tokens.grant)
        unknown = await here.fails()
        assert "does not prove who it is (unable to get local issuer certificate)" in str(unknown)
        assert unknown.verdict is Verdict.GATEWAY_FAULT
    away = await here.fails()
    assert "cannot be reached" in str(away)
    assert error.verdict is away.verdict is Verdict.THROTTLED


async def test_who_gives_up_waiting_for_a_token_takes_it_from_nobody_else() -> None:
    async with place() as here:
        waiting = asyncio.create_task(here.tokens.current())
        await asyncio.sleep(0)
        other = asyncio.create_task(here.tokens.current())
        waiting.cancel()
        assert (await other).value.startswith(LONG)
        assert len(here.issuer.asked) == 1


@pytest.mark.parametrize("offer", [b"AUTH PLAIN LOGIN", b"8BITMIME"])
async def test_a_gateway_without_such_a_login_is_told_with_what_it_offers(offer: bytes) -> None:
    async with place() as here, Scripted((*opening(offer), HearNothing())) as server:
        with pytest.raises(GatewayUnreachable, match="XOAUTH2 or OAUTHBEARER") as caught:
            await open_session(local_endpoint("127.0.0.1", server.port, "none", USER, tokens=here.tokens))
        assert caught.value.verdict is Verdict.GATEWAY_FAULT


def short(token: str = "abc") -> bytes:
    return base64.b64encode(f"user={USER}\1auth=Bearer {token}\1\1".encode())


async def test_a_short_token_goes_with_the_command_and_a_long_one_when_it_is_asked_for() -> None:
    """A command has 512 octets at most (RFC 4954, 4)."""
    for token in ("abc", "a" * 900):
        answer = json.dumps({"access_token": token}).encode()
        at_once = len(token) < 300
        first = (Hear(b"AUTH XOAUTH2 " + short(token) + b"\r\n"),) if at_once else (
            Hear(b"AUTH XOAUTH2\r\n"), Say(b"334 \r\n"), Hear(short(token) + b"\r\n"))
        async with place() as here, Scripted((*opening(b"AUTH XOAUTH2"), *first, Say(b"235 in\r\n"), Hear(b"QUIT\r\n"),
                                              Say(b"221 bye\r\n"))) as server:
            here.issuer.answer = 200, answer
            session = await open_session(local_endpoint("127.0.0.1", server.port, "none", USER, tokens=here.tokens))
            await session.close()


@pytest.mark.parametrize("form", [LONG.encode(), base64.b64encode(LONG.encode()), base64.b64encode(b"x" + LONG.encode()),
                                  base64.b64encode(b"user=x\1auth=Bearer " + LONG.encode() + b"\1\1"), LONG[200:260].encode(),
                                  base64.urlsafe_b64encode(LONG.encode()).upper()])
@pytest.mark.parametrize("challenged", [True, False])
async def test_a_gateway_that_repeats_the_token_is_told_without_it(form: bytes, challenged: bool) -> None:
    answer = json.dumps({"access_token": LONG}).encode()
    refusal = ((Say(b"334 " + base64.b64encode(b'{"status": "401", "token": "' + form + b'"}') + b"\r\n"), Hear(b"\r\n"))
               if challenged else ())
    lines = b"".join(b"535-5.7.8 " + form[at:at + 900] + b"\r\n" for at in range(0, len(form), 900))
    script = (*opening(b"AUTH XOAUTH2"), Hear(b"AUTH XOAUTH2\r\n"), Say(b"334 \r\n"), Hear(short(LONG) + b"\r\n"), *refusal,
              Say(lines + b"535 5.7.8 no\r\n"), HearNothing())
    async with place() as here, Scripted(script) as server:
        here.issuer.answer = 200, answer
        with pytest.raises(GatewayRefused) as caught:
            await open_session(local_endpoint("127.0.0.1", server.port, "none", USER, tokens=here.tokens))
        assert not gives_away(str(caught.value))
        assert "********" in str(caught.value)
        assert ("status 401" in str(caught.value)) == challenged


@pytest.mark.parametrize("challenge", [b"not base64!", base64.b64encode(b"no JSON"), base64.b64encode(b"[1]"), b"",
                                       base64.b64encode(b"\xff\x1b[31m"), base64.b64encode(b"[" * 9_000)[:8_000]])
async def test_a_challenge_that_says_nothing_to_a_program_is_told_as_far_as_it_is_text(challenge: bytes) -> None:
    script = (*opening(b"AUTH XOAUTH2"), Hear(b"AUTH XOAUTH2 " + short() + b"\r\n"), Say(b"334 " + challenge + b"\r\n"),
              Hear(b"\r\n"), Say(b"535 5.7.8 no\r\n"), HearNothing())
    async with place() as here, Scripted(script) as server:
        here.issuer.answer = 200, b'{"access_token": "abc"}'
        with pytest.raises(GatewayRefused, match=r"refused the access token: “535 5\.7\.8 no”") as caught:
            await open_session(local_endpoint("127.0.0.1", server.port, "none", USER, tokens=here.tokens))
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 600


async def test_a_gateway_that_lets_in_after_it_refused_is_not_believed() -> None:
    script = (*opening(b"AUTH XOAUTH2"), Hear(b"AUTH XOAUTH2 " + short() + b"\r\n"), Say(b"334 e30=\r\n"), Hear(b"\r\n"),
              Say(b"235 in\r\n"), HearNothing())
    async with place() as here, Scripted(script) as server:
        here.issuer.answer = 200, b'{"access_token": "abc"}'
        with pytest.raises(GatewayUnreachable, match="no answer to a token that was refused"):
            await open_session(local_endpoint("127.0.0.1", server.port, "none", USER, tokens=here.tokens))


@pytest.mark.parametrize(("changes", "field"), [
    ({"token_url": "http://login.example/token"}, "token_url"), ({"token_url": "https://"}, "token_url"),
    ({"token_url": "https://user:pw@login.example/token"}, "token_url"), ({"token_url": "https://login.example/#x"}, "token_url"),
    ({"token_url": "https://login.example:99999/"}, "token_url"), ({"token_url": "https://login.example/ x"}, "token_url"),
    ({"token_url": "https://[::1/"}, "token_url"), ({"client_id": ""}, "client_id"), ({"client_id": "a\nb"}, "client_id"),
    ({"client_secret": None}, "client_secret"), ({"client_secret": "a\0b"}, "client_secret"),
    ({"refresh_token": "x" * 8_193}, "refresh_token"), ({"scope": "a\tb"}, "scope")])
def test_what_no_token_can_be_asked_for_with_is_refused_when_it_is_given(changes: dict[str, str | None], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Grant(**{"token_url": "https://login.example/token", "client_id": "a", "client_secret": "b", **changes})
    assert [one.field for one in refused.value.faults] == [field]


def test_no_secret_is_in_what_is_printed_of_a_grant() -> None:
    assert SECRET not in repr(Grant("https://login.example/token", "a", SECRET, SECRET))
