"""Every phase of a conversation, and everything that may go wrong there: what becomes of the recipient, and of the job.

Each cell of `TABLE` is played twice, with a gateway that takes commands in groups and with one that takes them one by one: a job
of its own in the ledger, a chunk of three recipients. In the way in, the fault meets the connection; later it meets the second
recipient, after the first was accepted (content: the first, RSET: the third, after the second was refused). Whoever else is in
that chunk must be sent or left unsent, never failed, never in doubt, and nobody is mailed twice.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from postroom.domain.access import machine
from postroom.domain.job import Status
from postroom.flow.account import accounts, gateways
from postroom.flow.account.deployment import Deployment
from postroom.flow.account.secrets import SecretBox
from postroom.flow.content.outgoing import OutgoingJob, OutgoingJobs
from postroom.flow.content.preparing import Submission
from postroom.flow.delivery.deliver import Deliveries
from postroom.flow.delivery.pacing import Paces
from postroom.flow.delivery.sessions import Sessions
from postroom.flow.job import report
from postroom.flow.job.submit import submit
from postroom.gateway.conversation import Deadlines
from postroom.gateway.journal import Journal
from postroom.gateway.replies import Phase
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import pace
from postroom.ledger.job.jobs import JobOverview
from proofs import faulty
from proofs.checker import sides_of, taken_of
from proofs.content import CONTENT, rows
from proofs.faulty import LOOPBACK_DIALER, Fault, Faulty, Says
from proofs.installation import SECRET_KEY
from proofs.place import database
from proofs.verdict import Say, Scale, Verdict

RECIPIENTS = 12  # with a single lane: four chunks of three
AT_ONCE = 32
WAITS_MAX_S = 2.0  # where the fault is that nothing comes; elsewhere nobody is hurried, however busy the machine is
FILE = ("minutes.bin", bytes(range(256)) * 10_000)  # more than the kernels hold between the two

SENT, FAILED, UNSENT, UNCONFIRMED = "sent", "failed", "unsent", "unconfirmed"
IN_QUESTION = f"{UNSENT} or {FAILED}"  # until another is accepted on the same connection, or from a later window
GOES_ON, SLOWS, WAITS, FAILS = "goes on", "slows down", "waits", "fails"

DEPLOYMENT = Deployment(SecretBox(SECRET_KEY), helo_name="worker.example")
_numbers = itertools.count(1)
AUTHORITY, STRANGER = trustme.CA(), trustme.CA()

FAULTS = ("530 5.7.0",)
FAULTS_OF_THE_MESSAGE = ("550 5.7.26", "550 5.7.27", "550 5.7.29", "550 5.7.515")
BREAKS: dict[str, Fault] = {
    "FIN": faulty.hangs_up, "RST": faulty.resets, "silence": faulty.keeps_silent, "garbage": faulty.talks_nonsense,
    "endless reply": faulty.never_ends_its_reply, "an octet at a time": faulty.drips, "half-close": faulty.half_closes,
}
TIMED = ("silence", "an octet at a time", "silence amid TLS")
DEADLINES = {Phase.CONNECT: ("greeting_s",), Phase.EHLO: ("ehlo_s",), Phase.STARTTLS: ("tls_s",), Phase.AUTH: ("auth_s",),
             Phase.MAIL: ("mail_s",), Phase.RCPT: ("rcpt_s",), Phase.DATA: ("data_s", "content_s"), Phase.DOT: ("dot_s",),
             Phase.RSET: ("mail_s",), Phase.QUIT: ("quit_s",)}
IN_THE_WAY_IN = (Phase.CONNECT, Phase.EHLO, Phase.STARTTLS, Phase.AUTH)


class Cell(NamedTuple):
    """Where, what, and what then becomes of the one whom it meets and of the job. `content`: amid the content of DATA."""

    phase: Phase
    name: str
    fault: Fault
    recipient: str
    job: str
    content: bool = False

    @property
    def where(self) -> str:
        return "content" if self.content else self.phase.value

    @property
    def deadlines(self) -> Deadlines:
        return Deadlines(**dict.fromkeys(DEADLINES[self.phase], WAITS_MAX_S)) if self.name in TIMED else Deadlines()


def certified(by: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    by.issue_cert("127.0.0.1").configure_cert(context)
    return context


@functools.cache
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def _refusals(phase: Phase, recipient: str, job: str, *replies: str) -> Iterator[Cell]:
    for reply in replies:
        yield Cell(phase, reply, Says(reply.encode() + b" it says"), recipient, job)


def _breaks(phase: Phase, recipient: str, job: str) -> Iterator[Cell]:
    for name, fault in BREAKS.items():
        yield Cell(phase, name, fault, recipient, job)


def _table() -> Iterator[Cell]:
    """In the order of faults.md 2.4, cell by cell. What a gateway says in the way in is nobody's fault who gets mail."""
    for phase in IN_THE_WAY_IN:
        yield from _refusals(phase, UNSENT, WAITS, "421 4.3.2", "450 4.7.0", "454 4.7.0", "500 5.5.1", "530 5.7.0", "535 5.7.8",
                             "554 5.7.1")
        yield from _breaks(phase, UNSENT, WAITS)
        yield Cell(phase, "early reply", faulty.answers_too_early, UNSENT, WAITS)
        yield Cell(phase, "NUL", faulty.puts_a_nul_into_it, SENT, GOES_ON)
    for name, fault in (("no TLS behind it", faulty.says_go_ahead_and_speaks_no_tls),
                        ("FIN amid TLS", faulty.hangs_up_in_the_handshake),
                        ("silence amid TLS", faulty.is_silent_in_the_handshake),
                        ("certificate of a stranger", faulty.shows_a_certificate(certified(STRANGER)))):
        yield Cell(Phase.STARTTLS, name, fault, UNSENT, WAITS)

    yield from _refusals(Phase.MAIL, UNSENT, GOES_ON, "421 4.7.0")
    yield from _refusals(Phase.MAIL, UNSENT, SLOWS, "450 4.2.1", "503 5.5.1", "450 4.7.0", "451 4.3.0", "452 4.3.1",
                         "454 4.7.0", "471 4.7.1")
    yield from _refusals(Phase.MAIL, UNSENT, WAITS, "530 5.7.0", "550 5.7.1", "553 5.1.8", "550 5.1.7", "500 5.5.2")
    # Too large; the next is taken, on this connection or on another one.
    yield from _refusals(Phase.MAIL, IN_QUESTION, GOES_ON, "552 5.3.4")

    yield from _refusals(Phase.RCPT, UNSENT, GOES_ON, "421 4.7.0", "450 4.2.1", "451 4.1.1", "471 4.4.1", "552 5.5.3",
                         "503 5.5.1")
    yield from _refusals(Phase.RCPT, UNSENT, SLOWS, "450 4.7.0", "451 4.3.0", "452 4.5.3", "454 4.7.0", "471 4.7.1")
    yield from _refusals(Phase.RCPT, FAILED, GOES_ON, "550 5.1.1", "550 5.2.1", "550 5.7.1", "553 5.1.3", "554 5.7.1",
                         "501 5.1.3")
    # As if it were about us, but the next is taken: it is about this one.
    yield from _refusals(Phase.RCPT, UNSENT, GOES_ON, *FAULTS, "535 5.7.8", "550 5.1.8", "450 4.1.8", "504 5.5.2", "550 5.1.90",
                         "554 5.2.252")

    for phase in (Phase.DATA, Phase.DOT):
        yield from _refusals(phase, UNSENT, GOES_ON, "421 4.7.0", "452 4.2.2", "471 4.4.1", *FAULTS)
        yield from _refusals(phase, UNSENT, SLOWS, "450 4.7.0", "451 4.3.0", "452 4.3.1", "454 4.7.0", "471 4.7.1")
        yield from _refusals(phase, FAILED, GOES_ON, "550 5.1.1", "552 5.2.2", "552 5.3.4", "554 5.6.0", "554 5.7.1", "550 5.7.1",
                             *FAULTS_OF_THE_MESSAGE)
    yield from _refusals(Phase.DATA, UNSENT, GOES_ON, "503 5.5.1")

    for phase in (Phase.MAIL, Phase.RCPT, Phase.DATA):
        yield from _breaks(phase, UNSENT, GOES_ON)
        yield Cell(phase, "early reply", faulty.answers_too_early, UNSENT, GOES_ON)
        yield Cell(phase, "NUL", faulty.puts_a_nul_into_it, SENT, GOES_ON)

    # The first of a connection: later the kernels would hold most of it. A connection that brought nothing has to be waited for.
    for name, fault in (BREAKS | {"silence": faulty.stops_reading, "471 4.4.1 amid it": Says(b"471 4.4.1 it says")}).items():
        yield Cell(Phase.DATA, name, fault, UNSENT, WAITS, content=True)
    yield Cell(Phase.DATA, "250 amid it", Says(b"250 2.0.0 that will do"), UNSENT, GOES_ON, content=True)
    for reply in ("421 4.3.2", "452 4.3.1"):
        yield Cell(Phase.DATA, f"{reply} amid it", Says(reply.encode() + b" it says"), UNSENT, SLOWS, content=True)
    yield Cell(Phase.DATA, "554 5.6.0 amid it", Says(b"554 5.6.0 it says"), UNSENT, WAITS, content=True)
    yield Cell(Phase.DATA, "550 5.7.26 amid it", Says(b"550 5.7.26 it says"), UNSENT, FAILS, content=True)

    # From the dot on, whoever does not answer has it or has it not: the only doubt that there is.
    yield from _breaks(Phase.DOT, UNCONFIRMED, GOES_ON)
    yield Cell(Phase.DOT, "354 again", Says(b"354 go on"), UNCONFIRMED, GOES_ON)
    yield Cell(Phase.DOT, "early reply", faulty.answers_too_early, SENT, GOES_ON)
    yield Cell(Phase.DOT, "NUL", faulty.puts_a_nul_into_it, SENT, GOES_ON)

    # After the second was refused, RSET goes before the third; QUIT goes last.
    yield from _refusals(Phase.RSET, UNSENT, GOES_ON, "421 4.7.0", "450 4.7.0", "500 5.5.1", "550 5.1.1")
    yield from _breaks(Phase.RSET, UNSENT, GOES_ON)
    yield Cell(Phase.RSET, "early reply", faulty.answers_too_early, UNSENT, GOES_ON)
    yield Cell(Phase.RSET, "NUL", faulty.puts_a_nul_into_it, SENT, GOES_ON)
    yield from _refusals(Phase.QUIT, SENT, GOES_ON, "421 4.7.0", "450 4.7.0", "550 5.1.1")
    yield from _breaks(Phase.QUIT, SENT, GOES_ON)


