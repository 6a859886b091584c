"""Compares what the gateway knows, what the ledger says, what journals still say, the events, and what the API tells.

Nothing here trusts a counter: outcomes are recounted row by row, and the gateway's record is the truth about who was mailed.
`Sampling` looks at the numbers of every job while they move, and recounts a part of them each time, on a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import psycopg
from psycopg.sql import SQL

from postroom.domain.job import Status
from postroom.domain.outcome import Kind, Outcome
from postroom.gateway.dead_journals import dead_journals
from postroom.ledger.database.db import Pool
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview
from postroom.tasks import end

SAMPLE_EVERY_S = 0.1
SAMPLES_PER_RECOUNT = 5
SHOWN = 5  # examples in a sentence
FIRST = (0, 0, -1)  # before every chunk
OPERATOR_INTERVENED = "57P"  # the class of SQLSTATEs in which a server says that it goes, or is not there yet

_MESSAGE_ID = re.compile(r"<(\d+)-[0-9a-f]+\.(\d+)@")

# What must never be seen, in any status, at any instant. That the five numbers of a chunk are its size is no question, since
# `unsent` is generated from the others: here the sizes must be those of the whole list, and `RECOUNT` asks whether the numbers
# are true.
VIOLATIONS = """
    SELECT 'job ' || j.id || ' (' || j.status || '): ' || c.sent || ' sent, ' || c.failed || ' failed, ' || c.skipped
           || ' skipped, ' || c.unconfirmed || ' unconfirmed, ' || c.unsent || ' unsent, in chunks of ' || c.n || ' together, of '
           || j.recipient_count
    FROM job j CROSS JOIN LATERAL (
        SELECT sum(n) AS n, sum(sent) AS sent, sum(failed) AS failed, sum(skipped) AS skipped, sum(unconfirmed) AS unconfirmed,
               sum(unsent) AS unsent, bool_or(window_open) AS in_hand
        FROM chunk WHERE account_id = j.account_id AND job_id = j.id) c
    WHERE c.n IS DISTINCT FROM j.recipient_count
       OR (j.status = 'completed' AND (c.unsent <> 0 OR c.in_hand))
       OR (j.status IN ('pending_approval', 'queued') AND c.sent + c.unconfirmed > 0)
    UNION ALL
    SELECT 'account ' || account_id || ' has ' || count(*) || ' jobs that are sending'
    FROM job WHERE status = 'sending' GROUP BY account_id HAVING count(*) > 1
"""

# The numbers of the next few chunks against the rows that they count, of one instant: each recipient of the list is exactly one
# of the five, and which one, the best evidence of its last attempt says. One chunk at least, and more while those before have
# less than 500 recipients together; with each its difference, if there is one. Lists and outcomes are read by their primary keys.
RECOUNT = SQL("""
    WITH following AS (
        SELECT account_id, job_id, chunk_no, first_position, n, sent, failed, skipped, unconfirmed, unsent FROM chunk
        WHERE {which} AND (account_id, job_id, chunk_no) > (%s, %s, %s)
        ORDER BY account_id, job_id, chunk_no LIMIT 20
    ), counted AS MATERIALIZED (
        SELECT *, sum(n) OVER (ORDER BY account_id, job_id, chunk_no) - n AS recipients_before FROM following
    )
    SELECT account_id, job_id, chunk_no, CASE WHEN (c.sent, c.failed, c.skipped, c.unconfirmed, c.unsent)
            IS DISTINCT FROM (found.sent, found.failed, found.skipped, found.unconfirmed, found.unsent)
        THEN 'chunk ' || chunk_no || ' of job ' || job_id || ' counts '
             || ROW(c.sent, c.failed, c.skipped, c.unconfirmed, c.unsent)::text || ', but its recipients are ' || found::text END
    FROM counted c CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE kind = 'sent') AS sent, count(*) FILTER (WHERE kind = 'failed') AS failed,
               count(*) FILTER (WHERE kind = 'skipped') AS skipped, count(*) FILTER (WHERE kind = 'unconfirmed') AS unconfirmed,
               count(*) FILTER (WHERE kind IS NULL OR kind IN ('refused', 'released')) AS unsent
        FROM recipient r LEFT JOIN LATERAL (
            SELECT kind FROM outcome o
            WHERE o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position
            ORDER BY attempt_no DESC, evidence DESC LIMIT 1) last ON true
        WHERE r.account_id = c.account_id AND r.job_id = c.job_id
          AND r.position BETWEEN c.first_position AND c.first_position + c.n - 1) found
    WHERE recipients_before < 500 ORDER BY account_id, job_id, chunk_no
