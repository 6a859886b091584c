"""A worker process: takes chunks and hands them off until it is told to stop, then drains and returns.

Started by `postroom worker`, or by the supervisor as `python -m postroom.doors.worker`.
"""

from __future__ import annotations

import asyncio
import sys

import structlog

from postroom.config import Settings, read_settings
from postroom.doors import logs, wiring
from postroom.doors.process import run, stop_on_signals, stop_with_parent
from postroom.errors import PostroomError

log = structlog.get_logger(__name__)


async def work(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; a second one does not wait for the gateway. Raises Unavailable without a database."""
    stop = asyncio.Event()
    stop_on_signals(stop.set)
    stop_with_parent(stop.set)
    if settings.database_url is not None and not wiring.has_secret_key(settings):
        log.warning("POSTROOM_SECRET_KEY is not set here, so gateways with a password cannot be used. "
                    "Set the one of `postroom serve`.")
    log.info("worker started", concurrency=settings.concurrency)
    await wiring.work(settings, stop)
    log.info("worker stopped")


def main() -> None:
    """The process that the supervisor starts. An error that has a sentence is logged as that sentence."""
    logs.configure()
    try:
        run(work(read_settings()))
    except PostroomError as error:
        log.error("worker cannot work", error=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
