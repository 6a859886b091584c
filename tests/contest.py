"""Hands of our own instead of a gateway's: chunks are claimed, windows turned and booked as the test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import Claim, Window
from proofs.races import all_sent


async def claimed(pool: Pool, account_id: int, job_id: int, owner: str = "hand", lease_s: float = 30) -> Claim | None:
    async with pool.connection() as conn:
        return await windows.claim_chunk(conn, account_id, job_id, owner=owner, lease_s=lease_s)


async def turned(pool: Pool, claim: Claim, outcomes: list[Outcome], size: int) -> Window | None:
    async with pool.connection() as conn:
        return await windows.turn_window(conn, claim, outcomes, size)


async def hand_off_everything(pool: Pool, account_id: int, job_id: int) -> None:
    """Claims, windows and books each chunk as sent, and leaves the completion to the race."""
    while (claim := await claimed(pool, account_id, job_id)) is not None:
        outcomes: list[Outcome] = []
        while (window := await turned(pool, claim, outcomes, 50)) is not None:
            outcomes = all_sent(window)
        async with pool.connection() as conn:
            await windows.release_chunk(conn, claim)


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
            await windows.release_chunk(conn, claim)
        held.append((claim, window))
    return held


async def comes_to_light(pool: Pool, held: Sequence[tuple[Claim, Window]], kind: Kind) -> None:
    """The machine that had these windows comes back: its journal says of them all that they were sent, or never handed off."""
    evidence = Evidence.REPLY if kind is Kind.SENT else Evidence.WORKER
    for claim, window in held:
        async with pool.connection() as conn:
            await windows.settle_window(conn, claim, window.window_no, [
                Outcome(one.position, one.attempt_no, kind, evidence, 250 if kind is Kind.SENT else None, retry_in_s=0.0)
                for one in window.recipients])
