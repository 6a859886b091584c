"""`postroom jobs`: list, show, approve, cancel."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from postroom.domain.job import Status
from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    account_id_of,
    account_id_of_job,
    actor,
    group,
    out,
    plain,
    print_json,
    table,
    when,
    with_postroom,
)
from postroom.doors.cli.watching import print_accounting
from postroom.doors.shown import exclusion_shown, job_shown
from postroom.doors.wiring import Postroom
from postroom.flow import accounts, approve, finish, report
from postroom.flow.report import Exclusion, JobEvent, JobReport

EXCLUSIONS_SHOWN = 10
DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

app = group("Message jobs: list them, look at one, approve it, cancel it.")

JobId = Annotated[int, typer.Argument(min=1, metavar="ID", help="The job's number.")]


@app.command("list")
def list_jobs(
    status: Annotated[Status | None, typer.Option(help="Only those in this status.")] = None,
    account: AccountOption = None,
    since: Annotated[datetime | None, typer.Option(
        formats=DATES, metavar="DATE", help="Only those made then or later, in local time, such as 2030-01-31T09:00:00.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=DATES, metavar="DATE", help="Only those made before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first. Without --account: those of all accounts.

    Example: `postroom jobs list --status sending --since 2030-01-31`
    """

    async def act(postroom: Postroom) -> list[JobReport]:
        if account is None:
            ids = [one.id for one in await accounts.all_accounts(postroom.pool)]
        else:
            ids = [await account_id_of(postroom, account)]
        found = [one for account_id in ids for one in await report.reports(
            postroom.pool, account_id, status=status, since=_aware(since), until=_aware(until), limit=limit)]
        return sorted(found, key=lambda one: one.job.id, reverse=True)[:limit]

    found = with_postroom(act)
    if as_json:
        print_json([job_shown(one).model_dump(mode="json") for one in found])
        return
    listed = table("Id#", "Status", "Account", "Recipients#", "Sent#", "Failed#", "Skipped#", "Unconfirmed#", "Unsent#",
                   "Created", "By", "Subject")
    for one in found:
        job = one.job
        listed.add_row(str(job.id), job.status.label, plain(job.account_name), *(f"{number:,}" for number in (
            job.recipient_count, job.sent, job.failed, job.skipped, job.unconfirmed, job.unsent)),
            when(job.created_at), plain(job.created_by), plain(job.subject))
    out().print(listed if found else "No job matches.")


@app.command()
def show(job_id: JobId, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show one job: its accounting, who did what and when, and what was left out of its list."""

    async def act(postroom: Postroom) -> tuple[JobReport, list[JobEvent], list[Exclusion]]:
        account_id = await account_id_of_job(postroom, account, job_id)
        return (await report.report(postroom.pool, account_id, job_id), await report.trail(postroom.pool, account_id, job_id),
                await report.exclusion_page(postroom.pool, account_id, job_id, limit=EXCLUSIONS_SHOWN))

    told, trail, exclusions = with_postroom(act)
    if as_json:
        print_json({**job_shown(told).model_dump(mode="json"), "trail": [
            {"at": event.at.isoformat(), "verb": event.verb, "from": event.from_status, "to": event.to_status, "by": event.by,
             "reason": event.reason} for event in trail]})
        return
    console, job = out(), told.job
    console.print(f"Job {job.id}: {plain(job.subject)}", style="bold", soft_wrap=True)
    console.print(f"{job.status.label}. {plain(told.sentence)}", soft_wrap=True)
    made = f"Account {plain(job.account_name)}; made by {plain(job.created_by)} at {when(job.created_at)}.\n"
    console.print(made, soft_wrap=True)
    print_accounting(console, job)
    print_exclusions(console, told, exclusions)
    console.print()
    events = table("When", "What", "To", "By", "")
    for event in trail:
        events.add_row(when(event.at), event.verb, Status(event.to_status).label, plain(event.by), plain(event.reason or ""))
    console.print(events)


@app.command("approve")
def approve_job(job_id: JobId, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Approve a job that waits at the gate: exactly the list and the content that were frozen with it."""

    async def act(postroom: Postroom) -> JobReport:
        account_id = await account_id_of_job(postroom, account, job_id)
        await approve.approve(postroom.pool, account_id, job_id, by=actor())
        return await report.report(postroom.pool, account_id, job_id)

    _print_moved(with_postroom(act), as_json=as_json)


@app.command("cancel")
def cancel_job(
    job_id: JobId,
    account: AccountOption = None,
    note: Annotated[str | None, typer.Option(help="Why; kept with the job.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a job, at once. What the gateway already has stays sent; the rest stays unsent."""

    async def act(postroom: Postroom) -> JobReport:
        account_id = await account_id_of_job(postroom, account, job_id)
        await finish.cancel(postroom.pool, account_id, job_id, by=actor(), note=note)
        return await report.report(postroom.pool, account_id, job_id)

    _print_moved(with_postroom(act), as_json=as_json)


def print_exclusions(console: Console, told: JobReport, some: list[Exclusion]) -> None:
    """What was left out before the count, with the rows of `some` and their reasons; nothing where nobody was."""
    job = told.job
    excluded = job.excluded_duplicates + job.excluded_unusable + job.excluded_suppressed
    if not excluded:
        return
    console.print(f"\nLeft out before the count: {excluded:,} ({job.excluded_duplicates:,} duplicates, "
                  f"{job.excluded_unusable:,} unusable addresses, {job.excluded_suppressed:,} opted out or suppressed).")
    if not some:
        return
    rows = table("Row#", "Value", "Why")
    for one in map(exclusion_shown, some):
        rows.add_row(str(one.row), plain(one.value), plain(one.reason))
    console.print(rows)
    if excluded > len(some):
        console.print(f"... and {excluded - len(some):,} more.")


def _print_moved(told: JobReport, *, as_json: bool) -> None:
    if as_json:
        print_json(job_shown(told).model_dump(mode="json"))
    else:
        out().print(f"Job {told.job.id} is {told.job.status.label}. {plain(told.sentence)}", soft_wrap=True)


def _aware(moment: datetime | None) -> datetime | None:
    """A date without a zone is meant in this machine's."""
    return None if moment is None else moment.astimezone()
