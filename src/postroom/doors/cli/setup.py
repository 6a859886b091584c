"""Setting up: `postroom account`, `contacts`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postroom.domain.table import Choices
from postroom.domain.wording import counted
from postroom.doors.cli.listing import (
    EmailColumnOption,
    EncodingOption,
    FileArgument,
    OptedOut,
    OptedOutOption,
    bounds_of,
    opened_list,
)
from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    acting_in,
    group,
    out,
    plain,
    print_json,
    table,
    with_postroom,
)
from postroom.doors.wiring import Postroom
from postroom.flow.account import accounts
from postroom.flow.account.accounts import Account
from postroom.flow.audience import contacts

PROBLEMS_SHOWN = 10

account_app = group("Accounts: each has its own jobs, gateways, keys, contacts and opt-outs.")
contacts_app = group("Contacts of an account.")


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
                    f"Sends to {counted(made.approval_threshold, 'recipient')} or more wait for approval.")


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


@account_app.command("set")
def set_account(
    account: AccountOption = None,
    threshold: Annotated[int | None, typer.Option(help="Sends to so many recipients or more wait for approval.")] = None,
    bounce_domain: Annotated[str | None, typer.Option(
        help="The domain to which bounces come back; each recipient gets an envelope sender of its own in it.")] = None,
    unsubscribe_url: Annotated[str | None, typer.Option(
        metavar="URL", help="The account's own way out, https:, http: or mailto:, instead of Postroom's page. {token} and "
                            "{email} in it stand for the recipient's own, percent-encoded; one-click unsubscribe needs "
                            "https: and one of them.")] = None,
    postal_address: Annotated[str | None, typer.Option(metavar="TEXT", help="Of the sender; it may have several lines.")] = None,
    require_unsubscribe: Annotated[bool | None, typer.Option(
        "--require-unsubscribe/--no-require-unsubscribe", help="Whether every message must show a way out.")] = None,
    require_postal_address: Annotated[bool | None, typer.Option(
        "--require-postal-address/--no-require-postal-address",
        help="Whether every message must show the postal address.")] = None,
    retry_attempts: Annotated[int | None, typer.Option(
        metavar="TIMES", help="A recipient that the gateway refuses for now is tried so often at most.")] = None,
    retry_deadline: Annotated[int | None, typer.Option(
        metavar="SECONDS", help="And no longer than this after its first refusal.")] = None,
    retry_tail: Annotated[int | None, typer.Option(
        metavar="SECONDS", help="A job with nothing but retries left ends after this, so that the next one may begin.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Change what an account says of itself, and show it. What is not given stays as it is; an empty text unsets.

    Jobs that exist keep what they were made with, but for the patience with temporary refusals.

    Example: `postroom account set --bounce-domain bounces.example.com --require-unsubscribe`
    """

    async def act(postroom: Postroom) -> Account:
        return await accounts.change_account(
            postroom.pool, await acting_in(postroom, account), approval_threshold=threshold, bounce_domain=bounce_domain,
            unsubscribe_url=unsubscribe_url, postal_address=postal_address, requires_unsubscribe=require_unsubscribe,
            requires_postal_address=require_postal_address, retry_attempts_max=retry_attempts,
            retry_deadline_s=retry_deadline, retry_tail_s=retry_tail)

    _show(with_postroom(act), as_json)


@account_app.command("show")
def show_account(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show what an account says of itself."""

    async def act(postroom: Postroom) -> Account:
        return await accounts.find_account(postroom.pool, account)

    _show(with_postroom(act), as_json)


@contacts_app.command("import")
def import_contacts(
    file: FileArgument,
    account: AccountOption = None,
    encoding: EncodingOption = "utf-8",
    email_column: EmailColumnOption = None,
    opted_out_rows: OptedOutOption = OptedOut.EXCLUDE,
    as_json: JsonOption = False,
) -> None:
    """Take contacts from a file. An address that is known gets the new fields; one whose row says it is out is suppressed."""

    async def act(postroom: Postroom) -> tuple[int, list[tuple[int, str, str]], tuple[str, ...]]:
        actor = await acting_in(postroom, account)
        choices = Choices(email_column, opted_out_rows.value)
        with opened_list(file, encoding=encoding, choices=choices) as rows, bounds_of(rows) as bounded:
            count, problems, remarks = await contacts.import_contacts(postroom.pool, actor, rows, bounded,
                                                                       name=Path(file).name)
        return count, [(problem.row_no, problem.value, problem.reason) for problem in problems], remarks

    count, problems, remarks = with_postroom(act)
    if as_json:
        print_json({"contacts": count, "remarks": remarks,
                    "problems": [{"row": row, "value": value, "reason": why} for row, value, why in problems]})
        return
    for one in remarks:
        out().print(plain(one), soft_wrap=True)
    out().print(f"The account has {counted(count, 'contact')} now.")
    if problems:
        rows = table("Row#", "Value", "Not taken, because")
        for row, value, why in problems[:PROBLEMS_SHOWN]:
            rows.add_row(str(row), plain(value), plain(why))
        out().print(rows)


def _show(account: Account, as_json: bool) -> None:
    if as_json:
        print_json(_account_shown(account))
        return
    shown = table("", "")
    shown.show_header = False
    for what, text in (
        ("Id", str(account.id)),
        ("Name", account.name),
        ("Approval from", f"{account.approval_threshold:,}"),
        ("Bounce domain", account.bounce_domain or "none: bounces go to the From address"),
        ("Unsubscribe address", account.unsubscribe_url or "Postroom's own page, once POSTROOM_BASE_URL says where that is"),
        ("Postal address", account.postal_address or "none"),
        ("Requires a way out", yes_or_no(account.requires_unsubscribe)),
        ("Requires a postal address", yes_or_no(account.requires_postal_address)),
        ("Temporary refusals", f"tried up to {account.retry_attempts_max:,} times, for up to {account.retry_deadline_s:,} s"),
        ("Nothing but retries left", f"ends after {account.retry_tail_s:,} s"),
    ):
        shown.add_row(what, "\n".join(map(plain, text.splitlines())))
    out().print(shown)


def yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _account_shown(account: Account) -> dict[str, object]:
    return {"id": account.id, "name": account.name, "approval_threshold": account.approval_threshold,
            "bounce_domain": account.bounce_domain, "unsubscribe_url": account.unsubscribe_url,
            "postal_address": account.postal_address, "requires_unsubscribe": account.requires_unsubscribe,
            "requires_postal_address": account.requires_postal_address, "retry_attempts_max": account.retry_attempts_max,
            "retry_deadline_s": account.retry_deadline_s, "retry_tail_s": account.retry_tail_s}
