"""Races are run on a pool with a connection for everybody, with nobody else working in the background."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from postroom.ledger.database import db
from stage import Stage, staged


@pytest.fixture
async def stage(database) -> AsyncIterator[Stage]:
    async with (await db.open_pool(database, size_max=25, size_min=25, name="postroom race", unsafe=True) as pool,
                staged(pool, database) as stage):
        yield stage
