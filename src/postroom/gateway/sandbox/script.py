"""The answer script of the sandbox gateway: what goes wrong, where, and how often.

A `Script` says, for each phase of a conversation, how long the reply takes, and which share of the commands is refused
for now, refused for good, or answered by a dropped connection. It is a frozen value; `parse` reads it from text such as

    rcpt:temp=2%,perm=1% 550 5.1.1 Unknown here; dot:drop=0.5%,drop_after=0.1%,delay=20ms; throttle=500/s; seed=7

It promises that a run can be replayed: each phase draws from a generator of its own, seeded by the script, so that the
n-th RCPT of two runs meets the same fate, whatever the other phases do.
It fails with InvalidInput, which names the part of the text that cannot be read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from postroom.errors import InvalidInput

PHASES: Final = ("connect", "ehlo", "auth", "mail", "rcpt", "data", "dot")

# In place of the code of a `Refusal`: hang up instead of answering. The two differ only at the dot.
DROP: Final = 0
DROP_AFTER_RECORDING: Final = 1

# A throttle lets through at most this many seconds' worth of messages at once, as real gateways do.
THROTTLE_BURST_S: Final = 0.1
SIZE_MAX: Final = 25 * 1024 * 1024
THROTTLE_REPLY: Final = b"454 4.7.0 Throttling failure: Maximum sending rate exceeded\r\n"

_TEMPORARY_REPLIES: Final = {
    "connect": "421 4.3.2 Service not available, try again later",
    "ehlo": "421 4.3.2 Service not available, try again later",
    "auth": "454 4.7.0 Temporary authentication failure",
    "mail": "451 4.3.0 Sender not taken, try again later",
    "rcpt": "450 4.2.1 Mailbox not available, try again later",
    "data": "451 4.3.0 Message not taken, try again later",
    "dot": "451 4.3.0 Message not taken, try again later",
}
_PERMANENT_REPLIES: Final = {
    "connect": "554 5.3.2 No service here",
    "ehlo": "550 5.7.1 Not welcome here",
    "auth": "535 5.7.8 Authentication credentials invalid",
    "mail": "550 5.7.1 Sender refused",
    "rcpt": "550 5.1.1 No such mailbox",
    "data": "554 5.7.1 Message refused",
    "dot": "554 5.7.1 Message refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one phase is answered. Shares are fractions from 0 to 1, at most 1 in sum; replies are lines of text.

    `drop` hangs up without a reply, at the dot before the message is recorded: it was never accepted.
    `drop_after` exists for the dot only: the message is recorded, so it is accepted, and the reply is lost.
    """

    delay_s: float = 0.0
    temporary: float = 0.0
    permanent: float = 0.0
    drop: float = 0.0
    drop_after: float = 0.0
    temporary_reply: str = ""
    permanent_reply: str = ""


