"""Style sheets read: which rule is certain to say what of whom, and which only may.

A rule is certain where a look at the message once, before anybody reads it, tells which elements it is about. Not certain are
those under a condition (`@media`, `@supports`, …), those of a state (`:hover`), of what Liquid or a tree that is not certain
decides, and what a browser may know better. For these a wider selector is given, of all whom the rule may be about, and the
families of properties that it sets: nothing of that family can be said of them beforehand.

The syntax is read by a library (tinycss2), so that comments, strings and braces within each other are what they are to a browser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

EVERYTHING = "*"  # as a selector, and as a family of properties
_PLAIN_NAME = re.compile(r"-?[A-Za-z_][\w-]*", re.ASCII)
_PSEUDO_ELEMENTS = frozenset(("after", "before", "first-letter", "first-line", "marker", "placeholder", "selection"))
# States and the like, which browsers know. Others may be unknown to them, and then the whole rule is none.
_STATES = frozenset((
    "active", "any-link", "checked", "disabled", "empty", "enabled", "focus", "focus-visible", "focus-within", "hover", "link",
    "target", "visited",
))  # fmt: skip
_OF_POSITION = frozenset(("first-child", "first-of-type", "last-child", "last-of-type", "only-child", "only-of-type", "root"))
_COUNTED = frozenset(("nth-child", "nth-last-child", "nth-last-of-type", "nth-of-type"))
_COMBINATORS = (">", "+", "~")
_OPERATORS = ("=", "~=", "|=", "^=", "$=", "*=")
_CHANGED_HERE = frozenset(("class", "id", "style"))  # attributes that preparing changes, or that are compared in other ways
_VENDOR = re.compile(r"\A-[a-z]+-")
# Properties that set others, or that are set by them, though their first words differ; by the first of theirs.
_RELATED = {
    "block": ("height", "width"), "color": ("print",), "column": ("break",), "columns": ("column",),
    "gap": ("row", "column", "grid"), "grid": ("row", "column"), "inline": ("height", "width"),
    "inset": ("top", "right", "bottom", "left"), "line": ("font",), "logical": ("height", "width"), "page": ("break",),
    "place": ("align", "justify"), "rule": ("row", "column"), "vertical": ("alignment", "baseline"), "white": ("text",),
    "word": ("overflow",),
}  # fmt: skip


class Declaration(NamedTuple):
    name: str
    value: str
    is_important: bool

    @property
    def text(self) -> str:
        return f"{self.name}: {self.value}{' !important' if self.is_important else ''}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a sheet says of whoever `selector` selects. One that is not certain only may say that.

    `specificity` counts ids, classes and their like, and names of elements (Selectors 4, 16).
    """

    selector: str
    declarations: Sequence[Declaration]
    is_certain: bool
    specificity: tuple[int, int, int] = (0, 0, 0)


class Known(NamedTuple):
    """What is known of the elements: whether they are within each other, beside each other and have the attributes as they stand
    there. `varied` is the mark of those whose class Liquid may make, "" where there are none; `ambiguous` are names of classes
    and ids, in small letters, that are written in several ways: without a doctype they are the same.
    """

    tree: bool = True
    siblings: bool = True
    attributes: bool = True
    varied: str = ""
    ambiguous: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Selector:
    """One selector of a rule. `last` is its last compound as far as its name, classes and id go, `name` the name alone, and
    `is_begun` whether there is anything of it; `is_valid` whether browsers are known to read all; one of a pseudo-element is
    about no element."""

    text: str = ""
    last: str = ""
    name: str = EVERYTHING
    is_begun: bool = False
    is_certain: bool = True
    is_valid: bool = True
    is_of_element: bool = True
    has_class_before: bool = False
    has_class: bool = False
    specificity: tuple[int, int, int] = (0, 0, 0)

    @property
    def wider(self) -> str:
        return self.last or EVERYTHING


