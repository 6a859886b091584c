"""Gateways that are away, refuse the login, refuse for now, throttle, or hang up: nobody is failed who need not be."""

from __future__ import annotations

import socket

from acting import acting
from postroom.domain.job import Status
from postroom.flow.account.secrets import SecretBox
from postroom.flow.job import report
from postroom.gateway.sandbox.script import DROP, DROP_AFTER_RECORDING, Answer, Refusal, Script
from postroom.gateway.sandbox.server import Sandbox
from stage import SECRET_KEY, Stage, eventually, staged

ATTEMPTS_MAX = 10  # an account's, as it comes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def waiting_sentence(stage: Stage, account: int, job_id: int) -> str:
    """What the page says once it has noticed that the gateway cannot be used."""
    async def told() -> str | None:
        view = await report.report(stage.pool, acting(account), job_id)
        assert view.job.failed == view.job.unconfirmed == 0
        return view.sentence if view.job.waits_because else None
    sentence: str = await eventually(told)
    return sentence


async def test_a_gateway_that_is_down_is_waited_for_and_the_page_says_so(stage: Stage) -> None:
    port = free_port()
    account = await stage.account(port=port)
    async with stage.worker():
        job = await stage.started(account, 150)
        sentence = await waiting_sentence(stage, account, job.id)
        assert f"127.0.0.1:{port}" in sentence
        assert "Trying again" in sentence
        assert "nobody is failed" in sentence
        async with Sandbox(port=port, keep=True) as late:
            stage.sandbox = late
            await stage.over(account, job.id)
            sides = await stage.sides(account, job.id)
    assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (150, 0, 0, 0, 0))
    assert sides.numbers.waits_because is None


async def test_a_gateway_that_goes_down_in_the_middle_costs_only_the_doubt_of_its_open_messages(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.005))
    account = await stage.account(connections=4)
    async with stage.worker():
        job = await stage.started(account, 400)
        await stage.until_accepted(100)
        port, before = stage.sandbox.port, stage.sandbox
        await before.close()
        await waiting_after_loss(stage, account, job.id)
        async with Sandbox(port=port, keep=True) as back:
            back.records[:] = before.records
            stage.sandbox = back
            await stage.over(account, job.id)
            sides = await stage.sides(account, job.id)
    doubted = sides.positions("unconfirmed")
    assert len(doubted) <= 4, "one message a session was between its dot and its reply"
    assert sides.counts == (400 - len(doubted), 0, 0, len(doubted), 0)
    assert {sides.told[position].evidence for position in doubted} <= {"connection_lost"}


async def waiting_after_loss(stage: Stage, account: int, job_id: int) -> None:
    async def told() -> bool:
        return (await report.report(stage.pool, acting(account), job_id)).job.waits_because is not None
    await eventually(told)


async def test_wrong_credentials_fail_nobody_and_mended_ones_are_taken_up(pool, database) -> None:
    async with staged(pool, database, credentials=("club", "right")) as stage:
        account = await stage.account(login=("club", "wrong"))
        async with stage.worker():
            job = await stage.started(account, 60)
            sentence = await waiting_sentence(stage, account, job.id)
            assert "refused the user name and password" in sentence
            assert "535" in sentence
            async with pool.connection() as conn:
                await conn.execute("UPDATE gateway SET password = %s WHERE account_id = %s",
                                   (SecretBox(SECRET_KEY).seal("right"), account))
            await stage.over(account, job.id)
        sides = await stage.sides(account, job.id)
        assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (60, 0, 0, 0, 0))


async def test_a_gateway_that_never_comes_fails_the_job_with_everyone_intact_and_the_next_job_goes(stage: Stage) -> None:
    account = await stage.account(port=free_port())
    await stage.gateway(account, "spare")
    async with stage.worker(gateway_give_up_s=1.5):
        job = await stage.started(account, 30)
        following = await stage.started(account, 40, gateway="spare")
        assert following.status is Status.QUEUED
        failed = await stage.over(account, job.id)
        done = await stage.over(account, following.id)
    assert failed.status is Status.FAILED
    assert (failed.reason or "").startswith("Gave up after")
    assert (await stage.sides(account, job.id)).counts == (0, 0, 0, 0, 30)
    assert done.status is Status.COMPLETED
    assert (await stage.sides(account, following.id)).counts == (40, 0, 0, 0, 0)


