"""Running an installation: `postroom serve`, `sign-in`, `worker`, `check`, `settings`, `migrate`, `trust-database`, `version`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import quote, urlsplit

import msgspec
import typer
from rich.table import Table

from postroom import __version__
from postroom.config import SECRETS, Settings, as_markdown, described, read_settings
from postroom.domain.checking import Finding, Level
from postroom.doors import logs, supervisor, wiring
from postroom.doors.check import check_all
from postroom.doors.cli.terminal import (
    JsonOption,
    err,
    out,
    plain,
    print_json,
    say_home,
    say_misspelt,
    table,
    user,
    with_postroom,
)
from postroom.doors.process import run
from postroom.doors.supervisor import Installation
from postroom.doors.wiring import Postroom
from postroom.doors.worker import work
from postroom.errors import InvalidInput
from postroom.flow.account import operator

PortOption = Annotated[int | None, typer.Option(
    "--port", min=0, max=65535, help="Instead of POSTROOM_PORT; 0 takes any free one.")]

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red"}


def serve(
    port: PortOption = None,
    workers: Annotated[int | None, typer.Option(min=0, max=64, help="Worker processes, instead of POSTROOM_WORKERS.")] = None,
) -> None:
    """Run Postroom: the pages, the API and the workers; with them a PostgreSQL of its own, if no POSTROOM_DATABASE_URL is set.

    Prints the address and, in a terminal, a link that signs the operator in, once: `postroom sign-in` prints others.
    SIGTERM or Ctrl-C stops it: workers finish what the gateway has in hand, and the database stops last. A second one does not
    wait for the gateway.
    """
    logs.configure(logging.INFO)
    settings = with_changes(read_settings(), port=port, workers=workers)
    say_home(settings)
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = supervisor.Stop()
    async with supervisor.installation(settings, stop) as running:
        console = out()
        console.print(f"Postroom is at {running.address}\nSign in:  {await way_in(running)}", soft_wrap=True)
        console.file.flush()
        if settings.workers == 0:
            err().print("No worker runs here (POSTROOM_WORKERS=0): jobs move when `postroom worker` runs somewhere.")
        await stop.asked.wait()
        err().print("Stopping: the workers finish what the gateway has in hand.")


def sign_in(
    port: PortOption = None,
    to_a_pipe: Annotated[bool, typer.Option("--pipe", help="Print the link even where standard output is no terminal.")] = False,
    leads_to: Annotated[str, typer.Option("--next", metavar="PATH", help="The page that it leads to.")] = "/",
) -> None:
    """Print a link that signs the operator in to the pages of `postroom serve`: once, and within half an hour."""
    if not (sys.stdout.isatty() or to_a_pipe):
        raise InvalidInput("The link is for a terminal: whoever reads a log could use it. With --pipe it is printed anyway.")
    settings = with_changes(read_settings(), port=port)
    typer.echo(with_postroom(lambda postroom: _link(postroom, supervisor.address_of(settings, settings.port), leads_to)))


async def _link(postroom: Postroom, address: str, path: str) -> str:
    return f"{address}/sign-in?token={await operator.new_link(postroom.pool)}&next={quote(path)}"


async def way_in(running: Installation, path: str = "/") -> str:
    """A link for whoever sits at this terminal; where there is none, and a log keeps all that is said, the command for one."""
    if not sys.stdout.isatty():
        return f"postroom sign-in --port {urlsplit(running.address).port or running.settings.port} --next {path}"
    async with wiring.opened(running.settings, name="sign-in", connections=1) as postroom:
        return await _link(postroom, running.address, path)


def worker() -> None:
    """Run one more worker process, on this machine or on another.

    On another machine it needs POSTROOM_DATABASE_URL, and POSTROOM_SECRET_KEY to open the passwords of gateways; nothing else.
    SIGTERM or Ctrl-C: it takes nothing new, books what the gateway answers, and ends.
    """
    logs.configure(logging.INFO)
    settings = read_settings()
    say_home(settings)
    run(_as_whoever_works(settings))
    run(work(settings))


async def _as_whoever_works(settings: Settings) -> None:
    """Root becomes somebody else here, by way of another program, so that nothing is left of what root had opened."""
    if os.geteuid() != 0:
        return
    if not wiring.has_database(settings):
        await wiring.migrate_database(settings)  # made while we may
    if (user := await supervisor.unprivileged(settings)) is not None:
        environment = supervisor.environment_of(msgspec.structs.replace(settings, home=settings.home.absolute()))
        command = user.command(sys.executable, "-m", "postroom.doors.worker")
        os.execve(command[0], command, {**environment, **user.environment()})  # noqa: S606 - no shell is meant


def check(as_json: JsonOption = False) -> None:
    """Say in plain words what is wrong: settings, database, secret key, each account's gateways, the port.

    Changes nothing and sends nothing. Exit status 1 if anything is an error.
    """
    try:
        settings_in_force: Settings | None = read_settings()
    except InvalidInput as error:
        findings = [Finding(Level.ERROR, "settings", str(error))]
        settings_in_force = None
    else:
        assert settings_in_force is not None
        findings = run(check_all(settings_in_force))
    if as_json:
        shown = _shown(settings_in_force) if settings_in_force else None
        print_json({"findings": msgspec.to_builtins(findings), "settings": shown})
    else:
        if settings_in_force is not None:
            out().print(_settings_table(settings_in_force))
            out().print()
        print_findings(findings)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the table of docs/operations.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the settings: environment variables, what they mean, and what is in force."""
    if markdown:
        typer.echo(as_markdown())
    elif as_json:
        print_json(_shown(read_settings()))
    else:
        listed = table("Variable", "In force", "")
        values = _shown(read_settings())
        for one in described():
            listed.add_row(one.variable, str(values[one.variable] or ""), one.description)
        out().print(listed)


