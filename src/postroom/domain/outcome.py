"""What became of a recipient: five classes, and the evidence that says so.

    unsent ----> sent | failed | skipped | unconfirmed
      ^  \\
      +-- refused (a temporary refusal or an untouched return: still unsent, tried again)

    unconfirmed ----> sent | failed | unsent         only by stronger evidence, never by a new attempt

*Unconfirmed* is no error: the gateway may have the message and nobody can know (RFC 5321 section 4.5.3.2.6, RFC 1047).
Each class is counted once: sent + failed + skipped + unconfirmed + unsent = recipient_count, at every instant.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The class that one outcome row puts its recipient into. `REFUSED` and `RELEASED` leave it unsent."""

    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNCONFIRMED = "unconfirmed"
    REFUSED = "refused"
    RELEASED = "released"

    @property
    def recipient_class(self) -> str:
        return UNSENT if self in (Kind.REFUSED, Kind.RELEASED) else self.value


UNSENT = "unsent"
CLASSES = ("sent", "failed", "skipped", "unconfirmed", UNSENT)


class Evidence(StrEnum):
    """What an outcome rests on, weakest first: a recipient's state only ever moves to stronger evidence."""

    LEASE_LOST = "lease_lost"
    CRASH_AFTER_DOT = "crash_after_dot"
    CONNECTION_LOST = "connection_lost"
    FREEZE = "freeze"
    SUPPRESSION = "suppression"
    PERSON = "person"
    WORKER = "worker"
    REPLY = "reply"


EVIDENCE_MEANINGS = {
    Evidence.LEASE_LOST: "the worker that had it in hand went away, and nobody can say whether it was handed off",
    Evidence.CRASH_AFTER_DOT: "the worker died after the end of the message and before the gateway's answer, as its journal says",
    Evidence.CONNECTION_LOST: "the connection was lost after the end of the message and before the gateway's answer",
    Evidence.FREEZE: "decided when the list was frozen",
    Evidence.SUPPRESSION: "the address opted out or was suppressed after the freeze",
    Evidence.PERSON: "a person settled the doubt",
    Evidence.WORKER: "the worker that had it in hand, or its journal, says that it was never handed off, or could not be made",
    Evidence.REPLY: "the gateway's own answer",
}


class Contradiction(NamedTuple):
    """How many a person had settled otherwise than came to light since. Of those assumed sent, who never got it is `unsent` or
    `failed` now; of those sent again, who had it before is `sent`, and `twice` was sent to again."""

    unsent: int
    failed: int
    sent: int
    twice: int

    @property
    def sentences(self) -> list[str]:
        """With what can be done. The number comes first, so that sentences that end alike can be added up."""
        proof = "as the worker's journal or the gateway proves"
        never = f"whom a person had assumed sent never got it, {proof}. They count as"
        told = ((self.unsent, f"{never} Unsent: this job sends to them, or a continuation of its unsent once it is over."),
                (self.failed, f"{never} Failed: a continuation of its failed sends to them once it is over."),
                (self.sent, f"whom a person had sent again already had it, {proof}. They count as Sent."),
                (self.twice, "whom a person had sent again already had it and may get it twice: this job, or one that continues "
                             "it, has taken them up."))
        return [f"{count:,} {words}" for count, words in told if count]


class Outcome(NamedTuple):
    """One attempt's result for one recipient. `code` and `enhanced_code` are the gateway's, `reply` its words or ours.

    The rest stands only where the recipient stays unsent. `retry_in_s`: when it is due again; negative where it has been for so
    long. `refusals`: how many temporary ones count against it. `alike`: where it was refused for good and nobody can tell yet
    whether that is about the recipient, the number of all refusals like this one. `own`: the number of such a refusal as it met
    alone, while whoever came right behind was accepted.
    """

    position: int
    attempt_no: int
    kind: Kind
    evidence: Evidence
    code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None
    retry_in_s: float | None = None
    refusals: int = 0
    alike: int | None = None
    own: int | None = None
