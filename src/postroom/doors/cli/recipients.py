"""`postroom jobs recipients`: a job's ledger, whole, one state of it, or one address.

It is read and printed page by page, so that a million recipients pass through: each page is of one instant, the whole is not.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from postroom.domain.access import Actor
from postroom.doors.cli.jobs import JobId
from postroom.doors.cli.terminal import AccountOption, JsonOption, acting_on, out, plain, table, when, with_postroom
from postroom.doors.shown import Recipient, recipient_shown
from postroom.doors.wiring import Postroom
from postroom.flow.job.report import recipient_page

ROWS_PER_PAGE = 500

Pages = AsyncIterator[list[Recipient]]


def list_recipients(
    job_id: JobId,
    state: Annotated[str | None, typer.Option(
        metavar="STATE", help="Only those: sent, failed, skipped, unconfirmed or unsent.")] = None,
    address: Annotated[str | None, typer.Option(
        metavar="ADDRESS", help="Only who is at this address, however it is spelt; an unusable one as it was given.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipients of a job, in the order of its list: what became of each, when, and the reason in the gateway's words.

    Example: `postroom jobs recipients 8 --state failed`
    """

    async def act(postroom: Postroom) -> None:
        actor = await acting_on(postroom, account, job_id)
        await (_print_json if as_json else _print_tables)(_pages(postroom, actor, job_id, state, address))

    with_postroom(act)


async def _pages(postroom: Postroom, actor: Actor, job_id: int, state: str | None, address: str | None) -> Pages:
    after = 0
    while page := await recipient_page(postroom.pool, actor, job_id, recipient_class=state, address=address, after=after,
                                       limit=ROWS_PER_PAGE):
        yield [recipient_shown(row) for row in page]
        after = page[-1].position


async def _print_tables(pages: Pages) -> None:
    console, nobody = out(), True
    async for page in pages:
        rows, nobody = table("No.#", "Address", "State", "Attempts#", "When", "Reason"), False
        for one in page:
            rows.add_row(str(one.position), plain(one.email or "(none)"), one.state, str(one.attempts), when(one.at),
                         plain(_reason(one)))
        console.print(rows)
    if nobody:
        console.print("No recipient matches.")


async def _print_json(pages: Pages) -> None:
    """One document, a recipient a line."""
    before = "[\n"
    async for page in pages:
        for one in page:
            typer.echo(before + json.dumps(one.model_dump(mode="json"), ensure_ascii=False), nl=False)
            before = ",\n"
    typer.echo("[]" if before == "[\n" else "\n]")


def _reason(one: Recipient) -> str:
    """Ours, and then the gateway's code and words."""
    enhanced = None if one.reply and one.enhanced_code and one.reply.startswith(one.enhanced_code) else one.enhanced_code
    return " ".join(str(part) for part in (one.reason, one.code, enhanced, one.reply and f"“{one.reply}”") if part)
