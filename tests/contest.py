"""The parts of a race: everybody waits at a barrier, and hands of our own instead of a gateway's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.ledger import delivery
from postroom.ledger.db import Pool
from postroom.ledger.delivery import Claim, Window


async def at_once(*runners: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What each returned or raised, all of them having begun together."""
    barrier = asyncio.Barrier(len(runners))

    async def run(runner: Callable[[], Awaitable[Any]]) -> Any:
        await barrier.wait()
        return await runner()
    return await asyncio.gather(*map(run, runners), return_exceptions=True)


async def claimed(pool: Pool, account_id: int, job_id: int, owner: str = "hand", lease_s: float = 30) -> Claim | None:
    async with pool.connection() as conn:
        return await delivery.claim_chunk(conn, account_id, job_id, owner=owner, lease_s=lease_s)


async def turned(pool: Pool, claim: Claim, outcomes: list[Outcome], size: int) -> Window | None:
    async with pool.connection() as conn:
        return await delivery.turn_window(conn, claim, outcomes, size)


def all_sent(window: Window) -> list[Outcome]:
    return [Outcome(one.position, one.attempt_no, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "2.0.0 Ok")
            for one in window.recipients]


async def hand_off_everything(pool: Pool, account_id: int, job_id: int) -> None:
    """Claims, windows and books each chunk as sent, and leaves the completion to the race."""
    while (claim := await claimed(pool, account_id, job_id)) is not None:
        outcomes: list[Outcome] = []
        while (window := await turned(pool, claim, outcomes, 50)) is not None:
            outcomes = all_sent(window)
        async with pool.connection() as conn:
            await delivery.release_chunk(conn, claim)


async def book_first(pool: Pool, account_id: int, job_id: int, outcomes: Mapping[int, Outcome]) -> list[tuple[Claim, Window]]:
    """What becomes of the first recipients of a job, by position; the rest is left untouched. Their windows come back."""
    held: list[tuple[Claim, Window]] = []
    while (left := len(outcomes) - sum(len(window.recipients) for _, window in held)) > 0:
        claim = await claimed(pool, account_id, job_id)
        assert claim is not None
        window = await turned(pool, claim, [], left)
        assert window is not None
        await turned(pool, claim, [outcomes[one.position] for one in window.recipients], 0)
        async with pool.connection() as conn:
            await delivery.release_chunk(conn, claim)
        held.append((claim, window))
    return held
