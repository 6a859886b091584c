"""What is odd in a message, whoever gets it, and hinders nothing: said at a preview and at the gate."""

from __future__ import annotations

from collections.abc import Iterator

from postroom.domain.preflight import Finding, FindingKind
from postroom.message.content import Content
from postroom.message.liquid import template

HTML_SHOWN_MAX = 102 * 1024  # octets; Gmail shows no more of a message


def remarks(content: Content, html: str | None) -> Iterator[Finding]:
    """Yield the remarks on a content, and on the HTML that it comes to. Takes time, so it belongs into a bounded process."""
    for sentence in template.foreign_fields(content):
        yield Finding(FindingKind.FOREIGN_FIELD, sentence)
    size = len((html or "").encode())
    if size > HTML_SHOWN_MAX:
        yield Finding(FindingKind.MAY_BE_CLIPPED, (
            f"The HTML has {size // 1024} KB, and Gmail shows the first {HTML_SHOWN_MAX // 1024} KB of a message: what stands at "
            "its end, such as the way out, is hidden there. Shorten it."))
