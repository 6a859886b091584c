"""What a proof is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

Say = Callable[[str], None]


class Scale(StrEnum):
    """How much of it: all that was promised, or what a test suite has time for."""

    FULL = "full"
    SHORT = "short"

    def of(self, full: int, short: int) -> int:
        """A proof's number on this scale."""
        return full if self is Scale.FULL else short


@dataclass(frozen=True)
class Verdict:
    """`figures` are what was counted, in the order in which they are read; `faults` is a sentence for each promise broken.

    `skipped` is the sentence that says why nothing was tried here.
    """

    figures: dict[str, int | float | str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    skipped: str | None = None

    @property
    def holds(self) -> bool:
        return not self.faults
