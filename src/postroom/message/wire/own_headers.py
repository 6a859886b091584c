"""Header fields of a job's own, beside those that Postroom writes: their names, what may stand in them, how it is written.

Safe are the names listed here, and every other `X-` name that is no provider's. What Postroom writes itself, what servers write,
and what may change who gets the message, where answers go or whether it goes out at all is refused, with the reason.

Promises: a field that `faults` finds nothing in is one field, whatever reads it. Text is encoded where it has to be (RFC 2047);
what a machine reads is printable ASCII, left as it is on one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from postroom.errors import Fault
from postroom.message.wire import headers
from postroom.message.wire.headers import Unrenderable

COUNT_MAX: Final = 20
NAME_MAX: Final = 60  # characters
VALUE_MAX: Final = 900  # characters: with the name no line is longer than RFC 5322 allows
SHOWN_MAX: Final = 60

Header = tuple[str, str]  # name, value

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.lower().split())


# What people read. Every other X- name is such a field too.
_TEXTS: Final = _words("Organization Comments Keywords User-Agent")
# What programs of the recipients read.
_MACHINE_READ: Final = _words(
    "Precedence Auto-Submitted Importance Priority Sensitivity List-Help List-Owner List-Post List-Archive List-Subscribe "
    "X-Priority X-MSMail-Priority X-Auto-Response-Suppress X-Entity-Ref-ID")
# What a gateway reads, and mostly takes off: a signature that covers one of these would break.
_FOR_THE_GATEWAY: Final = _words(
    "X-SES-Configuration-Set X-SES-Message-Tags X-SES-Tenant "
    "X-PM-Message-Stream X-PM-Tag X-PM-TrackOpens X-PM-TrackLinks "
    "X-Mailgun-Tag X-Mailgun-Variables X-Mailgun-Track X-Mailgun-Track-Opens X-Mailgun-Track-Clicks "
    "X-MC-Tags X-MC-Metadata X-MC-Subaccount X-MC-Track X-MC-IpPool "
    "X-MJ-CustomID X-MJ-EventPayload X-Mailjet-Campaign X-Mailjet-TrackOpen X-Mailjet-TrackClick "
    "X-Mailin-Tag X-Mailin-Custom X-SMTPAPI X-MSYS-API")
_FOR_THE_GATEWAY_PREFIX: Final = "x-pm-metadata-"
# JSON that may say anything, recipients and copies too: only these of its keys.
_KEYS: Final = {"x-smtpapi": _words("category unique_args asm_group_id ip_pool"),
                "x-msys-api": _words("campaign_id metadata tags")}
_FAMILIES: Final = re.compile(
    r"x-(?:ses|pm|mailgun|mc|mj|mailjet|mailin|sib|msys|smtpapi|sendgrid|sg|elasticemail|smtp2go|sparkpost|mandrill|brevo|ms|microsoft|forefront|google|gm)(?:-.*)?")

_REFUSED: Final = tuple((re.compile(pattern), reason) for pattern, reason in (
    (r"from|to|subject|date|message-id|reply-to|list-id|list-unsubscribe(?:-post)?|feedback-id|mime-version|content-.*|cfbl-.*"
     r"|x-postroom.*", "Postroom writes it itself"),
    (r"cc|.*bcc.*|apparently-to|resent-.*|x-(?:.*-)?(?:rcpt|recipients?|envelope)(?:-.*)?"
     r"|x-mc-preserverecipients", "it may change who gets the message"),
    (r"(?:x-)?(?:sender|return-path|errors-to|bounces-to|from)|disposition-notification-.*|return-receipt-to"
     r"|x-confirm-reading-to|x-reply-to|x-ses-(?:source|from|return-path)-arn|x-mc-(?:returnpathdomain|signingdomain)",
     "it may change who the message is from, or where answers and bounces go"),
    (r"(?:x-)?(?:received|delivered-to|dkim|domainkey|arc|authentication|original|failed-recipients)(?:-.*)?",
     "servers on the way write it"),
    (r"(?:x-)?(?:list-)?unsubscribe.*", "the way out is the account's: postroom account set --unsubscribe-url"),
    (r"x-(?:.*-)?(?:to|cc)", "it may change who gets the message"),  # whatever gateway it is meant for
))


def faults(own: Sequence[Header]) -> list[Fault]:
    """Everything that is wrong with these fields, each fault with the field's name."""
    if len(own) > COUNT_MAX:
        return [Fault(f"A message has at most {COUNT_MAX} header fields of its own, not {len(own)}.", field="headers")]
    found, seen = list[str](), set[str]()
    for name, value in own:
        if reason := _refused_name(name) or ("it is given twice" if name.lower() in seen else ""):
            found.append(f'The header field "{name[:SHOWN_MAX]}" cannot be used: {reason}.')
        elif reason := _refused_value(name, value):
            found.append(f"The header field {name} {reason}.")
        seen.add(name.lower())
    return [Fault(one, field="headers") for one in found]


