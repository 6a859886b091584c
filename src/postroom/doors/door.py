"""What every route of the API and of the pages is given: the parts of the installation, and who follows which job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from postroom.domain.access import Actor
from postroom.doors.live import RETRY_AFTER_S, Live
from postroom.doors.shown import job_shown
from postroom.doors.wiring import Postroom
from postroom.errors import Unavailable
from postroom.flow.account.deployment import Deployment
from postroom.flow.job.report import JobReport, Pool, report

NUMBER_MAX = 2**63 - 1
POSITION_MAX = 2**31 - 1  # what the database can hold
PING_S = 15
SEND_TIMEOUT_S = 60
STREAM_S = 3_600.0



def _in_digits(value: object) -> object:
    """pydantic would also take " 1", "+1", "1_0" and "1.0": several addresses of one thing."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise PydanticCustomError("int_parsing", "a whole number is needed")
    return value


Digits = BeforeValidator(_in_digits)
# A number that the database can hold; anything else names nothing.
Number = Annotated[int, Digits, Path(ge=1, le=NUMBER_MAX)]


@dataclass(frozen=True, slots=True)
class Door:
    """What all of them share."""

    postroom: Postroom
    live: Live

    @property
    def pool(self) -> Pool:
        return self.postroom.pool

    @property
    def deployment(self) -> Deployment:
        return self.postroom.deployment


async def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


AtDoor = Annotated[Door, Depends(_door)]


async def events(door: Door, actor: Actor, job_id: int, *, may_go_on: Callable[[], Awaitable[bool]],
                 without: Mapping[str, Any] | None = None) -> EventSourceResponse:
    """The job as server-sent events: `job`, whole, at once and at each change, and `end` when it is over.

    `may_go_on` is asked before each state and every second: a key that was revoked or a session that was signed out gets no more
    of it, and no `end`. So does everybody after STREAM_S; who watches on connects again. `without` names keys that are left out,
    as pydantic's `exclude` does. Raises NotFound before anything is sent.
    """
    await report(door.pool, actor, job_id)

    def said(name: str, state: dict[str, Any]) -> ServerSentEvent:
        return ServerSentEvent(json.dumps(state, ensure_ascii=False), event=name)

    async def stream() -> AsyncIterator[ServerSentEvent]:
        last: JobReport | None = None
        until = asyncio.get_running_loop().time() + STREAM_S
        async with aclosing(door.live.follow(actor.account_id, job_id)) as states:
            async for state in states:
                if not await _answered(may_go_on) or asyncio.get_running_loop().time() > until:
                    return
                if state is not None:
                    last = state
                    yield said("job", job_shown(last).model_dump(mode="json", exclude=without))
        if last is not None:
            yield said("end", {"id": last.job.id, "status": last.job.status.value})

    return EventSourceResponse(stream(), ping=PING_S, send_timeout=SEND_TIMEOUT_S)


async def _answered(question: Callable[[], Awaitable[bool]]) -> bool:
    """While the database is away there is no answer, and a stream stays quiet."""
    while True:
        try:
            return await question()
        except Unavailable:
            await asyncio.sleep(RETRY_AFTER_S)