TABLE = tuple(_table())


class Trusting(OutgoingJobs):
    """As the worker's, but for gateways on this machine, whose certificates are ours."""

    async def of_job(self, account_id: int, job_id: int) -> OutgoingJob:
        outgoing = await super().of_job(account_id, job_id)
        outgoing.endpoint = replace(outgoing.endpoint, ssl_context=trusting(), dialer=LOOPBACK_DIALER)
        return outgoing


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    """All cells; the short one plays each of them once, with a gateway of either kind."""
    draw = random.Random(seed)
    played = [(cell, pipelining) for cell in TABLE for pipelining in (True, False)]
    if scale is Scale.SHORT:
        played = [(cell, draw.random() < 0.5) for cell in TABLE]
    else:
        for line in told():
            say(line)
    async with database(connections=AT_ONCE + 2) as (sampling, pool):
        with tempfile.TemporaryDirectory() as directory:
            journal = Journal.open(Path(directory), bytes(16), "matrix", 0)
            faults = await play(pool, journal, played, say)
            for phase in (Phase.DATA, Phase.DOT):
                for reply in ("554 5.6.0", *FAULTS_OF_THE_MESSAGE):
                    faults += await play_streak(pool, journal, reply, phase, FAILS)
            for phase in (Phase.RCPT, Phase.DATA, Phase.DOT):
                for reply in FAULTS:
                    faults += await play_streak(pool, journal, reply, phase, WAITS)
    return Verdict({"phases": len({cell.where for cell in TABLE}), "cells": len(TABLE), "played": len(played),
                    "wrong": len(faults), **sampling.figures}, faults + sampling.found[:5])


