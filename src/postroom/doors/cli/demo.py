"""`postroom demo`: a whole installation on this machine with a sample job, to be looked at or, with --auto, run to the end.

Its data is below POSTROOM_HOME/demo, with a database of its own: it never touches real data, whatever POSTROOM_DATABASE_URL
says. Its gateway is the sandbox, which delivers nothing and records each message that it accepts: that record is what
`--auto` holds the ledger against.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from postroom.config import Settings, read_settings
from postroom.domain.access import Actor, machine
from postroom.domain.job import Status
from postroom.domain.wording import counted
from postroom.doors import wiring
from postroom.doors.cli.jobs import print_exclusions, print_findings
from postroom.doors.cli.listing import opened_list
from postroom.doors.cli.operate import PortOption, way_in, with_changes
from postroom.doors.cli.terminal import err, out, say_home
from postroom.doors.cli.watching import print_accounting, watch_the_check, watch_to_the_end
from postroom.doors.process import run
from postroom.doors.supervisor import Children, Installation, Stop, environment_of, installation, listen
from postroom.doors.wiring import Postroom
from postroom.errors import NotFound, Unavailable
from postroom.flow.account import accounts, domains, gateways
from postroom.flow.account.accounts import Account
from postroom.flow.audience import suppressions
from postroom.flow.audience.list_file import ListFile
from postroom.flow.content.preparing import Content, Submission
from postroom.flow.job import finish, report
from postroom.flow.job.approve import approve
from postroom.flow.job.report import JobReport
from postroom.flow.job.submit import submit

ACCOUNT = "Demo"
DEMO = "demo"
LOGO = "logo.png"  # in the sample, and so in its HTML
POSTAL_ADDRESS = "Riverside Courses, 1 Example Quay, Example Town"
RETRY_BASE_S = 0.5
NETWORKS = "127.0.0.0/8"  # where the sandbox stands
LANES = 10
# A few are refused for good and a few for now. The delay makes 5,000 last about 40 s on a page, 10 s in the terminal.
REFUSALS = "rcpt:temp=2%,perm=1%; seed=1; dot:delay="
DELAY_TO_WATCH, DELAY_AUTO = "70ms", "12ms"
SANDBOX_READY_S = 15.0


def demo(
    auto: Annotated[bool, typer.Option("--auto", help="Approve the job, run it to the end, and check the accounting.")] = False,
    port: PortOption = None,
    recipients_file: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Another list than the sample.")] = None,
    script: Annotated[str | None, typer.Option(
        metavar="TEXT", help="How the sandbox answers; see postroom sandbox --help.")] = None,
) -> None:
    """Try Postroom: a sandbox gateway, a sample account, and a job to 5,000 recipients that waits for your approval.

    Nothing leaves this machine. Everything is kept below POSTROOM_HOME/demo, apart from real data; to start over, remove it.
    With --auto the exit status is 0 only if every recipient is accounted for and the gateway counted the same.
    """
    given = read_settings()
    settings = msgspec.structs.replace(
        given, home=given.home / DEMO, database_url=None, secret_key=None, base_url=None, retry_base_s=RETRY_BASE_S,
        allowed_networks=NETWORKS, workers=max(1, given.workers))
    say_home(settings)
    settings = with_changes(settings, port=0 if auto and port is None else port)
    raise typer.Exit(run(_demo(settings, auto, recipients_file, script)))


async def _demo(settings: Settings, auto: bool, recipients_file: Path | None, script: str | None) -> int:
    stop = Stop()
    answers = script if script is not None else REFUSALS + (DELAY_AUTO if auto else DELAY_TO_WATCH)
    err().print("Starting a database, the workers and a sandbox gateway ...")
    async with _stage(settings, stop, recipients_file, answers, from_the_start=auto) as stage:
        console, job = out(), stage.told.job
        console.print(f"Job {job.id}: {counted(job.recipient_count, 'recipient')}.", style="bold")
        print_exclusions(console, stage.told, [])
        path = f"/accounts/{job.account_id}/jobs/{job.id}"
        console.print(f"\nOpen this page: {await way_in(stage.running, path)}", soft_wrap=True)
        if not sys.stdout.isatty():
            console.print(f"with POSTROOM_HOME={stage.running.settings.home} and no POSTROOM_DATABASE_URL", soft_wrap=True)
        console.file.flush()
        if auto:
            return await _run_to_the_end(stage, stop)
        console.print("\nApprove the job there once everyone was checked, and watch it. Nothing is delivered to anybody. "
                      "Stop with Ctrl-C.", soft_wrap=True)
        console.file.flush()
        await stop.asked.wait()
        err().print("Stopping.")
    return 0


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo while it runs. `record` is what the sandbox gateway writes down."""

    running: Installation
    postroom: Postroom
    told: JobReport
    record: Path


@contextlib.asynccontextmanager
async def _stage(settings: Settings, stop: Stop, recipients_file: Path | None, answers: str, *,
                 from_the_start: bool) -> AsyncGenerator[Stage]:
    sandbox = Children(stop)
    try:
        async with (installation(settings, stop, is_for_this_machine=True) as running,
                    wiring.opened(running.settings, name="demo", connections=2) as postroom):
            account = await _account(postroom)
            if from_the_start:
                await _end_earlier_jobs(postroom, account)
            record = running.settings.home / f"sandbox-{time.time_ns()}.ndjson"
            gateway, port = await _gateway(postroom, account)
            sandbox.keep("sandbox", "postroom.doors.cli.main", "sandbox", "--port", str(port), "--record", str(record),
                         "--script", answers, environment=environment_of(running.settings))
            await _until_it_listens(port)
            told = await _submit(postroom, account, gateway, recipients_file)
            yield Stage(running, postroom, told, record)
    finally:
        # After the workers: what they still hand over while they drain is to be answered.
        await sandbox.stop()


