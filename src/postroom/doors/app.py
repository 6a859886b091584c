"""The web process: the API under /api/v1, the pages at /, and /healthz, in one ASGI application."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, FastAPI
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from postroom.doors.api.problems import problem
from postroom.doors.api.routes import create_api
from postroom.doors.door import AtDoor, Door
from postroom.doors.limits import BodyLimit, Places
from postroom.doors.live import Live
from postroom.doors.web import compose, entrance, pages, preview, unsubscribe
from postroom.doors.web.rendering import STATIC, PageHeaders, install_troubles
from postroom.doors.web.session import Sessions
from postroom.doors.wiring import Postroom
from postroom.errors import Unavailable

HEALTH_DEADLINE_S = 3.0

health = APIRouter(include_in_schema=False)


@health.api_route("/healthz", methods=["GET", "HEAD"])
async def is_healthy(door: AtDoor) -> JSONResponse:
    """200 where a request can use the database now."""
    try:
        async with asyncio.timeout(HEALTH_DEADLINE_S), door.pool.connection(HEALTH_DEADLINE_S) as connection:
            await door.pool.check_connection(connection)
    except (Unavailable, TimeoutError):
        return problem(503, "The database does not answer.")
    return JSONResponse({"status": "ok", "database": "ok"})


def create_app(postroom: Postroom) -> FastAPI:
    """The application on an open installation."""
    settings = postroom.settings
    door = Door(postroom, Live(postroom.pool))
    api = create_api()
    # Starlette's redirects to the address with or without its last slash go to whatever Host was named, query and all.
    app = FastAPI(title="Postroom", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.door = api.state.door = door
    app.state.sessions = Sessions(postroom.pool, settings.base_url)
    app.mount("/api/v1", api)
    app.mount("/static", StaticFiles(directory=STATIC))
    for router in (health, entrance.router, pages.router, preview.router, compose.router, unsubscribe.router):
        app.include_router(router)
    install_troubles(app)
    app.add_middleware(PageHeaders)
    app.add_middleware(Places)
    app.add_middleware(BodyLimit, upload_max_mb=settings.upload_max_mb)
    return app