""")

# The same of everything.
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

# What each word that is not of a message that was accepted rests on: the address, whether that attempt was ever intended, whether
# it was in doubt before, whether the address is on the account's list of suppressions, and what was booked at the freeze.
FOUNDATIONS = """
    WITH latest AS (
        SELECT DISTINCT ON (position) position, attempt_no, kind FROM outcome
        WHERE account_id = %(account_id)s AND job_id = %(job_id)s ORDER BY position, attempt_no DESC, evidence DESC
    ), intended AS (
        SELECT unnest(positions) AS position, unnest(attempts) AS attempt_no FROM hand_off_window
        WHERE account_id = %(account_id)s AND job_id = %(job_id)s
    )
    SELECT l.position, r.address,
           EXISTS (SELECT FROM intended i WHERE i.position = l.position AND i.attempt_no = l.attempt_no),
           EXISTS (SELECT FROM outcome o WHERE o.account_id = %(account_id)s AND o.job_id = %(job_id)s AND o.position = l.position
                   AND o.attempt_no = l.attempt_no AND o.kind = 'unconfirmed'),
           EXISTS (SELECT FROM suppression s WHERE s.account_id = %(account_id)s AND s.address_key = r.address_key), r.booked
    FROM latest l JOIN recipient r ON r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.position = l.position
    WHERE l.kind <> 'sent'
"""
ENDED = re.compile(r"(?:Temporary refusal: given up after \d+ attempts? in .*; the gateway's last answer: "
                   r"|Refused for good, and others were accepted since; the gateway's answer: )“(.*)”\.", re.DOTALL)
PUT_OFF = "Never handed off: given up after "  # by a job's patience, of whom nobody refused
FROM_JOURNAL = "(from the journal) "  # before the words that a dead worker left
ATTEMPTS_MAX = 10  # an account's, as it comes
BOOKED = {"duplicate": "skipped", "unusable": "failed"}  # at the freeze

EVENTS = "SELECT verb, from_status, to_status FROM job_event WHERE account_id = %s AND job_id = %s ORDER BY id"


class Told(NamedTuple):
    """What the ledger says last of one recipient."""

    kind: str
    attempt_no: int
    evidence: str
    code: int | None
    reply: str | None


class Event(NamedTuple):
    verb: str
    from_status: str | None
    to_status: str


class Foundation(NamedTuple):
    """What the ledger's last word of one recipient rests on. `refused` is what the gateway said each time when it refused the
    address, `booked` what was said of it at the freeze."""

    refused: Collection[str]
    intended: bool
    doubted: bool
    suppressed: bool
    booked: str | None = None


@dataclass(frozen=True)
class Sides:
    """The sides of a job, of one instant. By position: `taken` is how often the gateway accepted it, `told` the ledger's last
    word of it, `foundations` what that rests on, where it is not Sent and the gateway's refusals are known."""

    numbers: JobOverview
    told: Mapping[int, Told]
    taken: Counter[int]
    events: list[Event]
    miscounts: list[str]
    foundations: Mapping[int, Foundation] = field(default_factory=dict)

    def positions(self, kind: str) -> set[int]:
        return {position for position, told in self.told.items() if told.kind == kind}

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """Sent, failed, skipped, unconfirmed, unsent."""
        one = self.numbers
        return one.sent, one.failed, one.skipped, one.unconfirmed, one.unsent

    @property
    def twice(self) -> set[int]:
        return {position for position, times in self.taken.items() if times > 1}

    @property
    def called_sent_but_not_accepted(self) -> set[int]:
        return self.positions("sent") - self.taken.keys()

    @property
    def accepted_but_not_told(self) -> set[int]:
        return self.taken.keys() - self.positions("sent") - self.positions("unconfirmed")

    @property
    def lost(self) -> set[int]:
        """Never accepted, and nobody is told that: only a job that was completed can lose somebody."""
        if self.numbers.status is not Status.COMPLETED:
            return set()
        ended = {position for position, told in self.told.items() if told.kind in ("sent", "failed", "skipped", "unconfirmed")}
        return set(range(1, self.numbers.recipient_count + 1)) - ended

    @property
    def without_a_reason(self) -> set[int]:
        return {position for position, told in self.told.items()
                if told.kind in ("failed", "skipped", "unconfirmed") and not told.reply}

    @property
    def unfounded(self) -> set[int]:
        """Whose last word rests on nothing that happened."""
        return {position for position, found in self.foundations.items() if not is_founded(self.told[position], found)}

    @property
    def figures(self) -> dict[str, int]:
        """What a verdict tells of them."""
        return {"accepted": self.taken.total(), "lost": len(self.lost), "twice": len(self.twice),
                "called sent but not accepted": len(self.called_sent_but_not_accepted),
                "accepted but not told": len(self.accepted_but_not_told), "unconfirmed": self.numbers.unconfirmed,
                "unconfirmed though accepted": len(self.positions("unconfirmed") & self.taken.keys()),
                "without a reason": len(self.without_a_reason)}

    def faults(self, unconfirmed_max: int | None = None, *, excused: Collection[int] = ()) -> list[str]:
        """A sentence for each promise that the sides break together. `excused` are positions that the ledger has lost sight of,
        and that are told elsewhere."""
        found = list(self.miscounts)
        found += _about(self.twice, "mailed twice")
        found += _about(self.called_sent_but_not_accepted, "called Sent, but the gateway never accepted it")
        found += _about(self.accepted_but_not_told - set(excused), "accepted, but neither Sent nor Unconfirmed")
        found += _about(self.lost, "lost: neither accepted nor told")
        found += _about(self.without_a_reason, "without a reason")
        found += _about(self.unfounded, "told something that never happened: refused by nobody, in doubt without an attempt")
        recounted = tuple(len(self.positions(kind)) for kind in ("sent", "failed", "skipped", "unconfirmed"))
        if recounted != self.counts[:4] or sum(self.counts) != self.numbers.recipient_count:
            found.append(f"The job tells {self.counts} of {self.numbers.recipient_count}, its outcomes are {recounted}.")
        if unconfirmed_max is not None and self.numbers.unconfirmed > unconfirmed_max:
            found.append(f"{self.numbers.unconfirmed:,} are unconfirmed, and at most {unconfirmed_max:,} may be.")
        return found + self._broken_events()

    def _broken_events(self) -> list[str]:
        """Each move once, each from where the one before it led, the last to where the job is."""
        moves = [event for event in self.events if event.from_status != event.to_status]  # a pause is no move
        led_to, came_from = [event.to_status for event in moves], [event.from_status for event in moves]
        if came_from[1:] != led_to[:-1] or len(set(led_to)) != len(led_to) or led_to[-1:] != [self.numbers.status]:
            return [f"The events do not tell the job's life to {self.numbers.status}: {self.events}"]
        return []


