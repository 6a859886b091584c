"""Spools: files without a name, for what comes in, until whoever works on it has gone through it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from typing import BinaryIO

from postroom.errors import Unavailable

SMALL_OCTETS = 256 * 1024


@contextlib.asynccontextmanager
async def spool() -> AsyncIterator[BinaryIO]:
    """A new one, gone after the block. Closing one of gigabytes takes the system a while: nobody else waits for it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, beside the loop
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # of what is left in the buffer where there was no room: `keep` has said it
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
