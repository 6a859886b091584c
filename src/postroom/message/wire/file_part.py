"""The part of a message that a file becomes.

Its name comes back from any reader exactly (RFC 2231), and no character of it can become structure. A part is the same for every
recipient and every attempt, so it is made once for a job.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from unicodedata import combining, normalize
from urllib.parse import quote

from postroom.message.content import Attachment

_LINE_MAX = 78
_BASE64_LINE = 76
_FALLBACK_MAX = 60  # characters of a name for readers that know no RFC 2231
_NOT_PLAIN = re.compile(r'[^ -~]|["\\%]|=\?|  |^ | $')
_NOT_IN_FALLBACK = re.compile(r'[^ -~]|["\\%?=]')


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
