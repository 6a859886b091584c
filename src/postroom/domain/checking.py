"""What a check says of one thing: whether it is right, and with a warning or an error what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `told` is a sentence, and with a warning or an error what to do."""

    level: Level
    subject: str
    told: str
