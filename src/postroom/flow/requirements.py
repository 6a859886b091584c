"""What a message must have, whoever gets it: what its account requires, and what mailbox providers ask of bulk mail.

Part of the pre-flight; decided from what is frozen, without a look at a recipient or at DNS.
"""

from __future__ import annotations

from postroom.domain.preflight import BULK_FROM, Finding, FindingKind, Look
from postroom.ledger.accounts import Account, Gateway
from postroom.message.address import parse_address
from postroom.message.content import Bodies, Content
from postroom.message.template import Mentioned


def of_the_message(content: Content, bodies: Bodies, parts: Mentioned, account: Account, gateway: Gateway, *, has_keys: bool,
                   has_way_out: bool, recipient_count: int) -> Look:
    """What can be said of the message without looking at a recipient."""
    address = account.postal_address
    findings = []

    def find(kind: FindingKind, reason: str) -> None:
        findings.append(Finding(kind, reason))

    if account.requires_unsubscribe or "unsubscribe_url" in parts.own:
        if not has_way_out:
            find(FindingKind.NO_UNSUBSCRIBE, "There is no address to unsubscribe at: set the account's (postroom account set "
                                             "--unsubscribe-url), or POSTROOM_BASE_URL for Postroom's own page.")
        elif "unsubscribe_url" not in parts.own:
            find(FindingKind.NO_UNSUBSCRIBE, "The account wants a way to unsubscribe in every message: put "
                                             "{{ unsubscribe_url }} into it.")
    if account.requires_postal_address:
        if not address:
            find(FindingKind.NO_POSTAL_ADDRESS, "The account wants its postal address in every message, and has none: "
                                                "postroom account set --postal-address.")
        elif not parts.postal_address and not any(address in body for body in (bodies.html, bodies.text) if body):
            find(FindingKind.NO_POSTAL_ADDRESS, "The account wants its postal address in every message: put "
                                                "{{ account.postal_address }} into it.")
    if recipient_count >= BULK_FROM and not gateway.signs_dkim and not has_keys:
        find(*_unsigned(content.from_address, account.bounce_domain))
    return Look(tuple(findings), mentioned=tuple(sorted(parts.names)))


def _unsigned(from_address: str, bounce_domain: str | None) -> tuple[FindingKind, str]:
    domain = parse_address(from_address).envelope.decode("ascii").rpartition("@")[2]
    do = (f"Make them (postroom domain add {domain}), or say that the gateway signs "
          "(postroom gateway create --signs-dkim --replace).")
    # Who owns which domain is for DNS to say (`postroom domain check`); a common end of two labels is taken for one owner.
    if bounce_domain and bounce_domain.split(".")[-2:] != domain.split(".")[-2:]:
        return FindingKind.FROM_NOT_ALIGNED, (
            f"Nothing vouches for {domain}: the account has no DKIM keys for it, and its bounces go to {bounce_domain}, another "
            f"domain. Mailbox providers refuse bulk mail like that. {do}")
    return FindingKind.NO_DKIM, (f"The account has no DKIM keys for {domain}, which mailbox providers ask for from "
                                 f"{BULK_FROM:,} recipients on. {do}")
