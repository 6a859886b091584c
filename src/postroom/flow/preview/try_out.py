"""A test message: what one recipient gets, sent to a few addresses of one's own by the job's own gateway.

It is made of a real recipient's fields and marked as a test in its subject. Its token to unsubscribe is nobody's, its
Message-ID is no recipient's, and bounces come back to the From address. It is in no ledger: no outcome, no count. The job's
trail says who tried it, and to how many, before the gateway hears of it; and afterwards how many the gateway took, refused or
left unanswered, and how many were not sent. Where the process dies in between, the trail says only that it was tried.

Promises: it goes out once, when somebody asks, at most one message an address, in one session and in the order of the
addresses; what the gateway said of each is told. It is never tried again, and a request that says by its key that it is the same
is not carried out.

Fails, and nothing is sent: InvalidInput for addresses that cannot be used or that the account must not mail;
`GatewayUnusable` where there is no session to be had; Conflict where the account had as many as it may within an hour.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog

from postroom.domain.access import Actor, Right
from postroom.errors import Conflict, Fault, InvalidInput, Unavailable
from postroom.flow.account.acting import permitted
from postroom.flow.account.deployment import Deployment, NotSetUp
from postroom.flow.account.domains import OpenedKey
from postroom.flow.content.outgoing import Writer, content_of, files_of, keys_of, made
from postroom.flow.content.preparing import MESSAGE
from postroom.flow.job.submit import IdempotencyKey, earlier_job, remember
from postroom.flow.preview.look import recipient_at
from postroom.gateway.replies import Phase, Reply, Verdict, classify
from postroom.gateway.session import Deadlines, Envelope, GatewayError, Session, SessionLost, open_session
from postroom.ledger.account import accounts
from postroom.ledger.audience import suppressions
from postroom.ledger.content import contents
from postroom.ledger.content.contents import JobContent
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import jobs
from postroom.message.wire.address import Address, AddressRefused, needs_utf8, parse_address
from postroom.message.wire.headers import Unrenderable

TO_MAX = 10
MARK = "[Test] "
TESTS_PER_HOUR = 100  # of an account: enough to look at a message, too few to send one past the gate
# Positions that no list reaches, the last for which a token has room: their links do nothing, and each has its own Message-ID,
# so that a mailbox which gets several messages for its aliases shows them all.
NOBODIES = range(2**24 - TO_MAX, 2**24)
# A person waits for the answer, and doubt about a test message harms nobody: less patience than for a job.
PATIENCE = Deadlines(connect_s=10, tls_s=10, greeting_s=20, ehlo_s=20, auth_s=20, mail_s=20, rcpt_s=20, data_s=20, content_s=30,
                     dot_s=60)

log = structlog.get_logger(__name__)


class GatewayUnusable(Unavailable):
    """There is no session with the job's gateway, and nothing was sent; the sentence is for the person who asked."""


class TriedBefore(Conflict):
    """The same request was carried out already, and nothing is sent again."""


class Answer(StrEnum):
    """What became of one test message. Unknown: the gateway may have it; unsent: it was certainly not handed off."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    UNSENT = "unsent"


TOLD = {Answer.ACCEPTED: "accepted by the gateway", Answer.REFUSED: "refused by it", Answer.UNKNOWN: "left without an answer",
        Answer.UNSENT: "not sent"}


@dataclass(frozen=True, slots=True)
class Tried:
    """One address. `code` and `enhanced_code` are the gateway's where it answered; `words` are its own then, ours otherwise."""

    address: str
    answer: Answer
    words: str
    code: int | None = None
    enhanced_code: str | None = None


async def send_test(pool: Pool, deployment: Deployment, actor: Actor, job_id: int, position: int, to: Sequence[str], *,
                    idempotency: IdempotencyKey | None = None) -> list[Tried]:
    """Sends what the recipient at `position` gets to each address of `to`, whatever the job's status.

    Raises InvalidInput, NotFound, TriedBefore, Conflict, GatewayUnusable.
    """
    account_id = permitted(actor, Right.WRITE_JOBS)
    addresses = _addresses(to)
    async with pool.connection() as conn:
        stored = await contents.job_content(conn, account_id, job_id)
        fields = (await recipient_at(conn, account_id, job_id, position)).fields
        await _refuse_suppressed(conn, account_id, addresses)
        files = await files_of(conn, stored)
        try:
            keys = await keys_of(conn, deployment, stored)
        except NotSetUp as error:
            raise GatewayUnusable(str(error)) from None
    messages, tail = await deployment.bounded.run(account_id, MESSAGE, _messages, stored, files, keys, addresses, fields)
    try:
        session = await open_session(deployment.endpoint(stored), PATIENCE)
    except (GatewayError, NotSetUp) as error:
        raise GatewayUnusable(str(error)) from None
    try:
        await _record_attempt(pool, account_id, job_id, len(addresses), by=actor, idempotency=idempotency)
        sender = parse_address(content_of(stored).from_address).envelope
        tried = [await _try(session, sender, one, message, tail) for one, message in zip(addresses, messages, strict=True)]
    finally:
        await session.close()
    counts = Counter(one.answer for one in tried)
    log.info("a test message was tried", account=account_id, job=job_id, position=position, by=actor.name,
             addresses=len(addresses), **{answer.value: counts[answer] for answer in Answer})
    await _record_answers(pool, account_id, job_id, counts, by=actor)
    return tried


