"""What is odd in a message, whoever gets it, and hinders nothing: said at a preview and at the gate."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from postroom.domain.preflight import Finding, FindingKind
from postroom.message.content import Content
from postroom.message.liquid import template
from postroom.message.liquid.foreign import Tag

FOREIGN_MAX = 10  # fields of other systems that are named
HTML_SHOWN_MAX = 102 * 1024  # octets; Gmail shows no more of a message


@dataclass(frozen=True, slots=True)
class Remarks:
    """What was seen in a message before its list was read."""

    tags: tuple[Tag, ...]
    html_octets: int

    def findings(self, columns: Collection[str]) -> Iterator[Finding]:
        """Yield what is to be said of the message where its list has these columns."""
        for sentence in islice(filter(None, (tag.told(columns) for tag in self.tags)), FOREIGN_MAX):
            yield Finding(FindingKind.FOREIGN_FIELD, sentence)
        if self.html_octets > HTML_SHOWN_MAX:
            yield Finding(FindingKind.MAY_BE_CLIPPED, (
                f"The HTML has {self.html_octets // 1024} KB, and Gmail shows the first {HTML_SHOWN_MAX // 1024} KB of a "
                "message: what stands at its end, such as the way out, is hidden there. Shorten it."))


def remarks(content: Content, html: str | None) -> Remarks:
    """What is remarkable in a content, and in the HTML that it comes to. Takes time, so it belongs into a bounded process."""
    return Remarks(template.foreign_fields(content), len((html or "").encode()))
