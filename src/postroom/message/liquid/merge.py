"""Liquid, with its limits on: parse a template, name its faults, and tell what in it varies.

The language is python-liquid, which looks values up and never evaluates code. Left out: `include` and `render` (there is
nothing to load). Bounded: nesting, loops, output, the size of what a filter makes, and the steps of a rendering (`steps`).
Fixed: `now`, `today` and `date` know only the moment stamped on the job, in UTC, so that a second rendering elsewhere gives
the same bytes. What its filters are stands in `filters`, how it compares in `expressions`, and what a value is in `values`.

This module imports liquid (6 MB, 0.2 s); it is itself imported where it is first needed, not at the top of a module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from io import StringIO
from itertools import accumulate, chain
from typing import Any, TextIO

from liquid import BoundTemplate, Environment, Mode, RenderContext, Token
from liquid.ast import Node
from liquid.builtin.expressions import LoopExpression
from liquid.builtin.expressions.primitive import (
    Blank,
    Empty,
    FalseLiteral,
    IntegerLiteral,
    Nil,
    RangeLiteral,
    StringLiteral,
    TrueLiteral,
)
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.case_tag import CaseNode, CaseTag, MultiExpressionBlockNode
from liquid.builtin.tags.cycle_tag import CycleNode
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.expression import Expression
from liquid.stream import TokenStream
from liquid.token import TOKEN_EOF

from postroom.errors import Fault
from postroom.message.liquid.dialects import meant
from postroom.message.liquid.expressions import Filtered, behind, each, field_of, paths, printed, read_our_way
from postroom.message.liquid.filters import LOOP_MAX, OUTPUT_MAX, bound, fault_of_layout
from postroom.message.liquid.reserved import RESERVED, WHOLE
from postroom.message.liquid.steps import Context as Context
from postroom.message.liquid.steps import Steps as Steps
from postroom.message.liquid.steps import counted
from postroom.message.liquid.values import is_blank

TAGS_MAX = 2_000
EXPRESSION_MAX = 4_000  # characters between two braces
MARKUP_MAX = 60_000  # characters within braces, of all that was written for a message: read in about half a second
NAMES_DEEP_MAX = 10  # names within the brackets of a name
BLANKS_MAX = 100  # in a row at their beginning or behind the first word
ALONE_STEPS_FREE = 50  # of one output with filters or one condition on fields that stands alone; one with more takes all of them
ALONE_MAX = 200  # of those in a message; what is more counts as steps of the message

_ELSEWHERE = {"upper": "upcase", "lower": "downcase", "title": "capitalize", "length": "size", "trim": "strip", "e": "escape",
              "striptags": "strip_html", "format": "date"}
# What the library says of a tag, in words for who wrote it.
_TOLD = {"expected content, found expression": "nothing stands behind the name of this tag",
         "found an 'else' tag expression, did you mean 'elsif'?": 'an "else" takes no condition: "elsif" may be meant',
         **dict.fromkeys(("expected tag endif, found tag", "expected tag endunless, found tag"),
                         'an "else" is the last branch: "elsif" stands before it'),
         **dict.fromkeys(("unexpected tag 'elseif'", "unexpected tag 'elif'", "unexpected tag 'elsif'"),
                         'there is no such tag here: "elsif", within "if" and "unless", may be meant')}
_WORDS = (Blank, Empty, FalseLiteral, Nil, TrueLiteral)
_NAME_IN_OUTPUT = re.compile(r"\{\{-?\s*(?:fields\.)?([^\s|{}\"'\[\]:](?:[^|{}\"'\[\]:]*[^\s|{}\"'\[\]:-])?)")
_OPERATOR = r"(?!(?:and|or|contains|in|limit|offset|reversed|cols)\b)"
_NAME_OF_WORDS = re.compile(rf"(?<=[\s:,=<>])({_OPERATOR}[\w-]+(?: +{_OPERATOR}[\w-]+)+)")
_TAG_NAME = re.compile(r"\{%-?\s*\w+")
_BLANK = re.compile(rf"\{{[{{%]-?(?:\s{{{BLANKS_MAX}}}|\s*+(?:#|\w++)\s{{{BLANKS_MAX}}})")
_VERBATIM = re.compile(r"\{%-?\s*(raw|doc)\s*-?%\}")
_END = {name: re.compile(r"\{%-?\s*end" + name + r"\s*-?%\}") for name in ("raw", "doc")}


class _Output(OutputNode):
    """`{{ … }}` and `{% echo … %}`, which notice when they print a blank field."""

    def __init__(self, token: Token, expression: Expression) -> None:
        """Raises `LiquidSyntaxError` for a word of the language, which somebody may have meant as a column."""
        super().__init__(token, expression)
        first = getattr(expression, "left", None)
        if isinstance(first, _WORDS):
            raise LiquidSyntaxError(f'"{first.token.value}" is a word of the language', token=first.token)

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        text = printed(self.expression, self.expression.evaluate(context), context)
        if isinstance(context, Context) and (not text or text.isspace()):
            blanks = _blank_fields(self.expression, context)
            if blanks:
                context.blanks += blanks
                return 0
        return buffer.write(text)


class _Assign(AssignNode):
    """Notes of which blank fields a name was made that is blank itself."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        super().render_to_output(context, buffer)
        if isinstance(context, Context):
            context.made_of_blanks.pop(self.name, None)
            if is_blank(context.locals[self.name]):
                context.made_of_blanks[self.name] = _blank_fields(self.expression, context)
        return 0


