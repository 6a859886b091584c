"""The JSON API, /api/v1. A bearer key speaks for one account, and there is nothing in the API beyond that account."""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from postroom import __version__
from postroom.domain.job import Status
from postroom.doors.api import audience, deletion, previews, problems
from postroom.doors.api.holder import Acting, Lasts, takes_its_query
from postroom.doors.api.paging import Cursor, Limit, link_next, number
from postroom.doors.api.requests import (
    SCHEMAS,
    BodyInvalid,
    Key,
    Line,
    Strict,
    Time,
    asked_for,
    bound_to,
    bound_to_body,
    openapi_of_new_job,
)
from postroom.doors.door import POSITION_MAX, AtDoor, Number, events
from postroom.doors.shown import (
    ATTEMPT_EXAMPLE,
    AttemptShown,
    ExcludedRow,
    Job,
    PreflightShown,
    Recipient,
    SettlementShown,
    attempt_shown,
    exclusion_shown,
    job_shown,
    preflight_shown,
    recipient_shown,
    settlement_shown,
)
from postroom.flow.job.approve import approve
from postroom.flow.job.continuation import continue_the_rest
from postroom.flow.job.finish import cancel
from postroom.flow.job.pause import pause, resume
from postroom.flow.job.report import exclusion_page, goes_on, outcomes_of, preflight_of, recipient_page, report, reports
from postroom.flow.job.settlement import settle
from postroom.flow.job.submit import submit

POSITIONS_AT_ONCE = 10_000

# Every operation is of a key's account; those of one job share their answers.
router = APIRouter(dependencies=[takes_its_query], responses=problems.answers(401, 408, 422, 429, 503))
OF_A_JOB = problems.answers(404)
MOVES_A_JOB = problems.answers(400, 404, 409, 413)


class JobPage(BaseModel):
    """`next_cursor` is null on the last page."""

    items: list[Job]
    next_cursor: str | None


class RecipientPage(BaseModel):
    items: list[Recipient]
    next_cursor: str | None


class AttemptList(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [
        {"position": 12, "email": "zoe@example.com", "items": [ATTEMPT_EXAMPLE]}]})

    position: int
    email: str
    items: list[AttemptShown]


class ExclusionPage(BaseModel):
    items: list[ExcludedRow]
    next_cursor: str | None


def _digest(value: str) -> str:
    try:
        bytes.fromhex(value)
    except ValueError:
        raise ValueError("the digest is written in hex") from None
    return value


class Approval(Strict):
    """`digest` is what the approver saw; when it is not the job's any more, nothing is approved."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"digest": "9f2c1e" + "0" * 58}]})

    digest: Annotated[str, AfterValidator(_digest)] | None = None


class Cancellation(Strict):
    """A rejection at the gate is a cancellation with a note."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"note": "The date is wrong."}]})

    note: Line | None = None


class Pause(Strict):
    """Why; people are shown it while the job is paused."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "The date may be wrong."}]})

    reason: Line | None = None


class NewContinuation(Strict):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"which": "unsent"}]})

    which: Literal["unsent", "failed"]


class NewSettlement(Strict):
    """`positions` null or left out: all that are unconfirmed now."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"decision": "send_again", "positions": [12, 480], "note": "Neither has it."}]})

    decision: Literal["assume_sent", "send_again"]
    positions: Annotated[list[Annotated[int, Field(strict=True, ge=1, le=POSITION_MAX)]], Field(
        min_length=1, max_length=POSITIONS_AT_ONCE, fail_fast=True)] | None = None
    note: Line | None = None


@router.post("/jobs", status_code=201, response_model=Job, openapi_extra=openapi_of_new_job(), summary="Create a job",
             responses=problems.answers(400, 409, 413, 415))
async def create_job(request: Request, response: Response, door: AtDoor, actor: Acting, key: Key) -> Job:
    """Freezes the list and creates the job, or does nothing at all. From the account's threshold on it waits for approval;
    below, it starts at once or queues. With an `Idempotency-Key` the same request again answers with the same job."""
    async with asked_for(request, door.deployment, actor) as asked:
        job = await submit(door.pool, door.deployment, asked.submission, asked.rows, idempotency=bound_to(key, asked))
    response.headers["Location"] = request.url_for("show_job", job_id=job.id).path
    return job_shown(await report(door.pool, actor, job.id))


