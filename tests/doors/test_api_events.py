"""Live progress over HTTP: whole states, one reader for all viewers, right again after a lost connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from acting import acting
from postroom.doors import door, live
from postroom.flow.account import keys

from .serving import job_of
from .test_pages import token_in


async def events_of(answer) -> AsyncIterator[tuple[str, dict]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_the_job_comes_at_once_again_at_each_change_and_the_stream_ends_with_it(site):
    account_id = await site.account()
    api, job = await site.api(account_id), await site.job(account_id)
    async with asyncio.timeout(30), api.stream("GET", f"/jobs/{job['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = events_of(answer)
        assert await anext(events) == ("job", job)
        approved = (await api.put(f"/jobs/{job['id']}/approval")).json()
        assert (await anext(events))[1]["status"] == approved["status"] == "sending"
        await api.put(f"/jobs/{job['id']}/cancellation")
        name, state = await anext(events)
        assert (name, state["status"], state["unsent"]) == ("job", "cancelled", 100)
        assert await anext(events) == ("end", {"id": job["id"], "status": "cancelled"})
        assert [one async for one in events] == []


async def test_a_job_that_is_over_is_told_once(site):
    api = await site.api(await site.account())
    job = (await api.post("/jobs", json=job_of(100))).json()
    await api.put(f"/jobs/{job['id']}/cancellation")
    async with asyncio.timeout(30), api.stream("GET", f"/jobs/{job['id']}/events") as answer:
        assert [name async for name, _ in events_of(answer)] == ["job", "end"]


async def test_many_viewers_of_a_job_are_one_reader_and_nobody_watching_is_none(site, monkeypatch):
    readers = 0
    watch = live.watch

    def counted(*given):
        nonlocal readers
        readers += 1
        return watch(*given)

    monkeypatch.setattr(live, "watch", counted)
    api = await site.api(await site.account())
    job_id = (await api.post("/jobs", json=job_of(100))).json()["id"]
    watched = site.app.state.door.live._watched

    async def first_state() -> None:
        async with api.stream("GET", f"/jobs/{job_id}/events") as answer:
            async for _ in events_of(answer):
                await everyone_is_here.wait()
                return

    everyone_is_here = asyncio.Barrier(21)
    async with asyncio.timeout(30):
        viewers = [asyncio.create_task(first_state()) for _ in range(20)]
        await everyone_is_here.wait()
        assert readers == 1
        assert list(watched) == [(1, job_id)]
        await asyncio.gather(*viewers)
        while watched:  # noqa: ASYNC110 - a disconnect is noticed when it is noticed
            await asyncio.sleep(0.01)


async def test_after_a_lost_connection_the_first_event_is_right_again(site):
    account_id = await site.account()
    api, job_id = await site.api(account_id), (await site.job(account_id))["id"]
    async with asyncio.timeout(30):
        async with api.stream("GET", f"/jobs/{job_id}/events") as answer:
            await anext(events_of(answer))
            await site.stop()
        await site.start()
        await api.put(f"/jobs/{job_id}/approval")
        async with api.stream("GET", f"/jobs/{job_id}/events") as answer:
            assert (await anext(events_of(answer)))[1]["status"] == "sending"


async def test_a_database_that_comes_back_finds_its_viewers_still_there(site, monkeypatch):
    fails = 1
    watch = live.watch

    async def failing_once(*given):
        nonlocal fails
        if fails:
            fails -= 1
            raise live.Unavailable("away")
        async for state in watch(*given):
            yield state

    monkeypatch.setattr(live, "watch", failing_once)
    monkeypatch.setattr(live, "RETRY_AFTER_S", 0.01)
    api = await site.api(await site.account())
    job_id = (await api.post("/jobs", json=job_of(100))).json()["id"]
    async with asyncio.timeout(30), api.stream("GET", f"/jobs/{job_id}/events") as answer:
        assert (await anext(events_of(answer)))[1]["id"] == job_id


async def test_a_stream_ends_with_its_key_and_hears_nothing_of_what_happens_then(site):
    account_id = await site.account()
    api, job = await site.api(account_id), await site.job(account_id)
    [key] = [one for one in await keys.keys(site.pool, acting(account_id)) if one.name == "website"]
    async with api.stream("GET", f"/jobs/{job['id']}/events") as answer:
        events = events_of(answer)
        await anext(events)
        await keys.revoke_key(site.pool, acting(account_id), key.id)
        async with asyncio.timeout(2.5):
            assert [one async for one in events] == []


async def test_a_stream_that_has_lasted_for_an_hour_ends_without_a_word_and_is_asked_for_again(site, monkeypatch):
    monkeypatch.setattr(door, "STREAM_S", 0.5)
    account_id = await site.account()
    api, job = await site.api(account_id), await site.job(account_id)
    for _ in range(2):
        async with asyncio.timeout(20), api.stream("GET", f"/jobs/{job['id']}/events") as answer:
            assert [name for name, _ in [one async for one in events_of(answer)]] == ["job"]


async def test_a_stream_of_a_page_ends_with_the_sign_out(site):
    account_id = await site.account()
    operator, job = await site.operator(), await site.job(account_id)
    path = f"/accounts/{account_id}/jobs/{job['id']}"
    page = await operator.get(path)
    async with operator.stream("GET", f"{path}/events") as answer:
        events = events_of(answer)
        await anext(events)
        await operator.post("/sign-out", data={"form_token": token_in(page)})
        async with asyncio.timeout(2.5):
            assert [one async for one in events] == []
