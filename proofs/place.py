"""A database of one's own for a proof that needs no processes: migrated, watched each 100 ms, gone afterwards."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from postroom.ledger import db
from postroom.ledger.db import Pool
from postroom.ledger.embedded import EmbeddedPostgres
from postroom.ledger.migrate import migrate
from proofs.checker import Sampling
from proofs.installation import HOME_PREFIX


@contextlib.asynccontextmanager
async def database(*, connections: int) -> AsyncIterator[tuple[Sampling, Pool]]:
    """A pool of that many connections. What the samples find wrong is in the first of the two, and is for the proof to tell."""
    home = Path(tempfile.mkdtemp(prefix=HOME_PREFIX, dir="/tmp"))
    home.chmod(0o711)  # the server's system user passes through
    try:
        async with EmbeddedPostgres(home / "database", durable=False) as server:
            await migrate(server.url)
            async with (await db.open_pool(server.url, size_max=connections, name="postroom proof", unsafe=True) as pool,
                        Sampling(server.url).watching() as sampling):
                yield sampling, pool
    finally:
        shutil.rmtree(home, ignore_errors=True)
