"""How fast each gateway may be used, and by how many sessions at once: one row a gateway, shared by all workers and machines.

Every time is the database's. What a worker takes and then dies with comes back by itself: tokens flow on, slots run out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from psycopg.rows import class_row
from psycopg.types.numeric import Int4, Int8

from postroom.domain.pace import (
    GROWTH_PER_S,
    SLOWED_EVERY_S,
    SLOWED_FOR_S,
    SLOWED_FROM_MIN_PER_S,
    SLOWED_TO,
    SPEED_MIN_PER_S,
)
from postroom.errors import NotFound
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)

GROWTH = {"growth_per_s": GROWTH_PER_S, "slowed_for_s": SLOWED_FOR_S}
SLOWING = {**GROWTH, "slowed_to": SLOWED_TO, "every_s": SLOWED_EVERY_S, "from_min_per_s": SLOWED_FROM_MIN_PER_S,
           "min_per_s": SPEED_MIN_PER_S}


@dataclass(frozen=True, slots=True)
class Permits:
    """Messages that may be handed off now. With none: what holds them back, and how long until it is worth asking again.

    `quota` is today's, where there is one; `warming_up` says that it is the warm-up's.
    """

    granted: int
    wait_s: float = 0.0
    held_by: Literal["rate", "quota"] | None = None
    quota: int | None = None
    warming_up: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_s` is the rate in force, `because` what the gateway said when it was slowed; None: no limit, not slowed."""

    per_s: float | None
    because: str | None
    quota: int | None
    taken_today: int

    @property
    def is_limited(self) -> bool:
        return self.per_s is not None or self.quota is not None


class Slot(NamedTuple):
    """The right to one connection. `messages_max` on it, where the gateway has such a limit."""

    no: int
    messages_max: int | None


async def look(conn: Connection, gateway_id: int) -> Pace:
    """Raises NotFound."""
    async with conn.cursor(row_factory=class_row(Pace)) as cursor:
        await cursor.execute(SQL.look, {"gateway_id": Int8(gateway_id), **GROWTH})
        if (pace := await cursor.fetchone()) is None:
            raise NotFound("There is no such gateway.")
        return pace


async def take_permits(conn: Connection, gateway_id: int, wanted: int) -> Permits:
    """At most `wanted`, and what was taken counts for the day until it is given back."""
    async with conn.cursor(row_factory=class_row(Permits)) as cursor:
        while True:
            await cursor.execute(SQL.take_permits, {"gateway_id": Int8(gateway_id), "wanted": Int4(wanted), **GROWTH})
            if (permits := await cursor.fetchone()) is not None:
                return permits
            await _create(conn, gateway_id)


async def give_back(conn: Connection, gateway_id: int, n: int) -> None:
    """What was granted and not used."""
    await conn.execute(SQL.give_back, {"gateway_id": Int8(gateway_id), "n": Int4(n)})


async def slow_down(conn: Connection, gateway_id: int, because: str, measured_per_s: float) -> float | None:
    """Messages a second from now on; None where it was slowed within the last second. `measured_per_s` is this worker's."""
    await _create(conn, gateway_id)
    row = await (await conn.execute(SQL.slow_down, {
        "gateway_id": Int8(gateway_id), "because": because, "measured_per_s": float(measured_per_s), **SLOWING})).fetchone()
    return None if row is None else row[0]


async def take_slot(conn: Connection, gateway_id: int, owner: str, lease_s: float) -> Slot | None:
    """The right to open one connection, for `lease_s` from each renewal on; None when all are taken."""
    await _create(conn, gateway_id)
    async with conn.transaction():
        await conn.execute(SQL.hold_pace, {"gateway_id": gateway_id})
        row = await (await conn.execute(SQL.take_slot, {
            "gateway_id": gateway_id, "owner": owner, "lease_s": lease_s})).fetchone()
    return None if row is None else Slot(*row)


async def free_slot(conn: Connection, gateway_id: int, owner: str, slot: int) -> None:
    await conn.execute(SQL.free_slot, {"gateway_id": gateway_id, "owner": owner, "slot": slot})


async def free_slots_of(conn: Connection, owner: str) -> None:
    await conn.execute(SQL.free_slots_of, {"owner": owner})


async def renew_slots(conn: Connection, owner: str, slots: Collection[tuple[int, int]], lease_s: float) -> None:
    """`slots` are (gateway, number) of the sessions that the worker has."""
    await conn.execute(SQL.renew_slots, {
        "owner": owner, "gateways": [gateway_id for gateway_id, _ in slots], "slots": [no for _, no in slots],
        "lease_s": lease_s})


async def fewer_connections(conn: Connection, gateway_id: int) -> int | None:
    """The gateway refused a further connection, for which the caller holds a slot still: how many it takes from now on. None
    when there is no other: then it does not refuse because of their number."""
    async with conn.transaction():
        await conn.execute(SQL.hold_pace, {"gateway_id": gateway_id})
        row = await (await conn.execute(SQL.fewer_connections, {"gateway_id": gateway_id})).fetchone()
    return None if row is None else row[0]


async def _create(conn: Connection, gateway_id: int) -> None:
    await conn.execute(SQL.create_pace, {"gateway_id": Int8(gateway_id)})
