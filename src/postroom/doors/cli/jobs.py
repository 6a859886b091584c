"""`postroom jobs`: list, show, approve, cancel, pause, resume, continue, settle. Its recipients are in `recipients.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from postroom.domain.access import Actor
from postroom.domain.job import Status
from postroom.domain.preflight import FindingKind, Preflight, told
from postroom.domain.wording import counted
from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    acting_in,
    acting_in_all,
    acting_on,
    aware,
    group,
    out,
    plain,
    print_json,
    table,
    when,
    with_postroom,
)
from postroom.doors.cli.watching import print_accounting
from postroom.doors.shown import exclusion_shown, job_shown, preflight_shown, settlement_shown
from postroom.doors.wiring import Postroom
from postroom.errors import InvalidInput
from postroom.flow.job import approve, continuation, finish, pause, report, settlement
from postroom.flow.job.report import Exclusion, JobEvent, JobOverview, JobReport
from postroom.flow.job.settlement import Settlement

EXCLUSIONS_SHOWN = 10
DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

app = group("Message jobs: list them, look at one and its recipients, approve it, pause it, cancel it, continue its rest, "
            "settle its doubts.")

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
            actors = await acting_in_all(postroom)
        else:
            actors = [await acting_in(postroom, account)]
        found = [one for actor in actors for one in await report.reports(
            postroom.pool, actor, status=status, since=aware(since), until=aware(until), limit=limit)]
        return sorted(found, key=lambda one: one.job.id, reverse=True)[:limit]

    found = with_postroom(act)
    if as_json:
        print_json([job_shown(one).model_dump(mode="json") for one in found])
        return
    listed = table("Id#", "Status", "Account", "Recipients#", "Sent#", "Failed#", "Skipped#", "Unconfirmed#", "Unsent#",
                   "Created", "By", "Subject")
    for one in found:
        job = one.job
        paused = ", paused" if job.paused_since is not None else ""
        listed.add_row(str(job.id), f"{job.status.label}{paused}", plain(job.account_name), *(f"{number:,}" for number in (
            job.recipient_count, job.sent, job.failed, job.skipped, job.unconfirmed, job.unsent)),
            when(job.created_at), plain(job.created_by), plain(job.subject))
    out().print(listed if found else "No job matches.")


@app.command()
def show(job_id: JobId, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show one job: its accounting, what its check found, who did what and when, and what was left out of its list."""

    async def act(postroom: Postroom) -> tuple[JobReport, Preflight, list[JobEvent], list[Exclusion]]:
        actor = await acting_on(postroom, account, job_id)
        return (await report.report(postroom.pool, actor, job_id),
                await report.preflight_of(postroom.pool, actor, job_id),
                await report.trail(postroom.pool, actor, job_id),
                await report.exclusion_page(postroom.pool, actor, job_id, limit=EXCLUSIONS_SHOWN))

    shown, found, trail, exclusions = with_postroom(act)
    if as_json:
        print_json({**job_shown(shown).model_dump(mode="json"), "preflight": preflight_shown(found).model_dump(), "trail": [
            {"at": event.at.isoformat(), "verb": event.verb, "from": event.from_status, "to": event.to_status, "by": event.by,
             "reason": event.reason} for event in trail]})
        return
    console, job = out(), shown.job
    console.print(f"Job {job.id}: {plain(job.subject)}", style="bold", soft_wrap=True)
    console.print(f"{job.status.label}. {plain(shown.sentence)}", soft_wrap=True)
    made = f"Account {plain(job.account_name)}; made by {plain(job.created_by)} at {when(job.created_at)}."
    console.print(made, soft_wrap=True)
    print_links(console, shown)
    console.print()
    print_accounting(console, job)
    for state, count in (("failed", job.failed), ("unconfirmed", job.unconfirmed)):
        if count:
            console.print(f"Each {state} one, with its reason: postroom jobs recipients {job.id} --state {state}", soft_wrap=True)
    print_remarks(console, found)
    print_findings(console, found)
    print_exclusions(console, shown, exclusions)
    console.print()
    events = table("When", "What", "To", "By", "")
    for event in trail:
        events.add_row(when(event.at), event.verb, Status(event.to_status).label, plain(event.by), plain(event.reason or ""))
    console.print(events)


