"""The library's expressions, with values read as this language reads them.

A comparison with a number reads the other side as one: all values of a CSV file are texts, and the library would compare "9" and
"10" by their letters, and find no text equal to a number. What cannot be read fails its recipient rather than choose a branch. A
blank is equal to no number, and neither less nor more than anything. Likewise with true and false, which is why a condition on
a field alone does not hold for the text "false".

A value that `date` does not read is printed as it is, and its field is noted with the context.

Fails with `Unusable`, which names the expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from liquid import RenderContext, Token
from liquid.ast import Node
from liquid.builtin.expressions import BooleanExpression, FilteredExpression, LoopExpression, Path
from liquid.builtin.expressions.logical import (
    ContainsExpression,
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LogicalAndExpression,
    LogicalOrExpression,
    LtExpression,
    NeExpression,
    _contains,
    _eq,
    is_truthy,
)
from liquid.builtin.tags.case_tag import _AnyExpression
from liquid.expression import Expression
from liquid.stringify import to_liquid_string

from postroom.message.liquid.filters import NEEDING_THEIR_ARGUMENT, NotADay
from postroom.message.liquid.reserved import RESERVED
from postroom.message.liquid.steps import Context
from postroom.message.liquid.values import NOTHING, Unusable, is_blank, number_of, text_of, truth_of

_HAS_A_DIGIT = re.compile(r"[0-9]")
_ORDERED_AS_TEXT = re.compile(r"(?!\W*[0-9])|[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")  # words, and days with the year first


def read_our_way(expressions: Iterator[Expression]) -> None:
    """Makes these expressions ours. The library's parser names its classes itself, and they have nothing of their own to lose."""
    for expression in expressions:
        ours = _OURS.get(type(expression))
        if ours is not None:
            expression.__class__ = ours


def each(nodes: list[Node], context: RenderContext) -> Iterator[Expression]:
    """Yield every expression of these nodes, at any depth."""
    pending: list[Expression] = []
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        waiting.extend(node.children(context, include_partials=False))
        pending.extend(node.expressions())
        while pending:
            expression = pending.pop()
            yield expression
            pending.extend(expression.children())


def paths(expression: Expression) -> list[Path]:
    """Return every path in an expression, what it begins with first."""
    own = [expression] if isinstance(expression, Path) else []
    return own + [path for child in expression.children() for path in paths(child)]


def field_of(expression: object) -> str:
    """Return the name of the field that a path leads to, the recipient's or the account's, or "" where it leads elsewhere."""
    match expression.path if isinstance(expression, Path) else []:
        case ["fields", str(name), *_]:
            return str(name)
        case ["account", str(name), *_]:
            return f"account.{name}"
        case [str(name), *_] if name not in RESERVED:
            return str(name)
    return ""


def behind(path: Path, context: Context) -> list[str]:
    """Return the names of the watched fields that a blank path leads to, also by a name that the template made of them."""
    names = context.made_of_blanks.get(str(path.path[0]), [field_of(path)])
    return [name for name in names if name in context.watched]


def printed(expression: object, value: object, context: RenderContext) -> str:
    """Return what is printed of an expression's value, escaped if the template is HTML. Raises `Unusable`."""
    try:
        text = value if isinstance(value, str) else text_of(value)
    except Unusable as error:
        raise error.at(expression) from None
    return to_liquid_string(text, context.autoescape)


class Filtered(FilteredExpression):
    """A value and its filters. What is reckoned from a blank stays blank, whatever follows but a default, and so does what a
    filter makes by a blank field that it cannot do without."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return self.filtered(self.left.evaluate(context), context)

    def filtered(self, value: object, context: RenderContext) -> object:
        """Return what the filters make of a value."""
        for one in self.filters or ():
            if value is NOTHING and one.name != "default":
                continue
            if one.name in NEEDING_THEIR_ARGUMENT and one.args and _is_blank_field(one.args[0].value, context):
                value = NOTHING
                continue
            try:
                value = one.evaluate(value, context)
            except Unusable as error:
                raise error.at(self) from None
            except NotADay as found:
                value = found.text
                if isinstance(context, Context):
                    context.unread.append(field_of(self.left) or str(self.left))
        return value


def _is_blank_field(argument: Expression, context: RenderContext) -> bool:
    return (isinstance(argument, Path) and isinstance(context, Context) and is_blank(argument.evaluate(context))
            and bool(behind(argument, context)))


def holds(value: object) -> bool:
    """Whether a condition holds that is no more than a value."""
    return truth_of(value) is not False and is_truthy(value)


class _Condition(BooleanExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> bool:
        return holds(self.expression.evaluate(context))


class _And(LogicalAndExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> bool:
        return holds(self.left.evaluate(context)) and holds(self.right.evaluate(context))


class _Or(LogicalOrExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> bool:
        return holds(self.left.evaluate(context)) or holds(self.right.evaluate(context))


def _comparing(comparison: type[Expression], are_so: Callable[[object, object], bool]) -> type[Expression]:
    class Comparison(comparison):  # type: ignore[misc, valid-type]
        __slots__ = ()

        def evaluate(self, context: RenderContext) -> bool:
            try:
                return are_so(self.left.evaluate(context), self.right.evaluate(context))
            except Unusable as error:
                raise error.at(self) from None

    return Comparison


class _AnyOf(_AnyExpression):
    """The values of a `when`."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> list[bool]:
        left = self.left.evaluate(context)
        try:
            return [_is_equal(left, value.evaluate(context)) for value in self.expressions]
        except Unusable as error:
            raise error.at(self.left) from None


