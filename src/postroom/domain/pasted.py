"""Addresses as people paste them: with names or without, in angle brackets or bare, and commas, semicolons or lines between.

    Ann Lee <ann@list.example>, "Lee, Bob" <bob@list.example>; carla@list.example (Carla)
    * dan@list.example, unsubscribed

Promises: nothing is lost. A name becomes the field `name`; a word that says that somebody is out says it of the address before it
on the line, else of the one after it; what is no address and belongs to none is a row of its own, whose address cannot be mailed,
and is shown as that. Takes time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from postroom.domain.audience import ROW_BYTES_MAX, ROWS_MAX, IncomingRow, Remarks, Unreadable, too_many_rows
from postroom.domain.opt_out import SAID_MAX, status_says

NAME = "name"

_TOKEN = re.compile(  # each begins in one way only, and ends at the first sign that may not be in it
    r'<(?:mailto:)?(?P<angle>[^<>\n\r]*)>|(?:mailto:)?(?P<word>[^\s,;:<>"()\[\]]+)|(?P<end>[,;\n\r])'
    r'|"[^"\n\r]*"|\([^()@\n\r]*\)|.', re.IGNORECASE | re.DOTALL)
_BARE = re.compile(r"[^@]+(?:@+[^@]+)+")
_NAME_PART = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '\u2019-])*")
_COMMENT = re.compile(r"\s*\(([^()]*)\)")
_NUMBERED = re.compile(r"[0-9]+[.)]?\s+|[0-9]+[.)]?$")
_AROUND = " \t\xa0,'\"[]<>|/*•·\u2013-"
HELD_MAX = 1_000  # of one line, that wait for what stands behind them


def is_pasted(line: str) -> bool:
    """Whether a list that begins with this line is one of addresses, and no table: all of the line is addresses, or they stand in
    angle brackets."""
    bare, others = 0, False
    for token in _TOKEN.finditer(line):
        if "@" in (token["angle"] or ""):
            return True
        if _BARE.fullmatch(token["word"] or ""):
            bare += 1
        elif token[0].strip(" ,;\t\r\n"):
            others = True
    return bare > 1 and not others


def read_pasted(chunks: Iterable[str], remarks: Remarks, *, is_heeded: bool = True) -> Iterator[IncomingRow]:
    """Rows are numbered in the order in which they stand there. Raises Unreadable."""
    remarks.say(f"The list is read as addresses, with what stands before each as the field “{NAME}”.")
    for row_no, entry in enumerate(_entries(chunks), 1):
        if row_no > ROWS_MAX:
            raise too_many_rows(row_no)
        out = ""
        if entry.out:
            then = "left out" if is_heeded else "mailed all the same, as was chosen"
            remarks.count(f"Not to be mailed by what stands beside the address, and {then}", row_no)
            out = f'Row {row_no} of the list says "{entry.out}" beside the address.' if is_heeded else ""
        yield IncomingRow(row_no, entry.address, {NAME: entry.name}, out)


@dataclass(slots=True)
class _Entry:
    """`out` is the word that says that they are out."""

    address: str
    name: str = ""
    out: str = ""


@dataclass(slots=True)
class _Stretch:
    """What stands between two commas: a text, and an address and a text as often as there are addresses."""

    texts: list[str] = field(default_factory=lambda: [""])
    addresses: list[str] = field(default_factory=list)
    is_angle: bool = False  # the last of them

    def take(self, token: re.Match[str]) -> None:
        angle, word = token["angle"], token["word"]
        if angle is not None and self.addresses and not self.is_angle and not self.texts[-1].strip():
            self.texts.pop()  # ann@list.example <ann@list.example>
            self.texts[-1] += self.addresses.pop()
        if (angle or "").strip() or _BARE.fullmatch(word or ""):
            self.addresses.append((angle or word or "").strip())
            self.texts.append("")
            self.is_angle = angle is not None
        else:
            self.texts[-1] += token[0]


def _entries(chunks: Iterable[str]) -> Iterator[_Entry]:
    line, stretch = _Line(), _Stretch()
    for text in _pieces(chunks):
        for token in _TOKEN.finditer(text):
            if (end := token["end"]) is None:
                stretch.take(token)
                continue
            line.take(stretch)
            stretch = _Stretch()
            if end == ";":
                line.part()
            elif end != ",":
                line.end()
            yield from line.told(end)
    line.take(stretch)
    line.end()
    yield from line.told("\n")


def _pieces(chunks: Iterable[str]) -> Iterator[str]:
    """Whole lines; where one is very long, as much of it as ends at a comma or a semicolon."""
    text = ""
    for chunk in chunks:
        text += chunk
        if len(text) < ROW_BYTES_MAX and not text.endswith(("\n", "\r")):
            continue
        end = len(text) if text.endswith(("\n", "\r")) else max(text.rfind(","), text.rfind(";")) + 1
        if len(text) - end > ROW_BYTES_MAX:
            raise Unreadable(f"There are {ROW_BYTES_MAX // 1024} KiB without a comma, a semicolon or a line end; is this a "
                             "list of addresses?")
        yield text[:end]
        text = text[end:]
    yield text


class _Line:
    """The rows of one line. What stands without an address may be the beginning of a name, a word about an address, or a row."""

    def __init__(self) -> None:
        self._rows: list[_Entry] = []
        self._left: list[str] = []
        self._word = ""  # before the first address
        self._all_out = ""  # "Unsubscribed: ann@list.example, bob@list.example"

    def take(self, stretch: _Stretch) -> None:
        *before, after = stretch.texts
        if not stretch.addresses:
            self._take_text(after)
            return
        if self._left and stretch.is_angle and all(map(_NAME_PART.fullmatch, map(_trimmed, self._left))):
            before[0] = ",".join((*self._left, before[0]))  # Lee, Ann <ann@list.example>
            self._left = []
        self.part()
        begins = len(self._rows)
        for at, (text, address) in enumerate(zip(before, stretch.addresses, strict=True)):
            if at and (comment := _COMMENT.match(text)):
                self._say(comment[1])
                text = text[comment.end():]
            label, name = _labelled(text)
            self._all_out = _out(label) or self._all_out
            self._rows.append(_Entry(address, out=_out(self._word) or self._all_out))
            self._word = ""
            self._say(name)
        if len(self._rows) - begins == 1 or _COMMENT.match(after):
            self._say(after)
        else:
            self._take_text(after)

    def part(self) -> None:
        """No name goes on behind this."""
        self._rows += [_Entry(_trimmed(text)) for text in self._left]
        self._left = []

    def end(self) -> None:
        self.part()
        if self._word:
            self._rows.append(_Entry(_trimmed(self._word)))
        self._word = self._all_out = ""

    def told(self, end: str) -> list[_Entry]:
        """All of them behind a line, else those that nothing can be said of any more."""
        if end in ",;" and len(self._rows) < HELD_MAX:
            return []
        kept = self._rows[-1:] if end in ",;" else []
        rows = self._rows[:len(self._rows) - len(kept)]
        self._rows = kept
        return rows

    def _take_text(self, text: str) -> None:
        if status_says(_word(text)) is None:
            if _trimmed(text):
                self._left.append(text)
            if len(self._left) > HELD_MAX:
                self.part()
        elif self._rows:
            self._rows[-1].out = _out(text) or self._rows[-1].out
        else:
            self._word = text

    def _say(self, text: str) -> None:
        """What stands beside the last address."""
        row = self._rows[-1]
        if (out := _out(text)):
            row.out = out
        elif not row.name:
            row.name = _name(text)
        elif _trimmed(text):
            self._take_text(text)


def _out(text: str) -> str:
    return said if status_says(said := _word(text)) else ""


def _word(text: str) -> str:
    return _trimmed(_labelled(text)[1]).strip(".()")[:SAID_MAX]


def _name(text: str) -> str:
    """Without what lists have before their items."""
    name = _trimmed(_labelled(text)[1])
    if numbered := _NUMBERED.match(name):
        name = name[numbered.end():].strip(_AROUND)
    return name if any(map(str.isalnum, name)) else ""


def _labelled(text: str) -> tuple[str, str]:
    """(To, Ann Lee) of "To: Ann Lee": a colon within quotation marks is the name's."""
    begins, quote, rest = text.partition('"')
    label, _, name = begins.rpartition(":")
    return label, name + quote + rest


def _trimmed(text: str) -> str:
    text = text.strip(_AROUND)
    if text.startswith("(") and (text.endswith(")") or ")" not in text):
        text = text[1:]
    if text.endswith((")", "(")) and text.count("(") != text.count(")"):
        text = text[:-1]
    return text.strip(_AROUND)