class Refusal(NamedTuple):
    """How one address is answered. `text` begins with the enhanced code; `times` is how often, with 0 for always."""

    phase: str
    code: int
    text: str = ""
    times: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """All answers of a run. `refuse` is keyed by exact address: the sender in phase mail, else any recipient.

    `utf8` offers SMTPUTF8 (RFC 6531), which few gateways do; `size_max` is the largest message in octets (RFC 1870).
    """

    connect: Answer = Answer()
    ehlo: Answer = Answer()
    auth: Answer = Answer()
    mail: Answer = Answer()
    rcpt: Answer = Answer()
    data: Answer = Answer()
    dot: Answer = Answer()
    throttle_per_s: float | None = None
    messages_per_connection_max: int | None = None
    connections_max: int | None = None
    size_max: int = SIZE_MAX
    utf8: bool = False
    refuse: Mapping[str, Refusal | tuple[str, int, str]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for phase in PHASES:
            _check_answer(phase, getattr(self, phase))
        for address, refusal in self.refuse.items():
            _check_refusal(address, refusal)
        for name in ("throttle_per_s", "messages_per_connection_max", "connections_max", "size_max"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise InvalidInput(f"{name} of the answer script has to be more than 0, not {limit}.", field="script")


class Verdict(NamedTuple):
    """What a command gets instead of its good reply: `reply` is b"" for a dropped connection."""

    reply: bytes
    accepted: bool = False


class ScriptRun:
    """A script while it is played: its draws, the uses of each refusal, and the throttle of all connections."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.delays_s = {phase: getattr(script, phase).delay_s for phase in PHASES}
        self._shares: dict[str, tuple[Random, tuple[tuple[float, Verdict], ...]]] = {}
        for phase in PHASES:
            if bounds := _bounds(phase, getattr(script, phase)):
                # Replayable is the point here; nothing is secret.
                self._shares[phase] = (Random(f"{script.seed}:{phase}"), bounds)  # noqa: S311
        self._refused: dict[str, int] = {}
        self._tokens_max = max(1.0, (script.throttle_per_s or 0.0) * THROTTLE_BURST_S)
        self._tokens = self._tokens_max
        self._tokens_at = time.monotonic()

    def verdict(self, phase: str, addresses: tuple[str, ...] = ()) -> Verdict | None:
        """The fate of one command, or None where it gets its good reply."""
        if self.script.refuse:
            for address in addresses:
                if (named := self._refusal(phase, address)) is not None:
                    return named
        if phase in self._shares:
            random, bounds = self._shares[phase]
            drawn = random.random()
            for bound, verdict in bounds:
                if drawn < bound:
                    return verdict
        if phase == "dot" and self.script.throttle_per_s is not None and not self._take_token():
            return Verdict(THROTTLE_REPLY)
        return None

    def _refusal(self, phase: str, address: str) -> Verdict | None:
        refusal = self.script.refuse.get(address)
        if refusal is None or refusal[0] != phase:
            return None
        refusal = Refusal(*refusal)
        uses = self._refused.get(address, 0)
        if refusal.times and uses >= refusal.times:
            return None
        self._refused[address] = uses + 1
        if refusal.code in (DROP, DROP_AFTER_RECORDING):
            return Verdict(b"", accepted=refusal.code == DROP_AFTER_RECORDING)
        return Verdict(f"{refusal.code} {refusal.text}\r\n".encode())

    def _take_token(self) -> bool:
        now = time.monotonic()
        earned = (now - self._tokens_at) * (self.script.throttle_per_s or 0.0)
        self._tokens = min(self._tokens_max, self._tokens + earned)
        self._tokens_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def _bounds(phase: str, answer: Answer) -> tuple[tuple[float, Verdict], ...]:
    """The shares of a phase as rising bounds of one draw from 0 to 1."""
    bounds: list[tuple[float, Verdict]] = []
    bound = 0.0
    for share, verdict in (
        (answer.drop, Verdict(b"")),
        (answer.drop_after, Verdict(b"", accepted=True)),
        (answer.temporary, Verdict(f"{answer.temporary_reply or _TEMPORARY_REPLIES[phase]}\r\n".encode())),
        (answer.permanent, Verdict(f"{answer.permanent_reply or _PERMANENT_REPLIES[phase]}\r\n".encode())),
    ):
        if share:
            bound += share
            bounds.append((bound, verdict))
    return tuple(bounds)


_REPLY = re.compile(r"[2345]\d\d [ -~]+")


def _check_answer(phase: str, answer: Answer) -> None:
    shares = (answer.temporary, answer.permanent, answer.drop, answer.drop_after)
    # A sum of decimal fractions such as 0.7 + 0.2 + 0.1 may exceed 1 by a rounding error.
    if min(shares) < 0 or sum(shares) > 1.000001:
        raise InvalidInput(f"The shares of phase {phase} have to be from 0 to 100 %, also in sum.", field="script")
    if answer.drop_after and phase != "dot":
        raise InvalidInput(f"drop_after is only possible in phase dot, not in {phase}.", field="script")
    if answer.delay_s < 0:
        raise InvalidInput(f"The delay of phase {phase} cannot be negative.", field="script")
    for kind, reply in (("4", answer.temporary_reply), ("5", answer.permanent_reply)):
        if reply and not (_REPLY.fullmatch(reply) and reply[0] == kind):
            message = f"{reply!r} in phase {phase} is not a reply such as {kind}50 {kind}.2.0 Text."
            raise InvalidInput(message, field="script")


def _check_refusal(address: str, refusal: Refusal | tuple[str, int, str]) -> None:
    phase, code, text, _times = Refusal(*refusal)
    known = phase in ("mail", "rcpt", "data", "dot")
    if not known or not (code in (DROP, DROP_AFTER_RECORDING) or _REPLY.fullmatch(f"{code} {text}")):
        message = f"The refusal of {address} is not (mail, rcpt, data or dot; code; text): {refusal!r}."
        raise InvalidInput(message, field="script")


# ---- the text form

_ANSWER_KEYS: Final = {"temp": "temporary", "perm": "permanent", "drop": "drop", "drop_after": "drop_after"}
_LIMIT_KEYS: Final = ("throttle", "per_connection", "connections", "size", "utf8", "seed")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%?)(?: +(.+))?")


def parse(text: str) -> Script:
    """Read the text form: parts separated by `;`, each `phase:key=value,...` or `throttle=N/s`, `per_connection=N`,
    `connections=N`, `size=N` (octets of a message), `utf8=on`, `seed=N`. Keys of a phase: temp, perm (a share, and after a
    blank the reply), drop, drop_after, delay (in ms or s). A reply cannot hold a comma or a semicolon."""
    values: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        phase, colon, answer = part.partition(":")
        name = phase.strip() if colon and "=" not in phase else ""
        key, value = (name, _parse_answer(name, answer)) if name else _parse_limit(part)
        if key in values:
            raise InvalidInput(f"The answer script says {key} twice.", field="script")
        values[key] = value
    return Script(**values)  # type: ignore[arg-type]


def _parse_answer(phase: str, text: str) -> Answer:
    if phase not in PHASES:
        raise InvalidInput(f"The answer script names phase {phase!r}; there are {', '.join(PHASES)}.", field="script")
    values: dict[str, float | str] = {}
    for item in text.split(","):
        key, _, value = (side.strip() for side in item.partition("="))
        if key == "delay" and (duration := _DURATION.fullmatch(value)):
            values["delay_s"] = float(duration[1]) / (1000 if duration[2] == "ms" else 1)
        elif key in _ANSWER_KEYS and (share := _SHARE.fullmatch(value)):
            values[_ANSWER_KEYS[key]] = float(share[1]) / (100 if share[2] else 1)
            if share[3]:
                if key not in ("temp", "perm"):
                    raise InvalidInput(f"{key} of phase {phase} drops the connection and has no reply.", field="script")
                values[f"{_ANSWER_KEYS[key]}_reply"] = share[3]
        else:
            raise InvalidInput(
                f"The answer script says {item.strip()!r} for phase {phase}; it understands temp=2%, perm=1%, "
                "drop=0.5%, drop_after=0.5% and delay=20ms.",
                field="script",
            )
    return Answer(**values)  # type: ignore[arg-type]


def _parse_limit(part: str) -> tuple[str, float | int]:
    key, _, value = (side.strip() for side in part.partition("="))
    try:
        match key:
            case "throttle":
                return "throttle_per_s", float(value.removesuffix("/s"))
            case "per_connection":
                return "messages_per_connection_max", int(value)
            case "connections":
                return "connections_max", int(value)
            case "size":
                return "size_max", int(value)
            case "utf8" if value in ("on", "off"):
                return "utf8", value == "on"
            case "seed":
                return "seed", int(value)
    except ValueError:
        pass
    raise InvalidInput(
        f"The answer script says {part!r}; it understands phases ({', '.join(PHASES)}) such as rcpt:temp=2%, and "
        f"{', '.join(_LIMIT_KEYS)} such as throttle=500/s.",
        field="script",
    )
