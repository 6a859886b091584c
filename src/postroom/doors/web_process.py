"""The web process that the supervisor starts: `python -m postroom.doors.web_process`.

It is given a socket that is listening already, so that a browser waits, and is not refused, while this process starts or
is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Generator

import structlog
import uvicorn

from postroom.config import read_settings
from postroom.doors import logs, wiring
from postroom.doors.app import create_app
from postroom.doors.connections import Connection, allow_descriptors, watch
from postroom.doors.process import LISTENER, run, stop_on_signals, stop_with_parent
from postroom.errors import PostroomError
from postroom.tasks import end

OPEN_STREAMS_S = 3  # how long pages that watch a job may take to let go

log = structlog.get_logger(__name__)


class PageServer(uvicorn.Server):
    """uvicorn, but what happens at a signal is decided here: its own way ends the process before our pool is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve_pages() -> None:
    async with wiring.opened_for_many(read_settings()) as postroom:
        app = create_app(postroom)
        server = PageServer(uvicorn.Config(
            app, http=Connection, ws="none", log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=OPEN_STREAMS_S))
        # Through handle_exit, because that is where streams of events hear of it.
        stop_on_signals(lambda: server.handle_exit(signal.SIGTERM, None))
        stop_with_parent(lambda: server.handle_exit(signal.SIGTERM, None))
        watching = asyncio.create_task(watch(server.server_state.connections))
        with socket.socket(fileno=int(os.environ[LISTENER])) as listener:
            await server.serve(sockets=[listener])
        await end(watching)


def main() -> None:
    logs.configure()
    allow_descriptors()
    try:
        run(serve_pages())
    except PostroomError as error:
        log.error("the pages cannot be served", error=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
