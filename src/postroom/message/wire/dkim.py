"""DKIM signatures (RFC 6376), made by our own signer because it stands in the path of every message.

Promises: the same message, keys and moment give the same bytes, in every process; RSA of 2048 bits (RFC 8301) and Ed25519
(RFC 8463). Header fields are signed relaxed, the body simple: our bodies are quoted-printable or base64 without white space
at the end of a line, so nothing on the way has a reason to change them, and hashing is all that simple costs. Each field
that could mislead a reader is *oversigned*: listed once more than it occurs, so that adding one breaks the signature.
`sign` may be called from several threads at once; RSA lets the others run meanwhile.

Expects what the verifier of the final bytes holds: CRLF only, no control characters, each field at most once.

Fails: ValueError for a key or an algorithm that is not to be used, and for a message whose header has no end or a signed
field twice.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

RSA: Final = "rsa-sha256"
ED25519: Final = "ed25519-sha256"
RSA_BITS: Final = 2048
RSA_BITS_MIN: Final = 1024  # RFC 8301 3.2: verifiers take nothing below
LINE_MAX: Final = 78

_LISTED: Final = (
    b"from:from:to:to:cc:cc:subject:subject:date:date:reply-to:reply-to:\r\n"
    b" message-id:message-id:list-id:list-id:list-unsubscribe:list-unsubscribe:\r\n"
    b" list-unsubscribe-post:list-unsubscribe-post:mime-version:content-type:\r\n"
    b" content-type"
)
SIGNED: Final = tuple(dict.fromkeys(_LISTED.replace(b"\r\n ", b"").split(b":")))


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and where its public half is published: at SELECTOR._domainkey.DOMAIN. Made by `load_signer`."""

    domain: str
    selector: str
    algorithm: str
    make_signature: Callable[[bytes], bytes] = field(repr=False)


def load_signer(domain: str, selector: str, private_pem: str) -> Signer:
    """The signer of a private key (PKCS8, PEM); `domain` in A-labels. Raises ValueError for a key that is none to sign with."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # 6 MB: only who signs loads it
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # Whether its primes are primes is not tried again: we made it, and 40 ms would hold up every session of a worker.
    key = load_pem_private_key(private_pem.encode("ascii"), password=None, unsafe_skip_rsa_key_validation=True)
    if isinstance(key, Ed25519PrivateKey):
        return Signer(domain, selector, ED25519, lambda text: key.sign(sha256(text).digest()))  # RFC 8463 3: the hash is signed
    if not isinstance(key, RSAPrivateKey) or key.key_size < RSA_BITS_MIN:
        raise ValueError(f"a DKIM key is Ed25519, or RSA of at least {RSA_BITS_MIN} bits")
    padding, digest = PKCS1v15(), SHA256()
    return Signer(domain, selector, RSA, lambda text: key.sign(text, padding, digest))


def generate(algorithm: str) -> tuple[str, str]:
    """A new key: (private, PKCS8 as PEM; public, base64 as it stands in p= of its record). Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key: Ed25519PrivateKey | RSAPrivateKey
    if algorithm == RSA:
        key = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    elif algorithm == ED25519:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        raise ValueError(f"{algorithm} is no algorithm to make a key for")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private.decode("ascii"), _base64(public).decode("ascii")


class Dkim:
    """Signs the messages of one job. `tail` is how each of them ends, cut between two lines: hashed, but not returned. `more` are
    names of fields, in lower case, that are signed beside the usual ones.
    """

    def __init__(self, signers: Sequence[Signer], moment: datetime, tail: bytes = b"", more: Sequence[bytes] = ()) -> None:
        self.field_count = len(signers)
        self.is_slow = any(signer.algorithm == RSA for signer in signers)
        self._tail = tail.rstrip(b"\r\n")
        self._signed = (*SIGNED, *more)
        listed = _LISTED + b"".join(b":\r\n %b:%b" % (name, name) for name in more)
        openings = [_opening(signer, int(moment.timestamp()), listed) for signer in signers]
        self._signers = [(signer.make_signature, opening, b"dkim-signature:" + _relaxed(opening).partition(b": ")[2])
                         for signer, opening in zip(signers, openings, strict=True)]

    def body_hash(self, message: bytes) -> bytes:
        """SHA-256 of the body of message and tail, its blank lines at the end aside (RFC 6376 3.4.3)."""
        body = message[_end_of_header(message) + 4:]
        digest = sha256(body if self._tail else body.rstrip(b"\r\n"))
        digest.update(self._tail)
        digest.update(b"\r\n")
        return digest.digest()

    def sign(self, message: bytes, body_hash: bytes | None = None) -> bytes:
        """The message with a DKIM-Signature of each signer in front. `body_hash` saves hashing where the body is known."""
        body = _base64(self.body_hash(message) if body_hash is None else body_hash)
        fields = _fields_to_sign(message[:_end_of_header(message)], self._signed)
        pieces: list[bytes] = []
        for make_signature, opening, canonical in self._signers:
            signature = b"b=" + _base64(make_signature(b"%b%b%b; b=" % (fields, canonical, body)))
            lines = [signature[start:start + LINE_MAX - 1] for start in range(0, len(signature), LINE_MAX - 1)]
            pieces += (opening, body, b";\r\n ", b"\r\n ".join(lines), b"\r\n")
        return b"".join((*pieces, message))


def _opening(signer: Signer, seconds: int, listed: bytes) -> bytes:
    """The field up to the hash of the body, folded; a name may be longer than a line, and cannot be broken."""
    return (f"DKIM-Signature: v=1; a={signer.algorithm}; c=relaxed/simple; t={seconds};\r\n d={signer.domain};\r\n "
            f"s={signer.selector};\r\n h=".encode("ascii") + listed + b"; bh=")


def _end_of_header(message: bytes) -> int:
    return message.index(b"\r\n\r\n")


def _fields_to_sign(header: bytes, signed: tuple[bytes, ...]) -> bytes:
    """The fields that are signed, relaxed (RFC 6376 3.4.2), in the order of h=."""
    found: dict[bytes, bytes] = {}
    for line in _relaxed(header).split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.rstrip(b" ").lower()
        if name in signed:
            if name in found:
                raise ValueError(f"the message has the field {name.decode('ascii')} twice")
            found[name] = b"%b:%b\r\n" % (name, value.strip(b" "))
    return b"".join([found[name] for name in signed if name in found])


def _relaxed(fields: bytes) -> bytes:
    """Unfolded, and white space narrowed to one space: replaced all at once, which is faster than field by field."""
    text = fields.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


def _base64(octets: bytes) -> bytes:
    return b2a_base64(octets, newline=False)
