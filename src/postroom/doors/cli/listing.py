"""A recipient list from a file or from standard input, read once, with a bar by bytes."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Generator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from postroom.bounded.processes import IN_THREAD, Processes, Runs
from postroom.domain.table import AS_FOUND, Choices
from postroom.doors.cli.terminal import err
from postroom.errors import InvalidInput
from postroom.flow.audience.list_file import ListFile

STDIN = "-"
NDJSON_SUFFIXES = (".ndjson", ".jsonl")
BAR_FROM_BYTES = 1_000_000  # smaller ones are read before a bar could be seen
BUFFER_BYTES = 256 * 1024


class OptedOut(StrEnum):
    EXCLUDE = "exclude"
    SEND = "send"


FileArgument = Annotated[str, typer.Argument(
    metavar="FILE", help="CSV or a workbook (xlsx, xls, ods) with a row of headings, a text of addresses, an .ndjson file, or - "
                         "for standard input.")]
EncodingOption = Annotated[str, typer.Option(
    help="The encoding of a CSV file that is not UTF-8 and does not say which it is, such as cp1252.")]
EmailColumnOption = Annotated[str | None, typer.Option(
    metavar="HEADING", help="The column of the addresses, where it is not found by itself.")]
OptedOutOption = Annotated[OptedOut, typer.Option(
    help="Rows whose own column says unsubscribed, bounced or cleaned: leave them out, or take them all the same.")]


@contextlib.contextmanager
def opened_list(file: str, *, encoding: str = "utf-8", choices: Choices = AS_FOUND) -> Generator[ListFile]:
    """The list, within the block. Raises InvalidInput where the file cannot be opened; the rows raise Unreadable."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(_spooled_stdin() if file == STDIN else _opened(file))
        size = raw.seek(0, io.SEEK_END)
        is_ndjson = file != STDIN and Path(file).suffix.lower() in NDJSON_SUFFIXES
        if is_ndjson and choices.email_column is not None:
            raise InvalidInput("--email-column chooses a column of a table, and NDJSON is none.", field="email_column")
        listed = ListFile(raw, "ndjson" if is_ndjson else "table", encoding, choices)
        if size >= BAR_FROM_BYTES and not listed.is_workbook:
            columns = (TextColumn("Reading the list"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            console = err()
            bar = stack.enter_context(Progress(*columns, console=console, transient=True, disable=not console.is_terminal))
            listed = replace(listed, file=io.BufferedReader(_Counted(raw, bar, size), BUFFER_BYTES))
        yield listed


@contextlib.contextmanager
def bounds_of(rows: ListFile) -> Generator[Runs]:
    """Where a list of one's own is read: a workbook in a bounded process, because a damaged one may unpack to anything."""
    if not rows.is_workbook:
        yield IN_THREAD
        return
    processes = Processes(1)
    try:
        yield processes
    finally:
        processes.close()


def _opened(file: str) -> BinaryIO:
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.", field="file") from None


def _spooled_stdin() -> BinaryIO:
    """A list is looked at before it is read, and a pipe can be read only once."""
    if sys.stdin.isatty():
        raise InvalidInput("Standard input is the terminal. Pipe the CSV into it: ... | postroom send -", field="file")
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(sys.stdin.buffer, spool)
    return spool


class _Counted(io.RawIOBase):
    """Moves the bar as far as the file has been read."""

    def __init__(self, raw: BinaryIO, bar: Progress, size: int) -> None:
        self._raw, self._bar = raw, bar
        self._task = bar.add_task("", total=size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        octets = self._raw.read(len(buffer))
        buffer[: len(octets)] = octets
        self._bar.update(self._task, completed=self._raw.tell())
        return len(octets)
