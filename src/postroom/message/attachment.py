"""Files that go with a message: what they are, where the HTML shows them, and the part of the message that each becomes.

The type is told from the octets, never from what somebody says. A name is refused or kept, never repaired; in the part it comes
back from any reader exactly (RFC 2231), and no character of it can become structure. A part is the same for every recipient
and every attempt, so it is made once for a job.

Fails with `InvalidInput`, field "attachments".
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from html import escape
from unicodedata import combining, normalize
from urllib.parse import quote

from postroom.errors import InvalidInput
from postroom.message import tags
from postroom.message.content import Attachment
from postroom.message.masked import Masked
from postroom.message.splice import spliced

TOTAL_MAX = 10 * 2**20  # octets of all files of a message
FILES_MAX = 20
NAME_MAX = 200  # characters

_LINE_MAX = 78
_BASE64_LINE = 76
_FALLBACK_MAX = 60  # characters of a name for readers that know no RFC 2231
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
_NOT_PLAIN = re.compile(r'[^ -~]|["\\%]|=\?|  |^ | $')
_NOT_IN_FALLBACK = re.compile(r'[^ -~]|["\\%?=]')
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


def mime_part(attachment: Attachment, octets: bytes) -> bytes:
    """Return the part of the message that a file becomes, headers and body, its last line ended."""
    charset = "; charset=utf-8" if attachment.content_type.startswith("text/") else ""
    name = attachment.name
    type_ = [attachment.content_type + charset, *_parameter("name", name)]
    disposition = ["inline" if attachment.content_id else "attachment", *_parameter("filename", name)]
    if _plain_parameter("filename", name) is None:
        disposition.append(f'filename="{_fallback(name)}"')  # behind the other, where every reader prefers that one
    lines = [f"Content-Type: {_folded(type_)}", f"Content-Disposition: {_folded(disposition)}"]
    if attachment.content_id:
        lines.append(f"Content-ID: <{attachment.content_id}>")
    lines.append("Content-Transfer-Encoding: base64")
    run = b2a_base64(octets, newline=False)
    body = [run[start : start + _BASE64_LINE] for start in range(0, len(run), _BASE64_LINE)]
    return b"\r\n".join(["\r\n".join(lines).encode("ascii"), b"", *body, b""])


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


def _parameter(key: str, value: str) -> list[str]:
    """Return a parameter in as many sections as it needs: as it is, or in RFC 2231's coding, no character parted."""
    plain = _plain_parameter(key, value)
    if plain is not None:
        return [plain]
    coded = [quote(character, safe="") for character in value]
    whole = f"{key}*=utf-8''{''.join(coded)}"
    if _fits(whole):
        return [whole]
    sections = [f"{key}*0*=utf-8''"]
    for character in coded:
        if not _fits(sections[-1] + character):
            sections.append(f"{key}*{len(sections)}*=")
        sections[-1] += character
    return sections


def _plain_parameter(key: str, value: str) -> str | None:
    plain = f'{key}="{value}"'
    return plain if _fits(plain) and not _NOT_PLAIN.search(value) else None


def _fits(parameter: str) -> bool:
    return len(parameter) + len(" ;") <= _LINE_MAX


def _folded(value_and_parameters: list[str]) -> str:
    return ";\r\n ".join(value_and_parameters)


def _fallback(name: str) -> str:
    """Return a name in ASCII that resembles the other."""
    plain = "".join(character for character in normalize("NFKD", name) if not combining(character))
    stem, dot, extension = _NOT_IN_FALLBACK.sub("_", plain).rpartition(".")
    if not stem or len(extension) > 10:
        stem, dot, extension = stem + dot + extension, "", ""
    return stem[: _FALLBACK_MAX - len(dot + extension)] + dot + extension


def _fault(message: str) -> InvalidInput:
    return InvalidInput(message, field="attachments")
