"""A template taken apart into what is the same for everyone and what is not.

A part is a list of items: text (for everyone), a `Field` (an output that depends on one field of the recipient, so that
it can be remembered by that field's value) or a node of Liquid (anything else: it is rendered for each recipient, in one
context for the part, so that assigned names carry on). Whatever a template does with a value fails one recipient,
`Unrenderable`, and never the run.

A field that prints nothing, or nothing but white space, is *blank*: it is left out, and its name is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from postroom.message.liquid.reserved import MEANT, OWN
from postroom.message.wire.headers import Unrenderable

if TYPE_CHECKING:
    from liquid import BoundTemplate
    from liquid.ast import Node

    from postroom.message.liquid.expressions import Filtered
    from postroom.message.liquid.merge import Context, Evaluator, Steps

MESSAGE_MAX = 2_097_152  # octets of one recipient's message, without its files


@dataclass(frozen=True, slots=True)
class Field:
    """One output of one field. `is_own`: it is not a column of the list but one of the recipient's own values, of OWN.

    `keeps_text` says that a text which is not empty is printed as it is, but for escaping in HTML; `keeps_web_addresses`, that
    this holds for those, and what is no address at all fails the recipient (`links`).
    """

    name: str
    is_own: bool
    expression: Filtered
    evaluator: Evaluator
    is_html: bool
    keeps_text: bool
    keeps_web_addresses: bool

    @property
    def key(self) -> str:
        """The same for outputs that print the same: an address that was looked at and the value that was not, too."""
        shown = self.expression.left if self.keeps_web_addresses else self.expression
        return f"{self.name!r} {self.is_own} {shown}"

    def printed(self, value: object) -> str:
        """Return what the output prints for a value, escaped if the part is HTML; "" if that is blank. Raises `Unrenderable`."""
        if type(value) is str and value and not value.isspace() and (
                self.keeps_text or (self.keeps_web_addresses and value.startswith(("https://", "http://")))):
            return str(escape(value)) if self.is_html else value
        try:
            text = self.evaluator.printed(self.expression, value)
        except Unrenderable:
            raise
        except Exception as error:
            raise failed(error) from error
        return "" if text.isspace() else text


@dataclass(slots=True)
class Budget:
    """Of one message: its steps, how many expressions stand alone in it, with steps of their own, and which fields were printed
    as they stand, because they are read as no day."""

    steps: Steps
    alone: int = 0
    unread: list[str] = field(default_factory=list)


class Part:
    """Subject, text or HTML: `items` in order, and those of them that are `nodes`; `names` are all fields that it mentions,
    `taken` the names in it that are never a column's, `bound` those that the template binds itself."""

    __slots__ = ("_account", "_budget", "_watched", "bound", "evaluator", "items", "names", "nodes", "taken", "template")

    def __init__(self, template: BoundTemplate, account: Mapping[str, str], budget: Budget) -> None:
        from postroom.message.liquid import merge

        self.template = template
        self.evaluator = merge.Evaluator(template, account, budget.steps, budget.unread)
        paths = merge.paths_of(template)
        self.names = merge.names_in(paths)
        self.taken = frozenset(path[0] for path in paths if len(path) == 1 and path[0] in MEANT)
        self.bound = merge.bound_names(template)
        self._account = account
        self._budget = budget
        self._watched = (self.names - OWN) | {f"account.{path[1]}" for path in paths if path[0] == "account" and len(path) > 1}
        self.items: list[str | Field | Node] = []
        self.nodes: list[Node] = []

    def item(self, node: Node, bound: frozenset[str]) -> str | Field | Node:
        """Return what a node comes to where the template itself has bound these names; what only the account decides is text."""
        from liquid.builtin.content import ContentNode
        from liquid.builtin.output import OutputNode
        from liquid.builtin.tags.comment_tag import CommentNode

        from postroom.message.liquid import depends, links
        from postroom.message.liquid.expressions import Filtered

        if isinstance(node, ContentNode):
            return node.text
        if isinstance(node, CommentNode):
            return ""
        expression = node.expression if isinstance(node, OutputNode) else None
        if "account" not in bound:
            constant = depends.constant(expression, self.evaluator)
            if constant is not None:
                return constant
        path = depends.only_field(expression)
        if path is None or path[0] in bound or not isinstance(expression, Filtered):
            return node
        keeps_text = depends.gives_value_itself(expression)
        if not keeps_text and not self.lets_stand_alone():
            return node
        return Field(path[-1], path[0] in OWN, expression, self.evaluator, self.template.env.autoescape, keeps_text,
                     links.is_only_guarded(expression))

    def lets_stand_alone(self) -> bool:
        """Count what is evaluated with steps of its own; what is more has to count as steps of the message."""
        from postroom.message.liquid import merge

        self._budget.alone += 1
        return self._budget.alone <= merge.ALONE_MAX

    def context(self, own: Mapping[str, str], fields: Mapping[str, object]) -> Context:
        """Return what Liquid renders a node of this part in. `own` are the values of the names in OWN."""
        from postroom.message.liquid.merge import Context

        names = {**fields, **own, "account": self._account, "fields": fields, **self.template.globals}
        return Context(self.template, names, self._budget.steps, self._budget.unread, watched=self._watched)

    def rendered(self, own: Mapping[str, str], fields: Mapping[str, object], blanks: set[str]) -> list[str]:
        """Return what Liquid makes of each of `nodes` for one recipient; adds the fields that came out blank to `blanks`.

        Raises `Unrenderable`.
        """
        context = self.context(own, fields)
        texts: list[str] = []
        room = MESSAGE_MAX
        try:
            for node in self.nodes:
                texts.append(liquid_text(node, context))
                room -= len(texts[-1])
                if room < 0:
                    raise too_large()
        except Unrenderable:
            raise
        except Exception as error:
            raise failed(error) from error
        blanks.update(context.blanks)
        return texts

    def text(self, own: Mapping[str, str], fields: Mapping[str, object], blanks: set[str]) -> str:
        """Return the whole part for one recipient as text; blank fields are added to `blanks`. Raises `Unrenderable`."""
        rendered = iter(self.rendered(own, fields, blanks)) if self.nodes else None
        pieces = []
        for item in self.items:
            if type(item) is str:
                pieces.append(item)
            elif type(item) is Field:
                name = item.name
                text = item.printed(own[name] if item.is_own else fields.get(name))
                if not text:
                    blanks.add(name)
                pieces.append(text)
            elif rendered is not None:
                pieces.append(next(rendered))
        return "".join(pieces)


