"""The numbers of ordered lists in a text part: counted here, or by Liquid where its tags decide which items there are."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable

from postroom.message.markup import tags
from postroom.message.markup.masked import Masked


class Numbers:
    """What an ordered list counts: the `next` number; or a `variable`, where tags of Liquid may repeat or leave out items."""

    def __init__(self, start: int, variable: str) -> None:
        self.next = start
        self.variable = variable

    def begin(self) -> str:
        return f"{{% assign {self.variable} = {self.next} %}}" if self.variable else ""

    def item(self, value: int | None) -> str:
        """The number of the next item, which has a `value` of its own if it says so."""
        if self.variable:
            name = self.variable
            set_to = "" if value is None else f"{{% assign {name} = {value} %}}"
            return f"{set_to}{{{{ {name} }}}}. {{% assign {name} = {name} | plus: 1 %}}"
        number = self.next if value is None else value
        self.next = number + 1
        return f"{number}. "


def varied_lists(masked: Masked, every: Iterable[tags.Tag]) -> frozenset[int]:
    """Return where the ordered lists begin in which tags of Liquid stand, which may repeat items or leave them out."""
    deciding = [word.start() for word in masked.word.finditer(masked.text) if masked.pieces_in(word[0])[0].decides]
    varied: list[int] = []
    begun: list[int] = []
    for tag in every:
        if tag.name == "ol" and not tag.is_end:
            begun.append(tag.start)
        elif tag.name == "ol" and begun:
            start = begun.pop()
            if bisect(deciding, start) < bisect(deciding, tag.start):
                varied.append(start)
    return frozenset(varied)
