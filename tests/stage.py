"""A small installation for tests: one database, a sandbox gateway on a socket, accounts, and workers, here or as processes.

While a stage stands, a connection of its own looks every 100 ms whether each job's numbers add up (`Sampling`). A story ends
with `stage.sides(...)`: the gateway's truth record, the ledger recounted row by row, and the job's numbers, compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg

from postroom.config import Settings
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status
from postroom.doors import wiring
from postroom.errors import Unavailable
from postroom.flow import accounts, approve, report
from postroom.flow.secrets import SecretBox
from postroom.flow.submit import Submission, submit
from postroom.gateway.sandbox import Sandbox, Script
from postroom.ledger.db import Pool
from postroom.ledger.jobs import JobOverview
from postroom.message.template import Content

CONTENT = Content(subject="News for {{ name }}", html="<p>Hello {{ name }}</p>", text="Hello {{ name }}\n",
                  from_address="news@club.example", from_name="The Club")
PATIENCE_S = 60.0
SAMPLE_EVERY_S = 0.1
SAMPLES_PER_RECOUNT = 5
SECRET_KEY = "test"

_MESSAGE_ID = re.compile(r"<(\d+)-[0-9a-f]+\.(\d+)@")

# What must never be seen, in any status, at any instant.
VIOLATIONS = """
    SELECT 'job ' || j.id || ' (' || j.status || '): ' || c.sent || ' sent, ' || c.failed || ' failed, '
           || c.skipped || ' skipped, ' || c.unconfirmed || ' unconfirmed, ' || c.unsent || ' unsent of ' || j.recipient_count
    FROM job j CROSS JOIN LATERAL (
        SELECT sum(sent) AS sent, sum(failed) AS failed, sum(skipped) AS skipped, sum(unconfirmed) AS unconfirmed,
               sum(unsent) AS unsent, bool_or(window_open) AS in_hand
        FROM chunk WHERE account_id = j.account_id AND job_id = j.id) c
    WHERE c.sent + c.failed + c.skipped + c.unconfirmed + c.unsent IS DISTINCT FROM j.recipient_count
       OR (j.status = 'completed' AND (c.unsent <> 0 OR c.in_hand))
       OR (j.status IN ('pending_approval', 'queued') AND c.sent + c.unconfirmed > 0)
    UNION ALL
    SELECT 'account ' || account_id || ' has ' || count(*) || ' jobs that are sending'
    FROM job WHERE status = 'sending' GROUP BY account_id HAVING count(*) > 1
"""

# The counters against the rows that they count, of one instant: a recipient is what its last attempt's best evidence says.
MISCOUNTS = """
    WITH latest AS (
        SELECT DISTINCT ON (account_id, job_id, position) job_id, kind FROM outcome
        ORDER BY account_id, job_id, position, attempt_no DESC, evidence DESC
    ), recounted AS (
        SELECT job_id, count(*) FILTER (WHERE kind = 'sent') AS sent, count(*) FILTER (WHERE kind = 'failed') AS failed,
               count(*) FILTER (WHERE kind = 'skipped') AS skipped, count(*) FILTER (WHERE kind = 'unconfirmed') AS unconfirmed
        FROM latest GROUP BY job_id
    ), counted AS (
        SELECT job_id, sum(sent) AS sent, sum(failed) AS failed, sum(skipped) AS skipped, sum(unconfirmed) AS unconfirmed
        FROM chunk GROUP BY job_id
    )
    SELECT 'job ' || c.job_id || ' counts ' || c::text || ', but its outcomes are ' || coalesce(r::text, 'none')
    FROM counted c LEFT JOIN recounted r USING (job_id)
    WHERE (c.sent, c.failed, c.skipped, c.unconfirmed) IS DISTINCT FROM
          (coalesce(r.sent, 0), coalesce(r.failed, 0), coalesce(r.skipped, 0), coalesce(r.unconfirmed, 0))
"""

LATEST_OUTCOMES = """
    SELECT DISTINCT ON (position) position, kind::text, attempt_no, evidence::text, code, reply FROM outcome
    WHERE account_id = %s AND job_id = %s ORDER BY position, attempt_no DESC, evidence DESC
