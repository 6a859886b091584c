"""Style sheets inlined: what a sheet says of an element is written into its `style`, for the mail readers that know no sheets.

The HTML stays as it was written but for those attributes, byte by byte, and the sheets stay too. Nobody whose reader knows sheets
sees a difference: of an element only that is written which no rule in any sheet can overrule, whatever its reader's screen, its
state or the values of Liquid are (`sheets.py`).

Which rules are about which elements a library finds out (css-inline). It sees only a skeleton of the HTML (`skeleton.py`) and the
rules as numbers; the cascade is ours. So whatever an HTML parser moves, closes or drops cannot touch the message, and Liquid may
stand where no parser would leave it. Where the skeleton may be other than what a browser makes of the HTML, no rule counts that
looks at more than one element.

Nothing is read from disk or network. Raises `InvalidInput` for what is too deep or too much.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape

from postroom.errors import InvalidInput
from postroom.message.markup import tags
from postroom.message.markup.masked import Masked
from postroom.message.markup.splice import spliced
from postroom.message.prepare import sheets
from postroom.message.prepare.sheets import EVERYTHING, Declaration, Known, Rule
from postroom.message.prepare.skeleton import Skeleton

WORK_MAX = 50_000_000  # elements times characters of sheets: a second or two at worst
MATCHES_MAX = 2_000_000_000  # elements times the square of selectors: some seconds, if all of them select all

_NUMBER = re.compile(r"n(\d+)")
_STYLE_TEST = re.compile(r"""\[\s*style\s*(?:([*^$~|]?)=\s*(?:"([^"]*)"|'([^']*)'|([^\s\]]*))\s*[is]?\s*)?\]""", re.IGNORECASE)


def inlined(masked: Masked) -> str:
    """Return the HTML that `masked` was made of, its Liquid still masked, with its own sheets inlined."""
    skeleton = Skeleton(masked, masked.text)
    _refuse_too_much(skeleton, [sheet.text for sheet in skeleton.sheets], masked.field)
    known = skeleton.known()
    with _readable(masked.field):
        rules = [rule for text, is_certain in skeleton.sheets for rule in _rules(masked, text, known, is_certain=is_certain)]
    tests = [test for sheet in skeleton.sheets for test in _style_tests(sheet.text)]
    return _with_rules(masked.text, skeleton, rules, tests, masked.field)


def with_sheet(masked: Masked, html: str, sheet: str) -> str:
    """Return `html`, which was made of what `masked` masks, with a sheet inlined that is not in it, as far as one can be."""
    skeleton = Skeleton(masked, html)
    _refuse_too_much(skeleton, [sheet], masked.field)
    with _readable(masked.field):
        rules = [rule for rule in _rules(masked, sheet, Known(), is_certain=True) if rule.is_certain]
    return _with_rules(html, skeleton, rules, (), masked.field)


def _rules(masked: Masked, sheet: str, known: Known, *, is_certain: bool) -> list[Rule]:
    """Return the rules of one sheet. One with tags of Liquid in it may be about anybody, whatever it says."""
    if all(piece.is_output for piece in masked.pieces_in(sheet)):
        return sheets.read(sheet, known, is_certain=is_certain, word=masked.word)
    bare = masked.word.sub(lambda word: word[0] if masked.pieces_in(word[0])[0].is_output else " ", sheet)
    return [Rule(EVERYTHING, one.declarations, False) for one in sheets.read(bare, known, is_certain=False, word=masked.word)]


