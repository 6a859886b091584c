"""MJML made into HTML by a library (mrml) that is given only what it reads and writes as the mjml package does.

What a component such as `<mj-text>` holds is HTML of the writer's own, or plain text, which MJML passes through unread: the
library gets a word for it. So it does for each character of an attribute, but for the plainest, since it writes the others
as a programmer would (`\\n`, `\\u{fe0f}`). Both are put back into what it made.

Fails with `InvalidInput`, with line and column: an element that MJML does not know, `<mj-include>`, a second body, elements that
are not closed, and whatever the library cannot read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from postroom.errors import InvalidInput
from postroom.message.markup import tags
from postroom.message.markup.masked import Masked
from postroom.message.markup.tags import Tag
from postroom.message.prepare.skeleton import DEPTH_MAX

# fmt: off
_COMPONENTS = tags.TEXT_ONLY_MJML | {
    "mj-accordion", "mj-accordion-element", "mj-all", "mj-attributes", "mj-body", "mj-breakpoint", "mj-carousel",
    "mj-carousel-image", "mj-class", "mj-column", "mj-divider", "mj-font", "mj-group", "mj-head", "mj-hero", "mj-image",
    "mj-navbar", "mj-section", "mj-social", "mj-spacer", "mj-wrapper", "mjml",
}
# fmt: on
_NOT_TAKEN = {
    "mj-include": "nothing is read from elsewhere: put what it names in its place",
    **dict.fromkeys(
        ("mj-html-attribute", "mj-html-attributes", "mj-selector"), "it is not supported: give the attributes in the HTML"
    ),
}
_ONCE = frozenset(("mjml", "mj-head", "mj-body"))
_PLAIN_TEXT = frozenset(("mj-preview", "mj-title"))  # the title comes out as an attribute too
_UNPLAIN = re.compile(r"[^ !#%'()*+,\-./0-9:;=?@A-Z_a-z|~]")
_ATTRIBUTE_NAME = re.compile(r"[a-z_:][\w:.-]*")
# Where an image has none, readers of mail name its file. No value that the library saw holds a ">".
_NO_ALTERNATIVE = re.compile(r"<img(?=\s)(?![^>]*\salt=)")
_POSITION = re.compile(r" in root template at position (\d+):\d+")


def to_html(masked: Masked) -> tuple[str, str]:
    """Return the HTML, its Liquid still masked, and the sheets that are to be inlined into it."""
    import mrml

    source = _Source(masked)
    try:
        # No fonts but those of mj-font: a reader of the message asks nobody whom its author did not name.
        made = mrml.to_html(source.text, mrml.ParserOptions(include_loader=mrml.noop_loader()), mrml.RenderOptions(fonts={}))
    except OSError as error:
        raise source.unreadable(str(error)) from error
    return source.restored(_NO_ALTERNATIVE.sub('<img alt=""', made.content), quote="&quot;"), source.sheet


class _Source:
    """The MJML as the library gets it (`text`), with a word for each piece that it must not see, and the sheets taken out of it.

    Liquid between the components becomes comments, which stand anywhere.
    """

    def __init__(self, masked: Masked) -> None:
        self._masked = masked
        self._contents: list[str] = []
        self._word = re.compile(rf"(?:<!--)?{masked.prefix}c(\d+)q(?:-->)?|{masked.prefix}x([0-9a-f]+)q")
        sheets: list[str] = []
        parts: list[str] = []
        position = 0
        start: Tag | None = None  # of the component whose content is next
        for tag in _checked(masked):
            between = masked.text[position : tag.start]
            position = tag.end
            if start and _is_inline(masked.text, start) and all(piece.is_output for piece in masked.pieces_in(between)):
                sheets.append(between)
                parts[-1] = f"<!--{self._kept(masked.text[start.start : tag.end])}-->"
            else:
                parts += self._content(start, between), self._plain_tag(tag)
            start = tag if tag.name in tags.TEXT_ONLY_MJML and not tag.is_end and not tag.is_empty else None
        self.sheet = "\n".join(sheets)
        self.text = "".join(parts)

    def restored(self, text: str, *, quote: str) -> str:
        """Return the text with everything in the place of its words; `quote` stands for `"`, which may end an attribute."""

        def piece(word: re.Match[str]) -> str:
            return self._contents[int(word[1])] if word[1] else chr(int(word[2], 16)).replace('"', quote)

        return self._word.sub(piece, text)

    def unreadable(self, words: str) -> InvalidInput:
        found = _POSITION.search(words)
        what = _POSITION.sub("", words).replace(" in root template", "")
        if not found:
            return InvalidInput(f"The MJML cannot be read: {what}.", field="mjml")
        before = self.text.encode("utf-8")[: int(found[1])].decode("utf-8", "ignore")
        return _fault(self._masked, self.restored(before, quote='"'), what)

    def _content(self, start: Tag | None, content: str) -> str:
        if start is None:
            return self._masked.as_comments(content)
        if start.name in _PLAIN_TEXT:
            return self._plain(content)
        if not content.strip():
            return content
        return self._kept(content)

    def _kept(self, content: str) -> str:
        self._contents.append(content)
        return f"{self._masked.prefix}c{len(self._contents) - 1}q"

    def _plain_tag(self, tag: Tag) -> str:
        text = self._masked.text
        if tag.name == "!":
            whole = text[tag.start : tag.end]
            return whole if whole.startswith("<!--") else " " * len(whole)  # a prologue of XML
        if tag.is_end:
            return f"</{tag.name}>"
        given: dict[str, str] = {}
        for one in tags.attributes(text, tag):
            if not _ATTRIBUTE_NAME.fullmatch(one.name):
                raise _fault(self._masked, text[: one.start], "no attribute can have this name")
            # Of several classes the last counts, and for the library the first.
            value = " ".join(reversed(one.value.split())) if one.name == "mj-class" else one.value
            given.setdefault(one.name, f'{one.name}="{self._plain(value)}"' if value or one.quote else one.name)
        return " ".join([f"<{tag.name}", *given.values()]) + ("/>" if tag.is_empty else ">")

    def _plain(self, text: str) -> str:
        return _UNPLAIN.sub(lambda found: f"{self._masked.prefix}x{ord(found[0]):x}q", text)


def _checked(masked: Masked) -> Iterator[Tag]:
    """Yield the tags, each in its place. Raises `InvalidInput` for the first of which that is not so."""
    text = masked.text
    within: list[Tag] = []
    once: set[str] = set()
    for tag in tags.read(text, mjml=True):
        what = ""
        name = _name(text, tag)
        if tag.name == "!":
            what = "" if text.startswith(("<!", "<?"), tag.start) else 'a "<" that begins no tag is written &lt; here'
        elif tag.is_end:
            opened = _name(text, within.pop()) if within else ""
            what = "" if opened == name else f"</{name}> stands where " + (f"<{opened}> is open" if opened else "nothing is open")
        elif name not in _COMPONENTS:
            what = f"<{name}> cannot be used: " + _NOT_TAKEN.get(
                name, "MJML has no such element, and HTML stands within <mj-text>, <mj-table> or <mj-raw>")
        elif name in once:
            what = f"there is a second <{name}>, and a message has one"
        elif not tag.is_empty:
            within.append(tag)
        if what or len(within) > DEPTH_MAX:
            raise _fault(masked, text[: tag.start], what or f"there are more than {DEPTH_MAX} elements within each other")
        once.update({name} & _ONCE)
        yield tag
    if within:
        raise _fault(masked, text[: within[-1].start], f"<{_name(text, within[-1])}> is not closed")
    if "mj-body" not in once:
        raise InvalidInput("The MJML has no <mj-body>, so there is nothing to show.", field="mjml")


def _name(text: str, tag: Tag) -> str:
    """Return the name as it is written: MJML tells small letters from large ones."""
    return text[tag.start : tag.end].strip("</").partition(">")[0][: len(tag.name)]


def _is_inline(text: str, tag: Tag) -> bool:
    return tag.name == "mj-style" and any(one.name == one.value == "inline" for one in tags.attributes(text, tag))


def _fault(masked: Masked, before: str, what: str) -> InvalidInput:
    """`before` is the masked text up to the place that the fault is about."""
    line, column = masked.place(len(masked.unmasked(before)))
    return InvalidInput(f"In the mjml, line {line}, column {column}: {what}.", field="mjml")
