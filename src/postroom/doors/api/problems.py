"""Every answer of the API that is no success: RFC 9457 `application/problem+json`, made in this one place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from postroom.doors.invalid import sentence
from postroom.errors import Conflict, Fault, Forbidden, InvalidInput, NotFound, PostroomError, TooMany, Unavailable

MEDIA_TYPE = "application/problem+json"
ERRORS_MAX = 20
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}  # as RFC 9110 has them, whatever Python does
# Where in the JSON of a new job, a test message or a decision the things stand that flow names by their own fields.
POINTERS = {
    "subject": "#/message/subject", "preheader": "#/message/preheader", "html": "#/message/html",
    "markdown": "#/message/markdown", "mjml": "#/message/mjml", "text": "#/message/text",
    "attachments": "#/message/attachments",
    "from_address": "#/message/from/address", "from_name": "#/message/from/name", "reply_to": "#/message/reply_to",
    "headers": "#/message/headers",
    "recipients": "#/recipients", "duplicates": "#/duplicates", "unusable_addresses": "#/unusable_addresses",
    "email_column": "#/email_column", "opted_out_rows": "#/opted_out_rows",
    "field_policy": "#/field_policy", "gateway": "#/gateway", "not_before": "#/not_before", "to": "#/to",
    "decision": "#/decision", "positions": "#/positions", "which": "#/which"}

log = structlog.get_logger(__name__)


class ProblemError(BaseModel):
    """One thing that is wrong: where it stands (one of pointer, parameter, header) and, in a list, its row and column."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None
    row: int | None = None
    column: str | None = None


class Problem(BaseModel):
    """RFC 9457. `errors` stands with 422, `job_id` with some of 409."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "type": "about:blank", "title": "Unprocessable Content", "status": 422,
        "detail": 'The header names the column "name" twice. Rename one of them.',
        "errors": [{"detail": 'The header names the column "name" twice. Rename one of them.', "row": 1, "column": "name"}]}]})

    type: str
    title: str
    status: int
    detail: str
    job_id: int | None = None
    errors: list[ProblemError] | None = None


_OF_PROBLEM = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
SCHEMAS = {"Problem": {name: value for name, value in _OF_PROBLEM.items() if name != "$defs"}, **_OF_PROBLEM["$defs"]}

# What an operation may answer with; the framework's own schema of 422 is not what we answer.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, description in (
        (400, "The body cannot be read."), (401, "No bearer key, or one that is unknown or revoked."),
        (404, "No such thing in this account."), (408, "The request came too slowly."),
        (409, "The job is not in a state that allows this."),
        (413, "The request is too large."), (415, "The body, or a part of it, is of another type than those that are taken."),
        (422, "Something in the request is wrong; `errors` says what and where."),
        (429, "The account or the address has too many requests under way. Wait until some of them are answered."),
        (503, "The database is not there. Try again."))}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Those of RESPONSES, as a route is told of them."""
    return {status: RESPONSES[status] for status in statuses}


class _Problem(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """What is quoted from a request may hold half a character, which no answer can carry: it is shown as "?"."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """The one renderer. Members that are None are left out."""
    title = TITLES.get(status) or HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body |= {name: value for name, value in members.items() if value is not None}
    return _Problem(body, status, headers)


def of_postroom_error(error: PostroomError) -> JSONResponse:
    detail = str(error)
    match error:
        case InvalidInput(faults=faults):
            return problem(422, detail, errors=[_of_fault(fault) for fault in faults])
        case Forbidden():
            return problem(403, detail)
        case NotFound():
            return problem(404, detail)
        case Conflict(job_id=job_id):
            return problem(409, detail, job_id=job_id)
        case TooMany():
            return problem(429, detail, headers={"Retry-After": "1"})
        case Unavailable():
            log.warning("a request was put off", error=detail)  # it names the server, which is not for everybody
            return problem(503, "Postroom cannot use its database now. Try again in a moment.", headers={"Retry-After": "5"})
    raise TypeError(f"{type(error).__name__} has no problem")


def _of_fault(fault: Fault) -> dict[str, Any]:
    place = {}
    if fault.field == "Idempotency-Key":
        place["header"] = fault.field
    elif fault.field in POINTERS:
        place["pointer"] = POINTERS[fault.field]
    elif fault.field is not None:
        place["parameter"] = fault.field
    entry = ProblemError(detail=fault.message, row=fault.row, column=fault.column, **place)
    return entry.model_dump(exclude_none=True)


def of_validation(errors: Sequence[Any]) -> JSONResponse:
    """Of pydantic's errors. A path that is no number names nothing: it is a 404 like any other unknown thing."""
    if any(error["loc"][:1] == ("path",) for error in errors):
        return problem(404, "There is no such thing here.")
    entries = [_of_pydantic(error) for error in errors[:ERRORS_MAX]]
    return problem(422, _summary([entry.detail for entry in entries]),
                   errors=[entry.model_dump(exclude_none=True) for entry in entries])


def _summary(details: list[str]) -> str:
    more = f" ({len(details)} faults in all)" if len(details) > 1 else ""
    return details[0] + more


def _of_pydantic(error: Any) -> ProblemError:
    where, *rest = error["loc"] or ("body",)
    message = sentence(error)
    if where == "query":
        return ProblemError(detail=f"{rest[0]}: {message}", parameter=str(rest[0]))
    if where == "header":
        return ProblemError(detail=f"{rest[0]}: {message}", header=str(rest[0]))
    if error["type"] == "json_invalid":
        return ProblemError(detail="The body is not valid JSON.", pointer="#")
    path = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in rest)
    name = ".".join(str(part) for part in rest) or "The body"
    return ProblemError(detail=f"{name}: {message}", pointer=f"#/{path}" if path else "#")


def install(app: FastAPI) -> None:
    """Makes every way in which a request can fail answer with a problem."""

    @app.exception_handler(PostroomError)
    async def _postroom(request: Request, error: PostroomError) -> JSONResponse:
        return of_postroom_error(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return of_validation(error.errors())

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 405:
            error.headers = {"Allow": ", ".join(_methods_of(request))}
        return of_http(error)

    app.add_exception_handler(ClientDisconnect, gone)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        return of_bug()


def of_bug() -> JSONResponse:
    """Whoever is outermost writes the log: the framework hands every bug on to there."""
    return problem(500, "Something went wrong inside Postroom. It is in the log of the server.")


def _methods_of(request: Request) -> list[str]:
    """Of all routes at this address: the framework's own 405 names those of the first alone."""
    return [method for method in METHODS
            if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)]


async def gone(request: Request, error: Exception) -> Response:
    """For whoever hung up in the middle of a request: nothing was done, and nobody reads this."""
    return Response(status_code=400)


def of_http(error: HTTPException) -> JSONResponse:
    return problem(error.status_code, _detail_of(error), headers=error.headers)


def _detail_of(error: HTTPException) -> str:
    match error.status_code:
        case 404 if error.detail == "Not Found":
            return "There is nothing at this address."
        case 405 if error.detail == "Method Not Allowed":
            return "This address does not take this method."
        case _:
            return error.detail
