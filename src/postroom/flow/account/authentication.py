"""Whether DNS lets a sending domain's mail pass: its DKIM keys, the SPF of its envelope senders, and DMARC over both.

Promises: nothing is changed; each look-up has its deadline and their number is bounded, whatever the records say; one that
fails is told as not known and hides no other. Raises NotFound, InvalidInput, Unavailable only for what was asked.
"""

from __future__ import annotations

import asyncio
from itertools import groupby

from postroom.domain.access import Actor, Right
from postroom.domain.authentication import (
    DMARC_SUGGESTION,
    SPF_LOOKUPS_MAX,
    DmarcRecord,
    Malformed,
    SpfRecord,
    Walk,
    applicable_policy,
    dkim_record,
    dmarc_names,
    ends_the_walk,
    is_dmarc,
    is_spf,
    organisational_domain,
    read_dmarc,
    read_key_record,
    read_spf,
)
from postroom.domain.checking import Finding, Level
from postroom.errors import NotFound, Unavailable
from postroom.flow.account.acting import permitted
from postroom.flow.account.domains import domain_name
from postroom.gateway.dns import Resolver, open_resolver
from postroom.ledger.account import accounts, domains
from postroom.ledger.account.domains import DkimKey
from postroom.ledger.database.db import Pool


async def check_domains(pool: Pool, actor: Actor, domain: str | None = None, *,
                        nameserver: str | None = None) -> list[Finding]:
    """Of each sending domain of the account, or of one, in the order DKIM, SPF, DMARC, alignment.

    `nameserver` (HOST or HOST:PORT) is asked instead of the system's. Raises NotFound, InvalidInput, Unavailable.
    """
    account_id = permitted(actor, Right.READ_SETTINGS)
    name = None if domain is None else domain_name(domain)
    async with pool.connection() as conn:
        account = await accounts.account_by_id(conn, account_id)
        keys = [key for key in await domains.keys_of_account(conn, account_id) if name in (None, key.domain)]
    if not keys:
        known = "has no sending domain yet" if name is None else f"does not send from {name}"
        raise NotFound(f"The account {known}. Add one: postroom domain add DOMAIN.")
    resolver = await open_resolver(nameserver)
    found = []
    for sending, its_keys in groupby(keys, key=lambda key: key.domain):
        sender = account.bounce_domain or sending
        found += await asyncio.gather(*(_check_key(resolver, key) for key in its_keys), _check_spf(resolver, sender))
        found += await _check_dmarc(resolver, sending, sender)
    return found


# -- DKIM --------------------------------------------------------------------------------------------------------------


async def _check_key(resolver: Resolver, key: DkimKey) -> Finding:
    """One record, with our public key."""
    wanted = dkim_record(key.domain, key.selector, key.algorithm, key.public_key)
    subject, publish = f"DKIM {wanted.name}", f"Publish: {wanted.line}"
    try:
        texts = await resolver.texts(wanted.name)
        if not texts:
            return Finding(Level.ERROR, subject, f"The key is not published. {publish}")
        if len(texts) > 1:
            return Finding(Level.ERROR, subject, f"There are {len(texts)} TXT records at that name. Keep one. {publish}")
        published, ours = read_key_record(texts[0]), read_key_record(wanted.text)
    except Malformed as error:
        return Finding(Level.ERROR, subject, f"{error} {publish}")
    except Unavailable as error:
        return Finding(Level.ERROR, subject, str(error))
    if not published.public_key:
        return Finding(Level.ERROR, subject, f"The key is revoked (p= is empty): what it signs fails. {publish}")
    if (published.key_type, published.public_key) != (ours.key_type, ours.public_key):
        return Finding(Level.ERROR, subject, f"Another key is published, so every signature fails. {publish}")
    if published.is_test:
        return Finding(Level.WARNING, subject, "The key is right, but t=y calls it a test: receivers may treat the mail as "
                       "unsigned. Take t=y out.")
    return Finding(Level.OK, subject, f"The key is published ({key.algorithm}).")


# -- SPF ---------------------------------------------------------------------------------------------------------------


async def _check_spf(resolver: Resolver, sender: str) -> Finding:
    """Exactly one record, which does not let everybody send and can be evaluated within the limit."""
    subject = f"SPF {sender}"
    try:
        record = await _spf_record(resolver, sender)
        lookups = await _count_lookups(resolver, record)
    except (Malformed, Unavailable) as error:
        return Finding(Level.ERROR, subject, str(error))
    return Finding(Level.OK, subject, f"One record that needs {lookups} of {SPF_LOOKUPS_MAX} look-ups. Whether it names "
                   "the servers that your gateway sends from, only its provider knows.")


