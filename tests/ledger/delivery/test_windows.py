"""Claims, windows, outcomes and evidence: whatever happens in whatever order, the counters are what the outcome rows say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acting import acting
from desk import Desk
from postroom.domain.job import Status
from postroom.domain.outcome import Contradiction, Evidence, Kind, Outcome
from postroom.flow.audience import suppressions
from postroom.flow.job import finish
from postroom.flow.job.pause import pause, resume
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import Claim, DoubtfulWindow, InHand, LeaseLost, Window
from postroom.ledger.job import recipients
from postroom.ledger.job.jobs import JobOverview, hold_status, view_job

# What every recipient's state is, counted from the rows alone: the best evidence of its last attempt.
RECOUNT = """
    SELECT c.chunk_no, count(*) FILTER (WHERE s.kind = 'sent'), count(*) FILTER (WHERE s.kind = 'failed'),
           count(*) FILTER (WHERE s.kind = 'skipped'), count(*) FILTER (WHERE s.kind = 'unconfirmed'),
           count(*) FILTER (WHERE s.kind IS NULL OR s.kind IN ('refused', 'released'))
    FROM chunk c JOIN recipient r USING (account_id, job_id)
    LEFT JOIN LATERAL (SELECT kind FROM outcome o
                       WHERE (o.account_id, o.job_id, o.position) = (r.account_id, r.job_id, r.position)
                       ORDER BY attempt_no DESC, evidence DESC LIMIT 1) s ON true
    WHERE c.job_id = %s AND r.position BETWEEN c.first_position AND c.first_position + c.n - 1
    GROUP BY c.chunk_no ORDER BY c.chunk_no"""
COUNTERS = "SELECT chunk_no, sent, failed, skipped, unconfirmed, unsent FROM chunk WHERE job_id = %s ORDER BY chunk_no"
TABLES = ("job", "job_event", "recipient", "exclusion", "chunk", "hand_off_window", "outcome", "retry", "procrastinate_jobs")


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


def outcome(one: InHand, kind: Kind, evidence: Evidence = Evidence.REPLY, **more: object) -> Outcome:
    code = {Kind.SENT: 250, Kind.FAILED: 550, Kind.REFUSED: 450}.get(kind) if evidence is Evidence.REPLY else None
    more.setdefault("retry_in_s", 0.0 if kind in (Kind.REFUSED, Kind.RELEASED) else None)
    return Outcome(one.position, one.attempt_no, kind, evidence, code, **{"reply": "so it said", **more})


def outcomes(window: Window, kind: Kind, evidence: Evidence = Evidence.REPLY, **more: object) -> list[Outcome]:
    return [outcome(one, kind, evidence, **more) for one in window.recipients]


@dataclass
class Counter:
    """A worker's side of one job, without a gateway."""

    desk: Desk
    job: JobOverview

    async def claim(self, owner: str = "one", lease_s: float = 60, beat: int = 0) -> Claim | None:
        async with self.desk.pool.connection() as conn:
            return await windows.claim_chunk(conn, self.job.account_id, self.job.id, owner=owner, lease_s=lease_s, beat=beat)

    async def turn(self, claim: Claim, booked: Sequence[Outcome], size: int) -> Window | None:
        async with self.desk.pool.connection() as conn:
            return await windows.turn_window(conn, claim, booked, size)

    async def retries(self, claim: Claim, booked: Sequence[Outcome], size: int = 50) -> Window | None:
        async with self.desk.pool.connection() as conn:
            return await windows.turn_to_retries(conn, claim, booked, size)

    async def settle(self, claim: Claim, window: Window, booked: Sequence[Outcome]) -> bool:
        async with self.desk.pool.connection() as conn:
            return await windows.settle_window(conn, claim, window.window_no, booked)

    async def fence(self, owner: str = "one") -> None:
        """The worker is known to be dead."""
        async with self.desk.pool.connection() as conn:
            await windows.fence_owner(conn, owner)

    async def doubts(self, owner: str = "one", *held: tuple[Claim, Window]) -> list[DoubtfulWindow]:
        async with self.desk.pool.connection() as conn:
            return await windows.doubtful_windows(conn, owner, [
                (claim.account_id, claim.job_id, claim.chunk_no, window.window_no) for claim, window in held])

    async def decide(self, decision: str, position: int) -> None:
        """A person settles the doubt about one recipient's first attempt: sends again, or assumes that it was sent."""
        kind, counter = ("released", "unsent") if decision == "again" else ("sent", "sent")
        async with self.desk.pool.connection() as conn, conn.transaction():
            key = (self.job.account_id, self.job.id, position)
            await conn.execute("INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, reply) "
                               "VALUES (%s, %s, %s, 1, %s, 'person', 'so a person said')", (*key, kind))
            chunk = "job_id = %s AND %s BETWEEN first_position AND first_position + n - 1"
            if decision == "again":
                await conn.execute("INSERT INTO retry (account_id, job_id, chunk_no, position, attempt_no, refusals, not_before) "
                                   f"SELECT account_id, job_id, chunk_no, %s, 2, 0, now() FROM chunk WHERE {chunk}",
                                   (position, self.job.id, position))
            await conn.execute(f"UPDATE chunk SET unconfirmed = unconfirmed - 1, sent = sent + %s WHERE {chunk}",
                               (int(counter == "sent"), self.job.id, position))

    async def release(self, claim: Claim) -> None:
        async with self.desk.pool.connection() as conn:
            await windows.release_chunk(conn, claim)

    async def expire(self) -> None:
        """The lease of every chunk runs out."""
        async with self.desk.pool.connection() as conn:
            await conn.execute("UPDATE chunk SET lease_until = clock_timestamp() - interval '1 s' "
                               "WHERE job_id = %s AND lease_until IS NOT NULL", (self.job.id,))

    async def counts(self) -> tuple[int, int, int, int, int]:
        """(sent, failed, skipped, unconfirmed, unsent), compared with a recount from the rows."""
        counters, recount = await self.desk.query(COUNTERS, self.job.id), await self.desk.query(RECOUNT, self.job.id)
        assert counters == recount
        sums = [sum(column) for column in list(zip(*counters, strict=True))[1:]]
        assert sum(sums) == self.job.recipient_count
        return tuple(sums)

    async def written(self) -> list[int]:
        return [(await self.desk.query(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES]

    async def opened(self, size: int = 3) -> tuple[Claim, Window]:
        claim = await self.claim()
        assert claim is not None
        window = await self.turn(claim, [], size)
        assert window is not None
        return claim, window


async def counter(desk: Desk, count: int = 3, connections: int = 1) -> Counter:
    """A sending job. With one connection, up to 4 recipients are 1 to 4 chunks of one; with more recipients, 4 chunks."""
    account = await desk.account(threshold=10_000, connections=connections)
    return Counter(desk, await desk.submit(account, count))


async def one_chunk(desk: Desk, n: int = 6) -> Counter:
    """A sending job whose first chunk has `n` recipients."""
    return await counter(desk, n * 4)


# -- claims -------------------------------------------------------------------------------------------------------------


async def test_each_claim_takes_another_chunk_until_none_is_free(desk: Desk) -> None:
    at = await counter(desk, 4)
    claims = await asyncio.gather(*(at.claim(f"w{n}") for n in range(6)))
    assert sorted(claim.chunk_no for claim in claims if claim) == [0, 1, 2, 3]
    assert claims.count(None) == 2


async def test_a_chunk_whose_lease_ran_out_is_taken_over_with_a_new_epoch(desk: Desk) -> None:
    at = await counter(desk, 1)
    first = await at.claim("one")
    assert await at.claim("two") is None
    await at.expire()
    second = await at.claim("two")
    assert first is not None
    assert second is not None
    assert (first.epoch, second.epoch, second.owner) == (1, 2, "two")


async def test_an_open_window_of_a_vanished_worker_is_unconfirmed_and_never_sent_again(desk: Desk) -> None:
    at = await one_chunk(desk, 6)
    await at.opened(4)
    await at.expire()
    claim = await at.claim("two")
    assert claim is not None
    assert await at.counts() == (0, 0, 0, 4, 20)
    rest = await at.turn(claim, [], 50)
    assert rest is not None
    assert [one.position for one in rest.recipients] == [5, 6]
    assert await at.desk.query("SELECT DISTINCT kind::text, evidence::text, reply FROM outcome") == [
        ("unconfirmed", "lease_lost", "The worker that had it in hand went away.")]


@pytest.mark.parametrize("status", [Status.PENDING_APPROVAL, Status.QUEUED, Status.CANCELLED])
async def test_nothing_is_claimed_of_a_job_that_is_not_sending(desk: Desk, status: Status) -> None:
    account = await desk.account(threshold=1 if status is Status.PENDING_APPROVAL else 100)
    if status is Status.QUEUED:
        await desk.submit(account, 1)
    job = await desk.submit(account, 3)
    if status is Status.CANCELLED:
        await finish.cancel(desk.pool, acting(account, "me"), job.id)
    assert await Counter(desk, job).claim() is None
    async with desk.pool.connection() as conn:
        assert await hold_status(conn, account, job.id) is status


async def test_nothing_is_claimed_of_a_paused_job(desk: Desk) -> None:
    at = await counter(desk, 3)
    await desk.query("INSERT INTO job_condition (account_id, job_id, kind, reason, until) "
                     "VALUES (%s, %s, 'paused', 'Wait.', 'infinity') RETURNING 1", at.job.account_id, at.job.id)
    assert await at.claim() is None
    await desk.query("UPDATE job_condition SET kind = 'gateway' RETURNING 1")
    assert await at.claim(), "other conditions are for the sweeper"


async def test_while_the_gateway_is_probed_a_chunk_is_claimed_in_which_somebody_fresh_is_left_then_one_that_waits_longest(
        desk: Desk) -> None:
    at = await counter(desk, 4)
    await desk.query("INSERT INTO job_condition (account_id, job_id, kind, reason, until) "
                     "VALUES (%s, %s, 'gateway', 'Wait.', now()) RETURNING 1", at.job.account_id, at.job.id)
    claimed = []
    for _ in range(9):
        claim = await at.claim()
        assert claim is not None
        claimed.append(claim.chunk_no)
        window = await at.turn(claim, [], 1) or await at.retries(claim, [], 1)
        assert window is not None
        await at.turn(claim, outcomes(window, Kind.REFUSED), 0)
        await at.release(claim)
    assert claimed == [0, 1, 2, 3, 0, 1, 2, 3, 0]


async def test_whoever_went_back_untouched_comes_before_whoever_was_asked_however_often(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    claim, window = await at.opened(4)
    asked = []
    for _ in range(6):
        first, *others = window.recipients
        asked.append(first.position)
        booked = [outcome(first, Kind.REFUSED, retry_in_s=0.001),
                  *(outcome(one, Kind.RELEASED, Evidence.WORKER, retry_in_s=-one.due_for_s) for one in others)]
        await at.turn(claim, booked, 0)
        await asyncio.sleep(0.002)
        window = await at.retries(claim, [])
        assert window is not None
    assert asked == [1, 2, 3, 4, 1, 2]


async def test_what_one_met_alone_is_known_when_it_is_asked_again(desk: Desk) -> None:
    at = await one_chunk(desk, 1)
    claim, window = await at.opened(1)
    again = await at.retries(claim, outcomes(window, Kind.REFUSED, own=-7))
    assert again is not None
    assert [one.own for one in again.recipients] == [-7]


async def test_nothing_is_claimed_in_a_database_that_is_older_than_the_worker_knows(desk: Desk) -> None:
    at = await counter(desk, 3)
    await desk.query("UPDATE installation SET beat = 7 RETURNING 1")
    assert await at.claim(beat=8) is None
    assert await at.claim(beat=7)


async def test_a_claim_tells_which_window_was_the_last_and_follows(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    claim = await at.claim()
    assert claim is not None
    window = await at.turn(claim, [], 2)
    assert window is not None
    assert claim.window_no == window.window_no == 1
    again = await at.retries(claim, outcomes(window, Kind.RELEASED, Evidence.WORKER))
    assert again is not None
    assert claim.window_no == again.window_no == 2
    await at.turn(claim, outcomes(again, Kind.SENT), 0)
    await at.release(claim)
    taken = await at.claim("two")
    assert taken is not None
    assert (taken.chunk_no, taken.window_no) == (claim.chunk_no, 2)


# -- windows ------------------------------------------------------------------------------------------------------------


async def test_a_turn_books_counts_and_opens_in_one_statement(desk: Desk) -> None:
    at = await one_chunk(desk, 6)
    claim, window = await at.opened(2)
    assert (window.window_no, [one.position for one in window.recipients]) == (1, [1, 2])
    assert (await desk.query("SELECT in_hand FROM job_overview")) == [(1,)]
    following = await at.turn(claim, [outcome(window.recipients[0], Kind.SENT), outcome(window.recipients[1], Kind.FAILED)], 3)
    assert following is not None
    assert (following.window_no, [one.position for one in following.recipients]) == (2, [3, 4, 5])
    assert (following.recipients[0].address, following.recipients[0].fields) == ("person3@list.example", '{"name":"Person 3"}')
    assert await at.counts() == (1, 1, 0, 0, 22)
    last = await at.turn(claim, outcomes(following, Kind.SENT), 50)
    assert last is not None
    assert [one.position for one in last.recipients] == [6]
    assert await at.turn(claim, outcomes(last, Kind.SENT), 50) is None
    assert await at.counts() == (5, 1, 0, 0, 18)
    assert (await desk.query("SELECT in_hand FROM job_overview")) == [(0,)]
    windows = await desk.query("SELECT window_no, lease_epoch, owner, positions, attempts FROM hand_off_window ORDER BY 1")
    assert windows == [(1, 1, "one", [1, 2], [1, 1]), (2, 1, "one", [3, 4, 5], [1, 1, 1]), (3, 1, "one", [6], [1])]


@pytest.mark.parametrize("how", ["taken over", "cancelled"])
async def test_a_fenced_turn_writes_nothing_at_all(desk: Desk, how: str) -> None:
    at = await one_chunk(desk, 6)
    claim, window = await at.opened(2)
    booked = [outcome(window.recipients[0], Kind.SENT), outcome(window.recipients[1], Kind.REFUSED)]
    await suppressions.suppress(desk.pool, acting(at.job.account_id), ["person3@list.example"])
    if how == "cancelled":
        await finish.cancel(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    else:
        await at.expire()
        assert await at.claim("two")
    chunks = "SELECT * FROM chunk ORDER BY chunk_no"
    before = await at.written(), await desk.query(chunks)
    for turn in (at.turn(claim, booked, 3), at.turn(claim, booked, 0), at.retries(claim, booked)):
        with pytest.raises(LeaseLost):
            await turn
    await at.release(claim)
    assert before == (await at.written(), await desk.query(chunks))


async def someone_waits(desk: Desk) -> None:
    """Until a statement waits for another's lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while await desk.query(waiting) == [(0,)]:  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.01)


async def test_a_turn_that_had_to_wait_for_a_heartbeat_books_and_opens_all_the_same(desk: Desk) -> None:
    at = await one_chunk(desk, 6)
    claim, window = await at.opened(2)
    async with desk.pool.connection() as conn:
        async with conn.transaction():
            await windows.renew_leases(conn, [claim], 60)
            turning = asyncio.create_task(at.turn(claim, outcomes(window, Kind.SENT), 3))
            await someone_waits(desk)
        following = await turning
    assert following is not None
    assert [one.position for one in following.recipients] == [3, 4, 5]
    assert await at.counts() == (2, 0, 0, 0, 22)
    assert await desk.query("SELECT next_position, window_no, window_open FROM chunk WHERE chunk_no = 0") == [(6, 2, True)]


async def test_a_turn_that_had_to_wait_for_a_cancel_opens_nothing(desk: Desk) -> None:
    at = await one_chunk(desk, 6)
    claim, window = await at.opened(2)
    before = await at.written()
    async with desk.pool.connection() as conn:
        async with conn.transaction():
            await conn.execute("UPDATE chunk SET lease_epoch = lease_epoch + 1")
            turning = asyncio.create_task(at.turn(claim, outcomes(window, Kind.SENT), 3))
            await someone_waits(desk)
        with pytest.raises(LeaseLost):
            await turning
    assert await at.written() == before


@pytest.mark.parametrize("since", ["a retry window", "a fresh window", "nothing but skips"])
async def test_in_a_restored_backup_the_same_epoch_is_not_enough_to_go_on(desk: Desk, since: str) -> None:
    at = await one_chunk(desk, 6)
    claim, window = await at.opened(2)
    booked = outcomes(window, Kind.RELEASED, Evidence.WORKER)
    if since == "nothing but skips":
        await suppressions.suppress(desk.pool, acting(at.job.account_id), [f"person{n}@list.example" for n in range(3, 7)])
    latest = await (at.retries(claim, booked) if since == "a retry window" else at.turn(claim, booked, 2)) or window
    assert (latest is window) == (since == "nothing but skips")
    async with desk.pool.connection() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")  # a backup asks no trigger
        await conn.execute("UPDATE chunk SET next_position = 3, window_no = 1 WHERE chunk_no = 0")
        await conn.execute("DELETE FROM hand_off_window WHERE window_no = 2")
        await conn.execute("DELETE FROM outcome")
        await conn.execute("DELETE FROM retry")
    before = await at.written()
    for turn in (at.turn(claim, outcomes(latest, Kind.SENT), 2), at.retries(claim, outcomes(latest, Kind.SENT))):
        with pytest.raises(LeaseLost):
            await turn
    if latest is not window:
        assert await at.settle(claim, latest, outcomes(latest, Kind.SENT)), "nor is there a window to settle"
    assert await at.written() == before


async def test_whoever_is_suppressed_after_the_freeze_is_skipped_with_the_reason(desk: Desk) -> None:
    at = await one_chunk(desk, 6)
    await suppressions.suppress(desk.pool, acting(at.job.account_id), [f"person{n}@list.example" for n in (1, 2, 3, 5)],
                                "Opted out.")
    claim, window = await at.opened(3)  # the first three are passed over, the window holds the next ones
    assert [one.position for one in window.recipients] == [4, 6]
    assert await at.counts() == (0, 0, 4, 0, 20)
    assert await desk.query("SELECT DISTINCT kind::text, evidence::text, reply, attempt_no FROM outcome") == [
        ("skipped", "suppression", "Opted out.", 1)]
    assert await at.turn(claim, outcomes(window, Kind.SENT), 3) is None
    assert await at.counts() == (2, 0, 4, 0, 18)


async def test_a_chunk_of_which_everybody_is_suppressed_is_done_without_a_window(desk: Desk) -> None:
    at = await counter(desk, 1)
    await suppressions.suppress(desk.pool, acting(at.job.account_id), ["person1@list.example"])
    claim = await at.claim()
    assert claim is not None
    assert await at.turn(claim, [], 10) is None
    assert await at.counts() == (0, 0, 1, 0, 0)
    assert await finish.complete(desk.pool, at.job.account_id, at.job.id)


async def test_a_temporary_refusal_comes_back_when_it_is_due_with_the_next_attempt(desk: Desk) -> None:
    at = await one_chunk(desk, 3)
    claim, window = await at.opened(3)
    now, later, sent = window.recipients
    booked = [outcome(now, Kind.REFUSED, refusals=1), outcome(later, Kind.REFUSED, retry_in_s=3600, refusals=1),
              outcome(sent, Kind.SENT)]
    again = await at.retries(claim, booked)
    assert again is not None
    assert [(one.position, one.attempt_no, one.refusals) for one in again.recipients] == [(1, 2, 1)]
    assert await at.counts() == (1, 0, 0, 0, 11)
    await suppressions.suppress(desk.pool, acting(at.job.account_id), ["person1@list.example"])
    assert await at.retries(claim, outcomes(again, Kind.REFUSED, refusals=2)) is None  # due, but suppressed by now
    assert await at.counts() == (1, 0, 1, 0, 10)
    await at.release(claim)
    given_back = "SELECT available_at > now() + interval '50 min', owner, lease_until FROM chunk WHERE chunk_no = 0"
    assert await desk.query(given_back) == [(True, None, None)]
    async with desk.pool.connection() as conn:
        await conn.execute("UPDATE retry SET not_before = now()")
        await conn.execute("UPDATE chunk SET available_at = now()")
    claim = await at.claim()
    assert claim is not None
    assert claim.chunk_no == 0
    assert [(one.position, one.attempt_no) for one in (await at.retries(claim, [])).recipients] == [(2, 2)]


@pytest.mark.parametrize("how", ["turn", "settle"])
async def test_a_retry_remembers_the_first_refusal(desk: Desk, how: str) -> None:
    at = await one_chunk(desk, 2)
    claim, window = await at.opened(2)
    refused, released = window.recipients
    booked = [outcome(refused, Kind.REFUSED), outcome(released, Kind.RELEASED, Evidence.WORKER)]
    again = await at.retries(claim, booked)
    assert again is not None
    (first,) = await desk.query("SELECT at FROM outcome WHERE kind = 'refused'")
    booked = outcomes(again, Kind.REFUSED, retry_in_s=60.0)
    if how == "turn":
        await at.turn(claim, booked, 0)
    else:
        await at.settle(claim, again, booked)
    since = "SELECT since = %s, since > %s FROM retry ORDER BY position"
    assert await desk.query(since, first[0], first[0]) == [(True, False), (False, True)]


async def test_a_chunk_that_is_given_back_untouched_is_free_at_once(desk: Desk) -> None:
    at = await one_chunk(desk, 3)
    claim, window = await at.opened(2)
    await at.turn(claim, outcomes(window, Kind.RELEASED, Evidence.WORKER), 0)
    await at.release(claim)
    assert await at.counts() == (0, 0, 0, 0, 12)
    again = await at.claim("two")
    assert again is not None
    assert (again.chunk_no, again.next_position, again.epoch) == (0, 3, 2)
    fresh = await at.turn(again, [], 50)
    assert fresh is not None
    assert [one.position for one in fresh.recipients] == [3]
    returned = await at.retries(again, outcomes(fresh, Kind.SENT))
    assert returned is not None
    assert [(one.position, one.attempt_no) for one in returned.recipients] == [(1, 2), (2, 2)]


async def test_a_heartbeat_renews_what_is_held_and_tells_what_is_lost(desk: Desk) -> None:
    at = await counter(desk, 3)
    held, lost = await at.claim(lease_s=5), await at.claim(lease_s=5)
    assert held is not None
    assert lost is not None
    async with desk.pool.connection() as conn:
        await conn.execute("UPDATE chunk SET lease_epoch = lease_epoch + 1 WHERE chunk_no = %s", (lost.chunk_no,))
        assert await windows.renew_leases(conn, [held, lost], 600) == {(at.job.id, held.chunk_no, held.epoch)}
        assert await windows.renew_leases(conn, [], 600) == set()
    assert await desk.query("SELECT chunk_no FROM chunk WHERE lease_until > now() + interval '500 s'") == [(held.chunk_no,)]


# -- evidence -----------------------------------------------------------------------------------------------------------


async def test_a_late_reply_settles_what_a_takeover_had_to_doubt(desk: Desk) -> None:
    at = await one_chunk(desk, 6)
    claim, window = await at.opened(4)
    await at.expire()
    other = await at.claim("two")
    assert other is not None
    theirs = await at.turn(other, [], 50)
    sent, failed, refused, released = window.recipients
    await at.settle(claim, window, [outcome(sent, Kind.SENT), outcome(failed, Kind.FAILED), outcome(refused, Kind.REFUSED),
                                    outcome(released, Kind.RELEASED, Evidence.WORKER)])
    assert await at.counts() == (1, 1, 0, 0, 22)
    assert await desk.query("SELECT window_open, window_no FROM chunk WHERE chunk_no = 0") == [(True, 2)], "theirs stays open"
    assert theirs is not None
    again = await at.retries(other, outcomes(theirs, Kind.SENT))
    assert again is not None
    assert [(one.position, one.attempt_no) for one in again.recipients] == [(3, 2), (4, 2)]
    await at.retries(other, outcomes(again, Kind.SENT))
    assert await at.counts() == (5, 1, 0, 0, 18)


LATTICE = [(Kind.UNCONFIRMED, Evidence.CONNECTION_LOST), (Kind.RELEASED, Evidence.WORKER), (Kind.SENT, Evidence.REPLY)]


@pytest.mark.parametrize("first", range(len(LATTICE)))
@pytest.mark.parametrize("second", range(len(LATTICE)))
async def test_evidence_only_ever_moves_up(desk: Desk, first: int, second: int) -> None:
    at = await one_chunk(desk, 2)
    claim, window = await at.opened(1)
    await finish.cancel(desk.pool, acting(at.job.account_id, "me"), at.job.id)  # so that nothing is tried again meanwhile
    await at.settle(claim, window, outcomes(window, *LATTICE[first]))
    await at.settle(claim, window, outcomes(window, *LATTICE[second]))
    kind = LATTICE[max(first, second)][0]
    sent, _, _, unconfirmed, _ = await at.counts()
    assert (sent, unconfirmed) == (int(kind is Kind.SENT), int(kind is Kind.UNCONFIRMED))


async def test_settling_twice_counts_once(desk: Desk) -> None:
    at = await one_chunk(desk, 2)
    claim, window = await at.opened(2)
    await at.expire()
    await at.claim("two")
    for _ in range(2):
        await at.settle(claim, window, [outcome(window.recipients[0], Kind.SENT), outcome(window.recipients[1], Kind.REFUSED)])
    assert await at.counts() == (1, 0, 0, 0, 7)
    assert await desk.query("SELECT position, attempt_no FROM retry") == [(2, 2)]


async def test_settling_what_a_turn_had_already_booked_changes_nothing(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    claim, window = await at.opened(2)
    booked = [outcome(window.recipients[0], Kind.SENT), outcome(window.recipients[1], Kind.RELEASED, Evidence.WORKER)]
    unheard = await at.turn(claim, booked, 2)
    before = await at.written(), await at.counts()
    await at.settle(claim, window, booked)
    assert (await at.written(), await at.counts()) == before
    async with desk.pool.connection() as conn:
        found = await windows.untouched_window(conn, claim, window.window_no)
        assert found is not None
        assert unheard is not None
        assert (found[0], [one.position for one in found[1]]) == (unheard.window_no, [3, 4])
        assert await windows.untouched_window(conn, claim, unheard.window_no) is None
        for _ in range(2):
            await windows.settle_window(conn, claim, *found)
    assert await at.counts() == (1, 0, 0, 0, 15)
    again = await at.retries(claim, [])
    assert again is not None
    assert [(one.position, one.attempt_no) for one in again.recipients] == [(2, 2), (3, 2), (4, 2)]


async def test_a_window_that_nobody_heard_of_goes_back_even_when_it_was_taken_for_lost_meanwhile(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    claim, unheard = await at.opened(3)
    await at.expire()
    await at.claim("two")
    assert await at.counts() == (0, 0, 0, 3, 13), "its new owner can only doubt"
    async with desk.pool.connection() as conn:
        found = await windows.untouched_window(conn, claim, 0)
        assert found is not None
        assert found[0] == unheard.window_no
        await windows.settle_window(conn, claim, *found)
    assert await at.counts() == (0, 0, 0, 0, 16), "the one who had it knows better"


async def test_after_a_cancel_sent_counts_and_the_rest_stays_unsent(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    claim, window = await at.opened(3)
    view = await finish.cancel(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    assert (view.unsent, view.in_hand) == (16, 1)
    one, two, three = window.recipients
    await at.settle(claim, window, [outcome(one, Kind.SENT), outcome(two, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST),
                                    outcome(three, Kind.RELEASED, Evidence.WORKER)])
    assert await at.counts() == (1, 0, 0, 1, 14)
    async with desk.pool.connection() as conn:
        assert (await view_job(conn, at.job.account_id, at.job.id)).in_hand == 0
    assert await desk.query("SELECT * FROM retry") == []


@pytest.mark.parametrize("stop", [finish.cancel, pause])
async def test_a_window_left_open_by_a_dead_worker_and_a_cancel_or_a_pause_becomes_unconfirmed(
        desk: Desk, stop: Callable[..., Awaitable[object]]) -> None:
    at = await one_chunk(desk, 4)
    await at.opened(3)
    await stop(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    async with desk.pool.connection() as conn:
        assert await windows.abandoned_windows(conn) == []
        await at.expire()
        (abandoned,) = await windows.abandoned_windows(conn)
        await asyncio.gather(*(lose(desk, abandoned) for _ in range(2)))
        assert await windows.abandoned_windows(conn) == []
    assert await at.counts() == (0, 0, 0, 3, 13)


async def test_a_chunk_that_somebody_claims_meanwhile_is_not_taken_for_abandoned(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    await at.opened(3)
    await pause(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    await at.expire()
    async with desk.pool.connection() as conn:
        (abandoned,) = await windows.abandoned_windows(conn)
    await resume(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    await at.opened(3)
    await lose(desk, abandoned)
    assert await at.counts() == (0, 0, 0, 3, 13), "the three of the old window, and nobody of the new one"


async def lose(desk: Desk, chunk: tuple[int, int, int]) -> None:
    async with desk.pool.connection() as conn:
        await windows.lose_window(conn, *chunk)


async def test_in_a_completed_job_a_late_return_is_failed_and_never_unsent(desk: Desk) -> None:
    at = await counter(desk, 1)
    claim, window = await at.opened(1)
    await at.expire()
    assert await at.claim("two")
    assert await finish.complete(desk.pool, at.job.account_id, at.job.id)
    await at.settle(claim, window, outcomes(window, Kind.RELEASED, Evidence.WORKER, reply=None))
    assert await at.counts() == (0, 1, 0, 0, 0)
    assert (await desk.query("SELECT reply FROM outcome WHERE kind = 'failed'"))[0][0].startswith("Never handed off")


async def test_in_a_completed_job_a_late_reply_still_turns_doubt_into_sent(desk: Desk) -> None:
    at = await counter(desk, 1)
    claim, window = await at.opened(1)
    await at.expire()
    assert await at.claim("two")
    assert await finish.complete(desk.pool, at.job.account_id, at.job.id)
    await at.settle(claim, window, outcomes(window, Kind.SENT))
    assert await at.counts() == (1, 0, 0, 0, 0)


@pytest.mark.parametrize("how", ["cancelled", "dead"])
async def test_a_fenced_worker_that_settles_its_window_leaves_no_lease_behind(desk: Desk, how: str) -> None:
    at = await one_chunk(desk, 4)
    claim, window = await at.opened(2)
    if how == "cancelled":
        await finish.cancel(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    else:
        await at.fence()
    leases = "SELECT owner, lease_until IS NULL, window_open FROM chunk WHERE chunk_no = 0"
    assert await desk.query(leases) == [("one", False, True)], "until then it has them in hand"
    await at.settle(claim, window, outcomes(window, Kind.SENT))
    assert await desk.query(leases) == [(None, True, False)]
    assert (await at.counts())[0] == 2


async def test_a_worker_that_settles_under_a_lease_that_holds_keeps_it(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    claim, window = await at.opened(2)
    await at.settle(claim, window, outcomes(window, Kind.SENT))
    held = "SELECT owner, lease_until > now(), window_open FROM chunk WHERE chunk_no = 0"
    assert await desk.query(held) == [("one", True, False)]
    assert await at.turn(claim, [], 2)


@pytest.mark.parametrize("owner", ["two", "one"])  # another worker, or another lane of the same
async def test_late_evidence_touches_no_other_lease(desk: Desk, owner: str) -> None:
    at = await one_chunk(desk, 4)
    claim, window = await at.opened(2)
    await at.expire()
    other = await at.claim(owner)
    assert other is not None
    await at.settle(claim, window, outcomes(window, Kind.SENT))
    assert await desk.query("SELECT owner, lease_until > now() FROM chunk WHERE chunk_no = 0") == [(owner, True)]
    theirs = await at.turn(other, [], 2)
    assert theirs is not None
    await at.settle(claim, window, outcomes(window, Kind.SENT))
    assert await desk.query("SELECT window_open FROM chunk WHERE chunk_no = 0") == [(True,)]


async def test_only_the_recipients_of_its_own_windows_can_be_settled(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    claim, window = await at.opened(2)
    await at.expire()
    other = await at.claim("two")
    assert other is not None
    theirs = await at.turn(other, [], 2)
    assert theirs is not None
    before = await at.written()
    assert await at.settle(claim, theirs, outcomes(theirs, Kind.SENT)), "it is the other's window"
    await at.settle(claim, window, outcomes(theirs, Kind.SENT))
    assert await at.written() == before
    chunk = "SELECT owner, lease_until > now(), window_open FROM chunk WHERE chunk_no = 0"
    assert await desk.query(chunk) == [("two", True, True)], "and theirs it stays"


# -- the dead -----------------------------------------------------------------------------------------------------------


async def test_a_dead_worker_opens_nothing_more_and_its_idle_chunks_are_free_at_once(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    busy, window = await at.opened(2)
    idle, theirs = await at.claim(), await at.claim("two")
    assert idle is not None
    assert theirs is not None
    await at.fence()
    for claim in (busy, idle):
        with pytest.raises(LeaseLost):
            await at.turn(claim, [], 2)
    leases = await desk.query("SELECT chunk_no, owner FROM chunk WHERE owner IS NOT NULL ORDER BY 1")
    assert leases == [(busy.chunk_no, "one"), (theirs.chunk_no, "two")]
    assert await at.turn(theirs, [], 2), "who lives goes on"
    assert [one.window_no for one in await at.doubts()] == [window.window_no]


async def test_a_commit_that_a_dead_worker_had_on_its_way_is_waited_for(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    claim = await at.claim()
    assert claim is not None
    async with desk.pool.connection() as conn:
        async with conn.transaction():
            window = await windows.turn_window(conn, claim, [], 2)
            fencing = asyncio.create_task(at.fence())
            await someone_waits(desk)
        await fencing
    assert window is not None
    assert await desk.query("SELECT owner, window_open FROM chunk WHERE chunk_no = 0") == [("one", True)]
    (doubt,) = await at.doubts()
    assert (doubt.window_no, doubt.attempts) == (window.window_no, ((1, 1), (2, 1)))


async def test_a_window_of_a_cancelled_job_is_a_doubt_too(desk: Desk) -> None:
    at = await one_chunk(desk, 4)
    _, window = await at.opened(2)
    await finish.cancel(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    await at.fence()
    (doubt,) = await at.doubts()
    assert await at.settle(doubt.claim, window, outcomes(window, Kind.SENT))
    assert (await at.counts())[0] == 2
    assert await at.doubts() == []


async def test_what_is_booked_is_no_doubt_and_what_a_takeover_or_a_person_decided_is_one(desk: Desk) -> None:
    at = await one_chunk(desk, 6)
    claim, booked = await at.opened(2)
    lost = await at.turn(claim, [outcome(booked.recipients[0], Kind.SENT),
                                 outcome(booked.recipients[1], Kind.UNCONFIRMED, Evidence.CONNECTION_LOST)], 2)
    assert lost is not None
    assert [one.window_no for one in await at.doubts("one", (claim, booked))] == [lost.window_no]
    await at.expire()
    await at.claim("two")
    assert await at.doubts() == [], "it is no longer open, so only its journal leads there"
    assert [one.window_no for one in await at.doubts("one", (claim, booked), (claim, lost))] == [lost.window_no]
    for one in lost.recipients:
        await at.decide("again", one.position)
    assert [one.window_no for one in await at.doubts("one", (claim, lost))] == [lost.window_no]
    assert await at.doubts("two", (claim, lost)) == [], "it was never theirs"


# -- late evidence and later attempts -----------------------------------------------------------------------------------


async def doubted(desk: Desk) -> tuple[Counter, Claim, Window, Claim]:
    """A window of one recipient, unconfirmed by a takeover: (.., who had it, the window, who has the chunk now)."""
    at = await one_chunk(desk, 1)
    claim, window = await at.opened(1)
    await at.expire()
    other = await at.claim("two")
    assert other is not None
    return at, claim, window, other


LATE = [(Kind.SENT, (1, 0, 0, 0, 3)), (Kind.FAILED, (0, 1, 0, 0, 3)), (Kind.REFUSED, (0, 0, 0, 0, 4))]


@pytest.mark.parametrize(("kind", "counts"), LATE)
async def test_a_reply_beats_a_person_who_said_send_again_while_nobody_did(
        desk: Desk, kind: Kind, counts: tuple[int, ...]) -> None:
    at, claim, window, other = await doubted(desk)
    await at.decide("again", 1)
    assert await at.settle(claim, window, outcomes(window, kind))
    assert await at.counts() == counts
    again = await at.retries(other, [])
    assert (again is not None) == (kind is Kind.REFUSED), "who is sent or failed is not tried again"


@pytest.mark.parametrize(("kind", "counts"), LATE)
async def test_a_reply_beats_a_person_who_assumed_that_it_was_sent(desk: Desk, kind: Kind, counts: tuple[int, ...]) -> None:
    at, claim, window, other = await doubted(desk)
    await at.decide("assume", 1)
    assert await at.settle(claim, window, outcomes(window, kind))
    assert await at.counts() == counts
    assert (await at.retries(other, []) is not None) == (kind is Kind.REFUSED)


async def contradictions(desk: Desk) -> list[tuple[str]]:
    return await desk.query("SELECT reason FROM job_event WHERE verb = 'contradict'")


def told(**count: int) -> list[tuple[str]]:
    return [(one,) for one in Contradiction(**{"unsent": 0, "failed": 0, "sent": 0, "twice": 0, **count}).sentences]


async def test_who_knows_that_it_never_went_out_beats_a_person_who_assumed_that_it_was_sent(desk: Desk) -> None:
    at, claim, window, other = await doubted(desk)
    await at.decide("assume", 1)
    assert await at.counts() == (1, 0, 0, 0, 3)
    assert await at.settle(claim, window, outcomes(window, Kind.RELEASED, Evidence.WORKER))
    assert await at.counts() == (0, 0, 0, 0, 4)
    again = await at.retries(other, [])
    assert again is not None, "and so it is sent after all"
    assert await contradictions(desk) == told(unsent=1)
    rows = await desk.query("SELECT kind::text, evidence::text FROM outcome WHERE attempt_no = 1 ORDER BY evidence")
    assert rows == [("unconfirmed", "lease_lost"), ("sent", "person"), ("released", "worker")], "both stand there"


async def test_in_a_completed_job_who_never_got_it_is_failed_and_can_be_continued(desk: Desk) -> None:
    at, claim, window, _ = await doubted(desk)
    await at.decide("assume", 1)
    while (rest := await at.claim("three")) is not None:
        opened = await at.turn(rest, [], 50)
        await at.turn(rest, outcomes(opened, Kind.SENT) if opened else [], 0)
    await finish.complete(desk.pool, at.job.account_id, at.job.id)
    assert (await status_of(at)) is Status.COMPLETED
    assert await at.settle(claim, window, outcomes(window, Kind.RELEASED, Evidence.WORKER))
    assert await at.counts() == (3, 1, 0, 0, 0)
    assert await contradictions(desk) == told(failed=1)
    async with desk.pool.connection() as conn, conn.transaction():
        assert await recipients.intake_of_rest(conn, at.job.account_id, at.job.id, "failed") == 1


async def test_what_a_person_settled_rightly_is_no_contradiction(desk: Desk) -> None:
    at, claim, window, _ = await doubted(desk)
    await at.decide("assume", 1)
    assert await at.settle(claim, window, outcomes(window, Kind.SENT))
    assert (await at.counts(), await contradictions(desk)) == ((1, 0, 0, 0, 3), [])


async def test_who_had_it_before_a_person_had_it_sent_again_is_sent(desk: Desk) -> None:
    at, claim, window, _ = await doubted(desk)
    await at.decide("again", 1)
    assert await at.settle(claim, window, outcomes(window, Kind.SENT))
    assert await at.counts() == (1, 0, 0, 0, 3)
    assert await contradictions(desk) == told(sent=1)


async def test_who_had_it_before_and_was_sent_it_again_may_have_it_twice(desk: Desk) -> None:
    at, claim, window, other = await doubted(desk)
    await at.decide("again", 1)
    again = await at.retries(other, [])
    assert again is not None
    await at.turn(other, outcomes(again, Kind.SENT), 0)
    assert await at.settle(claim, window, outcomes(window, Kind.SENT))
    assert await contradictions(desk) == told(twice=1)


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.FAILED])
async def test_a_refusal_says_nothing_against_a_person_who_had_it_sent_again(desk: Desk, kind: Kind) -> None:
    at, claim, window, _ = await doubted(desk)
    await at.decide("again", 1)
    assert await at.settle(claim, window, outcomes(window, kind))
    assert await contradictions(desk) == []


@pytest.mark.parametrize("kind", [Kind.SENT, Kind.FAILED, Kind.REFUSED])
async def test_a_reply_to_an_attempt_whose_successor_is_in_hand_has_to_come_again(desk: Desk, kind: Kind) -> None:
    at, claim, window, other = await doubted(desk)
    await at.decide("again", 1)
    again = await at.retries(other, [])
    assert again is not None
    before = await at.written()
    assert not await at.settle(claim, window, outcomes(window, kind))
    assert (await at.written(), await at.counts()) == (before, (0, 0, 0, 0, 4))
    await at.turn(other, outcomes(again, Kind.SENT), 0)
    assert await at.settle(claim, window, outcomes(window, kind))
    assert await at.counts() == (1, 0, 0, 0, 3), "the last attempt's word counts"
    rows = await desk.query("SELECT attempt_no, kind::text, evidence::text FROM outcome ORDER BY attempt_no, evidence")
    assert rows == [(1, "unconfirmed", "lease_lost"), (1, "released", "person"), (1, kind.value, "reply"), (2, "sent", "reply")]
    assert await desk.query("SELECT * FROM retry") == []


@pytest.mark.parametrize("last", [Kind.SENT, Kind.FAILED, Kind.REFUSED, Kind.UNCONFIRMED])
async def test_a_reply_to_an_attempt_that_has_a_successor_is_only_recorded(desk: Desk, last: Kind) -> None:
    at, claim, window, other = await doubted(desk)
    await at.decide("again", 1)
    again = await at.retries(other, [])
    assert again is not None
    await at.turn(other, outcomes(again, last, Evidence.CONNECTION_LOST if last is Kind.UNCONFIRMED else Evidence.REPLY,
                                  retry_in_s=60.0 if last is Kind.REFUSED else None), 0)
    counts, retries = await at.counts(), await desk.query("SELECT position, attempt_no FROM retry")
    assert await at.settle(claim, window, outcomes(window, Kind.SENT))
    assert (await at.counts(), await desk.query("SELECT position, attempt_no FROM retry")) == (counts, retries)
    assert (await desk.query("SELECT kind::text FROM outcome WHERE attempt_no = 1 AND evidence = 'reply'")) == [("sent",)]


async def test_who_was_given_up_for_a_continuation_is_not_unsent_again(desk: Desk) -> None:
    at, claim, window, _ = await doubted(desk)
    await finish.cancel(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    await desk.query("INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, reply) "
                     "VALUES (%s, %s, 1, 1, 'failed', 'person', 'Sent again') RETURNING 1", at.job.account_id, at.job.id)
    await desk.query("UPDATE chunk SET unconfirmed = 0, failed = 1 WHERE chunk_no = 0 RETURNING 1")
    assert await at.settle(claim, window, outcomes(window, Kind.REFUSED))
    assert await at.counts() == (0, 1, 0, 0, 3), "or whoever continued the unsent would mail it twice"


# -- any order of anything ----------------------------------------------------------------------------------------------


@dataclass
class Worker:
    """What a real worker knows: its claim, its window, and what became of each recipient, decided once."""

    name: str
    claim: Claim | None = None
    window: Window | None = None
    known: list[Outcome] = field(default_factory=list)
    lost: bool = False


ENDS = ((Kind.SENT, Evidence.REPLY), (Kind.FAILED, Evidence.REPLY), (Kind.REFUSED, Evidence.REPLY),
        (Kind.UNCONFIRMED, Evidence.CONNECTION_LOST), (Kind.RELEASED, Evidence.WORKER), (Kind.FAILED, Evidence.WORKER))
STEPS = ("claim", "turn", "turn", "turn", "retries", "release", "settle", "expire", "suppress", "beat", "sweep", "cancel",
         "complete", "person", "die")
DOUBTFUL = """
    SELECT position FROM (
        SELECT DISTINCT ON (position) position, attempt_no, kind FROM outcome WHERE job_id = %s
        ORDER BY position, attempt_no DESC, evidence DESC) last
    WHERE kind = 'unconfirmed' AND attempt_no = 1 AND NOT EXISTS (
        SELECT FROM chunk c JOIN hand_off_window w USING (account_id, job_id, chunk_no, window_no)
        WHERE c.job_id = %s AND c.window_open AND position = ANY (w.positions))"""


async def step(  # noqa: C901 - one case a step
        at: Counter, worker: Worker, name: str, draw: st.DataObject) -> None:
    pool, job = at.desk.pool, at.job
    match name:
        case "claim" if worker.claim is None:
            worker.claim, worker.lost = await at.claim(worker.name), False
        case "turn" | "retries" if worker.claim is not None and not worker.lost:
            act = at.turn if name == "turn" else at.retries
            try:
                window = await act(worker.claim, worker.known, draw.draw(st.integers(1, 4)))
            except LeaseLost:
                worker.lost = True
                return
            worker.window = window
            worker.known = [outcome(one, *draw.draw(st.sampled_from(ENDS))) for one in window.recipients] if window else []
        case "settle" if worker.lost and worker.claim is not None:
            if worker.window is None or await at.settle(worker.claim, worker.window, worker.known):
                worker.claim, worker.window, worker.known = None, None, []
        case "die" if worker.claim is not None:  # and its journal tells what it knew
            await at.fence(worker.name)
            known = {(one.position, one.attempt_no): one for one in worker.known}
            done = [await at.settle(doubt.claim, Window(doubt.window_no, ()), [known[one] for one in doubt.attempts])
                    for doubt in await at.doubts(worker.name, *([(worker.claim, worker.window)] if worker.window else []))]
            worker.lost = True
            if all(done):
                worker.claim, worker.window, worker.known = None, None, []
        case "person" if (await status_of(at)) is Status.SENDING:
            for (position,) in await at.desk.query(DOUBTFUL, job.id, job.id):
                await at.decide(draw.draw(st.sampled_from(["again", "assume"])), position)
        case "release" if worker.claim is not None and not worker.lost and worker.window is None:
            await at.release(worker.claim)
            worker.claim = None
        case "beat" if worker.claim is not None:
            async with pool.connection() as conn:
                worker.lost |= not await windows.renew_leases(conn, [worker.claim], 60)
        case "expire":
            await at.expire()
        case "suppress":
            await suppressions.suppress(pool, acting(job.account_id), [f"person{draw.draw(st.integers(1, 12))}@list.example"])
        case "sweep":
            async with pool.connection() as conn:
                for chunk in await windows.abandoned_windows(conn):
                    await windows.lose_window(conn, *chunk)
        case "cancel" if draw.draw(st.integers(0, 4)) == 0 and (await status_of(at)) is Status.SENDING:
            await finish.cancel(pool, acting(job.account_id, "me"), job.id)
        case "complete":
            await finish.complete(pool, job.account_id, job.id)


async def status_of(at: Counter) -> Status | None:
    async with at.desk.pool.connection() as conn:
        return await hold_status(conn, at.job.account_id, at.job.id)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(draw=st.data(), steps=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(STEPS)), min_size=10, max_size=40))
async def test_in_any_order_the_counters_are_what_the_outcomes_say(
        desk: Desk, draw: st.DataObject, steps: list[tuple[int, str]]) -> None:
    account = await desk.account(f"Club {await desk.query('SELECT clock_timestamp()')}", connections=1)
    at = Counter(desk, await desk.submit(account, 12))
    workers = [Worker(f"one of {at.job.id}"), Worker(f"two of {at.job.id}")]  # an owner is one process, and never another
    for number, name in steps:
        await step(at, workers[number], name, draw)
        await at.counts()
        if await status_of(at) is Status.COMPLETED:
            assert (await at.counts())[-1] == 0


@pytest.mark.parametrize(("session", "in_force"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
async def test_the_commit_that_opens_a_window_waits_for_the_disk_whatever_the_session_says(
        desk: Desk, session: str, in_force: str) -> None:
    account = await desk.account()
    at = Counter(desk, await desk.submit(account, 12))
    claim = await at.claim()
    assert claim
    async with desk.pool.connection() as conn, conn.transaction():
        await conn.execute(f"SET LOCAL synchronous_commit = {session}")
        await windows.turn_window(conn, claim, [], 5)
        assert await (await conn.execute("SHOW synchronous_commit")).fetchone() == (in_force,)
