"""The statements of `ledger/delivery/retries.sql` and `ledger/job/settlements.sql`: who is given up, whom a refusal was about,
and what a person decides.

The deadline and the tail are `PATIENCE_S` here, so that runs meet them.
"""

from __future__ import annotations

from collections import Counter

from postroom.domain.job import Status
from postroom.domain.outcome import Evidence, Kind
from proofs.simulation.ledger.tables import Condition, Parameters, Retry, Rows, Tables, Told
from proofs.simulation.ledger.windows import HOLDING, refused_in_a_row

PATIENCE_S = 3.0


def _waits(tables: Tables, job_id: int) -> bool:
    return any((job_id, kind) in tables.condition for kind in HOLDING)


def forget_tails(tables: Tables, now: float, given: Parameters) -> Rows:
    for job in tables.job.values():
        if job.status is not Status.SENDING or _waits(tables, job.id):
            tables.condition.pop((job.id, "retries"), None)
    return []


def has_few_left(tables: Tables, now: float, given: Parameters) -> Rows:
    chunks = tables.chunks_of(given["job_id"])
    unsent, accepted = sum(chunk.unsent for chunk in chunks), max(chunk.accepted_after for chunk in chunks)
    had_turns = all(chunk.unsent == 0 or chunk.next_position >= chunk.first_position + chunk.n for chunk in chunks)
    about_them = all(any(one.kind is Kind.REFUSED and one.at <= accepted for one in tables.outcome.get((key[0], key[2]), ()))
                     for key in tables.retry if key[0] == given["job_id"])
    return [(had_turns and unsent <= 10 and unsent < sum(chunk.sent for chunk in chunks), about_them)]


def note_tails(tables: Tables, now: float, given: Parameters) -> Rows:
    for job in tables.job.values():
        has_fresh = any(chunk.unsent > 0 and chunk.next_position < chunk.first_position + chunk.n
                        for chunk in tables.chunks_of(job.id))
        has_retries = any(key[0] == job.id for key in tables.retry)
        if job.status is Status.SENDING and has_retries and not has_fresh and not _waits(tables, job.id):
            tables.condition.setdefault((job.id, "retries"), Condition("Only retries are left.", now, now + PATIENCE_S, 1, "us"))
    return []


def jobs_to_give_up_in(tables: Tables, now: float, given: Parameters) -> Rows:
    rows: Rows = []
    for job in tables.job.values():
        tail = tables.condition.get((job.id, "retries"))
        tail_is_over = tail is not None and tail.until <= now
        if job.status is Status.SENDING and not _waits(tables, job.id) and any(
                tail_is_over or _is_late(retry, now, PATIENCE_S) for key, retry in tables.retry.items() if key[0] == job.id):
            rows.append((job.account_id, job.id, PATIENCE_S, True, tail_is_over))
    return rows


def _is_late(retry: Retry, now: float, deadline_s: float) -> bool:
    return retry.refusals > 0 and retry.since < now - deadline_s


def give_up(tables: Tables, now: float, given: Parameters) -> Rows:
    counts: dict[int, int] = {}
    for key, retry in sorted(tables.retry.items()):
        job_id, chunk_no, position = key
        if job_id == given["job_id"] and (given["tail_is_over"] or _is_late(retry, now, given["deadline_s"])):
            del tables.retry[key]
            tables.tell(job_id, position, Told(retry.attempt_no, Kind.FAILED, Evidence.WORKER, None, None,
                                               _last_words(tables, job_id, position, retry, now), now))
            counts[chunk_no] = counts.get(chunk_no, 0) + 1
    for chunk_no, n in counts.items():
        chunk = tables.chunk[given["job_id"], chunk_no]
        tables.put(chunk._replace(failed=chunk.failed + n))
    return [(n,) for n in counts.values()]


def _last_words(tables: Tables, job_id: int, position: int, retry: Retry, now: float) -> str:
    refused = [one for one in tables.outcome.get((job_id, position), ()) if one.kind is Kind.REFUSED]
    last = max(refused, key=lambda one: one.rank, default=None)
    tried, minutes = retry.attempt_no - 1, max(1, round((now - retry.since) / 60))
    given_up = f"given up after {tried} attempt{'s' * (tried > 1)} in {minutes} minute{'s' * (minutes > 1)}"
    if last is None:
        return f"Never handed off: {given_up}."
    return f"Temporary refusal: {given_up}; the gateway's last answer: “{last.code} {last.reply}”."


