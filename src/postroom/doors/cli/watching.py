"""Watching a job in the terminal: a bar that moves until the job is over, and the accounting at its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from postroom.doors.cli.terminal import err, plain, table
from postroom.doors.wiring import Postroom
from postroom.flow.report import JobOverview, JobReport, report

LOOK_EVERY_S = 0.3
LINE_EVERY_S = 5.0  # where standard error is no terminal


async def watch_to_the_end(postroom: Postroom, account_id: int, job_id: int, *,
                           interrupted: Callable[[], bool] = lambda: False) -> JobReport:
    """Shows the job until it is over and nothing of it is in hand, or until `interrupted` says so; returns it as it is then."""
    console = err()
    lined_at, line = 0.0, ""
    with Live(console=console, transient=False, auto_refresh=False) if console.is_terminal else _Silent() as live:
        while True:
            now = await report(postroom.pool, account_id, job_id)
            over = now.job.status.is_over and now.job.in_hand == 0
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
    job = now.job
    done = job.recipient_count - job.unsent
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(job.status.label, style="bold"),
        ProgressBar(total=job.recipient_count, completed=done, width=36),
        Text(f"{100 * done // job.recipient_count:3d} %"),
        Text(f"{done:,} of {job.recipient_count:,}"),
        Text(_pace(now)))
    return Group(head, Text(_counts(job)), Text(plain(now.sentence), style="dim"))


def _line(now: JobReport) -> str:
    return " ".join(part for part in (f"{now.job.status.label}:", _counts(now.job), _pace(now), plain(now.sentence)) if part)


def _counts(job: JobOverview) -> str:
    return (f"sent {job.sent:,}   failed {job.failed:,}   skipped {job.skipped:,}   unconfirmed {job.unconfirmed:,}   "
            f"unsent {job.unsent:,}")


def _pace(now: JobReport) -> str:
    rate = f"{now.per_second:,.0f}/s" if now.per_second else ""
    left = f"{_duration(now.seconds_left)} left" if now.seconds_left else ""
    return "  ".join(part for part in (rate, left) if part)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_accounting(console: Console, job: JobOverview) -> None:
    """The five numbers and their sum."""
    accounting = table("Outcome", "Recipients#", "")
    accounting.add_row("Sent", f"{job.sent:,}", "the gateway has accepted it")
    accounting.add_row("Failed", f"{job.failed:,}", "refused for good, each with the gateway's words")
    accounting.add_row("Skipped", f"{job.skipped:,}", "left out while sending, with the reason")
    accounting.add_row("Unconfirmed", f"{job.unconfirmed:,}", "the gateway may have it; nobody can know")
    accounting.add_row("Unsent", f"{job.unsent:,}", "never handed off")
    accounting.add_section()
    total = job.sent + job.failed + job.skipped + job.unconfirmed + job.unsent
    sign = "=" if total == job.recipient_count else "≠"
    accounting.add_row("Sum", f"{total:,}", f"{sign} {job.recipient_count:,} recipients", style="bold")
    console.print(accounting)
