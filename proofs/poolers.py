"""PgBouncer stands in front of a server whose role commits without waiting for the disk, and the server stops at once in the
middle of a send, as when its machine loses power.

In session mode it is as if no pooler were there: a window is on the disk before anybody of it is mailed. A pooler that keeps no
session, where that cannot be had, is refused before a worker begins.
"""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import psycopg

from postroom.errors import Unavailable
from postroom.ledger.database import db
from proofs.installation import installed, moments
from proofs.pgbouncer import pooler
from proofs.verdict import Say, Scale, Verdict

WORKERS = 2
SESSIONS = 4
SCRIPT = "dot:delay=4ms"
POOL_SIZE = 40
WITHOUT_SESSIONS = ("transaction", "statement")
SIDES = ("accepted", "lost", "twice", "called sent but not accepted", "unconfirmed")


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw, faults, figures = random.Random(seed), list[str](), Counter[str]()
    rounds, stops, count = scale.of(10, 1), scale.of(3, 1), scale.of(3_000, 1_000)
    for done in range(1, rounds + 1):
        found = await _stopped(draw, stops, count, figures)
        for mode in WITHOUT_SESSIONS:
            found += await _refused(mode, figures)
        say(f"{done} of {rounds}: {'; '.join(found) or 'holds'}")
        faults += found
    return Verdict(dict(figures), faults)


async def _stopped(draw: random.Random, stops: int, count: int, figures: Counter[str]) -> list[str]:
    """One job in session mode; what was wrong."""
    async with installed(concurrency=SESSIONS, script=SCRIPT, recipients=count, durable=True) as place:
        url = place.settings.database_url
        assert url is not None
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
            await admin.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
        async with pooler(url, "session", pool_size=POOL_SIZE) as pooled:
            place.settings = msgspec.structs.replace(place.settings, database_url=pooled)
            await place.hire(WORKERS)
            job = await place.sending(count)
            for moment in moments(draw, stops, count):
                await place.truth.until(moment)
                await place.stop_database_at_once()
                await place.server.start()
                figures["stops"] += 1
            await place.over(job)
            await place.dismiss()
        sides = await place.sides(job)
        for name in SIDES:
            figures[name] += sides.figures[name]
        return await place.faults(job, sides, unconfirmed_max=0)


async def _refused(mode: str, figures: Counter[str]) -> list[str]:
    async with installed() as place:
        assert place.settings.database_url is not None
        async with pooler(place.settings.database_url, mode) as pooled:
            try:
                pool = await db.open_pool(pooled, size_max=2, name="postroom proof", unsafe=True)
            except Unavailable as error:
                figures[f"refused in {mode} mode"] += 1
                return [] if "pool_mode = session" in str(error) else [f"In {mode} mode something else is said: {error}"]
            await pool.close()
    return [f"A pooler in {mode} mode was taken."]
