"""Email addresses: what is taken, how it is shown, compared and put on the wire.

An address is taken whole or refused with a sentence; nothing is repaired. Three things only are normalised, because two
spellings of them are the same address: white space around it is trimmed, the domain is lowercased and mapped as IDNA does
(UTS 46), and the text becomes NFC. There are no display names, comments, quoted local parts or IP literals.

Plain ASCII addresses pass one regular expression (about 1 us). Anything else is looked at step by step, to say what is
wrong, and its domain goes through `email-validator`; what comes out must pass the same regular expression, so that there
is one rule. Special-use domains (`.test`, `.example`, `.invalid`) are taken: the gateway says whether they exist.

A local part outside ASCII is refused for now: it needs SMTPUTF8 (RFC 6531), which the session does not speak yet.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from postroom.errors import InvalidInput

LOCAL_PART_MAX = 64  # octets, RFC 5321 4.5.3.1.1
DOMAIN_MAX = 253  # octets of a name without its final dot; RFC 5321 4.5.3.1.2 counts that dot and the length octet
ADDRESS_MAX = 254  # octets: a path of 256 with its two brackets, RFC 5321 4.5.3.1.3

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The look-ahead for "--" sends A-labels (xn--...) the long way, so that they are shown as what they stand for.
_DOMAIN = rf"(?!.{{{DOMAIN_MAX + 1}}})(?!.*--)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}"
# An "=?" could be read as an encoded word, which no address may hold (RFC 2047 5; F74).
_LOCAL_PART = rf"(?![^@]*=\?){_ATEXT}+(?:\.{_ATEXT}+)*"
_PLAIN = re.compile(rf"(?=[^@]{{1,{LOCAL_PART_MAX}}}@)({_LOCAL_PART})@({_DOMAIN})")
_WIRE = re.compile(_PLAIN.pattern.replace("(?!.*--)", ""))
# Enough to keep any other bytes out of a command or a header (F75), and cheap; the address was validated before.
_SAFE = re.compile(r"(?!.*=\?)[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+")
_LOCAL = re.compile(_LOCAL_PART)
_TRIMMED = " \t\r\n\xa0"
_NOT_ONE_ADDRESS = {
    "<": "Only the address itself may stand here, without a name or angle brackets.",
    ">": "Only the address itself may stand here, without a name or angle brackets.",
    ",": "There is a comma in the address; only one address may stand here.",
    ";": "There is a semicolon in the address; only one address may stand here.",
    '"': "Quotation marks are not supported in an address.",
}
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class AddressRefused(InvalidInput):
    """The text is not an address that can be mailed. `reason` is a sentence for the person who brought the list."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Address:
    """One usable address. `address` is for people, `key` for telling duplicates, `envelope` for RCPT TO and headers."""

    address: str
    key: str
    envelope: bytes


def parse_address(raw: str) -> Address:
    """Return the address in `raw`. Raises `AddressRefused`."""
    text = raw.strip(_TRIMMED)
    plain = _PLAIN.fullmatch(text)
    if plain is None or len(text) > ADDRESS_MAX:
        return _parse_slowly(text)
    address = f"{plain[1]}@{plain[2].lower()}"
    return Address(address, address.lower(), address.encode("ascii"))


def envelope(address: str) -> bytes:
    """Return the ASCII form of an address that `parse_address` returned before (its `address`).

    Raises `AddressRefused` for anything that could not stand in an SMTP command or a header, whoever wrote it.
    """
    if _SAFE.fullmatch(address):
        return address.encode("ascii")
    return parse_address(address).envelope


def _parse_slowly(text: str) -> Address:
    local, domain = _split(text)
    shown_domain, wire_domain = _normalised_domain(domain)
    wire = f"{local}@{wire_domain}"
    if len(wire) > ADDRESS_MAX:
        raise AddressRefused(f"The address is longer than {ADDRESS_MAX} characters.")
    if not _WIRE.fullmatch(wire):
        raise AddressRefused(f"The domain {_quoted(domain)} is not a valid domain name.")
    return Address(f"{local}@{shown_domain}", wire.lower(), wire.encode("ascii"))


def _split(text: str) -> tuple[str, str]:
    """Return local part and domain, the local part checked. Each refusal names the first thing that is wrong."""
    if not text:
        raise AddressRefused("The address is missing.")
    if len(text) > ADDRESS_MAX:  # before anything that costs more than linear time (CVE-2024-3651)
        raise AddressRefused(f"The address is longer than {ADDRESS_MAX} characters.")
    for character in text:
        if unicodedata.category(character) in _REFUSED_CATEGORIES:
            raise AddressRefused(f"The address contains the invisible character U+{ord(character):04X}.")
        if character.isspace():
            raise AddressRefused("There is a space in the address.")
        if character in _NOT_ONE_ADDRESS:
            raise AddressRefused(_NOT_ONE_ADDRESS[character])
    local, at, domain = text.rpartition("@")
    if not at:
        raise AddressRefused("There is no @ in the address.")
    if not domain:
        raise AddressRefused("There is nothing after the @.")
    _check_local_part(local)
    return local, domain


def _check_local_part(local: str) -> None:
    if not local:
        raise AddressRefused("There is nothing before the @.")
    if "@" in local:
        raise AddressRefused("There is more than one @ in the address.")
    if not local.isascii():
        raise AddressRefused(
            f"{_quoted(local)} before the @ has letters outside ASCII, which need the SMTP extension SMTPUTF8; "
            "it is not supported yet."
        )
    if len(local) > LOCAL_PART_MAX:
        raise AddressRefused(f"The part before the @ is longer than {LOCAL_PART_MAX} characters.")
    if not _LOCAL.fullmatch(local):
        raise AddressRefused(f"{_quoted(local)} is not valid before the @.")


def _normalised_domain(domain: str) -> tuple[str, str]:
    """Return the domain as shown (U-labels, lower case) and as sent (A-labels)."""
    from email_validator import EmailNotValidError, validate_email  # 30 ms to import; most lists never need it

    if domain.startswith("["):
        raise AddressRefused("A bracketed IP address after the @ is not supported.")
    if "." not in domain and domain.isascii():
        raise AddressRefused(f"The domain {_quoted(domain)} has no dot; a full domain name is needed.")
    try:
        found = validate_email(f"x@{domain}", check_deliverability=False, globally_deliverable=False)
    except (EmailNotValidError, UnicodeError) as error:
        raise AddressRefused(f"The domain {_quoted(domain)} is not a valid domain name.") from error
    if "." not in found.ascii_domain:
        raise AddressRefused(f"The domain {_quoted(domain)} has no dot; a full domain name is needed.")
    return unicodedata.normalize("NFC", found.domain), found.ascii_domain.lower()


def _quoted(text: str) -> str:
    return f'"{text if len(text) <= 80 else text[:79] + "…"}"'
