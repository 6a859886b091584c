"""As whom the processes run that root starts: who it is, what that user is given of the home, and when root stays root."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from postroom.errors import Unavailable
from postroom.ledger.database import system_user
from postroom.ledger.database.system_user import SYSTEM_USER, SystemUser, hand_over, runs_as

MODULES = "json"

root_alone = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")


@pytest.fixture
def place(server_home: Path) -> Path:
    server_home.mkdir(mode=0o711)
    return server_home


async def user() -> SystemUser:
    chosen = await SystemUser.choose(None)
    assert chosen is not None
    return chosen


@root_alone
async def test_root_s_processes_run_as_the_user_postroom_or_as_the_data_s_owner(place: Path) -> None:
    found = await runs_as(place, None, SYSTEM_USER, MODULES)
    assert (found.user, found.is_wrong, found.told) == (await user(), False, "Web and workers run as postroom.")
    (data := place / "pgdata").mkdir()
    os.chown(data, 54_321, 54_321)
    found = await runs_as(place, data, SYSTEM_USER, MODULES)
    assert found.user == SystemUser("54321", 54_321, 54_321)


@root_alone
async def test_root_stays_root_and_says_why_where_that_user_cannot_work(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (closed := place / "closed").mkdir(mode=0o700)
    found = await runs_as(closed, None, SYSTEM_USER, MODULES)
    assert (found.user, found.is_wrong) == (None, True)
    assert f"because postroom cannot enter {closed}" in found.told
    assert (await runs_as(closed / "not" / "yet", None, SYSTEM_USER, MODULES)).is_wrong
    found = await runs_as(place, None, SYSTEM_USER, "no_such_module")
    assert (found.user, found.is_wrong) == (None, True)
    assert "No module named 'no_such_module'" in found.told
    monkeypatch.setattr(sys, "executable", str(closed / "python"))
    assert "cannot use" in (await runs_as(place, None, SYSTEM_USER, MODULES)).told


async def test_whoever_is_told_to_stay_root_or_is_nobody_special_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    found = await runs_as(place, None, SYSTEM_USER, MODULES)
    assert (found.user, found.is_wrong, found.told) == (None, False, "Web and workers run as 4000000, who starts them.")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert (await runs_as(place, None, "root", MODULES)).is_wrong
    for may_create in (True, False):
        with pytest.raises(Unavailable, match="There is no user 'nobody-of-that-name'"):
            await runs_as(place, None, "nobody-of-that-name", MODULES, may_create=may_create)
    monkeypatch.setattr(system_user, "_user", lambda name: None)
    found = await runs_as(place, None, SYSTEM_USER, MODULES, may_create=False)
    assert (found.told, found.is_wrong) == (
        "Web and workers run as the system user postroom, who is made at the first start.", False)


@root_alone
async def test_a_home_that_root_has_made_is_handed_over_and_nothing_that_a_link_leads_to(place: Path) -> None:
    secret = place.parent / "secret"
    secret.write_text("root's own")
    (place / "journal").mkdir(mode=0o700)
    for name in ("secret_key", "pgpassword", "postgres.start.lock", "journal/a.journal", "journal/mark", "somebody's"):
        (place / name).write_text("")
    (place / "journal" / "link").symlink_to(secret)
    os.link(secret, place / "journal" / "second-name")
    hand_over(place, await user())
    uid = (await user()).uid
    for name in ("journal", "secret_key", "pgpassword", "postgres.start.lock", "journal/a.journal", "journal/mark"):
        assert (place / name).stat().st_uid == uid, name
    assert {path.stat().st_uid for path in (place, place / "somebody's", secret)} == {0}


@root_alone
async def test_a_journal_that_is_a_link_hands_nothing_over(place: Path) -> None:
    (elsewhere := place.parent / "elsewhere").mkdir()
    (elsewhere / "shadow").write_text("root's own")
    (place / "journal").symlink_to(elsewhere)
    with pytest.raises(OSError, match="journal"):
        hand_over(place, await user())
    assert (elsewhere / "shadow").stat().st_uid == 0


@root_alone
async def test_a_command_becomes_the_user_with_no_group_of_root_s(place: Path) -> None:
    print_ids = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), os.getcwd())"
    told = await asyncio.create_subprocess_exec(*(await user()).command(sys.executable, "-c", print_ids), stdout=PIPE)
    out, _ = await told.communicate()
    uid, gid = (await user()).uid, (await user()).gid
    assert out.decode().strip() == f"{(uid,) * 3} {(gid,) * 3} [] /"
