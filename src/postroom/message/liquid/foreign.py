"""Fields of other systems, which go out as they are: found in what a person wrote, each with what to write instead.

What they look like is the table of `dialects`, what is looked at is `visible`. A name that is no usual one is a field only if the
list has it, so a `Tag` is told when the columns are known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

from postroom.message.liquid.dialects import DIALECTS, NOT_SAID, THEIRS, Dialect, advice, column_of, is_usual
from postroom.message.liquid.visible import Visible
from postroom.message.markup.masked import Masked

FOUND_MAX = 100  # different ones that are tags, and as many that may be, of a message
_SHOWN_MAX = 80  # characters of one in its sentence

# Liquid that other systems fill in. Here a field has no parts.
_OUTPUT = re.compile(r"\{\{-?\s*(?P<name>(?P<root>[^\W\d]\w*)(?:\.\w+)*)\s*(?:\|\s*default:\s*[\"'](?P<other>[^\"'\n]*)[\"']\s*)?"
                     r"[|}-]")
_ROOTS = frozenset(("attributes", "company", "contact", "customer", "event", "lead", "member", "organization", "params", "person",
                    "profile", "recipient", "sender", "subscriber", "user"))
_BBCODE_END = re.compile(r"\[/([\w -]{1,40})\]")
_BOUND = re.compile(r"\{%-?\s*(?:assign|capture|for)\s+(\w+)")


@dataclass(frozen=True, slots=True)
class Tag:
    """What is, or may be, a field of another system's, in a part of a message at line and column.

    `liquid_root`: it is read as Liquid, and prints nothing unless the list has a column of that name. `is_fixed`: the part is the
    same for everybody.
    """

    part: str
    line: int
    column: int
    shown: str
    name: str
    other: str = ""
    is_sure: bool = True
    liquid_root: str = ""
    is_fixed: bool = False
    what: str = THEIRS

    def told(self, columns: Collection[str]) -> str:
        """Return the sentence about it where the list has these columns; "" if it is no field then."""
        if self.liquid_root in columns if self.liquid_root else not (self.is_sure or column_of(self.name, columns)):
            return ""
        begins = f'In the {self.part}, line {self.line}, column {self.column}: "{self.shown}" {self.what}, and'
        if self.is_fixed:
            return f"{begins} goes out as it is: the {self.part} is the same for everybody and takes no merge field."
        instead = advice(self.shown, self.name, self.other, columns)
        if self.liquid_root:
            return f"{begins} is blank here" + (f": write {instead}." if instead != NOT_SAID else ".")
        return f"{begins} goes out as it is: " + (f"write {instead}." if instead != NOT_SAID else
                                                  "recipients would read it as it stands.")


def found(written: Mapping[str, str], fixed: Mapping[str, str] | None = None) -> Iterator[Tag]:
    """Yield each tag in the parts of a message, once; `fixed` are the parts that are the same for everybody."""
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for is_fixed, parts in ((False, written), (True, fixed or {})):
        for part, source in parts.items():
            masked = Masked(source, part)
            for (start, end), one, dialect in sorted(_foreign(masked, source), key=itemgetter(0)):
                shown, groups = _shown(source[start:end]), one.groupdict("")
                name = groups.get("name", "").strip()
                is_sure = dialect.is_sure or is_usual(name)
                if shown not in seen[is_sure] and len(seen[is_sure]) < FOUND_MAX:
                    seen[is_sure].add(shown)
                    yield Tag(part, *masked.place(start), shown, name, groups.get("other", ""), is_sure, is_fixed=is_fixed,
                              what=dialect.what)
            if not is_fixed:
                yield from _in_liquid(masked, source, seen[True])


def _foreign(masked: Masked, source: str) -> Iterator[tuple[tuple[int, int], re.Match[str], Dialect]]:
    """Yield where in the source tags stand, none within another; no label of a Markdown link, and no BBCode."""
    visible = Visible(masked, source)
    labels = visible.references | {name.upper() for name in _BBCODE_END.findall(visible.text) if "unsub" not in name.lower()}
    every = ((one, dialect) for dialect in DIALECTS for one in dialect.pattern.finditer(visible.text))
    position = 0
    for one, dialect in sorted(every, key=lambda pair: (pair[0].start(), -pair[0].end())):
        is_label = one[0][0] == "[" and " ".join(one[0][1:-1].split()).upper() in labels
        if one.start() >= position and not is_label:
            position = one.end()
            yield visible.place(one.start(), one.end()), one, dialect


def _in_liquid(masked: Masked, source: str, seen: set[str]) -> Iterator[Tag]:
    bound = set(_BOUND.findall(source))
    for piece in masked.pieces:
        one = _OUTPUT.match(piece.text) if piece.is_output else None
        if one is None or one["root"] in bound or piece.text in seen or len(seen) >= FOUND_MAX:
            continue
        is_way_out = "unsub" in one["name"].lower() and one["name"] != "unsubscribe_url"
        if is_way_out or (one["root"] in _ROOTS and one["name"] != one["root"]):
            seen.add(piece.text)
            yield Tag(masked.field, *masked.place(piece.start), _shown(piece.text), one["name"], one["other"] or "",
                      liquid_root=one["root"])


def _shown(tag: str) -> str:
    tag = " ".join(tag.split())
    return tag if len(tag) <= _SHOWN_MAX else tag[: _SHOWN_MAX - 1] + "…"
