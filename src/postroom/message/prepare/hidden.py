"""Elements that nobody sees, by what their own tags say. What Liquid decides about hides some from some only, and is none."""

from __future__ import annotations

import re

from postroom.message.markup import tags
from postroom.message.markup.masked import Masked

_DISPLAY = re.compile(r"(?<!-)(display|visibility)\s*:\s*(none|hidden|collapse)?", re.IGNORECASE)


def is_hidden(masked: Masked, tag: tags.Tag) -> bool:
    """Whether an element says itself that nobody sees it: of what several attributes or declarations say, the last counts."""
    around = masked.branch(tag.start)
    hides: dict[str, bool] = {}
    seen: set[str] = set()
    for one in tags.attributes(masked.text, tag):
        name = masked.word.sub("", one.name)
        if name == "hidden":
            hides.setdefault("display", masked.branch(one.start + one.name.find(name)) == around)
        elif name == "style" and name not in seen:
            value_start = one.end - len(one.quote) - len(one.value)
            for found in _DISPLAY.finditer(one.value):
                hides[found[1].lower()] = bool(found[2]) and masked.branch(value_start + found.start(2)) == around
        seen.add(name)
    return any(hides.values())
