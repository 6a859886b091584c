"""The unsubscribe page, `/u/{token}`: for whoever got a message, without an account here, a cookie or a script.

Promises: only a POST acts, because whatever scans links opens them all (RFC 8058 section 1). It acts at once and answers 200
with a page, never with a redirect, however often it comes. What is no link of ours gets one and the same answer, with the
status of a genuine one, so that trying tokens tells nothing.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from postroom.doors.door import AtDoor
from postroom.doors.web.rendering import page
from postroom.doors.web.session import small_form
from postroom.flow.audience.unsubscribe import Addressee, addressee_of, unsubscribe

# What mailbox providers send (RFC 8058 section 3.2), and the button of our page too.
FIELD, ONE_CLICK = "List-Unsubscribe", "One-Click"

router = APIRouter(include_in_schema=False)


@router.api_route("/u/{token}", methods=["GET", "HEAD"])
async def ask(door: AtDoor, token: str) -> HTMLResponse:
    return _page(await addressee_of(door.pool, token), done=False)


@router.post("/u/{token}")
async def act(request: Request, door: AtDoor, token: str) -> HTMLResponse:
    """No session and no form token, by design: mailbox providers send this on their own, without cookies or anything else
    that would say who they are (RFC 8058 sections 3.1 and 3.2). The token alone is the right to do it.
    """
    if (await small_form(request)).get(FIELD) != ONE_CLICK:
        raise HTTPException(400, f"Nothing was changed: unsubscribing takes the field {FIELD}={ONE_CLICK}.")
    return _page(await unsubscribe(door.pool, token), done=True)


def _page(addressee: Addressee | None, *, done: bool) -> HTMLResponse:
    if addressee is None:
        return page("unsubscribe.html", address=None)
    return page("unsubscribe.html", address=_masked(addressee.address), sender=addressee.account_name, done=done,
                field=FIELD, value=ONE_CLICK)


def _masked(address: str) -> str:
    """Enough for its owner to know it; a message that was forwarded gives nobody else's address away."""
    local, _, domain = address.rpartition("@")
    return f"{local[0]}…@{domain}"