def take_apart(template: BoundTemplate, account: Mapping[str, str], budget: Budget) -> Part:
    """Return the template's items."""
    part = Part(template, account, budget)
    for node in template.nodes:
        item = part.item(node, part.bound)
        part.items.append(item)
        if not isinstance(item, str | Field):
            part.nodes.append(item)
    return part


def liquid_text(node: Node, context: Context) -> str:
    """Return what Liquid makes of a node. Raises whatever Liquid raises."""
    from liquid.output import LimitedStringIO

    buffer = LimitedStringIO(MESSAGE_MAX)
    node.render(context, buffer)
    return buffer.getvalue()


def too_large() -> Unrenderable:
    """The refusal of a message over the limit."""
    return Unrenderable(f"The message would be larger than {MESSAGE_MAX // 1_048_576} MiB for this recipient.")


def half_a_character() -> Unrenderable:
    """The refusal of a value that no encoding can hold."""
    return Unrenderable("A value holds half a character (a lone surrogate), which cannot be sent.")


def not_a_value(error: Exception, fields: Mapping[str, object]) -> Unrenderable | None:
    """The refusal of a field that cannot be looked up, if that is what the error was about."""
    for name, value in fields.items() if isinstance(error, TypeError) else ():
        if isinstance(value, list | dict | set):
            return Unrenderable(f'The field "{name}" is a list or an object, which cannot be put into a message.')
    return None


def failed(error: Exception) -> Unrenderable:
    """The refusal of what a template does with this recipient's values."""
    if isinstance(error, UnicodeEncodeError):
        return half_a_character()
    message: Any = getattr(error, "message", None)  # Liquid's own words are text; an error of Python's in it is none for a person
    reason = message.rstrip(".") if isinstance(message, str) else "a filter is used with a value that it cannot take"
    if reason.startswith("integer string conversion limit"):
        reason = "a value of thousands of characters stands where a number is needed"
    return Unrenderable(f"The template cannot be filled in for this recipient: {reason}.")
