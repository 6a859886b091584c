"""The way in and out: the link that `postroom sign-in` prints, and which account comes first."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from postroom.doors.door import NUMBER_MAX, AtDoor
from postroom.doors.web.rendering import page
from postroom.doors.web.session import AtEntrance, SentForm, SignedIn
from postroom.flow.account.accounts import all_accounts

router = APIRouter(include_in_schema=False)

OUR_PAGE = re.compile(r"/(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]*")


@router.get("/sign-in")
async def sign_in(request: Request, sessions: AtEntrance, token: str = "",
                  go_to: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The token is used up by this; whoever is signed in and loads the link again is led on all the same.

    `next` is a page of ours: an address of another site would make the link a way to lead people there.
    """
    response = RedirectResponse(go_to if OUR_PAGE.fullmatch(go_to) else "/", 303)
    if await sessions.begin(token, response) or (token and await sessions.of(request)):
        return response
    return page("sign_in.html", status=401, wrong=bool(token))


@router.post("/sign-out")
async def sign_out(sessions: AtEntrance, session: SignedIn, form: SentForm) -> Response:
    response = page("sign_in.html", out=True)
    await sessions.end(session, response)
    return response


@router.get("/")
async def enter(door: AtDoor, session: SignedIn) -> Response:
    accounts = await all_accounts(door.pool)
    if not accounts:
        return page("no_account.html", session=session)
    return RedirectResponse(f"/accounts/{accounts[0].id}/jobs", 303)


@router.get("/accounts")
async def switch_account(session: SignedIn, account: Annotated[int, Query(ge=1, le=NUMBER_MAX)]) -> RedirectResponse:
    return RedirectResponse(f"/accounts/{account}/jobs", 303)
