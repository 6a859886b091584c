"""Two or more who want the same thing at once: one of them gets it, one event says so, and the others are told what happened.

Everybody has a connection of his own to a real PostgreSQL and waits at a barrier. Cancels race with completions; approvals with
approvals, by the fifty; jobs are created and approved by twenty at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from postroom.domain.access import machine
from postroom.domain.job import Status
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.errors import Conflict
from postroom.flow.account import accounts, gateways
from postroom.flow.account.deployment import Deployment
from postroom.flow.account.secrets import SecretBox
from postroom.flow.check.preflight import Checks
from postroom.flow.content.preparing import Submission
from postroom.flow.job import finish, report
from postroom.flow.job.approve import approve
from postroom.flow.job.submit import submit
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import Claim, Window
from postroom.ledger.job.jobs import JobOverview
from proofs.content import CONTENT, rows
from proofs.installation import SECRET_KEY
from proofs.place import database
from proofs.verdict import Say, Scale, Verdict

APPROVERS = 50
CREATORS = 20
SAYS_EVERY = 100  # jobs
THRESHOLD = 2

VERBS = "SELECT verb FROM job_event WHERE job_id = %s ORDER BY id"
APPROVALS = "SELECT count(*) FROM approval WHERE job_id = %s"
SENDING = "SELECT count(*) FROM job WHERE account_id = %s AND status = 'sending'"


async def at_once(*runners: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What each returned or raised, all of them having begun together."""
    barrier = asyncio.Barrier(len(runners))

    async def run(runner: Callable[[], Awaitable[Any]]) -> Any:
        await barrier.wait()
        return await runner()
    return await asyncio.gather(*map(run, runners), return_exceptions=True)


def all_sent(window: Window) -> list[Outcome]:
    return [Outcome(one.position, one.attempt_no, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "2.0.0 Ok")
            for one in window.recipients]