async def _run_to_the_end(stage: Stage, stop: Stop) -> int:
    postroom, job = stage.postroom, stage.told.job
    if job.status is Status.PENDING_APPROVAL:
        found = (await watch_the_check(postroom, machine(job.account_id, DEMO), job.id, interrupted=stop.asked.is_set)).preflight
        if found is None or not found.is_done:
            out().print("Stopped before everyone was checked: the next demo begins with a new job.")
            return 1
        print_findings(out(), found)
        await approve(postroom.pool, machine(job.account_id, DEMO), job.id, digest=job.digest)
    told = await watch_to_the_end(postroom, machine(job.account_id, DEMO), job.id, interrupted=stop.asked.is_set)
    job, console = told.job, out()
    console.print()
    print_accounting(console, job)
    accepted, again = wiring.sandbox_tally(stage.record) if stage.record.exists() else (0, 0)
    console.print(f"\nThe sandbox gateway accepted {accepted:,} messages, {again:,} of them a second time.")
    if not job.status.is_over:
        console.print("Stopped before the end: the next demo begins with a new job.")
        return 1
    adds_up = job.sent + job.failed + job.skipped + job.unconfirmed + job.unsent == job.recipient_count
    # Each unconfirmed one the gateway may or may not have.
    agrees = again == 0 and job.sent <= accepted <= job.sent + job.unconfirmed
    if job.status is Status.COMPLETED and adds_up and agrees:
        console.print("Every recipient is accounted for, and both sides agree.", style="bold green")
        return 0
    console.print(f"This is wrong: the job is {job.status.label}; the sum {'equals' if adds_up else 'is not'} the count; "
                  f"ledger and gateway {'agree' if agrees else 'do not agree'}.", style="bold red", soft_wrap=True)
    return 1


# -- what the demo needs -------------------------------------------------------------------------------------------------


def _actor(account: Account) -> Actor:
    return machine(account.id, DEMO)


async def _account(postroom: Postroom) -> Account:
    """Of an earlier demo, or a new one with the sample's opt-outs, a postal address, and a key that signs for its domain."""
    try:
        account = await accounts.find_account(postroom.pool, ACCOUNT)
    except NotFound:
        account = await accounts.create_account(postroom.pool, ACCOUNT)
        opt_outs = io.BytesIO(_sample("opt_outs.csv").read_bytes())
        await suppressions.suppress(postroom.pool, _actor(account), (row.address for row in ListFile(opt_outs, "table")))
    if await domains.keys_of_account(postroom.pool, _actor(account)):
        return account
    await domains.add_domain(postroom.pool, postroom.secrets, _actor(account), _told()["from_address"].partition("@")[2],
                             ["ed25519"])
    return await accounts.change_account(postroom.pool, _actor(account), postal_address=POSTAL_ADDRESS)


async def _end_earlier_jobs(postroom: Postroom, account: Account) -> None:
    """What a demo that was interrupted has left: it would go first, and its mail would be counted with ours."""
    for status in (Status.QUEUED, Status.SENDING):
        for job in await report.history(postroom.pool, _actor(account), status=status):
            await finish.cancel(postroom.pool, _actor(account), job.id, note="A new demo began.")


async def _gateway(postroom: Postroom, account: Account) -> tuple[str, int]:
    """(name, port) of a gateway for the sandbox: an earlier one where its port is free, so that earlier jobs find it again."""
    for gateway in await gateways.gateways(postroom.pool, _actor(account)):
        with contextlib.suppress(Unavailable):
            listen("127.0.0.1", gateway.port).close()
            return gateway.name, gateway.port
    with listen("127.0.0.1", 0) as probe:
        port = int(probe.getsockname()[1])
    name = f"sandbox-{port}"
    await gateways.create_gateway(postroom.pool, postroom.secrets, _actor(account), name=name, host="127.0.0.1", port=port,
                                  security="none", connections=LANES)
    return name, port


async def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + SANDBOX_READY_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise Unavailable(f"The sandbox gateway did not start within {SANDBOX_READY_S:.0f} s.") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def _submit(postroom: Postroom, account: Account, gateway: str, recipients_file: Path | None) -> JobReport:
    told = _told()
    content = Content(
        subject=told["subject"], preheader=told["preheader"], from_address=told["from_address"], from_name=told["from_name"],
        html=_sample("message.html").read_text(encoding="utf-8"), text=_sample("message.txt").read_text(encoding="utf-8"))
    submission = Submission(_actor(account), content, gateway=gateway, field_policy="blank",
                            files=((LOGO, _sample(LOGO).read_bytes()),))
    if recipients_file is None:
        file = io.BytesIO(_sample("recipients.csv").read_bytes())
        job = await submit(postroom.pool, postroom.deployment, submission, ListFile(file, "table"))
    else:
        with opened_list(str(recipients_file)) as rows:
            job = await submit(postroom.pool, postroom.deployment, submission, rows)
    return await report.report(postroom.pool, _actor(account), job.id)


def _told() -> dict[str, str]:
    """Subject, preheader and sender of the sample."""
    told: dict[str, str] = json.loads(_sample("message.json").read_text(encoding="utf-8"))
    return told


def _sample(name: str) -> Traversable:
    return resources.files("postroom.doors") / "sample" / name
