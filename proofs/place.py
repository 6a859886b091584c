"""A database of one's own for a proof that needs no processes: migrated, watched each 100 ms, gone afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from postroom.ledger.database import db
from postroom.ledger.database.db import Pool
from postroom.ledger.database.migrate import migrate
from proofs.checker import Sampling
from proofs.installation import fresh_server


@contextlib.asynccontextmanager
async def database(*, connections: int) -> AsyncIterator[tuple[Sampling, Pool]]:
    """A pool of that many connections. What the samples find wrong is in the first of the two, and is for the proof to tell."""
    async with fresh_server() as (_, server):
        await migrate(server.url)
        async with (await db.open_pool(server.url, size_max=connections, name="postroom proof", unsafe=True) as pool,
                    Sampling(server.url).watching() as sampling):
            yield sampling, pool