def told() -> Iterator[str]:
    """The table, for people: a line for each outcome in each phase."""
    for (where, recipient, job), cells in itertools.groupby(TABLE, lambda cell: (cell.where, cell.recipient, cell.job)):
        yield f"{where}: {', '.join(cell.name for cell in cells)} -> {recipient}, the job {job}"


async def play(pool: Pool, journal: Journal, played: list[tuple[Cell, bool]], say: Say) -> list[str]:
    """A sentence for each cell that did not come out as the table says."""
    wrong: list[str] = []
    left = iter(played)

    async def player(name: str) -> None:
        for cell, pipelining in left:
            try:
                found = await play_cell(pool, journal, cell, name, pipelining=pipelining)
            except Exception as error:
                found = [f"{type(error).__name__}: {error}"]
            wrong.extend(f"{cell.where}, {cell.name} ({'in groups' if pipelining else 'one by one'}): {one}" for one in found)

    await asyncio.gather(*(player(f"player {n}") for n in range(AT_ONCE)))
    say(f"{len(played)} cells played, {len(wrong)} wrong")
    return wrong


async def play_cell(pool: Pool, journal: Journal, cell: Cell, owner: str, *, pipelining: bool) -> list[str]:
    encrypts, logs_in = cell.phase is Phase.STARTTLS, cell.phase is Phase.AUTH
    async with Faulty(pipelining=pipelining, login=logs_in, tls=certified(AUTHORITY) if encrypts else None) as gateway:
        account_id, gateway_id = await account(pool, gateway, encrypts=encrypts, logs_in=logs_in)
        job = await submit(pool, DEPLOYMENT,
                           Submission(machine(account_id, "prover"), CONTENT, files=(FILE,) if cell.content else ()),
                           rows(RECIPIENTS))
        arm(gateway, cell)
        await deliver(pool, journal, job, owner, cell.deadlines)
        sides = await sides_of(pool, account_id, job.id, lambda job_id: taken_of(gateway.taken.elements(), job_id))
        view = (await report.report(pool, machine(account_id, "proof"), job.id)).job
        async with pool.connection() as conn:
            slowed = (await pace.look(conn, gateway_id)).because is not None
            first = await (await conn.execute(FIRST_ATTEMPTS, (account_id, job.id))).fetchall()
    found = [] if gateway.struck else ["the fault was never met"]
    return found + sides.faults() + compare(cell, dict(first), view, slowed=slowed)


