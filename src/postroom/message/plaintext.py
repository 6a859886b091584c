"""A readable text part out of an HTML template, merge fields alive.

Liquid markup is taken out before the HTML is read and put back afterwards, so that a field inside text, or inside the
address of a link, is the same field in the text part. Links become `label (address)`, list items `- item`, images their
alternative text. Head, styles and scripts are left out. A brace in the visible text can never become markup.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_MARKUP = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_MARK = re.compile("\ue000([0-9]+)\ue001")
# fmt: off
_PARAGRAPHS = frozenset(("blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul"))
_BLOCKS = _PARAGRAPHS | {
    "address", "article", "aside", "center", "dd", "div", "dt", "figcaption", "footer", "form", "header", "hr", "li", "main",
    "nav", "section", "tbody", "tfoot", "thead", "tr",
}
_HIDDEN = frozenset(("head", "script", "style", "template", "title"))
# fmt: on


def from_html(source: str) -> str:
    """Return the text template for the HTML template `source`. Never fails; broken HTML gives poor text."""
    markup: list[str] = []

    def keep(found: re.Match[str]) -> str:
        markup.append(found[0])
        return f"\ue000{len(markup) - 1}\ue001"

    reader = _Reader(markup)
    reader.feed(_MARKUP.sub(keep, source.replace("\ue000", "").replace("\ue001", "")))
    reader.close()
    text = _MARK.sub(lambda found: markup[int(found[1])], reader.text())
    return text + "\n" if text else ""


class _Reader(HTMLParser):
    """Collects lines of text. `_gap` is how many line ends are owed before the next word."""

    def __init__(self, markup: list[str]) -> None:
        super().__init__(convert_charrefs=True)
        self._markup = markup
        self._out: list[str] = []
        self._gap = 0
        self._space = False
        self._hidden = 0
        self._preformatted = 0
        self._links: list[tuple[str, int]] = []

    def text(self) -> str:
        return "".join(self._out).strip("\n ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag == "br":
            self._write_line_end()
        elif tag in _BLOCKS:
            self._gap = max(self._gap, 2 if tag in _PARAGRAPHS else 1)
            self._preformatted += tag == "pre"
            if tag == "li":
                self._write("- ")
        elif tag in ("td", "th"):
            self._space = True
        elif tag == "img" and values.get("alt"):
            self._write(_harmless(values["alt"]))
        elif tag == "a":
            self._links.append((values.get("href", ""), len(self._out)))

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _BLOCKS:
            self._gap = max(self._gap, 2 if tag in _PARAGRAPHS else 1)
            self._preformatted = max(0, self._preformatted - (tag == "pre"))
        elif tag == "a" and self._links:
            target, since = self._links.pop()
            target = _harmless(target.strip())
            label = "".join(self._out[since:]).strip()
            if target and not target.startswith("#") and target.removeprefix("mailto:") != label:
                self._write(f" ({target})" if label else target)

    def handle_data(self, data: str) -> None:
        if self._hidden:
            for tag in _MARK.finditer(data):  # conditions stay in pairs, whatever they enclose
                if self._markup[int(tag[1])].startswith("{%"):
                    self._out.append(tag[0])
            return
        text = _harmless(data)
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


def _harmless(text: str) -> str:
    """Text of the page that happens to hold a brace must not turn into markup."""
    return text.replace("{", '{{ "{" }}') if "{" in text else text
