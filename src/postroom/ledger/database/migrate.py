"""Bring a database to the schema of this version: Alembic's bookkeeping around plain .sql files.

A revision is a number, the file `migrations/NNNN_name.sql` and a few lines in `migrations/versions/`. `schema.sql` is
what all of them together make, for reading; a test compares the two.

Promises:
- Any number of processes may call `migrate` at once: an advisory lock lets one work, the others then find nothing to
  do.
- Each revision is one transaction: it is there completely, with its number, or not at all.
- A database that is up to date is recognised without importing Alembic or SQLAlchemy (30 MB in each worker otherwise).

Fails with errors.Unavailable: the database is not there, is newer than this version, or refused a statement.
"""

from __future__ import annotations

import asyncio
import threading
from importlib import resources
from pathlib import Path

import psycopg
import structlog

from postroom.errors import Unavailable
from postroom.ledger.database import db

MIGRATIONS = Path(__file__).parent / "migrations"
# One number for all of Postroom's advisory locks on schema changes; its value means nothing.
LOCK_KEY = 7_667_886_801
_ALONE = threading.Lock()  # Alembic keeps what it is about in a module: one database of a process at a time

log = structlog.get_logger(__name__)


def revisions() -> list[str]:
    """All revisions that this version knows, oldest first."""
    return sorted(path.name.split("_")[0] for path in MIGRATIONS.glob("[0-9]*_*.sql"))


async def current_revision(url: str) -> str | None:
    """The revision of the database; None for one that was never migrated."""
    async with await db.connect(url, name="postroom migrate") as connection:
        found = await (await connection.execute("SELECT to_regclass('alembic_version')::text")).fetchone()
        if found is None or found[0] is None:
            return None
        row = await (await connection.execute("SELECT version_num FROM alembic_version")).fetchone()
        return row[0] if row else None


async def pending(url: str) -> list[str]:
    """The revisions that the database lacks, oldest first. Raises Unavailable when it is newer than this version."""
    current, known = await current_revision(url), revisions()
    if current is None:
        return known
    if current not in known:
        raise Unavailable(
            f"{db.describe(url)} is at revision {current}, and this version of Postroom knows revisions up to "
            f"{known[-1]}. A newer version has migrated it: install that one, here as well."
        )
    return known[known.index(current) + 1 :]


async def migrate(url: str) -> list[str]:
    """Apply what is pending and return it, oldest first; an empty list when the database was up to date."""
    missing = await pending(url)
    if missing:
        async with await db.connect(url, name="postroom migrate") as lock:
            db.require_version(lock)
            await lock.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
            missing = await pending(url)  # another process may have done it while this one waited
            if missing:
                log.info("migrating the database", server=db.describe(url), revisions=missing)
                await asyncio.to_thread(_upgrade, url)
    return missing


def _upgrade(url: str) -> None:
    """Alembic is synchronous, so this runs in a thread, on a connection of its own."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    # A connection and not a URL: SQLAlchemy reads URLs differently from libpq (socket directories, several hosts).
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    try:
        with _ALONE, engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (DBAPIError, psycopg.Error) as error:
        words = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        raise Unavailable(
            f"{db.describe(url)} could not be migrated and is as it was: {words}. The user of the URL must own the database."
        ) from error


def read_sql(name: str) -> str:
    """The text of one migration; "procrastinate" is the engine's own schema, from the installed package (pinned)."""
    if name == "procrastinate":
        return resources.files("procrastinate").joinpath("sql", "schema.sql").read_text()
    return (MIGRATIONS / name).read_text()


def run_sql(*names: str) -> None:
    """For a revision: run whole .sql files in Alembic's transaction, past any reading of `:` or `%`."""
    from alembic import op

    driver = op.get_bind().connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    for name in names:
        driver.execute(read_sql(name).encode(), prepare=False)
