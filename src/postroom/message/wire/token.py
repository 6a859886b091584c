"""Tokens that name one recipient of one job and cannot be forged: in unsubscribe links, and in the senders of envelopes.

A token is the job's number (5 octets), the position (3 octets) and a MAC of both under the account's own key: 128 bits of keyed
BLAKE2b (RFC 7693), another for each purpose, so that whoever sees an envelope sender cannot unsubscribe anybody with it.
In a link it is written in base64url, 32 characters; in an address in hex, because some servers change the case of those.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

_UNSUBSCRIBE, _BOUNCE = b"unsubscribe", b"bounce"
_NUMBERS = 8  # octets: the job's number and the position
_MAC = 16  # octets


class Tokens:
    """Makes the tokens of one job. `key` is the account's."""

    def __init__(self, key: bytes, job_id: int) -> None:
        self._job = job_id.to_bytes(5, "big")
        self._unsubscribe = blake2b(key=key, digest_size=_MAC, person=_UNSUBSCRIBE)
        self._bounce = blake2b(key=key, digest_size=_MAC, person=_BOUNCE)

    def unsubscribe(self, position: int) -> str:
        """For the link of the recipient at `position`. One of a test message has a position that no list reaches."""
        return urlsafe_b64encode(self._signed(self._unsubscribe, position)).decode("ascii")

    def bounce(self, position: int) -> str:
        """For the local part of the envelope sender (VERP)."""
        return self._signed(self._bounce, position).hex()

    def _signed(self, keyed: blake2b, position: int) -> bytes:
        numbers = self._job + position.to_bytes(3, "big")
        mac = keyed.copy()
        mac.update(numbers)
        return numbers + mac.digest()


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a token says, before its MAC was looked at with the key of the job's account."""

    job_id: int
    position: int
    token: str

    def is_genuine(self, key: bytes) -> bool:
        return compare_digest(Tokens(key, self.job_id).unsubscribe(self.position), self.token)


def read_unsubscribe(token: str) -> Claimed | None:
    """None for what is no token at all."""
    try:
        octets = urlsafe_b64decode(token.encode("ascii"))
    except ValueError:
        return None
    if len(octets) != _NUMBERS + _MAC:
        return None
    return Claimed(int.from_bytes(octets[:5], "big"), int.from_bytes(octets[5:_NUMBERS], "big"), token)
