"""The page of an account's opt-outs: whom it must not mail, and what was decided about one address. To add one is a form; to lift
one too, which says what it means and asks for a reason. What is wrong is said at its field, and what was written stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from postroom.domain.access import Actor
from postroom.doors.door import AtDoor, Door
from postroom.doors.web.rendering import account_page
from postroom.doors.web.session import Acting, SentForm, Session, SignedIn
from postroom.errors import InvalidInput
from postroom.flow.audience.suppressions import (
    MEANING,
    REASON_MAX,
    Suppression,
    SuppressionEvent,
    lift,
    suppress,
    suppressions,
    trail,
)

ROWS_PER_PAGE = 100

router = APIRouter(include_in_schema=False)


@router.get("/accounts/{account_id}/opt-outs")
async def show_opt_outs(door: AtDoor, session: SignedIn, actor: Acting, address: str = "", after: str = "") -> Response:
    """All of them by address, or one with its trail, also where it was lifted or never suppressed."""
    return await _page(door, session, actor, address.strip(), after)


@router.post("/accounts/{account_id}/opt-outs")
async def add_opt_out(door: AtDoor, session: SignedIn, form: SentForm, actor: Acting) -> Response:
    address = form.get("address", "").strip()
    try:
        await suppress(door.pool, actor, [address], form.get("reason", "").strip() or "Opted out.")
    except InvalidInput as error:
        at = "add-reason" if error.faults[0].field == "reason" else "add-address"
        return await _page(door, session, actor, added=form, faults={at: str(error).removeprefix("Row 1: ")})
    return _to(actor.account_id, address)


@router.post("/accounts/{account_id}/opt-outs/lifting")
async def lift_opt_out(door: AtDoor, session: SignedIn, form: SentForm, actor: Acting) -> Response:
    """The box says that it is meant; a form without it is told what it would mean."""
    address = form.get("address", "")
    try:
        await lift(door.pool, actor, address, form.get("reason", ""),
                   is_deliberate=form.get("confirmed") == "yes")
    except InvalidInput as error:
        return await _page(door, session, actor, address, faults={"lift-reason": str(error)}, lifted=form)
    return _to(actor.account_id, address)


async def _page(door: Door, session: Session, actor: Actor, address: str = "", after: str = "", *,
                faults: Mapping[str, str] | None = None, added: Mapping[str, str] | None = None,
                lifted: Mapping[str, str] | None = None) -> Response:
    """`faults` by the field at which each is said; what was written in a form that had one is `added` or `lifted`."""
    faults = dict(faults or {})
    rows, moves = list[Suppression](), list[SuppressionEvent]()
    try:
        rows = await suppressions(door.pool, actor, address=address or None, after=after, limit=ROWS_PER_PAGE + 1)
        moves = await trail(door.pool, actor, address) if address else []
    except InvalidInput as error:
        faults["find"] = str(error)
    return await account_page(
        door, session, actor, "opt_outs.html", status=422 if faults else 200, address=address, rows=rows[:ROWS_PER_PAGE],
        after=after, moves=moves, meaning=MEANING, reason_max=REASON_MAX, faults=faults,
        added=added or {"address": address}, lifted=lifted or {},
        more=rows[ROWS_PER_PAGE - 1].address if len(rows) > ROWS_PER_PAGE else None)


def _to(account_id: int, address: str) -> RedirectResponse:
    return RedirectResponse(f"/accounts/{account_id}/opt-outs?{urlencode({'address': address})}", 303)
