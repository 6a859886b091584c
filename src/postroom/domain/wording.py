"""How numbers, times and other people's words stand in our sentences."""

from __future__ import annotations

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


def counted(number: int, singular: str, plural: str = "") -> str:
    """"1 recipient", "1,204 recipients"; the plural is the singular with an s unless it is given."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def ended(text: str) -> str:
    """A person's or a gateway's words as a sentence: with a full stop, unless they end by themselves."""
    text = text.strip()
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


def duration(seconds: float) -> str:
    """Rounded as a person would say it: "1 s", "89 s", "2 min", "36 h", "32 days"."""
    for unit_s, unit, units in ((1, "s", 90), (MINUTE_S, "min", 90), (HOUR_S, "h", 48)):
        if round(seconds / unit_s) < units:
            return f"{max(1, round(seconds / unit_s))} {unit}"
    return counted(round(seconds / DAY_S), "day")
