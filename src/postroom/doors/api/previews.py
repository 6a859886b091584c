"""The API's looks at a message before (and after) it goes out: one recipient's, a draft's, and a test of it to oneself.

A look creates nothing and sends nothing. A test is sent once; what the gateway said of it can be asked for no second time.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from postroom.doors.api import problems
from postroom.doors.api.holder import Acting, takes_its_query
from postroom.doors.api.requests import Line, Strict, asked_for, openapi_of_new_job
from postroom.doors.door import NUMBER_MAX, AtDoor, Digits, Number
from postroom.doors.previewed import SOURCE_EXAMPLE, PreviewShown, TestShown, preview_shown, tried_shown
from postroom.doors.web.pages import PREVIEW_POLICY
from postroom.errors import Conflict, NotFound
from postroom.flow.preview.look import Preview, framed, preview, preview_draft
from postroom.flow.preview.try_out import TESTS_PER_HOUR, TO_MAX, GatewayUnusable, send_test

router = APIRouter(dependencies=[takes_its_query], responses=problems.answers(401, 408, 422, 429, 503))
NO_MESSAGE: dict[int | str, dict[str, Any]] = {409: problems.RESPONSES[409] | {
    "description": "This recipient gets no message; the reason is the detail. In JSON it is a member."}}
TOO_MANY: dict[int | str, dict[str, Any]] = {409: problems.RESPONSES[409] | {
    "description": f"The account sent {TESTS_PER_HOUR} test messages within the hour; the detail says when it goes on."}}
FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {
    "text/html": {"schema": {"type": "string"}, "example": "<p>Hello Zoë,</p>"},
    "text/plain": {"schema": {"type": "string"}, "example": "Hello Zoë,\n"},
    "message/rfc822": {"schema": {"type": "string", "format": "binary"}, "example": SOURCE_EXAMPLE}}}}

Place = Annotated[int, Digits, Query(ge=1, le=NUMBER_MAX, description="Of the recipient, in the order of the list, from 1 on.")]
Form = Annotated[Literal["json", "html", "text", "source"], Query(alias="as", description="All of it, or one part alone.")]


class NewTest(Strict):
    """`position` is the recipient whose fields are put in."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"to": ["office@example.com"], "position": 12}]})

    to: Annotated[list[Line], Field(min_length=1, max_length=TO_MAX)]
    position: Annotated[int, Field(strict=True, ge=1, le=NUMBER_MAX)] = 1


@router.get("/jobs/{job_id}/recipients/{position}/message", response_model=PreviewShown,
            responses=problems.answers(404) | NO_MESSAGE | FORMS, summary="One recipient's message, as it goes out or went out")
async def show_message(door: AtDoor, actor: Acting, job_id: Number, position: Number, form: Form = "json") -> Any:
    """In any status of the job; one that has not started is shown as it would go out now. `as=source` is the message to the
    byte; `as=html` may be put into a frame: it runs nothing and fetches nothing."""
    return await _shown(await preview(door.pool, door.deployment, actor, job_id, position), form)


@router.post("/previews", response_model=PreviewShown, openapi_extra=openapi_of_new_job(), summary="Look at a draft",
             responses=problems.answers(400, 413, 415) | NO_MESSAGE | FORMS)
async def show_draft(request: Request, door: AtDoor, actor: Acting, position: Place = 1, form: Form = "json") -> Any:
    """Takes what `POST /jobs` takes and creates nothing: the message of one recipient, or what is wrong with the draft. The list
    is read up to that recipient, or some rows further, and nobody is left out of it."""
    async with asked_for(request, door.deployment, actor) as asked:
        return await _shown(await preview_draft(door.pool, door.deployment, asked.submission, asked.rows, position), form)


@router.post("/jobs/{job_id}/tests", response_model=TestShown, responses=problems.answers(400, 404, 413) | TOO_MANY,
             summary="Send a test message")
async def try_out(door: AtDoor, actor: Acting, job_id: Number, body: NewTest) -> Any:
    """Sends one recipient's message, marked as a test, to addresses of your own, and answers with what the gateway said. It is in
    no ledger but in the job's trail, changes no count, and is never sent again by itself. 503: there is no session with the
    gateway."""
    try:
        tried = await send_test(door.pool, door.deployment, actor, job_id, body.position, body.to)
    except GatewayUnusable as error:  # it is the account's own gateway, so what is wrong with it may be told
        return problems.problem(503, str(error))
    return tried_shown(body.position, tried)


async def _shown(told: Preview, form: str) -> PreviewShown | Response:
    if form == "json":
        return preview_shown(told)
    if told.reason is not None:
        raise Conflict(f"Recipient {told.position:,} gets no message. {told.reason}")
    if form == "source":
        return _kept_to_itself(told.source, "message/rfc822")
    if (part := told.html if form == "html" else told.text) is None:
        raise NotFound(f"The message has no {form} part.")
    return _kept_to_itself(await framed(told) if form == "html" else part, f"text/{'html' if form == 'html' else 'plain'}")


def _kept_to_itself(content: str | bytes, media_type: str) -> Response:
    return Response(content, media_type=media_type, headers={
        "Content-Security-Policy": PREVIEW_POLICY, "X-Content-Type-Options": "nosniff"})
