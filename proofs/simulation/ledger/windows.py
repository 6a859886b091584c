"""The statements of `ledger/delivery/windows.sql`, a function for each, by its name: what they do to the tables, and their rows.

`now` is the database's clock. The differential runs hold them against the real ones.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from operator import add
from typing import NamedTuple

from postroom.domain.job import Status
from postroom.domain.outcome import Contradiction, Evidence, Kind
from proofs.simulation.ledger.tables import COUNTED, STRENGTH, Chunk, Parameters, Retry, Rows, Tables, Told, Window, array

AGAIN = (Kind.REFUSED, Kind.RELEASED)
HOLDING = ("paused", "journal", "gateway", "quota")
NOBODY = Contradiction(0, 0, 0, 0)
DOUBTFUL = (Evidence.LEASE_LOST, Evidence.CRASH_AFTER_DOT, Evidence.PERSON)


class Booked(NamedTuple):
    position: int
    told: Told
    delay_s: float | None
    refusals: int


def _booked(given: Parameters, now: float) -> list[Booked]:
    names = ("positions", "attempts", "kinds", "evidences", "codes", "enhanced_codes", "replies")
    columns = [array(given[name]) for name in names]
    n = len(columns[0])
    delays = array(given["delays_s"]) if "delays_s" in given else [None] * n
    refusals = array(given["refusals"]) if "refusals" in given else ["0"] * n
    return [Booked(int(p), Told(int(a), Kind(k), Evidence(e), None if c is None else int(c), x, r, now),
                   None if d is None else float(d), int(f))
            for p, a, k, e, c, x, r, d, f in zip(*columns, delays, refusals, strict=True)]


def _chunk(tables: Tables, given: Parameters) -> Chunk | None:
    return tables.chunk.get((given["job_id"], given["chunk_no"]))


def _counted(chunk: Chunk, kind: Kind | None, by: int) -> Chunk:
    name = COUNTED.get(kind) if kind is not None else None
    return chunk if name is None else chunk._replace(**{name: getattr(chunk, name) + by})


def claim_chunk(tables: Tables, now: float, given: Parameters) -> Rows:
    job_id = given["job_id"]
    if tables.sequence.get("beat", 0) < given["beat"] or (job_id, "paused") in tables.condition:
        return []
    free = [chunk for chunk in tables.chunks_of(job_id) if chunk.is_free(now)]
    if not free:
        return []
    probed = (job_id, "gateway") in tables.condition
    def turn(chunk: Chunk) -> tuple[bool, float, int]:
        is_last = probed and chunk.next_position >= chunk.first_position + chunk.n
        return is_last, (chunk.available_at or -inf) if is_last else 0.0, chunk.chunk_no
    before = min(free, key=turn)
    chunk = before._replace(lease_epoch=before.lease_epoch + 1, owner=given["owner"], available_at=None,
                            lease_until=now + given["lease_s"])
    tables.put(chunk)
    return [(chunk.chunk_no, chunk.lease_epoch, chunk.next_position, chunk.first_position + chunk.n - 1, chunk.window_no,
             before.window_open)]


def lose_window(tables: Tables, now: float, given: Parameters) -> Rows:
    chunk = _chunk(tables, given)
    if chunk is None or not chunk.window_open:
        return []
    window = tables.window[chunk.job_id, chunk.chunk_no, chunk.window_no]
    for position, attempt_no in window.attempts:
        tables.tell(chunk.job_id, position, Told(attempt_no, Kind.UNCONFIRMED, Evidence.LEASE_LOST, None, None,
                                                 "The worker that had it in hand went away.", now))
    tables.put(chunk._replace(unconfirmed=chunk.unconfirmed + len(window.attempts), window_open=False))
    return [()]


def turn_window(tables: Tables, now: float, given: Parameters) -> Rows:
    chunk = _chunk(tables, given)
    if chunk is None or (chunk.lease_epoch, chunk.next_position, chunk.window_no) != (
            given["epoch"], given["next_position"], given["window_no"]):
        return []
    job_id, size = chunk.job_id, given["size"]
    recipients = tables.recipient[job_id]
    for one in _booked(given, now):
        tables.tell(job_id, one.position, one.told)
        chunk = _counted(chunk, one.told.kind, 1)
        if one.told.kind is Kind.SENT:
            chunk = chunk._replace(accepted_after=now - given["open_s"], accepted_before=now)
    fresh = [position for position in range(given["next_position"], given["last_position"] + 1)
             if not recipients[position - 1].booked][:size]
    taken = []
    for position in fresh:
        reason = tables.suppression.get(recipients[position - 1].address)
        if reason is None:
            taken.append(position)
        else:
            tables.tell(job_id, position, Told(1, Kind.SKIPPED, Evidence.SUPPRESSION, None, None, reason, now))
            chunk = _counted(chunk, Kind.SKIPPED, 1)
    if size > 0:
        chunk = chunk._replace(next_position=fresh[-1] + 1 if fresh else chunk.first_position + chunk.n)
    chunk = chunk._replace(window_open=bool(taken), window_no=chunk.window_no + bool(taken), lease_until=now + given["lease_s"])
    tables.put(chunk)
    if taken:
        tables.open_window((job_id, chunk.chunk_no, chunk.window_no),
                           Window(chunk.lease_epoch, given["owner"], tuple((position, 1) for position in taken)))
    return [(chunk.window_no, chunk.next_position, position, *recipients[position - 1][:2]) for position in taken] or [
        (chunk.window_no, chunk.next_position, None, None, None)]


def _since(tables: Tables, job_id: int, position: int, now: float) -> float:
    return min((one.at for one in tables.outcome.get((job_id, position), ()) if one.kind is Kind.REFUSED), default=now)


def book_retries(tables: Tables, now: float, given: Parameters) -> Rows:
    columns = [array(given[name]) for name in ("positions", "attempts", "delays_s", "refusals", "alike", "own")]
    for p, a, d, f, k, o in zip(*columns, strict=True):
        position = int(p)
        tables.retry[int(given["job_id"]), int(given["chunk_no"]), position] = Retry(
            int(a) + 1, int(f), now + float(d), _since(tables, given["job_id"], position, now),
            None if k is None else int(k), -inf if k is None else now, own=None if o is None else int(o))
    return []


def refused_in_a_row(tables: Tables, job_id: int) -> Counter[int]:
    """Those of whom it is open whom it was about, since anybody was accepted, by likeness."""
    accepted = max(chunk.accepted_before for chunk in tables.chunks_of(job_id))
    return Counter(retry.alike for key, retry in tables.retry.items()
                   if key[0] == job_id and retry.alike is not None and retry.refused_at > accepted)


def take_due_retries(tables: Tables, now: float, given: Parameters) -> Rows:
    due = sorted((key for key, retry in tables.retry.items()
                  if key[:2] == (given["job_id"], given["chunk_no"]) and retry.not_before <= now),
                 key=lambda key: (tables.retry[key].not_before, key))[:given["size"]]
    row = refused_in_a_row(tables, given["job_id"])

    def was_refused(one: Retry) -> bool:
        return (one.alike is not None and not one.is_about_us
                and row[one.alike] < given["alike_max"] and row.total() < given["row_max"])
    return [(key[2], one.attempt_no, one.refusals, was_refused(one), one.own, now - one.not_before) for key in due
            if (one := tables.retry.pop(key))]


def recipients_at(tables: Tables, now: float, given: Parameters) -> Rows:
    recipients = tables.recipient[given["job_id"]]
    return [(position, one.address, one.fields, tables.suppression.get(one.address))
            for position in sorted(given["positions"]) if (one := recipients[position - 1])]


def open_retry_window(tables: Tables, now: float, given: Parameters) -> Rows:
    chunk = _chunk(tables, given)
    if chunk is None or chunk.lease_epoch != given["epoch"]:
        return []
    chunk = chunk._replace(window_no=chunk.window_no + 1, window_open=True)
    tables.put(chunk)
    tables.open_window((chunk.job_id, chunk.chunk_no, chunk.window_no), Window(
        chunk.lease_epoch, given["owner"], tuple(zip(given["positions"], given["attempts"], strict=True))))
    return [(chunk.window_no,)]


def release_chunk(tables: Tables, now: float, given: Parameters) -> Rows:
    chunk = _chunk(tables, given)
    if chunk is None or chunk.lease_epoch != given["epoch"]:
        return []
    due = None if chunk.next_position < chunk.first_position + chunk.n else min(
        (retry.not_before for key, retry in tables.retry.items() if key[:2] == (chunk.job_id, chunk.chunk_no)), default=None)
    tables.put(chunk._replace(owner=None, lease_until=None, available_at=due))
    return [()]


def has_claimable_chunk(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(any(chunk.is_free(now) for chunk in tables.chunks_of(given["job_id"])),)]


def renew_leases(tables: Tables, now: float, given: Parameters) -> Rows:
    rows: Rows = []
    for job_id, chunk_no, epoch in zip(given["jobs"], given["chunks"], given["epochs"], strict=True):
        chunk = tables.chunk.get((job_id, chunk_no))
        if chunk is not None and ((chunk.lease_epoch == epoch and chunk.owner is not None)
                                  or (chunk.window_open and chunk.owner == given["owner"])):
            tables.put(chunk._replace(lease_until=now + given["lease_s"]))
            rows.append((job_id, chunk_no, chunk.lease_epoch))
    return rows


def lock_chunk(tables: Tables, now: float, given: Parameters) -> Rows:
    chunk = _chunk(tables, given)
    return [] if chunk is None else [(_is_abandoned(chunk, now),)]


def settle_window(tables: Tables, now: float, given: Parameters) -> Rows:
    before = chunk = _chunk(tables, given)
    if before is None or chunk is None:
        return []
    window = tables.window.get((chunk.job_id, chunk.chunk_no, given["window_no"]))
    is_its_own = window is not None and window.owner == given["owner"]
    intended = set(window.attempts) if window is not None and is_its_own else set()
    in_hand = dict(tables.window[chunk.job_id, chunk.chunk_no, chunk.window_no].attempts) if chunk.window_open else {}
    too_early, contradicted = 0, NOBODY
    for one in _booked(given, now):
        if (one.position, one.told.attempt_no) in intended and _is_stronger(tables, chunk.job_id, one):
            if in_hand.get(one.position, 0) > one.told.attempt_no:
                too_early += 1
            else:
                contradicted = Contradiction(*map(add, contradicted, _contradiction(tables, chunk.job_id, one)))
                chunk = _settle(tables, chunk, one, now, still_sending=given["still_sending"])
    if is_its_own and before.window_open and before.window_no == given["window_no"]:
        chunk = chunk._replace(window_open=False)
        if before.lease_epoch != given["epoch"]:
            chunk = chunk._replace(owner=None, lease_until=None)
    tables.put(chunk)
    return [(too_early, *contradicted)]


def _contradiction(tables: Tables, job_id: int, one: Booked) -> Contradiction:
    """What a person had settled otherwise of this recipient. No job continues another here."""
    was = _of_attempt(tables, job_id, one.position, one.told.attempt_no)
    if was is None or was.evidence is not Evidence.PERSON or (was.kind is Kind.SENT) is (one.told.kind is Kind.SENT):
        return NOBODY
    is_last = not _has_later(tables, job_id, one)
    if one.told.kind is Kind.SENT:
        return NOBODY._replace(sent=int(is_last), twice=int(not is_last))
    return NOBODY._replace(unsent=int(is_last and one.told.kind in AGAIN), failed=int(is_last and one.told.kind is Kind.FAILED))


def _has_later(tables: Tables, job_id: int, one: Booked) -> bool:
    return any(row.attempt_no > one.told.attempt_no for row in tables.outcome.get((job_id, one.position), ()))


def _of_attempt(tables: Tables, job_id: int, position: int, attempt_no: int) -> Told | None:
    """The strongest evidence of that attempt."""
    return max((row for row in tables.outcome.get((job_id, position), ()) if row.attempt_no == attempt_no),
               key=lambda row: row.rank, default=None)


def _is_stronger(tables: Tables, job_id: int, one: Booked) -> bool:
    was = _of_attempt(tables, job_id, one.position, one.told.attempt_no)
    return was is None or STRENGTH[one.told.evidence] > STRENGTH[was.evidence]


def _settle(tables: Tables, chunk: Chunk, one: Booked, now: float, *, still_sending: bool) -> Chunk:
    """The chunk after one recipient's stronger evidence."""
    job_id, position, told = chunk.job_id, one.position, one.told
    was = _of_attempt(tables, job_id, position, told.attempt_no)
    if was is not None and was.kind is Kind.FAILED and told.kind in AGAIN:
        told = told._replace(kind=Kind.FAILED)
    is_last = not _has_later(tables, job_id, one)
    waited = is_last and was is not None and was.kind in AGAIN
    since = _since(tables, job_id, position, now)
    tables.tell(job_id, position, told)
    if not is_last:
        return chunk
    if told.kind in AGAIN:
        if still_sending and not waited:
            assert one.delay_s is not None, "a recipient that is unsent again says when it is due"
            tables.retry[job_id, chunk.chunk_no, position] = Retry(told.attempt_no + 1, one.refusals, now + one.delay_s, since)
        chunk = chunk._replace(available_at=None)
    elif waited:
        tables.retry.pop((job_id, chunk.chunk_no, position), None)
    return _counted(_counted(chunk, told.kind, 1), None if was is None else was.kind, -1)


