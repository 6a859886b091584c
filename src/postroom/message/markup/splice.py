"""Some places of a text changed, all others as they were."""

from __future__ import annotations

from collections.abc import Iterable


def spliced(source: str, changes: Iterable[tuple[int, int, str]]) -> str:
    """Return `source` with each change (start, end, what stands there now), given in order and never overlapping."""
    parts: list[str] = []
    position = 0
    for start, end, text in changes:
        parts += source[position:start], text
        position = end
    return "".join([*parts, source[position:]])
