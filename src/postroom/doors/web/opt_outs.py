"""The page of an account's opt-outs: whom it must not mail, and what was decided about one address. To add one is a form; to lift
one too, which says what it means and asks for a reason.
"""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import HTMLResponse, RedirectResponse

from postroom.doors.door import AtDoor, Number
from postroom.doors.web.rendering import account_page
from postroom.doors.web.session import OPERATOR, SentForm, SignedIn
from postroom.flow.audience.suppressions import MEANING, REASON_MAX, lift, suppress, suppressions, trail

ROWS_PER_PAGE = 100

router = APIRouter(include_in_schema=False)


@router.get("/accounts/{account_id}/opt-outs")
async def show_opt_outs(door: AtDoor, session: SignedIn, account_id: Number, address: str = "", after: str = "") -> HTMLResponse:
    """All of them by address, or one with its trail, also where it was lifted or never suppressed."""
    address = address.strip()
    rows = await suppressions(door.pool, account_id, address=address or None, after=after, limit=ROWS_PER_PAGE + 1)
    return await account_page(
        door, session, account_id, "opt_outs.html", address=address, rows=rows[:ROWS_PER_PAGE], after=after,
        moves=await trail(door.pool, account_id, address) if address else [], meaning=MEANING, reason_max=REASON_MAX,
        more=rows[ROWS_PER_PAGE - 1].address if len(rows) > ROWS_PER_PAGE else None)


@router.post("/accounts/{account_id}/opt-outs")
async def add_opt_out(door: AtDoor, form: SentForm, account_id: Number) -> RedirectResponse:
    address = form.get("address", "").strip()
    await suppress(door.pool, account_id, [address], form.get("reason", "").strip() or "Opted out.", by=OPERATOR)
    return _to(account_id, address)


@router.post("/accounts/{account_id}/opt-outs/lifting")
async def lift_opt_out(door: AtDoor, form: SentForm, account_id: Number) -> RedirectResponse:
    """The box says that it is meant; a form without it is told what it would mean."""
    address = form.get("address", "")
    await lift(door.pool, account_id, address, form.get("reason", ""), by=OPERATOR, is_deliberate=form.get("confirmed") == "yes")
    return _to(account_id, address)


def _to(account_id: int, address: str) -> RedirectResponse:
    return RedirectResponse(f"/accounts/{account_id}/opt-outs?{urlencode({'address': address})}", 303)
