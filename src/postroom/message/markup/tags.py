"""HTML read tag by tag: as browsers do where it matters, and in time linear in its size, which `html.parser` is not.

Nothing is a fault; a tag, a comment or a quoted value that never ends reaches to the end, as HTML has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from postroom.message.markup.splice import spliced

# fmt: off
VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"))
_TEXT_ONLY = frozenset(("iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"))
# Components that end in HTML of the writer's own, or in plain text: for MJML they hold no elements.
TEXT_ONLY_MJML = frozenset((
    "mj-accordion-text", "mj-accordion-title", "mj-button", "mj-navbar-link", "mj-preview", "mj-raw", "mj-social-element",
    "mj-style", "mj-table", "mj-text", "mj-title",
))
# fmt: on
_REST = r"""(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+|(?=>)))*+>"""
_TAG = re.compile(r"</?([A-Za-z][^\s/>]*+)" + _REST)
_TAG_MJML = re.compile(r"</?([^\s/>!?<][^\s/>]*+)" + _REST)
_COMMENT_END = re.compile(r"--!?>")
_ATTRIBUTE = re.compile(r"""([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+("[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+))?+""")
_LETTER = re.compile(r"[A-Za-z]")


class Tag(NamedTuple):
    """A tag from `start` to `end`, its name in small letters; "!" for a comment, a doctype and the like."""

    start: int
    end: int
    name: str
    is_end: bool
    is_empty: bool  # an element that holds nothing: `<br>`, `<o:p/>`

    @property
    def name_end(self) -> int:
        return self.start + 1 + len(self.name)


class Attribute(NamedTuple):
    """An attribute from `start` to `end`; `value` as it stands there, without quotes; `quote` is what stands around it, or ""."""

    start: int
    end: int
    name: str
    value: str
    quote: str


def read(source: str, *, mjml: bool = False) -> Iterator[Tag]:
    """Yield the tags in order; what stands between them is text. MJML is XML: any character may begin a name."""
    pattern, text_only = (_TAG_MJML, TEXT_ONLY_MJML) if mjml else (_TAG, _TEXT_ONLY)
    position = 0
    while (start := source.find("<", position)) >= 0:
        if source.startswith(("<!", "<?"), start) or (not mjml and _is_bogus_end(source, start)):
            end = _comment_end(source, start)
            yield Tag(start, end, "!", False, True)
            position = end
            continue
        found = pattern.match(source, start)
        if found is None:
            following = source[start + 2 : start + 3] if source.startswith("</", start) else source[start + 1 : start + 2]
            if following and (mjml or _LETTER.match(following)):
                yield Tag(start, len(source), "!", False, True)  # a tag that never ends
                return
            position = start + 1
            continue
        name = found[1].lower()
        is_end = source[start + 1] == "/"
        is_empty = not is_end and (name in VOID or source[found.end() - 2] == "/")
        yield Tag(start, found.end(), name, is_end, is_empty)
        position = found.end()
        if name in text_only and not is_end and not is_empty:
            text_end = re.compile(rf"</{re.escape(name)}(?=[\s/>])", re.IGNORECASE).search(source, position)
            position = text_end.start() if text_end else len(source)
        elif name == "plaintext":
            return


def attributes(source: str, tag: Tag) -> Iterator[Attribute]:
    """Yield what a start tag gives; the first of a name counts."""
    for found in _ATTRIBUTE.finditer(source, tag.name_end, tag.end - 1):
        value = found[2] or ""
        quote = value[0] if value[:1] in ("'", '"') else ""
        yield Attribute(found.start(), found.end(), found[1].lower(), value[1:-1] if quote else value, quote)


def spaced(source: str, tag: Tag) -> str:
    """Return the tag, with a space where an attribute follows a quote at once: stricter readers than browsers want one."""
    glued = [one.start - tag.start for one in attributes(source, tag) if source[one.start - 1] in ("'", '"')]
    return spliced(source[tag.start : tag.end], ((start, start, " ") for start in glued))


def _is_bogus_end(source: str, start: int) -> bool:
    """`</` before anything but a letter opens a comment."""
    return source.startswith("</", start) and start + 2 < len(source) and not _LETTER.match(source, start + 2)


def _comment_end(source: str, start: int) -> int:
    if not source.startswith("<!--", start) or source.startswith((">", "->"), start + 4):
        end = source.find(">", start) + 1
    else:
        found = _COMMENT_END.search(source, start + 4)
        end = found.end() if found else 0
    return end or len(source)
