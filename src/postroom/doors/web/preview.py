"""The page on which a person looks before anything is sent: one recipient's message, and a test of it to oneself.

The message is somebody's HTML: it stands in a frame of its own whose answer may run nothing, fetch nothing and lead nowhere.
The page works without scripts.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, RedirectResponse, Response

from postroom.domain.access import Actor
from postroom.doors.door import NUMBER_MAX, AtDoor, Door, Number
from postroom.doors.web.pages import PREVIEW_POLICY
from postroom.doors.web.receipts import AtReceipts, Receipt, test_form
from postroom.doors.web.rendering import account_page
from postroom.doors.web.session import Acting, SentForm, Session, SignedIn
from postroom.errors import Conflict, Fault, InvalidInput
from postroom.flow.job.report import report, trail
from postroom.flow.job.submit import IdempotencyKey
from postroom.flow.preview.look import Preview, framed, preview
from postroom.flow.preview.try_out import GatewayUnusable, TriedBefore, send_test

SOURCE_SHOWN_MAX = 100_000  # octets; all of it is in the file
BETWEEN_ADDRESSES = re.compile(r"[\s,;]+")

router = APIRouter(include_in_schema=False)
Place = Annotated[int, Query(ge=1, le=NUMBER_MAX)]


@router.get("/accounts/{account_id}/jobs/{job_id}/preview")
async def show_preview(door: AtDoor, receipts: AtReceipts, session: SignedIn, actor: Acting, job_id: Number,
                       position: Place = 1, tested: str | None = None) -> Response:
    """`tested` is the key of a form that sent a test from here."""
    receipt = receipts.of(session, tested, await trail(door.pool, actor, job_id))
    return await _page(door, session, actor, job_id, position, receipt)


@router.get("/accounts/{account_id}/jobs/{job_id}/recipients/{position}/message")
async def show_message(door: AtDoor, session: SignedIn, actor: Acting, job_id: Number, position: Number) -> Response:
    """The HTML for the frame."""
    shown = await preview(door.pool, door.deployment, actor, job_id, position)
    return HTMLResponse(await framed(shown), headers={"Content-Security-Policy": PREVIEW_POLICY})


@router.get("/accounts/{account_id}/jobs/{job_id}/recipients/{position}/source")
async def download_source(door: AtDoor, session: SignedIn, actor: Acting, job_id: Number, position: Number) -> Response:
    """The message as a file, for a mail program."""
    shown = await preview(door.pool, door.deployment, actor, job_id, position)
    if shown.reason is not None:
        raise Conflict(f"Recipient {position:,} gets no message. {shown.reason}", job_id=job_id)
    return Response(shown.source, media_type="message/rfc822", headers={
        "Content-Disposition": f'attachment; filename="job-{job_id}-recipient-{position}.eml"'})


@router.post("/accounts/{account_id}/jobs/{job_id}/recipients/{position}/tests")
async def send(door: AtDoor, receipts: AtReceipts, session: SignedIn, form: SentForm, actor: Acting, job_id: Number,
               position: Number) -> Response:
    """Leads back to where the form stood, so that a reload sends nothing; and the same form sends it once, however often it
    comes. What is wrong with the addresses is answered here: nothing was sent, and nothing will be."""
    to, key = form.get("to", ""), form.get("form_key") or secrets.token_urlsafe(12)
    addresses = [one for one in BETWEEN_ADDRESSES.split(to) if one]
    asked = hashlib.sha256(f"{job_id} {position} {' '.join(addresses)}".encode(errors="replace"))
    once = IdempotencyKey(f"test {key[:32]} {asked.hexdigest()}", asked.digest())
    try:
        tried = await send_test(door.pool, door.deployment, actor, job_id, position, addresses,
                                idempotency=once)
    except InvalidInput as error:
        return await _page(door, session, actor, job_id, position, Receipt(to, faults=error.faults), status=422)
    except TriedBefore:
        pass  # what came of it is kept already, or is about to be
    except (Conflict, GatewayUnusable) as error:
        receipts.keep(session, key, Receipt(to, faults=[Fault(str(error))]))
    else:
        receipts.keep(session, key, Receipt(to, tried))
    job = f"/accounts/{actor.account_id}/jobs/{job_id}"
    back = f"{job}?{urlencode({'tested': key})}" if form.get("back") == "job" else (
        f"{job}/preview?{urlencode({'position': position, 'tested': key})}")
    return RedirectResponse(f"{back}#test", 303)


async def _page(door: Door, session: Session, actor: Actor, job_id: int, position: int, receipt: Receipt | None = None, *,
                status: int = 200) -> Response:
    told = await report(door.pool, actor, job_id)
    shown = await preview(door.pool, door.deployment, actor, job_id, position)
    return await account_page(door, session, actor, "preview.html", status=status, told=told, job=told.job,
                              **test_form(receipt), **seen(shown))


def seen(shown: Preview) -> dict[str, Any]:
    """What `seen.html` shows."""
    source = shown.source[:SOURCE_SHOWN_MAX].decode(errors="replace").replace("\r\n", "\n")
    return {"shown": shown, "source": source, "source_is_cut": len(shown.source) > SOURCE_SHOWN_MAX}
