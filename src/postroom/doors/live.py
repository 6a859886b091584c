"""Live progress: one reader of a job for all who watch it in this process, however many they are.

Promises: a viewer gets the job as it is now, at once, and then each newer state, always whole: after a lost connection the
first event is right again. A slow viewer misses states in between and never the latest. Nobody watching, nothing is read.
A database that is away makes the stream quiet, not wrong: it goes on when the database is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from postroom.domain.access import postroom_itself
from postroom.errors import NotFound, Unavailable
from postroom.flow.job.report import JobReport, Pool, watch
from postroom.tasks import end

RETRY_AFTER_S = 2.0
QUIET_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watched:
    """One job that somebody watches. `version` counts its states; `over` with no newer state ends the streams."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    latest: JobReport | None = None
    version: int = 0
    viewers: int = 0
    over: bool = False
    error: Exception | None = None
    reader: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Wakes whoever waits now; the next wait is for the next change."""
        self.changed.set()
        self.changed = asyncio.Event()


class Live:
    """Hands out the states of jobs. One of it per process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._watched: dict[tuple[int, int], _Watched] = {}

    async def follow(self, account_id: int, job_id: int) -> AsyncGenerator[JobReport | None, None]:
        """The job now, then each newer state, until it is over; None when there was none for QUIET_S.

        Use it within `contextlib.aclosing`. Raises NotFound.
        """
        watched = self._join(account_id, job_id)
        seen = 0
        try:
            while True:
                changed = watched.changed
                if watched.version > seen and watched.latest is not None:
                    seen = watched.version
                    yield watched.latest
                elif watched.error is not None:
                    raise watched.error
                elif watched.over:
                    return
                else:
                    try:
                        async with asyncio.timeout(QUIET_S):
                            await changed.wait()
                    except TimeoutError:
                        yield None
        finally:
            await self._leave((account_id, job_id), watched)

    def _join(self, account_id: int, job_id: int) -> _Watched:
        watched = self._watched.get((account_id, job_id))
        if watched is None or watched.over or watched.error is not None:
            watched = self._watched[account_id, job_id] = _Watched()
            watched.reader = asyncio.create_task(self._read(watched, account_id, job_id))
        watched.viewers += 1
        return watched

    async def _leave(self, key: tuple[int, int], watched: _Watched) -> None:
        watched.viewers -= 1
        if watched.viewers == 0:
            if self._watched.get(key) is watched:
                del self._watched[key]
            if watched.reader is not None:
                await end(watched.reader)

    async def _read(self, watched: _Watched, account_id: int, job_id: int) -> None:
        while not watched.over and watched.error is None:
            try:
                async with aclosing(watch(self._pool, postroom_itself(account_id), job_id)) as states:
                    async for state in states:
                        watched.latest = state
                        watched.version += 1
                        watched.wake()
                watched.over = True
            except Unavailable as error:
                log.warning("a watched job cannot be read now", job=job_id, error=str(error))
                await asyncio.sleep(RETRY_AFTER_S)
            except NotFound as error:
                watched.error = error
            except Exception as error:
                log.exception("a watched job cannot be read", job=job_id)
                watched.error = error
        watched.wake()
