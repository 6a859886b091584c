"""The command line: accounts, gateways, sending domains and contacts are deleted, or it says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acting import acting
from postroom.errors import NotFound
from postroom.flow.account.accounts import find_account
from postroom.flow.job.finish import cancel
from stage import Stage

from .command import in_terminal
from .test_cli import one_sentence


async def test_an_account_is_deleted_by_its_name_typed_once_more(stage: Stage, cli) -> None:
    account = await stage.account("The Club", threshold=2)
    await stage.account("School")
    job = await stage.submit(account, 3)
    one_sentence(await cli("account", "delete", "The Club"), "1 job, 3 recipients, 0 contacts", '--yes "The Club"')
    one_sentence(await cli("account", "delete", "The Club", "--yes", "Club"), 'give its name as it is: "The Club"')
    one_sentence(await cli("account", "delete", "The Club", "--yes", "The Club"), f"job {job.id} (Pending approval)", "cancel")
    one_sentence(await cli("account", "delete", "Nobody", "--yes", "Nobody"), "no account named")
    await cancel(stage.pool, acting(account, "boss"), job.id)
    ended = await cli("account", "delete", "The Club", "--yes", "The Club", "--json")
    assert json.loads(ended.out)["deleted"]["recipients"] == 3
    assert [one["name"] for one in json.loads((await cli("account", "list", "--json")).out)] == ["School"]


async def test_in_a_terminal_it_says_what_goes_and_asks_for_the_name(stage: Stage, home: Path, url_settings) -> None:
    await stage.account("The Club")
    for typed, status in (("club\n", 2), ("The Club\n", 0)):
        async with in_terminal(home, "account", "delete", "The Club", **url_settings) as terminal:
            await terminal.until("Type the account's name")
            assert "1 gateway," in " ".join(terminal.said.split())
            terminal.type(typed)
            assert await terminal.ended() == status
    with pytest.raises(NotFound):
        await find_account(stage.pool, "The Club")


async def test_a_gateway_a_domain_and_a_contact_are_deleted(stage: Stage, cli, tmp_path: Path) -> None:
    account = await stage.account()
    await stage.gateway(account, "spare")
    (tmp_path / "list.csv").write_text("email\nann@x.example\n")
    await cli("contacts", "import", str(tmp_path / "list.csv"))
    await cli("domain", "add", "club.example", "--algorithm", "ed25519")
    assert (await cli("gateway", "delete", "spare")).out == "The gateway spare is deleted.\n"
    assert (await cli("domain", "delete", "club.example")).out == "The sending domain club.example is deleted.\n"
    assert json.loads((await cli("contacts", "delete", "ANN@x.example", "--json")).out) == {"deleted": "ANN@x.example"}
    one_sentence(await cli("gateway", "delete", "spare"), 'no gateway named "spare"')
    one_sentence(await cli("domain", "delete", "club.example"), "is no sending domain of this account")
    one_sentence(await cli("contacts", "delete", "ann@x.example"), "is no contact of this account")
    await stage.submit(account, 1)
    one_sentence(await cli("gateway", "delete", "main"), "is needed by job")
