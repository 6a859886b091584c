"""What a person writes: the content of a message, its templates checked before anything is frozen.

`check` refuses a content with everything that is wrong with it, each fault with its part and, for Liquid, line and column.
What passes can be compiled; what a single recipient's values then do is `Unrenderable`, for that recipient alone.

In the templates a recipient's fields stand at the top, `{{ first_name }}`, or by any name, `{{ fields["First name"] }}`;
beside them `{{ email }}` and `{{ account.name }}`. A missing field is empty. Subject and text are plain; in the HTML every
value is escaped. From and Reply-To are no templates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from postroom.errors import Fault, InvalidInput
from postroom.message import headers
from postroom.message.address import AddressRefused, parse_address
from postroom.message.headers import Unrenderable

if TYPE_CHECKING:
    from liquid import BoundTemplate

FAULTS_MAX = 10
ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # for a look at templates that are not rendered


@dataclass(frozen=True, slots=True)
class Content:
    """One message to everyone. `subject`, `html` and `text` are Liquid templates; at least one body is needed."""

    subject: str
    html: str | None
    text: str | None
    from_address: str
    from_name: str = ""
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Templates:
    """The parsed parts of a content. `text` is made from the HTML where none was written."""

    subject: BoundTemplate
    html: BoundTemplate | None
    text: BoundTemplate | None


def check(content: Content) -> None:
    """Raise `InvalidInput` with each fault of the content; return if it can be compiled."""
    parse(content, ANY_TIME)


def parse(content: Content, now: datetime) -> Templates:
    """Return the parsed parts, to whose templates it is `now`. Raises `InvalidInput`."""
    templates, faults = _read(content, now)
    faults = _header_faults(content) + faults
    if faults or templates is None:
        more = f" ({len(faults)} faults in all)" if len(faults) > 1 else ""
        raise InvalidInput(faults[0].message + more, faults=tuple(faults[:FAULTS_MAX]))
    return templates


def _read(content: Content, now: datetime) -> tuple[Templates | None, list[Fault]]:
    from postroom.message import merge, plaintext

    faults = _size_faults(content, merge.TEMPLATE_MAX)
    if faults:
        return None, faults
    parsed: dict[str, BoundTemplate] = {}

    def read(field: str, source: str) -> None:
        result = merge.parse(source, merge.environment(now, html=field == "html"), field)
        if isinstance(result, list):
            faults.extend(result)
        else:
            parsed[field] = result

    read("subject", content.subject)
    if content.html:
        read("html", _lines(content.html))
    if content.text:
        read("text", _lines(content.text))
    elif "html" in parsed:
        read("text", _lines(plaintext.from_html(content.html or "")))
    if faults:
        return None, faults
    return Templates(parsed["subject"], parsed.get("html"), parsed.get("text")), []


def _lines(source: str) -> str:
    """Return a body with one kind of line end."""
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _size_faults(content: Content, octets_max: int) -> list[Fault]:
    faults = []
    if not content.subject.strip():
        faults.append(Fault("The subject is empty.", field="subject"))
    if not (content.html or "").strip() and not (content.text or "").strip():
        faults.append(Fault("The message has no body: write an HTML part, a text part or both.", field="text"))
    for field, source in (("subject", content.subject), ("html", content.html or ""), ("text", content.text or "")):
        try:
            octets = len(source.encode("utf-8"))
        except UnicodeEncodeError as error:
            faults.append(Fault(f"The {field} holds half a character at position {error.start + 1}.", field=field))
            continue
        if octets > octets_max:
            faults.append(Fault(f"The {field} is larger than {octets_max // 1024} KiB.", field=field))
    return faults


def _header_faults(content: Content) -> list[Fault]:
    faults = []
    for field, address in (("from_address", content.from_address), ("reply_to", content.reply_to)):
        try:
            if address is not None:
                parse_address(address)
        except AddressRefused as error:
            faults.append(Fault(f"{'From' if field == 'from_address' else 'Reply-To'}: {error.reason}", field=field))
    for field, value in (("from_name", content.from_name), ("subject", content.subject)):
        try:
            headers.unstructured(field.replace("_", " "), value)
        except Unrenderable as error:
            faults.append(Fault(error.reason, field=field))
    return faults
