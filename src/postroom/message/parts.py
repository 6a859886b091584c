"""A template taken apart into what is the same for everyone and what is not.

A part is a list of items: text (for everyone), a `Field` (an output that depends on one field of the recipient, so that
it can be remembered by that field's value) or a node of Liquid (anything else: it is rendered for each recipient, in one
context for the part, so that assigned names carry on). Whatever a template does with a value fails one recipient,
`Unrenderable`, and never the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from postroom.message import quoted
from postroom.message.headers import Unrenderable

if TYPE_CHECKING:
    from liquid import BoundTemplate
    from liquid.ast import Node
    from liquid.builtin.expressions import FilteredExpression

MESSAGE_MAX = 2_097_152  # octets of one recipient's message

EMAIL = ("email",)  # the path `{{ email }}`: the address itself, whatever columns there are


@dataclass(frozen=True, slots=True)
class Field:
    """One output of one field. `path` is ("name",) or ("fields", "First name").

    `keeps_text` says that a text which is not empty is printed as it is, but for escaping in HTML.
    """

    path: tuple[str, ...]
    expression: FilteredExpression
    template: BoundTemplate
    account: Mapping[str, str]
    is_html: bool
    keeps_text: bool

    def printed(self, value: object) -> str:
        """Return what the output prints for a value, escaped if the part is HTML. Raises `Unrenderable`."""
        if self.keeps_text and type(value) is str and value:
            return str(escape(value)) if self.is_html else value
        from postroom.message import merge

        field = value if len(self.path) == 1 else {self.path[1]: value}
        try:
            return merge.evaluate(self.expression, self.template, {self.path[0]: field, "account": self.account})
        except Exception as error:
            raise _failed(error) from error

    def encoded(self, value: object) -> bytes:
        """Return what the output prints, as a piece of a body. Raises `Unrenderable`."""
        return quoted.piece(self.printed(value))


class Part:
    """Subject, text or HTML: `items` in order, and those of them that are `nodes`."""

    __slots__ = ("_account", "_template", "items", "nodes")

    def __init__(self, template: BoundTemplate, account: Mapping[str, str]) -> None:
        self._template = template
        self._account = account
        self.items: list[str | Field | Node] = []
        self.nodes: list[Node] = []

    def rendered(self, address: str, fields: Mapping[str, object]) -> list[str]:
        """Return what Liquid makes of each of `nodes` for one recipient. Raises `Unrenderable`."""
        from liquid import RenderContext
        from liquid.output import LimitedStringIO

        names = {**fields, "email": address, "account": self._account, "fields": fields, **self._template.globals}
        context = RenderContext(self._template, globals=names)
        texts: list[str] = []
        room = MESSAGE_MAX
        for node in self.nodes:
            buffer = LimitedStringIO(MESSAGE_MAX)
            try:
                node.render(context, buffer)
            except Exception as error:
                raise _failed(error) from error
            texts.append(buffer.getvalue())
            room -= len(texts[-1])
            if room < 0:
                raise too_large()
        return texts

    def text(self, address: str, fields: Mapping[str, object]) -> str:
        """Return the whole part for one recipient as text. Raises `Unrenderable`."""
        rendered = iter(self.rendered(address, fields)) if self.nodes else None
        pieces = []
        for item in self.items:
            if type(item) is str:
                pieces.append(item)
            elif type(item) is Field:
                pieces.append(item.printed(address if item.path == EMAIL else fields.get(item.path[-1])))
            elif rendered is not None:
                pieces.append(next(rendered))
        return "".join(pieces)


def take_apart(template: BoundTemplate, account: Mapping[str, str]) -> Part:
    """Return the template's items; what only the account decides is text by now."""
    from liquid.builtin.content import ContentNode
    from liquid.builtin.expressions import FilteredExpression
    from liquid.builtin.output import OutputNode
    from liquid.builtin.tags.comment_tag import CommentNode

    from postroom.message import merge

    part = Part(template, account)
    keeps_state = merge.keeps_state(template)
    for node in template.nodes:
        if isinstance(node, CommentNode):
            continue
        expression = node.expression if isinstance(node, OutputNode) and not keeps_state else None
        constant = node.text if isinstance(node, ContentNode) else merge.constant(expression, template, account)
        path = merge.only_field(expression)
        if constant is not None:
            part.items.append(constant)
        elif path is not None and isinstance(expression, FilteredExpression):
            keeps_text = merge.gives_value_itself(expression)
            part.items.append(Field(path, expression, template, account, template.env.autoescape, keeps_text))
        else:
            part.items.append(node)
            part.nodes.append(node)
    return part


def too_large() -> Unrenderable:
    """The refusal of a message over the limit."""
    return Unrenderable(f"The message would be larger than {MESSAGE_MAX // 1_048_576} MiB for this recipient.")


def _failed(error: Exception) -> Unrenderable:
    message: Any = getattr(error, "message", None) or error
    reason = str(message).rstrip(".") or "no reason given"
    return Unrenderable(f"The template cannot be filled in for this recipient: {reason}.")
