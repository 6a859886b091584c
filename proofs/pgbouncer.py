"""Debian's PgBouncer in front of a server, with nothing in its configuration but where the server is and how it pools."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

STARTS_WITHIN_S = 20.0


@contextlib.asynccontextmanager
async def pooler(url: str, mode: str, *, pool_size: int = 20) -> AsyncIterator[str]:
    """The URL by which the same database is reached through a pooler in that mode: session, transaction or statement."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError("PgBouncer is missing: apt-get install pgbouncer")
    server = conninfo_to_dict(url)
    home = Path(tempfile.mkdtemp(prefix="postroom-pooler-", dir="/tmp"))
    try:
        (home / "users").write_text(f'"{server["user"]}" "{server["password"]}"\n')
        (home / "configuration").write_text(
            f"[databases]\n{server['dbname']} = host={server['host']} port={server['port']}\n[pgbouncer]\n"
            f"listen_addr =\nlisten_port = 6432\nunix_socket_dir = {home}\nauth_type = plain\nauth_file = {home}/users\n"
            f"pool_mode = {mode}\ndefault_pool_size = {pool_size}\n")
        identity = _whoever_reaches(Path(str(server["host"])), home)
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - uvloop starts no process as another user
                [program, "-q", str(home / "configuration")], stdin=subprocess.DEVNULL, stderr=log, **identity)
        try:
            through = f"postgresql://{quote(str(server['user']))}:{quote(str(server['password']))}@/{server['dbname']}" \
                      f"?host={home}&port=6432"
            await _until_it_answers(through, home)
            yield through
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _whoever_reaches(socket_directory: Path, home: Path) -> dict[str, object]:
    """PgBouncer does not run as root, and the server's socket may be private to the server's own user."""
    if os.geteuid() != 0:
        return {}
    owner = socket_directory.stat()
    for path in (home, *home.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    home.chmod(0o711)
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


async def _until_it_answers(url: str, home: Path) -> None:
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while True:
                with contextlib.suppress(psycopg.OperationalError):
                    await (await psycopg.AsyncConnection.connect(url)).close()
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RuntimeError(f"PgBouncer does not answer: {(home / 'log').read_text()}") from None
