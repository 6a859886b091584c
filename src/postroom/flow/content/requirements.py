"""What a message must have, whoever gets it: what its account requires, and what mailbox providers ask of bulk mail.

Part of the pre-flight; decided from what is frozen, without a look at a recipient or at DNS.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from html import unescape

from postroom.domain.preflight import BULK_FROM, Finding, FindingKind, Look
from postroom.flow.content.preparing import Prepared
from postroom.ledger.account.accounts import Account
from postroom.ledger.account.gateways import Gateway
from postroom.message.content import Bodies, Identity
from postroom.message.liquid.template import Mentioned
from postroom.message.wire.address import parse_address

_TAG = re.compile(r"<[^<>]*+>")


def of_the_message(prepared: Prepared, account: Account, gateway: Gateway, identity: Identity, *, has_keys: bool,
                   recipient_count: int, columns: Collection[str]) -> Look:
    """What can be said of the message without looking at a recipient; `columns` are those of the list."""
    content, bodies, parts = prepared.content, prepared.bodies, prepared.mentioned
    findings = [*_of_the_way_out(bodies, parts, account, identity), *_of_the_postal_address(bodies, parts, account),
                *prepared.remarks.findings(columns)]
    if not gateway.signs_dkim and not has_keys:
        findings += _of_what_is_unsigned(content.from_address, account, identity, recipient_count)
    return Look(tuple(findings), mentioned=tuple(sorted(parts.names)))


def _of_the_way_out(bodies: Bodies, parts: Mentioned, account: Account, identity: Identity) -> Iterator[Finding]:
    if (account.requires_unsubscribe or parts.way_out) and not identity.unsubscribe_url:
        yield Finding(FindingKind.NO_UNSUBSCRIBE, "There is no address to unsubscribe at: set the account's (postroom account "
                                                  "set --unsubscribe-url), or POSTROOM_BASE_URL for Postroom's own page.")
    elif account.requires_unsubscribe and (lacking := _without(bodies, parts.way_out)):
        yield Finding(FindingKind.NO_UNSUBSCRIBE, "The account wants a way to unsubscribe in every message: put "
                                                  f"{{{{ unsubscribe_url }}}} into {lacking}.")


def _of_the_postal_address(bodies: Bodies, parts: Mentioned, account: Account) -> Iterator[Finding]:
    if not account.requires_postal_address:
        return
    if not account.postal_address:
        yield Finding(FindingKind.NO_POSTAL_ADDRESS, "The account wants its postal address in every message, and has none: "
                                                     "postroom account set --postal-address.")
    elif lacking := _without(bodies, parts.postal_address | _showing(bodies, account.postal_address)):
        yield Finding(FindingKind.NO_POSTAL_ADDRESS, "The account wants its postal address in every message: put "
                                                     f"{{{{ account.postal_address }}}} into {lacking}.")


def _without(bodies: Bodies, having: frozenset[str]) -> str:
    """What has to be added to, in words: each body is read alone, so each needs it; "" where none lacks it."""
    names = {"html": "HTML", "text": "text"}
    there = [part for part in names if getattr(bodies, part) is not None]
    lacking = [part for part in there if part not in having]
    if not lacking:
        return ""
    return "it" if lacking == there else f"its {names[lacking[0]]} part too"


def _showing(bodies: Bodies, address: str) -> frozenset[str]:
    """The bodies in which the address stands as it is; in the HTML its lines may be divided by tags."""
    words = " ".join(address.split())
    html = unescape(_TAG.sub(" ", bodies.html or ""))
    return frozenset(part for part, text in (("html", html), ("text", bodies.text or "")) if words in " ".join(text.split()))


def _of_what_is_unsigned(from_address: str, account: Account, identity: Identity, recipient_count: int) -> Iterator[Finding]:
    domain = parse_address(from_address).envelope.decode("ascii").rpartition("@")[2]
    do = (f"Make them (postroom domain add {domain}), or say that the gateway signs "
          "(postroom gateway set --signs-dkim).")
    bounce_domain = account.bounce_domain
    if recipient_count < BULK_FROM:
        if identity.has_one_click:
            yield Finding(FindingKind.ONE_CLICK_UNSIGNED, (
                "One-click unsubscribe is offered, and mailbox providers heed it only where a DKIM signature covers it: the "
                f"account has no DKIM keys for {domain}. {do}"))
    # Who owns which domain is for DNS to say (`postroom domain check`); a common end of two labels is taken for one owner.
    elif bounce_domain and bounce_domain.split(".")[-2:] != domain.split(".")[-2:]:
        yield Finding(FindingKind.FROM_NOT_ALIGNED, (
            f"Nothing vouches for {domain}: the account has no DKIM keys for it, and its bounces go to {bounce_domain}, another "
            f"domain. Mailbox providers refuse bulk mail like that. {do}"))
    else:
        yield Finding(FindingKind.NO_DKIM, (f"The account has no DKIM keys for {domain}, which mailbox providers ask for from "
                                            f"{BULK_FROM:,} recipients on. {do}"))
