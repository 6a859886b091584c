"""A job and its recipients as they are shown in JSON: the API's answers, and the events that the pages follow.

The keys are a promise to other programs. The numbers of a job are of one instant and add up to `recipient_count`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from postroom.domain import preflight
from postroom.domain.outcome import EVIDENCE_MEANINGS, Evidence, Kind
from postroom.domain.preflight import Preflight
from postroom.flow.job.report import Exclusion, JobOverview, JobReport, QueuePlace, RecipientRow, Told, state_of
from postroom.flow.job.settlement import WARNINGS, Settlement

JOB_EXAMPLE: dict[str, Any] = {
    "id": 7, "status": "sending", "status_label": "Sending", "reason": None,
    "sentence": "Sending: 1,204 of 4,990 still to go.", "recipient_count": 4990, "sent": 3781, "failed": 3, "skipped": 1,
    "unconfirmed": 1, "unsent": 1204, "excluded": {"duplicate": 6, "unusable": 3, "suppressed": 1}, "queue_position": None,
    "queue": None, "created_at": "2026-03-01T09:00:00Z", "created_by": "key website", "approved_by": "operator",
    "approved_at": "2026-03-01T09:02:11Z", "started_at": "2026-03-01T09:02:11Z", "ended_at": None, "subject": "Spring courses",
    "digest": "9f2c1e" + "0" * 58, "per_second": 412.5, "seconds_left": 2.9, "field_policy": "fail", "preflight": None,
    "limit_per_s": 500.0, "slowed_to_per_s": None, "slowed_because": None, "retries_until": None, "waits_for": None,
    "paused": None, "alarm": None, "continues": {"job": 5, "which": "unsent"}, "continued_by": [],
    "corrects": None, "corrected_by": None, "contradictions": []}
PREFLIGHT_EXAMPLE: dict[str, Any] = {
    "policy": "fail", "to_check": 4990, "checked": 4990, "can_be_approved": True, "findings": [{
        "kind": "blank_field", "about": "first_name", "told": "The field “first_name” is blank.", "effect": "fail",
        "follows": "Whoever it is about will be Failed, without a message.", "count": 37,
        "examples": [{"position": 12, "email": "zoe@example.com"}]}]}
RECIPIENT_EXAMPLE: dict[str, Any] = {
    "position": 12, "row": 13, "email": "zoe@example.com", "fields": {"name": "Zoë"}, "state": "failed",
    "reason": "The gateway refused this recipient.", "code": 550, "enhanced_code": "5.1.1", "reply": "No such user here",
    "evidence": "reply", "attempts": 1, "at": "2026-03-01T09:02:14Z"}
ATTEMPT_EXAMPLE: dict[str, Any] = {
    "attempt": 1, "state": "refused", "evidence": "reply", "code": 450, "enhanced_code": "4.2.1", "reply": "4.2.1 Mailbox busy",
    "at": "2026-03-01T09:02:14Z"}
EXCLUSION_EXAMPLE: dict[str, Any] = {"row": 9, "kind": "duplicate", "value": "zoe@example.com",
                                     "reason": "The same address as in row 3."}


SETTLEMENT_EXAMPLE: dict[str, Any] = {"decision": "assume_sent", "warning": WARNINGS["assume_sent"], "job": JOB_EXAMPLE,
                                      "continuation": None}


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


class FindingExample(BaseModel):
    position: int
    email: str


class FoundAtPreflight(BaseModel):
    """One thing that was found. `effect`: refuse (the job cannot go out), fail (those recipients get nothing), note."""

    kind: str
    about: Annotated[str, Field(description="The field's name, or the reason.")]
    told: str
    effect: str
    follows: Annotated[str, Field(description="What follows from it, as a sentence.")]
    count: Annotated[int, Field(description="Recipients that it is about; 0 where it is about the message.")]
    examples: list[FindingExample]


class PreflightShown(BaseModel):
    """Every recipient's message is made once before the approval; this is what was found so far."""

    model_config = ConfigDict(json_schema_extra={"examples": [PREFLIGHT_EXAMPLE]})

    policy: Annotated[str, Field(description="The job's field_policy: fail, refuse or blank.")]
    to_check: int
    checked: int
    can_be_approved: bool
    findings: list[FoundAtPreflight]


class Paused(BaseModel):
    """Nothing of the job is sent until somebody resumes it."""

    by: str
    since: datetime
    reason: str | None


