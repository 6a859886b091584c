"""Files that go with a message: what they are, and where the HTML shows them.

The type is told from the octets, never from what somebody says. A name is refused or kept, never repaired.

Fails with `InvalidInput`, field "attachments".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from html import escape
from urllib.parse import quote

from postroom.errors import InvalidInput
from postroom.message.content import Attachment
from postroom.message.markup import tags
from postroom.message.markup.masked import Masked, merge_field_in
from postroom.message.markup.splice import spliced

TOTAL_MAX = 10 * 2**20  # octets of all files of a message
FILES_MAX = 20
NAME_MAX = 200  # characters

_CONFIDENCE_MIN = 0.3  # puremagic's measure for three octets that match
_UNKNOWN = "application/octet-stream"
_TEXTS = {
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "ics": "text/calendar",
    "json": "application/json",
    "md": "text/markdown",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "vcf": "text/vcard",
    "xml": "application/xml",
}
_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\\\]")
_TYPE = re.compile(r"(?:application|audio|font|image|model|video)/[a-z0-9][a-z0-9.+-]*")
_CID = re.compile(r"""(?<=["'(=,;}\s])cid:(?=[^\s"'])""", re.IGNORECASE)
_CID_END = re.compile(r"""["'<>(),;\s{]|&quot;|&#39;""")
_CONDITIONAL = re.compile(r"<!--\[if", re.IGNORECASE)  # Outlook reads what stands in it


def describe(name: str, octets: bytes) -> Attachment:
    """Return what a file is. Raises `InvalidInput` for a name that no file may have."""
    found = _REFUSED.search(name)
    if found:
        raise _fault(f"The name of a file holds U+{ord(found[0]):04X}: it may hold no separator, control or half a character.")
    if not name.strip() or name in (".", ".."):
        raise _fault("A file has no name.")
    if field := merge_field_in(name):
        raise _fault(f'The name of a file is the same for everybody and takes no merge field: "{field}".')
    if len(name) > NAME_MAX:
        raise _fault(f'The name of the file "{name[:40]}…" is longer than {NAME_MAX} characters.')
    return Attachment(name, _content_type(name, octets), len(octets), sha256(octets).hexdigest())


def check(attachments: Sequence[Attachment]) -> None:
    """Raise `InvalidInput` if they are too many, too large together, or if two have one name."""
    if len(attachments) > FILES_MAX:
        raise _fault(f"There are {len(attachments)} files, and a message may have {FILES_MAX}.")
    total = sum(attachment.size for attachment in attachments)
    if total > TOTAL_MAX:
        raise _fault(f"The files have {total} octets together, and a message may have {TOTAL_MAX} ({TOTAL_MAX >> 20} MiB).")
    names = [attachment.name for attachment in attachments]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _fault(f'Two files have the name "{twice}".')


def placed(attachments: Sequence[Attachment], html: str | None) -> tuple[tuple[Attachment, ...], str | None]:
    """Return the files, those with a content id that the HTML shows as `cid:NAME`, and the HTML, which names them by that.

    The name may stand there as it is, escaped for HTML or quoted for a URL. Raises `InvalidInput` for a `cid:` that no file
    answers to, or one that is no image.
    """
    if html is None:
        return tuple(attachments), None
    ways: dict[str, Attachment] = {}
    for attachment in attachments:
        name = attachment.name
        for way in (name, escape(name), quote(name), quote(name, safe="!*'()")):
            ways.setdefault(way, attachment)
    longest_first = "|".join(re.escape(way) for way in sorted(ways, key=len, reverse=True))
    name_here = re.compile(rf"(?:{longest_first})(?={_CID_END.pattern}|$)" if ways else "(?!)")
    shown: dict[str, str] = {}

    def with_ids(source: str) -> str:
        changes = []
        for found in _CID.finditer(source):
            named = name_here.match(source, found.end())
            if not named:
                shown_name = re.split("[\"'<>]", source[found.end() : found.end() + NAME_MAX])[0]
                raise _fault(f'The HTML shows "{found[0]}{shown_name}", and no file has that name.')
            attachment = ways[named[0]]
            if not attachment.content_type.startswith("image/"):
                raise _fault(f'The HTML shows "{attachment.name}" as an image, and it is {attachment.content_type}.')
            shown[attachment.name] = _content_id(attachment)
            changes.append((named.start(), named.end(), shown[attachment.name]))
        return spliced(source, changes)

    html = _in_tags_and_sheets(html, with_ids)
    return tuple(replace(one, content_id=shown.get(one.name, "")) for one in attachments), html


def _content_type(name: str, octets: bytes) -> str:
    _, dot, extension = name.lower().rpartition(".")
    extension = extension if dot else ""
    if extension in _TEXTS and _is_text(octets):
        return _TEXTS[extension]
    if not octets:
        return _UNKNOWN
    if octets.startswith(b"PK\x03\x04"):
        return _by_magic(octets, extension, confidence_min=1.0) or "application/zip"  # which of its kinds only the name says
    return _by_magic(octets, extension, confidence_min=_CONFIDENCE_MIN) or _UNKNOWN


def _by_magic(octets: bytes, extension: str, *, confidence_min: float) -> str | None:
    """Return the likeliest type that the octets speak for, first of all one that goes with the extension."""
    import puremagic

    try:
        matches = puremagic.magic_string(octets)
    except puremagic.PureError:
        return None
    likely = [one for one in matches if one.byte_match and _TYPE.fullmatch(one.mime_type)]
    for one in likely:
        if one.extension == f".{extension}":
            return str(one.mime_type)
    return next((str(one.mime_type) for one in likely if one.confidence >= confidence_min), None)


def _is_text(octets: bytes) -> bool:
    if b"\0" in octets:
        return False
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _content_id(attachment: Attachment) -> str:
    return sha256(f"{attachment.name}\0{attachment.digest}".encode()).hexdigest()[:32] + "@postroom"


def _in_tags_and_sheets(html: str, change: Callable[[str], str]) -> str:
    """Return the HTML with `change` made where addresses stand; the Liquid inside is seen as it was written."""
    masked = Masked(html)
    text = masked.text
    parts: list[str] = []
    position = 0
    in_sheet = False
    for tag in tags.read(text):
        between = masked.unmasked(text[position : tag.start])
        whole = masked.unmasked(text[tag.start : tag.end])
        position = tag.end
        has_addresses = tag.name != "!" or _CONDITIONAL.match(whole)
        parts += change(between) if in_sheet else between, change(whole) if has_addresses else whole
        in_sheet = tag.name == "style" and not tag.is_end
    return "".join([*parts, masked.unmasked(text[position:])])


def _fault(message: str) -> InvalidInput:
    return InvalidInput(message, field="attachments")
