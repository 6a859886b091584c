"""What every test may ask for: one PostgreSQL for the whole run, and a fresh, migrated database for each test.

`database` is the URL of an empty database, cloned from a template that was migrated once; `pool` is a pool on it. Both are
gone after the test. With POSTROOM_TEST_DATABASE_URL (its user may create databases) that server is used instead of an
embedded one. The embedded one runs without fsync, which only tests may do.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from playwright.async_api import Browser, async_playwright
from psycopg import sql

from postroom.ledger.database import db
from postroom.ledger.database.embedded import EmbeddedPostgres
from postroom.ledger.database.migrate import migrate
from proofs.installation import troubles_of
from stage import Stage, staged

HOME_PREFIX = "postroom-test-"
ABANDONED_AFTER_S = 600
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync"]
_numbers = itertools.count(1)

# No test is about time: what is slow on a busy machine is not wrong.
settings.register_profile("postroom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("postroom")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the product runs on."""
    try:
        import uvloop
    except ImportError:
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


def on_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="session")
async def postgres_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A server of this run; the user may create databases."""
    if url := os.environ.get("POSTROOM_TEST_DATABASE_URL"):
        yield url
        return
    await _sweep()
    home = passable_directory("run")
    try:
        async with EmbeddedPostgres(home, durable=False) as server:
            yield server.url
            if request.session.testsfailed:
                print(troubles_of(server), end="", file=sys.stderr)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> AsyncIterator[str]:
    """The name of the migrated database that the others are cloned from."""
    name = f"postroom_test_{os.getpid()}_template"
    await _administer(postgres_url, "CREATE DATABASE {}", name)
    try:
        await migrate(on_database(postgres_url, name))
        yield name
    finally:
        await _administer(postgres_url, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture
async def database(postgres_url: str, template: str) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database."""
    name = f"postroom_test_{os.getpid()}_{next(_numbers)}"
    await _administer(postgres_url, "CREATE DATABASE {} TEMPLATE {}", name, template)
    try:
        url = on_database(postgres_url, name)
        await _administer(url, "UPDATE installation SET seen_at = clock_timestamp()")  # or the copy's age would be a gap
        yield url
    finally:
        await _administer(postgres_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
async def bare_database(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database without any of our tables."""
    name = f"postroom_test_{os.getpid()}_{next(_numbers)}"
    await _administer(postgres_url, "CREATE DATABASE {}", name)
    try:
        yield on_database(postgres_url, name)
    finally:
        await _administer(postgres_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[db.Pool]:
    """A pool on `database`."""
    async with await db.open_pool(database, size_max=10, name="postroom test", unsafe=True) as pool:
        yield pool


@pytest.fixture
async def stage(pool: db.Pool, database: str) -> AsyncIterator[Stage]:
    """A small installation on `database`: a sandbox gateway, accounts, workers."""
    async with staged(pool, database) as stage:
        yield stage


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium, one for the whole run; each test makes a context of its own in it."""
    found = next(path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


def passable_directory(kind: str) -> Path:
    """A new temporary directory that the server's system user can pass through, unlike pytest's tmp_path when run by root."""
    path = Path(tempfile.mkdtemp(prefix=f"{HOME_PREFIX}{kind}-", dir="/tmp"))
    path.chmod(0o711)
    return path


@pytest.fixture
async def server_home() -> AsyncIterator[Path]:
    """A home for a test's own embedded server; every server in or below it is stopped afterwards."""
    path = passable_directory("own")
    yield path / "home"
    for lock in list(path.rglob("postgres.start.lock")):
        await EmbeddedPostgres(lock.parent).stop()
    shutil.rmtree(path)


async def _administer(url: str, statement: str, *names: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


async def _sweep() -> None:
    """Stop and remove what a run that was killed has left behind. A server that another run uses is left alone."""
    for home in Path("/tmp").glob(f"{HOME_PREFIX}run-*"):  # noqa: ASYNC240 - at the start of a run
        if time.time() - home.stat().st_mtime > ABANDONED_AFTER_S:
            server = EmbeddedPostgres(home)
            await server.stop()
            if not (server.data / "postmaster.pid").exists():
                shutil.rmtree(home, ignore_errors=True)