def abandoned_windows(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(tables.job[chunk.job_id].account_id, chunk.job_id, chunk.chunk_no) for chunk in tables.chunk.values()
            if _is_abandoned(chunk, now) and (tables.job[chunk.job_id].status in (Status.CANCELLED, Status.FAILED)
                                              or (chunk.job_id, "paused") in tables.condition)]


def _is_abandoned(chunk: Chunk, now: float) -> bool:
    return chunk.window_open and (chunk.lease_until is None or chunk.lease_until < now)


def sending_jobs(tables: Tables, now: float, given: Parameters) -> list[dict[str, object]]:
    found = []
    for job in tables.job.values():
        if job.status is not Status.SENDING:
            continue
        chunks = tables.chunks_of(job.id)
        held = [condition for (job_id, kind), condition in tables.condition.items()
                if job_id == job.id and kind in HOLDING]
        gateway = tables.condition.get((job.id, "gateway"))
        found.append({
            "account_id": job.account_id, "job_id": job.id, "lanes": job.lanes,
            "claimable": sum(chunk.is_free(now) for chunk in chunks),
            "nothing_left": not any(chunk.unsent > 0 or chunk.window_open for chunk in chunks),
            "waiting": any(one.until > now for one in held), "probing": bool(held),
            "reason": None if gateway is None else gateway.reason,
            "given_up": (job.id, "paused") not in tables.condition and (
                None if gateway is None else min(now, gateway.until) - gateway.since > given["give_up_s"])})
    return found


