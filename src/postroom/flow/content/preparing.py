"""From what a person wrote to a message that can be frozen: its source becomes the templates that are rendered, its files are
described and placed, and how it names its sender is fixed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from postroom.bounded.processes import Work
from postroom.domain.access import Actor
from postroom.domain.preflight import FIELD_POLICIES
from postroom.errors import InvalidInput
from postroom.flow.account import domains
from postroom.flow.account.deployment import Deployment
from postroom.flow.content.remarks import Remarks, remarks
from postroom.ledger.account import accounts, gateways
from postroom.ledger.account.accounts import Account
from postroom.ledger.account.gateways import Gateway
from postroom.ledger.content.contents import JobContent
from postroom.ledger.database.db import Connection
from postroom.message.content import Bodies, Identity
from postroom.message.content import Content as Content
from postroom.message.liquid import template
from postroom.message.liquid.template import Mentioned
from postroom.message.prepare import attachment, source
from postroom.message.wire import own_headers
from postroom.message.wire.address import parse_address
from postroom.message.wire.own_headers import own_header as own_header

DUPLICATES = ("exclude", "skip", "send")
UNUSABLE_ADDRESSES = ("exclude", "fail")
FILES_MAX = attachment.FILES_MAX
FILES_BYTES_MAX = attachment.TOTAL_MAX  # together
HEADERS_MAX = own_headers.COUNT_MAX
UNSUBSCRIBE_PATH = "/u/{token}"
# A start that has passed is a slip, and would send at once. What is late by less comes of a clock, of a minute that has begun, or
# of a long list on its way; no zone and no hour is mistaken by so little.
LATE_AT_MOST = timedelta(minutes=5)
MESSAGE = Work("The message", cpu_s=10, short_s=2)


@dataclass(frozen=True, slots=True)
class Submission:
    """What a person or a program asks for. `gateway` None: the account's first. `not_before`: an aware time.

    `files` are (name, octets); `content` says nothing of them. `field_policy` is one of FIELD_POLICIES (`domain/preflight.py`).
    `continues` is the job whose `continued_class` this one sends (`flow/job/continuation.py`). With `waits_at_gate` the job waits
    for its approval however few its recipients are. `list_of` is a job whose recipients are the list, and
    `corrects` one that was changed, whose place this one takes (`flow/job/correction.py`). `read_as` is kept for the form
    of whoever changes this one: how the list was read.
    """

    actor: Actor
    content: Content
    duplicates: str = "exclude"
    unusable_addresses: str = "exclude"
    gateway: str | None = None
    not_before: datetime | None = None
    field_policy: str = FIELD_POLICIES[0]
    files: tuple[tuple[str, bytes], ...] = ()
    continues: int | None = None
    continued_class: str | None = None
    waits_at_gate: bool = False
    list_of: int | None = None
    corrects: int | None = None
    read_as: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message that can be frozen: its content with the files described, what is rendered, the files by digest, and what is
    to be said of it."""

    content: Content
    bodies: Bodies
    files: dict[str, bytes]
    mentioned: Mentioned
    remarks: Remarks


def check(submission: Submission) -> None:
    """Everything that can be said at once, before the list is read. Raises InvalidInput."""
    if submission.duplicates not in DUPLICATES:
        raise InvalidInput(f'"duplicates" is one of {", ".join(DUPLICATES)}.', field="duplicates")
    if submission.unusable_addresses not in UNUSABLE_ADDRESSES:
        raise InvalidInput(f'"unusable_addresses" is one of {", ".join(UNUSABLE_ADDRESSES)}.', field="unusable_addresses")
    if submission.field_policy not in FIELD_POLICIES:
        raise InvalidInput(f'"field_policy" is one of {", ".join(FIELD_POLICIES)}.', field="field_policy")
    if submission.not_before is not None:
        _check_time(submission.not_before)
    template.check(submission.content)


def _check_time(not_before: datetime) -> None:
    """The database would take a time that is no more one of Python's in UTC, and nobody could read the job again."""
    if not_before.tzinfo is None:
        raise InvalidInput('"not_before" needs a time zone, such as 2030-01-31T09:00:00+01:00.', field="not_before")
    try:
        not_before = not_before.astimezone(UTC)
    except OverflowError:
        raise InvalidInput('"not_before" is not within the years 1 to 9999 in UTC.', field="not_before") from None
    if (now := datetime.now(UTC)) - not_before > LATE_AT_MOST:
        raise InvalidInput(f"{not_before:%Y-%m-%d %H:%M} UTC has passed: it is {now:%Y-%m-%d %H:%M} UTC now. Give a later time, "
                           "or none to start as soon as possible.", field="not_before")


