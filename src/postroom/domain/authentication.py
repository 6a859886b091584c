"""Sender authentication as it stands in DNS: the records that a sending domain needs, and what published ones mean.

DKIM keys (RFC 6376 3.6.1, RFC 8463), SPF (RFC 7208) and DMARC (RFC 9989, with its tree walk instead of a list of public
suffixes). Pure text: who looks the records up is told by `dmarc_names` and by `SpfRecord.follows` what to ask for next.

Fails: `Malformed`, a whole sentence, for a record that receivers cannot use. Tags that nobody knows are ignored, as all three
standards want it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STRING_MAX = 255  # octets of one string of a TXT record (RFC 1035 3.3.14)
SPF_LOOKUPS_MAX = 10  # RFC 7208 4.6.4
DMARC_QUERIES_MAX = 8  # RFC 9989 4.10
DMARC_LABELS_MAX = 7  # where the walk goes on after the name itself

DMARC_SUGGESTION = "v=DMARC1; p=none"
DMARC_POLICIES = ("none", "quarantine", "reject")

_SPF_TERM = re.compile(r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?:[:/](.*))?|([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE)
_SPF_LOOKS_UP = frozenset({"include", "a", "mx", "ptr", "exists", "redirect"})


class Malformed(ValueError):
    """A record says something that receivers cannot use; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Record:
    """A TXT record to publish."""

    name: str
    text: str

    @property
    def line(self) -> str:
        """As a zone file takes it: a text that is too long for one string becomes several, which readers join."""
        strings = [f'"{self.text[start:start + STRING_MAX]}"' for start in range(0, len(self.text), STRING_MAX)]
        return f"{self.name}. IN TXT {' '.join(strings)}"


# -- DKIM --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """`public_key` is base64, empty where the key is revoked."""

    key_type: str
    public_key: str
    is_test: bool


def dkim_record(domain: str, selector: str, algorithm: str, public_key: str) -> Record:
    key_type = algorithm.removesuffix("-sha256")
    return Record(f"{selector}._domainkey.{domain}", f"v=DKIM1; k={key_type}; p={public_key}")


def read_key_record(text: str) -> KeyRecord:
    """Raises Malformed."""
    tags = _tags(text)
    if tags.get("v", "DKIM1") != "DKIM1":
        raise Malformed(f'It begins with v={tags["v"]}, not with v=DKIM1.')
    if "p" not in tags:
        raise Malformed("It has no p=, so there is no key in it.")
    if "sha256" not in (hashes := tags.get("h", "sha256").split(":")):
        raise Malformed(f"It allows no sha256, but h={':'.join(hashes)}.")
    return KeyRecord(tags.get("k", "rsa"), "".join(tags["p"].split()), "y" in tags.get("t", "").split(":"))


# -- SPF ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """`lookups` are the record's own, `follows` the domains whose records count as well. `is_open` lets anybody send."""

    lookups: int
    follows: tuple[str, ...]
    is_open: bool


def spf_suggestion(domain: str, gateway_hosts: Iterable[str]) -> Record:
    """Names the gateways that can be named; where none can, the domain's own hosts."""
    mechanisms = list(dict.fromkeys(filter(None, map(_mechanism, gateway_hosts)))) or ["a", "mx"]
    return Record(domain, " ".join(["v=spf1", *mechanisms, "~all"]))


def is_spf(text: str) -> bool:
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def read_spf(text: str) -> SpfRecord:
    """A record for which `is_spf` holds. Raises Malformed."""
    lookups = 0
    follows: list[str] = []
    redirect: str | None = None
    is_open = False
    for term in text.split()[1:]:
        found = _SPF_TERM.fullmatch(term)
        if found is None:
            raise Malformed(f'Its "{term}" is nothing that SPF knows, so receivers ignore the whole record.')
        qualifier, mechanism, value, modifier, target = found.groups()
        name = (mechanism or modifier).lower()
        if name == "all":  # what comes after it is never looked at, a redirect wherever it stands neither (RFC 7208 5.1)
            is_open, redirect = qualifier in ("", "+"), None
            break
        if name in ("ip4", "ip6"):
            _require_network(term, name, value)
        if name in ("include", "exists") and not value:
            raise Malformed(f'Its "{term}" names no domain, so receivers ignore the whole record.')
        if name == "redirect":
            redirect = target
        elif name in _SPF_LOOKS_UP:
            lookups += 1
            if name == "include":
                follows.append(value)
    if redirect is not None:
        lookups += 1
        follows.append(redirect)
    # What a macro stands for is known only for a message.
    return SpfRecord(lookups, tuple(name for name in follows if "%" not in name), is_open)


