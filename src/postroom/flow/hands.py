"""One window in the hands of a session: renders each message, and turns what the gateway says into outcomes.

The session calls these methods from its callbacks, thousands of times a second: nothing here waits.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.domain.pace import REFUSALS_MAX, retry_delay_s
from postroom.errors import InvalidInput
from postroom.flow.letters import Letter
from postroom.gateway.replies import Phase, Reply, Verdict, classify
from postroom.gateway.session import Envelope
from postroom.ledger.delivery import InHand, Window
from postroom.message.address import envelope as envelope_of
from postroom.message.headers import Unrenderable

TOO_LARGE = 552  # RFC 1870 section 6.3
TOO_LARGE_IN_A_ROW_MAX = 5

_decode_fields = msgspec.json.Decoder(dict[str, str | int | float | bool | None]).decode


@dataclass(slots=True)
class Streak:
    """Messages of one job in a row that the gateway called too large. Messages are personal: one that is too large fails its
    recipient; when there is nothing but such, the fault is the job's."""

    refused: int = 0

    def goes_on(self) -> bool:
        """Whether this one more is still the recipient's fault."""
        self.refused += 1
        return self.refused < TOO_LARGE_IN_A_ROW_MAX


class Hands:
    """A session's source for one window. `outcomes()` afterwards: one for every recipient, given back where untouched.

    `may_go_on` is asked before each message and again before its content: False from a cancel or a lost lease on.
    `trouble` is the reply that made it stop early (throttling, or a fault of the gateway or the job), with its verdict.
    """

    def __init__(self, window: Window, letter: Letter, may_go_on: Callable[[], bool], *, retry_base_s: float,
                 streak: Streak) -> None:
        self._waiting = iter(window.recipients)
        self._recipients = window.recipients
        self._letter = letter
        self._may_go_on = may_go_on
        self._retry_base_s = retry_base_s
        self._streak = streak
        self._outcomes: dict[int, Outcome] = {}
        self.accepted = 0
        self.trouble: tuple[Verdict, Reply] | None = None

    def next(self) -> Envelope | None:
        letter = self._letter
        while self.trouble is None and self._may_go_on():
            one = next(self._waiting, None)
            if one is None:
                return None
            try:
                content = letter.message.render(one.address, one.position, _decode_fields(one.fields))
                # `Compiled` promises that no line begins with a dot, so there is nothing to stuff.
                return Envelope(letter.sender, envelope_of(one.address), (one, content), len(content), stuffed=True)
            except (Unrenderable, InvalidInput, ValueError) as error:
                # This recipient's own values are at fault; it is said of this one, and the window goes on.
                self._outcomes[one.position] = Outcome(one.position, one.attempt_no, Kind.FAILED, Evidence.WORKER,
                                                       reply=f"The message could not be made: {error}")
        return None

    def content(self, envelope: Envelope) -> bytes | None:
        if not self._may_go_on():
            return None
        content: bytes = envelope.token[1]  # type: ignore[index]
        return content

    def replied(self, envelope: Envelope, phase: Phase, reply: Reply) -> None:
        one: InHand = envelope.token[0]  # type: ignore[index]
        verdict = classify(phase, reply)
        if verdict is Verdict.ACCEPTED:
            self.accepted += 1
            kind, refusals, retry_in_s = Kind.SENT, 0, None
            self._streak.refused = 0
        elif verdict is Verdict.RECIPIENT_FAILED or (verdict is Verdict.RETRY and one.refusals + 1 >= REFUSALS_MAX) or (
                verdict is Verdict.JOB_FAULT and reply.code == TOO_LARGE and self._streak.goes_on()):
            kind, refusals, retry_in_s = Kind.FAILED, 0, None
        else:
            # Still unsent. Only a refusal of this very recipient counts against it; slowing down and faults do not.
            refusals = one.refusals + (verdict is Verdict.RETRY)
            kind, retry_in_s = Kind.REFUSED, retry_delay_s(max(1, refusals), random.random(), self._retry_base_s)  # noqa: S311
            if verdict is not Verdict.RETRY:
                self.trouble = self.trouble or (verdict, reply)
        self._outcomes[one.position] = Outcome(one.position, one.attempt_no, kind, Evidence.REPLY, reply.code,
                                               reply.enhanced or None, reply.text, retry_in_s, refusals)

    def lost(self, envelope: Envelope, detail: str) -> None:
        one: InHand = envelope.token[0]  # type: ignore[index]
        self._outcomes[one.position] = Outcome(one.position, one.attempt_no, Kind.UNCONFIRMED, Evidence.CONNECTION_LOST,
                                               reply=f"No answer to the end of the message: {detail}.")

    def outcomes(self) -> list[Outcome]:
        """What became of each. One that was not handed off goes back to unsent, and that is certain."""
        known = self._outcomes
        return [known.get(one.position) or Outcome(one.position, one.attempt_no, Kind.RELEASED, Evidence.WORKER,
                                                   retry_in_s=0, refusals=one.refusals)
                for one in self._recipients]
