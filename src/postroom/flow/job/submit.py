"""From a message and a list to a job: the list is frozen and counted in the transaction that creates it.

Before that the message is prepared (`content/preparing`). A job below the account's threshold is checked for every recipient
before it is created, because it starts by itself, unless it was asked to wait at the gate; a larger one is checked by the workers
while it waits for its approval (`preflight`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from postroom.bounded.spool import is_small
from postroom.domain.access import Right
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status, needs_approval
from postroom.domain.pace import chunk_size
from postroom.domain.preflight import Finding, FindingKind
from postroom.errors import Fault, InvalidInput
from postroom.flow.account.acting import permitted
from postroom.flow.account.deployment import Deployment
from postroom.flow.audience.intake import Listed, fill_intake, read_through
from postroom.flow.check import preflight
from postroom.flow.content import requirements
from postroom.flow.content.outgoing import decode_fields
from postroom.flow.content.preparing import (
    MESSAGE,
    Prepared,
    Submission,
    chosen_gateway,
    identity_for,
    message_columns,
    prepare,
    unsaved_job,
)
from postroom.flow.job.correction import taking_the_place
from postroom.flow.job.start import start_next
from postroom.ledger.account import accounts
from postroom.ledger.account.accounts import Account
from postroom.ledger.account.actors import said_by
from postroom.ledger.account.gateways import Gateway
from postroom.ledger.check import preflight as ledger
from postroom.ledger.content import attachments
from postroom.ledger.database import engine
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import jobs, recipients
from postroom.ledger.job.jobs import JobOverview as JobOverview
from postroom.ledger.job.recipients import Listing

IDEMPOTENCY_KEY_MAX = 255


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Makes a repeated request harmless: `fingerprint` is a SHA-256 of everything that was asked for."""

    key: str
    fingerprint: bytes


async def submit(pool: Pool, deployment: Deployment, submission: Submission, rows: Iterable[IncomingRow] | None, *,
                 idempotency: IdempotencyKey | None = None) -> JobOverview:
    """Creates a job: pending approval from the account's threshold on, or where the submission waits at the gate; else queued
    and started when it is first.

    `rows` None: the list of another job where the submission names one, else all contacts of the account. All or nothing: with
    an error there is no job. Raises InvalidInput (content, options, list unreadable, nobody left, a small job that its check
    refuses, an idempotency key used for something else), NotFound, Conflict (key in use, another job took the place).
    """
    account_id = permitted(submission.actor, Right.WRITE_JOBS)
    if idempotency is not None:  # before a long list is read again, and a time that was to come then is one that has passed
        async with pool.connection() as conn:
            if (known := await earlier_job(conn, account_id, idempotency)) is not None:
                return await jobs.view_job(conn, account_id, known)
    prepared = await deployment.bounded.run(account_id, MESSAGE, prepare, submission)
    reading = contextlib.nullcontext() if rows is None else read_through(deployment.bounded, account_id, rows)
    async with (reading as listed, deployment.freezing.taken(account_id, is_short=listed is not None and is_small(listed.file)),
                pool.connection() as conn, conn.transaction()):
        if (known := await earlier_job(conn, account_id, idempotency)) is not None:
            return await jobs.view_job(conn, account_id, known)
        submission = await taking_the_place(conn, submission)
        account = await accounts.hold_account(conn, account_id)
        gateway = await chosen_gateway(conn, submission)
        remarks = await _take_in(conn, submission, listed)
        job_id = await freeze(conn, deployment, submission, prepared, account, gateway, remarks)
        await remember(conn, account.id, idempotency, job_id)
        return await jobs.view_job(conn, account.id, job_id)


async def freeze(conn: Connection, deployment: Deployment, submission: Submission, prepared: Prepared, account: Account,
                 gateway: Gateway, remarks: Sequence[str] = ()) -> int:
    """The new job's number: the intake is there, and what is left of it becomes the list. Raises InvalidInput."""
    listing = await recipients.draw_up(conn, account.id, duplicates=submission.duplicates,
                                       unusable_addresses=submission.unusable_addresses)
    if listing.recipient_count == 0:
        raise await _nobody_left(conn, listing, remarks)
    list_digest = await recipients.deal(conn, chunk_size(listing.recipient_count, gateway.connections))
    return await _create(conn, deployment, submission, prepared, account, gateway, listing, list_digest, remarks)


async def earlier_job(conn: Connection, account_id: int, idempotency: IdempotencyKey | None) -> int | None:
    """The job that this request came to when it was made before. Raises InvalidInput, Conflict."""
    if idempotency is None:
        return None
    if not 1 <= len(idempotency.key) <= IDEMPOTENCY_KEY_MAX or not idempotency.key.isprintable():
        raise InvalidInput(f"An Idempotency-Key has 1 to {IDEMPOTENCY_KEY_MAX} printable characters.", field="Idempotency-Key")
    known = await jobs.recall_idempotency_key(conn, account_id, idempotency.key)
    if known is None:
        return None
    fingerprint, job_id = known
    if fingerprint != idempotency.fingerprint:
        raise InvalidInput(f'The Idempotency-Key "{idempotency.key}" was used for another request (job {job_id}). '
                           "Use a new key for a new send.", field="Idempotency-Key")
    return job_id


