"""One part of a message (subject, text, HTML) taken apart into what is the same for everyone and what is not.

A part is a list of pieces with holes. A hole is filled from a `_Memo` (one field, remembered by value) or by rendering a
node (anything else: Liquid does it for each recipient, in one context for the part, so that assigned names carry on).

Pieces of a body are quoted-printable octets, pieces of a subject are text: the header encoder must see the whole value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from markupsafe import escape

from postroom.message import quoted
from postroom.message.headers import Unrenderable

if TYPE_CHECKING:
    from liquid import BoundTemplate
    from liquid.ast import Node
    from liquid.builtin.expressions import FilteredExpression

MESSAGE_MAX = 2_097_152  # octets of one recipient's message
MEMO_MAX = 1_024  # values remembered for one field; the first come stay
MEMO_VALUE_MAX = 128  # characters of a value that is remembered

# Values that need no encoding at all, in text and (without the characters that escaping changes) in HTML.
_AS_IT_IS = re.compile(r"(?!\.)[ -<>-~]{1,75}")
_AS_IT_IS_IN_HTML = re.compile(r"(?!\.)[ !#-%(-;?-~]{1,75}")

EMAIL = ("email",)  # the path `{{ email }}`: the address itself, whatever columns there are

Piece = TypeVar("Piece", str, bytes)


class Part(Generic[Piece]):
    """Pieces with holes. `pieces` holds an empty piece where a value goes."""

    __slots__ = ("_account", "_email_slots", "_rich", "_slots", "_template", "pieces")

    def __init__(self, template: BoundTemplate, account: Mapping[str, str]) -> None:
        self.pieces: list[Piece] = []
        self._template = template
        self._account = account
        self._slots: list[tuple[int, str, _Memo[Piece]]] = []
        self._email_slots: list[tuple[int, _Memo[Piece]]] = []
        self._rich: list[tuple[int, Node, Callable[[str], Piece]]] = []

    def add_field(self, path: tuple[str, ...], memo: _Memo[Piece]) -> None:
        """Let the last piece be a hole for a recipient's field."""
        index = len(self.pieces) - 1
        if path == EMAIL:
            self._email_slots.append((index, memo))
        else:
            self._slots.append((index, path[-1], memo))

    def add_rich(self, node: Node, encode: Callable[[str], Piece]) -> None:
        """Let the last piece be a hole for what Liquid makes of a node."""
        self._rich.append((len(self.pieces) - 1, node, encode))

    def place(self, offset: int) -> None:
        """From now on fill a longer list, in which the part's first piece stands at `offset`."""
        self._slots = [(index + offset, name, memo) for index, name, memo in self._slots]
        self._email_slots = [(index + offset, memo) for index, memo in self._email_slots]
        self._rich = [(index + offset, node, encode) for index, node, encode in self._rich]

    def filled(self, address: str, fields: Mapping[str, object]) -> list[Piece]:
        """Return the part's pieces for one recipient."""
        pieces = self.pieces.copy()
        self.fill(pieces, address, fields)
        return pieces

    def fill(self, pieces: list[Piece], address: str, fields: Mapping[str, object]) -> None:
        """Put one recipient's values into `pieces`. Raises `Unrenderable`."""
        get = fields.get
        try:
            for index, name, memo in self._slots:
                pieces[index] = memo[get(name)]
        except TypeError as error:  # a list or an object cannot be looked up
            unusable = _not_a_value(fields)
            if unusable is None:
                raise
            raise unusable from error
        for index, memo in self._email_slots:
            pieces[index] = memo[address]
        if self._rich:
            self._fill_rich(pieces, address, fields)

    def _fill_rich(self, pieces: list[Piece], address: str, fields: Mapping[str, object]) -> None:
        from liquid import RenderContext
        from liquid.output import LimitedStringIO

        names = {**fields, "email": address, "account": self._account, "fields": fields, **self._template.globals}
        context = RenderContext(self._template, globals=names)
        total = 0
        for index, node, encode in self._rich:
            buffer = LimitedStringIO(MESSAGE_MAX)
            try:
                node.render(context, buffer)
            except Exception as error:
                raise _failed(error) from error
            piece = encode(buffer.getvalue())
            total += len(piece)
            if total > MESSAGE_MAX:
                raise too_large()
            pieces[index] = piece


