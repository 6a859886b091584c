"""Secrets at rest: gateway passwords sealed with AES-256-GCM, API keys kept only as hashes.

The key is the installation's, outside the database: whoever has only a dump has no password.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from postroom.errors import Unavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_OCTETS = 12
KEY_PREFIX = "postroom_"


class SecretBox:
    """Seals and opens with the installation's secret key, which may be any text; 32 octets are derived from it."""

    def __init__(self, secret_key: str) -> None:
        self._key = hashlib.sha256(b"postroom gateway passwords\0" + secret_key.encode()).digest()

    def seal(self, plain: str) -> bytes:
        nonce = os.urandom(NONCE_OCTETS)
        return nonce + self._cipher().encrypt(nonce, plain.encode(), None)

    def open(self, sealed: bytes) -> str:
        """Raises Unavailable where it was sealed with another key."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher().decrypt(sealed[:NONCE_OCTETS], sealed[NONCE_OCTETS:], None).decode()
        except InvalidTag:
            raise Unavailable("A gateway password was stored with another POSTROOM_SECRET_KEY. "
                              "Set the same key on every machine, or store the password again.") from None

    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 6 MB that a worker without passwords does not need

        return AESGCM(self._key)


def new_api_key() -> str:
    """256 random bits; the prefix lets secret scanners find a leaked one."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_of(api_key: str) -> bytes:
    """Plain SHA-256 is enough for a key that nobody can guess; slow hashes are for passwords that people choose."""
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).digest()
