"""Sending domains: `postroom domain add`, `list`, `check`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from postroom.domain.authentication import Record
from postroom.domain.checking import Finding, Level
from postroom.doors.cli.operate import print_findings
from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    acting_in,
    group,
    out,
    plain,
    print_json,
    table,
    when,
    with_postroom,
)
from postroom.doors.wiring import Postroom
from postroom.flow.account import authentication, domains
from postroom.flow.account.domains import DkimKey, Publication

app = group("Sending domains of an account: DKIM keys, and the DNS records that they need.")


class Algorithm(StrEnum):
    RSA = "rsa"
    ED25519 = "ed25519"


@app.command("add")
def add(
    domain: Annotated[str, typer.Argument(help="What stands after the @ of the senders.")],
    account: AccountOption = None,
    algorithm: Annotated[list[Algorithm] | None, typer.Option(
        help="May be given twice. By default both: RSA is what everybody verifies, Ed25519 is small and quick.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the keys of a domain that the account sends from, and print the DNS records to publish, as a zone file takes them."""
    wanted = [one.value for one in algorithm or Algorithm]

    async def act(postroom: Postroom) -> Publication:
        actor = await acting_in(postroom, account)
        return await domains.add_domain(postroom.pool, postroom.deployment.secrets, actor, domain, wanted)

    made = with_postroom(act)
    if as_json:
        print_json({"domain": made.domain, "dkim": _records_shown(made.keys), "spf": _records_shown(made.spf),
                    "dmarc": _records_shown([made.dmarc])})
        return
    for comment, records in (
        ("DKIM: publish as it is.", made.keys),
        ("SPF: one record a name. Merge this into the one that is there; a gateway's provider tells its own include:.", made.spf),
        ("DMARC: only where there is none for the domain or one above it.", [made.dmarc]),
        (f"Then: postroom domain check {made.domain}", []),
    ):
        typer.echo("\n".join([f"; {comment}", *(record.line for record in records)]))


@app.command("list")
def list_domains(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List an account's sending domains and their keys. Private keys are never shown."""

    async def act(postroom: Postroom) -> list[DkimKey]:
        return await domains.keys_of_account(postroom.pool, await acting_in(postroom, account))

    keys = with_postroom(act)
    if as_json:
        print_json([{"domain": key.domain, "selector": key.selector, "algorithm": key.algorithm, "public_key": key.public_key,
                     "created_at": key.created_at} for key in keys])
        return
    listed = table("Domain", "Selector", "Algorithm", "Made")
    for key in keys:
        listed.add_row(plain(key.domain), key.selector, key.algorithm, when(key.created_at))
    out().print(listed if keys else "The account has no sending domain yet. Add one: postroom domain add DOMAIN.")


@app.command("check")
def check(
    domain: Annotated[str | None, typer.Argument(help="By default every sending domain of the account.")] = None,
    account: AccountOption = None,
    nameserver: Annotated[str | None, typer.Option(
        metavar="HOST[:PORT]", help="Ask this DNS server instead of the system's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Look up DKIM, SPF and DMARC, and say of each whether it is right and what to do. Exit status 1 if anything is an error."""

    async def act(postroom: Postroom) -> list[Finding]:
        actor = await acting_in(postroom, account)
        return await authentication.check_domains(postroom.pool, actor, domain, nameserver=nameserver)

    findings = with_postroom(act)
    if as_json:
        print_json({"findings": msgspec.to_builtins(findings)})
    else:
        print_findings(findings)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def _records_shown(records: Iterable[Record]) -> list[dict[str, str]]:
    return [{"name": record.name, "type": "TXT", "text": record.text, "line": record.line} for record in records]
