"""Liquid, with its limits on: parse a template, name its faults, and tell what in it varies.

The language is python-liquid, which looks values up and never evaluates code. Left out: `include` and `render` (there is
nothing to load). Bounded: nesting, loops, output, the size of what a filter makes, and the steps of a rendering (`steps`).
Fixed: `now`, `today` and `date` know only the moment stamped on the job, in UTC, so that a second rendering elsewhere gives
the same bytes. What its filters are stands in `filters`.

This module imports liquid (6 MB, 0.2 s); it is itself imported where it is first needed, not at the top of a module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import accumulate
from typing import TextIO

from liquid import BoundTemplate, Environment, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string

from postroom.errors import Fault
from postroom.message.liquid.filters import LOOP_MAX, OUTPUT_MAX, bound
from postroom.message.liquid.reserved import RESERVED
from postroom.message.liquid.steps import Context as Context
from postroom.message.liquid.steps import Steps as Steps
from postroom.message.liquid.steps import counted

TAGS_MAX = 2_000
EXPRESSION_MAX = 4_000  # characters between two braces
MARKUP_MAX = 60_000  # characters within braces, of all that was written for a message: read in about half a second
NAMES_DEEP_MAX = 10  # names within the brackets of a name
BLANKS_MAX = 100  # in a row at their beginning or behind the first word
ALONE_STEPS_FREE = 50  # of one output with filters or one condition on fields that stands alone; one with more takes all of them
ALONE_MAX = 200  # of those in a message; what is more counts as steps of the message

_ELSEWHERE = {"upper": "upcase", "lower": "downcase", "title": "capitalize", "length": "size", "trim": "strip", "e": "escape",
              "striptags": "strip_html", "format": "date"}
_WORDS = re.compile(r"[\s{]*([^\W\d]\w*(?: \w+)*)\s*(?:\||\}|\Z)")
_BLANK = re.compile(rf"\{{[{{%]-?(?:\s{{{BLANKS_MAX}}}|\s*+(?:#|\w++)\s{{{BLANKS_MAX}}})")
_VERBATIM = re.compile(r"\{%-?\s*(raw|doc)\s*-?%\}")
_END = {name: re.compile(r"\{%-?\s*end" + name + r"\s*-?%\}") for name in ("raw", "doc")}


class _Output(OutputNode):
    """`{{ … }}`, which notices when it prints a blank field."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        text = to_liquid_string(self.expression.evaluate(context), context.autoescape)
        if isinstance(context, Context) and (not text or text.isspace()):
            name = printed_field(self.expression)
            if name in context.watched:
                context.blanks.append(name)
                return 0
        return buffer.write(text)


class _OutputTag(Output):
    node_class = _Output


def printed_field(expression: object) -> str:
    """Return the name of the field that an output prints, or "" where it prints something else first."""
    left = getattr(expression, "left", None)
    match left.path if isinstance(left, Path) else []:
        case ["fields", str(name), *_] | [str(name), *_] if name not in RESERVED:
            return str(name)
    return ""


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
    made.tags[_OutputTag.name] = _OutputTag(made)
    bound(made, now)
    for maker in made.tags.values():
        if hasattr(maker, "node_class"):
            maker.node_class = counted(maker.node_class)
    return made


def parse(source: str, env: Environment, field: str) -> BoundTemplate | list[Fault]:
    """Return the template, or each thing that is wrong with it with line and column; `field` is the part's name."""
    early = _unclosed(source)
    if early:
        return [fault(field, source, early[0], early[1])]
    try:
        template = env.from_string(source)
    except (LiquidError, RecursionError) as error:
        token = getattr(error, "token", None)
        message = str(error.message) if isinstance(error, LiquidError) else "it is nested too deeply"
        index = token.start_index if token else None
        return [fault(field, source, index, message.strip().rstrip(".") + _meant_by(source, index))]
    faults = [
        fault(field, source, span.index, f'there is no filter named "{name}"{_meant(name, env)}')
        for name, spans in template.analyze(include_partials=False).filters.items()
        if name not in env.filters
        for span in spans
    ]
    for expression in expressions(template.nodes, RenderContext(template)):
        if isinstance(expression, RangeLiteral) and not _is_small(expression):
            index = expression.token.start_index
            faults.append(fault(field, source, index, f"a range needs two whole numbers at most {LOOP_MAX} apart"))
    return faults or template


def _meant(name: str, env: Environment) -> str:
    """What somebody may have meant who knows another language of templates."""
    meant = _ELSEWHERE.get(name) or next(iter(get_close_matches(name, env.filters, 1, 0.7)), None)
    return f': "{meant}" may be meant' if meant else ""


def _meant_by(source: str, index: int | None) -> str:
    """What somebody may have meant by the output around a place who knows another language of templates."""
    start = source.rfind("{{", 0, index) if index else -1
    inside = source[start + 2 : start + 2 + EXPRESSION_MAX].partition("}}")[0]
    words = _WORDS.match(inside)
    if start < 0 or not words:
        return ""
    name = words[1]
    return f": write {{{{ {name} }}}}" if name.isidentifier() else f': a name of several words is written fields["{name}"]'


