"""Workers that are killed, told to stop, or frozen in the middle of a send, as real processes. Another one goes on.

Nothing is lost and nothing is sent twice; doubt is where the design allows it and nowhere else.
"""

from __future__ import annotations

import asyncio
import signal

from acting import acting
from postroom.domain.job import Status
from postroom.domain.pace import WINDOW_SIZE_MAX
from postroom.flow.job import finish
from postroom.gateway.sandbox.script import Answer, Script
from stage import Stage, eventually, journal_files

CONNECTIONS = 4
COUNT = 600
SLOWLY = Script(dot=Answer(delay_s=0.005))
CONNECTED = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'postroom worker%%'"


async def left_in_hand(stage: Stage, account: int, job_id: int) -> set[int]:
    """What the dead had in hand: the server may still commit what they asked for last."""
    async def is_disconnected() -> bool:
        return not await stage.query(CONNECTED)
    await eventually(is_disconnected)
    return await stage.open_windows(account, job_id)


async def test_a_worker_that_is_killed_leaves_doubt_only_about_what_it_had_in_hand(stage: Stage) -> None:
    stage.sandbox.script = SLOWLY
    account = await stage.account(connections=CONNECTIONS)
    async with stage.worker_process(lease_s=1.5) as first, stage.worker_process(lease_s=1.5) as second:
        second.send_signal(signal.SIGSTOP)  # it is there, but has not begun
        job = await stage.started(account, COUNT)
        await stage.until_accepted(150)
        first.kill()
        await first.wait()
        in_hand = await left_in_hand(stage, account, job.id)
        second.send_signal(signal.SIGCONT)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    doubted = sides.positions("unconfirmed")
    assert sides.numbers.status is Status.COMPLETED
    assert sides.counts == (COUNT - len(doubted), 0, 0, len(doubted), 0)
    assert doubted <= in_hand
    assert len(doubted) <= CONNECTIONS, "one message a session was between dot and reply; the journal tells the rest apart"
    assert {sides.told[position].evidence for position in doubted} == {"crash_after_dot"}


async def test_a_worker_that_is_killed_and_whose_journal_is_lost_leaves_doubt_about_all_that_it_had_in_hand(stage: Stage) -> None:
    stage.sandbox.script = SLOWLY
    account = await stage.account(connections=CONNECTIONS)
    async with stage.worker_process(lease_s=1.5) as first, stage.worker_process(lease_s=1.5) as second:
        second.send_signal(signal.SIGSTOP)
        job = await stage.started(account, COUNT)
        await stage.until_accepted(150)
        first.kill()
        await first.wait()
        for journal in journal_files(stage.home):
            journal.unlink()
        in_hand = await left_in_hand(stage, account, job.id)
        second.send_signal(signal.SIGCONT)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    doubted = sides.positions("unconfirmed")
    assert sides.counts == (COUNT - len(doubted), 0, 0, len(doubted), 0)
    assert doubted == in_hand
    assert 0 < len(in_hand) <= CONNECTIONS * WINDOW_SIZE_MAX
    assert {sides.told[position].evidence for position in doubted} == {"lease_lost"}


async def test_a_worker_that_starts_after_the_lease_reads_the_journal_of_the_dead_before_anybody_is_called_in_doubt(
        stage: Stage) -> None:
    stage.sandbox.script = SLOWLY
    account = await stage.account(connections=CONNECTIONS)
    async with stage.worker_process(lease_s=1) as first:
        job = await stage.started(account, COUNT)
        await stage.until_accepted(150)
        first.kill()
        await first.wait()
    assert await stage.open_windows(account, job.id)
    await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    await asyncio.sleep(1)
    async with stage.worker_process(lease_s=1) as second:
        await stage.over(account, job.id)
        second.terminate()
        assert await second.wait() == 0
    assert await stage.query("SELECT position FROM outcome WHERE job_id = %s AND evidence = 'lease_lost'", job.id) == []
    assert (await stage.sides(account, job.id)).numbers.unconfirmed <= CONNECTIONS
    assert list(journal_files(stage.home)) == []


async def test_a_worker_that_is_told_to_stop_leaves_no_doubt_at_all(stage: Stage) -> None:
    stage.sandbox.script = SLOWLY
    account = await stage.account(connections=CONNECTIONS)
    async with stage.worker_process(lease_s=5) as first:
        job = await stage.started(account, COUNT)
        await stage.until_accepted(150)
        first.terminate()
        assert await first.wait() == 0
        assert await stage.open_windows(account, job.id) == set()
        left_off_at = stage.sandbox.accepted
        assert left_off_at < COUNT
        async with stage.worker_process(lease_s=5):
            await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (COUNT, 0, 0, 0, 0))
    assert len(sides.taken) == stage.sandbox.accepted == COUNT


async def test_stopping_one_of_two_workers_leaves_the_whole_to_the_other(stage: Stage) -> None:
    stage.sandbox.script = SLOWLY
    account = await stage.account(connections=CONNECTIONS)
    async with stage.worker_process() as first, stage.worker_process():
        await stage.until_working(2)
        job = await stage.started(account, COUNT)
        await stage.until_accepted(150)
        first.terminate()
        assert await first.wait() == 0
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts == (COUNT, 0, 0, 0, 0)


async def test_a_worker_that_wakes_up_after_its_lease_settles_what_it_knows_and_begins_nothing(stage: Stage) -> None:
    stage.sandbox.script = SLOWLY
    account = await stage.account(connections=CONNECTIONS)
    async with stage.worker_process(lease_s=1) as first:
        job = await stage.started(account, 2 * COUNT)
        await stage.until_accepted(150)
        first.send_signal(signal.SIGSTOP)
        in_hand = await stage.open_windows(account, job.id)
        async with stage.worker_process(lease_s=1, concurrency=2):
            async def taken_over() -> bool:
                rows = await stage.query("SELECT 1 FROM outcome WHERE job_id = %s AND evidence = 'lease_lost' LIMIT 1", job.id)
                return bool(rows)
            await eventually(taken_over)
            first.send_signal(signal.SIGCONT)
            await stage.over(account, job.id)
            first.terminate()
            assert await first.wait() == 0
    sides = await stage.sides(account, job.id)
    assert in_hand
    assert sides.numbers.status is Status.COMPLETED
    assert sides.counts == (2 * COUNT, 0, 0, 0, 0), "it knew of each whether it was handed off, so nobody is left in doubt"


async def test_a_worker_that_wakes_up_after_the_job_is_over_still_settles_what_it_knows(stage: Stage) -> None:
    stage.sandbox.script = SLOWLY
    account = await stage.account(connections=CONNECTIONS)
    async with stage.worker_process(lease_s=1) as first:
        job = await stage.started(account, COUNT)
        await stage.until_accepted(150)
        first.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.1)  # what it had written already is still answered
        async with stage.worker_process(lease_s=1):
            await stage.over(account, job.id)
        doubted = (await stage.sides(account, job.id)).positions("unconfirmed")
        assert doubted
        first.send_signal(signal.SIGCONT)

        async def settled() -> bool:
            return not (await stage.sides(account, job.id)).positions("unconfirmed")
        await eventually(settled)
    sides = await stage.sides(account, job.id)
    never_begun = sides.positions("failed")
    assert never_begun <= doubted
    assert never_begun.isdisjoint(sides.taken)
    assert sides.counts == (COUNT - len(never_begun), len(never_begun), 0, 0, 0)