def is_founded(told: Told, found: Foundation, attempts_max: int = ATTEMPTS_MAX) -> bool:
    """A refusal was the gateway's, word for word, and one for now failed nobody but after all attempts, or after a doubt, when it
    was too late to be unsent again; whoever is in doubt, or went back to unsent, was in a window; whoever failed without a
    refusal was given up, by the gateway's last word or after attempts that it never heard of, or was in doubt for too long; a
    skipped one is not wanted."""
    if told.evidence == "reply":
        is_for_good = (told.code or 0) >= 500 or told.attempt_no >= attempts_max or found.doubted
        return _was_said(f"{told.code} {told.reply}", found) and (told.kind != "failed" or is_for_good)
    if told.evidence == "freeze":
        return BOOKED.get(found.booked or "") == told.kind
    if told.kind == "failed" and told.evidence == "worker":
        ended = ENDED.fullmatch(told.reply or "")
        was_put_off = (told.reply or "").startswith(PUT_OFF) and told.attempt_no > 1
        return _was_said(ended[1], found) if ended else found.doubted or was_put_off
    if told.kind == "skipped":
        return found.suppressed
    return told.evidence == "person" or found.intended


def _was_said(words: str, found: Foundation) -> bool:
    return words.replace(FROM_JOURNAL, "", 1).rstrip() in found.refused


def _about(positions: Collection[int], what: str) -> list[str]:
    if not positions:
        return []
    some = ", ".join(map(str, sorted(positions)[:SHOWN]))
    return [f"{len(positions):,} {what}: {some}{' …' if len(positions) > SHOWN else ''}"]


def taken_of(message_ids: Iterable[str], job_id: int) -> Counter[int]:
    """How often the gateway accepted each position of a job."""
    found = (_MESSAGE_ID.match(one) for one in message_ids)
    return Counter(int(one[2]) for one in found if one and int(one[1]) == job_id)


async def sides_of(pool: Pool, account_id: int, job_id: int, taken: Callable[[int], Counter[int]],
                   refused: Callable[[str], Collection[str]] | None = None) -> Sides:
    """The sides of a job now. `taken` and `refused` ask the gateway's record, after the ledger was read: so it is never the older
    of both. Without `refused` nobody asks what a word rests on."""
    async with pool.connection() as conn, conn.transaction():
        await jobs.read_one_instant(conn)  # a worker may be settling what it knows just now
        view = await jobs.view_job(conn, account_id, job_id)
        told = await (await conn.execute(LATEST_OUTCOMES, (account_id, job_id))).fetchall()
        events = await (await conn.execute(EVENTS, (account_id, job_id))).fetchall()
        miscounts = await (await conn.execute(MISCOUNTS)).fetchall()
        foundations = [] if refused is None else await (await conn.execute(FOUNDATIONS, {
            "account_id": account_id, "job_id": job_id})).fetchall()
    return Sides(view, {row[0]: Told(*row[1:]) for row in told}, taken(job_id), [Event(*row) for row in events],
                 [row[0] for row in miscounts],
                 {position: Foundation(refused(address), *rest) for position, address, *rest in foundations if refused})


