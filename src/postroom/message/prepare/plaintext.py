"""A readable text part out of an HTML template, merge fields alive.

Liquid markup is taken out before the HTML is read and put back afterwards (`masked.py`), so that a field inside text, or inside
the address of a link, is the same field in the text part, but for filters that make HTML. Conditions and loops hold in the text
wherever they stand in the HTML, in comments too. Links become `label (address)`, list items `- item` or `1. item`, images their
alternative text, and a space parts what stood together as a picture or a link. Where Liquid decides which items of a list there
are, it counts them too. Head, styles, scripts and what a `display:none` or the like hides are left out; what that may hide from
some, because Liquid decides about it, is there for all. A brace in the visible text can never become markup.

A link that begins in one branch of a condition and ends in another becomes `(address) label`, the address in the branch in which
the link begins: nobody reads an address that was not chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

from postroom.message.markup import tags
from postroom.message.markup.masked import Masked
from postroom.message.prepare.hidden import is_hidden
from postroom.message.prepare.numbering import Items, Numbers, items_of_lists

# fmt: off
_PARAGRAPHS = frozenset(("blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul"))
_BLOCKS = _PARAGRAPHS | {
    "address", "article", "aside", "center", "dd", "div", "dt", "figcaption", "footer", "form", "header", "hr", "li", "main",
    "nav", "section", "tbody", "tfoot", "thead", "tr",
}
# fmt: on
_HIDDEN = frozenset(("head", "script", "style", "template", "title"))
_ROW_GROUPS = frozenset(("tbody", "tfoot", "thead"))
_NONE = frozenset[str]()
# Elements that need no end tag (HTML 13.1.2.4), each with the names that end it by their start or end tags, and with the elements
# within which they do not, and which end it when they end themselves. Any other element ends by its own end tag.
_ENDED_BY = {
    "head": (frozenset(("body",)), _NONE),
    "p": (_BLOCKS | {"td", "th"}, _NONE),
    "li": (frozenset(("li",)), frozenset(("ol", "ul"))),
    **dict.fromkeys(("dd", "dt"), (frozenset(("dd", "dt")), frozenset(("dl",)))),
    **dict.fromkeys(("td", "th"), (_ROW_GROUPS | {"td", "th", "tr"}, frozenset(("table",)))),
    "tr": (_ROW_GROUPS | {"tr"}, frozenset(("table",))),
    **dict.fromkeys(_ROW_GROUPS, (_ROW_GROUPS, frozenset(("table",)))),
}
_SCHEME_OF_LABEL = re.compile(r"\A(?:mailto|tel):")  # of an address that is also read aloud without it
_DIGITS = re.compile(r"-?[0-9]{1,9}")
_ALTERNATIVE = re.compile(r"\{%-?\s*(?:else|elsif|when)\b")
_BEGINNING_OF_LINE = re.compile(r"(?:\n|(?:\A|\n)(?:-|-?[0-9]+\.) )\Z")
_MARK_MAX = 20  # characters, and more, of the mark of an item
_DASH_BEFORE = re.compile(r"(?<=\A\{[{%])-")
_DASH_BEHIND = re.compile(r"-(?=[%}]\}\Z)")
_RAW = re.compile(r"\{%-?\s*(end)?raw\b")
# A filter behind `newline_to_br` may look for what it makes. Strings are read so that nothing is found in them.
_MAKES_HTML = re.compile(
    r"""("[^"]*"|'[^']*')|\|\s*+(?:escape(?:_once)?\s*+(?=\||-?\}\})|newline_to_br\s*+(?=-?\}\}))"""
)


def from_html(source: str) -> str:
    """Return the text template for the HTML template `source`. Never fails; broken HTML gives poor text."""
    masked = Masked(source)
    every = list(tags.read(masked.text))
    reader = _Reader(masked, items_of_lists(masked, every))
    position = 0
    for tag in every:
        reader.read_text(position, tag.start)
        if tag.is_end:
            reader.read_end(tag)
        elif tag.name == "!":
            reader.read_comment(masked.text[tag.start : tag.end])
        else:
            reader.read_start(tag)
        position = tag.end
    reader.read_text(position, len(masked.text))
    reader.read_end_of_source()


    def plain(word: re.Match[str]) -> str:
        """The markup, of which a dash takes away neither a line end nor the mark of an item: those are ours, of the elements."""
        markup = _plain(masked, word[0])
        is_first = _BEGINNING_OF_LINE.search(text[max(0, word.start() - _MARK_MAX) : word.start()])
        markup = _DASH_BEFORE.sub("", markup) if is_first else markup
        return _DASH_BEHIND.sub("", markup) if text.startswith("\n", word.end()) else markup

    text = reader.text()
    return masked.word.sub(plain, text) + "\n" if text else ""


