"""Every story is told on a stage of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stage import Stage, staged


@pytest.fixture
async def stage(pool, database) -> AsyncIterator[Stage]:
    async with staged(pool, database) as stage:
        yield stage
