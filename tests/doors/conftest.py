"""An installation for commands and pages: a home of its own for the ones, a running web process for the others."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from conftest import passable_directory
from stage import SECRET_KEY

from .browsing import Canary
from .command import Ended, here
from .serving import Site, served

Command = Callable[..., Awaitable[Ended]]


@pytest.fixture
async def site(pool, database) -> AsyncIterator[Site]:
    async with served(pool, database) as site:
        yield site


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    canary = Canary()
    async with await asyncio.start_server(canary.serve, "127.0.0.1", 0) as server:
        canary.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield canary


@pytest.fixture
def home():
    path = passable_directory("cli")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def files(home: Path) -> Callable[[str, str | bytes], str]:
    """Writes a file and gives its path."""

    def write(name: str, content: str | bytes) -> str:
        path = home / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


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