def _plain(masked: Masked, word: str) -> str:
    """Return the markup that a word stands for, without what a filter does for HTML."""
    [piece] = masked.pieces_in(word)
    return _MAKES_HTML.sub(r"\1", piece.text) if piece.is_output else piece.text


class _Link(NamedTuple):
    """An open link: its address, where in what was written its text begins, and in which branch of the Liquid."""

    address: str
    begin: int
    branch: int


class _Reader:
    """Collects lines of text. `_gap` is how many line ends are owed before the next word.

    `_hidden` is the name of the element that hides what we read, `_depth` how many elements are open in it in which nothing ends
    it, and `_hidden_end` where the branch of Liquid ends in which it does. `_raw` says that a brace is no markup where we are.
    """

    def __init__(self, masked: Masked, items: dict[int, Items]) -> None:
        self._masked = masked
        self._items = items
        self._brace_or_word = re.compile(rf"\{{|{masked.word.pattern}")
        self._out: list[str] = []
        self._gap = 0
        self._space = False
        self._hidden = ""
        self._depth = 0
        self._hidden_end = 0
        self._raw = False
        self._preformatted = 0
        self._lists: list[Numbers | None] = []  # those that are open; one that counts nothing is None
        self._marked = -1  # how many of them are around the item of which nothing was written but its mark; or none is
        self._is_glued = False  # whatever comes next stands right behind an address or a picture
        self._link: _Link | None = None
        self._addresses: list[tuple[int, str]] = []  # what stands in front of a link's text, and where in `_out`

    def text(self) -> str:
        parts: list[str] = []
        position = 0
        for begin, address in self._addresses:
            place = begin + (begin < len(self._out) and self._out[begin].isspace())  # behind what separates the link from others
            parts += *self._out[position:place], address
            position = place
        return "".join([*parts, *self._out[position:]]).strip("\n ")

    def read_start(self, tag: tags.Tag) -> None:
        name = tag.name
        if self._hidden:
            rivals, enclosing = self._ends_of_hidden()
            if self._depth or name not in rivals:
                self._depth += name in enclosing and not tag.is_empty
                return
            self._hidden = ""
        is_never_shown = name in _HIDDEN
        if is_never_shown or is_hidden(self._masked, tag):
            if not tag.is_empty:
                self._hidden, self._depth = name, 0
                self._hidden_end = len(self._masked.text) if is_never_shown else self._masked.branch_end(tag.start)
        elif name in _BLOCKS:
            self._begin_block(tag)
        elif name == "br":
            self._write_line_end()
        elif name in ("td", "th"):
            self._space = True
        elif name == "img" and (alternative := self._value(tag, "alt")):
            self._space |= bool(self._out) and self._out[-1][-1:].isalnum()
            self._write(self._harmless(alternative))
            self._is_glued = True
        elif name == "a":
            self._end_link(tag.start)
            address = self._harmless(self._value(tag, "href").strip())
            self._link = _Link(address, len(self._out), self._masked.branch(tag.end))

    def _ends_of_hidden(self) -> tuple[frozenset[str], frozenset[str]]:
        return _ENDED_BY.get(self._hidden, (_NONE, frozenset((self._hidden,))))

    def _value(self, tag: tags.Tag, name: str) -> str:
        """Return what the tag gives for an attribute: all that it may give, with the Liquid, where Liquid in the tag decides."""
        masked = self._masked
        around = masked.branch(tag.start)
        parts: list[str] = []
        is_given = False
        for one in tags.attributes(masked.text, tag):
            parts += (word for word in masked.word.findall(one.name) if not masked.pieces_in(word)[0].is_output)
            if masked.word.sub("", one.name) != name:
                continue
            if masked.branch(one.start + len(one.name)) != around:
                parts.append(unescape(one.value))
                is_given = True
            elif not is_given:
                return unescape(one.value)
        return "".join(parts) if is_given else ""

    def _begin_block(self, tag: tags.Tag) -> None:
        name = tag.name
        self._gap = max(self._gap, 2 if name in _PARAGRAPHS else 1)
        self._preformatted += name == "pre"
        if name == "ul":
            self._lists.append(None)
        elif name == "ol":
            begun = self._numbers(tag)
            self._lists.append(begun)
            self._out.append(begun.begin() if begun else "")
        elif name == "li":
            if self._marked == len(self._lists):
                self._marked = -1  # the item before is empty
            numbers = self._lists[-1] if self._lists else None
            self._write(numbers.item(self._number(tag, "value")) if numbers else "- ")
            self._marked = len(self._lists)

    def _numbers(self, tag: tags.Tag) -> Numbers | None:
        """Return what an ordered list counts. One that counts down to an end that only Liquid knows has no numbers."""
        items = self._items[tag.start]
        is_reversed = any(one.name == "reversed" for one in tags.attributes(self._masked.text, tag))
        start = self._number(tag, "start")
        if start is None and is_reversed and items.are_varied:
            return None
        if start is None:
            start = items.number if is_reversed else 1
        return Numbers(start, -1 if is_reversed else 1, f"{self._masked.prefix}n{tag.start}" if items.are_varied else "")

    def _number(self, tag: tags.Tag, name: str) -> int | None:
        value = self._value(tag, name).strip()
        return int(value) if _DIGITS.fullmatch(value) else None

    def read_end(self, tag: tags.Tag) -> None:
        name = tag.name
        if self._hidden:
            rivals, enclosing = self._ends_of_hidden()
            if self._depth or (name != self._hidden and name not in rivals | enclosing):
                self._depth -= self._depth > 0 and name in enclosing
                return
            is_own = name == self._hidden
            self._hidden = ""
            if is_own:
                return
        if name in _BLOCKS:
            self._gap = max(self._gap, 2 if name in _PARAGRAPHS else 1)
            self._preformatted = max(0, self._preformatted - (name == "pre"))
            if name in ("li", "ol", "ul"):
                self._marked = -1
            if name in ("ol", "ul") and self._lists:
                self._lists.pop()
        elif name == "a":
            self._end_link(tag.start)

    def read_end_of_source(self) -> None:
        self._end_link(len(self._masked.text))

    def _end_link(self, position: int) -> None:
        """Write the address of the open link behind its text, or in front of it if that ends in another branch than it began."""
        if self._link is None:
            return
        address, begin, branch = self._link
        self._link = None
        if not address or address.startswith("#"):
            return
        if self._masked.branch(position) != branch:
            self._addresses.append((begin, f"({address}) "))
            return
        label = "".join(self._out[begin:]).strip()
        if _SCHEME_OF_LABEL.sub("", self._as_written(address)) != self._as_written(label):
            was_spaced = self._space
            self._space = was_spaced or bool(label)
            self._write(f"({address})" if label else address)
            self._space = was_spaced and bool(label)  # a space at the end of the text comes behind the address
        self._is_glued = True

    def _as_written(self, text: str) -> str:
        """Return a text in which the same fields are the same, however they are spaced or made HTML of."""
        return self._masked.word.sub(lambda word: _plain(self._masked, word[0]).replace(" ", ""), text)

    def read_comment(self, source: str) -> None:
        if self._hidden:
            self._out += self._deciding(source)
            return
        for word in self._deciding(source):
            self._write(word)

    def _deciding(self, source: str) -> Iterator[str]:
        """Yield the words in what is not shown that decide about what is: conditions stay in pairs, whatever they enclose. What
        would print itself is left out."""
        for word in self._masked.word.findall(source):
            was_raw = self._raw
            self._markup(word)
            if self._masked.pieces_in(word)[0].decides and not (was_raw and self._raw):
                yield word

    def read_text(self, start: int, end: int) -> None:
        source = self._masked.text[start:end]
        if self._hidden:
            hidden = source[: max(0, self._hidden_end - start)]
            self._out += self._deciding(hidden)
            if self._hidden_end >= end:
                return
            source = source[len(hidden) :]
            self._hidden = ""
        text = self._harmless(unescape(source))
        if self._preformatted:
            self._write(text)
            return
        words = text.split()
        if words:
            self._space = self._space or text[0].isspace()
            self._write(" ".join(words))
        self._space = self._space or text[-1:].isspace()

    def _write(self, text: str) -> None:
        if self._hidden:
            return
        if self._gap:
            self._out += ["\n" * self._gap] if self._marked < 0 else []
        elif (self._space or self._is_parted(text)) and self._out and not self._out[-1].endswith(("\n", " ")):
            self._out.append(" ")
        self._gap, self._space = 0, False
        self._marked = self._marked if self._is_deciding(text) else -1
        self._is_glued = self._is_glued and self._is_deciding(text) and not _ALTERNATIVE.match(self._masked.unmasked(text))
        self._out.append(text)

    def _is_parted(self, text: str) -> bool:
        """Whether a space has to part the text from what it is glued to; the tags of Liquid before it are none."""
        return self._is_glued and text[:1].isalnum() and not self._is_deciding(text)

    def _is_deciding(self, text: str) -> bool:
        return self._masked.word.fullmatch(text) is not None and self._masked.pieces_in(text)[0].decides

    def _write_line_end(self) -> None:
        self._out.append("\n" * (self._gap or 1))
        self._gap, self._space = 0, False

    def _harmless(self, text: str) -> str:
        """Text of the page that happens to hold a brace must not turn into markup."""
        return self._brace_or_word.sub(self._kept, text)

    def _kept(self, found: re.Match[str]) -> str:
        if found[0] == "{":
            return "{" if self._raw else '{{ "{" }}'
        self._markup(found[0])
        return found[0]

    def _markup(self, word: str) -> str:
        """Return the markup that a word stands for, and see whether it begins or ends a raw block."""
        markup = self._masked.unmasked(word)
        raw = _RAW.match(markup)
        if raw:
            self._raw = not raw[1]
        return markup
