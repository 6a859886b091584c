"""What a part of a body has beside text and single fields, taken apart once for the job: conditions and loops.

Static text is encoded once. What a condition on fields decides is remembered for the same values, and a field within it is looked
up as anywhere else. In a loop whose turns only its items and counters decide, what stands between static text is remembered
by those. Everything else (what the template assigns, other loops, captures, cycles, tables) Liquid renders for each recipient.

Steps are counted the same, whether something is remembered or made: no message fails in one process and passes in another.

Fails: `Unrenderable` for a recipient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import StringIO
from operator import attrgetter
from typing import TYPE_CHECKING

from postroom.message.render.memo import MEMO_MAX, MEMO_VALUE_MAX, Memo
from postroom.message.render.parts import MESSAGE_MAX, Field, Part, failed, liquid_text, not_a_value, too_large
from postroom.message.wire import quoted
from postroom.message.wire.headers import Unrenderable

if TYPE_CHECKING:
    from liquid.ast import BlockNode, Node
    from liquid.builtin.expressions import LoopExpression
    from liquid.builtin.tags.for_tag import ForLoop, ForNode
    from liquid.expression import Expression

    from postroom.message.liquid.merge import Context

RENDERED_MAX = 4_096  # characters of a rendered piece that is remembered
TURN_MAX = 512  # octets of a piece of a loop's turn that is remembered

_UNWRITTEN = StringIO()  # an assignment prints nothing


class _Run:
    """One recipient's way through a part. Liquid's context is made when something first needs it."""

    __slots__ = ("_context", "_part", "_room", "fields", "own")

    def __init__(self, part: Part, own: Mapping[str, str], fields: Mapping[str, object]) -> None:
        self._part = part
        self._context: Context | None = None
        self._room = MESSAGE_MAX
        self.own = own
        self.fields = fields

    def liquid(self) -> Context:
        if self._context is None:
            self._context = self._part.context(self.own, self.fields)
        return self._context

    def take(self, octets: int) -> None:
        """Count octets that no length of the template bounds. Raises `Unrenderable`."""
        self._room -= octets
        if self._room < 0:
            raise too_large()

    def blanks(self) -> Iterable[str]:
        return self._context.blanks if self._context else ()


_Emit = Callable[[_Run], bytes]
_InTurn = Callable[["Context", "ForLoop", bool], bytes]


class Blocks:
    """The nodes of one part, ready for one recipient after the other."""

    def __init__(self, part: Part, blanks: set[str]) -> None:
        """Fields that are printed blank are added to `blanks` while `pieces` runs."""
        self._part = part
        self._blanks = blanks
        self._rendered: dict[str, bytes] = {}
        self._emits = [self._made(node, part.bound) for node in part.nodes]

    def pieces(self, own: Mapping[str, str], fields: Mapping[str, object]) -> list[bytes]:
        """Return what each node comes to for one recipient. Raises `Unrenderable`."""
        run = _Run(self._part, own, fields)
        try:
            pieces = [emit(run) for emit in self._emits]
        except Unrenderable:
            raise
        except Exception as error:
            raise not_a_value(error, fields) or failed(error) from error
        self._blanks.update(run.blanks())
        return pieces

    def _made(self, node: Node, bound: frozenset[str]) -> _Emit:
        from liquid.builtin.tags.for_tag import ForNode
        from liquid.builtin.tags.if_tag import IfNode
        from liquid.builtin.tags.unless_tag import UnlessNode


        if isinstance(node, IfNode | UnlessNode) and not node.blank:
            alternatives = [(other.expression, True, other.block) for other in node.alternatives]
            branches = [(node.condition, isinstance(node, IfNode), node.consequence), *alternatives]
            emits = [self._block(block, bound) for _, _, block in branches]
            emits.append(self._block(node.default, bound) if node.default else lambda run: b"")
            return self._branch([(condition, wanted) for condition, wanted, _ in branches], bound, emits)
        if isinstance(node, ForNode) and not node.block.blank and (entries := self._turn(node, bound)) is not None:
            return self._loop(node, entries)
        return self._liquid(node)

    def _block(self, block: BlockNode, bound: frozenset[str]) -> _Emit:
        if block.blank:  # white space alone is not printed, but something may be assigned
            return self._liquid(block)
        entries: list[bytes | _Emit] = []
        static = ""
        for node in block.nodes:
            item = self._part.item(node, bound)
            if isinstance(item, str):
                static += item
                continue
            if static:
                entries.append(quoted.piece(static))
            static = ""
            entries.append(self._field(item) if isinstance(item, Field) else self._made(item, bound))
        last = quoted.piece(static)
        if not entries:
            return lambda run: last
        return lambda run: b"".join([entry if isinstance(entry, bytes) else entry(run) for entry in entries]) + last

    def _field(self, field: Field) -> _Emit:
        name = field.name
        memo = Memo([field], 0 if field.is_own else MEMO_MAX, self._blanks)
        if field.is_own:
            return lambda run: memo[run.own[name]][0]
        return lambda run: memo[run.fields.get(name)][0]

    def _branch(self, conditions: list[tuple[Expression, bool]], bound: frozenset[str], emits: list[_Emit]) -> _Emit:
        from postroom.message.liquid import depends
        from postroom.message.liquid.expressions import holds
        from postroom.message.liquid.steps import STEP_PARTS, parts_of

        expressions = [expression for expression, _ in conditions]
        steps = 1 + parts_of(expressions) // STEP_PARTS
        deciding = depends.deciding_fields(expressions, bound)
        if deciding is None or not self._part.lets_stand_alone():
            return lambda run: emits[_choice(conditions, steps, run.liquid())](run)
        by_value, by_presence = deciding
        evaluator = self._part.evaluator
        choices: dict[tuple[object, ...], int] = {}

        def emit(run: _Run) -> bytes:
            values = tuple(map(run.fields.get, by_value))
            key = (values, *map(holds, map(run.fields.get, by_presence)))
            choice = choices.get(key)
            if choice is None:
                # In a context of its own: what is remembered takes no steps, and what takes some is not remembered.
                left = evaluator.steps.left
                with evaluator.context({**run.fields, "fields": run.fields}) as context:
                    choice = _choice(conditions, steps, context)
                if len(choices) < MEMO_MAX and evaluator.steps.left == left and all(map(_is_kept, values)):
                    choices[key] = choice
            return emits[choice](run)

        return emit

    def _turn(self, loop: ForNode, bound: frozenset[str]) -> list[bytes | _InTurn] | None:
        """Return what a turn of a loop consists of; None if anything beside its item and counters decides any of it."""
        from liquid.builtin.content import ContentNode

        from postroom.message.liquid import depends

        entries: list[bytes | _InTurn] = []
        for node in loop.block.nodes:
            if isinstance(node, ContentNode):
                entries.append(quoted.piece(node.text))
                continue
            attributes = depends.deciding_attributes(node, loop.expression.identifier, bound, self._part.context({}, {}))
            if attributes is None:
                return None
            entries.append(_in_turn(node, loop.expression.identifier, attrgetter(*attributes or ["length"])))
        return entries

    def _loop(self, node: ForNode, entries: list[bytes | _InTurn]) -> _Emit:
        from liquid.builtin.tags.for_tag import ForLoop

        from postroom.message.liquid.steps import STEP_PARTS, parts_of

        otherwise = self._liquid(node.default) if node.default else None
        whole = _whole(node.expression)
        title = f"{node.expression.identifier}-{whole}"
        steps = 1 + parts_of(node.expressions()) // STEP_PARTS

        def emit(run: _Run) -> bytes:
            context = run.liquid()
            context.take(steps)
            items = context.get([whole], token=None) if whole else None
            if isinstance(items, list):  # the most usual loop, without what Liquid does for the others
                length = context.stopindex(title, len(items))
            else:
                items, length = node.expression.evaluate(context)
            if not length:
                return otherwise(run) if otherwise else b""
            context.raise_for_loop_limit(length)
            loop = ForLoop("", iter(items), length, None)
            turns = []
            for item in items:
                loop.step()
                loop.item = item  # type: ignore[assignment]
                context.take(len(entries))
                kept = type(item) is str and len(item) <= MEMO_VALUE_MAX
                turn = b"".join([one if isinstance(one, bytes) else one(context, loop, kept) for one in entries])
                run.take(len(turn))
                turns.append(turn)
            return b"".join(turns)

        return emit

    def _liquid(self, node: Node) -> _Emit:
        from liquid.builtin.tags.assign_tag import AssignNode

        def assign(run: _Run) -> bytes:
            node.render(run.liquid(), _UNWRITTEN)
            return b""

        def emit(run: _Run) -> bytes:
            text = liquid_text(node, run.liquid())
            piece = self._rendered.get(text)
            if piece is None:
                piece = quoted.piece(text)
                if len(text) <= RENDERED_MAX and len(self._rendered) < MEMO_MAX:
                    self._rendered[text] = piece
            run.take(len(piece))
            return piece

        return assign if isinstance(node, AssignNode) else emit


def _in_turn(node: Node, name: str, key_of: Callable[[ForLoop], object]) -> _InTurn:
    """A node in a turn of a loop over items called `name`, remembered by what decides it, with the steps that it takes."""
    memo: dict[object, tuple[bytes, int]] = {}

    def emit(context: Context, loop: ForLoop, is_kept: bool) -> bytes:
        found = memo.get(key_of(loop)) if is_kept else None
        if found is not None:
            context.take(found[1])
            return found[0]
        left, noted = context.steps.left, len(context.blanks) + len(context.unread)
        with context.loop({"forloop": loop, name: loop.item}, loop):
            piece = quoted.piece(liquid_text(node, context))
        if is_kept and len(memo) < MEMO_MAX and len(piece) <= TURN_MAX and len(context.blanks) + len(context.unread) == noted:
            memo[key_of(loop)] = piece, left - context.steps.left
        return piece

    return emit


def _choice(conditions: list[tuple[Expression, bool]], steps: int, context: Context) -> int:
    """Return the number of the first condition that holds, or how many there are."""
    context.take(steps)
    for number, (expression, wanted) in enumerate(conditions):
        if expression.evaluate(context) is wanted:
            return number
    return len(conditions)


def _whole(loop: LoopExpression) -> str | None:
    """Return the name over which a loop goes, if it goes over all of it from the beginning."""
    from liquid.builtin.expressions import Path

    is_part = loop.limit or loop.offset or loop.reversed or not isinstance(loop.iterable, Path) or len(loop.iterable.path) > 1
    return None if is_part else str(loop.iterable)


def _is_kept(value: object) -> bool:
    """Only short texts and None: 1, 1.0 and True are the same key and not the same to a condition."""
    return value is None or (type(value) is str and len(value) <= MEMO_VALUE_MAX)
