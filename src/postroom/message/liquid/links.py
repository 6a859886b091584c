"""Addresses that recipients' values begin, held to schemes that lead somewhere.

Where an output of the HTML decides the scheme of an address (`places`), what it prints must be http:, https:, mailto:, tel: or
cid:, or no scheme at all. The check is one more filter of that output, put there when the template was read, and has no name
that a template could call it by. Everything else is printed as before, and so is what only the account or the template decides.

Fails with Liquid's `FilterValueError`, for that recipient.

Imports liquid, and is itself imported where it is first needed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from html import unescape

from liquid import BoundTemplate, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, LoopExpression
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.cycle_tag import CycleNode
from liquid.exceptions import FilterValueError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string

from postroom.message.liquid import merge, places
from postroom.message.liquid.expressions import Filtered, paths
from postroom.message.liquid.reserved import UNSUBSCRIBE_URL

SCHEMES = frozenset(("http", "https", "mailto", "tel", "cid"))
_SCHEME = re.compile(r"([^/?#:]*+):")
_IGNORED = re.compile(r"^[\x00-\x20]+|[\t\r\n]+")  # as the URL Standard has it, and so do browsers


def guard(template: BoundTemplate, html: str) -> None:
    """Have each output of the template, whose source `html` is, looked at where it may decide the scheme of an address."""
    found = places.read(html).addresses
    if not found:
        return
    starts = [one.start for one in found]
    context = RenderContext(template)
    nodes: list[Node] = list(template.nodes)
    for node in nodes:
        nodes += node.children(context, include_partials=False)
    loops = (expression for node in nodes for expression in node.expressions() if isinstance(expression, LoopExpression))
    trusted = {"account", UNSUBSCRIBE_URL} - merge.bound_names(template) - {loop.identifier for loop in loops}
    for node in nodes:
        number = bisect_right(starts, node.token.start_index) - 1
        if number < 0 or node.token.start_index >= found[number].end:
            continue
        if isinstance(node, CycleNode):
            values = [Filtered(value.token, value) for value in node.args]
            node.args = list(values)
        else:
            values = [node.expression] if isinstance(node, OutputNode) and isinstance(node.expression, Filtered) else []
        for value in values:
            if not _roots(value) <= trusted:
                value.filters = [*(value.filters or []), _Address(value, found[number].after)]


def _roots(expression: Expression) -> set[str]:
    """Return the first name of every path in an expression, "" for one that is looked up itself."""
    return {root if isinstance(root := path.path[0], str) else "" for path in paths(expression)}


def is_only_guarded(expression: FilteredExpression) -> bool:
    """Whether nothing is done with the value but to look whether the address leads somewhere, and nothing follows that could
    change it."""
    match expression.filters or []:
        case [_Address() as only]:
            return not only.after
    return False


class _Address(Filter):
    """Lets a value through that begins an address which leads somewhere. `after` is what stands behind the output."""

    __slots__ = ("_what", "after")

    def __init__(self, expression: FilteredExpression, after: str) -> None:
        super().__init__(expression.token, f"(an address before {after!r})", [])
        self.after = after
        self._what = merge.printed_field(expression) or str(expression.left)

    def evaluate(self, left: object, context: RenderContext) -> object:
        if isinstance(context, merge.Context):
            context.take(1)
        printed = to_liquid_string(left, context.autoescape)
        if not printed or printed.isspace():  # a blank field, and not our matter
            return left
        found = _SCHEME.match(_IGNORED.sub("", unescape(printed)) + self.after)
        if found and found[1].lower() not in SCHEMES:
            raise FilterValueError(f'"{self._what}" gives an address that does not begin with http: or https:, as it has to in '
                                   "the HTML", token=self.token)
        return left
