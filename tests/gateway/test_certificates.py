"""Whose certificates vouch for a gateway, and what is said where one proves nothing. Every handshake is a real one."""

from __future__ import annotations

import ssl

import pytest
import trustme

from authorities import DAY, NOW, made, serving
from loopback import local_endpoint
from postroom.errors import InvalidInput
from postroom.gateway.certificates import Authority, authorities
from postroom.gateway.replies import Verdict
from postroom.gateway.sandbox.server import Sandbox
from postroom.gateway.session import GatewayUnreachable, open_session

ROOT = made("Club Root", ca=True)
MIDDLE = made("Club Mail CA", ROOT, ca=True)
SERVER = made("mail.club.example", MIDDLE, ca=False, names=("localhost", "mail.club.example"))
ALONE = made("localhost", names=("localhost",))


@pytest.fixture(params=[True, False], ids=["implicit", "starttls"])
def implicit(request) -> bool:
    return request.param


async def opened(context: ssl.SSLContext, own: str | None, implicit: bool, host: str = "localhost") -> str:
    """"": it was opened; else why not."""
    async with Sandbox(tls=context, implicit_tls=implicit) as sandbox:
        endpoint = local_endpoint(host, sandbox.port, "implicit" if implicit else "starttls", ca_certificates=own)
        try:
            await (await open_session(endpoint)).close()
        except GatewayUnreachable as unreachable:
            error = unreachable
        else:
            return ""
        assert error.verdict is Verdict.GATEWAY_FAULT
        assert str(error).startswith(f"The gateway {host}:{sandbox.port} cannot be used: its certificate (of “")
        return str(error)


@pytest.mark.parametrize(("shown", "own"), [
    ((SERVER, MIDDLE), ROOT.pem), ((SERVER,), MIDDLE.pem), ((SERVER, MIDDLE), MIDDLE.pem), ((ALONE,), ALONE.pem),
    ((SERVER, MIDDLE), ALONE.pem + "a comment\n" + ROOT.pem)],
    ids=["its root", "the one that signed it", "an intermediate one", "one signed by itself", "one of several"])
async def test_a_gateway_is_known_by_its_own_ca_through_either_kind_of_tls(tmp_path, shown, own: str, implicit: bool) -> None:
    assert await opened(serving(*shown), authorities(own)[1], implicit) == ""


async def test_without_its_ca_it_is_said_who_issued_its_certificate_and_what_to_do(tmp_path, implicit: bool) -> None:
    said = await opened(serving(SERVER, MIDDLE), None, implicit)
    assert "of “mail.club.example”, issued by “Club Mail CA”" in said
    assert "nobody whom this machine trusts" in said
    assert "postroom gateway set --ca-file" in said


async def test_with_the_ca_of_somebody_else_it_is_said_whose_that_is(tmp_path, implicit: bool) -> None:
    said = await opened(serving(SERVER, MIDDLE), ALONE.pem, implicit)
    assert "not vouched for by its own CA certificates, those of “CN=localhost”" in said
    assert "postroom gateway set --ca-file" in said


async def test_its_own_ca_takes_the_place_of_the_machines(tmp_path, monkeypatch) -> None:
    from postroom.gateway.certificates import context_for

    (tmp_path / "ca.pem").write_text(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context_for.cache_clear()
    try:
        assert await opened(serving(SERVER, MIDDLE), None, True) == "", "SSL_CERT_FILE is the machine's"
        assert "not vouched for" in await opened(serving(SERVER, MIDDLE), ALONE.pem, True)
    finally:
        context_for.cache_clear()


async def test_a_certificate_for_another_name_is_told_with_the_names_that_it_is_for(tmp_path, implicit: bool) -> None:
    names = tuple(f"mx{n}.club.example" for n in range(7))
    said = await opened(serving(made("mx", ROOT, names=names)), ROOT.pem, implicit)
    assert f"is for {', '.join(names[:5])} and 2 more, and not for localhost; give the gateway a name" in said
    nameless = await opened(serving(made("mx", ROOT)), ROOT.pem, implicit)
    assert "is for no name, and not for localhost" in nameless
    numbered = await opened(serving(SERVER, MIDDLE), ROOT.pem, implicit, "127.0.0.1")
    assert "is for localhost, mail.club.example, and not for 127.0.0.1" in numbered


@pytest.mark.parametrize(("begins", "ends"), [(NOW - 9 * DAY, NOW - DAY), (NOW + DAY, NOW + 9 * DAY)])
async def test_a_certificate_that_is_out_of_date_is_told_with_its_dates(tmp_path, begins, ends, implicit: bool) -> None:
    said = await opened(serving(made("mx", ROOT, names=("localhost",), begins=begins, ends=ends)), ROOT.pem, implicit)
    assert f"good from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}, or one that it depends on, is out of date" in said


async def test_what_a_certificate_calls_itself_cannot_steer_a_terminal(tmp_path) -> None:
    said = await opened(serving(made("a\x1b[31m\r\nb", names=("localhost",))), None, True)
    assert said.isprintable()


@pytest.mark.parametrize(("pem", "why"), [
    ("", "cannot be read"), ("nonsense", "cannot be read"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "cannot be read"), (ROOT.pem[:-60], "cannot be read"), ("\ufffd" * 10, "cannot be read"),
    (ROOT.pem + ROOT.key_pem, "private key"), (ROOT.pem * 21, "at most 20"), ("x" * 65_537, "larger than 64 KiB"),
    (SERVER.pem, "Give the one of its issuer, “CN=Club Mail CA”"), (ROOT.pem + SERVER.pem, "vouches for no other"),
])  # fmt: skip
def test_what_cannot_vouch_for_a_gateway_is_refused_when_it_is_given(pem: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        authorities(pem)
    assert [one.field for one in refused.value.faults] == ["ca_certificates"]


def test_nothing_but_the_certificates_is_kept() -> None:
    every, kept = authorities("subject=CN = Club Root\n" + ROOT.pem + "\nmore\n" + ALONE.pem)
    assert [one.name for one in every] == ["CN=Club Root", "CN=localhost"]
    assert kept == ROOT.pem + ALONE.pem


def test_an_authority_of_the_kind_that_tests_have_is_taken() -> None:
    assert len(authorities(trustme.CA().cert_pem.bytes().decode())[0]) == 1


def test_the_end_of_a_certificate_is_warned_of_a_month_before() -> None:
    for days, words in ((31, None), (29, "ends on"), (-1, "ended on")):
        warning = Authority("Club Root", NOW + days * DAY).warning(NOW)
        assert (warning is None) if words is None else f"“Club Root” {words}" in (warning or "")
