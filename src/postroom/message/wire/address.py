"""Email addresses: what is taken, how it is shown, compared and put on the wire.

An address is taken whole or refused with a sentence; nothing is repaired. Three things only are normalised, because two
spellings of them are the same address: white space around it is trimmed, the domain is lowercased and mapped as IDNA does
(UTS 46), and the text becomes NFC. There are no display names, comments, quoted local parts or IP literals.

Plain ASCII addresses pass one regular expression (about 1 us). Anything else is looked at step by step, to say what is
wrong, and its domain goes through `email-validator`; what comes out must pass the same regular expression, so that there
is one rule. Special-use domains (`.test`, `.example`, `.invalid`) are taken: the gateway says whether they exist.

A local part may be outside ASCII (RFC 6531 3.3, RFC 6532 3.2): such an address goes out as UTF-8, and only to a gateway that
offers SMTPUTF8. A domain always goes out as A-labels, which every gateway takes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

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
_WIRE_DOMAIN = re.compile(_DOMAIN.replace("(?!.*--)", ""))
# Enough to keep any other bytes out of a command or a header (F75), and cheap; the address was validated before.
_SAFE = re.compile(r"(?!.*=\?)[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+")
_LOCAL = re.compile(_LOCAL_PART.replace(_ATEXT, rf"(?:{_ATEXT}|[^\x00-\x7f])"))
_TRIMMED = " \t\r\n\xa0"
_TOO_LONG = f"The address is longer than {ADDRESS_MAX} bytes."
_NOT_ONE_ADDRESS = {
    "<": "Only the address itself may stand here, without a name or angle brackets.",
    ">": "Only the address itself may stand here, without a name or angle brackets.",
    ",": "There is a comma in the address; only one address may stand here.",
    ";": "There is a semicolon in the address; only one address may stand here.",
    '"': "Quotation marks are not supported in an address.",
}
# Not only what could be read as a line: what nobody can see, and what a later Unicode may yet give another key (Cn).
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


class AddressRefused(InvalidInput):
    """The text is not an address that can be mailed. `reason` is a sentence for the person who brought the list."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Address:
    """One usable address. `address` is for people, `key` for telling duplicates, `envelope` for RCPT TO and headers.

    `envelope` is the local part in UTF-8 and the domain in A-labels: ASCII, unless `needs_utf8` says otherwise.
    """

    address: str
    key: str
    envelope: bytes


def parse_address(raw: str, *, ascii_only: bool = False) -> Address:
    """Return the address in `raw`, `ascii_only` for From and Reply-To. Raises `AddressRefused`."""
    text = raw.strip(_TRIMMED)
    plain = _PLAIN.fullmatch(text)
    if plain is None or len(text) > ADDRESS_MAX:
        return _parse_slowly(text, ascii_only=ascii_only)
    address = f"{plain[1]}@{plain[2].lower()}"
    return Address(address, address.lower(), address.encode("ascii"))


def envelope(address: str) -> bytes:
    """Return the octets for RCPT TO of an address that `parse_address` returned before (its `address`).

    Raises `AddressRefused` for anything that could not stand in an SMTP command or a header, whoever wrote it.
    """
    if _SAFE.fullmatch(address):
        return address.encode("ascii")
    return parse_address(address).envelope


def needs_utf8(envelope: bytes) -> bool:
    """Whether only a gateway that offers SMTPUTF8 may be told this address (RFC 6531 3.2)."""
    return not envelope.isascii()


def _parse_slowly(text: str, *, ascii_only: bool) -> Address:
    local, domain = _split(text)
    if ascii_only and not local.isascii():
        raise AddressRefused(
            f"{_quoted(local)} before the @ has letters outside ASCII. From and Reply-To need an ASCII address, "
            "because most mail servers know no other."
        )
    shown_domain, wire_domain = _normalised_domain(domain)
    wire = f"{local}@{wire_domain}".encode()
    if len(wire) > ADDRESS_MAX:
        raise AddressRefused(_TOO_LONG)
    if not _WIRE_DOMAIN.fullmatch(wire_domain):
        raise AddressRefused(f"The domain {_quoted(domain)} is not a valid domain name.")
    return Address(f"{local}@{shown_domain}", f"{_folded(local)}@{wire_domain}", wire)


def _split(text: str) -> tuple[str, str]:
    """Return local part and domain in NFC, the local part checked. Each refusal names the first thing that is wrong."""
    if not text:
        raise AddressRefused("The address is missing.")
    if len(text) > ADDRESS_MAX:  # before anything that costs more than linear time (CVE-2024-3651)
        raise AddressRefused(_TOO_LONG)
    text = unicodedata.normalize("NFC", text)  # before the checks: it turns U+037E into a semicolon
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
    if len(local.encode()) > LOCAL_PART_MAX:
        raise AddressRefused(f"The part before the @ is longer than {LOCAL_PART_MAX} bytes.")
    # Also as a server reads it that takes look-alikes for what they look like (NFKC): a wide "@" or "<" is none here, but
    # the address would name somebody else there. And a combining mark needs a letter of its own to combine with.
    looks = unicodedata.normalize("NFKC", local)
    atoms_begin_with_marks = any(unicodedata.category(atom[:1] or "-").startswith("M") for atom in local.split("."))
    if not _LOCAL.fullmatch(local) or not _LOCAL.fullmatch(looks) or atoms_begin_with_marks:
        raise AddressRefused(f"{_quoted(local)} is not valid before the @.")


def _folded(local: str) -> str:
    """The local part as it is compared: without case, and with one spelling for what Unicode calls canonically equal.

    Case folding and not lower case, which depends on the place in the word (the final sigma). It makes `ß` the same as `ss`:
    taking two mailboxes for one skips the second, taking one for two could mail somebody who opted out.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", local).casefold())


@lru_cache(maxsize=1_024)  # a list has many addresses at one domain, and this takes 200 us
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
