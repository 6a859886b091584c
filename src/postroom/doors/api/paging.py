"""Pages of rows: how many, where the next one begins, and the link to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from postroom.doors.door import NUMBER_MAX, Digits
from postroom.errors import InvalidInput

PAGE_MAX = 500

Limit = Annotated[int, Digits, Query(ge=1, le=PAGE_MAX, description="At most so many; fewer where rows are large.")]
Cursor = Annotated[str | None, Query(max_length=20, pattern="^[0-9]+$", description="`next_cursor` of the page before.")]


def number(cursor: str | None) -> int | None:
    """Raises InvalidInput."""
    if cursor is None:
        return None
    if int(cursor) > NUMBER_MAX:
        raise InvalidInput("The cursor is none that was given out here.", field="cursor")
    return int(cursor)


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    if cursor is not None:
        url = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
