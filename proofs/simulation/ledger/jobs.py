"""The statements of `ledger/job/jobs.sql` and `ledger/job/pauses.sql` that the life of a started job needs."""

from __future__ import annotations

import math
from dataclasses import fields

from postroom.domain.job import Status
from postroom.ledger.job.jobs import JobOverview
from proofs.simulation.ledger.tables import MOVES, Condition, Parameters, Rows, Tables

PASSING = ("journal", "gateway", "quota")


def lock_job(tables: Tables, now: float, given: Parameters) -> Rows:
    job = tables.job.get(given["job_id"])
    return [(job.status, b"", None)] if job is not None else []


def hold_status(tables: Tables, now: float, given: Parameters) -> Rows:
    job = tables.job.get(given["job_id"])
    return [(job.status,)] if job is not None else []


def move_job(tables: Tables, now: float, given: Parameters) -> Rows:
    job, target = tables.job[given["job_id"]], Status(given["target"])
    if job.status is not Status(given["origin"]):
        return []
    assert (job.status, target) in MOVES, f"a job does not go from {job.status} to {target}"
    if target is Status.COMPLETED:
        left = [chunk for chunk in tables.chunks_of(job.id) if chunk.unsent or chunk.window_open]
        assert not left, f"job {job.id} is not complete: {left}"
    tables.job[job.id] = job._replace(status=target, reason=given["reason"] or job.reason)
    if sum(one.status is Status.SENDING for one in tables.job.values() if one.account_id == job.account_id) > 1:
        raise AssertionError("one_sending_job_per_account")
    return [()]


def next_in_queue(tables: Tables, now: float, given: Parameters) -> Rows:
    mine = [job for job in tables.job.values() if job.account_id == given["account_id"]]
    if any(job.status is Status.SENDING for job in mine):
        return []
    waiting = [job for job in mine if job.status is Status.QUEUED and (job.id, "paused") not in tables.condition]
    return [(job.id, job.lanes) for job in sorted(waiting, key=lambda job: job.queue_no or 0)[:1]]


def fence_chunks(tables: Tables, now: float, given: Parameters) -> Rows:
    for chunk in tables.chunks_of(given["job_id"]):
        if chunk.unsent > 0:
            chunk = chunk._replace(lease_epoch=chunk.lease_epoch + 1)
            tables.put(chunk if chunk.window_open else chunk._replace(owner=None, lease_until=None))
    return []


def has_nothing_left(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(not any(chunk.unsent or chunk.window_open for chunk in tables.chunks_of(given["job_id"])),)]


def view_job(tables: Tables, now: float, given: Parameters) -> list[dict[str, object]]:
    """Of the overview what the flow reads: status and counts."""
    job = tables.job.get(given["job_id"])
    if job is None:
        return []
    counts = tables.counts(job.id)
    known = {**counts, "id": job.id, "account_id": job.account_id, "status": job.status, "lanes": job.lanes,
             "recipient_count": job.recipient_count, "unsent": job.recipient_count - sum(counts.values())}
    return [{one.name: known.get(one.name) for one in fields(JobOverview)}]


def record_event(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def set_condition(tables: Tables, now: float, given: Parameters) -> Rows:
    key = given["job_id"], given["kind"]
    before, until = tables.condition.get(key), now + given["delay_s"]
    if before is None:
        tables.condition[key] = Condition(given["reason"], now, until, 1, "postroom")
    elif before.until <= now:
        tables.condition[key] = before._replace(reason=given["reason"], until=until, times=before.times + 1)
    return []


def condition_times(tables: Tables, now: float, given: Parameters) -> Rows:
    found = tables.condition.get((given["job_id"], given["kind"]))
    return [(found.times,)] if found is not None else []


def clear_conditions(tables: Tables, now: float, given: Parameters) -> Rows:
    for kind in PASSING:
        tables.condition.pop((given["job_id"], kind), None)
    return []


def insert_pause(tables: Tables, now: float, given: Parameters) -> Rows:
    key = given["job_id"], "paused"
    before, reason = tables.condition.get(key), given["reason"]
    if before is None:
        tables.condition[key] = Condition(reason, now, math.inf, 1, given["by"])
    elif given["adds"] and reason not in before.reason:
        tables.condition[key] = before._replace(reason=". ".join(filter(None, (before.reason.rstrip(". "), reason))))
    else:
        return []
    return [(True,)]


def delete_pause(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(True,)] if tables.condition.pop((given["job_id"], "paused"), None) is not None else []


def tell_workers(tables: Tables, now: float, given: Parameters) -> Rows:
    return []
