"""`postroom preview` and `postroom test`: what a recipient of a job gets, and the same sent to oneself."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from postroom.doors.cli.jobs import JobId
from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    acting_on,
    out,
    plain,
    print_json,
    table,
    with_postroom,
)
from postroom.doors.previewed import preview_shown, tried_shown
from postroom.doors.wiring import Postroom
from postroom.errors import Conflict, NotFound
from postroom.flow.preview.look import Preview, preview
from postroom.flow.preview.try_out import Answer, Tried, send_test

Place = Annotated[int, typer.Option(min=1, metavar="N", help="The recipient, in the order of the list.")]


class Part(StrEnum):
    TEXT = "text"
    HTML = "html"
    SOURCE = "source"


def show(
    job_id: JobId,
    position: Place = 1,
    part: Annotated[Part | None, typer.Option("--as", help="Print only this: the text, the HTML, or every byte of it.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the message of one recipient of a job, as it goes out or went out. Nothing is sent.

    Example: `postroom preview 7 --position 12 --as source > message.eml`
    """

    async def act(postroom: Postroom) -> Preview:
        actor = await acting_on(postroom, account, job_id)
        return await preview(postroom.pool, postroom.deployment, actor, job_id, position)

    shown = with_postroom(act)
    if as_json:
        print_json(preview_shown(shown).model_dump(mode="json", by_alias=True))
    elif part is not None:
        _print_part(shown, part)
    else:
        _print_whole(shown)


def try_out(
    job_id: JobId,
    to: Annotated[list[str], typer.Option("--to", metavar="ADDRESS", help="Where to; up to ten, each with its own --to.")],
    position: Place = 1,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the message of one recipient of a job to addresses of your own, marked as a test. It is counted nowhere.

    Example: `postroom test 7 --to ann@club.example --to bob@club.example`

    Exit status: 0 only when the gateway accepted it for every address.
    """

    async def act(postroom: Postroom) -> list[Tried]:
        actor = await acting_on(postroom, account, job_id)
        return await send_test(postroom.pool, postroom.deployment, actor, job_id, position, to)

    tried = with_postroom(act)
    if as_json:
        print_json(tried_shown(position, tried).model_dump(mode="json"))
    else:
        answers = table("Address", "Answer", "Code#", "Words")
        for one in tried:
            answers.add_row(plain(one.address), one.answer.value, str(one.code or ""), plain(one.words))
        out().print(answers)
    if any(one.answer is not Answer.ACCEPTED for one in tried):
        raise typer.Exit(1)


def _print_part(shown: Preview, part: Part) -> None:
    """As it is, for a file or a pipe. Raises Conflict, NotFound."""
    if shown.reason is not None:
        raise Conflict(f"Recipient {shown.position:,} gets no message. {shown.reason}")
    text = {Part.TEXT: shown.text, Part.HTML: shown.html, Part.SOURCE: shown.source.decode()}[part]
    if text is None:
        raise NotFound(f"The message has no {part.value} part.")
    typer.echo(_readable(text) if sys.stdout.isatty() else text, nl=False)


def _print_whole(shown: Preview) -> None:
    console = out()
    for name, value in (("To", shown.address), ("From", shown.sender), ("Subject", shown.subject), *shown.headers):
        console.print(f"{name}: {plain(value)}", soft_wrap=True)
    for one in shown.files:
        console.print(f"Attachment: {plain(one.name)} ({one.content_type}, {one.size:,} octets)", soft_wrap=True)
    for note in (shown.reason and f"This recipient gets no message. {shown.reason}", shown.note,
                 *shown.remarks,
                 shown.unknown and f"This recipient has no field {', '.join(shown.unknown)}.",
                 shown.blank and f"Blank for this recipient: {', '.join(shown.blank)}."):
        if note:
            console.print(plain(note), style="bold", soft_wrap=True)
    if shown.text is not None:
        console.print(f"\n{_readable(shown.text)}", soft_wrap=True)


def _readable(text: str) -> str:
    """Lines for a terminal, which nothing in them may steer."""
    return "\n".join(plain(line) for line in text.replace("\r\n", "\n").expandtabs().split("\n"))
