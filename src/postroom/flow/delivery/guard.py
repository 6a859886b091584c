"""Is this the newest database there is? One that is not would have people mailed again who were mailed since.

    what is known                                                it is not the newest where
    the mark: how far this machine has seen it come, every 5 s   its beat is behind that
    a witness: what this process heard of last                   that is not there
    the roll of workers, when another server goes on as it       one of them does not answer
    nothing: this machine has never seen it, or others have      jobs are under way, and nobody else is at work on them
    worked on it since

Promises: then every job that may send is paused, loudly and once; the journals of who knew more are kept; a person decides.
Fails: with Unavailable without a database, or where the mark cannot be written. Then the worker waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from postroom.domain.access import Kind, machine, postroom_itself
from postroom.errors import Conflict, NotFound, Unavailable
from postroom.flow.delivery.witness import Witness, is_lost
from postroom.flow.job.pause import pause, resume
from postroom.gateway.dead_journals import DeadJournal, dead_journals
from postroom.gateway.journal import Journal
from postroom.ledger.database import installation
from postroom.ledger.database.db import Pool
from postroom.ledger.database.installation import Installation
from postroom.ledger.delivery import roll_call
from postroom.ledger.job import pauses
from postroom.ledger.job.pauses import HeldJob
from postroom.points import reach

GUARD_EVERY_S = 5.0
SIGNS_OF_LIFE_WITHIN_S = 2 * GUARD_EVERY_S + 1
LOOK_EVERY_S = 0.5
RESTART_PATIENCE_S = 3.0  # whoever lives answers within a second
MISSED_EACH = 3  # beats of each worker that a machine may not have seen when it was killed
SILENT_S = 600.0  # after that no roll call waits for a worker

NEWER = "newer-than-the-database"
DOUBT = "This may not be the newest database"
ADVICE = ("What it lacks would be sent again. Compare with the gateway's own log: resume the job if nothing of it was sent "
          "since, otherwise cancel it.")
RESTORED = (f"{DOUBT}: this machine has seen more than it knows. It was restored from a backup, or a standby took over that had "
            f"not received everything. {ADVICE}")
ABSENT = (f"{DOUBT}: another server took over, which may not have received everything, and %s did not say since what it had "
          f"handed off. {ADVICE}")
UNKNOWN = (f"{DOUBT}: this machine has never seen it, and nobody else is at work on it, so it may be an old copy. If it is the "
           "newest, say so: postroom trust-database.")
BEHIND = (f"{DOUBT}: others have worked on it since this machine did, and nobody else is at work on it now, so it may be a copy "
          "that is older than their work. If it is the newest, say so: postroom trust-database.")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Guard:
    """A worker process's, whose leases last `lease_s`. For as long a roll call waits for who does not answer."""

    pool: Pool
    directory: Path
    owner: str
    lease_s: float
    witness: Witness = field(default_factory=Witness)
    journal: Journal | None = None  # from when there is one
    _called_at: float | None = None  # a roll call that is not over, by our clock

    async def first_look(self) -> Installation:
        """Before the worker begins. Raises Unavailable."""
        mark = await asyncio.to_thread(_read_mark, self.directory)
        async with self.pool.connection() as conn:
            now = await installation.look(conn)
            under_way = bool(await installation.jobs_that_may_send(conn))
            may_have_missed = MISSED_EACH * max(1, await roll_call.size(conn))
        is_known = mark is not None and mark.id == now.id
        missed = now.beat - (mark.beat if mark is not None and is_known else 0)
        if missed > (may_have_missed if is_known else 0) and under_way and not await self._somebody_beats(now.beat):
            log.error("this machine has not seen how far this database has come, and nobody else is at work on it; all jobs are "
                      "paused", missed=missed)
            await stand_still(self.pool, now, BEHIND if is_known else UNKNOWN)
        await asyncio.to_thread(_write_mark, self.directory, now)  # or what we count on ourselves would alarm us the next time
        return await self.look()

    async def look(self) -> Installation:
        """Every few seconds. The mark is read before the beat is counted on, so a sibling that writes it in between causes no
        alarm. Raises Unavailable."""
        seen = await asyncio.to_thread(_read_mark, self.directory)
        known, finished = self.witness.newest(), self.journal.finished() if self.journal else []
        async with self.pool.connection() as conn, conn.transaction():
            lacks = await is_lost(conn, self.owner, known)
            now = await installation.beat(conn)
        reach("guard.after_beat")
        if lacks or (seen is not None and seen.id == now.id and seen.beat >= now.beat):
            log.error("the database does not know all that was seen of it; all jobs are paused", its_beat=now.beat,
                      seen=seen.beat if seen else None)
            above = max(now.beat, seen.beat if seen is not None and seen.id == now.id else 0) + 1
            now = await stand_still(self.pool, Installation(now.id, above), RESTORED, dead_journals(self.directory, now.id))
            if self.journal:
                self.journal.set_aside(NEWER)
                finished = []
        await asyncio.to_thread(_write_mark, self.directory, now)
        reach("guard.after_mark")
        self.witness.forget(known)
        if self.journal:
            self.journal.forget(finished)
        await self._answer()
        return now

    async def last_look(self) -> None:
        """When the worker has ended properly: nobody waits for it. Raises Unavailable."""
        await self.look()
        if not self.journal or self.journal.is_booked:
            async with self.pool.connection() as conn:
                await roll_call.leave(conn, self.owner)

    async def is_called(self) -> bool:
        """Whether another server goes on as the database, and not everybody has looked at it yet."""
        async with self.pool.connection() as conn:
            return not await roll_call.is_complete(conn)

    async def _answer(self) -> None:
        """That all that was known here is there; and for those who never answer a person does."""
        async with self.pool.connection() as conn:
            await roll_call.answer(conn, self.owner, self.lease_s)
            if await roll_call.complete(conn):
                log.info("all workers have looked at the database")
            absent = await roll_call.absent(conn)
            if not absent:
                self._called_at = None
                await roll_call.forget_silent(conn, SILENT_S)
                return
        if self._called_at is None:
            self._called_at = time.monotonic()
        waited_s = time.monotonic() - self._called_at
        if any(waited_s < (RESTART_PATIENCE_S if one.restarted else self.lease_s) for one in absent):
            return
        unsure = [one.owner for one in absent if not one.is_synchronous and not one.restarted]
        if unsure:
            log.error("the database went on as another server, and workers are missing; all jobs are paused", workers=unsure)
            async with self.pool.connection() as conn:
                now = await installation.look(conn)
            await stand_still(self.pool, now, ABSENT % ", ".join(unsure))
        async with self.pool.connection() as conn:
            await roll_call.leave(conn, *(one.owner for one in absent))
            await roll_call.complete(conn)

    async def _somebody_beats(self, beat: int) -> bool:
        """Who sees a database for the first time counts on only after this, so it is somebody who has seen it before."""
        until = time.monotonic() + SIGNS_OF_LIFE_WITHIN_S
        while time.monotonic() < until:
            await asyncio.sleep(LOOK_EVERY_S)
            async with self.pool.connection() as conn:
                if (await installation.look(conn)).beat > beat:
                    return True
        return False


