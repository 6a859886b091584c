"""No room for the journal: nothing is sent, everybody is told why, and it goes on by itself when there is room.

The room is taken from a real worker process by its limit on the size of files, which the kernel holds as it holds a full disk.
"""

from __future__ import annotations

import asyncio
import resource

from acting import acting
from postroom.flow.job import report
from stage import Stage, eventually

LESS_THAN_A_JOURNAL = 200_000  # octets
MORE_THAN_A_JOURNAL_TELLS_OF = 9_000  # recipients


def leave_room_for(process: asyncio.subprocess.Process, octets: int) -> None:
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))


async def test_a_worker_that_starts_without_room_for_a_journal_waits_and_sends_when_there_is(stage: Stage) -> None:
    account = await stage.account()
    async with stage.worker_process() as process:
        leave_room_for(process, LESS_THAN_A_JOURNAL)
        job = await stage.started(account, 20)
        await asyncio.sleep(3)
        assert (process.returncode, stage.sandbox.accepted) == (None, 0)
        leave_room_for(process, resource.RLIM_INFINITY)
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts == (20, 0, 0, 0, 0)


async def test_a_worker_that_cannot_write_what_it_has_seen_waits_too(stage: Stage) -> None:
    account = await stage.account()
    in_the_way = stage.home / "journal"
    in_the_way.write_text("no directory")
    async with stage.worker():
        job = await stage.started(account, 20)
        await asyncio.sleep(1)
        assert stage.sandbox.accepted == 0
        in_the_way.unlink()
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts == (20, 0, 0, 0, 0)


async def test_a_disk_that_fills_up_in_the_middle_of_a_send_stops_it_with_the_reason_and_costs_nobody(stage: Stage) -> None:
    account = await stage.account()
    async with stage.worker_process() as process:
        job = await stage.started(account, MORE_THAN_A_JOURNAL_TELLS_OF)
        await stage.until_accepted(100)
        leave_room_for(process, LESS_THAN_A_JOURNAL)

        async def says_why() -> bool:
            told = await report.report(stage.pool, acting(account), job.id)
            return told.job.waits_for == "journal" and "cannot be written" in told.sentence and "Make room" in told.sentence
        await eventually(says_why)
        assert stage.sandbox.accepted < MORE_THAN_A_JOURNAL_TELLS_OF
        leave_room_for(process, resource.RLIM_INFINITY)
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts == (MORE_THAN_A_JOURNAL_TELLS_OF, 0, 0, 0, 0)
