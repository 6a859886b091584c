"""What the journals of this machine are read for: settling the work of dead workers, and noticing a restored backup.

    the journal of a dead worker says            the recipient becomes
    A, the gateway's answer                      what the gateway said
    S alone, handed over                         unconfirmed
    neither, and the journal is whole            unsent again
    neither, and the journal is not whole        unconfirmed
    nothing, not even the window                 unconfirmed

Promises: a worker is taken for dead only when the kernel says so. Settling is evidence like any other, so it may be interrupted,
repeated, or come after a takeover. A machine that has seen more than the database knows pauses whatever might be sent twice.
Fails: without a database the journals stay and are settled when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
from collections.abc import Mapping
from pathlib import Path

import structlog

from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.domain.pace import RETRY_DELAY_BASE_S, retry_delay_s
from postroom.errors import Conflict, NotFound, Unavailable
from postroom.flow.job.pause import pause
from postroom.flow.job.start import POSTROOM
from postroom.gateway.dead_journals import DeadJournal, dead_journals
from postroom.gateway.journal import TEXT_OCTETS, WindowKey
from postroom.ledger.database import installation
from postroom.ledger.database.db import Pool
from postroom.ledger.database.installation import Installation
from postroom.ledger.delivery import pace, windows
from postroom.ledger.delivery.windows import DoubtfulWindow
from postroom.points import reach

NEWER = "newer-than-the-database"
RESTORED = ("The database is older than what this machine has seen of it: it was restored from a backup. What was sent since "
            "that backup is not in it, and would be sent again. Compare with the gateway's own log: resume the job if nothing "
            "of it was sent since, otherwise cancel it.")

log = structlog.get_logger(__name__)


# -- the dead ----------------------------------------------------------------------------------------------------------


async def settle_dead_siblings(pool: Pool, directory: Path, installation_id: bytes, *,
                               retry_base_s: float = RETRY_DELAY_BASE_S) -> int:
    """Settles what dead workers of this machine have left, and returns how many windows that were. Raises Unavailable."""
    settled = 0
    for dead in dead_journals(directory, installation_id):
        try:
            async with pool.connection() as conn:
                is_newer = dead.beat > (await installation.look(conn)).beat
            if is_newer:  # and the mark, which would have told the guard, is lost
                log.error("a journal knows more than the database, which was restored from a backup; it is set aside",
                          owner=dead.owner, files=[str(path) for path in dead.files])
                await _stand_still(pool, directory, Installation(installation_id, dead.beat + 1), dead)
            else:
                settled += await _settle(pool, dead, retry_base_s)
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


# -- the restore guard -------------------------------------------------------------------------------------------------


async def guard(pool: Pool, directory: Path) -> Installation:
    """Before a worker begins, and every few seconds: is the database at least as old as this machine remembers?

    If not, all jobs that may send are paused, what dead workers left is set aside, and the beat is raised: said once, loudly. The
    mark is read before the beat is counted on, so a sibling that writes it in between causes no alarm. Raises Unavailable.
    """
    seen = await asyncio.to_thread(_read_mark, directory)
    async with pool.connection() as conn:
        now = await installation.beat(conn)
    reach("guard.after_beat")
    if seen is not None and seen.id == now.id and seen.beat >= now.beat:
        log.error("the database was restored from a backup; all jobs are paused", its_beat=now.beat, seen=seen.beat)
        now = await _stand_still(pool, directory, Installation(now.id, seen.beat + 1))
    await asyncio.to_thread(_write_mark, directory, now)
    reach("guard.after_mark")
    return now


async def _stand_still(pool: Pool, directory: Path, above: Installation, *held: DeadJournal) -> Installation:
    """The beat is raised last: whatever interrupts this, the next guard sees the same. `held` are journals locked by us."""
    async with pool.connection() as conn:
        waiting = await installation.jobs_that_may_send(conn)
    for account_id, job_id in waiting:
        with contextlib.suppress(Conflict, NotFound):  # it ended meanwhile
            await pause(pool, account_id, job_id, by=POSTROOM, reason=RESTORED)
        reach("guard.after_pause")
    for dead in (*held, *dead_journals(directory, above.id)):
        dead.set_aside(NEWER)
    async with pool.connection() as conn:
        await installation.raise_to(conn, above.beat)
    reach("guard.after_raise")
    return above


def _read_mark(directory: Path) -> Installation | None:
    """None where this machine has seen nothing yet, or what it wrote cannot be read."""
    try:
        whose, beat = (directory / "mark").read_text().split()
        return Installation(bytes.fromhex(whose), int(beat))
    except (OSError, ValueError):
        return None


def _write_mark(directory: Path, seen: Installation) -> None:
    """Only ever upwards for one installation. Whoever finds the lock taken leaves it to its next round. Raises Unavailable."""
    mark, draft = directory / "mark", directory / "mark.new"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (directory / "mark.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before = _read_mark(directory)
            if before is not None and before.id == seen.id and before.beat >= seen.beat:
                return
            with draft.open("w") as file:
                file.write(f"{seen.id.hex()} {seen.beat}\n")
                file.flush()
                os.fsync(file.fileno())
            draft.rename(mark)
    except BlockingIOError:
        return
    except OSError as error:
        raise Unavailable(f"{mark} cannot be written: {error.strerror}. Postroom keeps there what it has seen of its database. "
                          "Make room, or give POSTROOM_HOME another place.") from error