def _mechanism(host: str) -> str | None:
    """How SPF names a host; None for one that receivers never see, because it is known in its own network only."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return f"a:{host.lower()}" if "." in host else None
    return f"ip{address.version}:{address}" if address.is_global else None


def _require_network(term: str, name: str, value: str | None) -> None:
    try:
        network = ipaddress.ip_network(value or "", strict=False)
    except ValueError:
        network = None
    if network is None or f"ip{network.version}" != name:
        raise Malformed(f'Its "{term}" is no network, so receivers ignore the whole record.')


# -- DMARC -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """`policy` is as published; `subdomains` and `nonexistent` are what holds there. `boundary` is psd=: y, n or u."""

    policy: str
    subdomains: str
    nonexistent: str
    dkim_is_strict: bool
    spf_is_strict: bool
    boundary: str
    is_test: bool


# What was found on the way up: each name that was asked, without _dmarc, and its one record.
Walk = Sequence[tuple[str, DmarcRecord | None]]


def dmarc_names(domain: str) -> list[str]:
    """The names of the tree walk, below whose _dmarc a record may be: the domain itself, then upwards, at most eight."""
    labels = domain.split(".")
    starts = range(max(1, len(labels) - DMARC_LABELS_MAX), len(labels))
    return [domain, *(".".join(labels[start:]) for start in starts)]


def is_dmarc(text: str) -> bool:
    return re.match(r"v[ \t]*=[ \t]*DMARC1[ \t]*(;|\Z)", text) is not None


def read_dmarc(text: str) -> DmarcRecord:
    """A record for which `is_dmarc` holds. A policy that is missing or unknown asks for nothing, as p=none does (4.7)."""
    tags = _tags(text)

    def policy(tag: str, otherwise: str) -> str:
        value = tags.get(tag, "").lower()
        return value if value in DMARC_POLICIES else otherwise

    own = policy("p", "none")
    below = policy("sp", own)
    return DmarcRecord(own, below, policy("np", below), tags.get("adkim") == "s", tags.get("aspf") == "s",
                       tags.get("psd", "u"), tags.get("t") == "y")


def ends_the_walk(name: str, start: str, record: DmarcRecord | None) -> bool:
    return record is not None and (record.boundary == "n" or (record.boundary == "y" and name != start))


def organisational_domain(walk: Walk) -> str:
    """The domain whose owner answers for the name that the walk began at: equal ones align (RFC 9989 4.10.2)."""
    start = walk[0][0]
    records = [(name, record) for name, record in walk if record is not None]
    if not records:
        return start
    name, record = records[-1]
    if record.boundary == "y" and name != start:
        return ".".join(start.split(".")[-1 - len(name.split(".")):])
    return name


def applicable_policy(walk: Walk) -> tuple[str, DmarcRecord] | None:
    """Where the record is that holds for the name that the walk began at: its own, its owner's, or the suffix's above."""
    records = {name: record for name, record in walk if record is not None}
    for name in (walk[0][0], organisational_domain(walk), walk[-1][0]):
        if name in records:
            return name, records[name]
    return None


def _tags(text: str) -> dict[str, str]:
    """A list of tag=value;. The first of a tag that stands twice counts; what is no pair says nothing."""
    tags: dict[str, str] = {}
    for pair in text.split(";"):
        name, equals, value = pair.partition("=")
        if equals:
            tags.setdefault(name.strip(), value.strip())
    return tags