class _Memo(dict[object, Piece]):
    """Encoded values of one field as one expression prints them; a missing one is made, and kept while there is room.

    Only text and None are kept: 1, 1.0 and True are the same key and not the same text. `encode_value`, if given, is
    the short way for a text that the expression prints as it is; `encode` takes what `evaluate` prints.
    """

    __slots__ = ("_encode", "_encode_value", "_evaluate")

    def __init__(
        self,
        encode_value: Callable[[str], Piece] | None,
        evaluate: Callable[[object], str],
        encode: Callable[[str], Piece],
    ) -> None:
        super().__init__()
        self._encode_value: Callable[[str], Piece] | None = encode_value
        self._evaluate = evaluate
        self._encode: Callable[[str], Piece] = encode

    def __missing__(self, value: object) -> Piece:
        if type(value) is not str:
            piece = self._printed(value)
            if value is None:
                self[None] = piece
            return piece
        piece = self._encode_value(value) if value and self._encode_value is not None else self._printed(value)
        if len(self) < MEMO_MAX and len(value) <= MEMO_VALUE_MAX:
            self[value] = piece
        return piece

    def _printed(self, value: object) -> Piece:
        try:
            text = self._evaluate(value)
        except Exception as error:
            raise _failed(error) from error
        return self._encode(text)


@dataclass(frozen=True, slots=True)
class _Encoding(Generic[Piece]):
    """How text becomes pieces: what Liquid printed; a field's bare value; no text; what a part has to end with."""

    encode: Callable[[str], Piece]
    encode_value: Callable[[str], Piece]
    empty: Piece
    ending: str


def body_part(template: BoundTemplate, account: Mapping[str, str]) -> Part[bytes]:
    """Return a text or HTML part; which of the two, the template's environment says."""
    encode_value = _html_octets if template.env.autoescape else _text_octets
    return _take_apart(template, account, _Encoding(quoted.piece, encode_value, b"", "\n"))


def subject_part(template: BoundTemplate, account: Mapping[str, str]) -> Part[str]:
    """Return the subject."""
    return _take_apart(template, account, _Encoding(str, str, "", ""))


def too_large() -> Unrenderable:
    """The refusal of a message over the limit."""
    return Unrenderable(f"The message would be larger than {MESSAGE_MAX // 1_048_576} MiB for this recipient.")


def _take_apart(template: BoundTemplate, account: Mapping[str, str], encoding: _Encoding[Piece]) -> Part[Piece]:
    from liquid.builtin.content import ContentNode
    from liquid.builtin.expressions import FilteredExpression
    from liquid.builtin.output import OutputNode
    from liquid.builtin.tags.comment_tag import CommentNode

    from postroom.message import merge

    part: Part[Piece] = Part(template, account)
    static: list[str] = []
    memos: dict[str, _Memo[Piece]] = {}
    keeps_state = merge.keeps_state(template)
    for node in template.nodes:
        if isinstance(node, CommentNode):
            continue
        expression = node.expression if isinstance(node, OutputNode) and not keeps_state else None
        constant = node.text if isinstance(node, ContentNode) else merge.constant(expression, template, account)
        if constant is not None:
            static.append(constant)
            continue
        part.pieces += [encoding.encode("".join(static)), encoding.empty]
        static.clear()
        path = merge.only_field(expression)
        if path is None or not isinstance(expression, FilteredExpression):
            part.add_rich(node, encoding.encode)
            continue
        memo = memos.get(str(expression)) or _memo(expression, path, template, account, encoding)
        memos[str(expression)] = memo
        part.add_field(path, memo)
    text = "".join(static)
    part.pieces.append(encoding.encode(text if text.endswith(encoding.ending) else text + encoding.ending))
    return part


def _memo(
    expression: FilteredExpression,
    path: tuple[str, ...],
    template: BoundTemplate,
    account: Mapping[str, str],
    encoding: _Encoding[Piece],
) -> _Memo[Piece]:
    from postroom.message import merge

    def evaluate(value: object) -> str:
        field = value if len(path) == 1 else {path[1]: value}
        return merge.evaluate(expression, template, {path[0]: field, "account": account})

    return _Memo(
        encoding.encode_value if merge.gives_value_itself(expression) else None,
        evaluate,
        encoding.encode,
    )


def _text_octets(value: str) -> bytes:
    """Encode a value that goes into a text part."""
    if _AS_IT_IS.fullmatch(value):
        return value.encode("ascii") + quoted.SOFT_BREAK
    return quoted.piece(value)


def _html_octets(value: str) -> bytes:
    """Escape and encode a value that goes into an HTML part."""
    if _AS_IT_IS_IN_HTML.fullmatch(value):
        return value.encode("ascii") + quoted.SOFT_BREAK
    return quoted.piece(str(escape(value)))


def _failed(error: Exception) -> Unrenderable:
    """Whatever a template does with a value, it fails one recipient and never the run."""
    message: Any = getattr(error, "message", None) or error
    reason = str(message).rstrip(".") or "no reason given"
    return Unrenderable(f"The template cannot be filled in for this recipient: {reason}.")


def _not_a_value(fields: Mapping[str, object]) -> Unrenderable | None:
    for name, value in fields.items():
        if isinstance(value, list | dict | set):
            return Unrenderable(f'The field "{name}" is a list or an object, which cannot be put into a message.')
    return None
