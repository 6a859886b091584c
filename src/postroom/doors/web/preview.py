"""The page on which a person looks before anything is sent: one recipient's message, and a test of it to oneself.

The message is somebody's HTML: it stands in a frame of its own whose answer may run nothing, fetch nothing and lead nowhere.
The page works without scripts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, Response

from postroom.doors.door import NUMBER_MAX, AtDoor, Door, Number
from postroom.doors.web.pages import PREVIEW_POLICY
from postroom.doors.web.rendering import account_page
from postroom.doors.web.session import OPERATOR, SentForm, Session, SignedIn
from postroom.errors import Conflict, Fault, InvalidInput
from postroom.flow.job.report import report
from postroom.flow.preview.look import Preview, framed, preview
from postroom.flow.preview.try_out import TESTS_PER_HOUR, TO_MAX, GatewayUnusable, Tried, send_test

SOURCE_SHOWN_MAX = 100_000  # octets; all of it is in the file
BETWEEN_ADDRESSES = re.compile(r"[\s,;]+")

router = APIRouter(include_in_schema=False)
Place = Annotated[int, Query(ge=1, le=NUMBER_MAX)]


@router.get("/accounts/{account_id}/jobs/{job_id}/preview")
async def show_preview(door: AtDoor, session: SignedIn, account_id: Number, job_id: Number, position: Place = 1) -> Response:
    return await _page(door, session, account_id, job_id, position)


@router.get("/accounts/{account_id}/jobs/{job_id}/recipients/{position}/message")
async def show_message(door: AtDoor, session: SignedIn, account_id: Number, job_id: Number, position: Number) -> Response:
    """The HTML for the frame."""
    shown = await preview(door.pool, door.deployment, account_id, job_id, position)
    return HTMLResponse(await framed(shown), headers={"Content-Security-Policy": PREVIEW_POLICY})


@router.get("/accounts/{account_id}/jobs/{job_id}/recipients/{position}/source")
async def download_source(door: AtDoor, session: SignedIn, account_id: Number, job_id: Number, position: Number) -> Response:
    """The message as a file, for a mail program."""
    shown = await preview(door.pool, door.deployment, account_id, job_id, position)
    if shown.reason is not None:
        raise Conflict(f"Recipient {position:,} gets no message. {shown.reason}", job_id=job_id)
    return Response(shown.source, media_type="message/rfc822", headers={
        "Content-Disposition": f'attachment; filename="job-{job_id}-recipient-{position}.eml"'})


@router.post("/accounts/{account_id}/jobs/{job_id}/recipients/{position}/tests")
async def send(door: AtDoor, session: SignedIn, form: SentForm, account_id: Number, job_id: Number, position: Number) -> Response:
    """The answer is the page itself, with what the gateway said: what was said is not kept, so there is no page to lead to."""
    to = form.get("to", "")
    addresses = [one for one in BETWEEN_ADDRESSES.split(to) if one]
    try:
        tried = await send_test(door.pool, door.deployment, account_id, job_id, position, addresses, by=OPERATOR)
    except InvalidInput as error:
        return await _page(door, session, account_id, job_id, position, to=to, faults=error.faults, status=422)
    except Conflict as error:
        return await _page(door, session, account_id, job_id, position, to=to, faults=[Fault(str(error))], status=409)
    except GatewayUnusable as error:
        return await _page(door, session, account_id, job_id, position, to=to, faults=[Fault(str(error))], status=503)
    return await _page(door, session, account_id, job_id, position, to=to, tried=tried)


async def _page(door: Door, session: Session, account_id: int, job_id: int, position: int, *, to: str = "",
                tried: Sequence[Tried] = (), faults: Sequence[Fault] = (), status: int = 200) -> Response:
    job = (await report(door.pool, account_id, job_id)).job
    shown = await preview(door.pool, door.deployment, account_id, job_id, position)
    return await account_page(
        door, session, account_id, "preview.html", status=status, job=job, to=to, tried=tried, faults=faults, to_max=TO_MAX,
        tests_per_hour=TESTS_PER_HOUR, **seen(shown))


def seen(shown: Preview) -> dict[str, Any]:
    """What `seen.html` shows."""
    source = shown.source[:SOURCE_SHOWN_MAX].decode(errors="replace").replace("\r\n", "\n")
    return {"shown": shown, "source": source, "source_is_cut": len(shown.source) > SOURCE_SHOWN_MAX}
