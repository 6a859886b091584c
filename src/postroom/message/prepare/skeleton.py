"""The elements of an HTML and nothing else, marked and closed, so that every parser reads the same; and what of that is certain.

It is read once, whatever branches Liquid takes later. Where a browser may put elements into each other in another way, by its
rules for broken HTML or because Liquid leaves a tag out, the tree is not certain (`Known`).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from postroom.errors import InvalidInput
from postroom.message.markup import tags
from postroom.message.markup.masked import Masked
from postroom.message.markup.tags import Attribute, Tag
from postroom.message.prepare.sheets import Known, names_in

DEPTH_MAX = 200  # elements within each other; css-inline is safe for some thousands
FORMATTING_MAX = 32  # `<b>` and its like within each other: a parser may open all of them again in each block
ELEMENTS_MAX = 20_000

_ADDS_ELEMENTS = re.compile(r"\|\s*(?:safe|newline_to_br)\b")
_MOVES_ELEMENTS = re.compile(r"\{%-?\s*(?:capture|tablerow)\b")
_NAME = re.compile(r"[\w:@.-]+")
# fmt: off
_ENDS_PARAGRAPH = frozenset((
    "address", "article", "aside", "blockquote", "center", "div", "dl", "fieldset", "footer", "form", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul",
))
# Whoever ends without an end tag and is none of these is put elsewhere, or opened again, by browsers.
_OPTIONAL_END = frozenset((
    "body", "caption", "colgroup", "dd", "dt", "head", "html", "li", "optgroup", "option", "p", "tbody", "td", "tfoot", "th",
    "thead", "tr",
))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_FOREIGN = frozenset(("math", "svg"))
_UNSURE = _FOREIGN | {"noscript", "template"}  # a sheet in one of these may count or not
_FORMATTING = frozenset(("a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"))
# fmt: on
_CELLS = frozenset(("td", "th"))
_ROW_GROUPS = frozenset(("tbody", "tfoot", "thead"))
_OF_TABLES = _CELLS | _ROW_GROUPS | {"caption", "col", "colgroup", "script", "style", "tr"}
_ENDS = {  # elements that end where one of these begins, if they were not closed
    **dict.fromkeys(_ENDS_PARAGRAPH, frozenset(("p",))),
    **dict.fromkeys(("dd", "dt"), frozenset(("p", "dd", "dt"))),
    **dict.fromkeys(_CELLS, _CELLS),
    **dict.fromkeys(_ROW_GROUPS, _CELLS | _ROW_GROUPS | {"tr"}),
    **{name: frozenset((name,)) for name in ("a", "button", "nobr", "option")},
    "li": frozenset(("p", "li")),
    "tr": _CELLS | {"tr"},
}
_ENCLOSES = frozenset(("button", "caption", "dl", "ol", "select", "table", "ul"))  # nothing outside ends because of what is in it


class Element(NamedTuple):
    """An element by its start tag; `written` is its own style, if any; one that is not `settled` Liquid may give another."""

    tag: Tag
    written: Attribute | None
    settled: bool


class Sheet(NamedTuple):
    text: str
    is_certain: bool  # it counts for every reader


class _Open(NamedTuple):
    name: str
    branch: int


class Skeleton:
    """The elements of `html`, which was made of what `masked` masks: `text` has each marked with its number in `elements`."""

    def __init__(self, masked: Masked, html: str) -> None:
        self.mark = masked.prefix + "mark"
        self.elements: list[Element] = []
        self.sheets: list[Sheet] = []
        self._masked = masked
        self._html = html
        self._out: list[str] = []
        self._open: list[_Open] = []
        self._names: list[str] = []  # of classes and ids
        self._is_sheet_certain = False
        self._has_tree = not any(_MOVES_ELEMENTS.match(piece.text) for piece in masked.pieces)
        self._has_attributes = True
        self._has_varied = False
        self._read()
        self.text = "".join(self._out)

    def known(self) -> Known:
        """Return what is certain of the elements."""
        names = {*self._names, *(name for sheet in self.sheets for name in names_in(sheet.text))}
        spellings = Counter(name.lower() for name in names)
        return Known(
            tree=self._has_tree,
            siblings=not any(not piece.is_output or _ADDS_ELEMENTS.search(piece.text) for piece in self._masked.pieces),
            attributes=self._has_attributes,
            varied=self._varied if self._has_varied else "",
            ambiguous=frozenset(name for name, count in spellings.items() if count > 1),
        )

    @property
    def _varied(self) -> str:
        return self.mark + "v"

    def _read(self) -> None:
        position = 0
        for tag in tags.read(self._html):
            self._keep_sheet(position, tag.start)
            position = tag.end
            if tag.is_end:
                self._end(tag)
            elif tag.name not in ("!", "plaintext"):
                self._begin(tag)
        self._keep_sheet(position, len(self._html))
        self._has_tree &= all(one.branch == 0 for one in self._open)
        self._write_ends(0)

    def _keep_sheet(self, start: int, end: int) -> None:
        if self._open and self._open[-1].name == "style":
            self.sheets.append(Sheet(self._html[start:end], self._is_sheet_certain))

    def _begin(self, tag: Tag) -> None:
        self._end_before(tag)
        self._refuse_too_deep(tag.name)
        word = self._masked.word
        given = list(tags.attributes(self._html, tag))
        outside = [piece for one in given for piece in self._masked.pieces_in(one.name)]
        is_varied = bool(outside) or any(one.name in ("class", "id") and word.search(one.value) for one in given)
        has_own_name = not word.search(tag.name)
        self._has_varied |= is_varied
        self._has_attributes &= not any(word.search(self._html, one.start, one.end) for one in given)
        self._has_tree &= has_own_name
        self._names += (name for one in given if one.name in ("class", "id") for name in one.value.split())
        if tag.name == "style":
            self._is_sheet_certain = not outside and self._is_certain(tag, {one.name: one.value.strip().lower() for one in given})
        kept = "".join(
            f' {one.name}="{one.value.replace(chr(34), "&quot;")}"'
            for one in given
            if _NAME.fullmatch(one.name) and one.name not in ("style", "data-css-inline")
        )
        varied = f" {self._varied}" if is_varied else ""
        self._out.append(f'<{tag.name} {self.mark}="{len(self.elements)}"{varied}{kept}>')
        written = next((one for one in given if one.name == "style"), None)
        may_get_style = any(piece.is_output for piece in outside)
        may_get_style |= any(one.name != "style" == word.sub("", one.name) for one in given)
        self.elements.append(Element(tag, written, has_own_name and not may_get_style))
        if tag.name not in tags.VOID:
            self._open.append(_Open(tag.name, self._masked.branch(tag.start)))
            if tag.is_empty:
                self._has_tree &= any(one.name in _FOREIGN for one in self._open)  # HTML takes it for a start tag
                self._write_ends(len(self._open) - 1)

    def _is_certain(self, tag: Tag, given: dict[str, str]) -> bool:
        return (
            given.get("media", "") in ("", "all")
            and given.get("type", "") in ("", "text/css")
            and "title" not in given
            and self._masked.branch(tag.start) == 0
            and not any(one.name in _UNSURE for one in self._open)
        )

    def _end(self, tag: Tag) -> None:
        depth = next((depth for depth in reversed(range(len(self._open))) if self._open[depth].name == tag.name), None)
        if depth is None:
            self._has_tree &= tag.name not in ("p", "br")  # which make an element
        else:
            self._close(depth, tag, implied_from=depth + 1)

    def _end_before(self, tag: Tag) -> None:
        """Close what ends where an element begins; put what no table may hold into a cell, not in front of it."""
        ended = _ENDS.get(tag.name, frozenset())
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth].name in ended:
                self._has_tree &= tag.name != "table"  # that stays within a paragraph where there is no doctype
                self._close(depth, tag, implied_from=depth)
            elif self._open[depth].name in _ENCLOSES:
                break
        within = self._open[-1].name if self._open else ""
        if tag.name not in _OF_TABLES and within in _ROW_GROUPS | {"table", "tr"}:
            self._has_tree = False
            self._out.append("<td>")
            self._open.append(_Open("td", self._masked.branch(tag.start)))
        is_odd = (tag.name == "form" and any(one.name == "form" for one in self._open)) or within == "select"
        self._has_tree &= not (is_odd or (tag.name in _HEADINGS and within in _HEADINGS))

    def _close(self, depth: int, tag: Tag, *, implied_from: int) -> None:
        """Close what is open from `depth` on; from `implied_from` on nothing says so."""
        branch = self._masked.branch(tag.start)
        self._has_tree &= all(one.branch == branch for one in self._open[depth:])
        self._has_tree &= all(one.name in _OPTIONAL_END for one in self._open[implied_from:])
        self._write_ends(depth)

    def _write_ends(self, depth: int) -> None:
        while len(self._open) > depth:
            self._out.append(f"</{self._open.pop().name}>")

    def _refuse_too_deep(self, name: str) -> None:
        field = self._masked.field
        if len(self._open) >= DEPTH_MAX:
            raise InvalidInput(f"The HTML has more than {DEPTH_MAX} elements within each other.", field=field)
        if name in _FORMATTING and sum(one.name in _FORMATTING for one in self._open) == FORMATTING_MAX:
            raise InvalidInput(
                f"The HTML has more than {FORMATTING_MAX} elements like <{name}> within each other.", field=field
            )
        if len(self.elements) == ELEMENTS_MAX:
            raise InvalidInput(f"The HTML has more than {ELEMENTS_MAX} elements, too many to inline its styles.", field=field)
