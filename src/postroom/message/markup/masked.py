"""A source with its Liquid taken out, so that libraries which know nothing of Liquid can work on the rest.

Each piece of markup, `{{ … }}` or `{% … %}`, becomes a word of small letters and digits that stands nowhere else in the
source: it passes for text, for a value and for the name of an attribute. `restored` puts the markup back and holds that
none was lost, repeated or moved. A `{% comment %}` is one piece with all that it holds; what stands inside `{% raw %}` is
text to Liquid, and its braces are put back as they were. `branch` tells what is printed together. All is linear in the size of
the source.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from postroom.errors import InvalidInput
from postroom.message.markup.splice import spliced

_OPENING = re.compile(r"\{[{%]")
_VERBATIM = re.compile(r"\{%-?\s*(?:(raw|doc)\s*-?%\}|(comment)\b)")
_END = {name: re.compile(r"\{%-?\s*end" + name + rest + r"%\}")
        for name, rest in (("raw", r"\s*-?"), ("doc", r"\s*-?"), ("comment", r"\b[^%]*+"))}
_PRINTS = re.compile(r"\{%-?\s*(?:cycle|decrement|echo|increment)\b")
_NAME = re.compile(r"\{%-?\s*(\w+)")
BLOCKS = frozenset(("capture", "case", "for", "if", "ifchanged", "raw", "tablerow", "unless"))
ALTERNATIVES = frozenset(("else", "elsif", "when"))
_PREFIX_DIGITS = 8  # of the digest
_AS_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjklmnprstv")
_SHOWN_MAX = 60  # characters of a piece in an error


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of markup. Only an `{{ output }}` may come out in more places than one: a tag decides about what follows."""

    start: int
    text: str
    is_output: bool

    @property
    def decides(self) -> bool:
        """Whether it shows nothing itself, and decides about what else is shown."""
        return not self.is_output and not _PRINTS.match(self.text)

    @property
    def name(self) -> str:
        """The name of the tag, or ""."""
        found = _NAME.match(self.text)
        return found[1] if found else ""

    @property
    def shown(self) -> str:
        """The piece as an error names it."""
        return self.text if len(self.text) <= _SHOWN_MAX else self.text[: _SHOWN_MAX - 1] + "…"


class Masked:
    """`text` is the source with words for its markup; `field` is the part of the content that faults are about."""

    def __init__(self, source: str, field: str = "html") -> None:
        self.field = field
        self._source = source
        self.pieces = tuple(_pieces(source))
        self.prefix = _unused_prefix(source)
        word = self.prefix + r"(\d+)q"
        self._word = re.compile(rf"(?:<!--|&lt;!--){self.prefix}{word}(?:-->|--&gt;)|{word}")
        self.word = re.compile(self.prefix + r"\d+q")
        self.text = spliced(
            source,
            ((piece.start, piece.start + len(piece.text), f"{self.prefix}{number}q") for number, piece in enumerate(self.pieces)),
        )

    def as_comments(self, text: str) -> str:
        """Return a part of the masked text, each word in an HTML comment: that may stand where text may not."""
        return self.word.sub(rf"<!--{self.prefix}\g<0>-->", text)

    def is_comment(self, text: str) -> bool:
        """Whether `text` is one word, in an HTML comment."""
        return text.startswith("<!--") and self._word.fullmatch(text) is not None

    def pieces_in(self, text: str) -> list[Piece]:
        """Return the pieces that words in `text` stand for, in order."""
        return [self.pieces[_number(found)] for found in self._word.finditer(text)]

    def unmasked(self, text: str) -> str:
        """Return `text` with its markup back, unchecked."""
        return self._word.sub(lambda found: self.pieces[_number(found)].text, text)

    def restored(self, text: str, *, outputs_may_move: bool = False) -> str:
        """Return `text` with its markup back. Raises `InvalidInput` if that is not what was written.

        Each tag must be there once, in order, and each output at least once, never ahead of a tag that it stood behind, unless
        `outputs_may_move`.
        """
        numbers = [_number(found) for found in self._word.finditer(text)]
        tags_before = [0]
        for piece in self.pieces:
            tags_before.append(tags_before[-1] + (not piece.is_output))
        tags_seen = 0
        for number in numbers:
            if not self.pieces[number].is_output:
                if tags_seen != tags_before[number]:
                    raise self._fault(number)
                tags_seen += 1
            elif tags_seen < tags_before[number] and not outputs_may_move:
                raise self._fault(number)
        lost = set(range(len(self.pieces))).difference(numbers)
        if lost:
            raise self._fault(min(lost))
        return self.unmasked(text)

    def branch(self, position: int) -> int:
        """Return the number of the branch that an index into `text` is in: 0 outside of any block, otherwise its own.

        What is in one branch, and in none within it, is printed together or not at all.
        """
        word_ends, branches, _ = self._branches
        return branches[bisect_right(word_ends, position)]

    def branch_end(self, position: int) -> int:
        """Return where in `text` the word begins that ends the branch that an index is in: at the end, if none does."""
        return self._branches[2].get(self.branch(position), len(self.text))

    @cached_property
    def _branches(self) -> tuple[list[int], list[int], dict[int, int]]:
        """Where the words end, the branches before the first of them and behind each, and where which branch ends."""
        words = list(self.word.finditer(self.text))
        steps = list(_branches(self.pieces))
        ends = {ended: found.start() for found, (_, ended) in zip(words, steps, strict=True)}
        return [found.end() for found in words], [0, *(branch for branch, _ in steps)], ends

    def place(self, position: int) -> tuple[int, int]:
        """Return line and column in the source, from 1, of an index into the source."""
        return self._source.count("\n", 0, position) + 1, position - self._source.rfind("\n", 0, position)

    def _fault(self, number: int) -> InvalidInput:
        piece = self.pieces[number]
        line, column = self.place(piece.start)
        message = f'In the {self.field}, line {line}, column {column}: "{piece.shown}" is lost or moved when the HTML is made.'
        if self.field == "mjml":
            message += " MJML keeps it in texts and in <mj-raw>, not among the attributes of its own elements."
        return InvalidInput(message, field=self.field)


