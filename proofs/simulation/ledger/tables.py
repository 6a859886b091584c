"""The ledger's tables in memory: rows are frozen, a table is a dict by its key, and a copy of them all is a savepoint.

Holds what the schema's constraints and triggers hold for chunks and outcomes, so that a statement that would be refused there is
refused here.
"""

from __future__ import annotations

import re
from math import inf
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import errors

from postroom.domain.job import TRANSITIONS, Status
from postroom.domain.outcome import Evidence, Kind

STRENGTH = {evidence: rank for rank, evidence in enumerate(Evidence)}
COUNTED = {Kind.SENT: "sent", Kind.FAILED: "failed", Kind.SKIPPED: "skipped", Kind.UNCONFIRMED: "unconfirmed"}
MOVES = {(move.origin, move.target) for move in TRANSITIONS}

Parameters = dict[str, Any]
Rows = list[tuple[Any, ...]]


class Job(NamedTuple):
    id: int
    account_id: int
    status: Status
    lanes: int
    recipient_count: int
    gateway_id: int
    queue_no: int | None = None
    reason: str | None = None


class Recipient(NamedTuple):
    address: str
    fields: str
    booked: bool  # at the freeze


class Chunk(NamedTuple):
    job_id: int
    chunk_no: int
    first_position: int
    n: int
    next_position: int
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unconfirmed: int = 0
    lease_epoch: int = 0
    lease_until: float | None = None
    owner: str | None = None
    window_no: int = 0
    window_open: bool = False
    available_at: float | None = None
    accepted_after: float = -inf
    accepted_before: float = -inf

    @property
    def unsent(self) -> int:
        return self.n - self.sent - self.failed - self.skipped - self.unconfirmed

    def is_free(self, now: float) -> bool:
        return self.unsent > 0 and (self.lease_until is None or self.lease_until < now) and (
            self.available_at is None or self.available_at <= now)


class Window(NamedTuple):
    lease_epoch: int
    owner: str
    attempts: tuple[tuple[int, int], ...]  # (position, attempt)


class Told(NamedTuple):
    attempt_no: int
    kind: Kind
    evidence: Evidence
    code: int | None
    enhanced_code: str | None
    reply: str | None
    at: float

    @property
    def rank(self) -> tuple[int, int]:
        return self.attempt_no, STRENGTH[self.evidence]


class Retry(NamedTuple):
    attempt_no: int
    refusals: int
    not_before: float
    since: float
    alike: int | None = None
    refused_at: float = -inf
    is_about_us: bool = False
    own: int | None = None


class Condition(NamedTuple):
    reason: str
    since: float
    until: float
    times: int
    by: str


class Lane(NamedTuple):
    """A task of the engine. `owner` is who runs it."""

    account_id: int
    job_id: int
    owner: str | None = None


class Pace(NamedTuple):
    """What is modelled of a gateway's pace: connections. Rates and quotas have tests of their own, and 0 limits here."""

    connections: int | None = None
    connections_at: float = 0.0