def prepare(submission: Submission) -> Prepared:
    """The message as it is frozen, checked first. For `Deployment.bounded`: it takes seconds for a large one. Raises
    InvalidInput."""
    check(submission)
    described = [(attachment.describe(name, octets), octets) for name, octets in submission.files]
    attachment.check([one for one, _ in described])
    bodies = source.prepare(submission.content)
    template.check_made(submission.content, bodies)
    placed, html = attachment.placed(tuple(one for one, _ in described), bodies.html)
    content, bodies = replace(submission.content, attachments=placed), replace(bodies, html=html)
    return Prepared(content, bodies, {one.digest: octets for one, octets in described}, *read_through(content, bodies))


def read_through(content: Content, bodies: Bodies) -> tuple[Mentioned, Remarks]:
    """What a message names, and the remarks on it. For `Deployment.bounded` too."""
    return template.mentioned(content, bodies), remarks(content, bodies.html)


async def chosen_gateway(conn: Connection, submission: Submission) -> Gateway:
    """The one that was asked for, or the account's first. Raises InvalidInput."""
    every = await gateways.gateways_of_account(conn, submission.actor.account_id)
    if not every:
        raise InvalidInput("The account has no gateway to hand mail to. Create one: postroom gateway create.", field="gateway")
    if submission.gateway is None:
        return every[0]
    for gateway in every:
        if gateway.name == submission.gateway:
            return gateway
    raise InvalidInput(f'The account has no gateway "{submission.gateway}"; it has {", ".join(one.name for one in every)}.',
                       field="gateway")


async def draft(conn: Connection, deployment: Deployment, submission: Submission, prepared: Prepared) -> JobContent:
    """The job as it would be if it were submitted now. Creates nothing. Raises InvalidInput, NotFound."""
    account = await accounts.account_by_id(conn, submission.actor.account_id)
    gateway = await chosen_gateway(conn, submission)
    values = await message_columns(conn, submission, prepared, account, identity_for(account, deployment.base_url))
    return unsaved_job(values | {"lanes": gateway.connections}, gateway)


async def message_columns(conn: Connection, submission: Submission, prepared: Prepared, account: Account,
                          identity: Identity) -> dict[str, object]:
    """The columns of a job that say what goes out."""
    return {
        "account_id": account.id, "content": _json(prepared.content), "bodies": _json(prepared.bodies),
        "identity": _json(identity), "field_policy": submission.field_policy, "account_fields": _fields_of(account),
        "dkim_keys": await domains.signing_keys(conn, account.id, _domain_of(submission.content.from_address)),
        "message_key": secrets.token_hex(8)}


def identity_for(account: Account, base_url: str | None) -> Identity:
    """The account's own unsubscribe address, or Postroom's page where people can reach it."""
    page = None if base_url is None else base_url.rstrip("/") + UNSUBSCRIBE_PATH
    return Identity(account.id, account.name, account.unsubscribe_url or page, account.bounce_domain)


def unsaved_job(values: Mapping[str, Any], gateway: Gateway) -> JobContent:
    """The job as its workers will find it, before it is there: number, key of its tokens and retries do not change what is
    found."""
    return JobContent(
        id=0, account_id=values["account_id"], content=values["content"], bodies=values["bodies"], identity=values["identity"],
        account_fields=values["account_fields"], message_key=values["message_key"], token_key=bytes(32),
        dkim_keys=values["dkim_keys"], field_policy=values["field_policy"], started_at=None, lanes=values["lanes"],
        retry_attempts_max=1, gateway_id=gateway.id, host=gateway.host, port=gateway.port, security=gateway.security,
        username=gateway.username, password=gateway.password, ca_certificates=gateway.ca_certificates, oauth=gateway.oauth)


def _domain_of(address: str) -> str:
    return parse_address(address).envelope.decode("ascii").rpartition("@")[2]


def _fields_of(account: Account) -> str:
    """The account's merge fields as JSON; the postal address is one of them."""
    fields = msgspec.json.decode(account.fields, type=dict[str, str])
    return _json({**fields, **({"postal_address": account.postal_address} if account.postal_address else {})})


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
