"""A recipient list from a file or from standard input, read once, with a bar by bytes."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from postroom.domain.audience import IncomingRow, read_csv, read_ndjson
from postroom.doors.cli.terminal import err
from postroom.errors import InvalidInput

STDIN = "-"
NDJSON_SUFFIXES = (".ndjson", ".jsonl")
BAR_FROM_BYTES = 1_000_000  # smaller ones are read before a bar could be seen
BUFFER_BYTES = 256 * 1024

ListFile = Annotated[str, typer.Argument(
    metavar="FILE", help="A CSV file with a header row and an email column, an .ndjson file, or - for CSV on standard input.")]


@contextlib.contextmanager
def opened_list(file: str, *, encoding: str) -> Generator[Iterator[IncomingRow]]:
    """The rows of the list. Raises InvalidInput where the file cannot be opened; the rows raise Unreadable."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(_spooled_stdin() if file == STDIN else _opened(file))
        size = raw.seek(0, io.SEEK_END)
        raw.seek(0)
        if size >= BAR_FROM_BYTES:
            columns = (TextColumn("Reading the list"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            console = err()
            bar = stack.enter_context(Progress(*columns, console=console, transient=True, disable=not console.is_terminal))
            raw = io.BufferedReader(_Counted(raw, bar, size), BUFFER_BYTES)
        if file != STDIN and Path(file).suffix.lower() in NDJSON_SUFFIXES:
            yield read_ndjson(raw)
        else:
            yield read_csv(raw, encoding=encoding)


def _opened(file: str) -> BinaryIO:
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.", field="file") from None


def _spooled_stdin() -> BinaryIO:
    """A list is read twice where its encoding is wrong, and a pipe can be read only once."""
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
