"""Turns: of a few places at once each account has few, so that one account's worst leaves room for everybody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass

from postroom.errors import TooMany


@dataclass(slots=True)
class _Own:
    """One account's part of it: those of it that are at work or wait."""

    places: asyncio.Semaphore
    count: int = 0


class Turns:
    """`places` at once, `each` of one account. The others wait, account by account: whoever asked for much waits for itself.

    Of one account at most `waiting` wait, with 0 nobody at all; what is more is refused. Some of the places are `kept` for what
    is short, so that it never waits for several accounts' long ones.
    """

    def __init__(self, places: int, *, each: int = 1, waiting: int = 16, kept: int = 0) -> None:
        self._places, self._for_long = asyncio.Semaphore(places), asyncio.Semaphore(places - kept)
        self._each, self._waiting = each, waiting
        self._own: dict[Hashable, _Own] = {}

    @contextlib.asynccontextmanager
    async def taken(self, whose: Hashable, *, is_short: bool = False) -> AsyncIterator[None]:
        """A place, for as long as the block lasts. Raises TooMany."""
        own = self._own.setdefault(whose, _Own(asyncio.Semaphore(self._each)))
        if own.count >= self._each + self._waiting or (self._waiting == 0 and self._places.locked()):
            raise TooMany("There are too many requests like this under way. Wait until some of them are answered.")
        own.count += 1
        try:
            async with own.places, contextlib.nullcontext() if is_short else self._for_long, self._places:
                yield
        finally:
            own.count -= 1
            if own.count == 0:
                del self._own[whose]
