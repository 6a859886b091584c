"""The frozen list: from rows as they came to recipients, chunks and a digest, inside the transaction that makes the job.

    intake (COPY) -> finding (unusable, suppressed, duplicate) -> listing (positions) -> deal (chunks) -> recipient, chunk

The first four are temporary tables of the transaction: a list of a million rows never passes through this process twice,
and a freeze that does not commit leaves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from psycopg import AsyncCursor
from psycopg.rows import class_row

from postroom.domain.job import Status
from postroom.errors import NotFound
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)

PAGE_OCTETS = 2**20  # of what rows hold: a page that reaches it ends there


@dataclass(frozen=True, slots=True)
class Listing:
    """What the list came to; `excluded` by kind."""

    recipient_count: int
    excluded: dict[str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    row_no: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """A recipient with its latest state, and its job's; `kind` None: nothing has happened to it yet. `fields` is JSON."""

    position: int
    row_no: int
    address: str
    fields: str
    kind: str | None
    evidence: str | None
    attempt_no: int | None
    code: int | None
    enhanced_code: str | None
    reply: str | None
    at: datetime | None
    job_status: Status

    def __post_init__(self) -> None:
        object.__setattr__(self, "job_status", Status(self.job_status))

    @property
    def octets(self) -> int:
        """About what it takes to show it."""
        return len(self.address) + len(self.fields)


@dataclass(frozen=True, slots=True)
class Told:
    """One outcome of one recipient: what was said of an attempt, and on what evidence."""

    attempt_no: int
    kind: str
    evidence: str
    code: int | None
    enhanced_code: str | None
    reply: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Exclusion:
    row_no: int
    kind: str
    value: str
    reason: str

    @property
    def octets(self) -> int:
        """About what it takes to show it."""
        return len(self.value)


Row = TypeVar("Row", RecipientRow, Exclusion)


def goes_on(page: Sequence[Row], limit: int) -> bool:
    """Whether there may be more behind a page that was asked for with one row more than `limit`."""
    return len(page) > limit or sum(row.octets for row in page) > PAGE_OCTETS


async def _page(cursor: AsyncCursor[Row]) -> list[Row]:
    rows: list[Row] = []
    octets = 0
    async for row in cursor:
        rows.append(row)
        octets += row.octets
        if octets > PAGE_OCTETS:
            break
    return rows


async def create_intake(conn: Connection) -> str:
    """Makes the temporary table and returns the COPY statement that fills it."""
    await conn.execute(SQL.create_intake)
    copy: str = SQL.copy_intake
    return copy


async def intake_from_contacts(conn: Connection, account_id: int) -> None:
    await conn.execute(SQL.create_intake)
    await conn.execute(SQL.intake_from_contacts, {"account_id": account_id})


async def intake_of_list(conn: Connection, account_id: int, job_id: int) -> None:
    """Takes in the recipients of a job, whatever became of them."""
    await conn.execute(SQL.create_intake)
    await conn.execute(SQL.intake_of_list, {"account_id": account_id, "job_id": job_id})


async def intake_of_rest(conn: Connection, account_id: int, job_id: int, which: str, positions: Sequence[int] = ()) -> int:
    """Takes in whom a job has left, and says how many: its unsent, its failed, or else those at `positions`. Who is in a job that
    continues it already is not left."""
    job = {"account_id": account_id, "job_id": job_id}
    await conn.execute(SQL.create_continued, job)
    await conn.execute(SQL.analyze_continued)
    query = {"unsent": SQL.intake_of_unsent, "failed": SQL.intake_of_failed}.get(which, SQL.intake_at)
    await conn.execute(SQL.create_intake)
    return (await conn.execute(query, {**job, "positions": list(positions)})).rowcount


async def is_any_failed_worth_trying(conn: Connection, account_id: int, job_id: int) -> bool:
    """Whether a job that continues with those that this one failed could send to any of them."""
    row = await (await conn.execute(SQL.is_any_failed_worth_trying, {"account_id": account_id, "job_id": job_id})).fetchone()
    return bool(row and row[0])


