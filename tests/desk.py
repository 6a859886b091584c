"""A stage without a gateway, for tests of the ledger: jobs are made, claimed and booked, nothing is handed off."""

from __future__ import annotations

from typing import Any, cast

from postroom.gateway.sandbox import Sandbox
from postroom.ledger.db import Pool
from stage import Stage


class Desk(Stage):
    """As a stage; the gateway of its accounts is never spoken to."""

    def __init__(self, pool: Pool, url: str) -> None:
        super().__init__(pool, url, cast(Sandbox, None))

    async def account(self, name: str = "Club", **options: Any) -> int:
        return await super().account(name, port=25, **options)