def _addresses(to: Sequence[str]) -> list[Address]:
    """Each once. Raises InvalidInput with everyone that cannot be used."""
    if not 1 <= len(to) <= TO_MAX:
        raise InvalidInput(f"A test message goes to 1 to {TO_MAX} addresses, not to {len(to)}.", field="to")
    usable: dict[str, Address] = {}
    faults = []
    for one in to:
        try:
            address = parse_address(one)
            usable.setdefault(address.key, address)
        except AddressRefused as refused:
            faults.append(Fault(f'"{one}": {refused}', "to"))
    if faults:
        raise InvalidInput(f"No test message can go to {faults[0].message}", faults=tuple(faults))
    return list(usable.values())


async def _refuse_suppressed(conn: Connection, account_id: int, addresses: Sequence[Address]) -> None:
    suppressed = await suppressions.suppressed_among(conn, account_id, [one.key for one in addresses])
    faults = tuple(Fault(f"{one.address} opted out or is suppressed; this account does not mail it, not even for a test.", "to")
                   for one in addresses if one.key in suppressed)
    if faults:
        raise InvalidInput(faults[0].message, faults=faults)


def _messages(stored: JobContent, files: Mapping[str, bytes], keys: Sequence[OpenedKey], addresses: Sequence[Address],
              fields: str) -> tuple[list[bytes | str], bytes]:
    """As the job's are, signed now, under a name of their own, each without its tail; or why one cannot be made. And the tail."""
    own = replace(stored, message_key=f"test-{secrets.token_hex(8)}", started_at=None)
    content = content_of(stored)
    writer = Writer(*made(own, files, keys, replace(content, subject=MARK + content.subject)))
    written: list[bytes | str] = []
    for one, nobody in zip(addresses, NOBODIES, strict=False):
        try:
            written.append(writer.write(one.envelope, one.address, nobody, fields))
        except (Unrenderable, InvalidInput, ValueError) as error:
            written.append(f"The message cannot be made: {error}")
    return written, writer.message.tail


async def _record_attempt(pool: Pool, account_id: int, job_id: int, count: int, *, by: Actor,
                          idempotency: IdempotencyKey | None) -> None:
    """Under the account's lock, or several at the same moment would each find room. Raises TriedBefore, Conflict."""
    async with pool.connection() as conn, conn.transaction():
        await accounts.lock_account(conn, account_id)
        if await earlier_job(conn, account_id, idempotency) is not None:
            raise TriedBefore("This test was sent before, and is not sent again.", job_id=job_id)
        await remember(conn, account_id, idempotency, job_id)
        go_on_at = await jobs.tests_go_on_at(conn, account_id, count, most=TESTS_PER_HOUR)
        if go_on_at is not None:
            raise Conflict(f"An account sends at most {TESTS_PER_HOUR} test messages an hour. It goes on after "
                           f"{go_on_at:%H:%M:%S %Z}.", job_id=job_id)
        await jobs.record_test(conn, account_id, job_id, count, by=by)


async def _record_answers(pool: Pool, account_id: int, job_id: int, counts: Counter[Answer], *, by: Actor) -> None:
    """Without a database the trail stays with the attempt: whoever asked is told what the gateway said all the same, or would
    try again what has gone out."""
    reason = ", ".join(f"{counts[answer]} {told}" for answer, told in TOLD.items() if counts[answer])
    try:
        async with pool.connection() as conn, conn.transaction():
            await accounts.lock_account(conn, account_id)
            await jobs.record_event(conn, account_id, job_id, "tested", by=by, reason=f"Of the test: {reason}.")
    except Unavailable as error:
        log.warning("what became of a test is not in the trail", account=account_id, job=job_id, error=str(error))


async def _try(session: Session, sender: bytes, to: Address, message: bytes | str, tail: bytes) -> Tried:
    """`message` is text where there is none, and says why."""
    if needs_utf8(to.envelope) and not session.offers_utf8:
        return Tried(to.address, Answer.UNSENT, "The address has letters outside ASCII, and the gateway does not take those "
                                                "(SMTPUTF8).")
    if not session.usable:
        return Tried(to.address, Answer.UNSENT, "The gateway had ended the session.")
    if isinstance(message, str):
        return Tried(to.address, Answer.UNSENT, message)
    envelope = Envelope(sender, to.envelope, size=len(message) + len(tail), stuffed=True)
    source = _One(envelope, (message, tail), to.address)
    try:
        await session.hand_off(source)
    except SessionLost as lost:
        return source.tried or Tried(to.address, Answer.UNSENT, str(lost))
    assert source.tried is not None, "a hand-off that came to its end has an answer"
    return source.tried


class _One:
    """A session's source of one message. `tried` stays None where it was certainly not handed off."""

    def __init__(self, envelope: Envelope, content: tuple[bytes, bytes], address: str) -> None:
        self.tried: Tried | None = None
        self._waiting: Envelope | None = envelope
        self._content = content
        self._address = address

    def next(self) -> Envelope | None:
        envelope, self._waiting = self._waiting, None
        return envelope

    def content(self, envelope: Envelope) -> tuple[bytes, bytes]:
        return self._content

    def handing_over(self, envelope: Envelope) -> None:
        """Nobody needs to know."""

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        accepted = classify(phase, reply) is Verdict.ACCEPTED
        self.tried = Tried(self._address, Answer.ACCEPTED if accepted else Answer.REFUSED, reply.text, reply.code,
                           reply.enhanced or None)

    def lost(self, envelope: Envelope, detail: str) -> None:
        self.tried = Tried(self._address, Answer.UNKNOWN, f"No answer to the end of the message: {detail}.")
