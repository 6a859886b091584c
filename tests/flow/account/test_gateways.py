"""A gateway's own CA and its login are changed alone; what is secret of them is sealed, and what comes in exchange is kept."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest

from acting import acting
from loopback import DIALER
from postroom.errors import InvalidInput, NotFound, Unavailable
from postroom.flow.account import accounts, gateways
from postroom.flow.account.deployment import Deployment, NotSetUp, try_gateway
from postroom.flow.account.gateways import Gateway, Grant, Limits, Login
from postroom.flow.account.secrets import SecretBox
from postroom.gateway.sandbox.server import Sandbox
from postroom.ledger.database.db import Pool
from token_endpoint import AUTHORITY, CA_PEM, SECRET, token_endpoint

BOX = SecretBox("test")
USER = "club@club.example"
GRANT = Grant("https://login.example/token", "postroom", SECRET, "refresh-0", "smtp")


async def gateway_with(pool: Pool, **options: object) -> tuple[int, Gateway]:
    account = await accounts.create_account(pool, "Club")
    await gateways.create_gateway(pool, BOX, acting(account.id), **{"name": "main", "host": "smtp.example", **options})
    return account.id, (await gateways.gateways(pool, acting(account.id)))[0]


async def test_what_tokens_are_asked_for_with_is_sealed_and_opens_again(pool: Pool) -> None:
    _, stored = await gateway_with(pool, username=USER, grant=GRANT)
    assert stored.oauth is not None
    assert (stored.username, stored.password) == (USER, None)
    assert not any(text.encode() in stored.oauth for text in (SECRET, "refresh-0", "postroom"))
    assert gateways.opened_grant(BOX, stored.oauth) == GRANT
    with pytest.raises(Unavailable, match="another POSTROOM_SECRET_KEY"):
        gateways.opened_grant(SecretBox("another"), stored.oauth)
    with pytest.raises(NotSetUp, match="another POSTROOM_SECRET_KEY"):
        Deployment(SecretBox("another"), helo_name="worker.example").endpoint(stored)


@pytest.mark.parametrize(("options", "field"), [
    ({"grant": GRANT}, "password"), ({"grant": GRANT, "username": USER, "password": "p"}, "password"),
    ({"grant": GRANT, "username": "a\1b"}, "username"), ({"ca_certificates": "nonsense"}, "ca_certificates")])
async def test_a_login_or_a_ca_that_cannot_be_is_refused(pool: Pool, options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await gateway_with(pool, **options)
    assert [one.field for one in refused.value.faults] == [field]


async def test_a_ca_and_a_login_are_changed_and_everything_else_stays(pool: Pool) -> None:
    account, before = await gateway_with(pool, username=USER, password="old", connections=3, signs_dkim=True,
                                         limits=Limits(messages_per_s=2.5, daily_quota=7))
    changed = await gateways.change_gateway(pool, BOX, acting(account), "main", ca_certificates="a comment\n" + CA_PEM)
    assert changed == replace(before, ca_certificates=CA_PEM)
    by_token = await gateways.change_gateway(pool, BOX, acting(account), "main", login=Login("other@club.example", grant=GRANT))
    assert by_token == replace(changed, username="other@club.example", password=None, oauth=by_token.oauth)
    by_password = await gateways.change_gateway(pool, BOX, acting(account), "main", ca_certificates="", login=Login(USER, "new"))
    assert by_password == replace(before, password=by_password.password)
    assert BOX.open(by_password.password or b"") == "new"
    unsigned = await gateways.change_gateway(pool, BOX, acting(account), "main", signs_dkim=False)
    assert unsigned == replace(by_password, signs_dkim=False)
    assert await gateways.gateways(pool, acting(account)) == [unsigned]


async def test_what_is_no_gateway_of_the_account_is_not_changed(pool: Pool) -> None:
    account, before = await gateway_with(pool)
    other = await accounts.create_account(pool, "School")
    for of, name in ((account, "other"), (other.id, "main")):
        with pytest.raises(NotFound, match="no gateway named"):
            await gateways.change_gateway(pool, BOX, acting(of), name, ca_certificates=CA_PEM)
    with pytest.raises(InvalidInput):
        await gateways.change_gateway(pool, BOX, acting(account), "main", ca_certificates=CA_PEM, login=Login(USER, "nul\0"))
    assert await gateways.gateways(pool, acting(account)) == [before]


async def test_a_refresh_token_that_comes_in_exchange_is_there_for_others_and_replaces_no_mended_login(pool: Pool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    known: dict[str, str] = {}
    async with token_endpoint(known) as issuer, Sandbox(tls=context, tokens=known) as sandbox:
        issuer.refreshes = True
        account, stored = await gateway_with(
            pool, host="localhost", port=sandbox.port, security="starttls", username=USER, ca_certificates=CA_PEM,
            grant=Grant(issuer.url, "postroom", SECRET, "refresh-0"))

        async def refresh_token() -> str | None:
            (now,) = await gateways.gateways(pool, acting(account))
            return gateways.opened_grant(BOX, now.oauth or b"").refresh_token

        one, another = (Deployment(BOX, helo_name="worker.example", allowed=DIALER.allowed, pool=pool) for _ in range(2))
        endpoint = one.endpoint(stored)
        for n in (1, 2):
            await try_gateway(endpoint)
            assert await refresh_token() == f"refresh-{n}"
            assert endpoint.tokens is not None
            endpoint.tokens.drop(await endpoint.tokens.current())
        (now,) = await gateways.gateways(pool, acting(account))
        await try_gateway(another.endpoint(now))
        assert issuer.asked[-1]["refresh_token"] == "refresh-2"
        assert one.endpoint(now).tokens is endpoint.tokens, "one asks for all the jobs of a process"
        endpoint.tokens.drop(await endpoint.tokens.current())

        await gateways.change_gateway(pool, BOX, acting(account), "main",
                                      login=Login(USER, grant=replace(GRANT, refresh_token="mended")))
        await try_gateway(endpoint)
        assert await refresh_token() == "mended"
