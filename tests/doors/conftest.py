"""An installation for commands: a fresh database, a sandbox gateway, and a home of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from conftest import passable_directory
from stage import SECRET_KEY, Stage, staged

from .command import Ended, here

Command = Callable[..., Awaitable[Ended]]


@pytest.fixture
async def stage(pool, database) -> AsyncIterator[Stage]:
    async with staged(pool, database) as stage:
        yield stage


@pytest.fixture
def home():
    path = passable_directory("cli")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def url_settings(database: str) -> dict[str, str]:
    """What a process needs to use the test's database."""
    return {"POSTROOM_DATABASE_URL": database, "POSTROOM_UNSAFE_DATABASE": "true", "POSTROOM_SECRET_KEY": SECRET_KEY}


@pytest.fixture
def cli(home: Path, url_settings: dict[str, str]) -> Command:
    """`await cli("jobs", "list")` on the test's database."""

    async def run(*arguments: str, stdin: str = "", **settings: str) -> Ended:
        return await here(home, *arguments, stdin=stdin, **{**url_settings, **settings})

    return run
