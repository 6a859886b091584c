"""The bytes of a message in order: some the same for everyone, some looked up, some made.

For each recipient a flat list is filled (three values of the header, the encoded values of every field, what Liquid
rendered, then all that is static), put in order by one `itemgetter` and joined. A field's value is encoded once for all
places that it stands in, and the first `MEMO_MAX` values of a field are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter

from postroom.message import quoted
from postroom.message.headers import Unrenderable
from postroom.message.parts import EMAIL, MESSAGE_MAX, Field, Part, too_large

MEMO_MAX = 1_024  # values remembered for one field; the first come stay
MEMO_VALUE_MAX = 128  # characters of a value that is remembered

# Values that need no encoding at all, in text and (without the characters that escaping changes) in HTML.
_AS_IT_IS = re.compile(r"(?!\.)[ -<>-~]{1,75}")
_AS_IT_IS_IN_HTML = re.compile(r"(?!\.)[ !#-%(-;?-~]{1,75}")

ADDRESS, SUBJECT, POSITION = range(3)
_HEADER_VALUES = 3


class Draft:
    """Collects what a message consists of, in order; `Assembly` is made of it."""

    def __init__(self) -> None:
        self.order: list[bytes | int | tuple[str, bool] | tuple[int, int]] = []
        self.fields: dict[str, dict[bool, Field]] = {}
        self.parts: list[Part] = []

    def add(self, octets: bytes) -> None:
        """Add what everyone gets."""
        if self.order and isinstance(self.order[-1], bytes):
            self.order[-1] += octets
        else:
            self.order.append(octets)

    def add_header_value(self, which: int) -> None:
        """Add ADDRESS, SUBJECT or POSITION."""
        self.order.append(which)

    def add_body(self, part: Part) -> None:
        """Add a part, quoted-printable, its last line ended."""
        self.parts.append(part)
        static: list[str] = []
        nodes = 0
        for item in part.items:
            if isinstance(item, str):
                static.append(item)
                continue
            self.add(quoted.piece("".join(static)))
            static.clear()
            if isinstance(item, Field):
                key = f"{item.path} {item.expression}"
                self.fields.setdefault(key, {}).setdefault(item.is_html, item)
                self.order.append((key, item.is_html))
            else:
                self.order.append((len(self.parts) - 1, nodes))
                nodes += 1
        text = "".join(static)
        self.add(quoted.piece(text if text.endswith("\n") else text + "\n"))


class Assembly:
    """A message ready to be put together for one recipient after the other."""

    __slots__ = ("_email_memos", "_in_order", "_memos", "_parts", "_static")

    def __init__(self, draft: Draft) -> None:
        by_email = [key for key, places in draft.fields.items() if _path(places) == EMAIL]
        by_column = [key for key in draft.fields if key not in set(by_email)]
        self._memos = [(_path(draft.fields[key])[-1], _Memo(draft.fields[key].values())) for key in by_column]
        self._email_memos = [_Memo(draft.fields[key].values()) for key in by_email]
        self._parts = [part for part in draft.parts if part.nodes]
        dynamic = [(key, is_html) for key in by_column + by_email for is_html in draft.fields[key]]
        dynamic_nodes = [(no, node) for no, part in enumerate(draft.parts) for node in range(len(part.nodes))]
        places = {place: _HEADER_VALUES + index for index, place in enumerate([*dynamic, *dynamic_nodes])}
        self._static: list[bytes] = []
        indices = []
        for entry in draft.order:
            if isinstance(entry, bytes):
                indices.append(_HEADER_VALUES + len(places) + len(self._static))
                self._static.append(entry)
            else:
                indices.append(entry if isinstance(entry, int) else places[entry])
        self._in_order: Callable[[list[bytes]], tuple[bytes, ...]] = itemgetter(*indices)

    def joined(self, values: list[bytes], address: str, fields: Mapping[str, object]) -> bytes:
        """Return the message; `values` holds address, subject and position, and is used up. Raises `Unrenderable`."""
        get = fields.get
        try:
            for name, memo in self._memos:
                values += memo[get(name)]
        except TypeError as error:  # a list or an object cannot be looked up
            unusable = _not_a_value(fields)
            if unusable is None:
                raise
            raise unusable from error
        for memo in self._email_memos:
            values += memo[address]
        for part in self._parts:
            values += map(quoted.piece, part.rendered(address, fields))
        values += self._static
        return b"".join(self._in_order(values))


class _Memo(dict[object, tuple[bytes, ...]]):
    """Values of one field as one expression prints them, encoded for each place; a missing one is made when asked for.

    Only text and None are kept: 1, 1.0 and True are the same key and not the same text.
    """

    __slots__ = ("_as_it_is", "_count", "_fields")

    def __init__(self, fields: Iterable[Field]) -> None:
        super().__init__()
        self._fields = tuple(fields)
        self._count = len(self._fields)
        pattern = _AS_IT_IS_IN_HTML if any(field.is_html for field in self._fields) else _AS_IT_IS
        self._as_it_is = pattern.fullmatch if self._fields[0].keeps_text else None

    def __missing__(self, value: object) -> tuple[bytes, ...]:
        if type(value) is not str:
            pieces = tuple([field.encoded(value) for field in self._fields])
            if value is None:
                self[None] = pieces
            return pieces
        if self._as_it_is is not None and self._as_it_is(value):
            pieces = (value.encode("ascii") + quoted.SOFT_BREAK,) * self._count
        elif len(value) > MESSAGE_MAX:
            raise too_large()
        else:
            pieces = tuple([field.encoded(value) for field in self._fields])
        if len(self) < MEMO_MAX and len(value) <= MEMO_VALUE_MAX:
            self[value] = pieces
        return pieces


def _path(places: Mapping[bool, Field]) -> tuple[str, ...]:
    return next(iter(places.values())).path


def _not_a_value(fields: Mapping[str, object]) -> Unrenderable | None:
    for name, value in fields.items():
        if isinstance(value, list | dict | set):
            return Unrenderable(f'The field "{name}" is a list or an object, which cannot be put into a message.')
    return None
