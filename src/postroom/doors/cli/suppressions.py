"""Addresses that an account must not mail: `postroom suppressions`, and `postroom suppress` for short."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer

from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    acting_in,
    err,
    group,
    out,
    plain,
    print_json,
    table,
    when,
    with_postroom,
)
from postroom.doors.wiring import Postroom
from postroom.errors import Conflict
from postroom.flow.audience import suppressions
from postroom.flow.audience.suppressions import Suppression, SuppressionEvent

VERBS = {"suppress": "suppressed", "lift": "lifted"}

app = group("Addresses that an account must not mail: opted out, bounced, or taken off by hand.")

AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="However it is spelt, as duplicates are told.")]


@app.command("list")
def list_suppressions(
    account: AccountOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 100,
    after: Annotated[str, typer.Option(metavar="ADDRESS", help="Begin behind this address.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List whom the account must not mail, by address, with why, since when and who said so."""

    async def act(postroom: Postroom) -> list[Suppression]:
        return await suppressions.suppressions(
            postroom.pool, await acting_in(postroom, account), after=after, limit=limit + 1)

    found = with_postroom(act)
    every = found[:limit]
    if as_json:
        print_json(msgspec.to_builtins(every))
        return
    listed = table("Address", "Since", "By", "Reason")
    for one in every:
        listed.add_row(plain(one.address), when(one.since), plain(one.by), plain(one.reason))
    out().print(listed if every else "Nobody is suppressed.")
    if len(found) > limit:
        err().print(f"There are more: --after {plain(every[-1].address)}", soft_wrap=True)


@app.command("show")
def show(address: AddressArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Say whether an address is suppressed, and all that was decided about it. Exit status 1 where it is not."""

    async def act(postroom: Postroom) -> tuple[list[Suppression], list[SuppressionEvent]]:
        actor = await acting_in(postroom, account)
        return (await suppressions.suppressions(postroom.pool, actor, address=address, limit=1),
                await suppressions.trail(postroom.pool, actor, address))

    found, trail = with_postroom(act)
    if as_json:
        print_json({"suppression": msgspec.to_builtins(found[0]) if found else None, "trail": msgspec.to_builtins(trail)})
    else:
        out().print(plain(suppressions.said(found[0]) if found else f"{address} is not suppressed."), soft_wrap=True)
        listed = table("When", "What", "By", "Reason")
        for one in trail:
            listed.add_row(when(one.at), VERBS[one.verb], plain(one.by), plain(one.reason))
        if trail:
            out().print(listed)
    if not found:
        raise typer.Exit(1)


@app.command("add")
def suppress(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="Whom the account must not mail.")],
    account: AccountOption = None,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the address is left out.")] = "Opted out.",
    as_json: JsonOption = False,
) -> None:
    """Never mail these addresses again, in jobs that are already frozen too: there they are booked as skipped."""

    async def act(postroom: Postroom) -> int:
        return await suppressions.suppress(
            postroom.pool, await acting_in(postroom, account), addresses, reason)

    added = with_postroom(act)
    if as_json:
        print_json({"suppressed": added, "already": len(addresses) - added})
    else:
        out().print(f"Suppressed: {added:,}. Already suppressed: {len(addresses) - added:,}.")


@app.command("remove")
def remove(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(help="Why it is to be mailed again. It is kept, with who did it and when.")],
    account: AccountOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking: you know what it means.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let an address be mailed again: only where that person asked for it, or it was taken off by mistake.

    Asks first, and says what the address was taken off for. Whom a job has skipped already stays skipped there.

    Example: `postroom suppressions remove ann@example.org --reason "Signed up again by letter, 3 March"`
    """

    async def lift(postroom: Postroom, *, is_deliberate: bool) -> Suppression:
        return await suppressions.lift(postroom.pool, await acting_in(postroom, account), address, reason,
                                       is_deliberate=is_deliberate)

    try:
        lifted = with_postroom(lambda postroom: lift(postroom, is_deliberate=yes))
    except Conflict as meaning:
        if not sys.stdin.isatty():
            raise Conflict(f"{meaning} To do it: --yes.") from None
        err().print(plain(meaning), soft_wrap=True)
        if not typer.confirm("Lift it?", err=True):
            raise typer.Exit(1) from None
        lifted = with_postroom(lambda postroom: lift(postroom, is_deliberate=True))
    if as_json:
        print_json({"lifted": msgspec.to_builtins(lifted)})
    else:
        out().print(f"{plain(lifted.address)} may be mailed again.", soft_wrap=True)
