"""What a person writes: the content of a message, its templates checked before anything is frozen.

`check` refuses a content with everything that is wrong with it, each fault with its part and, for Liquid, line and column.
What passes can be compiled; what a single recipient's values then do is `Unrenderable`, for that recipient alone.

In the templates a recipient's fields stand at the top, `{{ first_name }}`, or by any name, `{{ fields["First name"] }}`;
beside them `{{ email }}`, `{{ unsubscribe_url }}` and `{{ account.name }}`. A missing field is empty. Subject, preheader and
text are plain; in the HTML every value is escaped, stands in text or in quotes (`places`), and begins no address that does
anything but lead somewhere (`links`). From, Reply-To and headers are no templates, and a merge field in them is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from postroom.errors import Fault, InvalidInput
from postroom.message.content import MARKDOWN_MAX, TEMPLATE_MAX, Bodies
from postroom.message.content import Content as Content
from postroom.message.liquid import foreign, places
from postroom.message.liquid.spelling import as_meant, with_line_feeds, without_mark
from postroom.message.markup.masked import merge_field_in
from postroom.message.wire import headers, own_headers
from postroom.message.wire.address import AddressRefused, parse_address
from postroom.message.wire.headers import Unrenderable

if TYPE_CHECKING:
    from liquid import BoundTemplate

FAULTS_MAX = 10
HTML_SOURCES = ("html", "markdown", "mjml")
ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # for a look at templates that are not rendered


@dataclass(frozen=True, slots=True)
class Templates:
    """The parsed parts of a message."""

    subject: BoundTemplate
    html: BoundTemplate | None
    text: BoundTemplate | None


def check(content: Content) -> None:
    """Raise `InvalidInput` with each fault of what was written; return if it can be prepared and compiled."""
    faults = size_faults(content) or _markup_faults(content) or _template_faults(_written(content), ANY_TIME)[1]
    refuse(_header_faults(content) + (faults or _outside_quotes(as_meant(content.html or ""), "html")))


def check_made(content: Content, bodies: Bodies) -> None:
    """Raise `InvalidInput` for what shows only in the HTML that was made of Markdown or MJML."""
    for part in ("markdown", "mjml"):
        if (getattr(content, part) or "").strip():
            refuse([replace(fault, message=f"In the HTML of the {part}: {fault.message.partition(': ')[2]}")
                    for fault in _outside_quotes(bodies.html or "", part)])


def parse(content: Content, bodies: Bodies, now: datetime) -> Templates:
    """Return the parsed templates of a job, to which it is `now`. Raises `InvalidInput`."""
    sources = {"html": bodies.html, "text": bodies.text}
    read = {part: with_line_feeds(source) for part, source in sources.items() if source is not None}
    parsed, faults = _template_faults({"subject": without_mark(content.subject), **read}, now)
    refuse(_header_faults(content) + faults)
    if bodies.html is not None:
        from postroom.message.liquid import links

        links.guard(parsed["html"], with_line_feeds(bodies.html))
    return Templates(parsed["subject"], parsed.get("html"), parsed.get("text"))


@dataclass(frozen=True, slots=True)
class Mentioned:
    """What a message names: the recipients' fields, anywhere; and which of its bodies, "html" and "text", name the way out and
    the account's postal address."""

    names: frozenset[str]
    way_out: frozenset[str]
    postal_address: frozenset[str]


def mentioned(content: Content, bodies: Bodies) -> Mentioned:
    """Return what a message that was checked names."""
    from postroom.message.liquid import merge
    from postroom.message.liquid.reserved import UNSUBSCRIBE_URL

    parsed = parse(content, bodies, ANY_TIME)
    subject = merge.paths_of(parsed.subject)
    in_bodies = {part: merge.paths_of(body) for part, body in (("html", parsed.html), ("text", parsed.text)) if body is not None}
    return Mentioned(
        merge.names_in(subject.union(*in_bodies.values())),
        frozenset(part for part, paths in in_bodies.items() if any(path[0] == UNSUBSCRIBE_URL for path in paths)),
        frozenset(part for part, paths in in_bodies.items() if ("account", "postal_address") in paths))


def foreign_fields(content: Content) -> tuple[foreign.Tag, ...]:
    """Return each field of another system's that is, or may be, in what was written."""
    return tuple(foreign.found(_written(content), _fixed(content)))


