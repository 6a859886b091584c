"""Why a job does not move although its status would let it: a condition beside the status, with a reason and a time.

Nobody is failed by it. When the time is up a single lane goes to see (`recover.missing_lanes`), and what it accepts clears the
condition; a gateway that cannot be used for `gateway_give_up` fails the job, its unsent recipients intact.
"""

from __future__ import annotations

import structlog

from postroom.ledger.database.db import Pool
from postroom.ledger.delivery.windows import Claim
from postroom.ledger.job import jobs

RETRY_MAX_S = 300.0

log = structlog.get_logger(__name__)


async def wait(pool: Pool, claim: Claim, kind: str, reason: str, *, base_s: float = 0.0, delay_s: float | None = None) -> None:
    """For `delay_s`, or twice as long each time from half of `base_s` on. Without jitter: a single lane goes to see, so there is
    no herd to scatter."""
    log.warning("the job waits", job=claim.job_id, kind=kind, reason=reason)
    async with pool.connection() as conn:
        times = await jobs.condition_times(conn, claim.account_id, claim.job_id, kind)
        if delay_s is None:
            delay_s = min(RETRY_MAX_S, base_s / 2 * 2.0 ** min(times, 20))
        await jobs.set_condition(conn, claim.account_id, claim.job_id, kind, reason=reason, delay_s=delay_s)