def _number(found: re.Match[str]) -> int:
    return int(found[1] or found[2])


def _branches(pieces: Iterable[Piece]) -> Iterator[tuple[int, int]]:
    """Yield the branch behind each piece, and the one that it ends, or -1. A piece that ends nothing, in a source that Liquid
    refuses, does no harm."""
    within = [0]
    made = 0
    in_raw = False
    for piece in pieces:
        name = piece.name if not in_raw or piece.name == "endraw" else ""
        in_raw = name == "raw" or (in_raw and name != "endraw")
        ends = len(within) > 1 and (name in ALTERNATIVES or name.startswith("end"))
        ended = within.pop() if ends else -1
        if name in BLOCKS or name in ALTERNATIVES:
            made += 1
            within.append(made)
        yield within[-1], ended


def merge_field_in(text: str) -> str:
    """Return the first piece of markup as an error names it, where none is read; "" if there is none."""
    opening = _OPENING.search(text)
    if not opening:
        return ""
    piece = next(_pieces(text), None)
    return piece.shown if piece else text[opening.start() :][:_SHOWN_MAX]  # it is not closed


def _unused_prefix(source: str) -> str:
    """Return what the source does not hold: made of its digest, so that nobody writes a source that holds many in a row."""
    source = source.lower()  # libraries may write names in small letters
    digest = sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    while (prefix := "zq" + digest[:_PREFIX_DIGITS].translate(_AS_LETTERS)) in source:
        digest = sha256(digest.encode("ascii")).hexdigest()
    return prefix


def _pieces(source: str) -> Iterator[Piece]:
    position = 0
    raw_end = -1  # where the raw block ends that we are in
    missing: set[str] = set()  # ends that do not come any more, so that nothing is searched for twice
    missing_in_raw: set[str] = set()
    while opening := _OPENING.search(source, position):
        start = opening.start()
        if start >= raw_end:
            raw_end = -1
        in_raw = raw_end >= 0
        closing = "}}" if opening[0] == "{{" else "%}"
        known_missing = missing_in_raw if in_raw else missing
        end = -1 if closing in known_missing else source.find(closing, start + 2, raw_end if in_raw else len(source))
        if end < 0:
            known_missing.add(closing)
            position = start + 1
            continue
        end += 2
        block = None if in_raw else _VERBATIM.match(source, start)
        name = block[1] or block[2] if block else ""
        if name and name not in missing:
            block_end = _END[name].search(source, end)
            if block_end is None:
                missing.add(name)
            elif name == "raw":
                raw_end = block_end.start()
                missing_in_raw.clear()
            else:
                end = block_end.end()
        yield Piece(start, source[start:end], closing == "}}" and not in_raw)
        position = end
