"""From a message and a list to a job: the list is frozen and counted in the transaction that creates it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status, needs_approval
from postroom.domain.pace import chunk_size
from postroom.errors import Fault, InvalidInput
from postroom.flow.intake import fill_intake
from postroom.flow.start import start_next
from postroom.ledger import accounts, jobs, recipients
from postroom.ledger.accounts import Account, Gateway
from postroom.ledger.db import Connection, Pool
from postroom.ledger.jobs import JobOverview as JobOverview
from postroom.ledger.recipients import Listing
from postroom.message import template
from postroom.message.template import Content as Content

DUPLICATES = ("exclude", "skip", "send")
UNUSABLE_ADDRESSES = ("exclude", "fail")
IDEMPOTENCY_KEY_MAX = 255


@dataclass(frozen=True, slots=True)
class Submission:
    """What a person or a program asks for. `gateway` None: the account's first. `not_before`: an aware time."""

    account_id: int
    by: str
    content: Content
    duplicates: str = "exclude"
    unusable_addresses: str = "exclude"
    gateway: str | None = None
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Makes a repeated request harmless: `fingerprint` is a SHA-256 of everything that was asked for."""

    key: str
    fingerprint: bytes


async def submit(pool: Pool, submission: Submission, rows: Iterable[IncomingRow] | None, *,
                 idempotency: IdempotencyKey | None = None) -> JobOverview:
    """Creates a job: pending approval from the account's threshold on, else queued and started when it is first.

    `rows` None: all contacts of the account. All or nothing: with an error there is no job. Raises InvalidInput (content,
    options, list unreadable, nobody left, an idempotency key used for something else), NotFound, Conflict (key in use).
    """
    check(submission)
    if idempotency:
        _check_key(idempotency.key)
    async with pool.connection() as conn, conn.transaction():
        if idempotency and (job_id := await _earlier_job(conn, submission.account_id, idempotency)) is not None:
            return await jobs.view_job(conn, submission.account_id, job_id)
        account = await accounts.account_by_id(conn, submission.account_id)
        gateway = await _gateway(conn, submission)
        await _take_in(conn, account.id, rows)
        listing = await recipients.draw_up(conn, account.id, duplicates=submission.duplicates,
                                           unusable_addresses=submission.unusable_addresses)
        if listing.recipient_count == 0:
            raise await _nobody_left(conn, listing)
        list_digest = await recipients.deal(conn, chunk_size(listing.recipient_count, gateway.connections))
        job_id = await _create(conn, submission, account, gateway, listing, list_digest)
        if idempotency:
            await jobs.remember_idempotency_key(conn, account.id, idempotency.key, idempotency.fingerprint, job_id)
        return await jobs.view_job(conn, account.id, job_id)


def check(submission: Submission) -> None:
    """Everything that can be said before the list is read. Raises InvalidInput."""
    if submission.duplicates not in DUPLICATES:
        raise InvalidInput(f'"duplicates" is one of {", ".join(DUPLICATES)}.', field="duplicates")
    if submission.unusable_addresses not in UNUSABLE_ADDRESSES:
        raise InvalidInput(f'"unusable_addresses" is one of {", ".join(UNUSABLE_ADDRESSES)}.', field="unusable_addresses")
    if submission.not_before is not None and submission.not_before.tzinfo is None:
        raise InvalidInput('"not_before" needs a time zone, such as 2030-01-31T09:00:00+01:00.', field="not_before")
    template.check(submission.content)


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_MAX or not key.isprintable():
        raise InvalidInput(f"An Idempotency-Key has 1 to {IDEMPOTENCY_KEY_MAX} printable characters.", field="Idempotency-Key")


async def _earlier_job(conn: Connection, account_id: int, idempotency: IdempotencyKey) -> int | None:
    known = await jobs.recall_idempotency_key(conn, account_id, idempotency.key)
    if known is None:
        return None
    fingerprint, job_id = known
    if fingerprint != idempotency.fingerprint:
        raise InvalidInput(f'The Idempotency-Key "{idempotency.key}" was used for another request (job {job_id}). '
                           "Use a new key for a new send.", field="Idempotency-Key")
    return job_id


async def _gateway(conn: Connection, submission: Submission) -> Gateway:
    every = await accounts.gateways_of_account(conn, submission.account_id)
    if not every:
        raise InvalidInput("The account has no gateway to hand mail to. Create one: postroom gateway create.", field="gateway")
    if submission.gateway is None:
        return every[0]
    for gateway in every:
        if gateway.name == submission.gateway:
            return gateway
    raise InvalidInput(f'The account has no gateway "{submission.gateway}"; it has {", ".join(one.name for one in every)}.',
                       field="gateway")


async def _take_in(conn: Connection, account_id: int, rows: Iterable[IncomingRow] | None) -> None:
    if rows is None:
        await recipients.intake_from_contacts(conn, account_id)
    else:
        await fill_intake(conn, await recipients.create_intake(conn), rows)


async def _nobody_left(conn: Connection, listing: Listing) -> InvalidInput:
    if not listing.excluded:
        return InvalidInput("The list has no rows: a send needs at least one recipient.", field="recipients")
    faults = tuple(Fault(found.reason, "recipients", found.row_no) for found in await recipients.some_findings(conn))
    told = ", ".join(f"{n:,} {kind}" for kind, n in sorted(listing.excluded.items()))
    return InvalidInput(f"Nobody is left to send to: {told}.", faults=faults)


async def _create(conn: Connection, submission: Submission, account: Account, gateway: Gateway, listing: Listing,
                  list_digest: bytes) -> int:
    waits = needs_approval(listing.recipient_count, account.approval_threshold)
    if not waits:
        await accounts.lock_account(conn, account.id)
    content = msgspec.json.encode(submission.content)
    message_key = secrets.token_hex(8)
    job_id = await jobs.insert_job(conn, {
        "account_id": account.id, "gateway_id": gateway.id, "by": submission.by, "not_before": submission.not_before,
        "status": Status.PENDING_APPROVAL if waits else Status.QUEUED, "subject": submission.content.subject,
        "content": content.decode(), "account_fields": account.fields, "duplicates": submission.duplicates,
        "unusable_addresses": submission.unusable_addresses,
        "recipient_count": listing.recipient_count, "approval_threshold": account.approval_threshold,
        "excluded_duplicates": listing.excluded.get("duplicate", 0), "excluded_unusable": listing.excluded.get("unusable", 0),
        "excluded_suppressed": listing.excluded.get("suppressed", 0), "message_key": message_key,
        "lanes": min(gateway.connections, listing.recipient_count),
        "digest": digest_of(content, account.fields.encode(), message_key, gateway.id, listing.recipient_count,
                            list_digest)})
    await recipients.freeze(conn, account.id, job_id)
    if not waits:
        await start_next(conn, account.id)
    return job_id


def digest_of(content: bytes, account_fields: bytes, message_key: str, gateway_id: int, recipient_count: int,
              list_digest: bytes) -> bytes:
    """SHA-256 over all that an approval is bound to: the message, how it goes out, and the list."""
    whole = hashlib.sha256(b"postroom job 1\0")
    how = (message_key, str(gateway_id), str(recipient_count))
    for part in (content, account_fields, *(text.encode() for text in how), list_digest):
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.digest()