def families(name: str) -> frozenset[str]:
    """Return the families of a property: two that share one may set the same."""
    if name == "all":
        return frozenset((EVERYTHING,))
    first = _VENDOR.sub("", name).partition("-")[0]
    return frozenset((first or name, *_RELATED.get(first, ())))


def read(sheet: str, known: Known, *, is_certain: bool, word: re.Pattern[str]) -> list[Rule]:
    """Return the rules of a sheet in order. `word` finds what stands there for Liquid; a sheet in which that decides about more
    than values may say anything of anybody."""
    import tinycss2

    nodes = tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)
    is_certain &= not any(node.type == "at-rule" and node.lower_at_keyword == "namespace" for node in nodes)
    rules = list(_rules(nodes, known, is_certain=is_certain))
    in_values = {found for rule in rules for one in rule.declarations for found in word.findall(one.value)}
    if in_values != set(word.findall(sheet)):
        rules.append(Rule(EVERYTHING, [Declaration("all", "", False), Declaration("all", "", True)], False))
    return rules


def names_in(sheet: str) -> Iterator[str]:
    """Yield whatever may be the name of a class or an id."""
    return (found[1] for found in re.finditer(r"[.#]([\w-]+)", sheet))


def _rules(nodes: Iterable[Any], known: Known, *, is_certain: bool, within: Sequence[str] = ()) -> Iterator[Rule]:
    """Yield the rules of parsed nodes, which stand in a rule of the selectors `within`, if there are any."""
    import tinycss2

    for node in nodes:
        if node.type == "at-rule" and node.content is not None:
            parse = tinycss2.parse_blocks_contents if within else tinycss2.parse_rule_list
            content = parse(node.content, skip_comments=True, skip_whitespace=True)
            yield from (Rule(one, _declarations(content), False) for one in within)
            yield from _rules(content, known, is_certain=False, within=within)
        elif node.type == "qualified-rule":
            content = tinycss2.parse_blocks_contents(node.content, skip_comments=True, skip_whitespace=True)
            selectors = [_selector(one, known) for one in _parted(node.prelude)]
            applies = is_certain and not within and all(one.is_valid for one in selectors)
            for one in selectors:
                if one.is_of_element:
                    yield from _rules_of(one, _declarations(content), known, is_certain=applies and one.is_certain)
            yield from _rules(content, known, is_certain=False, within=[one.wider for one in selectors])


def _rules_of(one: _Selector, declarations: Sequence[Declaration], known: Known, *, is_certain: bool) -> Iterator[Rule]:
    """Yield what a selector comes to: a rule that is certain, and those of whom else it may select."""
    if is_certain:
        yield Rule(one.text, declarations, True, one.specificity)
    else:
        yield Rule(one.wider, declarations, False)
    if known.varied and one.has_class:
        yield Rule(f"{one.name}[{known.varied}]", declarations, False)
    if known.varied and one.has_class_before:
        yield Rule(f"[{known.varied}] {one.wider}", declarations, False)


def _declarations(nodes: Iterable[Any]) -> list[Declaration]:
    """Return the declarations among parsed nodes, but for those that no browser reads."""
    import tinycss2

    return [
        Declaration(node.lower_name, tinycss2.serialize(node.value).strip(), node.important)
        for node in nodes
        if node.type == "declaration" and not any(one.type in ("error", "{} block") for one in _every(node.value))
    ]


