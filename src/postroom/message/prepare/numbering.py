"""The numbers of ordered lists in a text part: counted here, or by Liquid where its tags decide which items there are."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from typing import NamedTuple

from postroom.message.markup import tags
from postroom.message.markup.masked import Masked


class Numbers:
    """What an ordered list counts: the `next` number; or a `variable`, where tags of Liquid may repeat or leave out items."""

    def __init__(self, start: int, step: int, variable: str) -> None:
        self.next = start
        self.step = step
        self.variable = variable

    def begin(self) -> str:
        return f"{{% assign {self.variable} = {self.next} %}}" if self.variable else ""

    def item(self, value: int | None) -> str:
        """The number of the next item, which has a `value` of its own if it says so."""
        if self.variable:
            name = self.variable
            set_to = "" if value is None else f"{{% assign {name} = {value} %}}"
            return f"{set_to}{{{{ {name} }}}}. {{% assign {name} = {name} | plus: {self.step} %}}"
        number = self.next if value is None else value
        self.next = number + self.step
        return f"{number}. "


class Items(NamedTuple):
    """How many items of a list are written, and whether tags of Liquid among them may repeat some or leave them out."""

    number: int
    are_varied: bool


def items_of_lists(masked: Masked, every: Iterable[tags.Tag]) -> dict[int, Items]:
    """Return what each list holds, by where it begins."""
    deciding = [word.start() for word in masked.word.finditer(masked.text) if masked.pieces_in(word[0])[0].decides]
    items: dict[int, Items] = {}
    begun: list[int] = []  # where the lists begin that are open
    counts = [0]  # items in the list that we are in, and in those around it

    def end(position: int) -> None:
        start = begun.pop()
        items[start] = Items(counts.pop(), bisect(deciding, start) < bisect(deciding, position))

    for tag in every:
        if tag.name == "li" and not tag.is_end:
            counts[-1] += 1
        elif tag.name in ("ol", "ul") and not tag.is_end:
            begun.append(tag.start)
            counts.append(0)
        elif tag.name in ("ol", "ul") and begun:
            end(tag.start)
    while begun:
        end(len(masked.text))
    return items