@router.get("/jobs", summary="The account's jobs, newest first")
async def list_jobs(
    request: Request, response: Response, door: AtDoor, actor: Acting, status: Status | None = None,
    since: Annotated[Time | None, Query(description="Created at or after.")] = None,
    until: Annotated[Time | None, Query(description="Created before.")] = None,
    cursor: Cursor = None, limit: Limit = 50,
) -> JobPage:
    page = await reports(door.pool, actor, status=status, since=since, until=until, before=number(cursor),
                         limit=limit + 1)
    more = str(page[limit - 1].job.id) if len(page) > limit else None
    link_next(request, response, more)
    return JobPage(items=[job_shown(one) for one in page[:limit]], next_cursor=more)


@router.get("/jobs/{job_id}", responses=OF_A_JOB, summary="One job")
async def show_job(door: AtDoor, actor: Acting, job_id: Number) -> Job:
    return job_shown(await report(door.pool, actor, job_id))


@router.get("/jobs/{job_id}/recipients", responses=OF_A_JOB,
            summary="A job's ledger, in the order of the list, or who of it is at one address")
async def list_recipients(
    request: Request, response: Response, door: AtDoor, actor: Acting, job_id: Number,
    state: Annotated[str | None, Query(description="sent, failed, skipped, unconfirmed or unsent.")] = None,
    address: Annotated[str | None, Query(
        description="Only who is at this address, however it is spelt, as duplicates are told; an unusable one as it was given.",
        examples=["ann@example.org"])] = None,
    cursor: Cursor = None, limit: Limit = 100,
) -> RecipientPage:
    page = await recipient_page(door.pool, actor, job_id, recipient_class=state, address=address,
                                after=number(cursor) or 0, limit=limit + 1)
    more = str(page[:limit][-1].position) if goes_on(page, limit) else None
    link_next(request, response, more)
    return RecipientPage(items=[recipient_shown(row) for row in page[:limit]], next_cursor=more)


@router.get("/jobs/{job_id}/recipients/{position}/attempts", responses=OF_A_JOB, summary="All that became of one recipient")
async def list_attempts(door: AtDoor, actor: Acting, job_id: Number, position: Number) -> AttemptList:
    """Attempt by attempt, in their order. Empty where nothing has happened to it yet."""
    address, told = await outcomes_of(door.pool, actor, job_id, position)
    return AttemptList(position=position, email=address, items=[attempt_shown(one) for one in told])


@router.get("/jobs/{job_id}/exclusions", responses=OF_A_JOB, summary="What was left out before the freeze, and why")
async def list_exclusions(request: Request, response: Response, door: AtDoor, actor: Acting, job_id: Number,
                          cursor: Cursor = None, limit: Limit = 100) -> ExclusionPage:
    page = await exclusion_page(door.pool, actor, job_id, after=number(cursor) or 0, limit=limit + 1)
    more = str(page[:limit][-1].row_no) if goes_on(page, limit) else None
    link_next(request, response, more)
    return ExclusionPage(items=[exclusion_shown(row) for row in page[:limit]], next_cursor=more)


@router.get("/jobs/{job_id}/preflight", responses=OF_A_JOB, summary="What was found when every recipient was checked")
async def show_preflight(door: AtDoor, actor: Acting, job_id: Number) -> PreflightShown:
    """Before a job can be approved (or, below the threshold, created), the message is made once for every recipient."""
    return preflight_shown(await preflight_of(door.pool, actor, job_id))


EVENTS: dict[int | str, dict[str, Any]] = {200: {
    "description": "`job` events, each with the whole job in JSON; `end` when it is over. A stream that ends without it, as each "
                   "does after an hour, is asked for again.", "content": {
    "text/event-stream": {"schema": {"type": "string"}, "example": 'event: job\ndata: {"id": 7, "status": "sending", …}\n\n'}}}}


@router.get("/jobs/{job_id}/events", responses=OF_A_JOB | EVENTS, response_class=EventSourceResponse,
            summary="The job, live (server-sent events)")
async def follow_job(door: AtDoor, actor: Acting, lasts: Lasts, job_id: Number) -> Response:
    """The job at once and again at each change. Every event is the whole job, so a stream that was lost and opened again is
    right with its first event. It ends without `end` when its key is revoked."""
    return await events(door, actor, job_id, may_go_on=lasts)


