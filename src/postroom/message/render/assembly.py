"""The bytes of a message in order: some the same for everyone, some looked up, some made.

For each recipient a flat list is filled (the values of the header, the encoded values of every field, what conditions and
loops come to), put in order by one `itemgetter`, and set into what is static, which is one format of bytes. A field's value is
encoded once for all places that it stands in, and remembered (`memo`); conditions and loops are taken apart (`blocks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from operator import getitem, itemgetter

from postroom.message.render.blocks import Blocks
from postroom.message.render.memo import MEMO_MAX, Memo
from postroom.message.render.parts import Field, Part, not_a_value
from postroom.message.wire import quoted

ADDRESS, SUBJECT, POSITION, UNSUBSCRIBE = range(4)
_HEADER_VALUES = 4


class Draft:
    """Collects what a message consists of, in order; `Assembly` is made of it."""

    def __init__(self) -> None:
        self.order: list[bytes | int | tuple[str, bool] | tuple[int, int]] = []
        self.fields: dict[str, dict[bool, Field]] = {}
        self.parts: list[Part] = []
        self.tail = b""
        self._ends_with_tail = False

    def begin_tail(self) -> None:
        """What is added from here on is static, and kept apart: it is not copied for each recipient."""
        self._ends_with_tail = True

    @property
    def body_varies(self) -> bool:
        return bool(self.fields) or any(part.nodes for part in self.parts)

    def add(self, octets: bytes) -> None:
        """Add what everyone gets."""
        if self._ends_with_tail:
            self.tail += octets
        elif self.order and isinstance(self.order[-1], bytes):
            self.order[-1] += octets
        else:
            self.order.append(octets)

    def add_header_value(self, which: int) -> None:
        """Add ADDRESS, SUBJECT, POSITION or UNSUBSCRIBE."""
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
                places = self.fields.setdefault(item.key, {})
                if item.keeps_web_addresses or item.is_html not in places:
                    places[item.is_html] = item
                self.order.append((item.key, item.is_html))
            else:
                self.order.append((len(self.parts) - 1, nodes))
                nodes += 1
        text = "".join(static)
        self.add(quoted.piece(text if text.endswith("\n") else text + "\n"))


class Assembly:
    """A message ready to be put together for one recipient after the other."""

    __slots__ = ("_blanks", "_blocks", "_in_order", "_memos", "_names", "_own_memos", "_own_names", "_whole")

    def __init__(self, draft: Draft) -> None:
        by_own = [key for key, places in draft.fields.items() if _any(places).is_own]
        by_column = [key for key in draft.fields if key not in set(by_own)]
        self._blanks: set[str] = set()
        self._names = [_any(draft.fields[key]).name for key in by_column]
        self._memos = [Memo(draft.fields[key].values(), MEMO_MAX, self._blanks) for key in by_column]
        self._own_names = [_any(draft.fields[key]).name for key in by_own]
        # Each recipient has its own, so there is nothing to remember.
        self._own_memos = [Memo(draft.fields[key].values(), 0, self._blanks) for key in by_own]
        self._blocks = [Blocks(part, self._blanks) for part in draft.parts if part.nodes]
        dynamic = [(key, is_html) for key in by_column + by_own for is_html in draft.fields[key]]
        dynamic_nodes = [(no, node) for no, part in enumerate(draft.parts) for node in range(len(part.nodes))]
        places = {place: _HEADER_VALUES + index for index, place in enumerate([*dynamic, *dynamic_nodes])}
        varying = [entry for entry in draft.order if not isinstance(entry, bytes)]
        self._in_order: Callable[[list[bytes]], tuple[bytes, ...]] = itemgetter(
            *[entry if isinstance(entry, int) else places[entry] for entry in varying])
        self._whole = b"".join(entry.replace(b"%", b"%%") if isinstance(entry, bytes) else b"%b" for entry in draft.order)

    def joined(self, values: list[bytes], own: Mapping[str, str], fields: Mapping[str, object], blanks: set[str]) -> bytes:
        """Return the message, and add the names of blank fields to `blanks`. `values` are those of the header, by their
        numbers above. `own` has the recipient's own values. Raises `Unrenderable`."""
        self._blanks.clear()
        try:
            values += chain.from_iterable(map(getitem, self._memos, map(fields.get, self._names)))
        except TypeError as error:  # a list or an object cannot be looked up
            unusable = not_a_value(error, fields)
            if unusable is None:
                raise
            raise unusable from error
        if self._own_memos:
            values += chain.from_iterable(map(getitem, self._own_memos, map(own.get, self._own_names)))
        for blocks in self._blocks:
            values += blocks.pieces(own, fields)
        if self._blanks:
            blanks |= self._blanks
        return self._whole % self._in_order(values)


def _any(places: Mapping[bool, Field]) -> Field:
    return next(iter(places.values()))