class Rest(BaseModel):
    """`which` of a job's recipients are continued: unsent, failed, or unconfirmed ones that are sent again."""

    job: Annotated[int, Field(description="The other job: the one that is continued, or that continues it.")]
    which: str


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
    field_policy: str
    preflight: Annotated[PreflightShown | None, Field(description="While it is pending approval.")]
    limit_per_s: Annotated[float | None, Field(description="The gateway's own limit, while the job is sending.")]
    slowed_to_per_s: Annotated[float | None, Field(description="While the gateway asks for a slower pace: messages a second.")]
    slowed_because: Annotated[str | None, Field(description="What the gateway said then.")]
    retries_until: Annotated[datetime | None, Field(description="While only retries are left: when they are given up.")]
    waits_for: Annotated[str | None, Field(description=(
        "What holds it up though nobody paused it: gateway, quota (of the gateway's day), journal (of a worker that died), "
        "worker (none is running), time (`not_before`) or job (one before it that is held up itself)."))]
    paused: Annotated[Paused | None, Field(description="While it is paused, in any status that is not over.")]
    alarm: Annotated[str | None, Field(description="Set where a recount found its numbers wrong: what was found.")]
    continues: Annotated[Rest | None, Field(description="The job whose rest it sends.")]
    continued_by: Annotated[list[Rest], Field(description="The jobs that send its rest.")]
    corrects: Annotated[int | None, Field(description="The job that was changed before it was sent, whose place it takes.")]
    corrected_by: Annotated[int | None, Field(description="The job that took its place: its rest is continued nowhere else.")]
    contradictions: Annotated[list[str], Field(description="What came to light against a person's word, and what can be done.")]


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


class AttemptShown(BaseModel):
    """One outcome of one recipient. An attempt has several where later evidence came; the strongest is the last of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [ATTEMPT_EXAMPLE]})

    attempt: int
    state: Annotated[str, Field(description="sent, failed, skipped, unconfirmed; refused or released: still unsent after it.")]
    evidence: str
    code: int | None
    enhanced_code: str | None
    reply: Annotated[str | None, Field(description="The gateway's own text, or ours where the evidence is not its reply.")]
    at: datetime


class SettlementShown(BaseModel):
    """What came of a decision on unconfirmed recipients."""

    model_config = ConfigDict(json_schema_extra={"examples": [SETTLEMENT_EXAMPLE]})

    decision: str
    warning: Annotated[str, Field(description="What the decision risks.")]
    job: Job
    continuation: Annotated[Job | None, Field(description="The job that sends them again, where this one is over.")]


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
        per_second=_tenths(report.per_second), seconds_left=_tenths(report.seconds_left), field_policy=job.field_policy,
        limit_per_s=job.limit_per_s, slowed_to_per_s=_tenths(report.slowed_to_per_s),
        slowed_because=job.slowed_because if report.slowed_to_per_s is not None else None, retries_until=job.retries_until,
        waits_for=report.waits_for,
        preflight=preflight_shown(report.preflight) if report.preflight else None, paused=_paused_shown(job), alarm=job.alarm,
        continues=None if job.continues is None else Rest(job=job.continues, which=str(job.continued_class)),
        continued_by=[Rest(job=one.id, which=one.which) for one in report.continued_by],
        corrects=report.correction.corrects, corrected_by=report.correction.corrected_by,
        contradictions=list(report.contradictions))


def _paused_shown(job: JobOverview) -> Paused | None:
    if job.paused_by is None or job.paused_since is None:
        return None
    return Paused(by=job.paused_by, since=job.paused_since, reason=job.paused_because or None)


def settlement_shown(told: Settlement, job: JobReport, continuation: JobReport | None) -> SettlementShown:
    return SettlementShown(decision=told.decision, warning=told.warning, job=job_shown(job),
                           continuation=job_shown(continuation) if continuation else None)


def preflight_shown(found: Preflight) -> PreflightShown:
    return PreflightShown(
        policy=found.policy, to_check=found.to_check, checked=found.checked,
        can_be_approved=found.can_be_approved,
        findings=[FoundAtPreflight(
            kind=one.kind.value, about=one.about, told=preflight.told(one),
            effect=found.effect(one).value, follows=found.follows(one), count=one.count,
            examples=[FindingExample(position=example.position, email=example.address) for example in one.examples])
            for one in found.findings])


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


def attempt_shown(told: Told) -> AttemptShown:
    return AttemptShown(attempt=told.attempt_no, state=told.kind, evidence=told.evidence, code=told.code,
                        enhanced_code=told.enhanced_code, reply=told.reply, at=told.at)


PERMANENT = 500  # RFC 5321 section 4.2.1: from here on a reply code is a permanent refusal


def reason_of(row: RecipientRow) -> str | None:
    """Why a recipient is where it is, in our words; None where there is nothing to explain."""
    then = "the job ended before it was tried again" if row.job_status.is_over else "it is tried again while the job is sending"
    if row.kind is None or row.evidence is None:
        return None
    if row.evidence != Evidence.REPLY:
        if row.kind == Kind.RELEASED:
            return f"Not handed off; {then}."
        meaning = EVIDENCE_MEANINGS[Evidence(row.evidence)]
        return row.reply or f"{meaning[0].upper()}{meaning[1:]}."
    match row.kind:
        case Kind.FAILED if row.code is not None and row.code < PERMANENT:
            return "The gateway refused it for now, again and again."
        case Kind.FAILED:
            return "The gateway refused this recipient."
        case Kind.REFUSED:
            return f"The gateway refused it for now; {then}."
        case _:
            return None


def exclusion_shown(row: Exclusion) -> ExcludedRow:
    return ExcludedRow(row=row.row_no, kind=row.kind, value=row.value, reason=row.reason)
