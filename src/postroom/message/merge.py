"""Liquid, with its limits on: parse a template, name its faults, and tell what in it varies.

The language is python-liquid, which looks values up and never evaluates code. Left out: `include` and `render` (there is
nothing to load). Bounded: nesting, loops, output, the size of what a filter makes. Fixed: `now`, `today` and `date` know
only the moment stamped on the job, in UTC, so that a second rendering elsewhere gives the same bytes.

This module imports liquid (6 MB, 0.2 s); it is itself imported where it is first needed, not at the top of a module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from dateutil import parser as date_parser  # type: ignore[import-untyped]
from liquid import BoundTemplate, Environment, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, Path, StringLiteral
from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral
from liquid.exceptions import FilterValueError, LiquidError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string
from liquid.undefined import is_undefined

from postroom.errors import Fault

TEMPLATE_MAX = 1_048_576  # octets of one template
OUTPUT_MAX = 2_097_152  # octets of one recipient's message
TAGS_MAX = 10_000
EXPRESSION_MAX = 4_000  # characters between two braces
LOOP_MAX = 10_000  # iterations of a template, items of a range or a split
INTEGER_BITS_MAX = 4_096

RESERVED = frozenset({"account", "email", "fields", "now", "today"})
_STATEFUL_TAGS = frozenset({"assign", "capture", "increment", "decrement", "liquid"})
_VERBATIM = {name: re.compile(r"\{%-?\s*end" + name + r"\s*-?%\}") for name in ("raw", "doc", "comment")}
_TAG_NAME = re.compile(r"-?\s*(\w+)")


class _Bounded(Environment):
    block_nesting_limit = 30
    context_depth_limit = 30
    loop_iteration_limit = LOOP_MAX
    local_namespace_limit = OUTPUT_MAX
    output_stream_limit = OUTPUT_MAX


def environment(now: datetime, *, html: bool) -> Environment:
    """Return the language as one part of one job sees it; `html` escapes every value that is put in."""
    now = now.astimezone(UTC)
    made = _Bounded(autoescape=html, strict_filters=True, globals={"now": now, "today": now})
    for tag in ("include", "render"):
        del made.tags[tag]
    made.add_filter("date", _date_filter(now))
    for name, function in made.filters.items():
        made.filters[name] = _guarded(name, function)
    return made


def parse(source: str, env: Environment, field: str) -> BoundTemplate | list[Fault]:
    """Return the template, or each thing that is wrong with it with line and column; `field` is the part's name."""
    early = _unclosed(source)
    if early:
        return [_fault(field, source, early[0], early[1])]
    try:
        template = env.from_string(source)
    except (LiquidError, RecursionError) as error:
        token = getattr(error, "token", None)
        message = str(error.message) if isinstance(error, LiquidError) else "it is nested too deeply"
        return [_fault(field, source, token.start_index if token else None, message)]
    faults = [
        _fault(field, source, span.index, f'there is no filter named "{name}"')
        for name, spans in template.analyze(include_partials=False).filters.items()
        if name not in env.filters
        for span in spans
    ]
    for expression in _expressions(template.nodes, RenderContext(template)):
        if isinstance(expression, RangeLiteral) and not _is_small(expression):
            index = expression.token.start_index
            faults.append(_fault(field, source, index, f"a range needs two whole numbers at most {LOOP_MAX} apart"))
    return faults or template


def keeps_state(template: BoundTemplate) -> bool:
    """Whether the template binds names of its own, so that a name may mean something else further down."""
    return not _STATEFUL_TAGS.isdisjoint(template.analyze(include_partials=False).tags)


def constant(expression: Expression | None, template: BoundTemplate, account: Mapping[str, str]) -> str | None:
    """Return what an output prints for everyone, or None if that depends on the recipient."""
    if expression is None or _recipient_paths(expression):
        return None
    try:
        return evaluate(expression, template, {"account": account})
    except Exception:
        return None  # then it fails for every recipient, and says there how


def only_field(expression: Expression | None) -> tuple[str, ...] | None:
    """Return the path to the one field that an output depends on, as `("name",)` or `("fields", "First name")`.

    None if it depends on more, or on part of a field, or on one that stands elsewhere than first.
    """
    if not isinstance(expression, FilteredExpression):
        return None
    paths = _recipient_paths(expression)
    if len(paths) != 1 or paths[0] is not expression.left:
        return None
    match paths[0].path:
        case [str(name)] if name not in RESERVED - {"email"}:
            return (str(name),)
        case ["fields", str(name)] if name not in ("size", "first", "last"):
            return ("fields", str(name))
    return None


def gives_value_itself(expression: FilteredExpression) -> bool:
    """Whether a text that is not empty comes out as it went in: no filter, or only a default that is a literal."""
    match expression.filters or []:
        case []:
            return True
        case [only]:
            return only.name == "default" and len(only.args) == 1 and isinstance(only.args[0].value, StringLiteral)
    return False


