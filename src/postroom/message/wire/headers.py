"""Header fields, encoded: our own, because the standard library's encoder lets values smuggle (F73, F74, F79).

Promises: a value comes back from any RFC 2047 reader exactly as it went in, white space included. It is never read as
an encoded word that it did not mean to be: whatever contains `=?` is encoded. Lines are folded at 78 characters, lines
with encoded words at 76 (RFC 5322 2.1.1, RFC 2047 2). The result is ASCII.

Fails: control characters (C0, C1), U+2028, U+2029 and lone surrogates raise `Unrenderable`.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from bisect import bisect_right
from datetime import UTC, datetime
from itertools import accumulate

from postroom.errors import PostroomError

LINE_MAX = 78
ENCODED_LINE_MAX = 76
VALUE_MAX = 20_000  # characters; no reader shows more, and many refuse it

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
# What a Q word may hold as it is, in a phrase too (RFC 2047 5 (3)).
_Q_LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_TABLE = tuple(chr(octet) if octet in _Q_LITERAL else "_" if octet == 32 else f"={octet:02X}" for octet in range(256))
_WORD_FRAME = len("=?utf-8?q??=")


class Unrenderable(PostroomError):
    """A message cannot be made for this recipient. `reason` is a sentence that names the value and the fault; `general` says it
    without the value, so that those who share a fault can be counted together."""

    def __init__(self, reason: str, general: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.general = general or reason


def unstructured(name: str, value: str) -> bytes:
    """Return `value` as the body of the field `name` (a Subject), encoded and folded, without name and final CRLF."""
    _refuse_controls(name, value)
    column = len(name) + 2
    if _is_plain(value):
        if column + len(value) <= LINE_MAX:
            return value.encode("ascii")
        folded = _fold(value, column)
        if folded is not None:
            return folded
    return _encoded_words(value, column)


def mailbox(name: str, display_name: str, address: bytes) -> bytes:
    """Return the body of an address field `name` (a From): the display name as a phrase, then the ASCII address."""
    _refuse_controls(name, display_name)
    column = len(name) + 2
    if not display_name:
        return address
    phrase = _phrase(display_name, column)
    last_line = len(phrase) - phrase.rfind(b"\n") - 1 + (column if b"\n" not in phrase else 0)
    gap = b" " if last_line + len(address) + 3 <= ENCODED_LINE_MAX else b"\r\n "
    return phrase + gap + b"<" + address + b">"


def date(moment: datetime) -> bytes:
    """Return an aware time as RFC 5322 3.3 wants it. Not strftime, which speaks the process's language."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("a Date header needs a time with a time zone")
    if offset.total_seconds() % 60:
        moment, offset = moment.astimezone(UTC), UTC.utcoffset(None)
    minutes = int(offset.total_seconds()) // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year:04d} "
        f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d} {sign}{minutes // 60:02d}{minutes % 60:02d}"
    ).encode("ascii")


def _refuse_controls(name: str, value: str) -> None:
    if len(value) > VALUE_MAX:
        raise Unrenderable(f"The {name} is longer than {VALUE_MAX} characters.")
    if value.isascii() and value.isprintable():
        return
    found = _FORBIDDEN.search(value)
    if found:
        character = f"U+{ord(found[0]):04X}"
        raise Unrenderable(f"The {name} contains {character}, a line break or control character that no header may hold.")


def _is_plain(value: str) -> bool:
    """Whether readers give it back unchanged: printable ASCII, no white space to lose, nothing like an encoded word."""
    return (
        value.isascii()
        and value.isprintable()
        and "=?" not in value
        and "  " not in value
        and value == value.strip(" ")
    )


def _phrase(text: str, column: int) -> bytes:
    if column + len(text) <= LINE_MAX and "=?" not in text:
        if _ATOMS.fullmatch(text):
            return text.encode("ascii")
        quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if _is_plain(text) and column + len(quoted) <= LINE_MAX:
            return quoted.encode("ascii")
    return _encoded_words(text, column)


def _fold(value: str, column: int) -> bytes | None:
    """Break at single spaces; None if one word is too long for a line, which only encoding can help."""
    lines: list[str] = []
    line = ""
    room = LINE_MAX - column
    for word in value.split(" "):
        if not line and len(word) <= room:
            line = word
        elif line and len(line) + 1 + len(word) <= room:
            line += " " + word
        elif line and len(word) <= LINE_MAX - 1:
            lines.append(line)
            line, room = word, LINE_MAX - 1
        else:
            return None
    return "\r\n ".join([*lines, line]).encode("ascii")


def _encoded_words(value: str, column: int) -> bytes:
    octets = value.encode("utf-8")
    coded = [_Q_TABLE[octet] for octet in octets]
    ends = list(accumulate(map(len, coded)))
    if ends[-1] > (len(octets) + 2) // 3 * 4:
        return b"\r\n ".join(_b_words(octets, column))
    return "\r\n ".join(_q_words(octets, coded, ends, column)).encode("ascii")


def _b_words(octets: bytes, column: int) -> list[bytes]:
    words: list[bytes] = []
    start = 0
    room = (ENCODED_LINE_MAX - column - _WORD_FRAME) // 4 * 3
    while start < len(octets):
        stop = _character_end(octets, start + room)
        words.append(b"=?utf-8?b?" + b2a_base64(octets[start:stop], newline=False) + b"?=")
        start, room = stop, (ENCODED_LINE_MAX - 1 - _WORD_FRAME) // 4 * 3
    return words


def _q_words(octets: bytes, coded: list[str], ends: list[int], column: int) -> list[str]:
    """`coded` holds each octet as it is written, `ends` where each one ends if all are written in a row."""
    words: list[str] = []
    start = used = 0
    room = ENCODED_LINE_MAX - column - _WORD_FRAME
    while start < len(octets):
        stop = _character_end(octets, bisect_right(ends, used + room))
        words.append(f"=?utf-8?q?{''.join(coded[start:stop])}?=")
        start, used, room = stop, ends[stop - 1], ENCODED_LINE_MAX - 1 - _WORD_FRAME
    return words


def _character_end(octets: bytes, stop: int) -> int:
    """The last end of a character at or before `stop`: no encoded word holds half of one."""
    while stop < len(octets) and octets[stop] & 0xC0 == 0x80:
        stop -= 1
    return min(stop, len(octets))
