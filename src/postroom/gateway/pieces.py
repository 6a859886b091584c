"""Content made ready for the wire: leading dots doubled (RFC 5321 section 4.5.2), long content in pieces.

Promises: of a long content no more than a piece is ever copied, so that sessions share what is the same for everyone; a dot that
begins a line is found wherever the content is cut. Fails with ValueError for content whose last line is not ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

Pieces = Iterator[tuple[bytes | memoryview, bool]]  # each piece, and whether it is the last

# A message up to this size goes out in one write; a longer one in pieces, the dot only once the rest is in the kernel.
PIECE_OCTETS: Final = 64 * 1024


def in_pieces(content: bytes | tuple[bytes, bytes], *, stuffed: bool) -> bytes | Pieces:
    """What to write: all of it if it is short, else pieces. `stuffed` says that no line begins with a single dot."""
    personal, common = content if isinstance(content, tuple) else (content, b"")
    if not (common or personal).endswith(b"\r\n"):
        raise ValueError("the content of a message must end in CRLF")
    if len(personal) + len(common) > PIECE_OCTETS:
        return _cut(personal, common, stuffed=stuffed)
    whole = personal + common  # no copy where one of them is empty
    return whole if stuffed else _stuff(whole)


def _cut(personal: bytes, common: bytes, *, stuffed: bool) -> Pieces:
    left = len(personal) + len(common)
    before = b"\r\n"
    for part in (personal, common):
        view = memoryview(part)
        for start in range(0, len(part), PIECE_OCTETS):
            piece = view[start : start + PIECE_OCTETS]
            left -= len(piece)
            yield (piece if stuffed else _stuff(bytes(piece), before)), left == 0
            before = (before + piece[-2:])[-2:]


def _stuff(content: bytes, before: bytes = b"\r\n") -> bytes:
    """The content with each dot doubled that begins a line; `before` are the two octets that go out before it."""
    # From the end, because CPython finds a short needle twice as fast that way: 3.5 us for 10 KB.
    if content.rfind(b"\r\n.") < 0 and not content.startswith((b".", b"\n.")):
        return content
    return (before + content).replace(b"\r\n.", b"\r\n..")[len(before) :]
