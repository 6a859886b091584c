"""One chunk at a time: windows, leases, cancels and the gateway's trouble, with the engine left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from acting import acting
from contest import claimed
from postroom.domain.job import Status
from postroom.flow.account.secrets import SecretBox
from postroom.flow.delivery import recover
from postroom.flow.delivery.deliver import Deliveries
from postroom.flow.job import finish, report
from postroom.gateway.sandbox.script import Answer, Script
from postroom.ledger.database import engine
from postroom.ledger.delivery import windows
from postroom.ledger.delivery.windows import LeaseLost
from stage import Stage, eventually

LANES = "SELECT count(*) FROM procrastinate_jobs WHERE (args ->> 'job_id')::bigint = %s"
WINDOWS = "SELECT array_length(positions, 1) FROM hand_off_window WHERE job_id = %s ORDER BY chunk_no, window_no"


@pytest.fixture
async def deliveries(stage: Stage) -> AsyncIterator[Deliveries]:
    async with stage.deliveries() as deliveries:
        yield deliveries


async def started(stage: Stage, count: int, *, connections: int = 1) -> tuple[int, int]:
    """A job that is sending and whose lanes nobody serves but the test."""
    account = await stage.account(connections=connections)
    job = await stage.started(account, count)
    await stage.query("DELETE FROM procrastinate_jobs RETURNING 1")
    await stage.query("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING 1")  # as if one ran
    return account, job.id


async def test_a_turn_takes_one_chunk_and_keeps_its_place_while_nobody_waits(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 40)
    assert await deliveries.deliver(account, job_id, may_stay=True), "there is more of the job, and no other lane"
    sides = await stage.sides(account, job_id)
    assert sides.counts == (10, 0, 0, 0, 30)
    assert await stage.query(LANES, job_id) == [(0,)]
    assert await stage.query("SELECT count(*) FROM chunk WHERE owner IS NOT NULL") == [(0,)]


async def test_a_lane_rejoins_the_tail_when_another_one_waits(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 40)
    other = await stage.started(await stage.account("Other", connections=1), 5)
    assert not await deliveries.deliver(account, job_id, may_stay=True)
    assert await stage.query(LANES, job_id) == [(1,)], "one lane, which waits its turn for the next chunk"
    assert await stage.query(LANES, other.id) == [(1,)]


async def test_a_lane_that_stayed_long_enough_rejoins_the_tail(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 40)
    assert not await deliveries.deliver(account, job_id, may_stay=False)
    assert await stage.query(LANES, job_id) == [(1,)], "so that a worker that joins late gets its share"


async def test_a_copy_of_a_lane_ends_by_itself(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 40)
    async with stage.pool.connection() as conn:
        await engine.defer_lanes(conn, account, job_id, 2)  # two where the gateway takes one connection
    assert not await deliveries.deliver(account, job_id, may_stay=True)
    assert await stage.query(LANES, job_id) == [(2,)], "it neither stays nor rejoins"


async def test_a_worker_that_joins_late_gets_its_share(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.02))
    account = await stage.account(connections=6)
    async with stage.worker(concurrency=6):
        job = await stage.started(account, 2_400)
        await stage.until_accepted(100)
        async with stage.worker(concurrency=6):
            await stage.over(account, job.id)
    owners = await stage.query("SELECT DISTINCT owner FROM hand_off_window WHERE job_id = %s", job.id)
    assert len(owners) == 2


async def test_the_last_chunk_completes_the_job_and_leaves_no_lane(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 3)
    for _ in range(3):
        await deliveries.deliver(account, job_id)
    sides = await stage.sides(account, job_id)
    assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (3, 0, 0, 0, 0))
    assert stage.sandbox.connections_total == 2, "one that asked what it takes, and one kept between chunks"
    await deliveries.deliver(account, job_id)
    assert stage.sandbox.accepted == 3, "a task that is delivered twice or late does no harm"


async def test_windows_begin_small_grow_with_the_speed_and_hold_nobody_twice(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 1_000)
    await deliveries.deliver(account, job_id)
    sizes = [row[0] for row in await stage.query(WINDOWS, job_id)]
    assert sizes[0] == 10
    assert max(sizes) <= 100
    assert sum(sizes) == 250
    twice = await stage.query("SELECT unnest(positions) FROM hand_off_window GROUP BY 1 HAVING count(*) > 1")
    assert twice == []


async def test_a_worker_that_drains_takes_no_chunk(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 10)
    deliveries.draining = True
    await deliveries.deliver(account, job_id)
    assert stage.sandbox.accepted == 0
    assert await stage.query("SELECT count(*) FROM chunk WHERE lease_epoch > 0") == [(0,)]


@pytest.mark.parametrize("count", [5, 100])
async def test_a_job_that_is_not_sending_is_not_delivered(stage: Stage, deliveries: Deliveries, count: int) -> None:
    account = await stage.account()
    job = await stage.submit(account, count)
    if job.status is Status.SENDING:
        await finish.cancel(stage.pool, acting(account, "boss"), job.id)
    await deliveries.deliver(account, job.id)
    assert stage.sandbox.accepted == 0


async def test_a_heartbeat_learns_that_a_cancel_has_taken_its_leases(stage: Stage, deliveries: Deliveries) -> None:
    """Without the notification that a worker gets: at the next window by the epoch, or at the heartbeat before that."""
    stage.sandbox.script = Script(dot=Answer(delay_s=0.05))
    account, job_id = await started(stage, 40)

    async def cancel_in_the_middle() -> bool:
        if stage.sandbox.accepted < 2:
            return False
        await finish.cancel(stage.pool, acting(account, "boss"), job_id)
        await deliveries.renew_leases()
        return True

    await asyncio.gather(deliveries.deliver(account, job_id), eventually(cancel_in_the_middle, every_s=0.005))
    sides = await stage.sides(account, job_id)
    assert sides.numbers.status is Status.CANCELLED
    assert 2 <= sides.numbers.sent < 10, "it stopped within its window"
    assert (sides.numbers.sent, sides.numbers.in_hand) == (len(sides.taken), 0)


async def test_a_chunk_with_only_retries_left_is_given_back_until_the_first_is_due(stage: Stage, deliveries: Deliveries) -> None:
    stage.sandbox.script = Script(rcpt=Answer(temporary=1))
    deliveries.retry_base_s = 1_000
    account, job_id = await started(stage, 1)
    await deliveries.deliver(account, job_id)
    given_back = "SELECT owner, available_at = not_before FROM chunk JOIN retry USING (account_id, job_id, chunk_no)"
    assert await stage.query(given_back) == [(None, True)]
    assert await claimed(stage.pool, account, job_id) is None
    assert await stage.query(LANES, job_id) == [(0,)], "no lane turns in circles meanwhile; the sweep sees when it is due"
    assert (await stage.sides(account, job_id)).counts == (0, 0, 0, 0, 1)


async def test_a_refusal_of_the_message_itself_fails_the_job_and_nobody_in_it(stage: Stage, deliveries: Deliveries) -> None:
    stage.sandbox.script = Script(dot=Answer(permanent=1, permanent_reply="550 5.7.26 Unauthenticated mail is not accepted"))
    account, job_id = await started(stage, 40)
    await deliveries.deliver(account, job_id)
    sides = await stage.sides(account, job_id)
    assert (sides.numbers.status, sides.counts) == (Status.FAILED, (0, 0, 0, 0, 40))
    assert sides.numbers.reason == "The gateway refuses the message itself: “550 5.7.26 Unauthenticated mail is not accepted”."
    assert sides.numbers.in_hand == 0


async def test_a_refused_sender_is_the_gateways_trouble_and_the_job_waits(stage: Stage, deliveries: Deliveries) -> None:
    stage.sandbox.script = Script(mail=Answer(permanent=1))
    account, job_id = await started(stage, 40)
    await deliveries.deliver(account, job_id)
    told = await report.report(stage.pool, acting(account), job_id)
    assert told.sentence.startswith("The gateway refuses the account's mail: “550 5.7.1 Sender refused”. Trying again ")
    assert (told.job.status, told.job.unsent, told.job.in_hand) == (Status.SENDING, 40, 0)
    assert await stage.query(LANES, job_id) == [(0,)]


async def test_a_refused_recipient_does_not_begin_the_wait_for_a_gateway_anew(stage: Stage, deliveries: Deliveries) -> None:
    stage.sandbox.script = Script(dot=Answer(permanent=1, permanent_reply="550 5.4.5 Daily limit exceeded"),
                                  refuse={f"person{n}@list.example": ("rcpt", 550, "5.1.1 Unknown") for n in (1, 3, 5, 7)})
    account, job_id = await started(stage, 40)
    await deliveries.deliver(account, job_id)
    [(since, times)] = await stage.query("SELECT since, times FROM job_condition WHERE kind = 'gateway'")
    await stage.query("UPDATE job_condition SET until = clock_timestamp() RETURNING 1")
    await stage.query("UPDATE retry SET not_before = clock_timestamp() RETURNING 1")
    await deliveries.deliver(account, job_id)
    assert await stage.query("SELECT since, times FROM job_condition WHERE kind = 'gateway'") == [(since, times + 1)]
    assert (await report.report(stage.pool, acting(account), job_id)).job.failed > 0


async def test_a_gateway_that_always_says_more_than_it_was_asked_is_waited_for(stage: Stage, deliveries: Deliveries) -> None:
    """Its replies cannot be counted, one command at a time neither: trying again at once would never end."""
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 talkative\r\n")
        while line := await reader.readline():
            writer.write(b"250-talkative\r\n250 PIPELINING\r\n" if line.startswith(b"EHLO") else b"250 Ok\r\n250 And more\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    account, job_id = await started(stage, 40)
    await stage.query("UPDATE gateway SET port = %s RETURNING 1", server.sockets[0].getsockname()[1])
    async with server, asyncio.timeout(10):
        await deliveries.deliver(account, job_id)
    told = await report.report(stage.pool, acting(account), job_id)
    assert "The connection to the gateway ended" in told.sentence
    assert (told.job.unsent, told.job.in_hand) == (40, 0)


async def test_a_gateway_that_is_set_up_wrongly_is_waited_for_with_the_reason(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 40)
    await stage.query("UPDATE gateway SET host = 'mail.example.com' RETURNING 1")
    await deliveries.deliver(account, job_id)
    told = await report.report(stage.pool, acting(account), job_id)
    assert told.sentence.startswith("mail.example.com is another machine: mail to it would travel unencrypted.")
    assert (told.job.unsent, await stage.query("SELECT count(*) FROM chunk WHERE owner IS NOT NULL")) == (40, [(0,)])


async def test_a_password_that_was_sealed_with_another_key_is_a_reason_to_wait(stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 40)
    await stage.query("UPDATE gateway SET username = 'club', password = %s RETURNING 1", SecretBox("another").seal("secret"))
    await deliveries.deliver(account, job_id)
    told = await report.report(stage.pool, acting(account), job_id)
    assert "stored with another POSTROOM_SECRET_KEY" in told.sentence
    assert told.job.unsent == 40


async def test_what_moves_again_waits_for_nothing(stage: Stage, deliveries: Deliveries) -> None:
    stage.sandbox.script = Script(connect=Answer(temporary=1))
    account, job_id = await started(stage, 40)
    await deliveries.deliver(account, job_id)
    assert (await report.report(stage.pool, acting(account), job_id)).job.waits_for == "gateway"
    stage.sandbox.script = Script()
    await deliveries.deliver(account, job_id)
    view = (await report.report(stage.pool, acting(account), job_id)).job
    assert (view.waits_for, view.sent > 0) == (None, True)


async def losing_its_chunk(stage: Stage, deliveries: Deliveries, account: int, job_id: int) -> None:
    """A delivery in the middle of which the lease is over and another takes the chunk."""
    async def take_it_away() -> bool:
        if stage.sandbox.accepted < 2:
            return False
        await stage.query("UPDATE chunk SET lease_until = clock_timestamp() - interval '1 second' "
                          "WHERE owner = 'tester' RETURNING 1")
        return (await claimed(stage.pool, account, job_id, "another")) is not None

    await asyncio.gather(deliveries.deliver(account, job_id), eventually(take_it_away, every_s=0.005))


async def test_a_worker_that_lost_its_chunk_books_what_it_knows_and_opens_nothing(stage: Stage, deliveries: Deliveries) -> None:
    """Its lease is over and another has taken the chunk, which it learns when it turns the window."""
    stage.sandbox.script = Script(dot=Answer(delay_s=0.02))
    account, job_id = await started(stage, 40)

    await losing_its_chunk(stage, deliveries, account, job_id)
    sides = await stage.sides(account, job_id)
    assert sides.numbers.unconfirmed == 0, "what was in doubt for a moment is settled by who knows it"
    assert sides.numbers.sent == len(sides.taken) == 10
    assert await stage.query("SELECT owner FROM chunk WHERE owner IS NOT NULL") == [("another",)]


BREAKS = """
    CREATE SEQUENCE breaks;
    CREATE FUNCTION break_down() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('breaks') <= 3 THEN
            RAISE 'a page is damaged' USING ERRCODE = 'XX001';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER breaks BEFORE INSERT ON outcome FOR EACH ROW WHEN (NEW.evidence = 'reply') EXECUTE FUNCTION break_down()