async def _spf_record(resolver: Resolver, name: str) -> SpfRecord:
    """Raises Malformed, LookupFailed."""
    texts = [text for text in await resolver.texts(name) or () if is_spf(text)]
    if not texts:
        raise Malformed(f"{name} has no SPF record. Publish one that names the servers which send, as "
                        "`v=spf1 a:HOST ~all` or with the `include:` that your gateway's provider tells.")
    if len(texts) > 1:
        raise Malformed(f"{name} has {len(texts)} SPF records, so receivers ignore them all. Merge them into one.")
    try:
        record = read_spf(texts[0])
    except Malformed as error:
        raise Malformed(f"The SPF record of {name} cannot be used. {error}") from None
    if record.is_open:
        raise Malformed(f"The SPF record of {name} lets anybody send (+all). End it with ~all or -all.")
    return record


async def _count_lookups(resolver: Resolver, record: SpfRecord) -> int:
    """Through every include and redirect. Ends as soon as there are too many, so a circle ends too. Raises as above."""
    count, waiting = 0, [record]
    while waiting:
        record = waiting.pop()
        count += record.lookups
        if count > SPF_LOOKUPS_MAX:
            raise Malformed(f"It needs more than {SPF_LOOKUPS_MAX} look-ups, its includes counted, and receivers give up there. "
                            "Take out what is not needed, or name networks (ip4:, ip6:) instead of hosts.")
        waiting += [await _spf_record(resolver, name) for name in record.follows]
    return count


# -- DMARC -------------------------------------------------------------------------------------------------------------


async def _check_dmarc(resolver: Resolver, domain: str, sender: str) -> list[Finding]:
    """The policy that holds for the domain, and whether DKIM and SPF would align with it."""
    subject = f"DMARC {domain}"
    try:
        walk = await _walk(resolver, domain)
        applicable = applicable_policy(walk)
        if applicable is None:
            return [Finding(Level.ERROR, subject, "There is no DMARC record for it, and mailbox providers refuse bulk mail "
                            f'without one. Publish: _dmarc.{domain}. IN TXT "{DMARC_SUGGESTION}"')]
        where, record = applicable
        sender_owner = organisational_domain(await _walk(resolver, sender))
    except (Malformed, Unavailable) as error:
        return [Finding(Level.ERROR, subject, str(error))]
    policy = record.policy if where == domain else record.subdomains
    test = ", as a test (t=y)" if record.is_test else ""
    told = (f"p={policy} holds for it{test}, by _dmarc.{where}; sp={record.subdomains} below, np={record.nonexistent} for names "
            "that do not exist.")
    return [Finding(Level.OK, subject, told), _dkim_alignment(domain, record),
            _spf_alignment(domain, sender, record, aligns=sender_owner == organisational_domain(walk))]


def _dkim_alignment(domain: str, record: DmarcRecord) -> Finding:
    below = "does not align (adkim=s): add such a domain itself" if record.dkim_is_strict else "aligns too (relaxed)"
    told = f"A From in {domain} aligns (strict); a From in a domain below it {below}."
    return Finding(Level.OK, f"DKIM alignment {domain}", told)


def _spf_alignment(domain: str, sender: str, record: DmarcRecord, *, aligns: bool) -> Finding:
    subject = f"SPF alignment {domain}"
    if sender == domain:
        return Finding(Level.OK, subject, "The envelope sender is in the same domain and aligns (strict).")
    if aligns and not record.spf_is_strict:
        return Finding(Level.OK, subject, f"The envelope sender is in {sender} and aligns (relaxed).")
    why = "aspf=s wants the same domain" if aligns else "it belongs to another owner"
    return Finding(Level.WARNING, subject, f"The envelope sender is in {sender} and does not align: {why}. DMARC rests on DKIM "
                   "alone then.")


async def _walk(resolver: Resolver, domain: str) -> Walk:
    """The tree walk upwards from a domain (RFC 9989 4.10). Raises Malformed, LookupFailed."""
    walk: list[tuple[str, DmarcRecord | None]] = []
    for name in dmarc_names(domain):
        texts = [text for text in await resolver.texts(f"_dmarc.{name}") or () if is_dmarc(text)]
        if len(texts) > 1 and name == domain:
            raise Malformed(f"There are {len(texts)} DMARC records at _dmarc.{name}, so receivers ignore them all. Keep one.")
        record = read_dmarc(texts[0]) if len(texts) == 1 else None
        walk.append((name, record))
        if ends_the_walk(name, domain, record):
            break
    return walk
