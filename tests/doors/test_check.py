"""What `postroom check` says of the home, of settings that are none, and of jobs that Postroom holds back."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from acting import acting
from postroom.domain.access import postroom_itself
from postroom.flow.delivery.guard import RESTORED
from postroom.flow.job.pause import pause
from stage import Stage

from .command import here, postroom

Usage = namedtuple("Usage", "total used free")


async def found(home: Path, subject: str, **settings: str) -> list[dict[str, str]]:
    ended = await here(home, "check", "--json", **settings)
    return [one for one in json.loads(ended.out)["findings"] if one["subject"].startswith(subject)]


async def test_it_says_which_home_is_used_whose_it_is_and_how_much_room_it_has(home: Path) -> None:
    [told] = await found(home, "home")
    assert told["level"] == "ok"
    assert str(home) in told["told"]
    assert "POSTROOM_HOME says so" in told["told"]
    assert "are free" in told["told"]
    [told] = await found(home / "not yet", "home")
    assert "it is made at the first start" in told["told"]
    assert not (home / "not yet").exists()


async def test_a_home_that_is_a_file_is_an_error(home: Path) -> None:
    (home / "file").write_text("")
    [told] = await found(home / "file" / "below", "home")
    assert told["level"] == "error"
    assert "is no directory" in told["told"]


@pytest.mark.parametrize("name", ["", "below"])
async def test_a_home_that_may_not_be_written_names_its_owner(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # of root nobody can take it away
    told = (await found(home / name, "home"))[0]
    assert told["level"] == "error"
    assert "may not write there" in told["told"]
    assert "set POSTROOM_HOME" in told["told"]


@pytest.mark.parametrize(("free", "level"), [(500_000_000, "warning"), (50_000_000, "error")])
async def test_a_disk_that_is_nearly_full_is_said(home: Path, free: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))
    last = (await found(home, "home"))[-1]
    assert last["level"] == level
    assert f"Only {free // 1_000_000} MB are free" in last["told"]


async def test_a_second_home_is_said_at_a_start_and_by_check(home: Path) -> None:
    (home / "here" / ".postroom").mkdir(parents=True)
    (home / "data" / "postroom").mkdir(parents=True)
    settings = {"POSTROOM_HOME": "", "XDG_DATA_HOME": str(home / "data")}
    ended = await postroom(home, "check", "--json", cwd=home / "here", **settings)
    told = [one for one in json.loads(ended.out)["findings"] if one["subject"] == "home"]
    assert str(home / "here" / ".postroom") in told[0]["told"]
    assert (told[1]["level"], str(home / "data" / "postroom") in told[1]["told"]) == ("warning", True)


async def test_a_command_that_makes_an_installation_says_where(home: Path) -> None:
    ended = await postroom(home / "new", "account", "create", "Club")
    assert "There is no installation yet, and this makes one." in ended.err
    assert str(home / "new") in ended.err
    assert "installation" not in (await postroom(home / "new", "account", "list")).err


async def test_a_misspelt_setting_is_named(home: Path) -> None:
    [told] = await found(home, "settings", POSTROOM_WORKRES="3")
    assert (told["level"], told["told"]) == (
        "warning", "POSTROOM_WORKRES is no setting, and does nothing. Is POSTROOM_WORKERS meant?")


async def test_every_command_that_opens_an_installation_names_a_misspelt_setting_beside_its_output(home: Path) -> None:
    told = "POSTROM_WORKRES is no setting, and does nothing. Is POSTROOM_WORKERS meant?"
    for command in (["account", "list", "--json"], ["migrate"]):
        ended = await postroom(home, *command, POSTROM_WORKRES="3")
        assert (ended.status, ended.err.count(told), told in ended.out) == (0, 1, False)
        assert "is no setting" not in (await postroom(home, *command)).err


async def test_jobs_that_postroom_paused_by_itself_are_named_with_what_to_do(stage: Stage, cli) -> None:
    account = await stage.account("Club")
    doubted, both, by_hand, over = [(await stage.submit(account, 3)).id for _ in range(4)]
    await pause(stage.pool, acting(account, "ann"), by_hand, reason="Wrong date?")
    await pause(stage.pool, acting(account, "ann"), both, reason="Wrong date?")
    for job_id in (doubted, both, over):
        await pause(stage.pool, postroom_itself(account), job_id, reason=RESTORED)
    await cli("jobs", "cancel", str(over))
    ended = await cli("check", "--json")
    told = {one["subject"]: one for one in json.loads(ended.out)["findings"] if one["subject"].startswith("job")}
    assert list(told) == [f"job {doubted} of Club", f"job {both} of Club"]
    assert ended.status == 1
    for job_id in (doubted, both):
        assert f"postroom jobs resume {job_id}, or postroom jobs cancel {job_id}." in told[f"job {job_id} of Club"]["told"]
        assert "restored from a backup" in told[f"job {job_id} of Club"]["told"]
