"""Which home a start finds, and what is said of variables that are no settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postroom import config
from postroom.config import SYSTEM_HOME, find_home, misspelt, read_settings
from postroom.errors import InvalidInput


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whose data is kept below `tmp_path`, at a directory in which nothing is, and no checkout."""
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(config, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path


def data_of(place: Path) -> dict[str, str]:
    return {"XDG_DATA_HOME": str(place / "data")}


def test_two_starts_in_different_directories_find_the_same_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_settings(data_of(place)).home
    monkeypatch.chdir("/")
    assert read_settings(data_of(place)).home == first == place / "data" / "postroom"


def test_a_user_s_data_is_below_its_home_and_root_s_where_others_may_pass(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find_home({}).path == place / "user" / ".local" / "share" / "postroom"
    assert find_home({"XDG_DATA_HOME": "relative"}).path == place / "user" / ".local" / "share" / "postroom"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_home({}).path == SYSTEM_HOME


def test_whoever_has_no_home_directory_is_told_what_to_set(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    monkeypatch.delenv("HOME")
    with pytest.raises(InvalidInput, match=r"no home directory.*set POSTROOM_HOME"):
        read_settings({})
    assert read_settings({"POSTROOM_HOME": "/srv/mail", "POSTROOM_PORT": "80"}).home == Path("/srv/mail")


@pytest.mark.parametrize("where", ["here", "checkout"])
def test_a_home_of_before_goes_on_being_used_and_another_one_is_named(place: Path, where: str) -> None:
    (before := place / where / ".postroom").mkdir(parents=True)
    assert find_home(data_of(place)).path == before
    assert find_home(data_of(place)).others == ()
    (users := place / "data" / "postroom").mkdir(parents=True)
    assert find_home(data_of(place)).path == before
    assert find_home(data_of(place)).others == (users,)
    named = find_home(data_of(place) | {"POSTROOM_HOME": str(users)})
    assert (named.path, named.others) == (users, ())


def test_what_somebody_else_left_in_the_way_is_named_and_not_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (left := place / "here" / ".postroom").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    assert find_home(data_of(place)).path == place / "data" / "postroom"
    assert find_home(data_of(place)).others == (left,)


def test_root_takes_a_user_s_home_but_none_from_where_everybody_writes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (left := place / "here" / ".postroom").mkdir()
    if os.geteuid() == 0:
        os.chown(left, 1000, 1000)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_home(data_of(place)).path == left
    (place / "here").chmod(0o1777)
    if left.stat().st_uid != 0:
        assert find_home(data_of(place)).path == place / "data" / "postroom"


def test_a_file_or_a_broken_link_in_its_place_is_no_home(place: Path) -> None:
    (place / "here" / ".postroom").symlink_to("nowhere")
    assert find_home(data_of(place)).path == place / "data" / "postroom"


@pytest.mark.parametrize(("name", "hint"), [
    ("POSTROOM_WORKRES", "Is POSTROOM_WORKERS meant?"),
    ("postroom_port", "Is POSTROOM_PORT meant?"),
    ("POSTROOM_ALLOWED_NETWORK", "Is POSTROOM_ALLOWED_NETWORKS meant?"),
    ("POSTROOM_DATABASEURL", "Is POSTROOM_DATABASE_URL meant?"),
    ("POSTROOM_COLOUR", "postroom settings lists those that there are."),
    ("POSTROM_HOME", "Is POSTROOM_HOME meant?"),
    ("POSTROOMHOME", "Is POSTROOM_HOME meant?"),
    ("POSTROMHOME", "Is POSTROOM_HOME meant?"),
    ("PSOTROOM_WORKRES", "Is POSTROOM_WORKERS meant?"),
    ("POSTROOMS_COLOUR", "postroom settings lists those that there are."),
])
def test_a_variable_that_is_no_setting_is_named_with_the_nearest(name: str, hint: str) -> None:
    [told] = misspelt({name: "1", "POSTROOM_HOST": "::", "PATH": "/bin"})
    assert told == f"{name} is no setting, and does nothing. {hint}"


def test_the_settings_of_other_programs_are_none_of_ours() -> None:
    others = ("HOME", "HOST", "_", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTFIX_HOME", "MAILROOM_HOST")
    assert misspelt(dict.fromkeys(others, "1")) == []
