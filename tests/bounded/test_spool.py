"""Spools: what comes in is kept while it is worked on, no longer, and a disk without room is told as that."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator

import pytest

from postroom.bounded.spool import SMALL_OCTETS, is_small, keep, spool
from postroom.errors import Unavailable


@pytest.fixture
def no_room() -> Iterator[None]:
    """For files of more than 4 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_what_is_kept_is_read_again_and_gone_afterwards() -> None:
    async with spool() as file:
        assert keep(file, b"abc") == 3
        keep(file, b"", whole=True)
        file.seek(0)
        assert (file.read(), is_small(file)) == (b"abc", True)
        file.truncate(SMALL_OCTETS + 1)
        assert not is_small(file)
    assert file.closed


@pytest.mark.parametrize("octets", [6_000, 6_000_000])
async def test_where_there_is_no_room_that_is_said_and_nothing_else(no_room: None, octets: int) -> None:
    files = []

    async def fill() -> None:
        async with spool() as file:
            files.append(file)
            keep(file, b"x" * octets)
            keep(file, b"", whole=True)

    with pytest.raises(Unavailable, match="cannot be kept"):
        await fill()
    assert files[0].closed


async def test_whoever_is_cancelled_leaves_no_file_open() -> None:
    begun = asyncio.Event()
    files = []

    async def wait() -> None:
        async with spool() as file:
            files.append(file)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files[0].closed
