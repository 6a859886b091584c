"""From rows as they came to the database, by COPY: each address is judged on the way, none is repaired.

First the whole list is written to a file, as COPY takes it, by a process that has nothing else to do: so memory does not grow
with a list, nobody else waits for it, and the transaction that takes it in waits for the database alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from postroom.bounded.processes import Runs, Work
from postroom.bounded.spool import keep, spool
from postroom.domain.audience import IncomingRow, Remarks, Unreadable
from postroom.errors import InvalidInput
from postroom.flow.audience.list_file import ListFile
from postroom.ledger.database.db import Connection
from postroom.message.wire.address import AddressRefused, parse_address

LIST = Work("The list", cpu_s=60)  # the longest takes about ten
INTAKE_OCTETS_MAX = 4 * 2**30  # each row has its fields by name, so a small file with long headings may come to much
BLOCK_OCTETS = 256 * 1024

# What COPY's text format gives a meaning to; JSON has already escaped the control characters of the fields.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that was read through: a file as COPY takes it, and what is to be known of how it was read."""

    file: BinaryIO
    remarks: tuple[str, ...]


def reading(rows: Iterable[IncomingRow]) -> Work:
    """Going through a list: short where it is a small file."""
    return LIST.on(rows.file) if isinstance(rows, ListFile) else LIST


@contextlib.asynccontextmanager
async def read_through(bounded: Runs, account_id: int, rows: Iterable[IncomingRow]) -> AsyncIterator[Listed]:
    """The list, for as long as the block lasts. Raises InvalidInput with row and column where it cannot be read, Unavailable
    where there is no room for it."""
    async with spool() as file:
        remarks = await bounded.run(account_id, reading(rows), _write, rows, file)
        file.seek(0)
        yield Listed(file, remarks)


def rows_of(rows: Iterable[IncomingRow], remarks: Remarks) -> Iterator[IncomingRow]:
    """One by one, what is remarked on them on the way with them. Raises Unreadable."""
    return rows.read(remarks) if isinstance(rows, ListFile) else iter(rows)


def _write(rows: Iterable[IncomingRow], file: BinaryIO) -> tuple[str, ...]:
    """What is remarked on them."""
    octets = 0
    remarks = Remarks()
    try:
        for row in rows_of(rows, remarks):
            octets += keep(file, _line(row))
            if octets > INTAKE_OCTETS_MAX:
                raise Unreadable(f"The list comes to more than {INTAKE_OCTETS_MAX >> 30} GiB with its fields. Leave out columns "
                                 "that the message does not need, or split it into several sends.", row=row.row_no)
        keep(file, b"", whole=True)
        return remarks.told()
    except Unreadable as error:
        raise InvalidInput(str(error), row=error.row, column=error.column) from None


async def fill_intake(conn: Connection, copy_statement: str, listed: Listed) -> None:
    """Takes in a list that was read through."""
    async with conn.cursor() as cursor, cursor.copy(copy_statement) as copy:
        while block := listed.file.read(BLOCK_OCTETS):
            await copy.write(block)
            await asyncio.sleep(0)


def _line(row: IncomingRow) -> bytes:
    try:
        address = parse_address(row.address)
        problem = row.opted_out.translate(_ESCAPES) or "\\N"
        head = f"{row.row_no}\t{address.address}\t{address.key}\t{problem}\t"
    except AddressRefused as refused:
        raw = row.address.encode("utf-8", "replace").decode().translate(_ESCAPES)
        head = f"{row.row_no}\t{raw}\t\t{refused.reason.translate(_ESCAPES)}\t"  # no key: it may be too long for an index
    try:
        return head.encode() + msgspec.json.encode(row.fields).replace(b"\\", b"\\\\") + b"\n"
    except UnicodeEncodeError:
        raise Unreadable(f"Row {row.row_no} holds half a character (a lone surrogate).", row=row.row_no) from None
