"""`postroom sandbox`: the test gateway alone."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Annotated

import typer

from postroom.doors import wiring
from postroom.doors.cli.terminal import JsonOption, asked_password, out, print_json
from postroom.doors.process import UNTIL_STDIN_ENDS, run, stop_on_signals, stop_with_parent
from postroom.errors import InvalidInput

PORT = 2525


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen on 127.0.0.1; 0 takes any free port.")] = PORT,
    script: Annotated[str, typer.Option(metavar="TEXT", help="What goes wrong, where, how often; see the examples.")] = "",
    provider: Annotated[str, typer.Option(
        metavar="NAME", help="Instead of a script: say to everybody what a provider says, such as gmail-daily-limit; any other "
                             "name lists them.")] = "",
    record: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Append a line of JSON for each accepted message, and for each refused recipient.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep each accepted message as a file there.")] = None,
    tls: Annotated[Path | None, typer.Option(metavar="CERT.pem", help="Offer STARTTLS with this certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="KEY.pem", help="Its key, if that is a file of its own.")] = None,
    implicit_tls: Annotated[bool, typer.Option("--implicit-tls", help="Speak TLS from the first byte.")] = False,
    login: Annotated[str, typer.Option(metavar="USER", help="Take mail only after this login. The password is asked for.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    as_json: JsonOption = False,
    until_stdin_ends: Annotated[bool, typer.Option(UNTIL_STDIN_ENDS, hidden=True)] = False,
) -> None:
    """Run a mail server that accepts mail by a script, records it, and delivers nothing.

    Hand it an account's mail: `postroom gateway create --host 127.0.0.1 --port 2525 --security none`, with
    POSTROOM_ALLOWED_NETWORKS=127.0.0.0/8 in the environment of that command and of `postroom serve`.

    Examples of scripts:

    `postroom sandbox --script 'rcpt:temp=2%,perm=1%; dot:delay=20ms'`

    `postroom sandbox --script 'dot:drop=0.5%,drop_after=0.1%; throttle=500/s; seed=7'`

    The phases are connect, ehlo, auth, mail, rcpt, data and dot; temp and perm may be followed by a reply of your own.
    """
    if script and provider:
        raise InvalidInput("Give either --script or --provider.", field="provider")
    context, credentials = _context(tls, tls_key), _credentials(login, password_stdin)

    def started(host: str, taken: int) -> None:
        if as_json:
            print_json({"host": host, "port": taken})
        else:
            out().print(f"The sandbox gateway listens on {host}:{taken}. It delivers nothing. Stop it with Ctrl-C.")

    async def main() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop.set)
        stop_with_parent(stop.set)
        serving = asyncio.create_task(wiring.run_sandbox(
            script=script, provider=provider, port=port, record=record, keep=keep, tls=context,
            implicit_tls=implicit_tls, credentials=credentials, started=started))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not serving.done():
            serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    run(main())


def _context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"{certificate} cannot be used as a certificate: {error.strerror or error}.", field="tls") from None
    return context


def _credentials(user: str, password_stdin: bool) -> tuple[str, str] | None:
    """Raises InvalidInput, also for a password as an argument, where other users of the machine could read it."""
    if ":" in user:
        raise InvalidInput("--login takes the user alone; the password is asked for, or read by --password-stdin.",
                           field="login")
    return (user, asked_password(password_stdin)) if user else None
