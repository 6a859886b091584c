"""The database's clock, which may be set: by an administrator, by NTP after a cold start, by a fail-over to another machine.

Workers look at it every second. Time counts against a recipient, a tail or a gateway's patience only while somebody looked. A gap
between two looks, because the clock was set forward or because nobody was at work, counts against nobody; before it is noticed,
`trusted_now()` goes no further than a few seconds beyond the last look. When the clock was set back, whatever waits for a moment
would wait for that much longer: so nothing waits for longer than the longest wait there is.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from postroom.domain.pace import RETRY_DELAY_MAX_S
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)

NOTED_EVERY_S = 5.0
GAP = timedelta(seconds=15)  # as in trusted_now()
LONGEST_WAIT = timedelta(seconds=RETRY_DELAY_MAX_S)


async def look(conn: Connection) -> timedelta:
    """By how much the clock went on, or back, without anybody looking; 0 where it goes as it should."""
    async with conn.transaction():
        row = await (await conn.execute(SQL.look, {"every_s": NOTED_EVERY_S})).fetchone()
        if row is None:
            return timedelta()
        before: datetime = row[0]
        now: datetime = row[1]
        if now < before:
            await conn.execute(SQL.forget_gaps, {"now": now})
        elif now - before > GAP:
            await conn.execute(SQL.hold_chunks)
            for statement in (SQL.insert_gap, SQL.skip_in_retries, SQL.skip_in_conditions):
                await conn.execute(statement, {"since": before, "until": now})
        else:
            return timedelta()
    return now - before


async def bound(conn: Connection, *, lease_s: float) -> None:
    """Nothing waits for longer than the longest wait there is. `lease_s` is that of the worker that asks: leases
    are bounded by the longest of anybody at work."""
    await conn.execute(SQL.bound, {"lease": timedelta(seconds=lease_s), "longest": LONGEST_WAIT})


async def record(conn: Connection, reason: str) -> None:
    """In the trail of every active job."""
    await conn.execute(SQL.record, {"reason": reason})
