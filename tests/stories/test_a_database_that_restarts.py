"""The database is stopped like a machine that crashes, in the middle of a send, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from postroom.domain.job import Status
from postroom.gateway.sandbox.script import Answer, Script
from postroom.ledger.database import db
from postroom.ledger.database.embedded import EmbeddedPostgres
from postroom.ledger.database.migrate import migrate
from stage import staged

COUNT = 800


def stop_immediately(server: EmbeddedPostgres) -> None:
    """SIGQUIT: no checkpoint, no goodbye; the next start has to recover."""
    os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)


async def test_a_database_that_restarts_in_the_middle_costs_nobody_their_message(server_home: Path) -> None:
    server = EmbeddedPostgres(server_home, durable=False)
    url = await server.start()
    await migrate(url)
    async with await db.open_pool(url, size_max=10, name="postroom test", unsafe=True) as pool, staged(pool, url) as stage:
        stage.sandbox.script = Script(dot=Answer(delay_s=0.005))
        account = await stage.account(connections=4)
        async with stage.worker(lease_s=2):
            job = await stage.started(account, COUNT)
            await stage.until_accepted(200)
            stop_immediately(server)
            await asyncio.sleep(0.5)
            assert stage.sandbox.accepted < COUNT
            assert await server.start() == url
            await stage.over(account, job.id)
        sides = await stage.sides(account, job.id)
        assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (COUNT, 0, 0, 0, 0))
        assert stage.sandbox.accepted == COUNT
        following = await stage.started(account, 5)
        async with stage.worker():
            await stage.over(account, following.id)