def journal_faults(directory: Path, installation_id: bytes, sides: Sides) -> list[str]:
    """What journals that are left over say of the job and the ledger does not. To be asked when all their workers are gone."""
    contradicted = set()
    for dead in dead_journals(directory, installation_id):
        for key, attempts in dead.windows.items():
            if key.job_id != sides.numbers.id:
                continue
            for (position, attempt_no), outcome in attempts.items():
                told = sides.told.get(position)
                if told is None or told.attempt_no < attempt_no or (
                        outcome is not None and told.attempt_no == attempt_no and not _is_told(outcome, told)):
                    contradicted.add(position)
        dead.release()
    return _about(contradicted, "in a journal that is left over, and the ledger says otherwise")


def _is_told(outcome: Outcome, told: Told) -> bool:
    """Of a refusal for good it may turn out only after it was noted that it was about the recipient."""
    came_out_as_theirs = outcome.kind is Kind.REFUSED and told.kind == "failed" and told.code == outcome.code
    return told.kind == outcome.kind or came_out_as_theirs


def api_faults(answer: Mapping[str, Any], sides: Sides) -> list[str]:
    """What the API tells of the job, against the ledger."""
    told = tuple(answer[name] for name in ("sent", "failed", "skipped", "unconfirmed", "unsent"))
    if (answer["status"], told) != (sides.numbers.status, sides.counts):
        return [f"The API tells {answer['status']} {told}, and the ledger {sides.numbers.status} {sides.counts}."]
    return []


@dataclass
class Round:
    """Goes round the chunks, or those of a kind, and recounts a few of them each time."""

    which: SQL
    _at: tuple[int, int, int] = FIRST

    async def recounted(self, conn: psycopg.AsyncConnection[Any]) -> list[str | None]:
        """What is wrong with each of the next ones. None are left only where there are none."""
        counted = await self._after(conn, self._at) or await self._after(conn, FIRST)
        self._at = counted[-1][:3] if counted else FIRST
        return [difference for *_, difference in counted]

    async def _after(self, conn: psycopg.AsyncConnection[Any], at: tuple[int, int, int]) -> list[Any]:
        return await (await conn.execute(RECOUNT.format(which=self.which), at)).fetchall()


@dataclass
class Sampling:
    """Looks at every job each 100 ms, on a connection of its own; `found` is what should not have been there.

    Each look recounts a few chunks in turn, and a few of those that are in hand, whose numbers change. Each so many looks recount
    everything, which takes a while for a large job.
    """

    url: str
    samples_per_recount: int = SAMPLES_PER_RECOUNT
    samples: int = 0
    chunks_recounted: int = 0
    whole_recounts: int = 0
    found: list[str] = field(default_factory=list)
    _rounds: tuple[Round, ...] = field(default_factory=lambda: (Round(SQL("true")), Round(SQL("window_open"))))

    @property
    def figures(self) -> dict[str, int]:
        """What a verdict tells of it."""
        return {"samples": self.samples, "chunks recounted": self.chunks_recounted, "whole recounts": self.whole_recounts}

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Self]:
        """Looks until the end of the block, and at least once."""
        looking = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            await end(looking)
        if self.samples == 0 and not self.found:  # it was over before the first look
            async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
                await self.look(conn)

    async def _run(self) -> None:
        """To be cancelled. Where it ends by itself, that is found too: who does not look sees nothing wrong."""
        try:
            while True:
                await self._look_while_it_is_there()
                await asyncio.sleep(SAMPLE_EVERY_S)
        except Exception as error:
            self.found.insert(0, f"the sampling broke off: {type(error).__name__}: {error}")

    async def _look_while_it_is_there(self) -> None:
        """Until the database is taken away."""
        try:
            async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
                while True:
                    await self.look(conn)
                    await asyncio.sleep(SAMPLE_EVERY_S)
        except psycopg.OperationalError as error:
            if error.sqlstate is not None and not error.sqlstate.startswith(OPERATOR_INTERVENED):
                raise

    async def look(self, conn: psycopg.AsyncConnection[Any]) -> None:
        self.found += [row[0] for row in await (await conn.execute(VIOLATIONS)).fetchall()]
        for one in self._rounds:
            differences = await one.recounted(conn)
            self.chunks_recounted += len(differences)
            self.found += filter(None, differences)
        if self.samples % self.samples_per_recount == 0:
            self.found += [row[0] for row in await (await conn.execute(MISCOUNTS)).fetchall()]
            self.whole_recounts += 1
        self.samples += 1