def _every(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        yield node
        yield from _every(getattr(node, "arguments", None) or getattr(node, "content", None) or ())


def _parted(prelude: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the selectors of a list, each as its tokens without white space at its ends: none of them where one is missing."""
    ends = [place for place, node in enumerate(prelude) if node == ","]
    for start, end in zip([0, *(place + 1 for place in ends)], [*ends, len(prelude)], strict=True):
        one = list(prelude[start:end])
        while one and one[0].type == "whitespace":
            one.pop(0)
        while one and one[-1].type == "whitespace":
            one.pop()
        yield one


def _selector(tokens: Sequence[Any], known: Known) -> _Selector:
    made = _Selector(is_valid=_is_combined(tokens), is_of_element=bool(tokens))
    ids = classes = names = 0
    rest = iter(tokens)
    for node in rest:
        made.text += node.serialize()
        made.is_valid &= made.is_of_element  # hardly anything may follow the name of a pseudo-element
        was_begun, made.is_begun = made.is_begun, True
        match node.type, getattr(node, "value", ""):
            case ("whitespace", _) | ("literal", ">" | "+" | "~"):
                is_of_siblings = node in ("+", "~")  # the second takes the library quadratic time
                made.is_certain &= known.tree and node != "~" and not (is_of_siblings and (known.varied or not known.siblings))
                made.has_class_before |= made.has_class
                made.last, made.name, made.has_class = "", EVERYTHING, False
                made.is_begun = False
            case "ident", name if not was_begun:
                made.last = made.name = name
                names += 1
            case "literal", "*" if not was_begun:
                pass
            case "hash", name:
                made.has_class = True
                made.is_valid &= node.is_identifier
                _add_name(made, "#", name, known)
                ids += 1
            case "literal", ".":
                name = next(rest, None)
                made.text += name.serialize() if name else ""
                made.has_class = True
                made.is_valid &= name is not None and name.type == "ident"
                _add_name(made, ".", getattr(name, "value", ""), known)
                classes += 1
            case "[] block", _:
                about = next((one.lower_value for one in node.content if one.type == "ident"), "")
                made.is_certain &= known.attributes and about not in _CHANGED_HERE
                made.is_valid &= _is_test(node.content)
                classes += 1
            case "literal", ":":
                made.text += _add_pseudo(made, rest, known)
                classes += 1
            case _:
                made.is_certain = made.is_valid = False
    made.specificity = ids, classes, names
    return made


def _is_combined(tokens: Iterable[Any]) -> bool:
    """Whether something stands on both sides of each combinator."""
    are_combinators = [node in _COMBINATORS for node in tokens if node.type != "whitespace"]
    return bool(are_combinators) and not (
        are_combinators[0] or are_combinators[-1] or any(both == (True, True) for both in pairwise(are_combinators)))


def _is_test(content: Iterable[Any]) -> bool:
    """Whether what stands in brackets asks for an attribute in a way that every browser reads."""
    match [node for node in content if node.type not in ("whitespace", "comment")]:
        case [name, operator, value, *flags]:
            return (
                name.type == "ident" and operator in _OPERATORS and value.type in ("ident", "string")
                and [getattr(flag, "lower_value", "") for flag in flags] in ([], ["i"])
            )
        case [name]:
            return bool(name.type == "ident")
    return False


def _add_name(made: _Selector, sign: str, name: str, known: Known) -> None:
    if _PLAIN_NAME.fullmatch(name) and name.lower() not in known.ambiguous:
        made.last += sign + name
    else:
        made.is_certain = False


def _add_pseudo(made: _Selector, rest: Iterator[Any], known: Known) -> str:
    """Read what follows a colon, and return it as it is written."""
    from tinycss2.nth import parse_nth

    node = next(rest, None)
    if node is None:
        made.is_certain = made.is_valid = False
        return ""
    text = str(node.serialize())
    if node == ":":
        name = next(rest, None)
        made.is_of_element = False
        made.is_valid &= getattr(name, "lower_value", "") in _PSEUDO_ELEMENTS
        return text
    name = getattr(node, "lower_value", "") or getattr(node, "lower_name", "")
    arguments = getattr(node, "arguments", None)
    if (name in _OF_POSITION and arguments is None) or (name in _COUNTED and arguments and parse_nth(arguments)):
        made.is_certain &= known.tree and known.siblings
    elif name in _PSEUDO_ELEMENTS and arguments is None:
        made.is_of_element = False
    else:
        made.is_certain = False
        made.is_valid &= name in _STATES and arguments is None
    return text
