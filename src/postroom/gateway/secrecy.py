"""What a gateway says back of a login never goes further than here.

Some gateways quote the command that they refuse, and with it the password. A session hides its own login in everything that it
was told, before a word of it becomes a reply, an error or a reason: in clear and in base64, alone or with what stood beside it,
in one line or broken over several, in whatever case. Hiding too much (a word that happens to be the password) is no harm. Of a
secret as long as an access token every piece of a dozen characters is hidden, wherever it stands.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Final

Hide = Callable[[bytes], bytes]

_HIDDEN: Final = b"********"
# Where a reply goes on in its next line, or in a command that was folded: white space, and the code again.
_BREAK: Final = rb"(?:\s+(?:[2-5][0-9]{2}[ -])?(?:[245](?:\.[0-9]{1,3}){2}\s+)?)?"
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{4,}={0,2}")
_CORE_MIN: Final = 4  # characters of base64; fewer are in any word
_LONG: Final = 80  # octets; longer secrets would make patterns that take seconds to compile
_PIECE: Final = 12  # characters
_WORD: Final = re.compile(rb"[A-Za-z0-9+/._~=-]{%d,}" % _PIECE)
_PLAIN_BASE64: Final = bytes.maketrans(b"-_", b"+/")
_BEGINNING: Final = 4  # characters of what is hidden that a line must have, or it is not looked at closely


def nothing(said: bytes) -> bytes:
    """For a session without a login."""
    return said


def hiding(user: bytes, password: bytes) -> Hide:
    """What hides this login in what a gateway said."""
    if len(password) > _LONG:
        return _hiding_pieces(password)
    encoded = [base64.b64encode(whole).rstrip(b"=") for whole in (b"\0" + user + b"\0" + password, password)]
    cores = [core for before in range(3) if len(core := _core(password, before)) >= _CORE_MIN]
    told = b"|".join([rb"[A-Za-z0-9+/]*" + _broken(form) + rb"[A-Za-z0-9+/]*={0,2}" for form in (*encoded, *cores)]
                     + [_broken(password)])
    pattern, pieces = re.compile(told, re.IGNORECASE), [form.lower() for form in encoded]
    beginnings = {form[:_BEGINNING].lower() for form in (*encoded, *cores, password)}

    def piece(found: re.Match[bytes]) -> bytes:
        """A gateway may quote only the beginning of a command."""
        text = found[0].rstrip(b"=").lower()
        return _HIDDEN if any(text in form for form in pieces) else found[0]

    def hide(said: bytes) -> bytes:
        if b"\n" not in said and not any(map(said.lower().__contains__, beginnings)):
            return said  # nearly every reply of a session, and each message has one
        return _BASE64.sub(piece, pattern.sub(_HIDDEN, said))

    return hide


def hiding_all(secrets: Iterable[bytes]) -> Hide:
    """What hides each of these, for whom there is no user name."""
    every = [hiding(b"", secret) for secret in secrets]
    return lambda said: reduce(lambda text, hide: hide(text), every, said)


def _hiding_pieces(secret: bytes) -> Hide:
    """Words that share a piece with it, in clear or in base64 of either alphabet."""
    forms = [form.lower().translate(_PLAIN_BASE64) for form in (secret, *(_core(secret, before) for before in range(3)))]
    pieces = {form[start:start + _PIECE] for form in forms for start in range(len(form) - _PIECE + 1)}

    def word(found: re.Match[bytes]) -> bytes:
        text = found[0].lower().translate(_PLAIN_BASE64)
        return _HIDDEN if any(text[start:start + _PIECE] in pieces for start in range(len(text) - _PIECE + 1)) else found[0]

    return lambda said: _WORD.sub(word, said)


def _core(password: bytes, before: int) -> bytes:
    """The characters of base64 that are the same whatever stands around the password, after `before` octets modulo 3."""
    encoded = base64.b64encode(bytes(before) + password).rstrip(b"=")
    return encoded[(8 * before + 5) // 6: 8 * (before + len(password)) // 6]


def _broken(form: bytes) -> bytes:
    return _BREAK.join(re.escape(bytes([octet])) for octet in form)
