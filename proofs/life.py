"""What people and programs ask of a job, each in a process of its own, so that it can die of it. Each may be asked again."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from postroom.config import read_settings
from postroom.domain.access import machine
from postroom.doors import logs, wiring
from postroom.doors.process import run
from postroom.doors.wiring import Postroom
from postroom.flow.content.preparing import Submission
from postroom.flow.job import approve, finish, pause, settlement
from postroom.flow.job.submit import IdempotencyKey, submit
from proofs.content import CONTENT, rows


def main(verb: str, *values: str) -> None:
    logs.configure()
    run(_main(verb, *values))


async def _main(verb: str, *values: str) -> None:
    async with wiring.opened(read_settings(), name="a person") as postroom:
        await VERBS[verb](postroom, *map(int, values))


async def _submit(postroom: Postroom, account_id: int, key: int, count: int, not_before: int) -> None:
    """With the same key it is the same job. `not_before` is in seconds of the epoch; its time has come where that is over."""
    known = IdempotencyKey(str(key), hashlib.sha256(str(count).encode()).digest())
    asked = Submission(machine(account_id, "prover"), CONTENT, not_before=datetime.fromtimestamp(not_before, UTC))
    await submit(postroom.pool, postroom.deployment, asked, rows(count), idempotency=known)


async def _approve(postroom: Postroom, account_id: int, job_id: int) -> None:
    await approve.approve(postroom.pool, machine(account_id, "boss"), job_id)


async def _cancel(postroom: Postroom, account_id: int, job_id: int) -> None:
    await finish.cancel(postroom.pool, machine(account_id, "boss"), job_id)


async def _pause(postroom: Postroom, account_id: int, job_id: int) -> None:
    await pause.pause(postroom.pool, machine(account_id, "boss"), job_id)


async def _resume(postroom: Postroom, account_id: int, job_id: int) -> None:
    await pause.resume(postroom.pool, machine(account_id, "boss"), job_id)


async def _assume_sent(postroom: Postroom, account_id: int, job_id: int, *positions: int) -> None:
    await settlement.settle(postroom.pool, postroom.deployment, machine(account_id, "boss"), job_id, "assume_sent",
                            positions=positions)


VERBS = {"submit": _submit, "approve": _approve, "cancel": _cancel, "pause": _pause, "resume": _resume,
         "assume_sent": _assume_sent}
