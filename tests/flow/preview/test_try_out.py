"""A test message goes to whom it was asked for and nowhere else; no ledger ever hears of it, but the job's trail does."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from email import message_from_bytes, policy

import pytest
import structlog

from acting import acting
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status
from postroom.errors import Conflict, InvalidInput, NotFound, Unavailable
from postroom.flow.account import accounts, domains
from postroom.flow.account.deployment import Deployment
from postroom.flow.account.secrets import SecretBox
from postroom.flow.audience import suppressions
from postroom.flow.audience.unsubscribe import addressee_of
from postroom.flow.job.finish import cancel
from postroom.flow.job.report import trail
from postroom.flow.job.submit import IdempotencyKey
from postroom.flow.preview.try_out import Answer, GatewayUnusable, Tried, send_test
from postroom.gateway.sandbox.script import Answer as At
from postroom.gateway.sandbox.script import Refusal, Script
from postroom.ledger.database.db import Connection
from postroom.ledger.job import jobs
from stage import CONTENT, Stage, rows

from .test_look import FILES, RICH, look, tables

TEN = [f"desk{n}@club.example" for n in range(1, 11)]


async def tried(stage: Stage, account: int, job_id: int, to: list[str], position: int = 1) -> list[Tried]:
    return await send_test(stage.pool, stage.deployment, acting(account), job_id, position, to)


async def changed_by(stage: Stage, before: dict[str, tuple[int, str]]) -> set[str]:
    """The names of the tables that are no longer as they were."""
    return {name for name, told in (await tables(stage)).items() if told != before[name]}


async def trailed(stage: Stage, account: int, job_id: int) -> str | None:
    """The last that the trail says."""
    return (await trail(stage.pool, acting(account), job_id))[-1].reason


async def sent_before(stage: Stage, account: int, job_id: int, *sent: tuple[int, int]) -> None:
    """Tests of the past: how many minutes ago, to how many addresses."""
    for minutes, addresses in sent:
        await stage.query(
            "INSERT INTO job_event (account_id, job_id, at, verb, from_status, to_status, by, reason) VALUES (%s, %s, "
            "clock_timestamp() - make_interval(mins => %s), 'test', 'queued', 'queued', 'tester', %s) RETURNING id",
            account, job_id, minutes, f"Tried a test to {addresses} addresses.")


async def test_ten_addresses_get_it_in_one_session_and_in_order_and_only_the_trail_hears_of_it(stage: Stage) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, SecretBox("test"), acting(account), "club.example")
    job = await stage.submit(account, 100, content=RICH, files=FILES)
    before = await tables(stage)
    answers = await tried(stage, account, job.id, TEN, position=7)
    assert await changed_by(stage, before) == {"job_event"}
    submitted, *moves = await trail(stage.pool, acting(account), job.id)
    assert submitted.verb == "submit"
    assert [(one.verb, one.by, one.reason) for one in moves] == [
        ("test", "tester", "Tried a test to 10 addresses."), ("tested", "tester", "Of the test: 10 accepted by the gateway.")]
    assert {(one.from_status, one.to_status) for one in moves} == {(job.status, job.status)}
    assert [(one.address, one.answer, one.code) for one in answers] == [(to, Answer.ACCEPTED, 250) for to in TEN]
    assert [(record.rcpt, record.connection) for record in stage.sandbox.records] == [
        ((to,), stage.sandbox.records[0].connection) for to in TEN]
    assert stage.sandbox.connections_total == 1


async def test_it_is_a_real_recipients_message_marked_and_with_nothing_that_leads_to_that_recipient(stage: Stage) -> None:
    account = await stage.account()
    await accounts.change_account(stage.pool, acting(account), bounce_domain="bounce.club.example",
                                  unsubscribe_url="https://club.example/u/{token}")
    await domains.add_domain(stage.pool, SecretBox("test"), acting(account), "club.example")
    content = replace(CONTENT, text="Hello {{ name }}, {{ email }}\n{{ unsubscribe_url }}\n")
    job = await stage.submit(account, 100, content=content)
    own = message_from_bytes((await look(stage, account, job.id, 7)).source, policy=policy.default)
    await tried(stage, account, job.id, TEN[:2], position=7)
    first, second = (message_from_bytes(one, policy=policy.default) for one in stage.sandbox.contents)
    assert (first["Subject"], first["To"], first.keys()) == ("[Test] News for Person 7", TEN[0], own.keys())
    assert len({first["Message-ID"], second["Message-ID"], own["Message-ID"]}) == 3
    made = {one["Message-ID"].partition(".")[0] for one in (first, second)}
    assert len(made) == 1, "they are made of one message"
    text = first.get_body(("plain",)).get_content()
    assert text.startswith(f"Hello Person 7, {TEN[0]}\r\n")
    links = [re.search(r"/u/(\S+)>", one["List-Unsubscribe"])[1] for one in (first, second)]
    assert links[0] in text
    assert [await addressee_of(stage.pool, link) for link in links] == [None, None]
    assert {record.mail_from for record in stage.sandbox.records} == {"news@club.example"}


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SENDING, Status.CANCELLED])
async def test_it_goes_out_whatever_the_job_is_doing(stage: Stage, status: Status) -> None:
    account = await stage.account()
    await stage.started(account, 1)
    job = await stage.submit(account, 2)
    if status is not Status.QUEUED:
        await cancel(stage.pool, acting(account, "boss"), job.id - 1)
    if status is Status.CANCELLED:
        await cancel(stage.pool, acting(account, "boss"), job.id)
    assert (await stage.until(account, job.id, status)).status is status
    assert [one.answer for one in await tried(stage, account, job.id, TEN[:1])] == [Answer.ACCEPTED]


async def test_what_the_gateway_says_of_each_is_told_in_its_words_and_the_rest_go_on(stage: Stage) -> None:
    stage.sandbox.script = Script(refuse={TEN[1]: Refusal("rcpt", 550, "5.1.1 No such mailbox")})
    account = await stage.account()
    job = await stage.submit(account, 100)
    answers = await tried(stage, account, job.id, TEN[:3])
    assert [one.answer for one in answers] == [Answer.ACCEPTED, Answer.REFUSED, Answer.ACCEPTED]
    assert answers[1] == Tried(TEN[1], Answer.REFUSED, "5.1.1 No such mailbox", 550, "5.1.1")
    assert await trailed(stage, account, job.id) == "Of the test: 2 accepted by the gateway, 1 refused by it."


async def test_no_answer_to_the_end_is_unknown_and_who_comes_after_is_unsent(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=At(drop=1.0))
    account = await stage.account()
    job = await stage.submit(account, 100)
    answers = await tried(stage, account, job.id, TEN[:3])
    assert [one.answer for one in answers] == [Answer.UNKNOWN, Answer.UNSENT, Answer.UNSENT]
    assert stage.sandbox.connections_total == 1, "it is not tried again"
    assert await trailed(stage, account, job.id) == "Of the test: 1 left without an answer, 2 not sent."


@pytest.mark.parametrize(("to", "words"), [
    ([], "1 to 10 addresses, not to 0"), ([*TEN, "one@more.example"], "1 to 10 addresses, not to 11"),
    ([TEN[0], "nobody"], '"nobody": There is no @'), (["Opted.Out@club.example"], "Opted.Out@club.example opted out"),
])
async def test_addresses_that_cannot_or_must_not_be_mailed_are_refused_by_name_and_nothing_is_sent(
        stage: Stage, to: list[str], words: str) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    await suppressions.suppress(stage.pool, acting(account), ["opted.out@club.example"])
    with pytest.raises(InvalidInput, match=re.escape(words)) as caught:
        await tried(stage, account, job.id, to)
    assert caught.value.faults[0].field == "to"
    assert stage.sandbox.connections_total == 0


async def test_an_address_that_is_given_twice_gets_one_message(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    assert len(await tried(stage, account, job.id, [TEN[0], TEN[0].upper()])) == 1 == stage.sandbox.accepted


async def test_an_address_that_this_gateway_cannot_be_told_and_a_message_that_cannot_be_made_stay_unsent(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, [IncomingRow(2, "ann@list.example", {"name": ""}), *rows(100, 2)])
    jörg, ann = await tried(stage, account, job.id, ["jörg@club.example", TEN[0]], position=2)
    assert (jörg.answer, ann.answer) == (Answer.UNSENT, Answer.ACCEPTED)
    assert "SMTPUTF8" in jörg.words
    [blank] = await tried(stage, account, job.id, TEN[:1], position=1)
    assert (blank.answer, blank.words) == (Answer.UNSENT, 'The message cannot be made: The field "name" is blank.')
    assert await trailed(stage, account, job.id) == "Of the test: 1 not sent."
    assert stage.sandbox.accepted == 1


async def test_a_gateway_that_cannot_be_used_says_so(stage: Stage) -> None:
    account = await stage.account(port=9)
    job = await stage.submit(account, 100)
    with pytest.raises(GatewayUnusable, match=r"127\.0\.0\.1:9 cannot be used"):
        await tried(stage, account, job.id, TEN[:1])


async def test_keys_that_cannot_be_opened_here_say_so_before_the_gateway_is_asked(stage: Stage) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, SecretBox("test"), acting(account), "club.example")
    job = await stage.submit(account, 100)
    before = await tables(stage)
    other = Deployment(SecretBox("another"), helo_name="web.example")
    with pytest.raises(GatewayUnusable, match="POSTROOM_SECRET_KEY"):
        await send_test(stage.pool, other, acting(account), job.id, 1, TEN)
    assert stage.sandbox.connections_total == 0
    assert await changed_by(stage, before) == set()


async def test_an_account_sends_a_hundred_an_hour_with_all_its_jobs_and_is_told_when_it_goes_on(stage: Stage) -> None:
    account, other = await stage.account(), await stage.account("Other")
    first, second, theirs = [await stage.submit(one, 100) for one in (account, account, other)]
    await sent_before(stage, account, first.id, (61, 10), (50, 5), (40, 14), (20, 10), *[(10, 10)] * 6, (5, 9))
    assert len(await tried(stage, account, second.id, TEN[:2])) == 2
    before = await tables(stage)
    _, [first_out], [next_out] = await stage.query(
        "SELECT to_char(at + interval '1 hour', 'HH24:MI:SS') FROM job_event WHERE verb = 'test' ORDER BY at LIMIT 3")
    for to, goes_on in ((TEN[:1], first_out), (TEN[:5], first_out), (TEN[:6], next_out)):
        with pytest.raises(Conflict, match=f"at most 100 test messages an hour. It goes on after {goes_on} UTC."):
            await tried(stage, account, second.id, to)
    assert (await changed_by(stage, before), stage.sandbox.accepted) == (set(), 2)
    assert len(await tried(stage, other, theirs.id, TEN)) == 10


async def test_a_request_with_the_same_key_is_carried_out_once_and_one_that_failed_may_come_again(stage: Stage) -> None:
    account = await stage.account(port=9)
    job = await stage.submit(account, 100)
    key = IdempotencyKey("once", bytes(32))

    async def asked() -> list[Tried]:
        return await send_test(stage.pool, stage.deployment, acting(account), job.id, 1, TEN[:1], idempotency=key)

    with pytest.raises(GatewayUnusable):
        await asked()
    await stage.query("UPDATE gateway SET port = %s RETURNING 1", stage.sandbox.port)
    ended = await asyncio.gather(*(asked() for _ in range(4)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == ["TriedBefore"] * 3 + ["list"]
    assert stage.sandbox.accepted == 1


async def test_of_two_at_the_same_moment_that_do_not_both_fit_one_is_refused(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    await sent_before(stage, account, job.id, *[(10, 10)] * 9)
    async with stage.pool.connection() as conn, conn.transaction():
        await conn.execute("LOCK TABLE job_event IN SHARE MODE")  # the trail can be read and not written
        racing = [asyncio.create_task(tried(stage, account, job.id, TEN[:6])) for _ in range(2)]
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        async with asyncio.timeout(10):
            while await stage.query(waiting) != [(2,)]:  # noqa: ASYNC110 - the server does not tell
                await asyncio.sleep(0.01)
    ended = await asyncio.gather(*racing, return_exceptions=True)
    assert {type(one) for one in ended} == {Conflict, list}
    assert stage.sandbox.accepted == 6


async def test_without_a_database_at_the_end_what_the_gateway_said_is_told_and_the_trail_says_that_it_was_tried(
        stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    record = jobs.record_event

    async def away_in_the_end(conn: Connection, account_id: int, job_id: int, verb: str, **more: str) -> None:
        if verb == "tested":
            raise Unavailable("The database is away.")
        await record(conn, account_id, job_id, verb, **more)

    monkeypatch.setattr(jobs, "record_event", away_in_the_end)
    account = await stage.account()
    job = await stage.submit(account, 100)
    [answer] = await tried(stage, account, job.id, TEN[:1])
    assert answer.answer is Answer.ACCEPTED
    assert await trailed(stage, account, job.id) == "Tried a test to 1 address."


async def test_another_accounts_job_and_a_recipient_that_is_not_there_are_not_found(stage: Stage) -> None:
    account, other = await stage.account(), await stage.account("Other")
    job = await stage.submit(account, 100)
    for whose, position in ((other, 1), (account, 101)):
        with pytest.raises(NotFound):
            await tried(stage, whose, job.id, TEN[:1], position=position)
    assert stage.sandbox.connections_total == 0


async def test_the_log_says_who_and_how_many_and_never_to_whom(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    with structlog.testing.capture_logs() as logged:
        await tried(stage, account, job.id, TEN[:2])
    [entry] = logged
    assert (entry["by"], entry["job"], entry["addresses"], entry["accepted"]) == ("tester", job.id, 2, 2)
    assert "@" not in str(entry)
