"""What the outputs, conditions and loops of a template depend on, so that what they come to can be remembered.

Imports liquid, and is itself imported where it is first needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from liquid import RenderContext
from liquid.ast import BlockNode, ConditionalBlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import BooleanExpression, FilteredExpression, Path, StringLiteral
from liquid.builtin.expressions.logical import LogicalAndExpression, LogicalNotExpression, LogicalOrExpression
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.expression import Expression

from postroom.message.liquid.expressions import Filtered, each, paths
from postroom.message.liquid.merge import Evaluator
from postroom.message.liquid.reserved import OWN, RESERVED

_COUNTERS = frozenset({"index", "index0", "rindex", "rindex0", "first", "last", "length"})
_STATELESS = (ContentNode, CommentNode, OutputNode, IfNode, UnlessNode, CaseNode, BlockNode, ConditionalBlockNode,
              MultiExpressionBlockNode)


def constant(expression: Expression | None, evaluator: Evaluator) -> str | None:
    """Return what an output prints for everyone, or None if that depends on the recipient, or is a blank to be noted."""
    if not isinstance(expression, Filtered) or _recipient_paths(expression):
        return None
    unread = len(evaluator.unread)
    try:
        with evaluator.context({}) as context:
            value = expression.left.evaluate(context)
        printed = evaluator.printed(expression, value)
    except Exception:
        return None  # then it fails for every recipient, and says there how
    is_noted = len(evaluator.unread) > unread or (not printed.strip() and paths(expression))
    return None if is_noted else printed


def only_field(expression: Expression | None) -> tuple[str, ...] | None:
    """Return the path to the one field that an output depends on, as `("name",)` or `("fields", "First name")`.

    None if it depends on more, or on part of a field, or on one that stands elsewhere than first.
    """
    if not isinstance(expression, FilteredExpression):
        return None
    every = paths(expression)
    return _whole_field(every[0]) if len(every) == 1 and every[0] is expression.left else None


def gives_value_itself(expression: FilteredExpression) -> bool:
    """Whether a text that is not empty comes out as it went in: no filter, or only a default that is a literal."""
    match expression.filters or []:
        case []:
            return True
        case [only]:
            return only.name == "default" and len(only.args) == 1 and isinstance(only.args[0].value, StringLiteral)
    return False


def deciding_fields(conditions: Sequence[Expression], bound: frozenset[str]) -> tuple[list[str], list[str]] | None:
    """Return the names of the fields whose values decide conditions, and of those that only have to be there.

    None if anything else decides them. `bound` are the names that the template binds.
    """
    by_value: set[str] = set()
    by_presence: set[str] = set()
    for condition in conditions:
        only_asked = set(map(id, _only_asked(condition)))
        for path in _recipient_paths(condition):
            found = _whole_field(path)
            if found is None or found[0] in bound | OWN:
                return None
            (by_presence if id(path) in only_asked else by_value).add(found[-1])
    return None if "account" in bound else (sorted(by_value), sorted(by_presence))


def deciding_attributes(node: Node, item: str, bound: frozenset[str], context: RenderContext) -> list[str] | None:
    """Return what decides a node in a turn of a loop over `item`s, as attributes of `ForLoop`; None if it is more than those."""
    nodes = [node]
    for one in nodes:
        nodes += one.children(context)
    if not all(isinstance(one, _STATELESS) for one in nodes) or not {"account", "forloop"}.isdisjoint(bound | {item}):
        return None
    attributes = set()
    for expression in each([node], context):
        match expression.path if isinstance(expression, Path) else ["account"]:
            case ["forloop", str(counter)] if counter in _COUNTERS:
                attributes.add(str(counter))
            case [root, *rest] if root == item and not any(isinstance(one, Path) for one in rest):
                attributes.add("item")
            case ["account", *_]:
                pass
            case _:
                return None
    return sorted(attributes)


def _only_asked(condition: Expression) -> list[Path]:
    """Return the paths that a condition only asks whether there is something."""
    match condition:
        case Path():
            return [condition]
        case BooleanExpression() | LogicalAndExpression() | LogicalOrExpression() | LogicalNotExpression():
            return [path for child in condition.children() for path in _only_asked(child)]
    return []


def _whole_field(path: Path) -> tuple[str, ...] | None:
    match path.path:
        case [str(name)] if name not in RESERVED - OWN:
            return (str(name),)
        case ["fields", str(name)]:
            return ("fields", str(name))
    return None


def _recipient_paths(expression: Expression) -> list[Path]:
    """Return every path in an expression that leads elsewhere than into the account's fields."""
    return [path for path in paths(expression) if path.path[0] != "account"]