@app.command("approve")
def approve_job(job_id: JobId, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Approve a job that waits at the gate: exactly the list and the content that were frozen with it.

    Refused until everyone was checked, and where what was found refuses it: `postroom jobs show ID` says what that is.
    """

    async def act(postroom: Postroom, actor: Actor) -> JobOverview:
        return await approve.approve(postroom.pool, actor, job_id)

    _move(act, job_id, account, as_json=as_json)


@app.command("cancel")
def cancel_job(
    job_id: JobId,
    account: AccountOption = None,
    note: Annotated[str | None, typer.Option(help="Why; kept with the job.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a job, at once. What the gateway already has stays sent; the rest stays unsent."""

    async def act(postroom: Postroom, actor: Actor) -> JobOverview:
        return await finish.cancel(postroom.pool, actor, job_id, note=note)

    _move(act, job_id, account, as_json=as_json)


@app.command("pause")
def pause_job(
    job_id: JobId,
    account: AccountOption = None,
    reason: Annotated[str | None, typer.Option(help="Why; shown while it is paused.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Pause a job, at once, in any status that is not over. A queued one keeps its place and lets others pass."""

    async def act(postroom: Postroom, actor: Actor) -> JobOverview:
        return await pause.pause(postroom.pool, actor, job_id, reason=reason)

    _move(act, job_id, account, as_json=as_json)


@app.command("resume")
def resume_job(job_id: JobId, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Let a paused job go on where it stood."""

    async def act(postroom: Postroom, actor: Actor) -> JobOverview:
        return await pause.resume(postroom.pool, actor, job_id)

    _move(act, job_id, account, as_json=as_json)


@app.command("continue")
def continue_job(
    job_id: JobId,
    account: AccountOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="Those that it failed, in place of the unsent.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new job of those that a job left unsent when it ended: the same message, and the gate again. Everybody once."""

    async def act(postroom: Postroom, actor: Actor) -> JobOverview:
        return await continuation.continue_the_rest(postroom.pool, postroom.deployment, actor, job_id,
                                                    which="failed" if failed else "unsent")

    _move(act, job_id, account, as_json=as_json)


@app.command("settle")
def settle_job(
    job_id: JobId,
    account: AccountOption = None,
    assume_sent: Annotated[bool, typer.Option("--assume-sent", help="Take it that the gateway has them.")] = False,
    send_again: Annotated[bool, typer.Option("--send-again", help="Send them again: some may get the message twice.")] = False,
    position: Annotated[list[int] | None, typer.Option(min=1, metavar="N", help="Only this one; may be given again.")] = None,
    note: Annotated[str | None, typer.Option(help="Why; kept with the job and with each recipient.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Settle the unconfirmed recipients of a job: all of them, or those that are named. Nobody can know whether they have the
    message, so a person decides."""
    if assume_sent == send_again:
        raise InvalidInput("Give either --assume-sent or --send-again.")

    async def act(postroom: Postroom) -> tuple[Settlement, JobReport, JobReport | None]:
        actor = await acting_on(postroom, account, job_id)
        told = await settlement.settle(
            postroom.pool, postroom.deployment, actor, job_id, "assume_sent" if assume_sent else "send_again",
            positions=position or None, note=note)
        made = await report.report(postroom.pool, actor, told.continuation.id) if told.continuation else None
        return told, await report.report(postroom.pool, actor, job_id), made

    told, job, made = with_postroom(act)
    if as_json:
        print_json({"settled": told.settled, **settlement_shown(told, job, made).model_dump(mode="json")})
        return
    out().print(f"Settled: {told.settled:,}. {told.warning}", soft_wrap=True)
    _print_moved(job, as_json=False)
    if made is not None:
        _print_moved(made, as_json=False)


def print_links(console: Console, shown: JobReport) -> None:
    """What is wrong with its numbers or with a person's word, whose rest it sends, and who sends its own; nothing where there is
    nothing."""
    job = shown.job
    if job.alarm is not None:
        console.print(f"Alarm: {plain(job.alarm)}", style="bold", soft_wrap=True)
    for sentence in shown.contradictions:
        console.print(sentence, soft_wrap=True)
    if shown.contradictions and job.status.is_over:
        for which, option in (("unsent", ""), ("failed", " --failed")):
            if shown.rests[which] > 0:
                console.print(f"Continue the {shown.rests[which]:,} {which}: postroom jobs continue {job.id}{option}",
                              soft_wrap=True)
    if job.continues is not None:
        console.print(f"It continues what job {job.continues} left {job.continued_class}.", soft_wrap=True)
    if shown.correction.corrects is not None:
        console.print(f"It takes the place of job {shown.correction.corrects}, which was changed before it was sent.",
                      soft_wrap=True)
    if shown.correction.corrected_by is not None:
        console.print(f"Job {shown.correction.corrected_by} took its place.", soft_wrap=True)
    for one in shown.continued_by:
        console.print(f"Job {one.id} continues what it left {one.which}.", soft_wrap=True)


def print_remarks(console: Console, found: Preflight) -> None:
    """How the list was read; nothing where there is nothing to say."""
    for one in found.findings:
        if one.kind is FindingKind.LIST_REMARK:
            console.print(plain(told(one)), soft_wrap=True)


def print_findings(console: Console, found: Preflight) -> None:
    """What the check of everyone has found so far, each finding with its effect and examples; nothing where there is nothing."""
    findings = [one for one in found.findings if one.kind is not FindingKind.LIST_REMARK]
    if not findings:
        return
    far = "" if found.is_done else f" (so far, of {found.checked:,} recipients)"
    console.print(f"\nFound when the message was checked for everyone{far}:")
    rows = table("Recipients#", "What", "So")
    for one in findings:
        some = ", ".join(f"{example.address or 'no address'} (no. {example.position})" for example in one.examples)
        rows.add_row(f"{one.count:,}" if one.count else "", plain(f"{told(one)}{f' Such as {some}.' if some else ''}"),
                     found.follows(one))
    console.print(rows)


def print_exclusions(console: Console, shown: JobReport, some: list[Exclusion]) -> None:
    """What was left out before the count, with the rows of `some` and their reasons; nothing where nobody was."""
    job = shown.job
    excluded = job.excluded_duplicates + job.excluded_unusable + job.excluded_suppressed
    if not excluded:
        return
    console.print(f"\nLeft out before the count: {excluded:,} ({counted(job.excluded_duplicates, 'duplicate')}, "
                  f"{counted(job.excluded_unusable, 'unusable address', 'unusable addresses')}, "
                  f"{job.excluded_suppressed:,} opted out or suppressed).")
    if not some:
        return
    rows = table("Row#", "Value", "Why")
    for one in map(exclusion_shown, some):
        rows.add_row(str(one.row), plain(one.value), plain(one.reason))
    console.print(rows)
    if excluded > len(some):
        console.print(f"... and {excluded - len(some):,} more.")


def _move(act: Callable[[Postroom, Actor], Awaitable[JobOverview]], job_id: int, account: str | None, *, as_json: bool) -> None:
    """Does it to a job, in the account that it belongs to, and prints the job that came of it."""
    async def moved(postroom: Postroom) -> JobReport:
        actor = await acting_on(postroom, account, job_id)
        job = await act(postroom, actor)
        return await report.report(postroom.pool, actor, job.id)

    _print_moved(with_postroom(moved), as_json=as_json)


def _print_moved(moved: JobReport, *, as_json: bool) -> None:
    if as_json:
        print_json(job_shown(moved).model_dump(mode="json"))
    else:
        out().print(f"Job {moved.job.id} is {moved.job.status.label}. {plain(moved.sentence)}", soft_wrap=True)
