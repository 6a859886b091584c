"""What must be true at the end of a run: the gateway's truth, the ledger's last word and its counters, compared; and what each
last word rests on, asked as the checker of real installations asks it.
"""

from __future__ import annotations

from postroom.domain.job import Status
from postroom.domain.outcome import Evidence, Kind
from proofs import checker
from proofs.checker import Foundation, is_founded
from proofs.simulation.ledger.tables import Told
from proofs.simulation.outgoing import ATTEMPTS_MAX
from proofs.simulation.world import World


def broken(world: World) -> list[str]:
    """A sentence for each promise that does not hold."""
    tables, taken, found = world.database.tables, world.gateway.taken, []
    intended = {(job_id, *attempt) for (job_id, _, _), window in tables.window.items() for attempt in window.attempts}
    for job in tables.job.values():
        counts = tables.counts(job.id)
        if counts != (recount := tables.recount(job.id)):
            found.append(f"job {job.id} counts {counts}, but its outcomes are {recount}")
        if not job.status.is_over or any(chunk.window_open for chunk in tables.chunks_of(job.id)):
            found.append(f"job {job.id} does not come to its end: it is {job.status}, {counts}")
        if job.status is Status.COMPLETED and sum(counts.values()) != job.recipient_count:
            found.append(f"job {job.id} is completed with {job.recipient_count - sum(counts.values())} unsent")
        found += [f"recipient {job.id}.{position} {fault}: {tables.outcome.get((job.id, position))}"
                  for position in range(1, job.recipient_count + 1)
                  if (fault := _fault(world, job.id, position, taken[job.id, position], intended)) is not None]
    return found


def _fault(world: World, job_id: int, position: int, times: int, intended: set[tuple[int, int, int]]) -> str | None:
    told = world.database.tables.latest(job_id, position)
    kind = None if told is None else told.kind
    again = sum(one.evidence is Evidence.PERSON and one.kind is Kind.RELEASED
                for one in world.database.tables.outcome.get((job_id, position), ()))
    if times > 1 + again:
        return f"was accepted {times} times, and sent again by a person {again} times"
    if told is not None and kind is Kind.SENT and not times and told.evidence is not Evidence.PERSON:
        return "is called sent, and was never accepted"
    if times and not again and kind not in (Kind.SENT, Kind.UNCONFIRMED):
        return f"was accepted, and is {kind}"
    if told is not None and kind is Kind.UNCONFIRMED and not _may_be_in_doubt(world, job_id, position):
        return "is unconfirmed, and nothing happened that would make it doubtful"
    if told is None and (job_id, position, 1) in intended:
        return "was in a window, and nothing is told of it"
    if told is not None and kind is not Kind.SENT and not _rests_on_something(
            world, job_id, position, told, is_intended=(job_id, position, told.attempt_no) in intended):
        return f"is {kind}, and nothing happened that it would rest on"
    return None


def _rests_on_something(world: World, job_id: int, position: int, told: Told, *, is_intended: bool) -> bool:
    tables, gateway = world.database.tables, world.gateway
    one, outcomes = tables.recipient[job_id][position - 1], tables.outcome[job_id, position]
    was_doubted = any(was.kind is Kind.UNCONFIRMED and was.attempt_no == told.attempt_no for was in outcomes)
    refused = gateway.refused.get((job_id, position), set())
    if told.kind is Kind.REFUSED or told.evidence is Evidence.WORKER or told.attempt_no >= ATTEMPTS_MAX or was_doubted:
        refused = refused | gateway.refused_sender  # nobody is failed at once by what was said before anybody was named
    return is_founded(checker.Told(told.kind, told.attempt_no, told.evidence, told.code, told.reply), Foundation(
        refused, is_intended, was_doubted, one.address in tables.suppression, "duplicate" if one.booked else None), ATTEMPTS_MAX)


def _may_be_in_doubt(world: World, job_id: int, position: int) -> bool:
    """Its answer was lost on the way, or what its worker knew: with its journal, or on a machine where nobody works any more."""
    owners = {window.owner for key, window in world.database.tables.window.items()
              if key[0] == job_id and any(one == position for one, _ in window.attempts)}
    staffed = {process.host for process in world.workers if not process.is_dead}
    return (job_id, position) in world.gateway.in_doubt or any(
        owner in world.blind or owner.partition(":")[0] not in staffed for owner in owners)
