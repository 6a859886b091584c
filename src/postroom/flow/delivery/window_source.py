"""One window that a session hands off: renders each message, and turns what the gateway says into outcomes.

Promises: before a final dot can leave, the journal says so, and each answer stands in it before anything else is done with it.
The session calls these methods from its callbacks, thousands of times a second: nothing here waits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.domain.pace import ALIKE_MAX, REFUSED_IN_A_ROW_MAX, retry_delay_s
from postroom.errors import InvalidInput
from postroom.flow.content.outgoing import SLOW_S, OutgoingJob
from postroom.gateway.journal import Intent, Journal
from postroom.gateway.replies import Phase, Reply, Verdict, classify, likeness
from postroom.gateway.session import Envelope
from postroom.ledger.delivery.windows import InHand, Window
from postroom.message.wire.address import envelope as envelope_of
from postroom.message.wire.headers import Unrenderable
from postroom.points import reach

# What answers that do not tell whom they are about mean, when nothing else comes.
IN_A_ROW = {Verdict.RECIPIENT_REFUSED: Verdict.GATEWAY_FAULT, Verdict.MESSAGE_REFUSED: Verdict.JOB_FAULT,
            Verdict.RECIPIENT_PUT_OFF: Verdict.THROTTLED}
FOR_GOOD = (Verdict.RECIPIENT_REFUSED, Verdict.MESSAGE_REFUSED)


@dataclass(slots=True)
class Row:
    """Recipients of one job that were refused since this process had one accepted, by answers that do not tell whom they are
    about: by likeness. When nothing else comes it is not about them, and a hundred thousand copies of it would ruin the
    account's reputation."""

    positions: dict[int, set[int]] = field(default_factory=dict)

    def add(self, position: int, alike: int) -> None:
        self.positions.setdefault(alike, set()).add(position)

    def is_long(self, alike: int) -> bool:
        """Whether answers like this one are about us."""
        return len(self.positions.get(alike, ())) >= ALIKE_MAX or sum(map(len, self.positions.values())) >= REFUSED_IN_A_ROW_MAX

    def ends(self) -> None:
        """The gateway accepted one."""
        self.positions.clear()


class Refused(NamedTuple):
    """One that stays unsent: what its refusal was taken for, and the number of those alike."""

    one: InHand
    verdict: Verdict
    alike: int


