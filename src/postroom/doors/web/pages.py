"""The pages of an account's jobs: history, the approval gate, progress, the ledger, and what a person decides on them.

The live part is an event stream. Each decision is a plain form, which works without scripts and can be sent only from our pages.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, RedirectResponse, Response

from postroom.domain.job import Status, needs_approval
from postroom.domain.outcome import CLASSES, EVIDENCE_MEANINGS, UNSENT, Kind
from postroom.doors.door import NUMBER_MAX, POSITION_MAX, AtDoor, Number, events
from postroom.doors.shown import attempt_shown, job_shown, preflight_shown, recipient_shown
from postroom.doors.web.receipts import AtReceipts, test_form
from postroom.doors.web.rendering import account_page
from postroom.doors.web.session import Acting, AtEntrance, SentForm, SignedIn
from postroom.errors import InvalidInput
from postroom.flow.account.accounts import account_by_id
from postroom.flow.job.approve import approve
from postroom.flow.job.continuation import can_continue_failed, continue_the_rest
from postroom.flow.job.finish import cancel, cancel_at_gate
from postroom.flow.job.pause import pause, resume
from postroom.flow.job.report import (
    content_of,
    exclusion_page,
    gateway_of,
    goes_on,
    outcomes_of,
    preflight_of,
    recipient_page,
    report,
    reports,
    trail,
)
from postroom.flow.job.settlement import WARNINGS, settle
from postroom.flow.preview.look import framed_for_everyone

JOBS_PER_PAGE = 50
ROWS_PER_PAGE = 100
REASON_MAX = 200  # characters
# Not even our own page may script it, and nothing in it is fetched from anywhere: opening a preview tells nobody.
PREVIEW_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"

# Events carry numbers and the one sentence: no other text that a person, a list or a gateway brought in (F100). The sentence may
# quote one (why it was paused, the note of a cancel), and the page only ever sets it as text.
WITHOUT = {"subject": True, "created_by": True, "approved_by": True, "reason": True, "slowed_because": True,
           "paused": {"by", "reason"}, "preflight": {"findings"}}

router = APIRouter(include_in_schema=False)
Place = Annotated[int | None, Query(ge=0, le=NUMBER_MAX)]


def _date(value: str | None, *, days_later: int = 0) -> datetime | None:
    """The midnight, in UTC, of a date field, or of a day after it; an empty one is none. Raises InvalidInput."""
    if not value:
        return None
    try:
        return datetime.combine(date.fromisoformat(value), time(), UTC) + timedelta(days=days_later)
    except (ValueError, OverflowError):
        raise InvalidInput(f'"{value}" is no date; a date looks like 2026-03-31.') from None


def _status(value: str | None) -> Status | None:
    if not value:
        return None
    try:
        return Status(value)
    except ValueError:
        raise InvalidInput(f'There is no status "{value}".') from None


@router.get("/accounts/{account_id}/jobs")
async def show_history(door: AtDoor, session: SignedIn, actor: Acting, status: str | None = None,
                       since: str | None = None, until: str | None = None, before: Place = None) -> HTMLResponse:
    jobs = await reports(door.pool, actor, status=_status(status), since=_date(since), before=before,
                         until=_date(until, days_later=1), limit=JOBS_PER_PAGE + 1)
    filters = {name: value for name, value in (("status", status), ("since", since), ("until", until)) if value}
    return await account_page(
        door, session, actor, "history.html", jobs=jobs[:JOBS_PER_PAGE], filters=filters, before=before,
        older=jobs[JOBS_PER_PAGE - 1].job.id if len(jobs) > JOBS_PER_PAGE else None, statuses=list(Status))


@router.get("/accounts/{account_id}/jobs/{job_id}")
async def show_job(door: AtDoor, receipts: AtReceipts, session: SignedIn, actor: Acting, job_id: Number,
                   tested: str | None = None) -> HTMLResponse:
    """The gate while the job waits at it, from then on its progress and its result. `tested` is the key of a form of the gate
    that sent a test."""
    told = await report(door.pool, actor, job_id)
    job, moves = told.job, await trail(door.pool, actor, job_id)
    found = told.preflight or await preflight_of(door.pool, actor, job_id)
    shown: dict[str, Any] = {"told": told, "job": job, "shown": job_shown(told), "moves": moves,
             "preflight": preflight_shown(found), "content": await content_of(door.pool, actor, job_id),
             "gateway": await gateway_of(door.pool, actor, job_id)}
    if job.status is not Status.PENDING_APPROVAL:
        can_try_failed = told.rests["failed"] > 0 and await can_continue_failed(door.pool, actor, job_id)
        return await account_page(door, session, actor, "progress.html", reason_max=REASON_MAX,
                                  can_try_failed=can_try_failed, **shown)
    threshold = (await account_by_id(door.pool, actor.account_id)).approval_threshold
    unsent = await recipient_page(door.pool, actor, job_id, recipient_class=UNSENT, limit=1)
    return await account_page(
        door, session, actor, "gate.html", is_large=needs_approval(job.recipient_count, threshold),
        is_to_come=job.not_before is not None and job.not_before > datetime.now(UTC),
        test_position=unsent[0].position if unsent else None, **test_form(receipts.of(session, tested, moves)), **shown)


@router.get("/accounts/{account_id}/jobs/{job_id}/events")
async def follow_job(door: AtDoor, sessions: AtEntrance, session: SignedIn, actor: Acting, job_id: Number) -> Response:
    return await events(door, actor, job_id, may_go_on=lambda: sessions.lasts(session), without=WITHOUT)


@router.get("/accounts/{account_id}/jobs/{job_id}/message")
async def show_message(door: AtDoor, session: SignedIn, actor: Acting, job_id: Number) -> HTMLResponse:
    """The HTML as it is for everyone, for the frame on the job's page."""
    html = await framed_for_everyone(door.pool, actor, job_id)
    return HTMLResponse(html, headers={"Content-Security-Policy": PREVIEW_POLICY})


