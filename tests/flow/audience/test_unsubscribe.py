"""Unsubscribing by a link: it takes its own address off its own account's list, and nobody else's off any."""

from __future__ import annotations

from acting import acting
from postroom.domain.audience import IncomingRow
from postroom.flow.audience.suppressions import suppress
from postroom.flow.audience.unsubscribe import addressee_of, unsubscribe
from postroom.gateway.sandbox.script import Answer, Script
from postroom.message.wire.token import Tokens
from stage import Stage, rows


async def tokens_of(stage: Stage, account_id: int, job_id: int) -> Tokens:
    [(key,)] = await stage.query("SELECT token_key FROM account WHERE id = %s", account_id)
    return Tokens(key, job_id)


async def suppressions(stage: Stage) -> list[tuple[int, str, str]]:
    return [*await stage.query("SELECT account_id, address_key, reason FROM suppression ORDER BY 1, 2")]


async def test_a_link_says_whom_it_is_about_and_changes_nothing(stage: Stage) -> None:
    account = await stage.account("Club")
    job = await stage.submit(account, 100)
    addressee = await addressee_of(stage.pool, (await tokens_of(stage, account, job.id)).unsubscribe(2))
    assert addressee is not None
    assert (addressee.account_id, addressee.account_name, addressee.address) == (account, "Club", "person2@list.example")
    assert await suppressions(stage) == []


async def test_unsubscribing_holds_for_that_address_and_account_and_the_first_reason_stands(stage: Stage) -> None:
    first, second = await stage.account("first"), await stage.account("second")
    jobs = [await stage.submit(first, 100), await stage.submit(first, 100), await stage.submit(second, 100)]
    await suppress(stage.pool, acting(second), ["person9@list.example"], "Bounced.")
    for job in (jobs[0], jobs[0], jobs[1]):
        assert await unsubscribe(stage.pool, (await tokens_of(stage, first, job.id)).unsubscribe(3)) is not None
    assert await unsubscribe(stage.pool, (await tokens_of(stage, second, jobs[2].id)).unsubscribe(9)) is not None
    assert await suppressions(stage) == [
        (first, "person3@list.example", f"Unsubscribed by the link in job {jobs[0].id}."),
        (second, "person9@list.example", "Bounced.")]


async def test_what_is_no_link_of_ours_is_nobody(stage: Stage) -> None:
    """A test message's (position 0), beyond the list, of another account's key, of a job that is not, or no token."""
    account, other = await stage.account("Club"), await stage.account("Other")
    job = await stage.submit(account, 100)
    tokens, others = await tokens_of(stage, account, job.id), await tokens_of(stage, other, job.id)
    no_job = await tokens_of(stage, account, 2**40 - 1)
    genuine = tokens.unsubscribe(1)
    for token in (tokens.unsubscribe(0), tokens.unsubscribe(101), tokens.unsubscribe(2**24 - 1), others.unsubscribe(1),
                  no_job.unsubscribe(1), tokens.bounce(1), genuine[:-1], genuine + "=", "", "\0", "\ud800"):
        assert await addressee_of(stage.pool, token) is None
        assert await unsubscribe(stage.pool, token) is None
    assert await suppressions(stage) == []


async def test_who_was_never_mailed_has_no_link(stage: Stage) -> None:
    account = await stage.account()
    listed = [*rows(98), IncomingRow(100, "person1@list.example", {}), IncomingRow(101, "nobody", {})]
    job = await stage.submit(account, listed, duplicates="skip", unusable_addresses="fail")
    tokens = await tokens_of(stage, account, job.id)
    booked = [row[0] for row in await stage.query("SELECT position FROM recipient WHERE booked IS NOT NULL ORDER BY 1")]
    assert booked == [99, 100]
    assert [await addressee_of(stage.pool, tokens.unsubscribe(position)) for position in booked] == [None, None]
    assert await addressee_of(stage.pool, tokens.unsubscribe(1)) is not None


async def test_a_link_of_an_old_job_counts_for_one_that_is_frozen_already(stage: Stage) -> None:
    account = await stage.account()
    old = await stage.submit(account, 3)
    async with stage.worker():
        await stage.over(account, old.id)
    frozen = await stage.started(account, 100)
    await unsubscribe(stage.pool, (await tokens_of(stage, account, old.id)).unsubscribe(2))
    async with stage.worker():
        await stage.over(account, frozen.id)
    sides = await stage.sides(account, frozen.id)
    assert sides.counts == (99, 0, 1, 0, 0)
    assert sides.told[2].reply == f"Unsubscribed by the link in job {old.id}."


async def test_who_unsubscribes_in_the_middle_of_a_send_gets_nothing_of_it(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.01))
    account = await stage.account(connections=1)
    job = await stage.started(account, 300)
    async with stage.worker():
        await stage.until_accepted(1)  # one session takes the list in order, a window of at most fifty at a time
        await unsubscribe(stage.pool, (await tokens_of(stage, account, job.id)).unsubscribe(300))
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.counts == (299, 0, 1, 0, 0)
    assert sides.told[300][2:] == ("suppression", None, f"Unsubscribed by the link in job {job.id}.")
    assert 300 not in sides.taken
