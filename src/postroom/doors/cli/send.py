"""`postroom send`: a list in, everyone checked, the gate asked in the terminal, progress until it is over."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from postroom.domain.access import Actor
from postroom.domain.job import Status
from postroom.domain.preflight import Preflight
from postroom.domain.table import Choices
from postroom.domain.wording import counted
from postroom.doors.cli.jobs import EXCLUSIONS_SHOWN, print_exclusions, print_findings, print_remarks
from postroom.doors.cli.listing import (
    STDIN,
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
    Interrupted,
    JsonOption,
    acting_in,
    aware,
    err,
    plain,
    print_json,
    with_postroom,
)
from postroom.doors.cli.watching import print_accounting, watch_the_check, watch_to_the_end
from postroom.doors.shown import job_shown
from postroom.doors.wiring import Postroom
from postroom.errors import InvalidInput
from postroom.flow.content.preparing import FILES_BYTES_MAX, Content, Submission, own_header
from postroom.flow.job import finish, report
from postroom.flow.job.approve import approve
from postroom.flow.job.report import Exclusion, JobReport
from postroom.flow.job.submit import submit

TIMES = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%z"]

# "Name <address>"; which address is a good one is not decided here.
_NAMED_ADDRESS = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<name>[^<"]*?))\s*<(?P<address>[^<>]+)>\s*')


class Duplicates(StrEnum):
    EXCLUDE = "exclude"
    SKIP = "skip"
    SEND = "send"


class Unusable(StrEnum):
    EXCLUDE = "exclude"
    FAIL = "fail"


class FieldPolicy(StrEnum):
    FAIL = "fail"
    REFUSE = "refuse"
    BLANK = "blank"


def send(
    file: FileArgument,
    subject: Annotated[str, typer.Option(help="With merge fields, such as 'News for {{ name }}'.")],
    sender: Annotated[str, typer.Option("--from", metavar='"NAME <ADDRESS>"', help="Who it comes from.")],
    from_name: Annotated[str | None, typer.Option(help="The name beside --from, if that is only an address.")] = None,
    preheader: Annotated[str, typer.Option(help="Shown beside the subject in a list of messages.")] = "",
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="The body as HTML;")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="or as Markdown;")] = None,
    mjml: Annotated[Path | None, typer.Option(metavar="FILE", help="or as MJML.")] = None,
    text: Annotated[Path | None, typer.Option(metavar="FILE", help="The text part; without it one comes from the body.")] = None,
    inline_css: Annotated[bool, typer.Option(help="Write what style sheets say into the elements too, for mail readers that know "
                                                  "no sheets.")] = True,
    attach: Annotated[list[Path] | None, typer.Option(
        metavar="FILE", help="A file that goes with it; give it again for each. An image that the body names as cid:NAME is "
                             "shown there.")] = None,
    reply_to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where answers go.")] = None,
    header: Annotated[list[str] | None, typer.Option(
        metavar='"NAME: VALUE"', help="A header field of your own, such as 'X-PM-Tag: spring'; give it again for each.")] = None,
    account: AccountOption = None,
    gateway: Annotated[str | None, typer.Option(metavar="NAME", help="By default the account's first one.")] = None,
    duplicates: Annotated[Duplicates, typer.Option(
        help="The same address again: leave it out, count it and skip it, or send to each row.")] = Duplicates.EXCLUDE,
    unusable_addresses: Annotated[Unusable, typer.Option(
        help="No or no good address: leave the row out, or count it and fail it.")] = Unusable.EXCLUDE,
    field_policy: Annotated[FieldPolicy, typer.Option(
        help="A merge field is blank for someone: fail them, refuse the job, or leave it blank.")] = FieldPolicy.FAIL,
    encoding: EncodingOption = "utf-8",
    email_column: EmailColumnOption = None,
    opted_out_rows: OptedOutOption = OptedOut.EXCLUDE,
    not_before: Annotated[datetime | None, typer.Option(
        formats=TIMES, metavar="TIME", help="Start no earlier, in local time, such as 2030-01-31T09:00, or with a zone.")] = None,
    approve_it: Annotated[bool, typer.Option("--approve", help="Approve it without asking.")] = False,
    fail_above: Annotated[float, typer.Option(
        min=0, max=100, metavar="PERCENT", help="End with 1 where more of them failed; by default where everybody did.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Send one message to the list in FILE, and watch it until it is over.

    The list is counted and frozen first; what is left out is shown with its reasons. From the account's threshold on a worker
    makes everyone's message once, you see what it found, and are asked to approve the exact count. A worker has to be running
    (postroom serve). Ctrl-C leaves the job as it is. Where there is no terminal to ask in, the job waits for its approval.

    Subject and bodies are Liquid templates (docs/templates.md). Every column is a merge field: `{{ city }}`, or by any name,
    `{{ fields["First name"] }}`.

    Example:

    `postroom send members.csv --from "The Club <news@club.example>" --subject "News for {{ name }}" --html news.html`

    Exit status: 0 only when the job completed and not too many failed; 1 when it did not, waits for approval, or more failed than
    --fail-above says; 130 after Ctrl-C.
    """
    name, address = _named_address(sender)
    content = Content(
        subject=subject, preheader=preheader, html=_body(html, "html"), markdown=_body(markdown, "markdown"),
        mjml=_body(mjml, "mjml"), text=_body(text, "text"), from_address=address,
        from_name=name if from_name is None else from_name, reply_to=reply_to,
        inline_css=inline_css, headers=tuple(map(own_header, header or ())))
    files = tuple((path.name, _octets(path)) for path in attach or ())

    async def make(postroom: Postroom) -> tuple[Actor, JobReport, Preflight, list[Exclusion]]:
        actor = await acting_in(postroom, account)
        submission = Submission(
            actor, content, duplicates=duplicates.value, unusable_addresses=unusable_addresses.value,
            gateway=gateway, field_policy=field_policy.value, files=files,
            not_before=aware(not_before))
        choices = Choices(email_column, opted_out_rows.value)
        with opened_list(file, encoding=encoding, choices=choices) as rows, bounds_of(rows) as postroom.deployment.bounded:
            made = await submit(postroom.pool, postroom.deployment, submission, rows)
        return (actor, await report.report(postroom.pool, actor, made.id),
                await report.preflight_of(postroom.pool, actor, made.id),
                await report.exclusion_page(postroom.pool, actor, made.id, limit=EXCLUSIONS_SHOWN))

    actor, told, found, exclusions = with_postroom(make)
    job_id = told.job.id
    err().print(f"Job {job_id}: {counted(told.job.recipient_count, 'recipient')}.", style="bold")
    print_remarks(err(), found)
    print_exclusions(err(), told, exclusions)
    if told.job.status is not Status.PENDING_APPROVAL:  # else they are shown where it is approved
        print_findings(err(), found)
    try:
        if told.job.status is Status.PENDING_APPROVAL and not _pass_the_gate(actor, told, approve_it, can_ask=file != STDIN):
            _end(with_postroom(lambda postroom: report.report(postroom.pool, actor, job_id)), fail_above, as_json=as_json)
        told = with_postroom(lambda postroom: watch_to_the_end(postroom, actor, job_id))
    except Interrupted:
        err().print(f"\nNot watching any longer. Job {job_id} goes on without this command.\n"
                    f"Look at it: postroom jobs show {job_id}. Stop it: postroom jobs cancel {job_id}.")
        raise typer.Exit(130) from None
    _end(told, fail_above, as_json=as_json)