"""

OPEN_WINDOWS = """
    SELECT unnest(w.positions) FROM chunk c JOIN hand_off_window w USING (account_id, job_id, chunk_no, window_no)
    WHERE c.account_id = %s AND c.job_id = %s AND c.window_open
"""


def rows(count: int, start: int = 1) -> list[IncomingRow]:
    """Rows 2, 3, ... with different addresses."""
    return [IncomingRow(n + 1, f"person{n}@list.example", {"name": f"Person {n}"}) for n in range(start, start + count)]


class Told(NamedTuple):
    """What the ledger says last of one recipient."""

    kind: str
    attempt_no: int
    evidence: str
    code: int | None
    reply: str | None


@dataclass(frozen=True)
class Sides:
    """The three sides of a job, by position: `taken` is how often the gateway accepted it, `told` the ledger's last word."""

    numbers: JobOverview
    told: dict[int, Told]
    taken: Counter[int]

    def positions(self, kind: str) -> set[int]:
        return {position for position, told in self.told.items() if told.kind == kind}

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """Sent, failed, skipped, unconfirmed, unsent."""
        one = self.numbers
        return one.sent, one.failed, one.skipped, one.unconfirmed, one.unsent


@dataclass
class Stage:
    """What a story is told with."""

    pool: Pool
    url: str
    sandbox: Sandbox

    # -- an installation and its jobs

    async def account(self, name: str = "Club", *, threshold: int = 100, connections: int = 4, port: int | None = None,
                      login: tuple[str, str] | None = None) -> int:
        account = await accounts.create_account(self.pool, name, approval_threshold=threshold)
        await self.gateway(account.id, connections=connections, port=port, login=login)
        return account.id

    async def gateway(self, account_id: int, name: str = "main", *, connections: int = 4, port: int | None = None,
                      login: tuple[str, str] | None = None) -> None:
        username, password = login or (None, None)
        await accounts.create_gateway(
            self.pool, SecretBox(SECRET_KEY), account_id, name=name, host="127.0.0.1", security="none",
            port=port or self.sandbox.port, connections=connections, username=username, password=password)

    async def submit(self, account_id: int, list_rows: Iterable[IncomingRow] | int, **options: Any) -> JobOverview:
        content = options.pop("content", CONTENT)
        return await submit(self.pool, Submission(account_id, "tester", content, **options),
                            rows(list_rows) if isinstance(list_rows, int) else list_rows)

    async def started(self, account_id: int, list_rows: Iterable[IncomingRow] | int, **options: Any) -> JobOverview:
        """A job that is past its gate."""
        job = await self.submit(account_id, list_rows, **options)
        if job.status is not Status.PENDING_APPROVAL:
            return job
        return await approve.approve(self.pool, account_id, job.id, by="boss", digest=job.digest)

    # -- workers

    def settings(self, **changes: Any) -> Settings:
        return Settings(database_url=self.url, secret_key=SECRET_KEY, unsafe_database=True, **{
            "concurrency": 8, "lease_s": 3, "retry_base_s": 0.05, "helo_name": "worker.example", **changes})

    @contextlib.asynccontextmanager
    async def worker(self, **changes: Any) -> AsyncIterator[asyncio.Event]:
        """A worker in this process, drained at the end."""
        stop = asyncio.Event()
        working = asyncio.create_task(wiring.work(self.settings(**changes), stop))
        try:
            yield stop
        finally:
            stop.set()
            await working

    @contextlib.asynccontextmanager
    async def worker_process(self, **changes: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker as a process of its own, to be treated badly; killed at the end if it is still there."""
        given = {"database_url": self.url, "secret_key": SECRET_KEY, "unsafe_database": "true", "concurrency": 8, "lease_s": 3,
                 "retry_base_s": 0.05, "helo_name": "worker.example", **changes}
        environment = os.environ | {f"POSTROOM_{name.upper()}": str(value) for name, value in given.items()}
        with tempfile.TemporaryFile() as words:
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "postroom.doors.worker", env=environment,
                                                           stdout=words, stderr=words)
            try:
                yield process
            except BaseException:
                words.seek(0)
                print(words.read().decode(errors="replace"))
                raise
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                    await process.wait()

    # -- waiting

    async def until(self, account_id: int, job_id: int, *statuses: Status) -> JobOverview:
        """Waits for one of the statuses with nothing left in hand."""
        async def there() -> JobOverview | None:
            view = (await report.report(self.pool, account_id, job_id)).job
            return view if view.status in statuses and view.in_hand == 0 else None
        return await eventually(there)

    async def over(self, account_id: int, job_id: int) -> JobOverview:
        return await self.until(account_id, job_id, Status.COMPLETED, Status.CANCELLED, Status.FAILED)

    async def until_accepted(self, count: int) -> None:
        """The middle of a send: the gateway has taken this many."""
        async def enough() -> bool:
            return self.sandbox.accepted >= count
        await eventually(enough, every_s=0.002)

    # -- looking

    async def query(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return await (await conn.execute(statement, values)).fetchall()

    async def open_windows(self, account_id: int, job_id: int) -> set[int]:
        """The positions that some worker has in hand now."""
        return {row[0] for row in await self.query(OPEN_WINDOWS, account_id, job_id)}

    def taken(self, job_id: int) -> Counter[int]:
        """What the gateway accepted of a job, by position, from its own record."""
        found = (_MESSAGE_ID.match(record.message_id) for record in self.sandbox.records)
        return Counter(int(one[2]) for one in found if one and int(one[1]) == job_id)

    async def sides(self, account_id: int, job_id: int) -> Sides:
        """The three sides. Fails unless they agree: everyone counted once, Sent is what the gateway has, and nobody twice."""
        view = (await report.report(self.pool, account_id, job_id)).job
        told = {row[0]: Told(*row[1:]) for row in await self.query(LATEST_OUTCOMES, account_id, job_id)}
        sides = Sides(view, told, self.taken(job_id))
        sent, unconfirmed = sides.positions("sent"), sides.positions("unconfirmed")
        assert [row[0] for row in await self.query(MISCOUNTS)] == []
        assert (len(sent), len(sides.positions("failed")), len(sides.positions("skipped")), len(unconfirmed)) == sides.counts[:4]
        assert sum(sides.counts) == view.recipient_count
        assert {position: times for position, times in sides.taken.items() if times > 1} == {}, "mailed twice"
        assert sent - sides.taken.keys() == set(), "called Sent, but the gateway never accepted it"
        assert sides.taken.keys() - sent - unconfirmed == set(), "accepted, but neither Sent nor Unconfirmed"
        assert [one for one in told.values() if one.kind in ("failed", "skipped", "unconfirmed") and not one.reply] == []
        return sides


async def eventually(look: Callable[[], Any], *, every_s: float = 0.05, patience_s: float = PATIENCE_S) -> Any:
    """What `look` finds, as soon as it finds something."""
    async with asyncio.timeout(patience_s):
        while not (found := await look()):  # noqa: ASYNC110 - it happens in another process, or in the database
            await asyncio.sleep(every_s)
        return found


class Sampling:
    """Looks at every job each 100 ms, on a connection of its own; `found` is what should not have been there."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.samples = 0
        self.found: list[str] = []

    async def run(self) -> None:
        while True:
            with contextlib.suppress(psycopg.OperationalError, Unavailable):  # a story may take the database away
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as conn:
                    while True:
                        await self.look(conn)
                        await asyncio.sleep(SAMPLE_EVERY_S)
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def look(self, conn: psycopg.AsyncConnection[Any]) -> None:
        self.found += [row[0] for row in await (await conn.execute(VIOLATIONS)).fetchall()]
        if self.samples % SAMPLES_PER_RECOUNT == 0:
            self.found += [row[0] for row in await (await conn.execute(MISCOUNTS)).fetchall()]
        self.samples += 1


@contextlib.asynccontextmanager
async def staged(pool: Pool, url: str, script: Script | None = None, **sandbox_options: Any) -> AsyncIterator[Stage]:
    sampling = Sampling(url)
    watching = asyncio.create_task(sampling.run())
    try:
        async with Sandbox(script=script or Script(), keep=True, **sandbox_options) as sandbox:
            yield Stage(pool, url, sandbox)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert sampling.found == [], sampling.found[:5]
    assert sampling.samples > 0
