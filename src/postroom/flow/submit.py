"""From a message and a list to a job: the list is frozen and counted in the transaction that creates it.

Before that the message is prepared: its source becomes the templates that are rendered, its files are described and placed,
and how it names its sender is fixed. A job below the threshold is checked for every recipient before it is created, because it
starts by itself; a larger one is checked by the workers while it waits for its approval (`preflight`).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status, needs_approval
from postroom.domain.pace import chunk_size
from postroom.domain.preflight import FIELD_POLICIES
from postroom.errors import Fault, InvalidInput
from postroom.flow import domains, preflight, requirements
from postroom.flow.intake import fill_intake
from postroom.flow.office import Office
from postroom.flow.start import start_next
from postroom.ledger import accounts, attachments, engine, jobs, recipients
from postroom.ledger import preflight as ledger
from postroom.ledger.accounts import Account, Gateway
from postroom.ledger.db import Connection, Pool
from postroom.ledger.jobs import JobContent
from postroom.ledger.jobs import JobOverview as JobOverview
from postroom.ledger.recipients import Listing
from postroom.message import attachment, source, template
from postroom.message.address import parse_address
from postroom.message.content import Bodies, Identity
from postroom.message.content import Content as Content
from postroom.message.template import Mentioned

DUPLICATES = ("exclude", "skip", "send")
UNUSABLE_ADDRESSES = ("exclude", "fail")
IDEMPOTENCY_KEY_MAX = 255
FILES_MAX = attachment.FILES_MAX
FILES_BYTES_MAX = attachment.TOTAL_MAX  # together
UNSUBSCRIBE_PATH = "/u/{token}"


@dataclass(frozen=True, slots=True)
class Submission:
    """What a person or a program asks for. `gateway` None: the account's first. `not_before`: an aware time.

    `files` are (name, octets); `content` says nothing of them. `field_policy` is one of FIELD_POLICIES (`domain/preflight.py`).
    `continues` is the job whose `continued_class` this one sends (`flow/continuation.py`).
    """

    account_id: int
    by: str
    content: Content
    duplicates: str = "exclude"
    unusable_addresses: str = "exclude"
    gateway: str | None = None
    not_before: datetime | None = None
    field_policy: str = FIELD_POLICIES[0]
    files: tuple[tuple[str, bytes], ...] = ()
    continues: int | None = None
    continued_class: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message that can be frozen: its content with the files described, what is rendered, and the files by digest."""

    content: Content
    bodies: Bodies
    files: dict[str, bytes]
    mentioned: Mentioned


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Makes a repeated request harmless: `fingerprint` is a SHA-256 of everything that was asked for."""

    key: str
    fingerprint: bytes


async def submit(pool: Pool, office: Office, submission: Submission, rows: Iterable[IncomingRow] | None, *,
                 idempotency: IdempotencyKey | None = None) -> JobOverview:
    """Creates a job: pending approval from the account's threshold on, else queued and started when it is first.

    `rows` None: all contacts of the account. All or nothing: with an error there is no job. Raises InvalidInput (content,
    options, list unreadable, nobody left, a small job that its check refuses, an idempotency key used for something else),
    NotFound, Conflict (key in use).
    """
    prepared = await asyncio.to_thread(prepare, submission)
    async with pool.connection() as conn, conn.transaction():
        if (known := await earlier_job(conn, submission.account_id, idempotency)) is not None:
            return await jobs.view_job(conn, submission.account_id, known)
        account = await accounts.account_by_id(conn, submission.account_id)
        gateway = await _gateway(conn, submission)
        await _take_in(conn, account.id, rows)
        job_id = await freeze(conn, office, submission, prepared, account, gateway)
        await remember(conn, account.id, idempotency, job_id)
        return await jobs.view_job(conn, account.id, job_id)


async def freeze(conn: Connection, office: Office, submission: Submission, prepared: Prepared, account: Account,
                 gateway: Gateway) -> int:
    """The new job's number: the intake is there, and what is left of it becomes the list. Raises InvalidInput."""
    listing = await recipients.draw_up(conn, account.id, duplicates=submission.duplicates,
                                       unusable_addresses=submission.unusable_addresses)
    if listing.recipient_count == 0:
        raise await _nobody_left(conn, listing)
    list_digest = await recipients.deal(conn, chunk_size(listing.recipient_count, gateway.connections))
    return await _create(conn, office, submission, prepared, account, gateway, listing, list_digest)


def check(submission: Submission) -> None:
    """Everything that can be said at once, before the list is read. Raises InvalidInput."""
    if submission.duplicates not in DUPLICATES:
        raise InvalidInput(f'"duplicates" is one of {", ".join(DUPLICATES)}.', field="duplicates")
    if submission.unusable_addresses not in UNUSABLE_ADDRESSES:
        raise InvalidInput(f'"unusable_addresses" is one of {", ".join(UNUSABLE_ADDRESSES)}.', field="unusable_addresses")
    if submission.field_policy not in FIELD_POLICIES:
        raise InvalidInput(f'"field_policy" is one of {", ".join(FIELD_POLICIES)}.', field="field_policy")
    if submission.not_before is not None and submission.not_before.tzinfo is None:
        raise InvalidInput('"not_before" needs a time zone, such as 2030-01-31T09:00:00+01:00.', field="not_before")
    template.check(submission.content)