def written(own: Sequence[Header]) -> Iterator[bytes]:
    """Each field as it stands in the message, with its line end. They were found without fault."""
    for name, value in own:
        body = headers.unstructured(name, value) if _is_text(name.lower()) else value.encode("ascii")
        yield b"%b: %b\r\n" % (name.encode("ascii"), body)


def signed(own: Sequence[Header]) -> list[bytes]:
    """The names that a DKIM signature covers, in lower case: those that arrive."""
    names = (name.lower() for name, _ in own)
    return [name.encode("ascii") for name in names if not _is_for_the_gateway(name)]


def own_header(line: str) -> Header:
    """The field of "Name: value"; what is no such line is a field without a value, which `faults` refuses."""
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _refused_name(given: str) -> str:
    """Why a field of this name is refused; "" if it is not."""
    name = given.lower()
    if not _NAME.fullmatch(given) or len(given) > NAME_MAX:
        return f"a name has 1 to {NAME_MAX} letters, digits and hyphens, and begins with a letter"
    for pattern, reason in _REFUSED:
        if pattern.fullmatch(name):
            return reason
    if name in _TEXTS | _MACHINE_READ or _is_for_the_gateway(name):
        return ""
    if _FAMILIES.fullmatch(name):
        return "its prefix belongs to a provider, and it is not one of those that are known to be safe"
    return "" if name.startswith("x-") else "it is not one of those that are known to be safe; one of your own begins with X-"


def _refused_value(name: str, value: str) -> str:
    """What is wrong with it, as the end of a sentence; "" if nothing is."""
    if not value.strip():
        return 'has no value; write it as "Name: value"'
    if len(value) > VALUE_MAX:
        return f"is longer than {VALUE_MAX} characters"
    try:
        headers.unstructured(name, value)
    except Unrenderable:
        return "holds a line break or a control character"
    if _is_text(name.lower()):
        return ""
    if not value.isascii() or "=?" in value:
        return 'is read by programs: it holds printable ASCII only, and no "=?"'
    return _refused_keys(value, _KEYS[name.lower()]) if name.lower() in _KEYS else ""


def _refused_keys(value: str, allowed: frozenset[str]) -> str:
    try:
        said = json.loads(value)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return "is no JSON object"
    if others := sorted(said.keys() - allowed):
        return f'may hold {", ".join(sorted(allowed))} only; "{others[0][:SHOWN_MAX]}" may change who gets the message, or what'
    return ""


def _is_text(name: str) -> bool:
    return name not in _MACHINE_READ and not _is_for_the_gateway(name)


def _is_for_the_gateway(name: str) -> bool:
    return name in _FOR_THE_GATEWAY or (name.startswith(_FOR_THE_GATEWAY_PREFIX) and name != _FOR_THE_GATEWAY_PREFIX)
