"""The certificates that vouch for gateways: those of this machine, or a gateway's own, and what is said where one proves nothing.

A gateway's own are PEM, and take the place of this machine's: nothing else vouches for it. Each is one of an authority, an
intermediate one too, or one that a server signed for itself.

Fails with InvalidInput for what cannot vouch for anything, in a sentence that says what to give instead.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from postroom.errors import InvalidInput
from postroom.gateway.replies import printable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

OCTETS_MAX: Final = 65_536
COUNT_MAX: Final = 20
SOON: Final = timedelta(days=30)
_FIELD: Final = "ca_certificates"
_SHOWN_MAX: Final = 200
_NAMES_SHOWN: Final = 5
# X509_V_ERR_… of OpenSSL (openssl-verification-options).
_NO_TRUST: Final = frozenset({2, 18, 19, 20, 21, 27})
_NOT_YET, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64


@dataclass(frozen=True, slots=True)
class Authority:
    """One that vouches for a gateway: its name, and until when it may."""

    name: str
    ends_at: datetime

    def warning(self, now: datetime) -> str | None:
        """A sentence where its time is up, or soon will be."""
        if self.ends_at - now > SOON:
            return None
        ends = "ended" if self.ends_at <= now else "ends"
        return (f"The CA certificate of “{self.name}” {ends} on {self.ends_at:%Y-%m-%d}. Give the one that follows it: "
                "postroom gateway set --ca-file FILE.")


def authorities(pem: str) -> tuple[list[Authority], str]:
    """Whom the certificates in `pem` make vouch for a gateway, and these alone as PEM. Raises InvalidInput."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    if len(pem) > OCTETS_MAX:
        raise InvalidInput(f"The CA certificates are larger than {OCTETS_MAX // 1024} KiB. Give only those that vouch for this "
                           "gateway.", field=_FIELD)
    if "PRIVATE KEY-----" in pem:
        raise InvalidInput("There is a private key among the CA certificates. Keep it to yourself, and give the certificates "
                           "alone.", field=_FIELD)
    try:
        found = load_pem_x509_certificates(pem.encode())
        every = [_authority(one) for one in found]
    except ValueError:
        raise InvalidInput("The CA certificates cannot be read. They are given as PEM, which begins with "
                           "-----BEGIN CERTIFICATE-----.", field=_FIELD) from None
    if len(found) > COUNT_MAX:
        raise InvalidInput(f"A gateway has at most {COUNT_MAX} CA certificates, not {len(found)}.", field=_FIELD)
    return every, "".join(one.public_bytes(Encoding.PEM).decode("ascii") for one in found)


def _authority(certificate: Certificate) -> Authority:
    name = _shown(certificate.subject.rfc4514_string() or f"number {certificate.serial_number:x}")
    if not _is_authority(certificate) and not _signed_itself(certificate):
        raise InvalidInput(f"The certificate of “{name}” vouches for no other. Give the one of its issuer, "
                           f"“{_shown(certificate.issuer.rfc4514_string())}”.", field=_FIELD)
    return Authority(name, certificate.not_valid_after_utc)


def _is_authority(certificate: Certificate) -> bool:
    from cryptography.x509 import BasicConstraints, ExtensionNotFound

    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False


def _signed_itself(certificate: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@functools.lru_cache(maxsize=64)
def context_for(own: str | None) -> ssl.SSLContext:
    """TLS 1.2 or newer, where `own` or else this machine's certificates vouch. Kept: one costs 40 ms."""
    if own is None:
        context = ssl.create_default_context()
        # Python 3.13 began to refuse what RFC 5280 only asks of authorities, such as a root without key identifiers: many an
        # organisation's own one. Who is trusted does not depend on the version.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=own)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate authority is enough
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def presented(tls: ssl.SSLObject) -> Mapping[str, Any]:
    """What the other side's certificate says of itself, in a handshake that failed too; empty where it is not known."""
    # Public only from Python 3.13 on, and getpeercert() says nothing before the handshake is over.
    chain = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    try:
        return chain[0].get_info() if chain else {}
    except (ssl.SSLError, ValueError):
        return {}


def why_unproven(error: ssl.SSLCertVerificationError, shown: Mapping[str, Any], host: str, own: str | None) -> str:
    """Which certificate does not prove that its server is `host`, why, and what to do, as the end of a sentence."""
    code, which = error.verify_code, "its certificate"
    if shown:
        which += f" (of “{_name(shown['subject'])}”, issued by “{_name(shown['issuer'])}”)"
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        names = [str(value) for kind, value in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        told = _shown(", ".join(names[:_NAMES_SHOWN])) + more if names else "no name"
        return f"{which} is for {told}, and not for {host}; give the gateway a name that it is for as its host"
    if code in (_EXPIRED, _NOT_YET) and shown:
        begins, ends = (datetime.fromtimestamp(ssl.cert_time_to_seconds(shown[key]), UTC) for key in ("notBefore", "notAfter"))
        return (f"{which}, good from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}, or one that it depends on, is out of date; have it "
                "renewed, and look at this machine's clock")
    if code in _NO_TRUST:
        if own is None:
            return (f"{which} comes from nobody whom this machine trusts ({error.verify_message}); if that is your own CA, give "
                    "the gateway its certificate: postroom gateway set --ca-file FILE")
        trusted = ", ".join(f"“{one.name}”" for one in authorities(own)[0][:_NAMES_SHOWN])
        return (f"{which} is not vouched for by its own CA certificates, those of {trusted} ({error.verify_message}); give the "
                "right one: postroom gateway set --ca-file FILE")
    return f"{which} does not prove who it is ({error.verify_message})"


def _name(name: Any) -> str:
    """Of OpenSSL's pairs, innermost first: the most telling of them."""
    pairs = {key: value for part in name for key, value in part}
    return _shown(str(pairs.get("commonName") or ", ".join(map(str, pairs.values())) or "nobody"))


def _shown(text: str) -> str:
    return printable(" ".join(text.split()).encode("utf-8", "replace"))[:_SHOWN_MAX]
