"""Deleting: `postroom account delete`, `gateway delete`, `domain delete`, `contacts delete`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
import typer

from postroom.domain.access import Actor
from postroom.doors.cli.suppressions import AddressArgument
from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    acting_in,
    err,
    out,
    plain,
    print_json,
    with_postroom,
)
from postroom.doors.wiring import Postroom
from postroom.errors import InvalidInput
from postroom.flow.account import deletion
from postroom.flow.account.deletion import Holdings
from postroom.flow.audience import contacts


def delete_account(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    yes: Annotated[str | None, typer.Option(
        "--yes", metavar="NAME", help="The account's name once more: do it without asking.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Delete an account with all that is its own: jobs, recipients, outcomes, contacts, opt-outs, gateways, domains, keys.

    For good. Links to unsubscribe in its old messages lead nowhere afterwards, and whoever opted out of it is forgotten. It is
    refused while one of its jobs is not over. Nothing of another account is touched.

    Example: `postroom account delete "The Club" --yes "The Club"`
    """

    async def look(postroom: Postroom) -> tuple[Actor, Holdings]:
        actor = await acting_in(postroom, name)
        return actor, await deletion.holdings(postroom.pool, actor)

    actor, goes = with_postroom(look)
    typed = yes
    if typed is None:
        told = f"With the account {plain(name)} go, for good: {_told(goes)}."
        if not sys.stdin.isatty():
            raise InvalidInput(f'{told} To delete it: --yes "{name}".', field="yes")
        err().print(told, soft_wrap=True)
        typed = str(typer.prompt("Type the account's name to delete it", err=True))
    gone = with_postroom(lambda postroom: deletion.delete_account(postroom.pool, actor, named=typed))
    if as_json:
        print_json({"account": name, "deleted": msgspec.to_builtins(gone)})
    else:
        out().print(f"The account {plain(name)} is deleted, and with it {_told(gone)}.", soft_wrap=True)


def delete_gateway(
    name: Annotated[str, typer.Argument(help="The gateway's name.")], account: AccountOption = None, as_json: JsonOption = False,
) -> None:
    """Delete a gateway through which nothing was sent. One that jobs name stays; correct it with gateway create --replace."""
    _delete(account, lambda postroom, actor: deletion.delete_gateway(postroom.pool, actor, name),
            "gateway", name, as_json)


def delete_domain(
    domain: Annotated[str, typer.Argument(help="The domain.")], account: AccountOption = None, as_json: JsonOption = False,
) -> None:
    """Delete a sending domain and its keys, which cannot be made again. Take its DKIM records out of DNS a week or so later: mail
    that is under way is still to be verified."""
    _delete(account, lambda postroom, actor: deletion.delete_domain(postroom.pool, actor, domain),
            "sending domain", domain, as_json)


def delete_contact(address: AddressArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Delete a contact. Jobs keep their own copies of it and their counts, and an opt-out of the address stays."""
    _delete(account, lambda postroom, actor: contacts.delete_contact(postroom.pool, actor, address),
            "contact", address, as_json)


def _delete(account: str | None, act: Callable[[Postroom, Actor], Awaitable[object]], what: str, name: str,
            as_json: bool) -> None:
    async def delete(postroom: Postroom) -> None:
        await act(postroom, await acting_in(postroom, account))

    with_postroom(delete)
    if as_json:
        print_json({"deleted": name})
    else:
        out().print(f"The {what} {plain(name)} is deleted.", soft_wrap=True)


def _told(held: Holdings) -> str:
    return ", ".join(f"{count:,} {one if count == 1 else f'{one}s'}" for count, one in (
        (held.jobs, "job"), (held.recipients, "recipient"), (held.contacts, "contact"), (held.suppressions, "opt-out"),
        (held.gateways, "gateway"), (held.domains, "sending domain"), (held.keys, "key")))
