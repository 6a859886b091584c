"""Lists of Markdown whose items Liquid repeats or leaves out: each one list, not one for each turn of a loop.

The library ends a list where a tag of Liquid stands between its items. Lists that nothing but such tags parts become one again,
if each block of Liquid among them begins and ends there, and prints where it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from postroom.message.markup.masked import ALTERNATIVES, BLOCKS, Masked

if TYPE_CHECKING:
    from markdown_it.token import Token

_PRINTED_IN_PLACE = frozenset(("case", "for", "if", "ifchanged", "unless"))


class _Node(NamedTuple):
    """Tokens from `first` to `last` that are one thing among others: a list of a `kind`, the tag of Liquid `tag`, or neither."""

    first: int
    last: int
    kind: str = ""
    tag: str = ""


class _Span(NamedTuple):
    """Nodes from `first` to `last`: lists of one kind and blocks with nothing else in them; or anything, with no kind.

    `is_parted`: it is to be one list, and is several."""

    first: int
    last: int
    kind: str
    is_parted: bool


@dataclass(slots=True)
class _Block:
    """A block of Liquid that is open, what stood in its branches, and what in the one that we are in."""

    name: str = ""
    first: int = 0
    before: list[list[_Span]] = field(default_factory=list)
    spans: list[_Span] = field(default_factory=list)

    @property
    def branches(self) -> list[list[_Span]]:
        return [*self.before, self.spans]


def joined(tokens: Sequence[Token], masked: Masked) -> Iterator[Token]:
    """Yield the tokens of a Markdown, each tag of Liquid between its blocks a token of its own, with its lists joined."""
    opens: dict[int, Token] = {}
    closes: dict[int, Token] = {}
    dropped: set[int] = set()
    for nodes in _siblings(tokens, masked):
        for first, last in _runs(nodes):
            lists = [node for node in nodes[first : last + 1] if node.kind]
            opens[nodes[first].first] = tokens[lists[0].first]
            closes[nodes[last].last] = tokens[lists[-1].last]
            dropped.update(place for node in lists for place in (node.first, node.last))
    for place, token in enumerate(tokens):
        if place in opens:
            yield opens[place]
        if place not in dropped:
            yield token
        if place in closes:
            yield closes[place]


def _siblings(tokens: Sequence[Token], masked: Masked) -> Iterator[list[_Node]]:
    """Yield what stands beside each other: in each element that holds blocks, and outside of all."""
    around: list[tuple[int, list[_Node]]] = []
    nodes: list[_Node] = []
    for place, token in enumerate(tokens):
        if token.nesting == 1:
            around.append((place, nodes))
            nodes = []
        elif token.nesting == -1:
            yield nodes
            first, nodes = around.pop()
            nodes.append(_Node(first, place, token.type + token.markup if token.type.endswith("_list_close") else ""))
        else:
            nodes.append(_Node(place, place, tag=_tag(token, masked)))
    yield nodes


def _tag(token: Token, masked: Masked) -> str:
    """Return the name of the tag of Liquid that a token is, or ""."""
    comment = token.content.strip()
    if token.type != "html_block" or not masked.is_comment(comment):
        return ""
    [piece] = masked.pieces_in(comment)
    return piece.name


def _runs(nodes: Sequence[_Node]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last node of what is to be one list."""
    blocks = [_Block()]
    for place, node in enumerate(nodes):
        block = blocks[-1]
        if not node.tag:
            block.spans.append(_Span(place, place, node.kind, False))
        elif node.tag in BLOCKS:
            blocks.append(_Block(node.tag, place))
        elif len(blocks) == 1 and (node.tag in ALTERNATIVES or node.tag.startswith("end")):  # of a block that began elsewhere
            yield from _parted(block.branches)
            blocks = [_Block()]
        elif node.tag in ALTERNATIVES:
            block.before.append(block.spans)
            block.spans = []
        elif node.tag.startswith("end"):
            blocks.pop()
            kinds = {span.kind for branch in block.branches for span in branch}
            kind = kinds.pop() if len(kinds) == 1 and block.name in _PRINTED_IN_PLACE else ""
            is_parted = block.name == "for" or any(_is_parted(branch) for branch in block.branches)
            if not kind:
                yield from _parted(block.branches)
            blocks[-1].spans.append(_Span(block.first, place, kind, bool(kind) and is_parted))
    for block in blocks:
        yield from _parted(block.branches)


def _parted(branches: Iterable[list[_Span]]) -> Iterator[tuple[int, int]]:
    for branch in branches:
        for kind, spans in groupby(branch, key=lambda span: span.kind):
            run = list(spans)
            if kind and _is_parted(run):
                yield run[0].first, run[-1].last


def _is_parted(run: Sequence[_Span]) -> bool:
    return len(run) > 1 or any(span.is_parted for span in run)
