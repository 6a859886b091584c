"""What all commands share: where they write, how they reach the database, and how they name who acts.

Standard output is for data and results; everything else (progress, hints, errors) goes to standard error, so that a pipe
gets only what it asked for.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import signal
import sys
import threading
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from postroom.config import Settings, find_home, misspelt, read_settings
from postroom.domain.access import Actor, machine
from postroom.doors import home, wiring
from postroom.doors.process import run
from postroom.doors.wiring import Postroom
from postroom.errors import InvalidInput, NotFound
from postroom.flow.account import accounts
from postroom.flow.job import report

CONNECTIONS = 2
PIPE_WIDTH = 200  # where there is no terminal to ask

AccountOption = Annotated[str | None, typer.Option(
    "--account", metavar="NAME", help="The account. Needed only where there are several.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

Result = TypeVar("Result")


class Interrupted(Exception):
    """Ctrl-C. Not KeyboardInterrupt, of which Typer makes an "Aborted!" of its own."""


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)
    return console


def out() -> Console:
    """Standard output, as it is now."""
    return _console(stderr=False)


def err() -> Console:
    """Standard error, as it is now."""
    return _console(stderr=True)


def with_postroom(act: Callable[[Postroom], Awaitable[Result]]) -> Result:
    """Runs `act` with the database open; the embedded one is started for that long, or joined.

    Raises PostroomError, Interrupted.
    """
    settings = read_settings()
    say_misspelt()
    if not wiring.has_database(settings):
        err().print(f"There is no installation yet, and this makes one. {home.told(find_home())}", soft_wrap=True)

    async def main() -> Result:
        async with contextlib.AsyncExitStack() as open_parts:
            with err().status("Opening the database"):
                postroom = await open_parts.enter_async_context(wiring.opened(settings, name="cli", connections=CONNECTIONS))
            return await act(postroom)

    _end_as_by_ctrl_c()
    try:
        return run(main())
    except KeyboardInterrupt:
        raise Interrupted from None


def _end_as_by_ctrl_c() -> None:
    """SIGTERM, and a terminal that goes away, unless that is ignored: the last who uses the embedded database stops it."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def say_home(settings: Settings) -> None:
    """At each start, with what in the environment was meant for a setting and is none."""
    err().print(plain(home.told(replace(find_home(), path=settings.home))), soft_wrap=True)
    say_misspelt()


def say_misspelt() -> None:
    """By each command that opens an installation: with another home or database it would be another one."""
    for told in misspelt():
        err().print(plain(told), soft_wrap=True)


def group(told: str) -> typer.Typer:
    """A group of commands: `postroom jobs ...`."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help=told)


def user() -> str:
    """Who is at the machine, as trails say it."""
    try:
        return f"cli {getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


async def acting_in(postroom: Postroom, name: str | None) -> Actor:
    """In the named account, or the only one. Raises NotFound, InvalidInput."""
    return machine((await accounts.find_account(postroom.pool, name)).id, user())


async def acting_in_all(postroom: Postroom) -> list[Actor]:
    """In each account."""
    return [machine(account.id, user()) for account in await accounts.all_accounts(postroom.pool)]


async def acting_on(postroom: Postroom, name: str | None, job_id: int) -> Actor:
    """In the account of a job; who is at the machine need not name it. Raises NotFound."""
    if name is not None:
        return await acting_in(postroom, name)
    for actor in await acting_in_all(postroom):
        try:
            await report.progress(postroom.pool, actor, job_id)
        except NotFound:
            continue
        return actor
    raise NotFound(f"There is no job {job_id}.")


def asked_password(from_stdin: bool, what: str = "password") -> str:
    """A password, or another secret, which is never an argument: the next line of standard input, or what a person types. Raises
    InvalidInput where there is none, and nobody to ask."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise InvalidInput(f"There is no {what} on standard input.", field="password")
        return password
    if not sys.stdin.isatty():
        raise InvalidInput(f"A username needs a {what}: give it with --password-stdin, or run this in a terminal.",
                           field="password")
    return str(typer.prompt(what.capitalize(), hide_input=True, err=True))


def print_json(document: Any) -> None:
    """One document on standard output."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def plain(text: object) -> str:
    """Text of others, without the control characters that would steer the terminal."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf") and char != "\u200d" else char
                   for char in str(text))


def when(moment: datetime | None) -> str:
    """A time in this machine's zone."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(*columns: str) -> Table:
    """A plain table; a column whose name ends in # holds numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.rstrip("#"), justify="right" if column.endswith("#") else "left", overflow="fold")
    return made


def aware(moment: datetime | None) -> datetime | None:
    """A time without a zone is meant in this machine's. Raises InvalidInput."""
    if moment is None:
        return None
    try:
        return moment.astimezone()
    except (ValueError, OverflowError):
        raise InvalidInput(f"The year {moment.year} is too far away.") from None