class Tables:
    """`account` has ids, `gateway` the connections that each takes; `sequence` counts what is drawn."""

    NAMES = ("account", "gateway", "job", "recipient", "suppression", "chunk", "window", "outcome", "retry", "condition", "lane",
             "pace", "slot", "sequence")

    account: dict[int, None]
    gateway: dict[int, int]
    job: dict[int, Job]
    recipient: dict[int, tuple[Recipient, ...]]          # by job; positions count from 1
    suppression: dict[str, str]                          # address: reason
    chunk: dict[tuple[int, int], Chunk]                  # (job, chunk)
    window: dict[tuple[int, int, int], Window]           # (job, chunk, window)
    outcome: dict[tuple[int, int], tuple[Told, ...]]     # (job, position)
    retry: dict[tuple[int, int, int], Retry]             # (job, chunk, position)
    condition: dict[tuple[int, str], Condition]          # (job, kind)
    lane: dict[int, Lane]
    pace: dict[int, Pace]
    slot: dict[tuple[int, int], tuple[str, float]]       # (gateway, number): owner, until
    sequence: dict[str, int]

    __slots__ = NAMES

    def __init__(self) -> None:
        for name in self.NAMES:
            setattr(self, name, {})

    def copy(self) -> Tables:
        other = Tables.__new__(Tables)
        for name in self.NAMES:
            setattr(other, name, getattr(self, name).copy())
        return other

    def draw(self, name: str) -> int:
        self.sequence[name] = self.sequence.get(name, 0) + 1
        return self.sequence[name]

    @property
    def installation(self) -> UUID:
        return UUID(int=4)

    def chunks_of(self, job_id: int) -> list[Chunk]:
        return [chunk for (job, _), chunk in self.chunk.items() if job == job_id]

    def put(self, chunk: Chunk) -> None:
        """A chunk's new row, if the schema lets it be."""
        key = chunk.job_id, chunk.chunk_no
        before = self.chunk[key]
        if min(chunk.sent, chunk.failed, chunk.skipped, chunk.unconfirmed, chunk.unsent) < 0:
            raise errors.CheckViolation(f"accounting_identity: {chunk}")
        if chunk.lease_epoch < before.lease_epoch or chunk.next_position < before.next_position or (
                chunk.window_no < before.window_no):
            raise errors.RestrictViolation(f"epoch, position and window only move forward: {before} to {chunk}")
        if chunk.unsent > before.unsent and self.job[chunk.job_id].status is Status.COMPLETED:
            raise errors.RestrictViolation(f"job {chunk.job_id} is completed: nothing in it can be unsent again")
        self.chunk[key] = chunk

    def tell(self, job_id: int, position: int, told: Told) -> None:
        """One more row of outcome, if the schema lets it be."""
        before = self.outcome.get((job_id, position), ())
        if any(one.rank == told.rank for one in before):
            raise errors.UniqueViolation(f"one_outcome_per_attempt_and_evidence: {job_id}/{position} {told}")
        if told.kind is Kind.SENT and told.evidence is not Evidence.PERSON and not (
                told.evidence is Evidence.REPLY and told.code is not None and 200 <= told.code < 300):
            raise errors.CheckViolation(f"sent_is_only_what_the_gateway_accepted: {job_id}/{position} {told}")
        self.outcome[job_id, position] = (*before, told)

    def open_window(self, key: tuple[int, int, int], window: Window) -> None:
        if key in self.window:
            raise errors.UniqueViolation(f"hand_off_window: {key}")
        self.window[key] = window

    def latest(self, job_id: int, position: int) -> Told | None:
        """What a recipient is now: its last attempt's strongest evidence."""
        return max(self.outcome.get((job_id, position), ()), key=lambda one: one.rank, default=None)

    def recount(self, job_id: int) -> dict[str, int]:
        """The counts of a job by its outcomes, as the auditor makes them."""
        counts = dict.fromkeys(COUNTED.values(), 0)
        for position in range(1, len(self.recipient[job_id]) + 1):
            told = self.latest(job_id, position)
            if told is not None and told.kind in COUNTED:
                counts[COUNTED[told.kind]] += 1
        return counts

    def counts(self, job_id: int) -> dict[str, int]:
        """The same by its chunks."""
        return {name: sum(getattr(chunk, name) for chunk in self.chunks_of(job_id)) for name in COUNTED.values()}


_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,]+)')


def array(literal: str) -> list[str | None]:
    """The elements of an array literal as `ledger/delivery/windows.py` writes them."""
    if '"' not in literal:
        return [None if one == "NULL" else one for one in literal[1:-1].split(",")] if len(literal) > 2 else []
    return [None if bare == "NULL" else bare or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
            for quoted, bare in _ELEMENT.findall(literal[1:-1])]
