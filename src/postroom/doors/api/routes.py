"""The JSON API, /api/v1. A bearer key speaks for one account, and there is nothing in the API beyond that account."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from postroom import __version__
from postroom.domain.job import Status
from postroom.doors.api import problems
from postroom.doors.api.requests import BodyInvalid, Line, Strict, asked_for, bound_to, idempotency_of, openapi_of_new_job
from postroom.doors.door import NUMBER_MAX, AtDoor, Number, events
from postroom.doors.shown import ExcludedRow, Job, Recipient, exclusion_shown, job_shown, recipient_shown
from postroom.errors import InvalidInput
from postroom.flow.accounts import KeyHolder, holder_of
from postroom.flow.approve import approve
from postroom.flow.finish import cancel
from postroom.flow.report import exclusion_page, recipient_page, report, reports
from postroom.flow.submit import submit

PAGE_MAX = 500

bearer = HTTPBearer(auto_error=False, description="A key of the account: postroom key create NAME.")


async def _holder(door: AtDoor, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> KeyHolder:
    holder = await holder_of(door.pool, given.credentials) if given else None
    if holder is None:
        raise HTTPException(401, "Give a key of the account: Authorization: Bearer postroom_….",
                            headers={"WWW-Authenticate": 'Bearer realm="postroom"'})
    return holder


Holder = Annotated[KeyHolder, Depends(_holder)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str | None, Query(max_length=20, pattern="^[0-9]+$", description="`next_cursor` of the page before.")]

# Every operation is of a key's account; those of one job share their answers.
router = APIRouter(responses={status: problems.RESPONSES[status] for status in (401, 422, 503)})
OF_A_JOB: dict[int | str, dict[str, Any]] = {404: problems.RESPONSES[404]}
MOVES_A_JOB = OF_A_JOB | {409: problems.RESPONSES[409]}


class JobPage(BaseModel):
    """`next_cursor` is null on the last page."""

    items: list[Job]
    next_cursor: str | None


class RecipientPage(BaseModel):
    items: list[Recipient]
    next_cursor: str | None


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


@router.post("/jobs", status_code=201, response_model=Job, openapi_extra=openapi_of_new_job(), summary="Create a job",
             responses={status: problems.RESPONSES[status] for status in (409, 413)})
async def create_job(request: Request, response: Response, door: AtDoor, holder: Holder) -> Job:
    """Freezes the list and creates the job, or does nothing at all. From the account's threshold on it waits for approval;
    below, it starts at once or queues. With an `Idempotency-Key` the same request again answers with the same job."""
    key = idempotency_of(request)
    async with asked_for(request, account_id=holder.account_id, by=f"key {holder.name}") as asked, door.freezing:
        job = await submit(door.pool, asked.submission, asked.rows, idempotency=bound_to(key, asked))
    response.headers["Location"] = request.url_for("show_job", job_id=job.id).path
    return job_shown(await report(door.pool, holder.account_id, job.id))


@router.get("/jobs", summary="The account's jobs, newest first")
async def list_jobs(
    request: Request, response: Response, door: AtDoor, holder: Holder, status: Status | None = None,
    since: Annotated[AwareDatetime | None, Query(description="Created at or after.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Created before.")] = None,
    cursor: Cursor = None, limit: Limit = 50,
) -> JobPage:
    page = await reports(door.pool, holder.account_id, status=status, since=since, until=until, before=_number(cursor),
                         limit=limit + 1)
    more = str(page[limit - 1].job.id) if len(page) > limit else None
    _link_next(request, response, more)
    return JobPage(items=[job_shown(one) for one in page[:limit]], next_cursor=more)


@router.get("/jobs/{job_id}", responses=OF_A_JOB, summary="One job")
async def show_job(door: AtDoor, holder: Holder, job_id: Number) -> Job:
    return job_shown(await report(door.pool, holder.account_id, job_id))


@router.get("/jobs/{job_id}/recipients", responses=OF_A_JOB, summary="A job's ledger, in the order of the list")
async def list_recipients(
    request: Request, response: Response, door: AtDoor, holder: Holder, job_id: Number,
    state: Annotated[str | None, Query(description="sent, failed, skipped, unconfirmed or unsent.")] = None,
    cursor: Cursor = None, limit: Limit = 100,
) -> RecipientPage:
    page = await recipient_page(door.pool, holder.account_id, job_id, recipient_class=state, after=_number(cursor) or 0,
                                limit=limit + 1)
    more = str(page[limit - 1].position) if len(page) > limit else None
    _link_next(request, response, more)
    return RecipientPage(items=[recipient_shown(row) for row in page[:limit]], next_cursor=more)


@router.get("/jobs/{job_id}/exclusions", responses=OF_A_JOB, summary="What was left out before the freeze, and why")
async def list_exclusions(request: Request, response: Response, door: AtDoor, holder: Holder, job_id: Number,
                          cursor: Cursor = None, limit: Limit = 100) -> ExclusionPage:
    page = await exclusion_page(door.pool, holder.account_id, job_id, after=_number(cursor) or 0, limit=limit + 1)
    more = str(page[limit - 1].row_no) if len(page) > limit else None
    _link_next(request, response, more)
    return ExclusionPage(items=[exclusion_shown(row) for row in page[:limit]], next_cursor=more)


EVENTS: dict[int | str, dict[str, Any]] = {200: {
    "description": "`job` events, each with the whole job in JSON; `end` when it is over.", "content": {
    "text/event-stream": {"schema": {"type": "string"}, "example": 'event: job\ndata: {"id": 7, "status": "sending", …}\n\n'}}}}


@router.get("/jobs/{job_id}/events", responses=OF_A_JOB | EVENTS, response_class=EventSourceResponse,
            summary="The job, live (server-sent events)")
async def follow_job(door: AtDoor, holder: Holder, job_id: Number) -> Response:
    """The job at once and again at each change. Every event is the whole job, so a stream that was lost and opened again is
    right with its first event."""
    return await events(door, holder.account_id, job_id)


@router.put("/jobs/{job_id}/approval", responses=MOVES_A_JOB, summary="Approve a job")
async def approve_job(door: AtDoor, holder: Holder, job_id: Number, body: Approval | None = None) -> Job:
    """Approving again changes nothing and answers the same."""
    digest = bytes.fromhex(body.digest) if body and body.digest is not None else None
    await approve(door.pool, holder.account_id, job_id, by=f"key {holder.name}", digest=digest)
    return job_shown(await report(door.pool, holder.account_id, job_id))


@router.put("/jobs/{job_id}/cancellation", responses=MOVES_A_JOB, summary="Cancel a job")
async def cancel_job(door: AtDoor, holder: Holder, job_id: Number, body: Cancellation | None = None) -> Job:
    """Takes effect at once. Cancelling again answers the same; a job that ended otherwise is a 409 with its final counts."""
    await cancel(door.pool, holder.account_id, job_id, by=f"key {holder.name}", note=body.note if body else None)
    return job_shown(await report(door.pool, holder.account_id, job_id))


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if int(cursor) > NUMBER_MAX:
        raise InvalidInput("The cursor is none that was given out here.", field="cursor")
    return int(cursor)


def _link_next(request: Request, response: Response, cursor: str | None) -> None:
    if cursor is not None:
        url = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'


def create_api() -> FastAPI:
    """The API as an application of its own, to be mounted. Its description is served beside it, offline: openapi.json."""
    api = FastAPI(title="Postroom", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json",
                  description="Sends one message to a large group and accounts for every single recipient.",
                  separate_input_output_schemas=False)
    api.include_router(router)
    problems.install(api)

    @api.exception_handler(BodyInvalid)
    async def _body_invalid(request: Request, error: BodyInvalid) -> JSONResponse:
        return problems.of_validation(error.errors)

    return api
