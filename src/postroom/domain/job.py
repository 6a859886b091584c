"""The life of a job: its six statuses, and each move between them.

                 submit (count >= threshold)            submit (count < threshold)
                             |                                      |
                             v                                      |
                     pending_approval ---- approve ----> queued <---+
                             |                            |  |  \\
                             |                      start |  |   \\
                             |                            v  |    \\
                             |                        sending|     \\ fail
                             |                         / |  \\|      \\
                             |               complete /  |   \\ fail  \\
                             |                       v   |    v       v
                             +------- cancel ---> completed  cancelled  failed

The table below is the only list of moves. The database holds the same pairs (`job_transition`) and its trigger refuses
any other; a test holds the two together, and `docs/states.md` is rendered from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """In life order. `label` is what people read, `meaning` what is true while the job is in it."""

    PENDING_APPROVAL = "pending_approval"
    QUEUED = "queued"
    SENDING = "sending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def label(self) -> str:
        return self.value.replace("_", " ").capitalize()

    @property
    def meaning(self) -> str:
        return MEANINGS[self]

    @property
    def is_over(self) -> bool:
        return self in OVER


MEANINGS = {
    Status.PENDING_APPROVAL: (
        "The recipient list is frozen and counted; a person has to approve it. No email has been sent. "
        "A person leaves it by approving or by cancelling."
    ),
    Status.QUEUED: (
        "Approved, or below the threshold. Another send of the account is active, or its time has not come. "
        "It starts by itself when it is first in the queue; a person may cancel it."
    ),
    Status.SENDING: (
        "The one active send of its account: workers hand its messages to the gateway. It leaves by completing, "
        "by a person's cancel, or by an error that only a person can resolve."
    ),
    Status.COMPLETED: "Every recipient is sent, failed, skipped or unconfirmed; nothing is unsent. Final.",
    Status.CANCELLED: "A person ended it. What the gateway already had is sent; the rest stays unsent. Final.",
    Status.FAILED: "A job-level error ended it, with the reason. What was not sent stays unsent. Final.",
}

OVER = frozenset({Status.COMPLETED, Status.CANCELLED, Status.FAILED})


@dataclass(frozen=True, slots=True)
class Transition:
    """One allowed move. `origin` None: the job comes into being with it."""

    verb: str
    origin: Status | None
    target: Status


TRANSITIONS = (
    Transition("submit", None, Status.PENDING_APPROVAL),
    Transition("submit", None, Status.QUEUED),
    Transition("approve", Status.PENDING_APPROVAL, Status.QUEUED),
    Transition("start", Status.QUEUED, Status.SENDING),
    Transition("complete", Status.SENDING, Status.COMPLETED),
    Transition("cancel", Status.PENDING_APPROVAL, Status.CANCELLED),
    Transition("cancel", Status.QUEUED, Status.CANCELLED),
    Transition("cancel", Status.SENDING, Status.CANCELLED),
    Transition("fail", Status.QUEUED, Status.FAILED),
    Transition("fail", Status.SENDING, Status.FAILED),
)

QUEUE_SENTENCE = "Your send is queued. Sending will start automatically when the current send finishes."
HELD_UP = {"paused": "is paused", "gateway": "waits for its gateway", "quota": "waits for its gateway's quota",
           "journal": "waits for the journal of a worker that died"}  # a job, by what does it


def needs_approval(recipient_count: int, approval_threshold: int) -> bool:
    """The gate: at the threshold and above a person approves; below, the job approves itself. The threshold is the job's: its
    account's, or 1 where it waits at the gate in any case."""
    return recipient_count >= approval_threshold


def origins(verb: str) -> tuple[Status, ...]:
    """The statuses in which `verb` is possible, in life order."""
    return tuple(move.origin for move in TRANSITIONS if move.verb == verb and move.origin is not None)
