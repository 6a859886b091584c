"""Who a request of the API speaks for: the holder of its bearer key, and with it one account."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from postroom.doors.door import AtDoor
from postroom.flow.accounts import KeyHolder, holder_of

bearer = HTTPBearer(auto_error=False, description="A key of the account: postroom key create NAME.")


async def _holder(door: AtDoor, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> KeyHolder:
    holder = await holder_of(door.pool, given.credentials) if given else None
    if holder is None:
        raise HTTPException(401, "Give a key of the account: Authorization: Bearer postroom_….",
                            headers={"WWW-Authenticate": 'Bearer realm="postroom"'})
    return holder


Holder = Annotated[KeyHolder, Depends(_holder)]