def evaluate(expression: Expression, template: BoundTemplate, names: Mapping[str, object]) -> str:
    """Return what `{{ expression }}` prints, escaped if the template is HTML. Raises whatever Liquid raises."""
    context = RenderContext(template, globals=names)
    return str(to_liquid_string(expression.evaluate(context), context.autoescape))


def _recipient_paths(expression: Expression) -> list[Path]:
    """Return every path in an expression that leads elsewhere than into the account's fields."""
    own = [expression] if isinstance(expression, Path) and expression.path[0] != "account" else []
    return own + [path for child in expression.children() for path in _recipient_paths(child)]


def _date_filter(now: datetime) -> Callable[..., str]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)

    def date(value: object, layout: object = None) -> str:
        moment: datetime | None = None
        if value is None or is_undefined(value):
            return ""
        if value in ("now", "today"):
            moment = now
        elif isinstance(value, datetime):
            moment = value
        elif isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            moment = _or_none(lambda: datetime.fromtimestamp(int(value), UTC))
        elif isinstance(value, str) and len(value) <= 100:
            moment = _or_none(lambda: date_parser.parse(value, default=midnight))
        if moment is None or not isinstance(layout, str):
            return str(value)  # what cannot be read as a date stays as it is, as Shopify's Liquid does
        return moment.strftime(layout.replace("%s", str(int(moment.timestamp())) if moment.tzinfo else ""))

    return date


def _or_none(read: Callable[[], datetime]) -> datetime | None:
    try:
        return read()
    except (ValueError, OverflowError, OSError):
        return None


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse to make what is too large, before it is made where one filter can multiply."""

    @wraps(function)
    def guard(value: Any, *arguments: Any, **options: Any) -> Any:
        first = arguments[0] if arguments else None
        match name:
            case "replace" if len(arguments) > 1:
                size = str(value).count(str(first)) * len(str(arguments[1]))
            case "join" if isinstance(value, list | tuple):
                size = len(value) * len(str(first or " "))
            case "split":
                size = (str(value).count(str(first)) if first else len(str(value))) * (OUTPUT_MAX // LOOP_MAX)
            case "times" if isinstance(value, int) and isinstance(first, int):
                size = 0 if value.bit_length() + first.bit_length() <= INTEGER_BITS_MAX else OUTPUT_MAX + 1
            case _:
                size = 0
        result = function(value, *arguments, **options) if size <= OUTPUT_MAX else None
        if size > OUTPUT_MAX or (isinstance(result, str) and len(result) > OUTPUT_MAX):
            raise FilterValueError(f"the filter {name} makes too much here", token=None)
        return result

    return guard


def _unclosed(source: str) -> tuple[int, str] | None:
    """Find what liquid's own lexer would search for in quadratic time: markup without an end, endless expressions."""
    position = tags = 0
    while True:
        position = _next_markup(source, position)
        if position < 0:
            return None
        tags += 1
        opening = source[position : position + 2]
        closing = "}}" if opening == "{{" else "%}"
        end = source.find(closing, position + 2, position + 2 + EXPRESSION_MAX)
        if tags > TAGS_MAX:
            return position, f"there are more than {TAGS_MAX} fields and tags"
        if end < 0:
            return position, f'"{opening}" is not closed by "{closing}" within {EXPRESSION_MAX} characters'
        if opening == "{%":
            name = _TAG_NAME.match(source, position + 2)
            verbatim = _VERBATIM.get(name[1]) if name else None
            if verbatim:
                closed = verbatim.search(source, end)
                if not closed:
                    return position, f'the tag "{name[1] if name else ""}" has no end tag'
                end = closed.end() - 2
        position = end + 2


def _next_markup(source: str, start: int) -> int:
    """Return where the next `{{` or `{%` begins, or -1."""
    while True:
        position = source.find("{", start)
        if position < 0 or source[position + 1 : position + 2] in ("{", "%"):
            return position
        start = position + 1


def _fault(field: str, source: str, index: int | None, message: str) -> Fault:
    message = message.strip().rstrip(".")
    if index is None or index < 0:
        index = len(source)  # what liquid misses at the end
        message = message.replace("end of expression", "the end of the template")
    index = min(index, len(source))
    line = source.count("\n", 0, index) + 1
    column = index - source.rfind("\n", 0, index)
    return Fault(f"In the {field}, line {line}, column {column}: {message}.", field=field)


def _expressions(nodes: list[Node], context: RenderContext) -> Iterator[Expression]:
    """Yield every expression of a template, at any depth."""
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


def _is_small(expression: RangeLiteral) -> bool:
    start, stop = expression.start, expression.stop
    return (
        isinstance(start, IntegerLiteral)
        and isinstance(stop, IntegerLiteral)
        and stop.value - start.value <= LOOP_MAX
    )
