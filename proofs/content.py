"""What the proofs and the tests send, and to whom."""

from __future__ import annotations

from collections.abc import Iterator

from postroom.domain.audience import IncomingRow
from postroom.message.liquid.template import Content

CONTENT = Content(subject="News for {{ name }}", html="<p>Hello {{ name }}</p>", text="Hello {{ name }}\n",
                  from_address="news@club.example", from_name="The Club")


def rows(count: int, start: int = 1) -> Iterator[IncomingRow]:
    """Rows 2, 3, ... with different addresses."""
    for n in range(start, start + count):
        yield IncomingRow(n + 1, f"person{n}@list.example", {"name": f"Person {n}"})
