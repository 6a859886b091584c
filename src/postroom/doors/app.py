"""The web process: the API under /api/v1, the pages at /, and /healthz, in one ASGI application."""

from __future__ import annotations

import asyncio
from functools import partial

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from postroom.doors.api.problems import problem
from postroom.doors.api.routes import create_api
from postroom.doors.door import Door
from postroom.doors.limits import BodyLimit, Places
from postroom.doors.live import Live
from postroom.doors.web import compose, entrance, opt_outs, pages, preview, unsubscribe
from postroom.doors.web.receipts import Receipts
from postroom.doors.web.rendering import STATIC, PageHeaders, install_troubles
from postroom.doors.web.session import Sessions
from postroom.doors.wiring import Postroom
from postroom.errors import Unavailable
from postroom.flow.account.keys import holder_of
from postroom.flow.account.operator import is_signed_in
from postroom.flow.job.report import Pool

HEALTH_DEADLINE_S = 3.0
HEALTH_KEPT_S = 1.0

health = APIRouter(include_in_schema=False)


class Health:
    """Whether a request can use the database. Anybody may ask, so one look is for all who ask within a second."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._looked_at = -HEALTH_KEPT_S
        self._looking: asyncio.Task[bool]

    async def is_good(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= HEALTH_KEPT_S:
            self._looked_at, self._looking = now, asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_DEADLINE_S), self._pool.connection(HEALTH_DEADLINE_S) as connection:
                await self._pool.check_connection(connection)
        except (Unavailable, TimeoutError):
            return False
        return True


@health.api_route("/healthz", methods=["GET", "HEAD"])
async def is_healthy(request: Request) -> JSONResponse:
    """200 where a request can use the database now."""
    if not await request.app.state.health.is_good():
        return problem(503, "The database does not answer.")
    return JSONResponse({"status": "ok", "database": "ok"})


async def _account_of(pool: Pool, api_key: str) -> int | None:
    holder = await holder_of(pool, api_key)
    return None if holder is None else holder.account_id


def create_app(postroom: Postroom) -> FastAPI:
    """The application on an open installation."""
    settings = postroom.settings
    door = Door(postroom, Live(postroom.pool))
    api = create_api()
    # Starlette's redirects to the address with or without its last slash go to whatever Host was named, query and all.
    app = FastAPI(title="Postroom", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.door = api.state.door = door
    app.state.health = Health(postroom.pool)
    app.state.receipts = Receipts()
    app.state.sessions = Sessions(postroom.pool, settings.base_url)
    app.mount("/api/v1", api)
    app.mount("/static", StaticFiles(directory=STATIC))
    for router in (health, entrance.router, pages.router, preview.router, compose.router, opt_outs.router, unsubscribe.router):
        app.include_router(router)
    install_troubles(app)
    app.add_middleware(Places, account_of=partial(_account_of, postroom.pool), is_session=partial(is_signed_in, postroom.pool))
    app.add_middleware(BodyLimit, upload_max_mb=settings.upload_max_mb)
    app.add_middleware(PageHeaders)
    return app
