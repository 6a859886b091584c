"""A template as it was meant: its lines ended in one way, no mark in front, and Liquid that an editor encoded, as Liquid.

Editors write the braces of an address as `%7B%7B`, or as `&#123;`, and within fields hard spaces and `&quot;`. Neither has
another meaning there, so they are read as what they stand for. All is linear in the size of the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from urllib.parse import unquote_plus

from postroom.message.markup.masked import Masked
from postroom.message.markup.splice import spliced

ENCODED_MAX = 400  # characters of an encoded field or tag

_BRACE = r"&(?:#0{0,5}123|#x0{0,5}7b|lcub|lbrace);"
_INSIDE = rf"((?:(?!%7b|{_BRACE})[^\n<>]){{0,{ENCODED_MAX}}}?)"
_IN_ADDRESS = re.compile(rf"%7B(?:%7B{_INSIDE}%7D|%25{_INSIDE}%25)%7D", re.IGNORECASE)
_PERCENT = r"&(?:#0{0,5}37|#x0{0,5}25|percnt);"
_CLOSING = r"(?:\}|&(?:#0{0,5}125|#x0{0,5}7d|rcub|rbrace);)"
_IN_HTML = re.compile(
    rf"(?:(?:{_BRACE}(?:\{{|{_BRACE})|\{{{_BRACE}){_INSIDE}{_CLOSING}|"
    rf"(?:{_BRACE}(?:%|{_PERCENT})|\{{{_PERCENT}){_INSIDE}(?:%|{_PERCENT})){_CLOSING}",
    re.IGNORECASE,
)
# What stands in a string is text of the writer's own.
_WITHIN = re.compile(
    r"""("[^"]*"|'[^']*')|(\u00a0|%20)|&(?:nbsp|quot|apos|lt|gt|amp|#0*(?:34|39|160)|#x0*(?:22|27|a0));""", re.IGNORECASE
)
_RAW = re.compile(r"\{%-?\s*(end)?raw\b")


def without_mark(source: str) -> str:
    """Return a part without a byte order mark: what stood first in its line is first again."""
    return source.removeprefix("\ufeff")


def with_line_feeds(source: str) -> str:
    """Return a body with one kind of line end: browsers write CRLF, which libraries take for other than a line's end."""
    return source.replace("\r\n", "\n").replace("\r", "\n")


def as_meant(source: str) -> str:
    """Return a body as it is read everywhere."""
    source = _IN_ADDRESS.sub(lambda found: _liquid(found, unquote_plus), with_line_feeds(without_mark(source)))
    source = _IN_HTML.sub(lambda found: _liquid(found, unescape), source)
    return spliced(source, _decoded_within(Masked(source))) if _WITHIN.search(source) else source


def _liquid(found: re.Match[str], decode: Callable[[str], str]) -> str:
    output, tag = found.groups()
    return f"{{%{decode(tag)}%}}" if output is None else f"{{{{{decode(output)}}}}}"


def _decoded_within(masked: Masked) -> Iterator[tuple[int, int, str]]:
    in_raw = False
    for piece in masked.pieces:
        raw = _RAW.match(piece.text)
        in_raw = not raw[1] if raw else in_raw
        if not raw and not in_raw:
            yield piece.start, piece.start + len(piece.text), _WITHIN.sub(_decoded, piece.text)


def _decoded(found: re.Match[str]) -> str:
    """Return what a string is, or what anything else stands for; a hard space is none to Liquid."""
    return found[1] or (" " if found[2] else unescape(found[0]).replace("\u00a0", " "))
