"""Settling what is unconfirmed, by a person: assume that the gateway has it, or send it again.

Postroom itself never does either. A person's word is evidence like any other, kept with the recipient and in the job's trail; if
it comes to light later what the gateway answered, or that it was never asked, that stands above it. Who is in somebody's hands
cannot be settled.

    assume_sent      unconfirmed -> sent
    send_again       in a sending job: unconfirmed -> unsent, due now
                     in a job that is over: unconfirmed -> failed here, and a linked job of exactly those, which passes the gate
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postroom.domain.access import Actor, Right
from postroom.domain.outcome import Kind
from postroom.errors import Conflict, Fault, InvalidInput, storable
from postroom.flow.account.acting import permitted
from postroom.flow.account.deployment import Deployment
from postroom.flow.content.preparing import Prepared
from postroom.flow.job.continuation import job_of_rest, message_of
from postroom.flow.job.submit import IdempotencyKey, earlier_job, remember
from postroom.ledger.account.accounts import lock_account
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import jobs, settlements
from postroom.ledger.job.jobs import JobOverview
from postroom.ledger.job.settlements import Doubt
from postroom.points import reach

DECISIONS = ("assume_sent", "send_again")
POSITIONS_TOLD = 5
WARNINGS = {
    "assume_sent": "Nobody can know whether the gateway has these messages: whoever it did not take gets none.",
    "send_again": "The gateway may have these messages already: whoever it took gets the message twice.",
}


@dataclass(frozen=True, slots=True)
class Settlement:
    """What came of a decision. `settled` recipients, 0 where the same request was settled before; `continuation` is the job that
    sends them again where this one is over."""

    decision: str
    settled: int
    warning: str
    job: JobOverview
    continuation: JobOverview | None


async def settle(pool: Pool, deployment: Deployment, actor: Actor, job_id: int, decision: str, *,
                 positions: Sequence[int] | None = None, note: str | None = None, waits_at_gate: bool = False,
                 idempotency: IdempotencyKey | None = None) -> Settlement:
    """All that are unconfirmed now, or those at `positions`: each of them or none. One transaction, so that a crash leaves either
    all of it or nothing. With `waits_at_gate` a job that sends them again waits for its approval however small it is.

    Raises NotFound; InvalidInput naming each position that cannot be settled; Conflict where nobody can.
    """
    account_id = permitted(actor, Right.WRITE_JOBS)
    if decision not in DECISIONS:
        raise InvalidInput(f'A decision is one of {", ".join(DECISIONS)}, not "{decision}".', field="decision")
    if note is not None:
        storable(note, "note")
    message = None
    if decision == "send_again":
        async with pool.connection() as conn:
            is_over = (await jobs.view_job(conn, account_id, job_id)).status.is_over
        if is_over:  # and stays so
            message = await message_of(pool, deployment, account_id, job_id)

    async def decide() -> Settlement:
        return await _settle(pool, deployment, account_id, job_id, decision, message, positions, actor, note, waits_at_gate,
                             idempotency)

    try:
        return await decide()
    except _HasEnded:  # meanwhile
        message = await message_of(pool, deployment, account_id, job_id)
        return await decide()


class _HasEnded(Exception):
    """Those who are sent again need a job of their own, and its message was not read."""


async def _settle(pool: Pool, deployment: Deployment, account_id: int, job_id: int, decision: str,
                  message: tuple[Prepared, int] | None, positions: Sequence[int] | None, by: Actor, note: str | None,
                  waits_at_gate: bool, idempotency: IdempotencyKey | None) -> Settlement:
    async with (deployment.freezing.taken(account_id, is_short=message is None), pool.connection() as conn,
                conn.transaction()):
        if (known := await earlier_job(conn, account_id, idempotency)) is not None:
            return await _told(conn, account_id, job_id, known, decision, 0)
        await lock_account(conn, account_id)
        is_over = (await jobs.lock_job(conn, account_id, job_id)).status.is_over
        doubted = await settlements.doubts(conn, account_id, job_id, positions)
        _are_all(job_id, doubted, positions)
        made = job_id
        if decision == "assume_sent":
            kind, reply, reason = Kind.SENT, f"Assumed sent by {by.name}.", "Assumed sent"
        elif not is_over:
            kind, reply, reason = Kind.RELEASED, f"Sent again by a decision of {by.name}.", "To be sent again"
        elif message is None:
            raise _HasEnded
        else:
            view = await jobs.view_job(conn, account_id, job_id)
            made = await job_of_rest(conn, deployment, view, message, "unconfirmed", by=by, waits_at_gate=waits_at_gate,
                                     positions=[one.position for one in doubted])
            kind, reply = Kind.FAILED, f"Sent again by a person's decision, in job {made}."
            reason = f"To be sent again in job {made}"
        await settlements.settle(conn, account_id, job_id, doubted, kind, reply if note is None else f"{reply} {note}")
        reason = f"{reason}: {len(doubted):,} unconfirmed."
        await jobs.record_event(conn, account_id, job_id, "settle", by=by, reason=reason if note is None else f"{reason} {note}")
        await remember(conn, account_id, idempotency, made)
        told = await _told(conn, account_id, job_id, made, decision, len(doubted))
        reach("flow.in_settlement")
    reach("flow.after_settlement")
    return told


def _are_all(job_id: int, doubted: Sequence[Doubt], positions: Sequence[int] | None) -> None:
    if positions is not None and (others := sorted(set(positions) - {one.position for one in doubted})):
        raise InvalidInput(
            f"Nothing was settled: of job {job_id}, no. {others[0]:,} is not unconfirmed, or is in a worker's hands.",
            faults=tuple(Fault(f"No. {one:,} is not unconfirmed, or is in a worker's hands.", "positions")
                         for one in others[:POSITIONS_TOLD]))
    if not doubted:
        raise Conflict(f"Nobody in job {job_id} is unconfirmed and could be settled.", job_id=job_id)


async def _told(conn: Connection, account_id: int, job_id: int, made: int, decision: str, settled: int) -> Settlement:
    continuation = None if made == job_id else await jobs.view_job(conn, account_id, made)
    return Settlement(decision, settled, WARNINGS[decision], await jobs.view_job(conn, account_id, job_id), continuation)
