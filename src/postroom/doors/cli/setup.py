"""Setting up: `postroom account`, `gateway`, `key`, `contacts`, `suppress`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from postroom.doors.cli.listing import ListFile, opened_list
from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    account_id_of,
    err,
    group,
    out,
    plain,
    print_json,
    table,
    with_postroom,
)
from postroom.doors.wiring import Postroom
from postroom.errors import InvalidInput
from postroom.flow import accounts
from postroom.flow.accounts import Account, Gateway

PROBLEMS_SHOWN = 10

account_app = group("Accounts: each has its own jobs, gateways, keys, contacts and opt-outs.")
gateway_app = group("Gateways: the mail servers that an account hands its mail to.")
key_app = group("API keys of an account.")
contacts_app = group("Contacts of an account.")


class Security(StrEnum):
    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


@account_app.command("create")
def create_account(
    name: Annotated[str, typer.Argument(help="The new account's name.")],
    threshold: Annotated[int, typer.Option(help="Sends to so many recipients or more wait for approval.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Create an account. Give it a gateway next: postroom gateway create."""

    async def act(postroom: Postroom) -> Account:
        return await accounts.create_account(postroom.pool, name, approval_threshold=threshold)

    made = with_postroom(act)
    if as_json:
        print_json(_account_shown(made))
    else:
        out().print(f"Account {plain(made.name)} is there. "
                    f"Sends to {made.approval_threshold:,} recipients or more wait for approval.")


@account_app.command("list")
def list_accounts(as_json: JsonOption = False) -> None:
    """List the accounts."""

    async def act(postroom: Postroom) -> list[Account]:
        return await accounts.all_accounts(postroom.pool)

    every = with_postroom(act)
    if as_json:
        print_json([_account_shown(one) for one in every])
        return
    listed = table("Id#", "Name", "Approval from#")
    for one in every:
        listed.add_row(str(one.id), plain(one.name), f"{one.approval_threshold:,}")
    out().print(listed if every else "There is no account yet. Create one: postroom account create NAME.")


@gateway_app.command("create")
def create_gateway(
    host: Annotated[str, typer.Option(help="The mail server's name or address.")],
    account: AccountOption = None,
    name: Annotated[str, typer.Option(help="What to call it; the first gateway of an account is its default.")] = "main",
    port: Annotated[int | None, typer.Option(help="By default 465 (implicit), 587 (starttls) or 25 (none).")] = None,
    security: Annotated[Security, typer.Option(
        help="none is refused beyond this machine; see `postroom settings`.")] = Security.IMPLICIT,
    username: Annotated[str | None, typer.Option(help="The login, if it wants one. The password is asked for.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    connections: Annotated[int, typer.Option(help="Sessions at once, at most.")] = 10,
    replace: Annotated[bool, typer.Option("--replace", help="Correct the gateway of this name: it gets all of these.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a gateway, or correct one. The password is never an argument, where other users of the machine could read it.

    Example: `postroom gateway create --host smtp.example.com --username club`
    """
    password = _password(password_stdin) if username is not None else None

    async def act(postroom: Postroom) -> tuple[int, list[Gateway]]:
        account_id = await account_id_of(postroom, account)
        made = await accounts.create_gateway(
            postroom.pool, postroom.secrets, account_id, name=name, host=host, port=port, security=security.value,
            username=username, password=password, connections=connections, replace=replace)
        return made, await accounts.gateways(postroom.pool, account_id)

    made, every = with_postroom(act)
    gateway = next(one for one in every if one.id == made)
    if as_json:
        print_json(_gateway_shown(gateway))
    else:
        out().print(f"Gateway {plain(gateway.name)} is there: {plain(gateway.host)}:{gateway.port}, {gateway.security}. "
                    "Try it: postroom check.", soft_wrap=True)


@gateway_app.command("list")
def list_gateways(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List an account's gateways; the first is its default. Passwords are never shown."""

    async def act(postroom: Postroom) -> list[Gateway]:
        return await accounts.gateways(postroom.pool, await account_id_of(postroom, account))

    every = with_postroom(act)
    if as_json:
        print_json([_gateway_shown(one) for one in every])
        return
    listed = table("Name", "Host", "Port#", "Security", "Username", "Connections#")
    for one in every:
        listed.add_row(plain(one.name), plain(one.host), str(one.port), one.security, plain(one.username or ""),
                       str(one.connections))
    out().print(listed if every else "The account has no gateway yet. Create one: postroom gateway create.")


@key_app.command("create")
def create_key(
    account: AccountOption = None,
    name: Annotated[str, typer.Option(help="What it is for; shown as the maker of its jobs.")] = "api",
    as_json: JsonOption = False,
) -> None:
    """Create an API key and print it. It is shown this once and never again: only its hash is kept."""

    async def act(postroom: Postroom) -> str:
        return await accounts.create_key(postroom.pool, await account_id_of(postroom, account), name)

    key = with_postroom(act)
    if as_json:
        print_json({"name": name, "key": key})
    else:
        err().print("Keep it now; it cannot be shown again. Use it as: Authorization: Bearer KEY")
        typer.echo(key)


@contacts_app.command("import")
def import_contacts(file: ListFile, account: AccountOption = None, encoding: Annotated[str, typer.Option(
        help="The file's encoding, if it is not UTF-8.")] = "utf-8", as_json: JsonOption = False) -> None:
    """Take contacts from a CSV or NDJSON file. An address that is known gets the new fields."""

    async def act(postroom: Postroom) -> tuple[int, list[tuple[int, str, str]]]:
        account_id = await account_id_of(postroom, account)
        with opened_list(file, encoding=encoding) as rows:
            count, problems = await accounts.import_contacts(postroom.pool, account_id, rows)
        return count, [(problem.row_no, problem.value, problem.reason) for problem in problems]

    count, problems = with_postroom(act)
    if as_json:
        print_json({"contacts": count, "problems": [{"row": row, "value": value, "reason": why} for row, value, why in problems]})
        return
    out().print(f"The account has {count:,} contacts now.")
    if problems:
        rows = table("Row#", "Value", "Not taken, because")
        for row, value, why in problems[:PROBLEMS_SHOWN]:
            rows.add_row(str(row), plain(value), plain(why))
        out().print(rows)


def suppress(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="Whom the account must not mail.")],
    account: AccountOption = None,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the address is left out.")] = "Opted out.",
    as_json: JsonOption = False,
) -> None:
    """Never mail these addresses again, in jobs that are already frozen too: there they are booked as skipped."""

    async def act(postroom: Postroom) -> int:
        return await accounts.suppress(postroom.pool, await account_id_of(postroom, account), addresses, reason)

    added = with_postroom(act)
    if as_json:
        print_json({"suppressed": added, "already": len(addresses) - added})
    else:
        out().print(f"Suppressed: {added:,}. Already suppressed: {len(addresses) - added:,}.")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise InvalidInput("There is no password on standard input.", field="password")
        return password
    if not sys.stdin.isatty():
        raise InvalidInput("A username needs a password: give it with --password-stdin, or run this in a terminal.",
                           field="password")
    return str(typer.prompt("Password", hide_input=True, err=True))


def _account_shown(account: Account) -> dict[str, object]:
    return {"id": account.id, "name": account.name, "approval_threshold": account.approval_threshold}


def _gateway_shown(gateway: Gateway) -> dict[str, object]:
    return {"id": gateway.id, "name": gateway.name, "host": gateway.host, "port": gateway.port, "security": gateway.security,
            "username": gateway.username, "connections": gateway.connections}
