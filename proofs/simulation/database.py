"""The database as a worker meets it: a pool whose connections run the ledger's statements on the tables, after a while, or never.

One transaction at a time, as if each locked everything: what two of them may do to each other is shown on real servers. What can
happen to one statement happens here: lost before its commit, lost after it, its process frozen in the middle of a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

import psycopg
from psycopg.pq import ExecStatus

from postroom.errors import Unavailable
from proofs.simulation.ledger import STATEMENTS
from proofs.simulation.ledger.tables import Tables
from proofs.simulation.time import Loop, Process, current

LATENCY_S = (0.0003, 0.003)
IDLE_IN_TRANSACTION_S_MAX = 5.0


class Database:
    """`committed` is called after each commit that may have changed something."""

    def __init__(self, loop: Loop, chance: random.Random, tables: Tables, committed: Callable[[], None]) -> None:
        self.loop, self.chance, self.tables, self.committed = loop, chance, tables, committed
        self.step_s = 0.0         # of its clock against the world's
        self.away_until = 0.0
        self.loses = 0.0          # the share of statements whose connection is lost
        self.is_over = False      # the simulation is: whoever comes is sent home
        self.holder: Connection | None = None
        self.waiting: deque[tuple[Connection, Callable[[], Any]]] = deque()
        self.open: dict[Connection, None] = {}

    def clock(self) -> float:
        return self.loop.now + self.step_s

    def go_away(self, seconds: float) -> None:
        """stop -m immediate, and back."""
        self.away_until = self.loop.now + seconds
        for connection in list(self.open):
            connection.hang_up()

    def forget(self, process: Process) -> None:
        """The process is dead: the server hears it by its sockets. A statement on its way may have come through by then."""
        for connection in [one for one in self.open if one.process is process]:
            connection.hang_up()

    def hand_on(self) -> None:
        """The lock on everything is free: the next one has it."""
        self.holder = None
        while self.waiting and self.holder is None:
            connection, run = self.waiting.popleft()
            if connection.is_open:
                run()


class Pool:
    """Of one process."""

    conninfo = "simulated"

    def __init__(self, database: Database, process: Process | None) -> None:
        self._database, self._process = database, process

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - as the real one
        database = self._database
        if database.is_over:
            raise asyncio.CancelledError
        if database.loop.now < database.away_until:
            await asyncio.sleep(0.2)
            raise Unavailable("The database is away.")
        connection = Connection(database, self._process)
        database.open[connection] = None
        try:
            yield connection
        except psycopg.OperationalError as error:
            raise Unavailable(f"The database is gone: {error}") from error
        finally:
            database.open.pop(connection, None)


class Runs(Protocol):
    """What can run a statement."""

    async def run(self, statement: tuple[str, Callable[..., Sequence[Any]]], given: dict[str, Any]) -> Sequence[Any]: ...


class Cursor:
    def __init__(self, connection: Runs, row_factory: Callable[[Any], Callable[[Any], Any]] | None = None) -> None:
        self._connection, self._row_factory = connection, row_factory
        self._rows: list[Any] = []
        self.rowcount = 0

    async def __aenter__(self) -> Cursor:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def execute(self, query: str, given: dict[str, Any] | None = None, **options: object) -> Cursor:
        rows = await self._connection.run(STATEMENTS[query] if query in STATEMENTS else _unknown(query), given or {})
        self.rowcount, self._rows = len(rows), list(rows)
        if self._row_factory is not None and rows:
            names = list(rows[0])
            result = SimpleNamespace(nfields=len(names), status=ExecStatus.TUPLES_OK, fname=lambda i: names[i].encode())
            make = self._row_factory(SimpleNamespace(pgresult=result, _encoding="utf-8"))
            self._rows = [make(list(row.values())) for row in rows]
        return self

    async def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    async def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows


def _unknown(query: str) -> Any:
    raise AssertionError(f"this statement has no model: {query[:200]}")


class Connection:
    def __init__(self, database: Database, process: Process | None) -> None:
        self._database, self.process = database, process
        self.is_open = True
        self._in_transaction = False
        self._savepoint: Tables | None = None
        self._answer: asyncio.Future[Any] | None = None

    def cursor(self, row_factory: Any = None) -> Cursor:
        return Cursor(self, row_factory)

    async def execute(self, query: str, given: dict[str, Any] | None = None, **options: object) -> Cursor:
        return await Cursor(self).execute(query, given)

    async def run(self, statement: tuple[str, Callable[..., Sequence[Any]]], given: dict[str, Any]) -> Sequence[Any]:
        """One statement: there, done, and back."""
        name, act = statement
        rows: Sequence[Any] = await self._round_trip(lambda: act(self._database.tables, self._database.clock(), given), name)
        return rows

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        if self._in_transaction:
            yield  # a savepoint: whatever goes wrong in it ends the whole in our code
            return
        self._in_transaction = True
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        else:
            if self._savepoint is not None or not self.is_open:
                await self._round_trip(self._commit, "commit")
        finally:
            self._in_transaction = False

    # -- the server's side

    def hang_up(self) -> None:
        """The connection is gone, and the server knows."""
        self.is_open = False
        self._database.open.pop(self, None)
        self._roll_back()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(psycopg.OperationalError("the connection was lost"))

    def _roll_back(self) -> None:
        if self._savepoint is not None:
            self._database.tables, self._savepoint = self._savepoint, None
            self._database.hand_on()

    def _commit(self) -> Sequence[Any]:
        self._savepoint = None
        self._database.committed()
        return []

    async def _round_trip(self, act: Callable[[], Any], name: str) -> Any:
        database = self._database
        process = current()
        if database.is_over:
            raise asyncio.CancelledError
        answer: asyncio.Future[Any] = database.loop.create_future()
        if process is not None and not process.step():
            return await answer  # it is dead, and never comes back
        if not self.is_open:
            raise psycopg.OperationalError("the connection is closed")
        self._answer = answer
        database.loop.after(database.chance.uniform(*LATENCY_S), self._arrive, act, name, answer)
        return await answer

    def _arrive(self, act: Callable[[], Any], name: str, answer: asyncio.Future[Any]) -> None:
        database = self._database
        if not self.is_open:
            return
        if database.loses and database.chance.random() < database.loses:
            if database.chance.random() < 0.5:
                self.hang_up()
                return
            database.loop.after(0, self.hang_up)  # it is done, and the answer is lost
        def run() -> None:
            self._do(act, answer)

        if database.holder is None or database.holder is self:
            run()
        else:
            database.waiting.append((self, run))

    def _do(self, act: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        database = self._database
        if self._in_transaction and self._savepoint is None:
            self._savepoint, database.holder = database.tables.copy(), self
        held = self._savepoint is not None
        try:
            result = act()
        except Exception as error:  # a statement alone that is refused has broken a promise: that run is over
            self._roll_back()
            self._reply(answer, error)
            return
        if held and self._savepoint is None:
            database.hand_on()  # that was the commit
        elif not held:
            database.committed()
        self._reply(answer, result)

    def _reply(self, answer: asyncio.Future[Any], result: Any) -> None:
        def arrive() -> None:
            if answer.done():
                return
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        self._database.loop.after(self._database.chance.uniform(*LATENCY_S), arrive)

    @property
    def is_held(self) -> bool:
        """Whether it stands in the middle of a transaction."""
        return self._savepoint is not None
