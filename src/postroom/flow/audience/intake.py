"""From rows as they came to the database, by COPY: each address is judged on the way, none is repaired.

The whole list passes through in blocks of a few hundred rows, so memory does not grow with it and other requests of the same
process get their turn between the blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice

import msgspec

from postroom.domain.audience import IncomingRow, Unreadable
from postroom.errors import InvalidInput
from postroom.ledger.database.db import Connection
from postroom.message.wire.address import AddressRefused, parse_address

ROWS_PER_BLOCK = 500

# What COPY's text format gives a meaning to; JSON has already escaped the control characters of the fields.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


async def fill_intake(conn: Connection, copy_statement: str, rows: Iterable[IncomingRow]) -> None:
    """Streams `rows` into the intake. Raises InvalidInput with row and column where the list cannot be read."""
    source = iter(rows)
    async with conn.cursor() as cursor, cursor.copy(copy_statement) as copy:
        while block := _block(source):
            await copy.write(block)
            await asyncio.sleep(0)


def _block(source: Iterable[IncomingRow]) -> bytes:
    try:
        return b"".join(_line(row) for row in islice(source, ROWS_PER_BLOCK))
    except Unreadable as error:
        raise InvalidInput(str(error), row=error.row, column=error.column) from None


def _line(row: IncomingRow) -> bytes:
    try:
        address = parse_address(row.address)
        head = f"{row.row_no}\t{address.address}\t{address.key}\t\\N\t"
    except AddressRefused as refused:
        raw = row.address.encode("utf-8", "replace").decode().translate(_ESCAPES)
        head = f"{row.row_no}\t{raw}\t\t{refused.reason.translate(_ESCAPES)}\t"  # no key: it may be too long for an index
    try:
        return head.encode() + msgspec.json.encode(row.fields).replace(b"\\", b"\\\\") + b"\n"
    except UnicodeEncodeError:
        raise Unreadable(f"Row {row.row_no} holds half a character (a lone surrogate).", row=row.row_no) from None