@dataclass
class Contest:
    """The races, on one database. `faults` is what came out otherwise than promised."""

    pool: Pool
    deployment: Deployment = field(default_factory=lambda: Deployment(SecretBox(SECRET_KEY), helo_name="worker.example"))
    faults: list[str] = field(default_factory=list)

    async def account(self, name: str, *, lanes: int = 1, threshold: int = 100) -> int:
        """Its gateway does not exist, and is not needed: nothing here leaves the ledger."""
        account = await accounts.create_account(self.pool, name, approval_threshold=threshold)
        await gateways.create_gateway(self.pool, SecretBox(SECRET_KEY), machine(account.id, "proof"), name="main",
                                      host="127.0.0.1", port=9,
                                      security="none", connections=lanes, signs_dkim=True)
        return account.id

    async def job(self, account_id: int, count: int) -> JobOverview:
        """Submitted, and if it is to be approved, checked."""
        job = await submit(self.pool, self.deployment, Submission(machine(account_id, "prover"), CONTENT), rows(count))
        checks = Checks(self.pool, self.deployment)
        while job.status is Status.PENDING_APPROVAL and await checks.check(account_id, job.id, True):
            pass
        return (await report.report(self.pool, machine(account_id, "proof"), job.id)).job

    async def ask(self, statement: str, value: int) -> list[Any]:
        async with self.pool.connection() as conn:
            return [row[0] for row in await (await conn.execute(statement, (value,))).fetchall()]

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)

    # -- the races

    async def cancel_or_complete(self, account_id: int) -> Status:
        """The last recipient is booked; now a person cancels, and the worker completes."""
        job = await self.job(account_id, 1)
        await self._hand_off(account_id, job.id)
        completed, cancelled = await at_once(partial(finish.complete, self.pool, account_id, job.id),
                                             partial(finish.cancel, self.pool, machine(account_id, "boss"), job.id))
        view = (await report.report(self.pool, machine(account_id, "proof"), job.id)).job
        ends = [verb for verb in await self.ask(VERBS, job.id) if verb in ("complete", "cancel", "fail")]
        if view.status is Status.COMPLETED:
            answered = completed is True and isinstance(cancelled, Conflict)
        else:
            answered = completed is False and isinstance(cancelled, JobOverview) and cancelled.status is Status.CANCELLED
        self.expect(answered and view.status in (Status.COMPLETED, Status.CANCELLED),
                    f"Job {job.id} is {view.status}, and was answered {completed!r} and {cancelled!r}.")
        self.expect(ends == ["complete" if view.status is Status.COMPLETED else "cancel"], f"Job {job.id} ended by {ends}.")
        self.expect((view.sent, view.unsent, view.unconfirmed) == (1, 0, 0), f"Job {job.id} lost its recipient.")
        return view.status

    async def approvals(self, account_id: int, times: int) -> None:
        """Many people approve one job, or a few people many times."""
        job = await self.job(account_id, THRESHOLD)
        answers = await at_once(*(partial(approve, self.pool, machine(account_id, f"boss {n % 7}"), job.id, digest=job.digest)
                                  for n in range(times)))
        approvers = {answer.approved_by for answer in answers if isinstance(answer, JobOverview)}
        self.expect(all(isinstance(answer, JobOverview) for answer in answers) and len(approvers) == 1,
                    f"Of job {job.id}'s approvals some were answered otherwise: {answers[:3]}")
        self.expect(await self.ask(APPROVALS, job.id) == [1], f"Job {job.id} has not one approval.")
        verbs = await self.ask(VERBS, job.id)
        self.expect(verbs == ["submit", "approve", "start"], f"Job {job.id} lived {verbs}.")
        await finish.cancel(self.pool, machine(account_id, "boss"), job.id)

    async def creations(self, account_id: int, times: int) -> None:
        """Many create a job and approve it at once: one is sending, the others stand in the order of their approvals."""
        async def create() -> JobOverview:
            job = await self.job(account_id, THRESHOLD)
            return await approve(self.pool, machine(account_id, "boss"), job.id, digest=job.digest)

        answers = await at_once(*[create] * times)
        self.expect(all(isinstance(answer, JobOverview) for answer in answers), f"Not every job was made: {answers[:3]}")
        made = [answer.id for answer in answers if isinstance(answer, JobOverview)]
        self.expect(await self.ask(SENDING, account_id) == [1], f"Account {account_id} has not one job that is sending.")
        views = [(await report.report(self.pool, machine(account_id, "proof"), job_id)).job for job_id in made]
        positions = sorted(view.queue_position for view in views if view.queue_position)
        self.expect(positions == list(range(1, times)), f"Account {account_id}'s queue is {positions}.")
        for view in sorted(views, key=lambda view: view.queue_position or 0, reverse=True):
            await finish.cancel(self.pool, machine(account_id, "boss"), view.id)

    async def one_window(self, conn: Any, claim: Claim) -> None:
        if (window := await windows.turn_window(conn, claim, [], 1)) is not None:
            await windows.turn_window(conn, claim, all_sent(window), 0)

    async def _hand_off(self, account_id: int, job_id: int) -> None:
        """Everybody, with a gateway that takes all, and nobody completes the job."""
        async with self.pool.connection() as conn:
            while (claim := await windows.claim_chunk(conn, account_id, job_id, owner="worker", lease_s=30)) is not None:
                await self.one_window(conn, claim)
                await windows.release_chunk(conn, claim)


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    cancels, jobs_approved, creations = scale.of(10_000, 300), scale.of(1_000, 2), scale.of(200, 10)
    async with database(connections=APPROVERS) as (sampling, pool):
        contest = Contest(pool)
        endings: Counter[Status] = Counter()
        racers = [await contest.account(f"Racers {n}") for n in range(4)]  # an account sends one job at a time

        async def race(account_id: int, times: int) -> None:
            for _ in range(times):
                endings[await contest.cancel_or_complete(account_id)] += 1

        await asyncio.gather(*(race(account_id, cancels // len(racers)) for account_id in racers))
        say(f"{cancels} cancels against completions: {dict(endings)}")
        board = await contest.account("Board", threshold=THRESHOLD)
        for done in range(1, jobs_approved + 1):
            await contest.approvals(board, APPROVERS)
            if done % SAYS_EVERY == 0:
                say(f"{done} jobs, each approved by {APPROVERS} at once")
        for _ in range(creations):
            await contest.creations(board, CREATORS)
        say(f"{creations} x {CREATORS} creations")
    return Verdict({"cancel or complete": endings.total(), "ended by the cancel": endings[Status.CANCELLED],
                    "jobs approved by many at once": jobs_approved, "approvals of these": jobs_approved * APPROVERS,
                    "creations and approvals at once": creations * CREATORS,
                    **sampling.figures}, contest.faults[:20] + sampling.found[:5])
