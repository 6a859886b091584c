"""Opt-outs are looked up, added and lifted; who did what, when and why stays."""

from __future__ import annotations

import pytest

from acting import acting
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow.audience.suppressions import lift, suppress, suppressions, trail
from postroom.flow.audience.unsubscribe import unsubscribe
from postroom.message.wire.token import Tokens
from stage import Stage


async def test_they_are_listed_by_address_page_by_page_and_found_however_they_are_spelt(stage: Stage) -> None:
    account, other = await stage.account("Club"), await stage.account("School")
    await suppress(stage.pool, acting(account, "key website"), [f"Person{n}@LIST.example" for n in (3, 1, 2)], "Asked by letter.")
    await suppress(stage.pool, acting(other), ["person9@list.example"])
    first = await suppressions(stage.pool, acting(account), limit=2)
    assert [one.address for one in first] == ["person1@list.example", "person2@list.example"]
    rest = await suppressions(stage.pool, acting(account), after=first[-1].address, limit=2)
    assert [(one.address, one.reason, one.by) for one in rest] == [("person3@list.example", "Asked by letter.", "key website")]
    assert [one.address for one in await suppressions(stage.pool, acting(account), address="PERSON2@list.EXAMPLE", limit=1)] == [
        "person2@list.example"]
    assert await suppressions(stage.pool, acting(account), address="person9@list.example", limit=1) == []
    with pytest.raises(InvalidInput):
        await suppressions(stage.pool, acting(account), address="nobody", limit=1)


async def test_one_that_is_lifted_keeps_its_whole_story_and_is_mailed_again(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 3)
    [(key,)] = await stage.query("SELECT token_key FROM account WHERE id = %s", account)
    token = Tokens(key, job.id).unsubscribe(1)
    assert await unsubscribe(stage.pool, token) is not None
    lifted = await lift(stage.pool, acting(account, "key website"), "Person1@list.example", "Signed up again.",
                        is_deliberate=True)
    assert (lifted.address, lifted.by) == ("person1@list.example", "recipient")
    await unsubscribe(stage.pool, token)
    told = await trail(stage.pool, acting(account), "person1@list.example")
    link = f"Unsubscribed by the link in job {job.id}."
    assert [(one.verb, one.by, one.reason) for one in told] == [
        ("suppress", "recipient", link), ("lift", "key website", "Signed up again."), ("suppress", "recipient", link)]
    assert [one.at for one in told] == sorted(one.at for one in told)
    await lift(stage.pool, acting(account, "boss"), "person1@list.example", "Again.", is_deliberate=True)
    assert (await stage.submit(account, 3)).recipient_count == 3


async def test_none_is_lifted_by_the_way(stage: Stage) -> None:
    account, other = await stage.account("Club"), await stage.account("School")
    await suppress(stage.pool, acting(account, "key website"), ["ann@list.example"], "Asked by letter.")
    with pytest.raises(Conflict, match=r"\(key website\): Asked by letter\. Lifting it means that the account mails this person"):
        await lift(stage.pool, acting(account, "boss"), "ann@list.example", "Why not", is_deliberate=False)
    with pytest.raises(InvalidInput, match="Say why"):
        await lift(stage.pool, acting(account, "boss"), "ann@list.example", "  ", is_deliberate=True)
    for whose, address in ((other, "ann@list.example"), (account, "bob@list.example")):
        for is_deliberate in (True, False):
            with pytest.raises(NotFound, match="is not suppressed"):
                await lift(stage.pool, acting(whose, "boss"), address, "A mistake.", is_deliberate=is_deliberate)
    assert len(await suppressions(stage.pool, acting(account), limit=9)) == 1
    assert len(await trail(stage.pool, acting(account), "ann@list.example")) == 1


async def test_an_address_that_is_named_twice_is_taken_off_once(stage: Stage) -> None:
    account = await stage.account()
    assert await suppress(stage.pool, acting(account), ["ann@list.example", "ANN@list.example"]) == 1
    assert await suppress(stage.pool, acting(account), ["ann@list.example"], "Bounced.") == 0
    assert [one.reason for one in await trail(stage.pool, acting(account), "ann@list.example")] == ["Opted out."]
