"""Where the outputs of a template stand in its HTML: the two kinds of places in which escaping is not enough.

In text and between the quotes of an attribute an escaped value is nothing but a value (F83). In a tag outside of quotes a space
in it begins an attribute, and in an event's attribute, a `srcdoc` or a refresh it is run or followed. At the beginning of an
address it names the scheme, and `javascript:` has nothing to escape.

The HTML is read with its Liquid tags left out, as if all their branches were printed one after the other, in time linear in its
size. Conditional comments are read too, because Outlook does.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import NamedTuple

from postroom.message.markup import tags
from postroom.message.markup.masked import Masked, Piece
from postroom.message.markup.splice import spliced
from postroom.message.markup.tags import Tag

_ADDRESSES = frozenset((
    "action", "background", "cite", "data", "formaction", "href", "longdesc", "manifest", "ping", "poster", "src", "xlink:href"))
_DECIDING = re.compile(r"[/?#:]")  # the first of these ends a scheme, or shows that there is none
_REST_OF_SCHEME = re.compile(r"[^/?#:]{0,32}:")
_LITERAL = r"""(?:"[^"]*+"|'[^']*+'|[-.\d]++)\s*+"""
_OF_LITERALS = rf"\s*+(?:{_LITERAL}:\s*+)?(?:{_LITERAL},?\s*+)++-?%\}}"  # a cycle of these prints nobody's value
_PRINTING_TAG = re.compile(rf"\{{%-?\s*+(?:echo\b|cycle\b(?!{_OF_LITERALS})|liquid\b.*\b(?:echo|cycle)\b)", re.DOTALL)
_NAME = re.compile(r"\{%-?\s*(\w+)")
_BLOCKS = frozenset(("case", "for", "if", "tablerow", "unless"))
_BRANCHES = frozenset(("else", "elsif", "when"))
_CONDITIONAL = re.compile(r"<!--\[if[^\]>]*+\]>")


OUTSIDE_OF_QUOTES = ("stands in a tag outside of quotes, where a value could add attributes: put the attribute's value in "
                     "quotes")
RUN = "stands where a reader of mail may run a value or follow it by itself: take it out"


class Address(NamedTuple):
    """A piece of markup, from `start` to `end`, that prints before the scheme of an address is decided. `after` is what follows
    it, where that would make a scheme of its value."""

    start: int
    end: int
    after: str


class Places(NamedTuple):
    """Both kinds, each in the order of the HTML; `outside` are those where no value is harmless, with the reason."""

    outside: list[tuple[Piece, str]]
    addresses: list[Address]


class _Mark(NamedTuple):
    """A piece of markup in the HTML as it is read: one letter at `at` if it prints, and otherwise nothing there."""

    at: int
    piece: Piece
    prints: bool


def read(source: str) -> Places:
    """Return the places of a template's outputs."""
    found = Places([], [])
    html, marks = _without_liquid(source)
    for tag in _start_tags(html):
        within = _between(marks, tag.start, tag.end - 1)
        if not any(mark.prints for mark in within):
            continue
        reasons = dict.fromkeys((mark.piece.start for mark in within if mark.prints), OUTSIDE_OF_QUOTES)
        attributes = list(tags.attributes(html, tag))
        refreshes = any((one.name, one.value.strip().lower()) == ("http-equiv", "refresh") for one in attributes)
        for one in attributes:
            end = one.end - len(one.quote)
            values = _between(within, end - len(one.value), end) if one.quote else []
            for mark in values:
                reasons.pop(mark.piece.start, None)
            if one.name in _ADDRESSES:
                found.addresses.extend(_undecided(html, values, end - len(one.value), end))
            elif one.name == "srcdoc" or one.name.startswith("on") or (refreshes and one.name == "content"):
                reasons.update((mark.piece.start, RUN) for mark in values if mark.prints)
        found.outside.extend((mark.piece, reasons[mark.piece.start]) for mark in within if mark.piece.start in reasons)
    return found


def _without_liquid(source: str) -> tuple[str, list[_Mark]]:
    marks: list[_Mark] = []
    moved = 0
    for piece in Masked(source).pieces:
        prints = piece.is_output or _PRINTING_TAG.match(piece.text) is not None
        marks.append(_Mark(piece.start - moved, piece, prints))
        moved += len(piece.text) - prints
    html = spliced(source, ((mark.piece.start, mark.piece.start + len(mark.piece.text), "x" * mark.prints) for mark in marks))
    return html, marks


def _start_tags(html: str) -> Iterator[Tag]:
    for tag in tags.read(html):
        if tag.name != "!" and not tag.is_end:
            yield tag
        elif comment := _CONDITIONAL.match(html, tag.start):
            for inner in tags.read(html[comment.end() : tag.end]):
                if inner.name != "!" and not inner.is_end:
                    yield inner._replace(start=inner.start + comment.end(), end=inner.end + comment.end())


def _between(marks: Sequence[_Mark], start: int, end: int) -> Sequence[_Mark]:
    """Return the marks from a place up to another, both included."""
    return marks[bisect_left(marks, start, key=_place) : bisect_left(marks, end + 1, key=_place)]


def _place(mark: _Mark) -> int:
    return mark.at


@dataclass(slots=True)
class _Block:
    """A block of Liquid within an address: whether the scheme is undecided where it begins, and at the end of a branch so far."""

    begins: bool
    in_branch: bool
    leaves: bool = False
    has_else: bool = False


def _undecided(html: str, marks: Sequence[_Mark], start: int, end: int) -> Iterator[Address]:
    """Yield what prints in an address before anything has decided its scheme, on any way through the branches."""
    undecided = True
    blocks: list[_Block] = []
    for mark, following in zip(marks, [*(mark.at for mark in marks[1:]), end], strict=False):
        undecided = undecided and not _DECIDING.search(unescape(html[start : mark.at]))
        start = mark.at + mark.prints
        if not mark.prints:
            undecided = _through(mark.piece.text, undecided, blocks)
        elif undecided:
            after = _REST_OF_SCHEME.match(unescape(html[start:following]))
            yield Address(mark.piece.start, mark.piece.start + len(mark.piece.text), after[0] if after else "")


def _through(tag: str, undecided: bool, blocks: list[_Block]) -> bool:
    """Return whether the scheme is undecided behind a tag of Liquid."""
    found = _NAME.match(tag)
    name = found[1] if found else ""
    if name in _BLOCKS:
        blocks.append(_Block(undecided, in_branch=name != "case"))
    elif name in _BRANCHES and blocks:
        block = blocks[-1]
        block.leaves |= undecided and block.in_branch
        block.in_branch = True
        block.has_else |= name == "else"
        return block.begins
    elif name.removeprefix("end") in _BLOCKS and blocks:
        block = blocks.pop()
        return block.leaves or undecided or (block.begins and not block.has_else)
    return undecided
