"""Markdown made into HTML by a library (markdown-it), with Liquid between its blocks, and between the rows of its tables.

A line of nothing but tags of Liquid stands between blocks, as a comment would, and does not become a paragraph. In a table, which
a comment would end, such tags are a row of their own while the library reads it, and tags between rows again afterwards.

Fails with `InvalidInput`, with the line: front matter, which is no part of a message, and a row with more cells than its table
has columns, of which the library would drop the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from postroom.domain.wording import counted
from postroom.errors import InvalidInput
from postroom.message.markup import tags
from postroom.message.markup.masked import Masked
from postroom.message.markup.splice import spliced

_FRONT_MATTER = re.compile(
    r"(?:---[ \t]*\n(?:[ \t]*(?:#.*)?\n)*[\w-]+[ \t]*:(?:[ \t].*)?\n(?:.*\n)*?(?:---|\.\.\.)|"
    r"\+\+\+[ \t]*\n(?:.*\n)*?\+\+\+)[ \t]*(?:\n|\Z)"
)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_DELIMITERS = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_BAR = re.compile(r"(?<!\\)\|")


def to_html(masked: Masked) -> str:
    """Return the HTML of the blocks, its Liquid still masked."""
    from markdown_it import MarkdownIt

    if _FRONT_MATTER.match(masked.text):
        what = "it begins with front matter, which would stand in the message: take it out, and give the subject by itself"
        raise InvalidInput(f"In the markdown, line 1, column 1: {what}.", field="markdown")
    spaced = spliced(masked.text, ((tag.start, tag.end, tags.spaced(masked.text, tag)) for tag in tags.read(masked.text)))
    lines = _Lines(masked, spaced.split("\n"))
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render("\n".join(lines.read()))
    return lines.with_tags_between_rows(html)


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
            elif self._words.fullmatch(line) and not any(piece.is_output for piece in self._masked.pieces_in(line)):
                yield self._masked.as_comments(line)
            else:
                yield line
                if _DELIMITERS.fullmatch(line) and number and "|" in (before := self._lines[number - 1]):
                    columns = len(_cells(line)) if len(_cells(line)) == len(_cells(before)) else 0

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


def _cells(row: str) -> list[str]:
    cells = _BAR.split(row.strip())
    return cells[not cells[0] : len(cells) - (not cells[-1].strip() and len(cells) > 1)]