class _Cycle(CycleNode):
    """Prints no list and no object, and notices when it prints a blank field."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        texts = [printed(one, one.evaluate(context), context) for one in self.args]
        written = StringIO()
        super().render_to_output(context, written)
        text = written.getvalue()
        if isinstance(context, Context) and is_blank(text):
            its = [one for one, printed_of_it in zip(self.args, texts, strict=True) if printed_of_it == text]
            if blanks := [name for one in its for name in _blank_fields(one, context)]:
                context.blanks += blanks
                return 0
        return buffer.write(text)


def _blank_fields(expression: Expression, context: Context) -> list[str]:
    """Return the fields that leave an expression blank: those in it that are, or else the one that it begins with."""
    first = getattr(expression, "left", None)
    blank = every = paths(expression)
    if len(every) != 1 or every[0] is not first:
        blank = [path for path in every if is_blank(path.evaluate(context))] or [path for path in every if path is first]
    return [name for path in blank for name in behind(path, context)]


def printed_field(expression: object) -> str:
    """Return the name of the field that an output prints, or "" where it prints something else first."""
    return field_of(getattr(expression, "left", None))


_NODES = {"output": _Output, "echo": _Output, "assign": _Assign, "cycle": _Cycle}


class _CaseTag(CaseTag):
    """Reads all of a `when`, and one `else` behind the last of them: the library leaves out what it does not expect."""

    def parse(self, stream: TokenStream) -> Node:
        node = super().parse(stream)
        for block in node.blocks[:-1] if isinstance(node, CaseNode) else ():
            if not isinstance(block, MultiExpressionBlockNode):
                raise LiquidSyntaxError('an "else" is the last branch: "when" stands before it', token=block.token)
        return node

    def _parse_when_expression(self, stream: TokenStream) -> list[Expression]:
        values = super()._parse_when_expression(stream)
        if stream.current.kind != TOKEN_EOF:
            raise LiquidSyntaxError('a "when" takes values, with a comma or "or" between them', token=stream.current)
        return values


class _Bounded(Environment):
    """python-liquid's environment, with limits, and expressions of our own in what it reads."""

    block_nesting_limit = 30
    context_depth_limit = 30
    loop_iteration_limit = LOOP_MAX
    local_namespace_limit = OUTPUT_MAX
    output_stream_limit = OUTPUT_MAX

    def from_string(self, source: str, *arguments: Any, **options: Any) -> BoundTemplate:
        template = super().from_string(source, *arguments, **options)
        read_our_way(each(template.nodes, RenderContext(template)))
        return template


