"""Workers that are killed or frozen in the middle of a pre-flight: another one finishes it, and each finding counts once.

Between claiming a chunk and looking at it a worker asks the gateway what it can take: one that greets nobody holds it there.
"""

from __future__ import annotations

import signal
from dataclasses import replace

from acting import acting
from postroom.domain.audience import IncomingRow
from postroom.domain.preflight import Preflight
from postroom.flow.check.preflight import Checks
from postroom.flow.job.approve import approve
from postroom.flow.job.report import preflight_of
from postroom.gateway.sandbox.script import Answer, Script
from postroom.ledger.job.jobs import JobOverview
from stage import CONTENT, Stage, eventually

COUNT = 240
FIELDS = replace(CONTENT, subject="{{ subject }}", html=None, text="Dear {{ name }}\n")
GREETS_NOBODY = Script(connect=Answer(delay_s=30))


def people() -> list[IncomingRow]:
    """Every third has no name, every fifth a subject that no header can hold."""
    return [IncomingRow(n + 1, f"person{n}@list.example",
                        {"name": "" if n % 3 == 0 else "Ann", "subject": "two\nlines" if n % 5 == 0 else "one"})
            for n in range(1, COUNT + 1)]


async def half_checked(stage: Stage) -> JobOverview:
    """A job of which some chunks were looked at."""
    job = await stage.submit(await stage.account(), people(), content=FIELDS, field_policy="blank")
    checks = Checks(stage.pool, stage.deployment)
    for _ in range(3):
        assert await checks.check(job.account_id, job.id, True)
    return job


async def chunk_in_hand(stage: Stage, job: JobOverview) -> int:
    """The chunk that a worker has claimed and not looked at."""
    async def claimed() -> list[int]:
        return [row[0] for row in await stage.query(
            "SELECT chunk_no FROM preflight WHERE job_id = %s AND lease_until IS NOT NULL AND findings IS NULL", job.id)]
    (chunk_no,) = await eventually(claimed)
    return chunk_no


async def end_its_lease(stage: Stage, job: JobOverview, chunk_no: int) -> None:
    await stage.query("UPDATE preflight SET lease_until = now() - interval '1 s' WHERE job_id = %s AND chunk_no = %s RETURNING 1",
                      job.id, chunk_no)


async def found(stage: Stage, job: JobOverview) -> Preflight:
    return await preflight_of(stage.pool, acting(job.account_id), job.id)


async def until_done(stage: Stage, job: JobOverview) -> None:
    async def done() -> bool:
        return (await found(stage, job)).is_done
    await eventually(done)


def assert_right(preflight: Preflight) -> None:
    assert (preflight.to_check, preflight.checked) == (COUNT, COUNT)
    assert [(one.kind.value, one.count) for one in preflight.findings] == [
        ("blank_field", len([n for n in range(1, COUNT + 1) if n % 3 == 0 and n % 5])), ("unrenderable", COUNT // 5)]


async def test_what_a_killed_worker_had_in_hand_is_looked_at_by_another(stage: Stage) -> None:
    job = await half_checked(stage)
    stage.sandbox.script = GREETS_NOBODY
    async with stage.worker_process() as first:
        chunk_no = await chunk_in_hand(stage, job)
        first.kill()
        await first.wait()
    stage.sandbox.script = Script()
    [before] = await stage.query("SELECT count(*), sum(n) FROM preflight WHERE job_id = %s AND findings IS NOT NULL", job.id)
    assert before[0] == 4, "the message as a whole, and three chunks"
    async with stage.worker_process():
        async def all_but_one() -> bool:
            return (await stage.query("SELECT chunk_no FROM preflight WHERE findings IS NULL")) == [(chunk_no,)]
        await eventually(all_but_one)
        await end_its_lease(stage, job, chunk_no)
        await until_done(stage, job)
        assert_right(await found(stage, job))
        await approve(stage.pool, acting(job.account_id, "boss"), job.id, digest=job.digest)
        await stage.over(job.account_id, job.id)
    assert (await stage.sides(job.account_id, job.id)).counts == (COUNT - COUNT // 5, COUNT // 5, 0, 0, 0)


async def test_the_late_look_of_a_worker_that_was_frozen_changes_nothing(stage: Stage) -> None:
    """It found the gateway silent, which the first look did not: so it shows which of the two stands."""
    job = await half_checked(stage)
    stage.sandbox.script = GREETS_NOBODY
    async with stage.worker_process() as first:
        chunk_no = await chunk_in_hand(stage, job)
        first.send_signal(signal.SIGSTOP)
        stage.sandbox.script = Script()
        await end_its_lease(stage, job, chunk_no)
        await stage.check(job)
        told = await stage.query("SELECT chunk_no, findings::text, checked_at FROM preflight ORDER BY chunk_no")
        first.send_signal(signal.SIGCONT)
        first.terminate()
        assert await first.wait() == 0, "it has finished the look that it had in hand"
    assert await stage.query("SELECT chunk_no, findings::text, checked_at FROM preflight ORDER BY chunk_no") == told
    assert_right(await found(stage, job))
