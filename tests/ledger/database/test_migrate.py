"""Migrations on a real server: once, together, in transactions, and to exactly what schema.sql says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from postroom.errors import Unavailable
from postroom.ledger.database import migrate as under_test
from postroom.ledger.database.embedded_place import Binaries
from postroom.ledger.database.migrate import MIGRATIONS, current_revision, migrate, pending, read_sql, revisions

LATEST = revisions()[-1]


async def run(url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement)


async def dump(url: str) -> str:
    """The schema of a database as pg_dump writes it, without what differs in every dump."""
    pg_dump = (await Binaries.find(None)).path("pg_dump")
    environment = {"PGPASSWORD": urlsplit(url).password or "", "PATH": os.environ["PATH"]}
    done = await asyncio.to_thread(
        subprocess.run,
        [pg_dump, "--schema-only", "--exclude-table=alembic_version", "--dbname", url],
        capture_output=True,
        env=environment,
        check=True,
        text=True,
    )
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", done.stdout)


async def test_the_schema_equals_the_replayed_migrations(database: str, bare_database: str) -> None:
    await run(bare_database, read_sql("procrastinate"))
    await run(bare_database, (MIGRATIONS.parent / "schema.sql").read_text())
    replayed, written = await dump(database), await dump(bare_database)
    assert "CREATE TABLE public.job " in written
    assert replayed.splitlines() == written.splitlines()


async def test_each_revision_has_its_file_and_its_place_in_one_line_of_descent() -> None:
    scripts = sorted(path.stem[1:].split("_")[0] for path in (MIGRATIONS / "versions").glob("v*.py"))
    assert scripts == revisions()
    for before, number in zip([None, *scripts], scripts, strict=False):
        text = next((MIGRATIONS / "versions").glob(f"v{number}_*.py")).read_text()
        assert f'revision = "{number}"' in text
        assert f"down_revision = {before and repr(before).replace(chr(39), chr(34))}" in text


async def test_an_up_to_date_database_is_left_alone(database: str) -> None:
    assert await current_revision(database) == LATEST
    assert await pending(database) == []
    assert await migrate(database) == []


async def test_several_at_once_migrate_a_new_database_once(bare_database: str) -> None:
    assert await current_revision(bare_database) is None
    assert await pending(bare_database) == revisions()
    applied = await asyncio.gather(*(migrate(bare_database) for _ in range(4)))
    assert sorted(applied) == [[], [], [], revisions()]
    assert await current_revision(bare_database) == LATEST


async def test_one_process_may_migrate_two_new_databases_at_once(bare_database: str) -> None:
    name = f"{urlsplit(bare_database).path[1:]}_too"
    await run(bare_database, f"CREATE DATABASE {name}")
    try:
        other = urlsplit(bare_database)._replace(path=f"/{name}").geturl()
        assert await asyncio.gather(migrate(bare_database), migrate(other)) == [revisions(), revisions()]
    finally:
        await run(bare_database, f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_database_of_a_newer_version_is_refused_by_name(database: str) -> None:
    await run(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match=rf"is at revision 9999, .* knows revisions up to {LATEST}. A newer version"):
        await migrate(database)


async def test_a_revision_that_fails_leaves_nothing_behind(bare_database: str) -> None:
    await run(bare_database, "CREATE TABLE job (in_the_way int)")
    with pytest.raises(Unavailable, match=r'could not be migrated and is as it was: relation "job" already exists'):
        await migrate(bare_database)
    assert await current_revision(bare_database) is None
    await run(bare_database, "DROP TABLE job")
    assert await migrate(bare_database) == revisions()


def test_importing_it_does_not_import_alembic_or_sqlalchemy() -> None:
    program = f"import sys, {under_test.__name__}; sys.exit(bool(set(sys.modules) & {{'alembic', 'sqlalchemy'}}))"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, check=False).returncode == 0