def accounts_with_an_idle_queue(tables: Tables, now: float, given: Parameters) -> Rows:
    busy = {job.account_id for job in tables.job.values() if job.status is Status.SENDING}
    return [(account_id,) for account_id in sorted({
        job.account_id for job in tables.job.values()
        if job.status is Status.QUEUED and (job.id, "paused") not in tables.condition} - busy)]


def untouched_window(tables: Tables, now: float, given: Parameters) -> Rows:
    for (job_id, chunk_no, window_no), window in tables.window.items():
        if (job_id, chunk_no) == (given["job_id"], given["chunk_no"]) and window_no > given["known_window_no"] and (
                window.lease_epoch == given["epoch"]):
            return [(window_no, [position for position, _ in window.attempts], [attempt for _, attempt in window.attempts])]
    return []


def fence_claim(tables: Tables, now: float, given: Parameters) -> Rows:
    chunk = _chunk(tables, given)
    if chunk is None or chunk.lease_epoch != given["epoch"]:
        return []
    tables.put(chunk._replace(lease_epoch=chunk.lease_epoch + 1))
    return [(chunk.lease_epoch + 1,)]


def fence_owner(tables: Tables, now: float, given: Parameters) -> Rows:
    for chunk in list(tables.chunk.values()):
        if chunk.owner == given["owner"] and (chunk.window_open or tables.job[chunk.job_id].status is Status.SENDING):
            chunk = chunk._replace(lease_epoch=chunk.lease_epoch + 1)
            tables.put(chunk if chunk.window_open else chunk._replace(owner=None, lease_until=None))
    return []


def doubtful_windows(tables: Tables, now: float, given: Parameters) -> Rows:
    named = set(zip(given["jobs"], given["chunks"], given["windows"], strict=True))
    named |= {(chunk.job_id, chunk.chunk_no, chunk.window_no) for chunk in tables.chunk.values() if chunk.window_open}
    rows: Rows = []
    for key in sorted(named):
        window = tables.window.get(key)
        if window is not None and window.owner == given["owner"] and any(
                _is_doubtful(tables, key[0], *one) for one in window.attempts):
            rows.append((tables.job[key[0]].account_id, *key, window.lease_epoch, [position for position, _ in window.attempts],
                         [attempt_no for _, attempt_no in window.attempts]))
    return rows


def _is_doubtful(tables: Tables, job_id: int, position: int, attempt_no: int) -> bool:
    best = _of_attempt(tables, job_id, position, attempt_no)
    return best is None or best.evidence in DOUBTFUL


def try_sweep_lock(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(True, "10s")]
