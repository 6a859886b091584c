"""The log: lines for people when standard error is a terminal, one JSON object a line otherwise.

Promises: no secret is written. Values under names that mean one are masked, and so are the password in any
URL and the tokens of links that sign in or unsubscribe, which are the right to use them.
"""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

# What libraries say about each request or task would drown what matters; and of what anybody may send us uvicorn warns.
QUIET = {"alembic": logging.WARNING, "asyncio": logging.WARNING, "httpcore": logging.WARNING, "httpx": logging.WARNING,
         "procrastinate": logging.WARNING, "psycopg.pool": logging.WARNING, "uvicorn": logging.ERROR}
MASK = "********"

_SECRET_NAME = re.compile(r"password|secret|token|authorization|cookie|api_key", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s@/]+@", re.IGNORECASE)
_NAMED_PASSWORD = re.compile(r"(\bpassword\s*=\s*)('[^']*'|\S+)", re.IGNORECASE)
_LINK_TOKEN = re.compile(r"(/u/|/sign-in\?token=)[^\s/?#&'\"]+")


def configure(level: int = logging.INFO) -> None:
    """For the whole process; what libraries log goes the same way. Calling it again changes the level."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    people = sys.stderr.isatty()
    renderer: Processor = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(ensure_ascii=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, from_level in QUIET.items():
        logging.getLogger(name).setLevel(max(level, from_level))


def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor: what a log may not hold is replaced."""
    for key, value in event.items():
        if _SECRET_NAME.search(key):
            event[key] = MASK
        elif isinstance(value, str):
            event[key] = masked(value)
    return event


def masked(text: str) -> str:
    """The text without the passwords of the URLs and connection strings in it, and without the tokens of links."""
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _LINK_TOKEN.sub(rf"\1{MASK}", _NAMED_PASSWORD.sub(rf"\1{MASK}", text))