class WindowSource:
    """A session's source for one window. `outcomes()` afterwards: one for every recipient, given back where untouched.

    `may_go_on` is asked before each message and again before its content: False from a cancel or a lost lease on. `takes_utf8`
    and `size_max` are what the session's gateway says that it can take. `trouble` is the reply that made it stop early
    (throttling, or a fault of the gateway or the job), with its phase and verdict. A fault that was said of a recipient stops it
    at the second in a row: the first may be about that one alone. `is_heard`: it answered about a recipient, be it no.
    """

    def __init__(self, window: Window, outgoing: OutgoingJob, may_go_on: Callable[[], bool], *, journal: Journal, intent: Intent,
                 retry_base_s: float, row: Row, takes_utf8: bool = False, size_max: int | None = None) -> None:
        self._waiting = iter(window.recipients)
        self._recipients = window.recipients
        self._outgoing = outgoing
        self._may_go_on = may_go_on
        self._journal = journal
        self._intent = intent
        self._retry_base_s = retry_base_s
        self._row = row
        self._takes_utf8 = takes_utf8
        self._size_max = size_max
        self._prepared: dict[int, Envelope | Outcome] = {}
        self._is_suspect = True
        self._outcomes: dict[int, Outcome] = {}
        self._refused: list[Refused] = []  # since it accepted one; whom that was about is open
        self._is_stopped = False
        self.accepted = 0
        self.is_heard = False
        self.trouble: tuple[Phase, Verdict, Reply] | None = None

    def prepare(self) -> None:
        """Makes every message of the window ahead, in a thread: for jobs with slow messages, so that other sessions go on."""
        for one in self._recipients:
            if not self._may_go_on():
                return
            self._prepared[one.position] = self._made(one)

    def next(self) -> Envelope | None:
        while not self._is_stopped and self._may_go_on():
            one = next(self._waiting, None)
            if one is None:
                return None
            made = self._prepared.pop(one.position, None) or self._timed(one)
            if isinstance(made, Envelope):
                return made
            self._outcomes[one.position] = made
        return None

    def _timed(self, one: InHand) -> Envelope | Outcome:
        """The first of the window tells whether the job is slow, and whoever follows one that took its time: by CPU time, as
        a busy machine makes no template slow, and not always, as that clock costs a microsecond."""
        began, cpu_began = time.monotonic(), time.thread_time() if self._is_suspect else None
        made = self._made(one)
        self._is_suspect = time.monotonic() - began > SLOW_S
        if cpu_began is not None and time.thread_time() - cpu_began > SLOW_S:
            self._outgoing.is_slow = True
        return made

    def _made(self, one: InHand) -> Envelope | Outcome:
        """The message, ready to go; or why this recipient fails: its own values are at fault, and the window goes on."""
        outgoing, tail = self._outgoing, self._outgoing.message.tail
        try:
            recipient = envelope_of(one.address)
            content = outgoing.write(recipient, one.address, one.position, one.fields)
            # `OutgoingJob` promises that no line begins with a dot, so there is nothing to stuff.
            envelope = Envelope(outgoing.message.sender(one.position), recipient, (one, content), len(content) + len(tail),
                                stuffed=True)
        except (Unrenderable, InvalidInput, ValueError) as error:
            return self._failed(one, f"The message could not be made: {error}")
        if envelope.utf8 and not self._takes_utf8:
            return self._failed(one, "The address has letters outside ASCII, and the gateway does not offer SMTPUTF8 (5.6.7).")
        if self._size_max is not None and len(content) + len(tail) > self._size_max:
            return self._failed(one, f"The message has {len(content) + len(tail):,} octets, and the gateway takes at most "
                                     f"{self._size_max:,} (5.3.4).")
        return envelope

    def _failed(self, one: InHand, reason: str) -> Outcome:
        return Outcome(one.position, one.attempt_no, Kind.FAILED, Evidence.WORKER, reply=reason)

    def content(self, envelope: Envelope) -> bytes | tuple[bytes, bytes] | None:
        if not self._may_go_on():
            return None
        content: bytes = envelope.token[1]  # type: ignore[index]
        tail = self._outgoing.message.tail
        return (content, tail) if tail else content

    def handing_over(self, envelope: Envelope) -> None:
        one: InHand = envelope.token[0]  # type: ignore[index]
        reach("deliver.before_dot")
        self._journal.handing_over(self._intent, one.position, one.attempt_no)

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        reach("deliver.after_reply")
        one: InHand = envelope.token[0]  # type: ignore[index]
        outcome = self._outcomes[one.position] = self._judged(one, phase, reply)
        self._journal.answered(self._intent, outcome)

    def _judged(self, one: InHand, phase: Phase, reply: Reply) -> Outcome:
        """What this answer makes of the recipient, and of the window."""
        verdict = said = classify(phase, reply)
        alike = None
        if verdict is not Verdict.ACCEPTED:
            alike = likeness(phase, reply, one.address)
            verdict = self._weighed(one, verdict, alike)
        self.is_heard |= verdict in (Verdict.ACCEPTED, Verdict.RETRY, Verdict.RECIPIENT_FAILED)
        refusals, retry_in_s = 0, None
        if verdict is Verdict.ACCEPTED:
            self.accepted += 1
            self._row.ends()
            self._was_about_them()
            kind = Kind.SENT
        elif verdict is Verdict.RECIPIENT_FAILED or (
                verdict is Verdict.RETRY and one.refusals + 1 >= self._outgoing.retry_attempts_max):
            kind = Kind.FAILED
        else:
            # Still unsent. Only a refusal of this very recipient counts against it; slowing down and faults do not.
            refusals = one.refusals + (verdict is Verdict.RETRY)
            kind, retry_in_s = Kind.REFUSED, self._delay_s(refusals)
            if verdict in FOR_GOOD:
                retry_in_s = self._retry_base_s  # time for others to be accepted meanwhile
            elif verdict is not Verdict.RETRY:
                self._is_stopped = self._is_stopped or not (
                    self.trouble is None and verdict in (Verdict.GATEWAY_FAULT, Verdict.JOB_FAULT) and phase is not Phase.MAIL)
                self.trouble = self.trouble or (phase, verdict, reply)
            if alike is not None:
                self._refused.append(Refused(one, verdict, alike))
        return Outcome(one.position, one.attempt_no, kind, Evidence.REPLY, reply.code, reply.enhanced or None, reply.text,
                       retry_in_s, refusals, alike if kind is Kind.REFUSED and said in FOR_GOOD else None, one.own)

    def _weighed(self, one: InHand, verdict: Verdict, alike: int) -> Verdict:
        """What the refusals around it make of this one."""
        if one.own == alike:
            return Verdict.RETRY
        if verdict not in IN_A_ROW:
            return verdict
        is_second = one.was_refused and verdict in FOR_GOOD
        if not is_second:
            self._row.add(one.position, alike)
        if self._row.is_long(alike):
            return IN_A_ROW[verdict]
        if is_second:
            return Verdict.RECIPIENT_FAILED
        return Verdict.RETRY if verdict is Verdict.RECIPIENT_PUT_OFF else verdict

    def _was_about_them(self) -> None:
        """On the same connection it accepts somebody after it refused these."""
        for one, verdict, alike in self._refused:
            outcome = self._outcomes[one.position]
            refusals, is_for_good = one.refusals + 1, outcome.code is not None and outcome.code >= 500
            is_last = (outcome.alike is not None or verdict is Verdict.JOB_FAULT or (is_for_good and one.own == alike)
                       or refusals >= self._outgoing.retry_attempts_max)
            if verdict is not Verdict.THROTTLED:
                self._outcomes[one.position] = (
                    outcome._replace(kind=Kind.FAILED, retry_in_s=None, alike=None) if is_last else
                    outcome._replace(refusals=refusals, retry_in_s=self._delay_s(refusals), own=alike))
        self._refused.clear()
        if not self._is_stopped:
            self.trouble = None

    def _delay_s(self, refusals: int) -> float:
        return retry_delay_s(max(1, refusals), random.random(), self._retry_base_s)  # noqa: S311 - jitter

    def lost(self, envelope: Envelope, detail: str) -> None:
        one: InHand = envelope.token[0]  # type: ignore[index]
        self._outcomes[one.position] = Outcome(one.position, one.attempt_no, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST,
                                               reply=f"No answer to the end of the message: {detail}.")

    def outcomes(self) -> list[Outcome]:
        """What became of each. One that was not handed off goes back to unsent, which is certain, and keeps its place."""
        known = self._outcomes
        return [known.get(one.position) or Outcome(one.position, one.attempt_no, Kind.RELEASED, Evidence.WORKER,
                                                   retry_in_s=-one.due_for_s, refusals=one.refusals, own=one.own)
                for one in self._recipients]
