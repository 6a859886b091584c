"""Sending domains: their keys, made here and kept sealed, and the DNS records that have to be published for them.

A selector has a random part: several accounts may send from one domain, and what one publishes leaves the others' alone.
"""

from __future__ import annotations

import asyncio
import secrets as randomness
from collections.abc import Sequence
from dataclasses import dataclass, field

from postroom.domain.access import Actor, Right
from postroom.domain.authentication import DMARC_SUGGESTION, Record, dkim_record, spf_suggestion
from postroom.errors import InvalidInput, Unavailable
from postroom.flow.account.acting import permitted
from postroom.flow.account.secrets import SecretBox
from postroom.ledger.account import accounts, domains, gateways
from postroom.ledger.account.domains import DkimKey as DkimKey
from postroom.ledger.account.domains import NewKey
from postroom.ledger.database.db import Connection, Pool
from postroom.message.wire import dkim
from postroom.message.wire.address import AddressRefused, parse_address

ALGORITHMS = {"rsa": dkim.RSA, "ed25519": dkim.ED25519}


@dataclass(frozen=True, slots=True)
class Publication:
    """What to publish: `keys` as they are; `spf` merged into what there is, one record a name; `dmarc` where there is none."""

    domain: str
    keys: tuple[Record, ...]
    spf: tuple[Record, ...]
    dmarc: Record


@dataclass(frozen=True, slots=True)
class OpenedKey:
    """What signs for a domain. `private_key` is PKCS8, in PEM."""

    domain: str
    selector: str
    private_key: str = field(repr=False)


async def add_domain(pool: Pool, secrets: SecretBox, actor: Actor, name: str,
                     algorithms: Sequence[str] = tuple(ALGORITHMS)) -> Publication:
    """A domain that the account sends from, with a new key for each algorithm. Raises InvalidInput, NotFound, Conflict."""
    account_id = permitted(actor, Right.WRITE_SETTINGS)
    domain = domain_name(name)
    if not algorithms or set(algorithms) - ALGORITHMS.keys():
        raise InvalidInput(f"A key is for one of {', '.join(ALGORITHMS)}.", field="algorithm")
    keys = [await asyncio.to_thread(_new_key, secrets, algorithm) for algorithm in dict.fromkeys(algorithms)]
    async with pool.connection() as conn, conn.transaction():
        account = await accounts.account_by_id(conn, account_id)
        await domains.create_domain(conn, account_id, domain, keys)
        hosts = [gateway.host for gateway in await gateways.gateways_of_account(conn, account_id)]
    senders = dict.fromkeys(filter(None, (domain, account.bounce_domain)))
    return Publication(
        domain, tuple(dkim_record(domain, key.selector, key.algorithm, key.public_key) for key in keys),
        tuple(spf_suggestion(sender, hosts) for sender in senders), Record(f"_dmarc.{domain}", DMARC_SUGGESTION))


async def keys_of_account(pool: Pool, actor: Actor) -> list[DkimKey]:
    """By domain; every domain of the account has at least one."""
    account_id = permitted(actor, Right.READ_SETTINGS)
    async with pool.connection() as conn:
        return await domains.keys_of_account(conn, account_id)


async def signing_keys(conn: Connection, account_id: int, from_domain: str) -> list[int]:
    """The keys that sign for a From domain: those of the account's sending domain that it is, or that is nearest above it.

    None where there is no such domain. Raises InvalidInput for what is no domain name.
    """
    return [key.id for key in await domains.keys_for(conn, account_id, domain_name(from_domain))]


async def opened_keys(conn: Connection, secrets: SecretBox, account_id: int, key_ids: Sequence[int]) -> tuple[OpenedKey, ...]:
    """Raises Unavailable where one is not there or was sealed with another secret: nothing goes unsigned."""
    keys = await domains.keys_by_id(conn, account_id, key_ids)
    if len(keys) != len(set(key_ids)):
        raise Unavailable("A DKIM key that is to sign these messages is not in the database.")
    return tuple([OpenedKey(key.domain, key.selector, _opened(secrets, key)) for key in keys])


def domain_name(text: str) -> str:
    """As it stands in DNS: A-labels, lower case, no dot at the end. Raises InvalidInput."""
    name = text.strip().removesuffix(".")
    try:
        return parse_address(f"x@{name}").envelope.decode("ascii").partition("@")[2]
    except AddressRefused as refused:
        raise InvalidInput(f"{refused} A sending domain is what stands after the @.", field="domain") from None


def _new_key(secrets: SecretBox, algorithm: str) -> NewKey:
    private_key, public_key = dkim.generate(ALGORITHMS[algorithm])
    return NewKey(f"{algorithm}-{randomness.token_hex(4)}", ALGORITHMS[algorithm], secrets.seal(private_key), public_key)


def _opened(secrets: SecretBox, key: DkimKey) -> str:
    try:
        return secrets.open(key.private_key)
    except Unavailable:
        raise Unavailable(f"The DKIM key {key.selector} of {key.domain} was stored with another POSTROOM_SECRET_KEY. "
                          "Set the same key on every machine.") from None
