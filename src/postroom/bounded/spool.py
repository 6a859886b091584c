"""Spools: files without a name, for what comes in, until whoever works on it has gone through it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from typing import BinaryIO

from postroom.errors import Unavailable

SMALL_OCTETS = 2**20


@contextlib.asynccontextmanager
async def spool() -> AsyncIterator[BinaryIO]:
    """A new one, gone after the block: closing one of gigabytes takes the system a while, for which nobody waits."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, beside the loop
    try:
        yield file
    finally:
        await asyncio.shield(asyncio.to_thread(file.close))


def keep(file: BinaryIO, data: bytes | memoryview, *, whole: bool = False) -> int:
    """Writes it; `whole`: and all before it, to where other processes see it. Raises Unavailable where there is no room."""
    try:
        written = file.write(data)
        if whole:
            file.flush()
        return written
    except OSError as error:
        raise Unavailable(f"What comes in cannot be kept while it is read: {error.strerror}.") from None


def is_small(file: BinaryIO) -> bool:
    """Whether going through it is short."""
    stood = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(stood)
    return size <= SMALL_OCTETS