def refuse(faults: list[Fault]) -> None:
    """Raise `InvalidInput` with these faults, if there are any."""
    if faults:
        more = f" ({len(faults)} faults in all)" if len(faults) > 1 else ""
        raise InvalidInput(faults[0].message + more, faults=tuple(faults[:FAULTS_MAX]))


def _written(content: Content) -> dict[str, str]:
    """The parts that a person wrote, by name, as they are read."""
    return {part: source if part == "subject" else as_meant(source) for part, source in _parts(content).items()}


def _parts(content: Content) -> dict[str, str]:
    parts = {"subject": content.subject, "preheader": content.preheader, "html": content.html, "markdown": content.markdown,
             "mjml": content.mjml, "text": content.text}
    return {part: source for part, source in parts.items() if source}


def _fixed(content: Content) -> dict[str, str]:
    """The parts that are the same for everybody, by what a sentence calls them."""
    parts = {"From address": content.from_address, "From name": content.from_name, "Reply-To address": content.reply_to or ""}
    own = {f"header field {name}": value for name, value in content.headers}
    return parts | own | {f"name of file {number}": one.name for number, one in enumerate(content.attachments, 1)}


def _markup_faults(content: Content) -> list[Fault]:
    from postroom.message.liquid import merge

    room = merge.MARKUP_MAX
    for part, source in _written(content).items():
        for start, end in merge.marked(source):
            room -= end - start
            if room < 0:
                return [merge.fault(part, source, start, f"here the fields and tags of the message come to more than "
                                                         f"{merge.MARKUP_MAX:,} characters")]
    return []


def _template_faults(sources: Mapping[str, str], now: datetime) -> tuple[dict[str, BoundTemplate], list[Fault]]:
    from postroom.message.liquid import merge

    parsed: dict[str, BoundTemplate] = {}
    faults: list[Fault] = []
    for part, source in sources.items():
        is_html = part in HTML_SOURCES
        result = merge.parse(source, merge.environment(now, html=is_html), part)
        if isinstance(result, list):
            faults += result
        else:
            parsed[part] = result
    return parsed, faults


def _outside_quotes(html: str, part: str) -> list[Fault]:
    from postroom.message.liquid import merge

    return [merge.fault(part, html, piece.start, f'"{piece.shown}" {reason}') for piece, reason in places.read(html).outside]


def size_faults(content: Content) -> list[Fault]:
    """Return what no reader of the parts should be given: no body, several of them, a part that is too large or is no text."""
    faults = []
    sources = [part for part in HTML_SOURCES if (getattr(content, part) or "").strip()]
    if not sources and not (content.text or "").strip():
        faults.append(Fault("The message has no body: write an HTML part, a text part or both.", field="text"))
    if len(sources) > 1:
        faults.append(Fault("Write the body as HTML, as Markdown or as MJML, not as several of them.", field=sources[1]))
    for part, source in _parts(content).items():
        try:
            octets = len(source.encode("utf-8"))
        except UnicodeEncodeError as error:
            faults.append(Fault(f"The {part} holds half a character at position {error.start + 1}.", field=part))
            continue
        octets_max = MARKDOWN_MAX if part == "markdown" else TEMPLATE_MAX
        if octets > octets_max:
            faults.append(Fault(f"The {part} is larger than {octets_max // 1024} KiB.", field=part))
    return faults


def _header_faults(content: Content) -> list[Fault]:
    faults = [] if content.subject.strip() else [Fault("The subject is empty.", field="subject")]
    for field, name, value in (("from_address", "From", content.from_address), ("from_name", "The From name", content.from_name),
                               ("reply_to", "Reply-To", content.reply_to), ("subject", "", content.subject)):
        found = merge_field_in(value or "") if name else ""
        try:
            if found:
                faults.append(Fault(f'{name} is the same for everybody and takes no merge field: "{found}".', field=field))
            elif field in ("from_name", "subject"):
                headers.unstructured(field.replace("_", " "), value or "")
            elif value is not None:
                parse_address(value, ascii_only=True)
        except AddressRefused as error:
            faults.append(Fault(f"{name}: {error.reason}", field=field))
        except Unrenderable as error:
            faults.append(Fault(error.reason, field=field))
    for name, value in content.headers:  # JSON, tags and addresses would each need a value to be escaped in another way
        if found := merge_field_in(value):
            faults.append(Fault(f'The header field "{name}" is the same for everybody and takes no merge field: "{found}".',
                                field="headers"))
    return faults + own_headers.faults(content.headers)
