"""A readable text part out of an HTML template, merge fields alive.

Liquid markup is taken out before the HTML is read and put back afterwards (`masked.py`), so that a field inside text, or inside
the address of a link, is the same field in the text part. Links become `label (address)`, list items `- item`, images their
alternative text. Head, styles, scripts and what a `display:none` hides are left out. A brace in the visible text can never
become markup.
"""

from __future__ import annotations

import re
from html import unescape

from postroom.message import tags
from postroom.message.masked import Masked

# fmt: off
_PARAGRAPHS = frozenset(("blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul"))
_BLOCKS = _PARAGRAPHS | {
    "address", "article", "aside", "center", "dd", "div", "dt", "figcaption", "footer", "form", "header", "hr", "li", "main",
    "nav", "section", "tbody", "tfoot", "thead", "tr",
}
# fmt: on
_HIDDEN = frozenset(("head", "script", "style", "template", "title"))
_ALWAYS_CLOSED = frozenset(("div", "span", "table"))  # so that what they hide has an end
_NOT_DISPLAYED = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_RAW = re.compile(r"\{%-?\s*(end)?raw\b")


def from_html(source: str) -> str:
    """Return the text template for the HTML template `source`. Never fails; broken HTML gives poor text."""
    masked = Masked(source)
    reader = _Reader(masked)
    position = 0
    for tag in tags.read(masked.text):
        reader.read_text(masked.text[position : tag.start])
        if tag.is_end:
            reader.read_end(tag.name)
        elif tag.name != "!":
            values = {one.name: unescape(one.value) for one in reversed(list(tags.attributes(masked.text, tag)))}
            reader.read_start(tag, values)
        position = tag.end
    reader.read_text(masked.text[position:])
    text = masked.unmasked(reader.text())
    return text + "\n" if text else ""


class _Reader:
    """Collects lines of text. `_gap` is how many line ends are owed before the next word.

    `_hidden` is the name of the element that hides what we read, `_depth` how many of that name are open. `_raw` says that
    a brace is no markup where we are.
    """

    def __init__(self, masked: Masked) -> None:
        self._masked = masked
        self._brace_or_word = re.compile(rf"\{{|{masked.word.pattern}")
        self._out: list[str] = []
        self._gap = 0
        self._space = False
        self._hidden = ""
        self._depth = 0
        self._raw = False
        self._preformatted = 0
        self._link: tuple[str, int] | None = None  # the address of the open link, and where in `_out` its text begins

    def text(self) -> str:
        return "".join(self._out).strip("\n ")

    def read_start(self, tag: tags.Tag, values: dict[str, str]) -> None:
        name = tag.name
        if self._hidden == "head" and name == "body":
            self._hidden = ""
        elif self._hidden:
            self._depth += name == self._hidden and not tag.is_empty
        elif name in _HIDDEN or (name in _ALWAYS_CLOSED and _NOT_DISPLAYED.search(values.get("style", ""))):
            if not tag.is_empty:
                self._hidden, self._depth = name, 1
        elif name in _BLOCKS:
            self._begin_block(name)
        elif name == "br":
            self._write_line_end()
        elif name in ("td", "th"):
            self._space = True
        elif name == "img" and values.get("alt"):
            self._write(self._harmless(values["alt"]))
        elif name == "a":
            self._end_link(by_another=True)
            self._link = (values.get("href", ""), len(self._out))

    def _begin_block(self, name: str) -> None:
        self._gap = max(self._gap, 2 if name in _PARAGRAPHS else 1)
        self._preformatted += name == "pre"
        if name == "li":
            self._write("- ")

    def read_end(self, name: str) -> None:
        if self._hidden:
            self._depth -= name == self._hidden
            if not self._depth:
                self._hidden = ""
        elif name in _BLOCKS:
            self._gap = max(self._gap, 2 if name in _PARAGRAPHS else 1)
            self._preformatted = max(0, self._preformatted - (name == "pre"))
        elif name == "a":
            self._end_link()

    def _end_link(self, *, by_another: bool = False) -> None:
        """Write the address of the open link behind its text.

        Another link ends it too, as HTML has it; but where a condition stands between the two, they are alternatives, and its
        address would be written where it is not chosen.
        """
        if self._link is None:
            return
        target, since = self._link
        self._link = None
        label = "".join(self._out[since:]).strip()
        if by_another and not all(piece.is_output for piece in self._masked.pieces_in(label)):
            return
        target = self._harmless(target.strip())
        if target and not target.startswith("#") and target.removeprefix("mailto:") != label:
            was_spaced = self._space
            self._space = was_spaced or bool(label)
            self._write(f"({target})" if label else target)
            self._space = was_spaced and bool(label)  # a space at the end of the text comes behind the address

    def read_text(self, source: str) -> None:
        if self._hidden:
            for word in self._masked.word.findall(source):  # conditions stay in pairs, whatever they enclose
                was_raw = self._raw
                if self._markup(word).startswith("{%") and not (was_raw and self._raw):
                    self._out.append(word)
            return
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
            self._out.append("\n" * self._gap)
        elif self._space and self._out and not self._out[-1].endswith(("\n", " ")):
            self._out.append(" ")
        self._gap, self._space = 0, False
        self._out.append(text)

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
