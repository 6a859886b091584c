"""Values that were encoded before.

The values of a list repeat (first names, cities, plans), so the first `MEMO_MAX` of a field are remembered as they stand in a
body. Memory is bounded by number and length; what is remembered never changes what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from postroom.message.render.parts import MESSAGE_MAX, Field, too_large
from postroom.message.wire import quoted

MEMO_MAX = 1_024  # values remembered for one field; the first come stay
MEMO_VALUE_MAX = 128  # characters of a value that is remembered
PLAIN_MAX = 65  # characters of a value that `_plain` matches: encoded it is at most 75, and fits on a line


def _plain(character: str, beginning: str = "(?![. ])") -> re.Pattern[str]:
    """Values that go out as they are, but for at most five equals signs, which are written as three characters."""
    return re.compile(rf"{beginning}{character}+(?:={character}*){{0,5}}")


_PLAIN = _plain("[ -<>-~]")
_PLAIN_IN_HTML = _plain("[ !#-%(-;?-~]")  # without the characters that escaping changes
_PLAIN_WEB_ADDRESS = _plain("[ !#-%(-;?-~]", "(?=https?://)")


class Memo(dict[object, tuple[bytes, ...]]):
    """Values of one field as one expression prints them, encoded for each place; a missing one is made when asked for.

    Only text and None are kept: 1, 1.0 and True are the same key and not the same text. What comes out blank is not kept
    either, so that each time the field's name goes to `blanks`; nor what took steps of the message, or is noted as unread.
    """

    __slots__ = ("_blanks", "_count", "_fields", "_is_plain", "_size_max")

    def __init__(self, fields: Iterable[Field], size_max: int, blanks: set[str]) -> None:
        super().__init__()
        self._size_max = size_max
        self._blanks = blanks
        self._fields = tuple(fields)
        self._count = len(self._fields)
        pattern = _PLAIN_IN_HTML if any(field.is_html for field in self._fields) else _PLAIN
        if any(field.keeps_web_addresses for field in self._fields):
            pattern = _PLAIN_WEB_ADDRESS
        keeps_some = all(field.keeps_text or field.keeps_web_addresses for field in self._fields)
        self._is_plain = pattern.fullmatch if keeps_some else None

    def __missing__(self, value: object) -> tuple[bytes, ...]:
        if type(value) is str and len(value) <= PLAIN_MAX and self._is_plain is not None and self._is_plain(value):
            pieces = (value.replace("=", "=3D").encode("ascii") + quoted.SOFT_BREAK,) * self._count
        elif type(value) is str and len(value) > MESSAGE_MAX:
            raise too_large()
        else:
            evaluator = self._fields[0].evaluator
            left, unread = evaluator.steps.left, len(evaluator.unread)
            pieces = self._encoded(value)
            if b"" in pieces:
                self._blanks.add(self._fields[0].name)
                return pieces
            if (evaluator.steps.left, len(evaluator.unread)) != (left, unread) or (type(value) is not str and value is not None):
                return pieces
        if len(self) < self._size_max and (value is None or len(value) <= MEMO_VALUE_MAX):
            self[value] = pieces
        return pieces

    def _encoded(self, value: object) -> tuple[bytes, ...]:
        text, *others = [field.printed(value) for field in self._fields]
        piece = quoted.piece(text)
        return (piece, *[piece if other == text else quoted.piece(other) for other in others])