async def remember(conn: Connection, account_id: int, idempotency: IdempotencyKey | None, job_id: int) -> None:
    """In the transaction of its effect."""
    if idempotency is not None:
        await jobs.remember_idempotency_key(conn, account_id, idempotency.key, idempotency.fingerprint, job_id)


async def _take_in(conn: Connection, submission: Submission, listed: Listed | None) -> tuple[str, ...]:
    """What is remarked on the list."""
    if listed is not None:
        await fill_intake(conn, await recipients.create_intake(conn), listed)
        return listed.remarks
    if submission.list_of is None:
        await recipients.intake_from_contacts(conn, submission.actor.account_id)
        return ()
    await recipients.intake_of_list(conn, submission.actor.account_id, submission.list_of)
    return (f"The list is that of job {submission.list_of}, without the rows that it left out.",)


async def _nobody_left(conn: Connection, listing: Listing, remarks: Sequence[str]) -> InvalidInput:
    if not listing.excluded:
        return InvalidInput("The list has no rows: a send needs at least one recipient.", field="recipients")
    faults = tuple(Fault(found.reason, "recipients", found.row_no) for found in await recipients.some_findings(conn))
    told = ", ".join(f"{n:,} {kind}" for kind, n in sorted(listing.excluded.items()))
    return InvalidInput(" ".join((f"Nobody is left to send to: {told}.", *remarks)), faults=faults)


async def _create(conn: Connection, deployment: Deployment, submission: Submission, prepared: Prepared, account: Account,
                  gateway: Gateway, listing: Listing, list_digest: bytes, remarks: Sequence[str]) -> int:
    count = listing.recipient_count
    is_small = not needs_approval(count, account.approval_threshold)
    threshold = 1 if submission.waits_at_gate else account.approval_threshold
    waits = needs_approval(count, threshold)
    identity = identity_for(account, deployment.base_url)
    values = await message_columns(conn, submission, prepared, account, identity) | {
        "gateway_id": gateway.id, **said_by(submission.actor), "not_before": submission.not_before,
        "continues": submission.continues, "continued_class": submission.continued_class,
        "corrects": submission.corrects, "read_as": json.dumps(dict(submission.read_as)),
        "status": Status.PENDING_APPROVAL if waits else Status.QUEUED, "subject": submission.content.subject,
        "duplicates": submission.duplicates, "unusable_addresses": submission.unusable_addresses, "recipient_count": count,
        "approval_threshold": threshold, "excluded_duplicates": listing.excluded.get("duplicate", 0),
        "excluded_unusable": listing.excluded.get("unusable", 0), "excluded_suppressed": listing.excluded.get("suppressed", 0),
        "lanes": min(gateway.connections, count)}
    columns = {name for fields in await ledger.some_fields_of_listing(conn) for name in decode_fields(fields)}
    whole = requirements.of_the_message(prepared, account, gateway, identity, has_keys=bool(values["dkim_keys"]),
                                        recipient_count=count, columns=columns)
    whole = replace(whole, findings=(*whole.findings, *(Finding(FindingKind.LIST_REMARK, one) for one in remarks)))
    values["digest"] = digest_of(values, list_digest)
    if is_small:
        unsaved = unsaved_job(values, gateway)
        whole = await preflight.of_a_small_job(conn, deployment, unsaved, prepared.files, whole, recipient_count=count)
    if not waits:
        await accounts.lock_account(conn, account.id)
    await attachments.keep(conn, account.id, prepared.files)
    job_id = await jobs.insert_job(conn, values)
    await recipients.freeze(conn, account.id, job_id)
    await ledger.record_whole(conn, account.id, job_id, whole, policy=submission.field_policy, n=count if is_small else 0)
    if not is_small:
        chunks = await ledger.plan(conn, account.id, job_id)
        await engine.defer_checks(conn, account.id, job_id, min(preflight.LANES, chunks))
    elif not waits:
        await start_next(conn, account.id)
    return job_id


APPROVED = ("content", "bodies", "identity", "dkim_keys", "field_policy", "account_fields", "message_key", "gateway_id",
            "recipient_count")


def digest_of(values: Mapping[str, object], list_digest: bytes) -> bytes:
    """SHA-256 over all that an approval is bound to: the message, how it goes out, and the list."""
    whole = hashlib.sha256(b"postroom job 2\0")
    for part in (*(str(values[name]).encode() for name in APPROVED), list_digest):
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.digest()
