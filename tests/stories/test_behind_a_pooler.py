"""The whole way through PgBouncer in session mode, its configuration as Debian has it."""

from __future__ import annotations

from acting import acting
from postroom.domain.job import Status
from postroom.flow.job import report
from postroom.flow.job.finish import cancel
from postroom.gateway.sandbox.script import Answer, Script
from postroom.ledger.database import db
from proofs.pgbouncer import pooler
from stage import eventually, staged

COUNT = 400
CONNECTIONS = 4


async def test_a_job_is_checked_sent_and_completed_through_a_pooler_in_session_mode(database: str) -> None:
    async with (pooler(database, "session") as pooled,
                await db.open_pool(pooled, size_max=4, name="postroom test", unsafe=True) as pool, staged(pool, pooled) as stage):
        account = await stage.account()
        async with stage.worker():
            job = await stage.started(account, COUNT)
            await stage.over(account, job.id)
        sides = await stage.sides(account, job.id)
        assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (COUNT, 0, 0, 0, 0))
        assert stage.sandbox.accepted == COUNT


async def test_a_cancel_reaches_a_worker_behind_a_pooler_at_once(database: str) -> None:
    """Workers hear of it by LISTEN, which a pooler in session mode passes on; by its lease this one would learn of it late."""
    async with (pooler(database, "session") as pooled,
                await db.open_pool(pooled, size_max=4, name="postroom test", unsafe=True) as pool, staged(pool, pooled) as stage):
        stage.sandbox.script = Script(dot=Answer(delay_s=0.1))
        account = await stage.account(connections=CONNECTIONS)
        async with stage.worker(lease_s=60):
            job = await stage.started(account, COUNT)
            await stage.until_accepted(20)
            await cancel(stage.pool, acting(account, "boss"), job.id)
            so_far = stage.sandbox.accepted

            async def nobody_is_in_hand() -> bool:
                return (await report.report(stage.pool, acting(account), job.id)).job.in_hand == 0
            await eventually(nobody_is_in_hand)
        assert stage.sandbox.accepted <= so_far + 2 * CONNECTIONS, "the message in hand and the one that was begun with it"