async def trust(pool: Pool, directory: Path, *, by: str) -> list[tuple[int, int]]:
    """A person says that this is the newest database: the machine takes it as seen, and what was paused for that doubt goes on.

    (account, job) of each. Raises Unavailable.
    """
    async with pool.connection() as conn:
        now = await installation.beat(conn)
        doubted = await pauses.paused_for(conn, DOUBT, by=Kind.POSTROOM)
    await asyncio.to_thread(_write_mark, directory, now)
    for account_id, job_id in doubted:
        with contextlib.suppress(Conflict, NotFound):  # it ended meanwhile
            await resume(pool, machine(account_id, by), job_id)
    return doubted


async def held_jobs(pool: Pool) -> list[HeldJob]:
    """What Postroom has paused by itself and nobody has let go on. Raises Unavailable."""
    async with pool.connection() as conn:
        return await pauses.held(conn, DOUBT, by=Kind.POSTROOM)


async def stand_still(pool: Pool, above: Installation, reason: str, newer: Iterable[DeadJournal] = ()) -> Installation:
    """The beat is raised last: whatever interrupts this, the next guard sees the same. `newer` are journals that must not be
    settled by any more, looked for when nothing can be sent."""
    async with pool.connection() as conn:
        waiting = await installation.jobs_that_may_send(conn)
    for account_id, job_id in waiting:
        with contextlib.suppress(Conflict, NotFound):  # it ended meanwhile
            await pause(pool, postroom_itself(account_id), job_id, reason=reason)
        reach("guard.after_pause")
    for dead in newer:
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