async def draw_up(conn: Connection, account_id: int, *, duplicates: str, unusable_addresses: str) -> Listing:
    """Decides every row of the intake by the job's options."""
    options = {"account_id": account_id, "duplicates": duplicates, "unusable_addresses": unusable_addresses}
    await conn.execute(SQL.analyze_intake)
    await conn.execute(SQL.create_finding, options)
    await conn.execute(SQL.analyze_finding)
    await conn.execute(SQL.create_listing, options)
    row = await (await conn.execute(SQL.count_listing)).fetchone()
    assert row is not None
    excluded = await (await conn.execute(SQL.count_excluded)).fetchall()
    return Listing(row[0], dict(excluded))


async def some_findings(conn: Connection) -> list[Finding]:
    """The first few rows that were set apart, to say why nobody is left."""
    async with conn.cursor(row_factory=class_row(Finding)) as cursor:
        await cursor.execute(SQL.some_findings)
        return await cursor.fetchall()


async def deal(conn: Connection, chunk_size: int) -> bytes:
    """Deals the listing into chunks; returns the digest of the list."""
    await conn.execute(SQL.create_deal, {"chunk_size": chunk_size})
    row = await (await conn.execute(SQL.digest_of_list)).fetchone()
    assert row is not None
    return bytes(row[0])


async def freeze(conn: Connection, account_id: int, job_id: int) -> None:
    """Writes the list for good. From the commit on the database refuses any change of it."""
    job = {"account_id": account_id, "job_id": job_id}
    await conn.execute(SQL.freeze_recipients, job)
    await conn.execute(SQL.freeze_chunks, job)
    await conn.execute(SQL.freeze_exclusions, job)
    await conn.execute(SQL.book_at_the_freeze, job)


async def page_of_recipients(conn: Connection, account_id: int, job_id: int, *, recipient_class: str | None,
                             after: int, limit: int) -> list[RecipientRow]:
    """In the order of the list; `after` is the last position of the page before, 0 for the first page."""
    match recipient_class:
        case None:
            query = SQL.page_of_recipients
        case "sent":
            query = SQL.page_of_sent_recipients
        case "unsent":
            query = SQL.page_of_unsent_recipients
        case _:
            query = SQL.page_of_recipients_by_outcome
    async with conn.cursor(row_factory=class_row(RecipientRow)) as cursor:
        await cursor.execute(query, {"account_id": account_id, "job_id": job_id, "kind": recipient_class,
                                     "after": after, "limit": limit})
        return await _page(cursor)


async def page_at_address(conn: Connection, account_id: int, job_id: int, *, addresses: Sequence[str],
                          address_keys: Sequence[str], recipient_class: str | None, after: int, limit: int) -> list[RecipientRow]:
    """The same of those at one of these addresses; one that is unusable has the key ''."""
    async with conn.cursor(row_factory=class_row(RecipientRow)) as cursor:
        await cursor.execute(SQL.page_of_recipients_at_address, {
            "account_id": account_id, "job_id": job_id, "addresses": list(addresses),
            "address_keys": list(address_keys), "kind": recipient_class, "after": after, "limit": limit})
        return await _page(cursor)


async def page_of_exclusions(conn: Connection, account_id: int, job_id: int, *, after: int, limit: int) -> list[Exclusion]:
    """What was left out before the freeze, by row number."""
    async with conn.cursor(row_factory=class_row(Exclusion)) as cursor:
        await cursor.execute(SQL.page_of_exclusions, {"account_id": account_id, "job_id": job_id, "after": after, "limit": limit})
        return await _page(cursor)


async def outcomes_of_recipient(conn: Connection, account_id: int, job_id: int, position: int) -> tuple[str, list[Told]]:
    """(its address, all that became of it in the order of the attempts). Raises NotFound."""
    rows = await (await conn.execute(SQL.outcomes_of_recipient, {
        "account_id": account_id, "job_id": job_id, "position": position})).fetchall()
    if not rows:
        raise NotFound(f"There is no recipient {position} in job {job_id} of this account.")
    return rows[0][0], [Told(*row[1:]) for row in rows if row[1] is not None]