async def play_streak(pool: Pool, journal: Journal, reply: str, phase: Phase, becomes: str) -> list[str]:
    """All are refused alike: nobody fails by it, at the fifth or, where the code tells, at the second it is about us."""
    async with Faulty() as gateway:
        account_id, _ = await account(pool, gateway)
        job = await submit(pool, DEPLOYMENT, Submission(machine(account_id, "prover"), CONTENT), rows(RECIPIENTS))
        gateway.arm(phase, Says(f"{reply} it says".encode()), times=RECIPIENTS)
        await deliver(pool, journal, job, "streak", Deadlines(), chunks=2, retry_base_s=60.0)
        view = (await report.report(pool, machine(account_id, "proof"), job.id)).job
    told = view.status, view.failed, view.unsent, reply in (view.reason or view.waits_because or "")
    expected = Status.FAILED if becomes is FAILS else Status.SENDING, 0, RECIPIENTS, True
    return [] if told == expected else [f"{phase.value}, {reply} again and again: {told}, not {expected}"]


async def account(pool: Pool, gateway: Faulty, *, encrypts: bool = False, logs_in: bool = False) -> tuple[int, int]:
    """A new one and its gateway, by their numbers."""
    made = await accounts.create_account(pool, f"Club {next(_numbers)}", approval_threshold=100)
    gateway_id = await gateways.create_gateway(
        pool, DEPLOYMENT.secrets, machine(made.id, "proof"), name="main", host="127.0.0.1", port=gateway.port, connections=1,
        signs_dkim=True,
        security="starttls" if encrypts else "none", username="club" if logs_in else None, password="secret" if logs_in else None)
    return made.id, gateway_id


async def deliver(pool: Pool, journal: Journal, job: JobOverview, owner: str, deadlines: Deadlines, *, chunks: int = 1,
                  retry_base_s: float = 0.001) -> None:
    """As many turns of the job's only lane, by a worker that then goes."""
    sessions = Sessions(pool, owner, lease_s=60, deadlines=deadlines)
    deliveries = Deliveries(pool, Trusting(pool, DEPLOYMENT), sessions, Paces(pool), journal, owner=owner, lease_s=60,
                            retry_base_s=retry_base_s)
    for _ in range(chunks):
        await deliveries.deliver(job.account_id, job.id)
    await sessions.close_idle(older_than_s=0)


FIRST_ATTEMPTS = """
    SELECT position, CASE WHEN kind IN ('refused', 'released') THEN 'unsent' ELSE kind::text END FROM outcome
    WHERE account_id = %s AND job_id = %s AND attempt_no = 1
"""


def arm(gateway: Faulty, cell: Cell) -> None:
    if cell.phase is Phase.RSET:
        gateway.arm(Phase.RCPT, Says(b"550 5.1.1 no such mailbox"), nth=2)
    first = cell.phase in (*IN_THE_WAY_IN, Phase.RSET, Phase.QUIT) or cell.content
    gateway.arm(cell.phase, cell.fault, nth=1 if first else 2, content=cell.content)


def compare(cell: Cell, first: dict[int, str], view: Any, *, slowed: bool) -> list[str]:
    """What became of everybody's first attempt, and of the job."""
    victim = 3 if cell.phase is Phase.RSET else 1 if cell.phase in IN_THE_WAY_IN or cell.content else 2
    found = []
    if (became := first.get(victim, UNSENT)) not in cell.recipient.split(" or "):
        found.append(f"the recipient is {became}, not {cell.recipient}")
    for position in {1, 2, 3} - {victim}:
        allowed = (FAILED,) if cell.phase is Phase.RSET and position == 2 else (SENT, UNSENT)
        found += [f"its neighbour {position} is {became}" for became in [first.get(position, UNSENT)] if became not in allowed]
    if victim > 1 and first.get(1) != SENT:
        found.append("the one before it is not sent")
    job = FAILS if view.status is Status.FAILED else WAITS if view.waits_for else SLOWS if slowed else GOES_ON
    if job != cell.job:
        found.append(f"the job {job}, but it {cell.job} ({view.reason or view.waits_because})")
    return found