def _with_rules(html: str, skeleton: Skeleton, rules: Sequence[Rule], tests: Sequence[_StyleTest], field: str) -> str:
    import css_inline

    if not any(rule.is_certain for rule in rules):
        return html
    selected: dict[str, list[int]] = {}
    for number, rule in enumerate(rules):
        selected.setdefault(rule.selector, []).append(number)
    if len(skeleton.elements) * len(selected) ** 2 > MATCHES_MAX:
        raise _too_much(len(skeleton.elements), f"{len(selected)} selectors", field)
    numbers_of = list(selected.values())
    numbered = "".join(f"{selector}{{n{number}:1}}" for number, selector in enumerate(selected))
    said = css_inline.inline(skeleton.text, extra_css=numbered, inline_style_tags=False, load_remote_stylesheets=False)
    styles: dict[str, str] = {}  # by what the library says, since most elements are like others
    changes = []
    for element, words in sorted(_said(said, skeleton.mark).items()):
        if words not in styles:
            numbers = sorted(number for found in _NUMBER.findall(words) for number in numbers_of[int(found)])
            styles[words] = _style(sorted((rules[number] for number in numbers), key=lambda rule: rule.specificity))
        tag, written, is_settled = skeleton.elements[element]
        own = written.value if written else ""
        style = styles[words]
        if style and is_settled and not _is_told_apart(own if written else None, style, tests):
            style = style.replace("&", "&amp;").replace('"', "&quot;")
            if written:
                own = own.replace('"', "&quot;")
                changes.append((written.start, written.end, f'style="{style}; {own}"'))
            else:
                changes.append((tag.name_end, tag.name_end, f' style="{style}"'))
    return spliced(html, changes)


def _said(html: str, mark: str) -> dict[int, str]:
    """Return what the library says of each element, by its number: nothing of one that it shows twice, each time another way."""
    said: dict[int, str] = {}
    for tag in tags.read(html):
        given = {one.name: one.value for one in tags.attributes(html, tag)}
        if mark in given:
            words = given.get("style", "")
            number = int(given[mark])
            said[number] = words if said.get(number, words) == words else ""
    return said


def _style(rules: Sequence[Rule]) -> str:
    """Return what the rules about an element, the stronger ones last, come to, but for what an uncertain one may overrule."""
    blocked: dict[bool, frozenset[str]] = {False: frozenset(), True: frozenset()}  # families, by importance
    for one in (one for rule in rules if not rule.is_certain for one in rule.declarations):
        blocked[one.is_important] |= sheets.families(one.name)
    style: dict[tuple[str, bool], list[Declaration]] = {}
    for rule in rules:
        if rule.is_certain:
            own: dict[tuple[str, bool], list[Declaration]] = {}  # a rule may set a property twice, for readers that know less
            for one in rule.declarations:
                if not one.name.startswith("--") and not _is_among(sheets.families(one.name), blocked[one.is_important]):
                    own.setdefault((one.name, one.is_important), []).append(one)
            for key, declarations in own.items():
                style.pop(key, None)
                style[key] = declarations
    return "; ".join(one.text for declarations in style.values() for one in declarations)


def _is_among(families: frozenset[str], blocked: frozenset[str]) -> bool:
    return bool(blocked) and (EVERYTHING in blocked | families or not families.isdisjoint(blocked))


@dataclass(frozen=True, slots=True)
class _StyleTest:
    """What a selector such as `[style*="margin"]` asks of the attribute that inlining writes."""

    operator: str | None
    value: str

    def holds(self, style: str | None) -> bool:
        if style is None or self.operator is None:
            return style is not None
        match self.operator:
            case "*":
                return self.value in style
            case "^":
                return style.startswith(self.value)
            case "$":
                return style.endswith(self.value)
            case "~":
                return self.value in style.split()
            case "|":
                return style == self.value or style.startswith(self.value + "-")
            case _:
                return style == self.value


def _style_tests(sheet: str) -> Iterator[_StyleTest]:
    for found in _STYLE_TEST.finditer(sheet):
        yield _StyleTest(found[1], found[2] or found[3] or found[4] or "")


def _is_told_apart(own: str | None, style: str, tests: Iterable[_StyleTest]) -> bool:
    """Whether a selector would see that a style was put in front of an element's own."""
    before = None if own is None else unescape(own)
    return any(test.holds(before) != test.holds(f"{style}; {before or ''}") for test in tests)


def _refuse_too_much(skeleton: Skeleton, texts: Sequence[str], field: str) -> None:
    size = sum(map(len, texts))
    if len(skeleton.elements) * size > WORK_MAX:
        raise _too_much(len(skeleton.elements), f"{size} characters of style sheets", field)


def _too_much(elements: int, what: str, field: str) -> InvalidInput:
    return InvalidInput(f"There is too much to inline: {elements} elements, {what}.", field=field)


@contextmanager
def _readable(field: str) -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise InvalidInput("A style sheet has too many brackets within each other.", field=field) from None
