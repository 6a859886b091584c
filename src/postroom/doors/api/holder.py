"""Who a request of the API speaks for, the holder of its bearer key and with it one account; and what its address may ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import Request

from postroom.domain.access import Actor
from postroom.doors.door import AtDoor
from postroom.flow.account.keys import holder_of

KeyLasts = Callable[[], Awaitable[bool]]

bearer = HTTPBearer(auto_error=False, description="A key of the account: postroom key create --name NAME.")


async def _holder(door: AtDoor, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Actor:
    if given is None:
        raise _nobody("Give a key of the account: Authorization: Bearer postroom_….")
    actor = await holder_of(door.pool, given.credentials)
    if actor is None:
        raise _nobody("This key is unknown, or it was revoked: postroom key list shows the keys that there are.")
    return actor


def _nobody(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": 'Bearer realm="postroom"'})


Acting = Annotated[Actor, Depends(_holder)]


def _lasts(door: AtDoor, actor: Acting, given: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> KeyLasts:
    """Whether the key still speaks for the same, for an answer that goes on for long."""

    async def lasts() -> bool:
        return await holder_of(door.pool, given.credentials) == actor

    return lasts


Lasts = Annotated[KeyLasts, Depends(_lasts)]


async def _takes_its_query(request: Request, actor: Acting) -> None:
    """A parameter that an operation does not have is a mistake and is said, as an unknown key of a body is: whoever misspells a
    filter would else be given everybody. Whoever has no key is told that first. Raises RequestValidationError."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    unknown = [{"type": "extra_forbidden", "loc": ("query", name), "msg": "", "input": value}
               for name, value in request.query_params.items() if name not in known]
    if unknown:
        raise RequestValidationError(unknown)


takes_its_query = Depends(_takes_its_query)  # of every router of the API
