"""Quoted-printable (RFC 2045 6.7) for bodies that are put together from pieces.

Promises: 7-bit, CRLF only, lines of at most 76, no line that begins with a dot (so nothing needs dot-stuffing and
nothing can look like the end of data), no white space before a line end. Every piece begins on a line of its own and,
unless it ends with a line break, closes with a soft one: any piece may follow any other without touching it.

CR, LF and CRLF in a text are all one line break; they are sent as CRLF. Lone surrogates raise UnicodeEncodeError.
"""

from __future__ import annotations

import re
from binascii import b2a_qp

_ROOM = 75  # characters of content in a line, so that a soft break always fits
SOFT_BREAK = b"=\r\n"
_DOT = ord(".")

# Lines that b2a_qp leaves as they may not stay: a leading dot; more than `_ROOM` characters before the line end (it
# counts short where it encodes white space at the end of a full line).
_WRONG_LINE = re.compile(rb"^(?:\.[^\n]*|[^\n]{77,}|[^\n]{75}[^=\n])$", re.MULTILINE)
_TOKEN = re.compile(rb"=[0-9A-F]{2}|[^=]")


def piece(text: str) -> bytes:
    """Return `text` as a piece: closed with a soft break unless it is empty or ends with a line break."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    octets = b2a_qp(text.encode("utf-8"))
    if 0 < len(octets) <= _ROOM and b"\n" not in octets and octets[0] != _DOT:
        return octets + SOFT_BREAK
    if _WRONG_LINE.search(octets):
        octets = _WRONG_LINE.sub(_rewrapped, octets)
    octets = octets.replace(b"\n", b"\r\n")
    return octets if not octets or octets.endswith(b"\n") else octets + SOFT_BREAK


def _rewrapped(line: re.Match[bytes]) -> bytes:
    """Break one line again; a soft break that it ended with stays."""
    content = line[0]
    ending = b""
    if content.endswith(b"="):
        content, ending = content[:-1], b"="
    lines: list[bytes] = []
    current = b""
    for token in _TOKEN.findall(content):
        if len(current) + len(token) > _ROOM:
            lines.append(current)
            current = b""
        if not current and token == b".":
            current = b"=2E"
        else:
            current += token
    return b"=\n".join([*lines, current]) + ending