def environment(now: datetime, *, html: bool) -> Environment:
    """Return the language as one part of one job sees it; `html` escapes every value that is put in."""
    now = now.astimezone(UTC)
    made = _Bounded(autoescape=html, strict_filters=True, globals={"now": now, "today": now})
    for tag in ("include", "render"):
        del made.tags[tag]
    for tag in ("if", "unless"):
        made.tags[tag].mode = Mode.STRICT  # type: ignore[attr-defined]  # or it leaves out the condition of an "else", and every branch behind it
    made.tags["case"] = _CaseTag(made)
    for tag, node_class in _NODES.items():
        made.tags[tag].node_class = node_class  # type: ignore[attr-defined]
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
        index = token.start_index if token else None
        message = str(error.message) if isinstance(error, LiquidError) else "it is nested too deeply"
        told = _TOLD.get(message) or message.strip().rstrip(".") + _column_meant(source, index)
        return [fault(field, source, index, told)]
    analysis = template.analyze(include_partials=False)
    faults = [
        fault(field, source, span.index,
              f'there is no filter named "{name}"{_meant(name, env) or _column_meant(source, span.index)}')
        for name, spans in analysis.filters.items()
        if name not in env.filters
        for span in spans
    ]
    looped_over = set()
    for expression in each(template.nodes, RenderContext(template)):
        if isinstance(expression, LoopExpression):
            looped_over.add(expression.iterable.token.start_index)
        if isinstance(expression, RangeLiteral) and not _is_small(expression):
            index = expression.token.start_index
            faults.append(fault(field, source, index, f"a range needs two whole numbers at most {LOOP_MAX} apart"))
        for one in (expression.filters or ()) if isinstance(expression, Filtered) else ():
            layout = one.args[0].value if one.name == "date" and one.args else None
            if isinstance(layout, StringLiteral) and (said := fault_of_layout(layout.value)):
                faults.append(fault(field, source, layout.token.start_index, said))
    faults += [
        fault(field, source, variable.span.index, f'"{name}" stands for all of them together: name one, as in '
              f'{{{{ {example} }}}}; for a column "{name}" write {{{{ fields["{name}"] }}}}')
        for name, example in WHOLE.items()
        for variable in analysis.globals.get(name, ())
        if len(variable.segments) == 1 and variable.span.index not in looped_over
    ]
    return faults or template


def _column_meant(source: str, index: int | None) -> str:
    """How to write the column whose name stands at a fault, where it is more than one word of letters, digits and `_`, or within
    another language's braces."""
    if index is None or index < 0:
        return ""
    start = max(source.rfind("{{", 0, index), source.rfind("{%", 0, index), 0)
    if written := meant(source[start : start + EXPRESSION_MAX]):
        return f": write {written}"
    tag = _TAG_NAME.match(source, start)
    in_output = _NAME_IN_OUTPUT.match(source, start, start + EXPRESSION_MAX)
    in_any = _NAME_OF_WORDS.finditer(source, tag.end() if tag else start, start + EXPRESSION_MAX)
    for found in chain([in_output] if in_output else [], in_any):
        if found.start(1) <= index < found.end(1):
            return f'; for a column "{found[1]}" write {{{{ fields["{found[1]}"] }}}}'
    return ""


def _meant(name: str, env: Environment) -> str:
    """What somebody may have meant who knows another language of templates."""
    meant = _ELSEWHERE.get(name) or next(iter(get_close_matches(name, env.filters, 1, 0.7)), None)
    return f': "{meant}" may be meant' if meant else ""


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
    takes its steps each time, and must not be remembered (`steps.left` tells). Nor must what notes a field as `unread`.
    """

    def __init__(self, template: BoundTemplate, account: Mapping[str, str], steps: Steps, unread: list[str]) -> None:
        self.steps = steps
        self.unread = unread
        self._account = account
        self._names: dict[str, object] = {"account": account}  # not empty: Liquid would take a dictionary of its own
        self._context = Context(template, self._names, Steps(), unread)

    def printed(self, expression: Filtered, value: object) -> str:
        """Return what `{{ expression }}` prints when its first path leads to a value, escaped if the template is HTML.

        Raises whatever Liquid raises.
        """
        with self.context({}) as context:
            context.weighed(value)
            return printed(expression, expression.filtered(value, context), context)

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


def _is_small(expression: RangeLiteral) -> bool:
    start, stop = expression.start, expression.stop
    return (
        isinstance(start, IntegerLiteral)
        and isinstance(stop, IntegerLiteral)
        and stop.value - start.value <= LOOP_MAX
    )