@router.get("/accounts/{account_id}/jobs/{job_id}/recipients")
async def show_recipients(door: AtDoor, session: SignedIn, actor: Acting, job_id: Number, state: str | None = None,
                          address: str | None = None, after: Place = None) -> HTMLResponse:
    told = await report(door.pool, actor, job_id)
    rows = await recipient_page(door.pool, actor, job_id, recipient_class=state or None, address=address or None,
                                after=after or 0, limit=ROWS_PER_PAGE + 1)
    settled = [one for one in await trail(door.pool, actor, job_id) if one.verb == "settle"]
    return await account_page(
        door, session, actor, "recipients.html", told=told, job=told.job,
        rows=[recipient_shown(row) for row in rows[:ROWS_PER_PAGE]], state=state or None, states=CLASSES,
        address=address or None, after=after, receipt=settled[-1] if settled else None, warnings=WARNINGS,
        more=rows[:ROWS_PER_PAGE][-1].position if goes_on(rows, ROWS_PER_PAGE) else None)


@router.get("/accounts/{account_id}/jobs/{job_id}/recipients/{position}/attempts")
async def show_attempts(door: AtDoor, session: SignedIn, actor: Acting, job_id: Number, position: Number) -> HTMLResponse:
    told = await report(door.pool, actor, job_id)
    email, attempts = await outcomes_of(door.pool, actor, job_id, position)
    return await account_page(
        door, session, actor, "attempts.html", told=told, job=told.job, position=position, email=email,
        attempts=[attempt_shown(one) for one in attempts], meanings=EVIDENCE_MEANINGS)


@router.get("/accounts/{account_id}/jobs/{job_id}/exclusions")
async def show_exclusions(door: AtDoor, session: SignedIn, actor: Acting, job_id: Number,
                          after: Place = None) -> HTMLResponse:
    told = await report(door.pool, actor, job_id)
    rows = await exclusion_page(door.pool, actor, job_id, after=after or 0, limit=ROWS_PER_PAGE + 1)
    return await account_page(
        door, session, actor, "exclusions.html", job=told.job, rows=rows[:ROWS_PER_PAGE], after=after,
        more=rows[:ROWS_PER_PAGE][-1].row_no if goes_on(rows, ROWS_PER_PAGE) else None)


