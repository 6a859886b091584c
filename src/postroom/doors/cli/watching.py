"""Watching a job in the terminal: a bar that moves until everyone is checked, or until the job is over; and the accounting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from postroom.domain.access import Actor
from postroom.domain.job import Status
from postroom.domain.wording import counted, duration
from postroom.doors.cli.terminal import err, plain, table
from postroom.doors.wiring import Postroom
from postroom.flow.job.report import JobOverview, JobReport, report

LOOK_EVERY_S = 0.3
LINE_EVERY_S = 5.0  # where standard error is no terminal


def never() -> bool:
    return False


async def watch_the_check(postroom: Postroom, actor: Actor, job_id: int, *,
                          interrupted: Callable[[], bool] = never) -> JobReport:
    """Shows how far the pre-flight is until everyone was checked, or the job waits at its gate no longer."""
    return await _watch(postroom, actor, job_id, interrupted, lambda now: now.preflight is None or now.preflight.is_done)


async def watch_to_the_end(postroom: Postroom, actor: Actor, job_id: int, *,
                           interrupted: Callable[[], bool] = never) -> JobReport:
    """Shows the job until it is over and nothing of it is in hand."""
    return await _watch(postroom, actor, job_id, interrupted, lambda now: now.job.status.is_over and now.job.in_hand == 0)


async def _watch(postroom: Postroom, actor: Actor, job_id: int, interrupted: Callable[[], bool],
                 is_over: Callable[[JobReport], bool]) -> JobReport:
    """Returns the job as it is when it is over, or when `interrupted` says so."""
    console = err()
    lined_at, line = 0.0, ""
    with Live(console=console, transient=False, auto_refresh=False) if console.is_terminal else _Silent() as live:
        while True:
            now = await report(postroom.pool, actor, job_id)
            over = is_over(now)
            if isinstance(live, Live):
                live.update(_picture(now), refresh=True)
            elif (over or time.monotonic() - lined_at > LINE_EVERY_S) and (newest := _line(now)) != line:
                line, lined_at = newest, time.monotonic()
                console.print(line, soft_wrap=True)
            if over or interrupted():
                return now
            await asyncio.sleep(LOOK_EVERY_S)


class _Silent:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _picture(now: JobReport) -> Group:
    job, sentence = now.job, Text(plain(now.sentence), style="dim")
    if now.preflight is not None:
        return Group(_bar("Check", now.preflight.checked, now.preflight.to_check, ""), sentence)
    done = job.recipient_count - job.unsent
    return Group(_bar(job.status.label, done, job.recipient_count, _pace(now)), Text(_counts(job)), sentence)


def _bar(label: str, done: int, total: int, pace: str) -> Table:
    row = Table.grid(padding=(0, 2))
    row.add_row(Text(label, style="bold"), ProgressBar(total=total, completed=done, width=36),
                Text(f"{100 * done // max(1, total):3d} %"), Text(f"{done:,} of {total:,}"), Text(pace))
    return row


def _line(now: JobReport) -> str:
    if now.job.status is Status.PENDING_APPROVAL:
        return plain(now.sentence)
    return " ".join(part for part in (f"{now.job.status.label}:", _counts(now.job), _pace(now), plain(now.sentence)) if part)


def _counts(job: JobOverview) -> str:
    return (f"sent {job.sent:,}   failed {job.failed:,}   skipped {job.skipped:,}   unconfirmed {job.unconfirmed:,}   "
            f"unsent {job.unsent:,}")


def _pace(now: JobReport) -> str:
    rate = f"{now.per_second:,.0f}/s" if now.per_second else ""
    left = f"{duration(now.seconds_left)} left" if now.seconds_left else ""
    return "  ".join(part for part in (rate, left) if part)


def print_accounting(console: Console, job: JobOverview) -> None:
    """The five numbers and their sum."""
    accounting = table("Outcome", "Recipients#", "")
    accounting.add_row("Sent", f"{job.sent:,}", "the gateway has accepted it")
    accounting.add_row("Failed", f"{job.failed:,}", "refused for good, or no message could be made; each with its reason")
    accounting.add_row("Skipped", f"{job.skipped:,}", "left out while sending, with the reason")
    accounting.add_row("Unconfirmed", f"{job.unconfirmed:,}", "the gateway may have it; nobody can know")
    accounting.add_row("Unsent", f"{job.unsent:,}", "never handed off")
    accounting.add_section()
    total = job.sent + job.failed + job.skipped + job.unconfirmed + job.unsent
    sign = "=" if total == job.recipient_count else "≠"
    accounting.add_row("Sum", f"{total:,}", f"{sign} {counted(job.recipient_count, 'recipient')}", style="bold")
    console.print(accounting)
