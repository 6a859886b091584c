"""Why a job does not move although its status would let it: a condition beside the status, with a reason and a time.

Nobody is failed by it. When the time is up a single lane goes to see (`recover.missing_lanes`), and what it accepts clears the
condition; a gateway that cannot be used for `gateway_give_up` fails the job, its unsent recipients intact.
"""

from __future__ import annotations

import re

import structlog

from postroom.ledger.database.db import Pool
from postroom.ledger.delivery.retries import Refused
from postroom.ledger.delivery.windows import Claim
from postroom.ledger.job import jobs

RETRY_MAX_S = 300.0

log = structlog.get_logger(__name__)


async def wait(pool: Pool, job: Claim | Refused, kind: str, reason: str, *, base_s: float = 0.0,
               delay_s: float | None = None) -> None:
    """For `delay_s`, or twice as long each time from half of `base_s` on. Without jitter: a single lane goes to see, so there is
    no herd to scatter."""
    log.warning("the job waits", job=job.job_id, kind=kind, reason=reason)
    async with pool.connection() as conn:
        times = await jobs.condition_times(conn, job.account_id, job.job_id, kind)
        if delay_s is None:
            delay_s = min(RETRY_MAX_S, base_s / 2 * 2.0 ** min(times, 20))
        await jobs.set_condition(conn, job.account_id, job.job_id, kind, reason=reason, delay_s=delay_s)


def refusing(said: str) -> str:
    """Why a job waits whose mail the gateway takes for nobody. Who wants to know what to do may read it there: the name that a
    worker gives at EHLO is refused by many, some as late as for a recipient."""
    is_about_the_name = re.search(r"\b(?:helo|ehlo|hostname)\b", said, re.IGNORECASE)
    return f"The gateway refuses the account's mail: “{said}”." + (
        " POSTROOM_HELO_NAME is the name that it means." if is_about_the_name else "")