@router.put("/jobs/{job_id}/approval", responses=MOVES_A_JOB, summary="Approve a job")
async def approve_job(door: AtDoor, actor: Acting, job_id: Number, body: Approval | None = None) -> Job:
    """Approving again changes nothing and answers the same."""
    digest = bytes.fromhex(body.digest) if body and body.digest is not None else None
    await approve(door.pool, actor, job_id, digest=digest)
    return job_shown(await report(door.pool, actor, job_id))


@router.put("/jobs/{job_id}/cancellation", responses=MOVES_A_JOB, summary="Cancel a job")
async def cancel_job(door: AtDoor, actor: Acting, job_id: Number, body: Cancellation | None = None) -> Job:
    """Takes effect at once. Cancelling again answers the same; a job that ended otherwise is a 409 with its final counts."""
    await cancel(door.pool, actor, job_id, note=body.note if body else None)
    return job_shown(await report(door.pool, actor, job_id))


@router.put("/jobs/{job_id}/pause", responses=MOVES_A_JOB, summary="Pause a job")
async def pause_job(door: AtDoor, actor: Acting, job_id: Number, body: Pause | None = None) -> Job:
    """Takes effect at once, in every status that is not over. Pausing again answers the same: who was first and why stays."""
    await pause(door.pool, actor, job_id, reason=body.reason if body else None)
    return job_shown(await report(door.pool, actor, job_id))


@router.delete("/jobs/{job_id}/pause", responses=problems.answers(404, 409), summary="Let a paused job go on")
async def resume_job(door: AtDoor, actor: Acting, job_id: Number) -> Job:
    """Resuming a job that is not paused changes nothing and answers the same."""
    await resume(door.pool, actor, job_id)
    return job_shown(await report(door.pool, actor, job_id))


@router.post("/jobs/{job_id}/continuation", status_code=201, responses=MOVES_A_JOB, summary="Continue the rest of a job")
async def continue_job(request: Request, response: Response, door: AtDoor, actor: Acting, job_id: Number,
                       key: Key, body: NewContinuation) -> Job:
    """A new job of exactly those that a job left unsent, or that it failed: the same message and options, and the gate again.
    Everybody is continued once: 409 names the job that does it. With an `Idempotency-Key` the same request again answers with
    the same job."""
    made = await continue_the_rest(door.pool, door.deployment, actor, job_id, which=body.which,
                                   idempotency=bound_to_body(key, request, body))
    response.headers["Location"] = request.url_for("show_job", job_id=made.id).path
    return job_shown(await report(door.pool, actor, made.id))


@router.post("/jobs/{job_id}/settlements", responses=MOVES_A_JOB, summary="Settle unconfirmed recipients")
async def settle_job(request: Request, door: AtDoor, actor: Acting, job_id: Number, key: Key,
                     body: NewSettlement) -> SettlementShown:
    """A person's decision on recipients of which nobody can know whether the gateway has them: all that are named, or none. Those
    that are sent again may get the message twice. With an `Idempotency-Key` the same request again settles nothing more."""
    told = await settle(door.pool, door.deployment, actor, job_id, body.decision, positions=body.positions,
                        note=body.note, idempotency=bound_to_body(key, request, body))
    continuation = await report(door.pool, actor, told.continuation.id) if told.continuation else None
    return settlement_shown(told, await report(door.pool, actor, job_id), continuation)


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """With the shapes that the framework does not see, because they are read or answered beside it."""
        described = super().openapi()
        described["components"]["schemas"] |= SCHEMAS | problems.SCHEMAS
        return described


def create_api() -> FastAPI:
    """The API as an application of its own, to be mounted. Its description is served beside it, offline: openapi.json.

    A slash too many is another address: a redirect would send the key again, to wherever the Host header says."""
    api = _Api(title="Postroom", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
               description="Sends one message to a large group and accounts for every single recipient.",
               servers=[{"url": "/api/v1"}],
               generate_unique_id_function=lambda route: route.name)
    api.include_router(router)
    for one in (previews.router, audience.router, deletion.router):
        api.include_router(one)
    problems.install(api)

    @cache
    def described() -> bytes:  # once: anybody may ask
        return json.dumps(api.openapi(), ensure_ascii=False).encode()

    @api.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(described(), media_type="application/json")

    @api.exception_handler(BodyInvalid)
    async def _body_invalid(request: Request, error: BodyInvalid) -> JSONResponse:
        return problems.of_validation(error.errors)

    return api