class _Loop(LoopExpression):
    __slots__ = ()

    def _to_int(self, obj: object, *, token: Token) -> int:
        """A limit or an offset."""
        try:
            number = number_of(obj)
            if number is None:
                raise Unusable("a number is blank")
        except Unusable as error:
            raise error.at(self) from None
        return int(number)


def _is_equal(left: object, right: object) -> bool:
    if (truth := truth_of(left)) is not None and (other := truth_of(right)) is not None:
        return truth is other
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    for one, value in ((left, right), (right, left)):
        if is_blank(value) or not isinstance(value, str | int | float):
            continue
        match one:
            case bool():
                raise Unusable("{} is neither true nor false", value)
            case int() | float() if isinstance(value, str):
                return _HAS_A_DIGIT.search(value) is not None and number_of(value) == one
            case datetime():
                raise _of_the_moment()
    return _eq(left, right)


def _order(left: object, right: object) -> int | None:
    """Return whether the left side is less (-1), the same or more; None if one is blank."""
    if is_blank(left) or is_blank(right):
        return None
    if isinstance(left, datetime) is not isinstance(right, datetime):
        raise _of_the_moment()
    if isinstance(left, str) and isinstance(right, str):
        rank, other = _rank(left), _rank(right)
        if isinstance(rank, str) is not isinstance(other, str):
            raise _incomparable(left if isinstance(rank, str) else right)
    else:
        rank, other = number_of(left), number_of(right)
    return bool(rank > other) - bool(rank < other)


def _rank(text: str) -> Any:
    """A number, or a text that its letters put in order."""
    if _ORDERED_AS_TEXT.match(text):
        return text
    try:
        return number_of(text)
    except Unusable:
        raise _incomparable(text) from None


def _incomparable(text: str) -> Unusable:
    return Unusable("{} cannot be compared: write numbers as 1234.56 and dates as 2026-07-31", text)


def _of_the_moment() -> Unusable:
    return Unusable("the moment of sending cannot be compared: make a text of it first, with {{% assign day = today | date: "
                    "'%Y-%m-%d' %}}")


def _has(left: object, right: object) -> bool:
    """Whether a list has an item, or a text a part; a blank is part of nothing."""
    if right == "":
        return False
    if isinstance(left, str) and isinstance(right, str):
        return right in left
    if isinstance(left, list):
        return any(_is_equal(item, right) for item in left)
    return _contains(None, left, right)  # type: ignore[arg-type]  # the token is for a message


_OURS: dict[type[Expression], type[Expression]] = {
    FilteredExpression: Filtered,
    LoopExpression: _Loop,
    BooleanExpression: _Condition,
    LogicalAndExpression: _And,
    LogicalOrExpression: _Or,
    _AnyExpression: _AnyOf,
    EqExpression: _comparing(EqExpression, _is_equal),
    NeExpression: _comparing(NeExpression, lambda left, right: not _is_equal(left, right)),
    LtExpression: _comparing(LtExpression, lambda left, right: _order(left, right) == -1),
    GtExpression: _comparing(GtExpression, lambda left, right: _order(left, right) == 1),
    LeExpression: _comparing(LeExpression, lambda left, right: _order(left, right) in (-1, 0)),
    GeExpression: _comparing(GeExpression, lambda left, right: _order(left, right) in (0, 1)),
    ContainsExpression: _comparing(ContainsExpression, _has),
}