def paths_of(template: BoundTemplate) -> frozenset[tuple[str, ...]]:
    """Return what a template mentions and does not bind itself: the first name of each path, with the second if that is one."""
    return frozenset(
        (name, second) if len(one.segments) > 1 and isinstance(second := one.segments[1], str) else (name,)
        for name, variables in template.analyze(include_partials=False).globals.items() for one in variables)


def names_in(paths: frozenset[tuple[str, ...]]) -> frozenset[str]:
    """Return the names of recipients' fields among such paths, those reached as fields["…"] too."""
    return frozenset(path[-1] if path[0] == "fields" else path[0] for path in paths
                     if path[0] not in RESERVED or (path[0] == "fields" and len(path) > 1))


def bound_names(template: BoundTemplate) -> frozenset[str]:
    """Return the names that the template binds itself, which may mean something else further down."""
    return frozenset(template.analyze(include_partials=False).locals)


class Evaluator:
    """Evaluates expressions that stand alone, in one context that is made once.

    What takes no more than `ALONE_STEPS_FREE` takes nothing of the message's `steps`, so that it can be remembered; anything else
    takes its steps each time, and must not be remembered (`steps.left` tells).
    """

    def __init__(self, template: BoundTemplate, account: Mapping[str, str], steps: Steps) -> None:
        self.steps = steps
        self._account = account
        self._names: dict[str, object] = {"account": account}  # not empty: Liquid would take a dictionary of its own
        self._context = Context(template, self._names, Steps())

    def printed(self, expression: FilteredExpression, value: object) -> str:
        """Return what `{{ expression }}` prints when its first path leads to a value, escaped if the template is HTML.

        Raises whatever Liquid raises.
        """
        with self.context({}) as context:
            context.weighed(value)
            for filter_ in expression.filters or []:
                value = filter_.evaluate(value, context)
            return str(to_liquid_string(value, context.autoescape))

    @contextmanager
    def context(self, names: Mapping[str, object]) -> Iterator[Context]:
        """The context with these names in it and none of the last time."""
        self._names.clear()
        self._names.update(names, account=self._account)
        room = self._context.steps.left = self.steps.left + ALONE_STEPS_FREE
        try:
            yield self._context
        finally:
            taken = room - self._context.steps.left
            if taken > ALONE_STEPS_FREE:
                self.steps.take(taken)


def marked(source: str) -> Iterator[tuple[int, int]]:
    """Yield where each field or tag begins and ends, up to the first that is not closed."""
    position = _next_markup(source, 0)
    while position >= 0:
        closing = "}}" if source[position + 1] == "{" else "%}"
        end = source.find(closing, position + 2, position + 2 + EXPRESSION_MAX)
        if end < 0:
            return
        yield position, end + 2
        position = _next_markup(source, end + 2)


def _unclosed(source: str) -> tuple[int, str] | None:
    """Find what liquid's own lexer would search for in quadratic time: markup without an end, endless expressions and blanks; and
    names deep within each other, which its analysis takes quadratic time for.

    It reads comments as anything else, and only then leaves them out.
    """
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
        if _is_deep(source[position:end]):
            return position, f"it has names more than {NAMES_DEEP_MAX} deep within each other's brackets"
        if _BLANK.match(source, position):
            return position, f'"{opening}" is followed by {BLANKS_MAX} blanks or more'
        verbatim = _VERBATIM.match(source, position)
        if verbatim:
            closed = _END[verbatim[1]].search(source, end)
            if not closed:
                return position, f'the tag "{verbatim[1]}" has no end tag'
            end = closed.end() - 2
        position = end + 2


def _is_deep(expression: str) -> bool:
    if expression.count("[") <= NAMES_DEEP_MAX:
        return False
    depths = accumulate((character == "[") - (character == "]") for character in expression)
    return max(depths) > NAMES_DEEP_MAX


def _next_markup(source: str, start: int) -> int:
    """Return where the next `{{` or `{%` begins, or -1."""
    while True:
        position = source.find("{", start)
        if position < 0 or source[position + 1 : position + 2] in ("{", "%"):
            return position
        start = position + 1


def fault(field: str, source: str, index: int | None, message: str) -> Fault:
    """Return the fault with line and column of an index into the source; without one it is at the end."""
    message = message.strip().rstrip(".")
    if index is None or index < 0:
        index = len(source)  # what liquid misses at the end
        message = message.replace("end of expression", "the end of the template")
    index = min(index, len(source))
    line = source.count("\n", 0, index) + 1
    column = index - source.rfind("\n", 0, index)
    return Fault(f"In the {field}, line {line}, column {column}: {message}.", field=field)


def expressions(nodes: list[Node], context: RenderContext) -> Iterator[Expression]:
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


def _is_small(expression: RangeLiteral) -> bool:
    start, stop = expression.start, expression.stop
    return (
        isinstance(start, IntegerLiteral)
        and isinstance(stop, IntegerLiteral)
        and stop.value - start.value <= LOOP_MAX
    )
