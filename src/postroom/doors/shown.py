"""A job and its recipients as they are shown in JSON: the API's answers, and the events that the pages follow.

The keys are a promise to other programs. The numbers of a job are of one instant and add up to `recipient_count`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from postroom.domain.outcome import EVIDENCE_MEANINGS, Evidence, Kind
from postroom.flow.report import Exclusion, JobReport, QueuePlace, RecipientRow, state_of

JOB_EXAMPLE: dict[str, Any] = {
    "id": 7, "status": "sending", "status_label": "Sending", "reason": None,
    "sentence": "Sending: 1,204 of 4,990 still to go.", "recipient_count": 4990, "sent": 3781, "failed": 3, "skipped": 1,
    "unconfirmed": 1, "unsent": 1204, "excluded": {"duplicate": 6, "unusable": 3, "suppressed": 1}, "queue_position": None,
    "queue": None, "created_at": "2026-03-01T09:00:00Z", "created_by": "key website", "approved_by": "operator",
    "approved_at": "2026-03-01T09:02:11Z", "started_at": "2026-03-01T09:02:11Z", "ended_at": None, "subject": "Spring courses",
    "digest": "9f2c1e" + "0" * 58, "per_second": 412.5, "seconds_left": 2.9}
RECIPIENT_EXAMPLE: dict[str, Any] = {
    "position": 12, "row": 13, "email": "zoe@example.com", "fields": {"name": "Zoë"}, "state": "failed",
    "reason": "The gateway refused this recipient.", "code": 550, "enhanced_code": "5.1.1", "reply": "No such user here",
    "evidence": "reply", "attempts": 1, "at": "2026-03-01T09:02:14Z"}
EXCLUSION_EXAMPLE: dict[str, Any] = {"row": 9, "kind": "duplicate", "value": "zoe@example.com",
                                     "reason": "The same address as in row 3."}


class Excluded(BaseModel):
    """Rows that were left out before the freeze, by what set them apart."""

    duplicate: int
    unusable: int
    suppressed: int


class Queue(BaseModel):
    """The place of a queued job. `waits_for` is the job right before it, `starts_in_s` an estimate or null."""

    position: int
    waits_for: int | None
    starts_in_s: float | None
    sentence: str


class Job(BaseModel):
    """sent + failed + skipped + unconfirmed + unsent = recipient_count, at every instant and in every status."""

    model_config = ConfigDict(json_schema_extra={"examples": [JOB_EXAMPLE]})

    id: int
    status: str
    status_label: str
    reason: Annotated[str | None, Field(description="Why it failed, the note of a cancel, or what it waits for now.")]
    sentence: Annotated[str, Field(description="One true sentence on what is going on, and why nothing moves if nothing does.")]
    recipient_count: int
    sent: int
    failed: int
    skipped: int
    unconfirmed: int
    unsent: int
    excluded: Excluded
    queue_position: int | None
    queue: Queue | None
    created_at: datetime
    created_by: str
    approved_by: str | None
    approved_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    subject: str
    digest: Annotated[str, Field(description="SHA-256 of list and content, in hex: what an approval is bound to.")]
    per_second: float | None
    seconds_left: float | None


class Recipient(BaseModel):
    """One row of a job's ledger. `reply` is the gateway's own text, `reason` ours."""

    model_config = ConfigDict(json_schema_extra={"examples": [RECIPIENT_EXAMPLE]})

    position: int
    row: Annotated[int, Field(description="The row of the list as it came, a CSV header counted.")]
    email: str
    fields: dict[str, Any]
    state: Annotated[str, Field(description="sent, failed, skipped, unconfirmed or unsent.")]
    reason: str | None
    code: int | None
    enhanced_code: str | None
    reply: str | None
    evidence: str | None
    attempts: int
    at: datetime | None


class ExcludedRow(BaseModel):
    """One row that was left out before the freeze."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXCLUSION_EXAMPLE]})

    row: int
    kind: Annotated[str, Field(description="duplicate, unusable or suppressed.")]
    value: str
    reason: str


def job_shown(report: JobReport) -> Job:
    job = report.job
    return Job(
        id=job.id, status=job.status.value, status_label=job.status.label, reason=job.reason or job.waits_because,
        sentence=report.sentence, recipient_count=job.recipient_count, sent=job.sent, failed=job.failed, skipped=job.skipped,
        unconfirmed=job.unconfirmed, unsent=job.unsent,
        excluded=Excluded(duplicate=job.excluded_duplicates, unusable=job.excluded_unusable,
                          suppressed=job.excluded_suppressed),
        queue_position=job.queue_position, queue=_queue_shown(report.queue) if report.queue else None,
        created_at=job.created_at, created_by=job.created_by, approved_by=job.approved_by, approved_at=job.approved_at,
        started_at=job.started_at, ended_at=job.ended_at, subject=job.subject, digest=job.digest.hex(),
        per_second=_tenths(report.per_second), seconds_left=_tenths(report.seconds_left))


def _queue_shown(place: QueuePlace) -> Queue:
    return Queue(position=place.position, waits_for=place.waits_for.id if place.waits_for else None,
                 starts_in_s=_tenths(place.starts_in_s), sentence=place.sentence)


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def recipient_shown(row: RecipientRow) -> Recipient:
    by_gateway = row.evidence == Evidence.REPLY
    return Recipient(
        position=row.position, row=row.row_no, email=row.address, fields=json.loads(row.fields), state=state_of(row),
        reason=reason_of(row), code=row.code, enhanced_code=row.enhanced_code, reply=row.reply if by_gateway else None,
        evidence=row.evidence, attempts=0 if row.evidence in (Evidence.FREEZE, Evidence.SUPPRESSION) else row.attempt_no or 0,
        at=row.at)


PERMANENT = 500  # RFC 5321 section 4.2.1: from here on a reply code is a permanent refusal


def reason_of(row: RecipientRow) -> str | None:
    """Why a recipient is where it is, in our words; None where there is nothing to explain."""
    if row.kind is None or row.evidence is None:
        return None
    if row.evidence != Evidence.REPLY:
        if row.kind == Kind.RELEASED:
            return "Not handed off; it is tried again while the job is sending."
        meaning = EVIDENCE_MEANINGS[Evidence(row.evidence)]
        return row.reply or f"{meaning[0].upper()}{meaning[1:]}."
    match row.kind:
        case Kind.FAILED if row.code is not None and row.code < PERMANENT:
            return "The gateway refused it for now, again and again."
        case Kind.FAILED:
            return "The gateway refused this recipient."
        case Kind.REFUSED:
            return "The gateway refused it for now; it is tried again while the job is sending."
        case _:
            return None


def exclusion_shown(row: Exclusion) -> ExcludedRow:
    return ExcludedRow(row=row.row_no, kind=row.kind, value=row.value, reason=row.reason)
