"""What came of the latest test messages, for the pages that their forms lead to.

In the memory of this process: to whom a test went is nobody's business, so neither the database nor a URL has it. Where it is not
known any more, or the page is asked of another process, the trail says how many the gateway took.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from postroom.doors.web.session import Session
from postroom.errors import Fault
from postroom.flow.job.report import JobEvent
from postroom.flow.preview.try_out import TESTS_PER_HOUR, TO_MAX, Tried

KEPT_MAX = 200


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was written as the addresses, and what became of them; or why nothing was sent; or what the trail knows of it."""

    to: str = ""
    tried: Sequence[Tried] = ()
    faults: Sequence[Fault] = ()
    note: str | None = None


class Receipts:
    """By the session and the key of the form."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Receipt] = OrderedDict()

    def keep(self, session: Session, form_key: str, receipt: Receipt) -> None:
        self._kept[session.form_token, form_key] = receipt
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def of(self, session: Session, form_key: str | None, trail: Sequence[JobEvent]) -> Receipt | None:
        """None where no test is meant."""
        if not form_key:
            return None
        tests = [move.reason for move in trail if move.verb in ("test", "tested")]
        return self._kept.get((session.form_token, form_key)) or Receipt(note=tests[-1] if tests else None)


def test_form(receipt: Receipt | None) -> dict[str, Any]:
    """What `parts.test` shows."""
    return {"receipt": receipt or Receipt(), "form_key": secrets.token_urlsafe(12), "to_max": TO_MAX,
            "tests_per_hour": TESTS_PER_HOUR}


async def _receipts(request: Request) -> Receipts:
    receipts: Receipts = request.app.state.receipts
    return receipts


AtReceipts = Annotated[Receipts, Depends(_receipts)]
