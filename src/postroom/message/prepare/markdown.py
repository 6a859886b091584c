"""Markdown made into HTML by a library (markdown-it), with Liquid between its blocks, items of lists and rows of tables.

A line of nothing but tags of Liquid stands between blocks, as a comment would, and does not become a paragraph; so do tags before
and behind an item of a list, and the lists that they part become one again (`listed.py`). In a table, which a comment would end,
such tags are a row of their own while the library reads it, and tags between rows again afterwards.

Fails with `InvalidInput`, with the line: front matter, which is no part of a message, and a row with more cells than its table
has columns, of which the library would drop the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from postroom.domain.wording import counted
from postroom.errors import InvalidInput
from postroom.message.markup import tags
from postroom.message.markup.masked import ALTERNATIVES, BLOCKS, Masked
from postroom.message.markup.splice import spliced
from postroom.message.prepare import listed

_FRONT_MATTER = re.compile(
    r"(?:---[ \t]*\n(?:[ \t]*(?:#.*)?\n)*[\w-]+[ \t]*:(?:[ \t].*)?\n(?:.*\n)*?(?:---|\.\.\.)|"
    r"\+\+\+[ \t]*\n(?:.*\n)*?\+\+\+)[ \t]*(?:\n|\Z)"
)
_FENCE = re.compile(r"(?: {0,3}>)* {0,3}(```+|~~~+)")
_DELIMITERS = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_MARGIN = re.compile(r"(?:[ \t]*>)*[ \t]*")
_WHITE = re.compile(r"[ \t]*")
_ITEM = re.compile(r"(?:[-+*]|[0-9]{1,9}[.)])[ \t]")
_BAR = re.compile(r"(?<!\\)\|")


def to_html(masked: Masked) -> str:
    """Return the HTML of the blocks, its Liquid still masked."""
    from markdown_it import MarkdownIt

    if _FRONT_MATTER.match(masked.text):
        what = "it begins with front matter, which would stand in the message: take it out, and give the subject by itself"
        raise InvalidInput(f"In the markdown, line 1, column 1: {what}.", field="markdown")
    spaced = spliced(masked.text, ((tag.start, tag.end, tags.spaced(masked.text, tag)) for tag in tags.read(masked.text)))
    lines = _Lines(masked, spaced.split("\n"))
    library = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = list(listed.joined(library.parse("\n".join(lines.read())), masked))
    return lines.with_tags_between_rows(library.renderer.render(tokens, library.options, {}))


class _Lines:
    """The lines of a Markdown, as the library gets them."""

    def __init__(self, masked: Masked, lines: list[str]) -> None:
        self._masked = masked
        self._lines = lines
        word = masked.word.pattern
        self._words = re.compile(rf"[ \t]*(?:{word}[ \t]*)+")
        self._before_row = re.compile(rf"[ \t]*(?:{word}[ \t]*)+(?=\|)")
        self._behind_row = re.compile(rf"(?<=\|)[ \t]*(?:{word}[ \t]*)+\Z")
        self._row_of_words = re.compile(rf"<tr>\n<td[^>]*>({word}(?:\s*{word})*)</td>\n(?:<td[^>]*></td>\n)*</tr>\n")

    def read(self) -> Iterator[str]:
        fence = ""
        columns = 0  # of the table that we are in
        for number, line in enumerate(self._lines):
            opened = _FENCE.match(line)
            if opened and (not fence or opened[1].startswith(fence)):
                fence = "" if fence else opened[1]
            if fence or not line.strip():
                columns = 0
                yield line
            elif columns:
                yield from self._rows(number, line, columns)
            elif self._words.fullmatch(line, _margin(line)) and not any(one.is_output for one in self._masked.pieces_in(line)):
                yield from self._alone(line, line)
            elif parts := self._around_item(line):
                before, item, behind = parts
                yield from (*self._alone(line, before), line[: _margin(line)] + item, *self._alone(line, behind))
            else:
                yield line
                if _DELIMITERS.fullmatch(line) and number and "|" in (before := self._lines[number - 1]):
                    columns = len(_cells(line)) if len(_cells(line)) == len(_cells(before)) else 0

    def _alone(self, line: str, part: str) -> Iterator[str]:
        """Yield the words of a part of a line, each as a comment in a line of its own."""
        return (line[: _margin(line)] + self._masked.as_comments(word) for word in self._masked.word.findall(part))

    def _around_item(self, line: str) -> tuple[str, str, str] | None:
        """Return an item of a list and the tags before and behind it, if they are about whether it is there: as in
        `{% for … %}- item{% endfor %}`, and not in `- {% if … %}item{% endif %}`."""
        words = [found for found in self._masked.word.finditer(line) if self._decide(found[0])]
        start = margin = _margin(line)
        while words and words[0].start() == start:
            start = _end_of_white(line, words.pop(0).end())
        if not _ITEM.match(line, start):
            return None
        end = len(line)
        depth = 0  # of blocks of Liquid that begin in the item
        for found in words:
            [piece] = self._masked.pieces_in(found[0])
            end = end if depth else found.start()
            depth += (piece.name in BLOCKS) - piece.name.startswith("end")
            if depth < (piece.name in ALTERNATIVES):
                break
            end = end if depth else len(line)
        behind = line[end:]
        if (start == margin and not behind) or (behind and not (self._words.fullmatch(behind) and self._decide(behind))):
            return None
        return line[:start], line[start:end], behind

    def _rows(self, number: int, line: str, columns: int) -> Iterator[str]:
        """Yield a line of a table, with a row for the tags that stand around its own."""
        before, behind = self._before_row.match(line), self._behind_row.search(line)
        start = before.end() if before and self._decide(before[0]) else 0
        end = behind.start() if behind and self._decide(behind[0]) else len(line)
        if self._words.fullmatch(line) and self._decide(line):
            start = end = len(line)
        row = line[start:end]
        if (cells := len(_cells(row)) if row.strip() else 0) > columns:
            what = f"the row has {cells} cells, and its table has {counted(columns, 'column')}"
            raise InvalidInput(f"In the markdown, line {self._place(number)}, column 1: {what}.", field="markdown")
        if start:
            yield f"|{line[:start]}|"
        if row.strip():
            yield row
        if end < len(line):
            yield f"|{line[end:]}|"

    def with_tags_between_rows(self, html: str) -> str:
        return self._row_of_words.sub(lambda row: row[1] + "\n" if self._decide(row[1]) else row[0], html)

    def _decide(self, words: str) -> bool:
        """Whether words stand for tags that show nothing, and decide about what follows."""
        return all(piece.decides for piece in self._masked.pieces_in(words))

    def _place(self, number: int) -> int:
        before = "\n".join([*self._lines[:number], ""])
        return self._masked.unmasked(before).count("\n") + 1


def _margin(line: str) -> int:
    """Return where a line begins, behind the marks of quotations and white space."""
    found = _MARGIN.match(line)
    return found.end() if found else 0


def _end_of_white(line: str, position: int) -> int:
    found = _WHITE.match(line, position)
    return found.end() if found else position


def _cells(row: str) -> list[str]:
    cells = _BAR.split(row.strip())
    return cells[not cells[0] : len(cells) - (not cells[-1].strip() and len(cells) > 1)]
