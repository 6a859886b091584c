"""`postroom domain`: what it prints can be pasted into a zone, and what it checks is what DNS has."""

from __future__ import annotations

import json

import dns.zone
import pytest
from typer.testing import CliRunner

from name_server import Zone, name_server
from postroom.doors.cli.main import app
from stage import Stage

from .test_cli import one_sentence


def zone_of(printed: str) -> Zone:
    """The TXT records of a zone file, as a DNS server reads it."""
    zone = dns.zone.from_text(printed, origin="club.example", relativize=False, check_origin=False)
    return {name.to_text(omit_final_dot=True): [b"".join(one.strings).decode() for one in rdataset]
            for name, rdataset in zone.iterate_rdatasets("TXT")}


@pytest.mark.parametrize("command", ["add", "list", "check"])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, ["domain", command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


async def test_from_adding_a_domain_to_a_check_that_finds_it_right(stage: Stage, cli) -> None:
    await stage.account()
    added = await cli("domain", "add", "Club.example")
    assert added.status == 0
    zone = zone_of(f"$TTL 3600\n{added.out}")
    assert len(zone) == 4
    async with name_server(zone) as server:
        ended = await cli("domain", "check", "--nameserver", server.address)
        assert ended.status == 0
        assert "error" not in ended.out
        assert ended.out.count("ok      DKIM") == 3
        told = json.loads((await cli("domain", "check", "club.example", "--nameserver", server.address, "--json")).out)
    assert {finding["level"] for finding in told["findings"]} == {"ok"}


async def test_an_error_is_told_with_what_to_publish_and_ends_with_1(stage: Stage, cli) -> None:
    await stage.account()
    added = json.loads((await cli("domain", "add", "club.example", "--algorithm", "ed25519", "--json")).out)
    assert added["domain"] == "club.example"
    [record] = added["dkim"]
    async with name_server({}) as server:
        ended = await cli("domain", "check", "--nameserver", server.address)
    assert ended.status == 1
    assert f"error   DKIM {record['name']}: The key is not published. Publish: {record['line']}" in ended.out
    assert [line.split()[0] for line in ended.out.splitlines()] == ["error"] * 3


async def test_the_keys_are_listed_without_their_private_half(stage: Stage, cli) -> None:
    await stage.account()
    assert "postroom domain add" in (await cli("domain", "list")).out
    await cli("domain", "add", "bücher.example")
    listed = json.loads((await cli("domain", "list", "--json")).out)
    assert [(key["domain"], key["algorithm"]) for key in listed] == [
        ("xn--bcher-kva.example", "rsa-sha256"), ("xn--bcher-kva.example", "ed25519-sha256")]
    assert set(listed[0]) == {"domain", "selector", "algorithm", "public_key", "created_at"}
    assert listed[0]["selector"] in (await cli("domain", "list")).out


async def test_what_is_wrong_is_said_in_a_sentence(stage: Stage, cli) -> None:
    await stage.account()
    refused = await cli("domain", "add", "club")
    assert refused.status == 2
    one_sentence(refused, "no dot")
    assert (await cli("domain", "check")).status == 1
    await cli("domain", "add", "club.example", "--algorithm", "ed25519")
    again = await cli("domain", "add", "CLUB.example")
    assert again.status == 1
    one_sentence(again, "already", "postroom domain check club.example")
    one_sentence(await cli("domain", "check", "school.example"), "does not send from school.example")
    assert (await cli("domain", "check", "--nameserver", "127.0.0.1:many")).status == 2