async def test_everyone_ends_exactly_as_the_gateway_decided(stage: Stage) -> None:
    """Ten fates, mixed into one list; each address meets its own."""
    fates = {
        0: None,
        1: Refusal("rcpt", 450, "4.2.1 Mailbox busy", times=2),
        2: Refusal("dot", 452, "4.2.2 Mailbox full", times=1),
        3: Refusal("rcpt", 550, "5.1.1 No such mailbox"),
        4: Refusal("dot", 554, "5.7.1 Content refused"),
        5: Refusal("dot", DROP),
        6: Refusal("dot", DROP_AFTER_RECORDING),
        7: Refusal("rcpt", DROP, times=1),
        8: Refusal("data", DROP, times=1),
        9: Refusal("rcpt", 450, "4.2.1 Always busy"),
    }
    refuse = {f"person{n}@list.example": fate for n in range(1, 301) if n % 10 == 0 and (fate := fates[n // 10 % 10])}
    refuse["person7@list.example"] = fates[9]
    stage.sandbox.script = Script(refuse=refuse)
    account = await stage.account(connections=4)
    async with stage.worker(retry_base_s=0.001):
        job = await stage.started(account, 300)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.numbers.status is Status.COMPLETED
    for n in range(1, 301):
        told, fate = sides.told[n], refuse.get(f"person{n}@list.example")
        if fate is None:  # one that was announced behind a dropped one goes back untouched, and is sent on a later attempt
            assert told.kind == "sent"
        elif fate.code in (DROP, DROP_AFTER_RECORDING) and fate.phase == "dot":
            assert (told.kind, told.evidence) == ("unconfirmed", "connection_lost")
            assert (n in sides.taken) == (fate.code == DROP_AFTER_RECORDING)
        elif fate.times == 0:
            assert (told.kind, told.code) == ("failed", fate.code)
            assert told.reply == fate.text
        else:
            assert told.kind == "sent"
            assert told.attempt_no > fate.times
    refusals = await stage.query("SELECT count(*) FROM outcome WHERE position = 7 AND kind = 'refused'")
    assert refusals[0][0] == ATTEMPTS_MAX - 1


async def test_a_gateway_that_refuses_and_hangs_up_at_random_loses_nobody(stage: Stage) -> None:
    stage.sandbox.script = Script(
        rcpt=Answer(temporary=0.3, permanent=0.05, drop=0.005),
        dot=Answer(temporary=0.3, temporary_reply="450 4.2.2 Mailbox full", drop=0.005, drop_after=0.005), seed=11)
    account = await stage.account(connections=4)
    async with stage.worker(retry_base_s=0.001):
        job = await stage.started(account, 400)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    failed = [sides.told[position] for position in sides.positions("failed")]
    doubted = [sides.told[position] for position in sides.positions("unconfirmed")]
    assert (sides.numbers.status, sides.numbers.unsent, sides.numbers.skipped) == (Status.COMPLETED, 0, 0)
    assert all(one.code == 550 or one.attempt_no >= ATTEMPTS_MAX for one in failed)
    assert {one.evidence for one in doubted} == {"connection_lost"}
    assert max(one.attempt_no for one in sides.told.values()) > 2
    # Each attempt has an outcome of its own, and they are numbered without a gap.
    gaps = "SELECT position FROM outcome GROUP BY position HAVING max(attempt_no) <> count(DISTINCT attempt_no)"
    assert await stage.query(gaps) == []


async def test_throttling_slows_a_job_down_and_fails_nobody(stage: Stage) -> None:
    stage.sandbox.script = Script(throttle_per_s=200)
    account = await stage.account(connections=2)

    async def slowed() -> str | None:
        view = await report.report(stage.pool, acting(account), job.id)
        return view.sentence if view.sentence.startswith("Slowed to ") else None

    async with stage.worker(retry_base_s=0.01):
        job = await stage.started(account, 400)
        assert "a second: the gateway says “454 4.7.0 Throttling failure" in await eventually(slowed, every_s=0.01)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (400, 0, 0, 0, 0))


async def test_one_whom_the_gateway_puts_off_for_ever_holds_the_queue_no_longer_than_the_jobs_tail(stage: Stage) -> None:
    """No gateway accepts anything else at the end of a job, but it works: that is no reason to wait for it."""
    account = await stage.account(connections=1)
    await stage.query("UPDATE account SET retry_tail_s = 9 RETURNING 1")
    stage.sandbox.script = Script(refuse={"person3@list.example": ("rcpt", 451, "4.7.1 Greylisted, come again")})
    async with stage.worker():
        job = await stage.started(account, 5)
        behind = await stage.started(account, 2)
        await stage.over(account, job.id)
        await stage.over(account, behind.id)
    sides = await stage.sides(account, job.id)
    assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (4, 1, 0, 0, 0))
    (failed,) = [told for told in sides.told.values() if told.kind == "failed"]
    assert "Greylisted" in (failed.reply or "")


async def test_a_gateway_with_fewer_places_than_the_job_has_lanes_is_used_as_far_as_it_goes(stage: Stage) -> None:
    stage.sandbox.script = Script(connections_max=2, messages_per_connection_max=40)
    account = await stage.account(connections=6)
    async with stage.worker():
        job = await stage.started(account, 400)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (400, 0, 0, 0, 0))


async def test_a_gateway_that_answers_slowly_loses_no_lease(stage: Stage) -> None:
    """Longer than the lease for one message: the heartbeat does not depend on the sessions."""
    stage.sandbox.script = Script(dot=Answer(delay_s=2.5))
    account = await stage.account(connections=2)
    async with stage.worker(lease_s=1):
        job = await stage.started(account, 2)
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts == (2, 0, 0, 0, 0)
    assert {row[0] for row in await stage.query("SELECT lease_epoch FROM chunk")} == {1}
