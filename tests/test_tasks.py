"""Tasks end when they are told to, also those that miss it the first time."""

from __future__ import annotations

import asyncio

from postroom import tasks
from postroom.tasks import end


async def test_a_task_that_loses_its_cancellation_is_cancelled_again(monkeypatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_AFTER_S", 0.01)
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(task)
    assert task.cancelled()
    assert lost == 3


async def test_what_ends_with_an_error_has_ended() -> None:
    async def clumsy() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("while it cleaned up")

    task = asyncio.create_task(clumsy())
    await asyncio.sleep(0)
    await end(task, asyncio.create_task(asyncio.sleep(60)))
    assert isinstance(task.exception(), ValueError)
