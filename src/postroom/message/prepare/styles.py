"""Style sheets inlined: what a sheet says of an element is written into its `style`, for the mail readers that know no sheets.

The HTML stays as it was written but for those attributes, byte by byte. The library (css-inline) sees only a skeleton of it, made
here: each element marked and closed, without texts and without the styles that it has already. So whatever an HTML parser
moves, closes or drops cannot touch the message, and Liquid may stand where no parser would leave it. The styles that are found go
in front of those that were written, which is their order in the cascade.

The sheets stay too, for what cannot be inlined: media queries, `:hover`, classes that Liquid makes. Not inlined are a sheet with
Liquid tags in it, which decide about more than a value, and selectors that take more than linear time (`:not(…)`, `a ~ b`, …).
Nothing is read from disk or network. Raises `InvalidInput` for what is too deep or too much.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from postroom.errors import InvalidInput
from postroom.message.markup import tags
from postroom.message.markup.masked import Masked
from postroom.message.markup.splice import spliced
from postroom.message.markup.tags import Attribute, Tag

DEPTH_MAX = 200  # elements within each other; css-inline is safe for some thousands
FORMATTING_MAX = 32  # `<b>` and its like within each other: a parser may open all of them again in each block
ELEMENTS_MAX = 20_000
WORK_MAX = 50_000_000  # elements times characters of sheets: a second or two at worst
PROPERTIES_MAX = 300  # names in front of a colon

_PUNCTUATION = re.compile(r"([{};])")
_COSTLY = re.compile(r"~(?!=)|\\|\((?!\s*(?:odd|even|[\dn+\-\s]+)\s*\))")
_WORD = re.compile(r"[^\s{};:]++(?:\s*+:)?")
# fmt: off
_TEXTLESS = frozenset((
    "colgroup", "head", "html", "iframe", "noembed", "noframes", "script", "select", "style", "table", "tbody", "textarea",
    "tfoot", "thead", "title", "tr", "xmp",
))
_ENDS_PARAGRAPH = frozenset((
    "address", "article", "aside", "blockquote", "center", "div", "dl", "fieldset", "footer", "form", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul",
))
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


def inlined(masked: Masked, html: str, extra: str = "", *, only_extra: bool = False) -> str:
    """Return `html`, whose Liquid `masked` has taken out, with its sheets inlined and with `extra`, a sheet that is not in it."""
    import css_inline

    mark = masked.prefix + "mark"
    skeleton = _Skeleton(mark, masked, keeps_sheets=not only_extra)
    skeleton.read(html)
    sheets = [*skeleton.sheets, extra]
    if not any(sheet.strip() for sheet in sheets):
        return html
    _refuse_too_much(len(skeleton.elements), sheets, masked.field)
    try:
        styled = css_inline.inline("".join(skeleton.out), extra_css=_cheap(extra), load_remote_stylesheets=False)
    except ValueError as error:
        raise InvalidInput(f"The style sheet cannot be read: {error}.", field=masked.field) from error
    return _with_styles(html, skeleton.elements, _styles(styled, mark))


@dataclass(slots=True)
class _Skeleton:
    """The elements of an HTML and nothing else, in a form that every parser reads the same."""

    mark: str
    masked: Masked
    keeps_sheets: bool
    out: list[str] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    elements: list[tuple[Tag, Attribute | None]] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    def read(self, html: str) -> None:
        position = 0
        for tag in tags.read(html):
            self._add_text(html[position : tag.start])
            position = tag.end
            if tag.is_end:
                if tag.name in self._open:
                    self._close(len(self._open) - 1 - self._open[::-1].index(tag.name))
            elif tag.name not in ("!", "plaintext"):
                self._add_element(html, tag)
        self._close(0)

    def _add_text(self, text: str) -> None:
        within = self._open[-1] if self._open else ""
        if within == "style" and self.keeps_sheets and all(piece.is_output for piece in self.masked.pieces_in(text)):
            self.sheets.append(text)
            self.out.append(_cheap(text))
        elif within not in _TEXTLESS and text.strip():
            self.out.append("x")  # so that no element is empty that was not

    def _add_element(self, html: str, tag: Tag) -> None:
        self._end_before(tag.name)
        self._refuse_too_deep(tag.name)
        written = next((one for one in tags.attributes(html, tag) if one.name == "style"), None)
        rest = html[tag.name_end : tag.end - 1]
        if written:
            rest = html[tag.name_end : written.start] + html[written.end : tag.end - 1]
        self.out.append(f'<{tag.name} {self.mark}="{len(self.elements)}"{rest.rstrip(" /")}>')
        self.elements.append((tag, written))
        if tag.name not in tags.VOID:
            self._open.append(tag.name)
            if tag.is_empty:
                self._close(len(self._open) - 1)

    def _end_before(self, name: str) -> None:
        """Close what ends where an element of that name begins; put what no table may hold into a cell, not in front of it."""
        ended = _ENDS.get(name, frozenset())
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth] in ended:
                self._close(depth)
            elif self._open[depth] in _ENCLOSES:
                break
        if name not in _OF_TABLES and self._open and self._open[-1] in _ROW_GROUPS | {"table", "tr"}:
            self.out.append("<td>")
            self._open.append("td")

    def _refuse_too_deep(self, name: str) -> None:
        if len(self._open) >= DEPTH_MAX:
            raise InvalidInput(f"The HTML has more than {DEPTH_MAX} elements within each other.", field=self.masked.field)
        if name in _FORMATTING and sum(one in _FORMATTING for one in self._open) == FORMATTING_MAX:
            raise InvalidInput(
                f"The HTML has more than {FORMATTING_MAX} elements like <{name}> within each other.", field=self.masked.field
            )
        if len(self.elements) == ELEMENTS_MAX:
            raise InvalidInput(
                f"The HTML has more than {ELEMENTS_MAX} elements, too many to inline its styles.", field=self.masked.field
            )

    def _close(self, depth: int) -> None:
        while len(self._open) > depth:
            self.out.append(f"</{self._open.pop()}>")


def _cheap(sheet: str) -> str:
    """Return the sheet without the rules whose selectors can take quadratic time or more: "!" is no selector."""
    parts = _PUNCTUATION.split(sheet)
    for index in range(0, len(parts) - 1, 2):
        if parts[index + 1] == "{" and _COSTLY.search(parts[index]):
            parts[index] = "!"
    return "".join(parts)


def _refuse_too_much(elements: int, sheets: list[str], field: str) -> None:
    size = sum(map(len, sheets))
    if elements * size > WORK_MAX:
        raise InvalidInput(f"There is too much to inline: {elements} elements, {size} characters of style sheets.", field=field)
    if len({word for sheet in sheets for word in _WORD.findall(sheet) if word.endswith(":")}) > PROPERTIES_MAX:
        raise InvalidInput(f"The style sheets set more than {PROPERTIES_MAX} different properties.", field=field)


def _styles(styled: str, mark: str) -> dict[int, str]:
    """Return what was inlined, by the number of the element."""
    styles: dict[int, str] = {}
    for tag in tags.read(styled):
        given = {one.name: one.value for one in tags.attributes(styled, tag)}
        if mark in given and "style" in given:
            styles.setdefault(int(given[mark]), given["style"].strip("; ").replace("&", "&amp;"))
    return styles


def _with_styles(html: str, elements: list[tuple[Tag, Attribute | None]], styles: dict[int, str]) -> str:
    changes = []
    for number, style in sorted(styles.items()):
        tag, written = elements[number]
        if written:
            own = written.value.replace('"', "&quot;")
            changes.append((written.start, written.end, f'style="{style}; {own}"'))
        else:
            changes.append((tag.name_end, tag.name_end, f' style="{style}"'))
    return spliced(html, changes)
