"""From a list to a gateway: the whole way on real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from postroom.domain.job import Status
from postroom.flow.approve import approve
from stage import Stage, staged


@pytest.fixture
async def stage(pool, database) -> AsyncIterator[Stage]:
    async with staged(pool, database) as stage:
        yield stage


async def test_a_small_job_is_sent_without_anybody_asking(stage: Stage) -> None:
    account = await stage.account()
    async with stage.worker():
        job = await stage.submit(account, 99)
        assert job.status is Status.SENDING
        done = await stage.over(account, job.id)
    assert (done.status, done.sent, stage.sandbox.accepted) == (Status.COMPLETED, 99, 99)


async def test_a_large_job_waits_for_a_person(stage: Stage) -> None:
    account = await stage.account()
    async with stage.worker():
        job = await stage.submit(account, 1000)
        assert job.status is Status.PENDING_APPROVAL
        await approve(stage.pool, account, job.id, by="boss", digest=job.digest)
        done = await stage.over(account, job.id)
    assert (done.status, done.sent, stage.sandbox.accepted) == (Status.COMPLETED, 1000, 1000)
