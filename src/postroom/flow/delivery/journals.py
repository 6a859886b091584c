"""What the journals of dead workers are read for: settling what they had in hand, by what they had written down of it.

    the journal of a dead worker says            the recipient becomes
    A, the gateway's answer                      what the gateway said
    S alone, handed over                         unconfirmed
    neither, and the journal is whole            unsent again
    neither, and the journal is not whole        unconfirmed
    nothing, not even the window                 unconfirmed

Promises: a worker is taken for dead only when the kernel says so. Settling is evidence like any other, so it may be interrupted,
repeated, or come after a takeover. A journal that names more than the database knows is the guard's case (guard.py).
Fails: without a database the journals stay and are settled when it is back.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import structlog

from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.domain.pace import RETRY_DELAY_BASE_S, retry_delay_s
from postroom.flow.delivery.guard import RESTORED, stand_still
from postroom.gateway.dead_journals import DeadJournal, dead_journals
from postroom.gateway.journal import TEXT_OCTETS, WindowKey
from postroom.ledger.database import installation
from postroom.ledger.database.db import Pool
from postroom.ledger.database.installation import Installation
from postroom.ledger.delivery import pace, roll_call, windows
from postroom.ledger.delivery.windows import DoubtfulWindow

log = structlog.get_logger(__name__)


async def settle_dead_siblings(pool: Pool, directory: Path, installation_id: bytes, *,
                               retry_base_s: float = RETRY_DELAY_BASE_S) -> int:
    """Settles what dead workers of this machine have left, and returns how many windows that were. Raises Unavailable."""
    settled = 0
    for dead in dead_journals(directory, installation_id):
        try:
            handed_over = [key for key, attempts in dead.windows.items() if attempts]
            async with pool.connection() as conn:
                now = await installation.look(conn)
                is_newer = dead.beat > now.beat or await roll_call.lost_windows(conn, dead.owner, handed_over) > 0
            if is_newer:  # and nobody who lives has seen it
                log.error("a journal knows more than the database; it is set aside", owner=dead.owner,
                          files=[str(path) for path in dead.files])
                await stand_still(pool, Installation(installation_id, max(dead.beat, now.beat) + 1), RESTORED,
                                  chain((dead,), dead_journals(directory, installation_id)))
            else:
                settled += await _settle(pool, dead, retry_base_s)
            async with pool.connection() as conn:
                await roll_call.leave(conn, dead.owner)
        finally:
            dead.release()
    return settled


async def _settle(pool: Pool, dead: DeadJournal, retry_base_s: float) -> int:
    """First the fence: a commit that the worker had on its way opens no window behind our back."""
    async with pool.connection() as conn:
        await windows.fence_owner(conn, dead.owner)
        await pace.free_slots_of(conn, dead.owner)  # its connections died with it
        doubtful = await windows.doubtful_windows(conn, dead.owner, dead.windows)
        is_done = True
        for window in doubtful:
            is_done &= await windows.settle_window(conn, window.claim, window.window_no, told(window, dead, retry_base_s))
    if doubtful:
        log.warning("a worker died; what it had in hand is settled by its journal", owner=dead.owner, windows=len(doubtful),
                    whole=dead.is_whole)
    if is_done:
        dead.discard()
    return len(doubtful)


def told(window: DoubtfulWindow, dead: DeadJournal, retry_base_s: float) -> list[Outcome]:
    """What the journal says of each recipient of the window."""
    claim = window.claim
    entries = dead.windows.get(WindowKey(claim.account_id, claim.job_id, claim.chunk_no, window.window_no))
    return [_told(position, attempt_no, entries, dead.is_whole, retry_base_s) for position, attempt_no in window.attempts]


def _told(position: int, attempt_no: int, entries: Mapping[tuple[int, int], Outcome | None] | None, is_whole: bool,
          retry_base_s: float) -> Outcome:
    def unconfirmed(reason: str) -> Outcome:
        return Outcome(position, attempt_no, Kind.UNCONFIRMED, Evidence.CRASH_AFTER_DOT, reply=reason)

    if entries is None:
        return unconfirmed("The worker died, and its journal on that machine is lost: it may have been handed off.")
    answer = entries.get((position, attempt_no))
    if answer is not None:
        delay_s = retry_delay_s(max(1, answer.refusals), random.random(), retry_base_s)  # noqa: S311 - jitter
        return answer._replace(reply=_quoted(answer.reply or ""), retry_in_s=delay_s if answer.kind is Kind.REFUSED else None)
    if (position, attempt_no) in entries:
        return unconfirmed("The worker died after the end of the message and before the gateway's answer.")
    if not is_whole:
        return unconfirmed("The worker died, and the end of its journal is lost: it may have been handed off.")
    return Outcome(position, attempt_no, Kind.RELEASED, Evidence.WORKER, retry_in_s=0.0,
                   reply="Never handed off: the worker died before that, as its journal shows.")


def _quoted(text: str) -> str:
    """A text that fills its place in the record was most likely cut."""
    return f"(from the journal) {'…' if len(text.encode()) >= TEXT_OCTETS - 3 else ''}{text}"