def migrate(as_json: JsonOption = False) -> None:
    """Bring the database to this version. `serve` and `worker` do the same at their start; several at once are safe."""
    say_misspelt()
    applied = run(wiring.migrate_database(read_settings()))
    if as_json:
        print_json({"applied": applied})
    else:
        out().print(f"Migrated: {', '.join(applied)}." if applied else "The database is up to date.")


def trust_database(as_json: JsonOption = False) -> None:
    """Say that this is the newest database there is.

    A machine that has never seen the database, was away while others worked on it, or has seen more than it knows, pauses every
    job: what an old copy lacks would be sent again. Those jobs go on by this. A job that a person paused, or whose numbers do not
    add up, stays paused.
    """
    say_misspelt()
    resumed = run(wiring.trust_database(read_settings(), by=user()))
    if as_json:
        print_json({"resumed": [job_id for _, job_id in resumed]})
    else:
        out().print(f"This machine trusts the database. Jobs that go on: {', '.join(str(job_id) for _, job_id in resumed)}."
                    if resumed else "This machine trusts the database. No job was paused for doubt of it.")


def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        typer.echo(__version__)


def print_findings(findings: Iterable[Finding]) -> None:
    """One line each, its level in front."""
    for finding in findings:
        out().print(f"{finding.level:<8}", style=STYLES[finding.level], end="")
        out().print(f"{finding.subject}: {plain(finding.told)}", soft_wrap=True)


def with_changes(given: Settings, **changes: int | None) -> Settings:
    """The settings with what the command line says instead."""
    return msgspec.structs.replace(given, **{name: value for name, value in changes.items() if value is not None})


def _shown(in_force: Settings) -> dict[str, object]:
    """By variable; secrets masked."""
    values = {}
    for one in described():
        value = getattr(in_force, one.name)
        values[one.variable] = logs.MASK if one.name in SECRETS and value else msgspec.to_builtins(value, enc_hook=str)
    return values


def _settings_table(in_force: Settings) -> Table:
    """With where each value comes from."""
    listed = table("Setting", "In force", "")
    for one in described():
        value = _shown(in_force)[one.variable]
        listed.add_row(one.variable, "" if value is None else str(value), "set" if os.environ.get(one.variable) else "default")
    return listed
