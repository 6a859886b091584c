"""A stage without a gateway, for tests of the ledger: jobs are made, claimed and booked, nothing is handed off."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from postroom.domain.audience import IncomingRow
from postroom.gateway.sandbox.server import Sandbox
from postroom.ledger.database.db import Pool
from postroom.ledger.job.jobs import JobOverview
from stage import Stage


class Desk(Stage):
    """As a stage; the gateway of its accounts is never spoken to."""

    def __init__(self, pool: Pool, url: str) -> None:
        super().__init__(pool, url, cast(Sandbox, None), cast(Path, None))

    async def account(self, name: str = "Club", **options: Any) -> int:
        return await super().account(name, port=25, **options)

    async def submit(self, account_id: int, list_rows: Iterable[IncomingRow] | int, **options: Any) -> JobOverview:
        """Its lists need not have what a message prints."""
        return await super().submit(account_id, list_rows, **{"field_policy": "blank", **options})
