"""The steps of a message, counted: no template takes long, whatever it does, and it ends at the same place everywhere.

A step is about what 15 us of work can be at most. Each node is one, and another for each `STEP_PARTS` literals, paths and
operators in it, the conditions of its branches among them, and for each `STEP_TEXT` characters of its text; each filter is one,
and `SLOW_FILTERS` are more; each path is one for each of its segments. What a path or a filter gives is weighed too, a step for
each `STEP_CHARACTERS`, because whatever is done with it next (print, compare, search, join) takes time by its size.

Fails with Liquid's `ResourceLimitError` when the steps are used up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, TextIO

from liquid import BoundTemplate, RenderContext
from liquid.ast import Node
from liquid.exceptions import ResourceLimitError
from liquid.expression import Expression

from postroom.message.liquid.values import SHOWN_MAX, Unusable, is_blank

STEPS_MAX = 40_000  # of one message, in all of its parts together
STEP_PARTS = 10
STEP_CHARACTERS = 100
STEP_TEXT = 10_000  # characters that are only copied
ITEM_CHARACTERS = 20  # an item of a list or a range weighs as much, beside its own characters
SLOW_FILTERS = {"date": 25}


class Steps:
    """What is left of the steps of one message; of which it is that knows who makes it."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = STEPS_MAX

    def begin(self) -> None:
        """With another message."""
        self.left = STEPS_MAX

    def take(self, steps: int) -> None:
        """Raises `ResourceLimitError`."""
        self.left -= steps
        if self.left < 0:
            advice = "use fewer loops, conditions and filters, or shorter values"
            raise ResourceLimitError(f"it takes too many steps; {advice}", token=None)


class Context(RenderContext):
    """A rendering that counts its steps, and notes each field that it was told to print and that prints nothing.

    `blanks` are names of fields as the template calls them. Only names in `watched` are noted: those of the recipient and of the
    account, which the template itself does not bind; `made_of_blanks` has those of a name that it binds to nothing. `unread`
    gets the name of each field that is printed as it stands, because it is read as no day.
    """

    __slots__ = ("_disabled", "blanks", "made_of_blanks", "steps", "unread", "watched")

    def __init__(self, template: BoundTemplate, names: Mapping[str, object], steps: Steps, unread: list[str], *,
                 watched: frozenset[str] = frozenset()) -> None:
        self.steps = steps
        self.unread = unread
        self.watched = watched
        self.blanks: list[str] = []
        self.made_of_blanks: dict[str, list[str]] = {}
        super().__init__(template, globals=names)

    @property
    def disabled_tags(self) -> list[str]:  # Node.render asks for it once for each node
        self.take(1)
        return self._disabled

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        self._disabled = tags

    def take(self, steps: int) -> None:
        self.steps.take(steps)

    def get(self, path: list[object], **options: Any) -> object:
        self.take(len(path))
        try:
            return self.weighed(super().get(path, **options))
        except Unusable as error:
            raise error.at(".".join(str(one) for one in path if isinstance(one, str | int))[:SHOWN_MAX]) from None

    def get_item(self, obj: Any, key: Any) -> Any:
        """Of the fields only what they have: "size", "first" and "last" are names of columns as others are. A text has a size,
        and raises `Unusable` for any other part."""
        if isinstance(obj, dict):
            return obj[key]
        if key != "size" and isinstance(obj, str | int | float | datetime) and not is_blank(obj):
            raise Unusable("a part is named of what has none: take letters of a text with slice, or make a list of it with split")
        return super().get_item(obj, key)

    def assign(self, key: str, val: Any) -> None:
        self.take(len(self.locals) // STEP_PARTS)  # each time all of them are measured
        super().assign(key, val)

    def filter(self, name: str, token: Any) -> Callable[..., object]:
        function = super().filter(name, token)

        def counted(value: object, *arguments: object, **options: object) -> object:
            self.take(SLOW_FILTERS.get(name, 1))
            if isinstance(value, range):  # it did not come from a path
                self.weighed(value)
            return self.weighed(function(value, *arguments, **options))

        return counted

    def weighed(self, value: object) -> object:
        """Return the value, having taken a step for each `STEP_CHARACTERS` of it."""
        if isinstance(value, str | list | tuple | dict | range):
            self.take(_weight(value) // STEP_CHARACTERS)
        return value


def _weight(value: object) -> int:
    """Return about how many characters a value comes to."""
    match value:
        case str():
            return len(value)
        case range():
            return len(value) * ITEM_CHARACTERS
        case dict():
            return _weight(list(value.values()))
        case list() | tuple():
            try:
                characters = len("".join(value))  # a split text: no call for each item
            except TypeError:
                characters = sum(map(_weight, value))
            return characters + len(value) * ITEM_CHARACTERS
    return 0


@lru_cache
def counted(node_class: type[Node]) -> type[Node]:
    """Return the class of nodes that take steps for the parts of their expressions and for their text."""

    class Counted(node_class):  # type: ignore[misc, valid-type]
        _steps: int | None = None

        def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
            if self._steps is None:
                self._steps = parts_of(_expressions(self, context)) // STEP_PARTS + len(getattr(self, "text", "")) // STEP_TEXT
            if self._steps and isinstance(context, Context):
                context.take(self._steps)
            return int(super().render_to_output(context, buffer))

    return Counted


def parts_of(expressions: Iterable[Expression]) -> int:
    """Return of how many literals, paths and operators the expressions are made."""
    pending = list(expressions)
    count = 0
    while pending:
        count += 1
        pending += pending.pop().children()
    return count


def _expressions(node: Node, context: RenderContext) -> list[Expression]:
    """Return a node's expressions and those of its branches, which are looked at one after the other."""
    return [*node.expressions(), *(expression for child in node.children(context) for expression in child.expressions())]