@router.post("/accounts/{account_id}/jobs/{job_id}/approval")
async def approve_job(door: AtDoor, form: SentForm, actor: Acting, job_id: Number) -> RedirectResponse:
    """What is approved is what the page showed: its digest comes with the form."""
    try:
        digest = bytes.fromhex(form.get("digest", ""))
    except ValueError:
        raise InvalidInput("The form's digest is damaged. Load the page again.") from None
    await approve(door.pool, actor, job_id, digest=digest)
    return _to_job(actor.account_id, job_id)


@router.post("/accounts/{account_id}/jobs/{job_id}/cancellation")
async def cancel_job(door: AtDoor, form: SentForm, actor: Acting, job_id: Number) -> RedirectResponse:
    await cancel(door.pool, actor, job_id)
    return _to_job(actor.account_id, job_id)


@router.post("/accounts/{account_id}/jobs/{job_id}/correction")
async def correct_job(door: AtDoor, form: SentForm, actor: Acting, job_id: Number) -> RedirectResponse:
    """From the gate back to the form with what was written; this job sends nothing any more."""
    await cancel_at_gate(door.pool, actor, job_id, note="Changed before it was sent.")
    return RedirectResponse(f"/accounts/{actor.account_id}/send?like={job_id}", 303)


@router.post("/accounts/{account_id}/jobs/{job_id}/pause")
async def pause_job(door: AtDoor, form: SentForm, actor: Acting, job_id: Number) -> RedirectResponse:
    reason = form.get("reason", "").strip()
    if len(reason) > REASON_MAX:
        raise InvalidInput(f"A reason has at most {REASON_MAX} characters.", field="reason")
    await pause(door.pool, actor, job_id, reason=reason or None)
    return _to_job(actor.account_id, job_id)


@router.post("/accounts/{account_id}/jobs/{job_id}/resumption")
async def resume_job(door: AtDoor, form: SentForm, actor: Acting, job_id: Number) -> RedirectResponse:
    await resume(door.pool, actor, job_id)
    return _to_job(actor.account_id, job_id)


@router.post("/accounts/{account_id}/jobs/{job_id}/continuation")
async def continue_job(door: AtDoor, form: SentForm, actor: Acting, job_id: Number) -> RedirectResponse:
    """Leads to the new job, which waits at its gate. Whoever clicks twice is told which job it is."""
    made = await continue_the_rest(door.pool, door.deployment, actor, job_id, which=form.get("which", ""),
                                   waits_at_gate=True)
    return _to_job(actor.account_id, made.id)


@router.post("/accounts/{account_id}/jobs/{job_id}/settlements")
async def settle_job(door: AtDoor, form: SentForm, actor: Acting, job_id: Number) -> RedirectResponse:
    """One recipient or all of them, as the button says; back to the page where it stood, which shows what came of it."""
    await settle(door.pool, door.deployment, actor, job_id, form.get("decision", ""),
                 positions=_positions(form.get("position", "")), waits_at_gate=True)
    stood = {"state": Kind.UNCONFIRMED.value, "after": form.get("after") or 0}
    return RedirectResponse(f"/accounts/{actor.account_id}/jobs/{job_id}/recipients?{urlencode(stood)}", 303)


def _positions(value: str) -> list[int] | None:
    """None for all. Raises InvalidInput: a form that says nothing never means all."""
    if value == "all":
        return None
    if not (value.isascii() and value.isdecimal() and int(value) <= POSITION_MAX):
        raise InvalidInput("The form does not say whom it is about. Load the page again.", field="position")
    return [int(value)]


def _to_job(account_id: int, job_id: int) -> RedirectResponse:
    return RedirectResponse(f"/accounts/{account_id}/jobs/{job_id}", 303)