def jobs_in_question(tables: Tables, now: float, given: Parameters) -> Rows:
    found = {key[0] for key, retry in tables.retry.items() if retry.alike is not None and not retry.is_about_us}
    return [(tables.job[job_id].account_id, job_id) for job_id in found if tables.job[job_id].status is Status.SENDING]


def find_it_about_us(tables: Tables, now: float, given: Parameters) -> Rows:
    job_id = given["job_id"]
    row = refused_in_a_row(tables, job_id)
    accepted = max(chunk.accepted_after for chunk in tables.chunks_of(job_id))
    ours = [(retry.refused_at, key) for key, retry in tables.retry.items()
            if key[0] == job_id and retry.alike is not None and not retry.is_about_us and retry.refused_at > accepted
            and (row.total() >= given["row_max"] or row[retry.alike] >= given["alike_max"])]
    for _, key in ours:
        tables.retry[key] = tables.retry[key]._replace(is_about_us=True)
    return [(_last_refusal(tables, *max(ours)[1]),)] if ours else []


def _last_refusal(tables: Tables, job_id: int, chunk_no: int, position: int) -> str:
    told = next(one for one in reversed(tables.outcome[job_id, position]) if one.kind is Kind.REFUSED)
    return f"{told.code} {told.reply}".rstrip()


def find_it_about_them(tables: Tables, now: float, given: Parameters) -> Rows:
    job_id = given["job_id"]
    accepted = max(chunk.accepted_after for chunk in tables.chunks_of(job_id))
    counts: Counter[int] = Counter()
    for key, retry in sorted(tables.retry.items()):
        if key[0] == job_id and retry.alike is not None and not retry.is_about_us and retry.refused_at <= accepted:
            _, chunk_no, position = key
            last = next(one for one in reversed(tables.outcome[job_id, position]) if one.kind is Kind.REFUSED)
            tables.tell(job_id, position, Told(
                retry.attempt_no, Kind.FAILED, Evidence.WORKER, last.code, last.enhanced_code,
                f"Refused for good, and others were accepted since; the gateway's answer: “{_last_refusal(tables, *key)}”.", now))
            del tables.retry[key]
            counts[chunk_no] += 1
    for chunk_no, n in counts.items():
        chunk = tables.chunk[job_id, chunk_no]
        tables.put(chunk._replace(failed=chunk.failed + n))
    return [(n,) for n in counts.values()]


def lock_doubtful_chunks(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def doubts(tables: Tables, now: float, given: Parameters) -> Rows:
    rows: Rows = []
    for chunk in tables.chunks_of(given["job_id"]):
        window = tables.window[chunk.job_id, chunk.chunk_no, chunk.window_no].attempts if chunk.window_open else ()
        in_hand = {position for position, _ in window}
        for position in range(chunk.first_position, chunk.first_position + chunk.n):
            told = tables.latest(chunk.job_id, position)
            if told is not None and told.kind is Kind.UNCONFIRMED and position not in in_hand and (
                    given["positions"] is None or position in given["positions"]):
                rows.append((chunk.chunk_no, position, told.attempt_no))
    return rows


def settle(tables: Tables, now: float, given: Parameters) -> Rows:
    job_id, kind = given["job_id"], Kind(given["kind"])
    for chunk_no, position, attempt_no in zip(given["chunks"], given["positions"], given["attempts"], strict=True):
        chunk = tables.chunk[job_id, chunk_no]
        tables.tell(job_id, position, Told(attempt_no, kind, Evidence.PERSON, None, None, given["reply"], now))
        chunk = chunk._replace(unconfirmed=chunk.unconfirmed - 1)
        if kind is Kind.RELEASED:
            tables.retry[job_id, chunk_no, position] = Retry(attempt_no + 1, 0, now, now)
            chunk = chunk._replace(available_at=None)
        else:
            chunk = chunk._replace(**{kind.value: getattr(chunk, kind.value) + 1})
        tables.put(chunk)
    return []