def prepare(submission: Submission) -> Prepared:
    """The message as it is frozen, checked first. Takes seconds for a large one: call it in a thread. Raises InvalidInput."""
    check(submission)
    described = [(attachment.describe(name, octets), octets) for name, octets in submission.files]
    attachment.check([one for one, _ in described])
    bodies = source.prepare(submission.content)
    template.check_made(submission.content, bodies)
    placed, html = attachment.placed(tuple(one for one, _ in described), bodies.html)
    content, bodies = replace(submission.content, attachments=placed), replace(bodies, html=html)
    return Prepared(content, bodies, {one.digest: octets for one, octets in described}, template.mentioned(content, bodies))


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


async def _create(conn: Connection, office: Office, submission: Submission, prepared: Prepared, account: Account,
                  gateway: Gateway, listing: Listing, list_digest: bytes) -> int:
    count = listing.recipient_count
    waits = needs_approval(count, account.approval_threshold)
    identity = _identity(account, office.base_url)
    values = await _of_the_message(conn, submission, prepared, account, identity) | {
        "gateway_id": gateway.id, "by": submission.by, "not_before": submission.not_before,
        "continues": submission.continues, "continued_class": submission.continued_class,
        "status": Status.PENDING_APPROVAL if waits else Status.QUEUED, "subject": submission.content.subject,
        "duplicates": submission.duplicates, "unusable_addresses": submission.unusable_addresses, "recipient_count": count,
        "approval_threshold": account.approval_threshold, "excluded_duplicates": listing.excluded.get("duplicate", 0),
        "excluded_unusable": listing.excluded.get("unusable", 0), "excluded_suppressed": listing.excluded.get("suppressed", 0),
        "lanes": min(gateway.connections, count)}
    whole = requirements.of_the_message(
        prepared.content, prepared.bodies, prepared.mentioned, account, gateway, identity,
        has_keys=bool(values["dkim_keys"]), recipient_count=count)
    values["digest"] = digest_of(values, list_digest)
    if not waits:
        unborn = _unborn(values, gateway)
        whole = await preflight.of_a_small_job(conn, office, unborn, prepared.files, whole, recipient_count=count)
        await accounts.lock_account(conn, account.id)
    await attachments.keep(conn, account.id, prepared.files)
    job_id = await jobs.insert_job(conn, values)
    await recipients.freeze(conn, account.id, job_id)
    await ledger.record_whole(conn, account.id, job_id, whole, policy=submission.field_policy, n=0 if waits else count)
    if waits:
        chunks = await ledger.plan(conn, account.id, job_id)
        await engine.defer_checks(conn, account.id, job_id, min(preflight.LANES, chunks))
    else:
        await start_next(conn, account.id)
    return job_id


async def draft(conn: Connection, office: Office, submission: Submission, prepared: Prepared) -> JobContent:
    """The job as it would be if it were submitted now. Creates nothing. Raises InvalidInput, NotFound."""
    account = await accounts.account_by_id(conn, submission.account_id)
    gateway = await _gateway(conn, submission)
    values = await _of_the_message(conn, submission, prepared, account, _identity(account, office.base_url))
    return _unborn(values | {"lanes": gateway.connections}, gateway)


async def _of_the_message(conn: Connection, submission: Submission, prepared: Prepared, account: Account,
                          identity: Identity) -> dict[str, object]:
    """The columns of a job that say what goes out."""
    return {
        "account_id": account.id, "content": _json(prepared.content), "bodies": _json(prepared.bodies),
        "identity": _json(identity), "field_policy": submission.field_policy, "account_fields": _fields_of(account),
        "dkim_keys": await domains.signing_keys(conn, account.id, _domain_of(submission.content.from_address)),
        "message_key": secrets.token_hex(8)}


def _identity(account: Account, base_url: str | None) -> Identity:
    """The account's own unsubscribe address, or Postroom's page where people can reach it."""
    page = None if base_url is None else base_url.rstrip("/") + UNSUBSCRIBE_PATH
    return Identity(account.id, account.name, account.unsubscribe_url or page, account.bounce_domain)


def _domain_of(address: str) -> str:
    return parse_address(address).envelope.decode("ascii").rpartition("@")[2]


def _fields_of(account: Account) -> str:
    """The account's merge fields as JSON; the postal address is one of them."""
    fields = msgspec.json.decode(account.fields, type=dict[str, str])
    return _json({**fields, **({"postal_address": account.postal_address} if account.postal_address else {})})


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _unborn(values: Mapping[str, Any], gateway: Gateway) -> JobContent:
    """The job as its workers will find it, before it is there: number, key of its tokens and retries do not change what is
    found."""
    return JobContent(
        id=0, account_id=values["account_id"], content=values["content"], bodies=values["bodies"], identity=values["identity"],
        account_fields=values["account_fields"], message_key=values["message_key"], token_key=bytes(32),
        dkim_keys=values["dkim_keys"], field_policy=values["field_policy"], started_at=None, lanes=values["lanes"],
        retry_attempts_max=1, gateway_id=gateway.id, host=gateway.host, port=gateway.port, security=gateway.security,
        username=gateway.username, password=gateway.password)


APPROVED = ("content", "bodies", "identity", "dkim_keys", "field_policy", "account_fields", "message_key", "gateway_id",
            "recipient_count")


def digest_of(values: Mapping[str, object], list_digest: bytes) -> bytes:
    """SHA-256 over all that an approval is bound to: the message, how it goes out, and the list."""
    whole = hashlib.sha256(b"postroom job 2\0")
    for part in (*(str(values[name]).encode() for name in APPROVED), list_digest):
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.digest()
