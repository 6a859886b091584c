"""Ending tasks of asyncio for certain."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_AFTER_S = 1.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels the tasks and waits until they have ended, with whatever they end.

    A cancellation may be lost: before Python 3.12 `asyncio.wait_for`, by which the connection pool waits, drops one that comes
    in the moment in which its wait is over (python/cpython#86296). So those that go on are cancelled again.
    """
    going = set(tasks)
    while going:
        for task in going:
            task.cancel()
        ended, going = await asyncio.wait(going, timeout=AGAIN_AFTER_S)
        for task in ended:
            if not task.cancelled():
                task.exception()  # taken note of, or the loop would report that nobody did
