"""`postroom gateway`: a CA of its own, a login by token whose secrets are no arguments, and what `check` says of both."""

from __future__ import annotations

import json
import ssl

import pytest

from authorities import DAY, NOW, made, serving
from postroom.gateway.sandbox.server import Sandbox
from stage import Stage
from token_endpoint import AUTHORITY, CA_PEM, SECRET, token_endpoint

USER = "club@club.example"


async def shown(cli) -> dict:
    [gateway] = json.loads((await cli("gateway", "list", "--json")).out)
    return gateway


def finding_of(checked: str) -> dict:
    [finding] = [one for one in json.loads(checked)["findings"] if one["subject"].startswith("gateway")]
    return finding


def one_sentence(ended, words: str) -> None:
    assert ended.status != 0
    assert words in " ".join(ended.err.split()), ended.err


async def test_a_ca_of_its_own_is_given_by_a_file_shown_and_taken_away(stage: Stage, cli, files) -> None:
    await cli("account", "create", "Club")
    made = await cli("gateway", "create", "--host", "smtp.example", "--ca-file", files("ca.pem", "a comment\n" + CA_PEM))
    assert (made.status, made.err) == (0, "")
    [authority] = (await shown(cli))["ca_certificates"]
    assert authority["name"].startswith("OU=")
    ended = await cli("gateway", "set", "--no-ca")
    assert "no login, 0 CA certificates of its own" in ended.out
    assert (await shown(cli))["ca_certificates"] == []
    assert "1 CA certificate of its own" in (await cli("gateway", "set", "--ca-file", files("b.pem", CA_PEM))).out
    assert "yes" in (await cli("gateway", "list")).out


async def test_a_file_that_holds_no_ca_is_refused_in_a_sentence_and_nothing_changes(stage: Stage, cli, files) -> None:
    await cli("account", "create", "Club")
    await cli("gateway", "create", "--host", "smtp.example", "--ca-file", files("ca.pem", CA_PEM))
    before = await shown(cli)
    for text, words in (("nonsense", "cannot be read"), ("", "is empty"), ("x" * 70_000, "larger than 64 KiB")):
        one_sentence(await cli("gateway", "set", "--ca-file", files("bad.pem", text)), words)
    one_sentence(await cli("gateway", "set", "--ca-file", "/nowhere.pem"), "No such file")
    one_sentence(await cli("gateway", "set", "--ca-file", files("c.pem", CA_PEM), "--no-ca"), "either --ca-file or --no-ca")
    one_sentence(await cli("gateway", "set", "--name", "other", "--no-ca"), 'no gateway named "other"')
    one_sentence(await cli("gateway", "set"), "Say what to change")
    assert await shown(cli) == before


async def test_the_end_of_a_ca_is_warned_of_when_it_is_given_and_by_check(stage: Stage, cli, files) -> None:
    await cli("account", "create", "Club")
    root = made("Club Root", ca=True, ends=NOW + 9 * DAY)
    async with Sandbox(tls=serving(made("mx", root, names=("localhost",)))) as sandbox:
        ended = await cli("gateway", "create", "--host", "localhost", "--port", str(sandbox.port), "--security", "starttls",
                          "--ca-file", files("ca.pem", root.pem))
        assert ended.status == 0
        finding = finding_of((await cli("check", "--json")).out)
    assert finding["level"] == "warning"
    for told in (ended.err, finding["told"]):
        assert f"The CA certificate of “CN=Club Root” ends on {NOW + 9 * DAY:%Y-%m-%d}" in " ".join(told.split())


async def test_a_login_by_token_is_set_by_standard_input_tried_by_check_and_never_shown(stage: Stage, cli, files) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    known: dict[str, str] = {}
    async with token_endpoint(known) as issuer, Sandbox(tls=context, tokens=known) as sandbox:
        await cli("account", "create", "Club")
        to = ("--host", "localhost", "--port", str(sandbox.port), "--security", "starttls", "--ca-file", files("ca.pem", CA_PEM))
        by_token = ("--username", USER, "--token-url", issuer.url, "--client-id", "postroom", "--password-stdin")
        made = await cli("gateway", "create", *to, *by_token, stdin=f"{SECRET}\n")
        assert made.status == 0, made.err
        told = [(await cli(*asked)).out for asked in (("check", "--json"), ("gateway", "list", "--json"), ("gateway", "list"))]
        finding = finding_of(told[0])
        assert (finding["level"], "the login is accepted" in finding["told"]) == ("ok", True), finding

        ended = await cli("gateway", "set", *by_token, "--refresh-token", "--scope", "smtp", stdin=f"wr0ng-{SECRET}\nrefresh-7\n")
        assert "a login by token" in ended.out
        told.append((await cli("check", "--json")).out)
        finding = finding_of(told[-1])
        assert finding["level"] == "error"
        assert "invalid_client: Wrong: ********" in finding["told"]
        assert issuer.asked[-1] == {"grant_type": "refresh_token", "client_id": "postroom", "client_secret": f"wr0ng-{SECRET}",
                                    "refresh_token": "refresh-7", "scope": "smtp"}
        ended = await cli("gateway", "set", *by_token, "--refresh-token", "--no-client-secret", stdin="refresh-8\n")
        assert ended.status == 0, ended.err
        assert (await shown(cli))["login"] == "token"
        assert not any(secret in text for secret in (SECRET, "refresh-7") for text in told)


@pytest.mark.parametrize(("options", "words"), [
    (("--client-id", "x"), "give --token-url too"), (("--refresh-token",), "give --token-url too"),
    (("--token-url", "https://login.example/"), "needs a --username"),
    (("--token-url", "http://login.example/", "--username", "u", "--client-id", "x"), "https://"),
    (("--token-url", "https://login.example/", "--username", "u"), "client id"),
    (("--token-url", "https://login.example/", "--username", "u", "--client-id", "x", "--no-client-secret"), "client secret"),
])
async def test_a_login_by_token_that_cannot_be_is_refused_in_plain_words(stage: Stage, cli, options, words: str) -> None:
    await cli("account", "create", "Club")
    one_sentence(await cli("gateway", "create", "--host", "smtp.example", *options, "--password-stdin", stdin="secret\n"), words)
