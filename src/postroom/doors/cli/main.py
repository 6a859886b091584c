"""The command `postroom`: its groups, and how its errors are told.

Exit status: 0 done; 1 it could not be done, or a job did not complete; 2 the command or its input is wrong; 130 Ctrl-C, SIGTERM
or a closed terminal.
An error is one sentence on standard error, with the rows and columns where there are some; never a traceback.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from postroom.doors import logs
from postroom.doors.cli import (
    deletion,
    demo,
    domains,
    gateways,
    jobs,
    keys,
    operate,
    preview,
    recipients,
    sandbox,
    send,
    setup,
    suppressions,
)
from postroom.doors.cli.terminal import Interrupted, err, plain
from postroom.doors.invalid import sentence
from postroom.errors import InvalidInput, PostroomError

FAULTS_SHOWN = 10



class Commands(TyperGroup):
    """All commands. What is wrong with an argument is said in our words where Typer has only pydantic's."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = sentence(error.__cause__.errors(include_url=False)[0])
            raise


app = typer.Typer(
    name="postroom", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sends one message to a large group and accounts for every single recipient.\n\n"
         "Try it: `postroom demo`. Run it: `postroom serve`. "
         "Settings come from the environment (POSTROOM_...): `postroom settings` lists them.")

app.command("demo")(demo.demo)
app.command("serve")(operate.serve)
app.command("sign-in")(operate.sign_in)
app.command("worker")(operate.worker)
app.command("send")(send.send)
app.command("preview")(preview.show)
app.command("test")(preview.try_out)
jobs.app.command("recipients")(recipients.list_recipients)
setup.account_app.command("delete")(deletion.delete_account)
gateways.gateway_app.command("delete")(deletion.delete_gateway)
domains.app.command("delete")(deletion.delete_domain)
setup.contacts_app.command("delete")(deletion.delete_contact)
app.add_typer(jobs.app, name="jobs")
app.add_typer(setup.account_app, name="account")
app.add_typer(gateways.gateway_app, name="gateway")
app.add_typer(domains.app, name="domain")
app.add_typer(keys.app, name="key")
app.add_typer(setup.contacts_app, name="contacts")
app.add_typer(suppressions.app, name="suppressions")
app.command("suppress")(suppressions.suppress)
app.command("sandbox")(sandbox.sandbox)
app.command("check")(operate.check)
app.command("settings")(operate.settings)
app.command("migrate")(operate.migrate)
app.command("trust-database")(operate.trust_database)
app.command("version")(operate.version)


def main() -> None:
    """The console script."""
    logs.configure(logging.WARNING)
    try:
        app()
    except PostroomError as error:
        _tell(error)
        sys.exit(2 if isinstance(error, InvalidInput) else 1)
    except (Interrupted, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough; without this the interpreter complains once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _tell(error: PostroomError) -> None:
    console = err()
    console.print(f"postroom: {plain(error)}", soft_wrap=True)
    if not isinstance(error, InvalidInput):
        return
    for fault in error.faults[:FAULTS_SHOWN]:
        if fault.message == str(error):
            continue  # it is the sentence above, and that names its row
        places = (f"row {fault.row}" if fault.row else "", f'column "{fault.column}"' if fault.column else "")
        place = ", ".join(filter(None, places)) or fault.field
        console.print(plain(f"  {place}: {fault.message}" if place else f"  {fault.message}"), soft_wrap=True)


if __name__ == "__main__":
    main()