def _pass_the_gate(actor: Actor, told: JobReport, approve_it: bool, *, can_ask: bool) -> bool:
    """Whether it was approved. Outside of a terminal nobody can be asked, and the job waits."""
    job = told.job
    if not approve_it and not (can_ask and sys.stdin.isatty()):
        err().print(f"Job {job.id} waits for approval. Approve it: postroom jobs approve {job.id}")
        return False
    found = with_postroom(lambda postroom: watch_the_check(postroom, actor, job.id)).preflight
    if found is not None:  # otherwise somebody else has decided meanwhile, and the approval says what
        print_findings(err(), found)
        if found.refusing:
            err().print(f"\nJob {job.id} cannot be approved as it is: correct the message or the list, and send again. "
                        f"Take this one away: postroom jobs cancel {job.id}", soft_wrap=True)
            return False

    async def approve_what_was_shown(postroom: Postroom) -> None:
        await approve(postroom.pool, actor, job.id, digest=job.digest)

    async def cancel(postroom: Postroom) -> None:
        await finish.cancel(postroom.pool, actor, job.id, note="Not approved at the gate.")

    if not approve_it:
        err().print(f"\nNothing is sent yet. Type {job.recipient_count} to approve sending to exactly "
                    f"{counted(job.recipient_count, 'recipient')}, c to cancel the job, or anything else to decide "
                    "later.", soft_wrap=True)
        try:
            answer = str(typer.prompt("Approve", default="later", err=True)).strip().replace(",", "")
        except typer.Abort:  # Ctrl-C or the end of the input
            answer = "later"
        if answer.lower() in ("c", "cancel"):
            with_postroom(cancel)
            return False
        if answer != str(job.recipient_count):
            err().print(f"Job {job.id} waits for approval. Approve it: postroom jobs approve {job.id}")
            return False
    with_postroom(approve_what_was_shown)
    return True


def _end(told: JobReport, fail_above: float, *, as_json: bool) -> None:
    job = told.job
    too_many_failed = job.failed == job.recipient_count or job.failed * 100 > fail_above * job.recipient_count
    if as_json:
        print_json(job_shown(told).model_dump(mode="json"))
    else:
        err().print(f"\nJob {job.id} is {job.status.label}. {plain(told.sentence)}", soft_wrap=True)
        print_accounting(err(), job)
    if too_many_failed:
        err().print(f"{job.failed:,} of {job.recipient_count:,} failed. Their reasons: postroom jobs recipients {job.id} "
                    "--state failed", soft_wrap=True)
    raise typer.Exit(1 if too_many_failed or job.status is not Status.COMPLETED else 0)


def _named_address(given: str) -> tuple[str, str]:
    """("Name", "address") of 'Name <address>' or of an address alone."""
    found = _NAMED_ADDRESS.fullmatch(given)
    if found is None:
        if "<" in given or ">" in given:
            raise InvalidInput(f'"{given}" is neither an address nor "Name <address>".', field="from")
        return "", given.strip()
    return (found["quoted"] if found["quoted"] is not None else found["name"]), found["address"].strip()


def _body(path: Path | None, field: str) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", field=field) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8. Save it as UTF-8.", field=field) from None


def _octets(path: Path) -> bytes:
    """What is in a file, and of one that is larger than any may be only enough to be refused for it."""
    try:
        with path.open("rb") as file:
            return file.read(FILES_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", field="attachments") from None
