"""The pre-flight: every recipient's message is made once, before anybody approves, and what is found is shown at the gate.

A job at the threshold or above is looked at by the workers, chunk by chunk, while it waits; a smaller one before it is
created, because it starts by itself. Nothing is sent, and nothing here decides what becomes of a recipient later: the
message is made again at the hand-off, by the same policy, with the moment at which sending began for its date.

Promises: all of the list is looked at, and approval waits for it, in the flow and in the database. A template that takes long
refuses its job after a second and the message that crossed it, and nobody is looked at any more: neither other checks nor
other sends wait for it.
Fails: a worker that dies loses its lease, and its chunk is looked at again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from postroom.domain.preflight import (
    EXAMPLES_MAX,
    Example,
    Finding,
    FindingKind,
    Look,
    Preflight,
    merged,
    told,
)
from postroom.domain.wording import counted
from postroom.errors import Fault, InvalidInput
from postroom.flow.account.deployment import Deployment, GatewayFacts
from postroom.flow.content.outgoing import compile_job, decode_fields, files_of
from postroom.flow.content.preparing import MESSAGE
from postroom.ledger.check import preflight as ledger
from postroom.ledger.check.preflight import ToCheck
from postroom.ledger.content import contents
from postroom.ledger.content.contents import JobContent
from postroom.ledger.database import engine
from postroom.ledger.database.db import Connection, Pool
from postroom.message.render.compile import Compiled
from postroom.message.wire.address import envelope, needs_utf8
from postroom.message.wire.headers import Unrenderable

LANES = 4  # tasks of one job in the engine: so many workers can look at it at once
LEASE_S = 30.0  # more than a chunk's look takes at 20 ms a message; who is slower has it looked at twice, which is no harm
SLICE = 500  # recipients of a small job looked at between two statements of its transaction
REASONS_MAX = 20
MEAN_MAX_S = 0.02  # CPU for one message, on average: what is slower would hold up everybody else's
LOOKED_AT_MIN = 50  # so that a few recipients with huge values make no template slow
SIGNATURE_OCTETS = 800  # more than a DKIM-Signature field takes
COMPILED_MAX = 2  # looks at one job come in a row; each may hold its files


def look_at(message: Compiled, rows: Sequence[ToCheck], facts: GatewayFacts, signatures: int) -> Look:
    """Makes the message of each row. Computes only: to be called in a thread."""
    found = _Found()
    more = len(message.tail) + signatures * SIGNATURE_OCTETS
    began = time.thread_time()
    for done, one in enumerate(rows, 1):
        _look_at_one(message, one, facts, more, found)
        if time.thread_time() - began > MEAN_MAX_S * max(done, LOOKED_AT_MIN):
            found.add(FindingKind.TOO_SLOW, f"The template takes more than {MEAN_MAX_S * 1000:.0f} ms for each message: use "
                                            "fewer loops and filters.", one)
            break
    return found.look(facts)


def _look_at_one(message: Compiled, one: ToCheck, facts: GatewayFacts, more: int, found: _Found) -> None:
    """`more` octets come to each message later."""
    blanks: set[str] = set()
    try:
        recipient = envelope(one.address)
        fields = decode_fields(one.fields)
        found.seen |= message.names & fields.keys()
        octets = message.render(one.address, one.position, fields, blanks)
        message.check(octets, utf8=needs_utf8(recipient))
    except (Unrenderable, InvalidInput, ValueError) as error:
        reason = error.general if isinstance(error, Unrenderable) else error
        found.add(FindingKind.UNRENDERABLE, f"The message cannot be made. {reason}", one)
        return
    for name in blanks:
        found.add(FindingKind.BLANK_FIELD, name, one)
    for name in set(message.unread):
        found.add(FindingKind.UNREAD_DATE, name, one)
    if facts.trouble is None and not facts.takes_utf8 and needs_utf8(recipient):
        found.add(FindingKind.ADDRESS_REFUSED, "The address has letters outside ASCII before the @, and the gateway does not "
                                               "take those (SMTPUTF8).", one)
    if facts.size_max is not None and len(octets) + more > facts.size_max:
        found.add(FindingKind.TOO_LARGE, f"The message is larger than the {facts.size_max:,} octets that the gateway takes.", one)


@dataclass(slots=True)
class _Found:
    """Findings as they come up."""

    counts: dict[tuple[FindingKind, str], int] = field(default_factory=dict)
    examples: dict[tuple[FindingKind, str], list[Example]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def add(self, kind: FindingKind, about: str, one: ToCheck) -> None:
        key = kind, about
        if key not in self.counts and len(self.counts) >= REASONS_MAX and kind is FindingKind.UNRENDERABLE:
            key = kind, "The message cannot be made, for several other reasons."
        self.counts[key] = self.counts.get(key, 0) + 1
        some = self.examples.setdefault(key, [])
        if len(some) < EXAMPLES_MAX:
            some.append(Example(one.position, one.address))

    def look(self, facts: GatewayFacts) -> Look:
        findings = [Finding(*key, count, tuple(self.examples[key])) for key, count in self.counts.items()]
        if facts.trouble is not None:
            findings.append(Finding(FindingKind.GATEWAY_SILENT, f"{facts.trouble} Sending waits until it can be used; whether it "
                                                                "takes every size and address could not be asked."))
        return Look(tuple(findings), seen=tuple(sorted(self.seen)))


async def of_a_small_job(conn: Connection, deployment: Deployment, stored: JobContent, files: dict[str, bytes], whole: Look, *,
                         recipient_count: int) -> Look:
    """Looks at everybody of the list that is being frozen in this transaction. Raises InvalidInput where the policy refuses."""
    facts = await deployment.facts(stored)
    looks, after = [whole], 0
    await ledger.make_ready_to_look(conn)
    while not looks[-1].is_too_slow and (rows := await ledger.rows_of_listing(conn, after, SLICE)):
        # A turn of its own: the transaction must not wait behind whatever else the account has made or looked at.
        looks.append(await deployment.bounded.run(("check", stored.account_id), MESSAGE, _compile_and_look, stored, files, rows,
                                                   facts))
        after = rows[-1].position
    found = Preflight(stored.field_policy, recipient_count, recipient_count, merged(looks))
    await ledger.look_no_more(conn)
    if found.refusing:
        raise InvalidInput(f"The send was not created: {refusal(found)}",
                           faults=tuple(_fault(one) for one in found.refusing))
    return Look(found.findings)


def _compile_and_look(stored: JobContent, files: dict[str, bytes], rows: Sequence[ToCheck], facts: GatewayFacts) -> Look:
    return look_at(compile_job(stored, files), rows, facts, len(stored.dkim_keys))


def refusal(found: Preflight) -> str:
    """Why a job cannot go out, as sentences."""
    return " ".join(told(one) + (f" ({counted(one.count, 'recipient')})" if one.count else "") for one in found.refusing)


def _fault(finding: Finding) -> Fault:
    some = ", ".join(f"{one.address or 'no address'} (no. {one.position})" for one in finding.examples)
    whom = f" {counted(finding.count, 'recipient')}, such as {some}." if some else ""
    return Fault(told(finding) + whom, "recipients" if some else None)


class Checks:
    """A worker's looks at jobs that wait at the gate. `check` is what the engine runs."""

    def __init__(self, pool: Pool, deployment: Deployment) -> None:
        self._pool, self._deployment = pool, deployment
        self._compiled: OrderedDict[int, tuple[JobContent, Compiled]] = OrderedDict()

    async def check(self, account_id: int, job_id: int, may_stay: bool) -> bool:
        """Looks at one chunk. True: there is more, and this lane may stay."""
        async with self._pool.connection() as conn:
            claimed = await ledger.claim_to_check(conn, account_id, job_id, LEASE_S)
        if claimed is None:
            self._compiled.pop(job_id, None)
            return False
        chunk_no, rows = claimed
        stored, message = await self._message(account_id, job_id)
        facts = await self._deployment.facts(stored)
        look = await asyncio.to_thread(look_at, message, rows, facts, len(stored.dkim_keys))
        async with self._pool.connection() as conn, conn.transaction():
            await ledger.record_chunk(conn, account_id, job_id, chunk_no, look, policy=stored.field_policy)
            if look.is_too_slow:
                await ledger.end(conn, account_id, job_id)
            elif not may_stay:  # to the tail of the queue, so that jobs take turns
                await engine.defer_checks(conn, account_id, job_id, 1)
        return may_stay

    async def _message(self, account_id: int, job_id: int) -> tuple[JobContent, Compiled]:
        if (known := self._compiled.get(job_id)) is None:
            async with self._pool.connection() as conn:
                stored = await contents.job_content(conn, account_id, job_id)
                files = await files_of(conn, stored)
            message = await asyncio.to_thread(compile_job, stored, files)
            known = self._compiled[job_id] = stored, message
            if len(self._compiled) > COMPILED_MAX:
                self._compiled.popitem(last=False)
        return known
