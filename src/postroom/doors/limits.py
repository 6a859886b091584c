"""No request is larger than what its address can use: refused by its Content-Length, or as soon as it has sent too much.

A refused request is read on a little and thrown away, whoever refuses it, so that its sender gets to see the answer.
"""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALL_BYTES_MAX = 64 * 1024
READ_ON_BYTES_MAX = 8 * 2**20
# The addresses at which lists come in: the API's POST /jobs and POST /previews, the page's form and its look ahead. Whole paths:
# who is not signed in may choose the end of another one, such as /u/send.
TAKES_A_LIST = re.compile(r"/api/v1/(?:jobs|previews)|/accounts/[0-9]+/send(?:/preview)?")


class BodyLimit:
    """ASGI middleware. What is too large is a 413, raised where the body is read."""

    def __init__(self, app: ASGIApp, upload_max_mb: int) -> None:
        self._app = app
        self._upload_bytes_max = upload_max_mb * 2**20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        takes_a_list = scope["method"] == "POST" and TAKES_A_LIST.fullmatch(scope["path"])
        bytes_max = self._upload_bytes_max if takes_a_list else SMALL_BYTES_MAX
        declared = dict(scope["headers"]).get(b"content-length", b"")
        too_large = declared.isdigit() and int(declared) > bytes_max
        received, has_more = 0, True

        async def taken() -> Message:
            nonlocal received, has_more
            message = await receive()
            received += len(message.get("body", b""))
            has_more = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def counted() -> Message:
            message = await taken()
            if too_large or received > bytes_max:
                raise HTTPException(413, f"The request is larger than {_size(bytes_max)}, the most that this address takes.")
            return message

        async def answered(message: Message) -> None:
            """A sender that is cut off while it writes never reads the answer."""
            if message["type"] == "http.response.start" and message["status"] == 413:
                enough = received + READ_ON_BYTES_MAX
                while has_more and received < enough:
                    await taken()
            await send(message)

        await self._app(scope, counted, answered)


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 1024} KiB"
