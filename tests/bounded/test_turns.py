"""Turns: nobody takes places that others need, whoever came first with however much."""

from __future__ import annotations

import asyncio

import pytest

from postroom.bounded.turns import Turns
from postroom.errors import TooMany


class Crowd:
    """Those who are at work, and in which order they came to it."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.began: list[str] = []
        self.may_end: dict[str, asyncio.Event] = {}

    def send(self, who: str, *, is_short: bool = False) -> asyncio.Task[None]:
        self.may_end[who] = asyncio.Event()
        return asyncio.create_task(self._work(who, is_short))

    async def _work(self, who: str, is_short: bool) -> None:
        async with self.turns.taken(who[0], is_short=is_short):
            self.began.append(who)
            await self.may_end[who].wait()

    async def settle(self) -> list[str]:
        """Who has begun when everybody who can has."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.began


async def test_one_account_leaves_places_for_another() -> None:
    crowd = Crowd(Turns(2, each=1))
    tasks = [crowd.send(who) for who in ("a1", "a2", "a3", "b1")]
    assert await crowd.settle() == ["a1", "b1"]
    crowd.may_end["a1"].set()
    assert await crowd.settle() == ["a1", "b1", "a2"]
    for may_end in crowd.may_end.values():
        may_end.set()
    await asyncio.gather(*tasks)


async def test_who_waits_is_taken_account_by_account_and_each_in_its_order() -> None:
    crowd = Crowd(Turns(1, each=1))
    tasks = [crowd.send(who) for who in ("a1", "a2", "a3", "b1", "c1")]
    await crowd.settle()
    for who in ("a1", "b1", "c1", "a2", "a3"):
        crowd.may_end[who].set()
        await crowd.settle()
    assert crowd.began == ["a1", "b1", "c1", "a2", "a3"]
    await asyncio.gather(*tasks)


async def test_what_is_short_has_places_that_long_ones_leave() -> None:
    crowd = Crowd(Turns(3, kept=1))
    tasks = [crowd.send(who) for who in ("a1", "b1", "c1", "d1")]
    tasks += [crowd.send(who, is_short=True) for who in ("e1", "f1")]
    assert await crowd.settle() == ["a1", "b1", "e1"]
    crowd.may_end["a1"].set()
    assert set(await crowd.settle()) == {"a1", "b1", "e1", "f1"}, "one that is short may have any place"
    crowd.may_end["e1"].set()
    assert "c1" in await crowd.settle()
    for may_end in crowd.may_end.values():
        may_end.set()
    await asyncio.gather(*tasks)


async def test_more_than_may_wait_are_refused_and_nobody_else_is() -> None:
    crowd = Crowd(Turns(4, each=1, waiting=2))
    tasks = [crowd.send(who) for who in ("a1", "a2", "a3", "a4", "b1")]
    assert await crowd.settle() == ["a1", "b1"]
    with pytest.raises(TooMany, match="too many requests"):
        await tasks[3]
    for may_end in crowd.may_end.values():
        may_end.set()
    await asyncio.gather(tasks[0], tasks[1], tasks[2], tasks[4])


async def test_where_nobody_may_wait_nobody_waits_for_other_accounts_either() -> None:
    crowd = Crowd(Turns(2, each=2, waiting=0))
    tasks = [crowd.send(who) for who in ("a1", "a2", "b1")]
    assert await crowd.settle() == ["a1", "a2"]
    with pytest.raises(TooMany):
        await tasks[2]
    for may_end in crowd.may_end.values():
        may_end.set()
    await asyncio.gather(*tasks[:2])


async def test_who_gives_up_while_waiting_leaves_no_place_taken() -> None:
    crowd = Crowd(Turns(1, each=1, waiting=1))
    first, second = crowd.send("a1"), crowd.send("a2")
    await crowd.settle()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = crowd.send("a3")
    crowd.may_end["a1"].set()
    assert await crowd.settle() == ["a1", "a3"]
    crowd.may_end["a3"].set()
    await asyncio.gather(first, third)
    assert crowd.turns._own == {}