"""


async def test_what_the_gateway_said_is_booked_whatever_error_the_database_gives_first(
        stage: Stage, deliveries: Deliveries) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.02))
    account, job_id = await started(stage, 40)
    async with stage.pool.connection() as conn:
        await conn.execute(BREAKS)
    await losing_its_chunk(stage, deliveries, account, job_id)
    sides = await stage.sides(account, job_id)
    assert (sides.numbers.unconfirmed, sides.numbers.sent) == (0, len(sides.taken))
    assert await stage.query("SELECT last_value > 3 FROM breaks") == [(True,)]


async def test_a_database_that_fails_in_a_turn_gets_what_the_gateway_said_all_the_same(
        stage: Stage, deliveries: Deliveries) -> None:
    account, job_id = await started(stage, 40)
    async with stage.pool.connection() as conn:
        await conn.execute(BREAKS)
    with pytest.raises(psycopg.Error, match="a page is damaged"):
        await deliveries.deliver(account, job_id)
    sides = await stage.sides(account, job_id)
    assert sides.numbers.sent == len(sides.taken) > 0
    assert await stage.query("SELECT FROM chunk WHERE window_open OR owner IS NOT NULL") == []


async def test_what_is_still_on_its_way_on_a_lost_connection_opens_no_window_behind_the_workers_back(stage: Stage) -> None:
    account, job_id = await started(stage, 8)
    claim = await claimed(stage.pool, account, job_id)
    assert claim
    async with stage.pool.connection() as conn:
        own = await windows.fence_claim(conn, claim)
        assert own is not None
        with pytest.raises(LeaseLost):
            await windows.turn_window(conn, claim, [], 50)
        assert await windows.fence_claim(conn, claim) is None
        await windows.release_chunk(conn, own)
    assert await claimed(stage.pool, account, job_id, "another") is not None


async def test_a_window_that_is_open_without_a_lease_is_nobodys_and_ends_with_the_next_sweep(stage: Stage) -> None:
    account, job_id = await started(stage, 8)
    claim = await claimed(stage.pool, account, job_id)
    assert claim
    async with stage.pool.connection() as conn:
        await windows.turn_window(conn, claim, [], 50)
        await windows.release_chunk(conn, claim)
    await finish.cancel(stage.pool, acting(account, "boss"), job_id)
    assert (await report.report(stage.pool, acting(account), job_id)).job.in_hand > 0
    await recover.sweep(stage.pool, give_up_s=60, lease_s=30)
    assert (await report.report(stage.pool, acting(account), job_id)).job.in_hand == 0


async def test_a_window_that_was_opened_without_our_hearing_of_it_goes_back_untouched(stage: Stage) -> None:
    """A connection that is lost during the commit leaves it open whether it came through."""
    account, job_id = await started(stage, 8)
    claim = await claimed(stage.pool, account, job_id)
    assert claim
    async with stage.pool.connection() as conn:
        assert await windows.untouched_window(conn, claim, 0) is None
        await windows.turn_window(conn, claim, [], 50)
        untouched = await windows.untouched_window(conn, claim, 0)
        assert untouched
        await windows.settle_window(conn, claim, *untouched)
        await windows.release_chunk(conn, claim)
    assert (await report.report(stage.pool, acting(account), job_id)).job.in_hand == 0
    async with stage.worker():
        await stage.over(account, job_id)
    sides = await stage.sides(account, job_id)
    assert sides.counts == (8, 0, 0, 0, 0)
    assert {told.attempt_no for told in sides.told.values()} == {1, 2}
