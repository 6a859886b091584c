"""What is seen of a source: its text without the tags, then what stands in each tag, with the way back to the source.

Encoded characters are what they stand for. Tags that part no text (`<b>`) are not there, any other tag is a line's end. Liquid is
`HIDDEN`, as is what nobody takes for a message's words: code, style sheets, scripts, comments and `{% raw %}`. All is linear in
the size of the source.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote

from postroom.message.markup import tags
from postroom.message.markup.masked import Masked
from postroom.message.markup.splice import spliced

HIDDEN = "\0"
MARKED_UP = ("html", "markdown", "mjml")

# fmt: off
_INLINE = frozenset(("a", "abbr", "b", "bdi", "bdo", "big", "cite", "del", "dfn", "em", "font", "i", "ins", "label", "mark",
                     "o:p", "s", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "wbr"))
_HIDING = frozenset(("code", "kbd", "mj-style", "pre", "samp", "script", "style"))
# fmt: on
_IN_ADDRESS = r"%[2-7][0-9A-F]"  # of ASCII
_ENCODED = re.compile(_IN_ADDRESS, re.IGNORECASE)
_ENCODED_IN_HTML = re.compile(rf"{_IN_ADDRESS}|&(?:#\d{{1,7}}|#x[0-9a-f]{{1,6}}|[a-z]\w{{1,30}});", re.IGNORECASE)
_RAW = re.compile(r"\{%-?\s*(end)?raw\b")
_CODE_SPAN = re.compile(r"(?<!`)(`{1,8})(?!`)(?:(?!\n[ \t]*\n).){1,400}?(?<!`)\1(?!`)", re.DOTALL)
_STILL_READ = ("<?", "<!--[if")  # programs, and what Outlook shows


class Visible:
    """`text` is what is seen of the source; `references` are the labels that a Markdown source defines, in capitals."""

    def __init__(self, masked: Masked, source: str) -> None:
        self.references: frozenset[str] = frozenset()
        self._encoded = _ENCODED_IN_HTML if masked.field in MARKED_UP else _ENCODED
        self._parts: list[str] = []
        self._starts: list[int] = []  # in the text, of its parts
        self._sources: list[tuple[int, int]] = []  # where each part stands in the source
        self._size = 0
        shown = spliced(source, ((start, end, HIDDEN * (end - start)) for start, end in _liquid(masked)))
        self._is_markdown = masked.field == "markdown"
        if self._is_markdown:
            shown = self._without_code(shown)
        if masked.field in MARKED_UP:
            self._read_tags(shown)
        else:
            self._add(shown, 0, len(shown))
        self.text = "".join(self._parts)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return where in the source stands what is from `start` to `end` in the text."""
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, end - 1) - 1
        return self._sources[first][0] + start - self._starts[first], self._sources[last][1] - (
            self._starts[last] + len(self._parts[last]) - end)

    def _read_tags(self, shown: str) -> None:
        every = list(tags.read(shown))
        last_end = {tag.name: tag.start for tag in every if tag.is_end}
        words = shown if self._is_markdown else shown.replace("\n", " ")
        position, hiding = 0, ""
        for tag in every:
            if not hiding:
                self._add(words, position, tag.start)
            position = tag.end
            if hiding:
                hiding = "" if tag.is_end and tag.name == hiding else hiding
            elif tag.name in _HIDING and not tag.is_end and last_end.get(tag.name, -1) > tag.start:
                hiding = tag.name
            if tag.name not in _INLINE:
                self._put("\n", tag.start, tag.end)
        self._add(words, position, len(shown))
        for tag in every:
            if not tag.is_end and (tag.name != "!" or shown.startswith(_STILL_READ, tag.start)):
                self._put("\n", tag.start, tag.start)
                self._add(shown, max(tag.start - 1, 0), tag.end + 1)  # with the second bracket of <<Name>>

    def _add(self, shown: str, start: int, end: int) -> None:
        for found in self._encoded.finditer(shown, start, end):
            self._put(shown[start : found.start()], start, found.start())
            meant = unquote(found[0]) if found[0][0] == "%" else unescape(found[0]).replace("\u00a0", " ")
            self._put(meant[:1], found.start(), found.end())
            start = found.end()
        self._put(shown[start:end], start, end)

    def _put(self, text: str, start: int, end: int) -> None:
        if text:
            self._parts.append(text)
            self._starts.append(self._size)
            self._sources.append((start, end))
            self._size += len(text)

    def _without_code(self, shown: str) -> str:
        """Without the code of a Markdown source and the lines that define its links; notes the labels of these."""
        from markdown_it import MarkdownIt
        from markdown_it.token import Token

        reader = MarkdownIt("commonmark").enable("table")
        reader.core.ruler.disable("inline")
        defined: dict[str, dict[str, dict[str, object]]] = {}
        blocks: list[Token] = reader.parse(shown, defined)
        references = defined.get("references", {})
        self.references = frozenset(references)
        lines = shown.splitlines(keepends=True) if "\n" not in shown else re.findall(r"[^\n]*\n|[^\n]+", shown)
        maps = [one.map for one in blocks if one.type in ("fence", "code_block")]
        maps += [one["map"] for one in references.values()]  # type: ignore[misc]
        for first, last in filter(None, maps):
            lines[first:last] = [HIDDEN * (len(line) - 1) + "\n" for line in lines[first:last]]
        return _CODE_SPAN.sub(lambda found: HIDDEN * len(found[0]), "".join(lines))


def _liquid(masked: Masked) -> Iterator[tuple[int, int]]:
    """Yield where Liquid stands, with what is between `{% raw %}` and its end."""
    raw = -1
    for piece in masked.pieces:
        found = _RAW.match(piece.text) if not piece.is_output else None
        end = piece.start + len(piece.text)
        if found and not found[1] and raw < 0:
            raw = piece.start
        elif found and found[1] and raw >= 0:
            yield raw, end
            raw = -1
        elif raw < 0:
            yield piece.start, end
