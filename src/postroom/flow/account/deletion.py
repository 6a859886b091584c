"""Deleting an account, a gateway or a sending domain.

    what                 is refused while                                              goes with it
    an account           a job is not over, or is still in a worker's hands            all that is its own, to the last recipient
    a gateway            any job names it: the history says where mail went            its pace
    a sending domain     a job that is not over is signed for it                       its keys

Promises: nothing of another account is touched, and nothing of a job is deleted but with its account; who deleted an account,
when, and how large it was is kept. Fails with Conflict, which says what stands in the way.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from postroom.domain.access import Actor, Right
from postroom.domain.job import Status
from postroom.errors import Conflict, InvalidInput, storable
from postroom.flow.account.acting import permitted
from postroom.flow.account.domains import domain_name
from postroom.ledger.account import deletion as ledger
from postroom.ledger.account.deletion import Holdings as Holdings
from postroom.ledger.database.db import Pool

JOBS_TOLD = 5

log = structlog.get_logger(__name__)


async def holdings(pool: Pool, actor: Actor) -> Holdings:
    """All that would go with the account now."""
    account_id = permitted(actor, Right.READ_SETTINGS)
    async with pool.connection() as conn:
        return await ledger.holdings(conn, account_id)


async def delete_account(pool: Pool, actor: Actor, *, named: str) -> Holdings:
    """What went. `named` is its name, as whoever wants it gone has typed it.

    Links to unsubscribe in its old messages lead nowhere from then on. Raises NotFound, InvalidInput, Conflict.
    """
    account_id = permitted(actor, Right.WRITE_SETTINGS)
    async with pool.connection() as conn, conn.transaction():
        name = await ledger.lock_account_alone(conn, account_id)
        if named != name:
            raise InvalidInput(f'To delete the account, give its name as it is: "{name}".', field="name")
        _refuse(await ledger.active_jobs(conn, account_id), f'The account "{name}" is needed')
        gone = await ledger.holdings(conn, account_id)
        await ledger.delete_account(conn, account_id, by=actor)
    log.info("an account was deleted", account=name, account_id=account_id, by=actor.name, jobs=gone.jobs,
             recipients=gone.recipients)
    return gone


async def delete_gateway(pool: Pool, actor: Actor, name: str) -> None:
    """Raises NotFound, Conflict."""
    account_id = permitted(actor, Right.WRITE_SETTINGS)
    storable(name, "name")
    async with pool.connection() as conn, conn.transaction():
        await ledger.lock_account_alone(conn, account_id)
        gateway_id, jobs = await ledger.gateway_named(conn, account_id, name)
        _refuse(await ledger.active_jobs(conn, account_id, gateway_id=gateway_id), f'The gateway "{name}" is needed')
        if jobs:
            raise Conflict(f'The gateway "{name}" stands in the history, of {jobs:,} job{"s" if jobs > 1 else ""}, which says '
                           "where mail went. It stays; give it another host and login with postroom gateway create --replace.")
        await ledger.delete_gateway(conn, account_id, gateway_id)


async def delete_domain(pool: Pool, actor: Actor, name: str) -> str:
    """The domain as it stood in DNS, from which its records can be taken. Raises InvalidInput, NotFound, Conflict."""
    account_id = permitted(actor, Right.WRITE_SETTINGS)
    domain = domain_name(storable(name, "domain"))
    async with pool.connection() as conn, conn.transaction():
        await ledger.lock_account_alone(conn, account_id)
        domain_id = await ledger.domain_named(conn, account_id, domain)
        _refuse(await ledger.active_jobs(conn, account_id, domain_id=domain_id), f"The keys of {domain} are needed")
        await ledger.delete_domain(conn, account_id, domain_id)
    return domain


def _refuse(active: Sequence[tuple[int, Status]], needed: str) -> None:
    """Raises Conflict where there is any."""
    if active:
        told = ", ".join(f"job {job_id} ({'in hand' if status.is_over else status.label})"
                         for job_id, status in active[:JOBS_TOLD])
        more = f" and {len(active) - JOBS_TOLD:,} more" if len(active) > JOBS_TOLD else ""
        raise Conflict(f"{needed} by {told}{more}. Wait for the end, or cancel.", job_id=active[0][0])
