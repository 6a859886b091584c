"""The command line: opt-outs listed, looked up, added and removed, deliberately and with a reason."""

from __future__ import annotations

import json
from pathlib import Path

from stage import Stage

from .command import in_terminal
from .test_cli import one_sentence


async def test_opt_outs_are_listed_and_looked_up_with_who_and_why(stage: Stage, cli) -> None:
    await stage.account()
    assert (await cli("suppressions", "list")).out == "Nobody is suppressed.\n"
    await cli("suppress", "b@x.example", "a@x.example", "--reason", "Asked by \x1b[2Jletter")
    await cli("suppressions", "add", "c@x.example")
    listed = json.loads((await cli("suppressions", "list", "--json")).out)
    assert [(one["address"], one["reason"]) for one in listed] == [
        ("a@x.example", "Asked by \x1b[2Jletter"), ("b@x.example", "Asked by \x1b[2Jletter"), ("c@x.example", "Opted out.")]
    assert listed[0]["by"].startswith("cli")
    first = await cli("suppressions", "list", "--limit", "1")
    assert "There are more: --after a@x.example" in first.err
    assert "\x1b" not in first.out
    assert "b@x.example" in (await cli("suppressions", "list", "--limit", "1", "--after", "a@x.example")).out
    shown = await cli("suppressions", "show", "A@X.example")
    assert (shown.status, "a@x.example is suppressed since" in shown.out) == (0, True)
    unknown = await cli("suppressions", "show", "d@x.example")
    assert (unknown.status, unknown.out) == (1, "d@x.example is not suppressed.\n")


async def test_none_is_removed_without_a_reason_and_a_yes(stage: Stage, cli) -> None:
    await stage.account()
    await cli("suppress", "a@x.example", "--reason", "Asked by letter")
    assert (await cli("suppressions", "remove", "a@x.example")).status == 2
    one_sentence(await cli("suppressions", "remove", "a@x.example", "--reason", "Again"), "Asked by letter",
                 "mails this person again", "To do it: --yes.")
    one_sentence(await cli("suppressions", "remove", "b@x.example", "--reason", "Again"), "is not suppressed")
    assert (await cli("suppressions", "remove", "a@x.example", "--reason", "Signed up again", "--yes")).out == (
        "a@x.example may be mailed again.\n")
    told = json.loads((await cli("suppressions", "show", "a@x.example", "--json")).out)
    assert told["suppression"] is None
    assert [(one["verb"], one["reason"]) for one in told["trail"]] == [
        ("suppress", "Asked by letter"), ("lift", "Signed up again")]


async def test_in_a_terminal_it_says_what_it_means_and_asks(stage: Stage, cli, home: Path, url_settings: dict[str, str]) -> None:
    await stage.account()
    await cli("suppress", "a@x.example", "--reason", "Asked by letter")
    for answer, status in (("n\n", 1), ("y\n", 0)):
        async with in_terminal(home, "suppressions", "remove", "a@x.example", "--reason", "Again", **url_settings) as terminal:
            await terminal.until("Lift it?")
            terminal.type(answer)
            assert await terminal.ended() == status
        assert "mails this person again" in " ".join(terminal.said.split())
        assert (await cli("suppressions", "show", "a@x.example")).status == 1 - status
