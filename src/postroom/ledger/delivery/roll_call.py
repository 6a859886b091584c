"""The roll of workers, called when the database starts or goes on as another server: does it have what each of them knows of?

A standby that is promoted may lack the newest commits of the server before it, and so may a server whose disk lied to it. Commits
are lost from the end, so a worker that finds the newest it heard of finds all; but only itself can tell what was lost of it. So
no chunk is given out before every worker has answered.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from postroom.ledger.database.db import Connection, number
from postroom.ledger.database.queries import load

SQL = load(__file__)


class Absent(NamedTuple):
    """A worker that has not answered. `is_synchronous`: what it had heard of was on a standby as well. `restarted`: it is the
    same server, which has only started anew."""

    owner: str
    is_synchronous: bool
    restarted: bool


async def size(conn: Connection) -> int:
    """How many are on the roll."""
    row = await (await conn.execute(SQL.size)).fetchone()
    return int(row[0]) if row else 0


async def answer(conn: Connection, owner: str, lease_s: float) -> None:
    """For a worker whose leases last `lease_s`."""
    await conn.execute(SQL.answer, {"owner": owner, "lease_s": lease_s})


async def is_complete(conn: Connection) -> bool:
    """Whether everybody has answered on the server that this is."""
    row = await (await conn.execute(SQL.is_complete)).fetchone()
    return bool(row and row[0])


async def complete(conn: Connection) -> bool:
    """Ends the roll call if nobody is missing. True: now; it was not over before."""
    return await (await conn.execute(SQL.complete)).fetchone() is not None


async def absent(conn: Connection) -> list[Absent]:
    return [Absent(*row) for row in await (await conn.execute(SQL.absent)).fetchall()]


async def leave(conn: Connection, *owners: str) -> None:
    """These are not waited for."""
    await conn.execute(SQL.leave, {"owners": list(owners)})


async def forget_silent(conn: Connection, silent_s: float) -> None:
    await conn.execute(SQL.forget_silent, {"silent_s": silent_s})


async def lost_windows(conn: Connection, owner: str, named: Collection[tuple[int, int, int, int]]) -> int:
    """Of `named` (account, job, chunk, window), which `owner` opened, how many the database does not know."""
    if not named:
        return 0
    accounts, jobs, chunks, windows = zip(*named, strict=True)
    return await number(await conn.execute(SQL.lost_windows, {
        "owner": owner, "accounts": list(accounts), "jobs": list(jobs), "chunks": list(chunks), "windows": list(windows)}))


async def lost_outcomes(conn: Connection, named: Collection[tuple[int, int, int, int]]) -> int:
    """Of `named` (account, job, position, attempt), which were booked, how many the database does not know."""
    if not named:
        return 0
    accounts, jobs, positions, attempts = zip(*named, strict=True)
    return await number(await conn.execute(SQL.lost_outcomes, {
        "accounts": list(accounts), "jobs": list(jobs), "positions": list(positions), "attempts": list(attempts)}))


async def lost_ends(conn: Connection, jobs: Collection[int]) -> int:
    """Of jobs that were over, how many are not so for the database."""
    return await number(await conn.execute(SQL.lost_ends, {"jobs": list(jobs)})) if jobs else 0
