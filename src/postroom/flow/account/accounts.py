"""Accounts, and what each says of itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from postroom.domain.access import Actor, Right
from postroom.errors import InvalidInput, NotFound, check_range, storable
from postroom.flow.account.acting import permitted
from postroom.ledger.account import accounts
from postroom.ledger.account.accounts import Account as Account
from postroom.ledger.database.db import Pool
from postroom.message.markup.masked import merge_field_in
from postroom.message.wire.address import LOCAL_PART_MAX, AddressRefused, parse_address

ATTEMPTS_MAX = 100
TEXT_MAX = 500  # characters of an unsubscribe address, and of a postal one

# Printable ASCII but for space, < and >. The host or the mailbox's domain is the same for everyone.
_URL = re.compile(rf"(?=[!-;=?-~]{{1,{TEXT_MAX}}}\Z)(?:https?://[^/?#{{}}]+(?:[/?#].*)?|mailto:[^@?]+@[^@?{{}}]+(?:\?.*)?)")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|[{}]")


async def create_account(pool: Pool, name: str, *, approval_threshold: int = 100,
                         fields: Mapping[str, str] | None = None) -> Account:
    """A new tenant. `fields` are its own merge fields, `{{ account.… }}`. Raises Conflict, InvalidInput."""
    _check_threshold(approval_threshold)
    name = storable(name, "name").strip()
    own = {storable(key, "fields"): storable(value, "fields") for key, value in (fields or {}).items()}
    async with pool.connection() as conn:
        account_id = await accounts.create_account(
            conn, name, approval_threshold=approval_threshold, fields={"name": name, **own})
        return await accounts.account_by_id(conn, account_id)


async def change_account(pool: Pool, actor: Actor, *, approval_threshold: int | None = None, bounce_domain: str | None = None,
                         unsubscribe_url: str | None = None, postal_address: str | None = None,
                         requires_unsubscribe: bool | None = None, requires_postal_address: bool | None = None,
                         retry_attempts_max: int | None = None, retry_deadline_s: int | None = None,
                         retry_tail_s: int | None = None) -> Account:
    """What the account says of itself. None leaves a thing as it is, an empty text unsets it; jobs that exist keep what they
    were frozen with. Raises NotFound, InvalidInput.

    The last three end the patience with temporary refusals (`ledger/delivery/retries.py`), in jobs that are sending too.
    """
    account_id = permitted(actor, Right.WRITE_SETTINGS)
    if approval_threshold is not None:
        _check_threshold(approval_threshold)
    check_range("A recipient is tried", retry_attempts_max, "times", "retry_attempts_max", ATTEMPTS_MAX)
    check_range("A recipient is tried for", retry_deadline_s, "seconds", "retry_deadline_s")
    check_range("A job with nothing but retries goes on for", retry_tail_s, "seconds", "retry_tail_s")
    async with pool.connection() as conn:
        return await accounts.change_account(
            conn, account_id, approval_threshold=approval_threshold,
            bounce_domain=bounce_domain and _bounce_domain(bounce_domain.strip()),
            unsubscribe_url=unsubscribe_url and _unsubscribe_url(unsubscribe_url.strip()),
            postal_address=postal_address and _postal_address(postal_address.strip()),
            requires_unsubscribe=requires_unsubscribe, requires_postal_address=requires_postal_address,
            retry_attempts_max=retry_attempts_max, retry_deadline_s=retry_deadline_s, retry_tail_s=retry_tail_s)


async def find_account(pool: Pool, name: str | None) -> Account:
    """By name; without a name the only account there is. Raises NotFound, InvalidInput."""
    async with pool.connection() as conn:
        if name is not None:
            return await accounts.account_by_name(conn, name)
        every = await accounts.all_accounts(conn)
    if not every:
        raise NotFound("There is no account yet. Create one: postroom account create NAME.")
    if len(every) > 1:
        names = ", ".join(one.name for one in every[:5])
        raise InvalidInput(f"There are {len(every)} accounts; name one: {names}.", field="account")
    return every[0]


async def account_by_id(pool: Pool, account_id: int) -> Account:
    async with pool.connection() as conn:
        return await accounts.account_by_id(conn, account_id)


async def all_accounts(pool: Pool) -> list[Account]:
    async with pool.connection() as conn:
        return await accounts.all_accounts(conn)


def _check_threshold(threshold: int) -> None:
    check_range("The approval threshold is", threshold, "recipients", "approval_threshold")


def _bounce_domain(domain: str) -> str:
    """The domain in A-labels. It is tried behind the longest local part, so that every envelope sender fits before it."""
    try:
        return parse_address(f"{'b' * LOCAL_PART_MAX}@{domain}").envelope.decode("ascii").partition("@")[2]
    except AddressRefused as refused:
        raise InvalidInput(f"Nothing can bounce to this domain: {refused}", field="bounce_domain") from None


def _unsubscribe_url(url: str) -> str:
    """It stands in a header as it is, on one line between angle brackets (RFC 2369), so nothing in it may end or break that."""
    if not _URL.fullmatch(url):
        raise InvalidInput("The unsubscribe address begins with https:, http: or mailto: and the place that it leads to; "
                           f"it has no spaces, no < and >, nothing outside ASCII, and at most {TEXT_MAX} characters.",
                           field="unsubscribe_url")
    counts = Counter(_PLACEHOLDER.findall(url))
    if counts.keys() - {"{token}", "{email}"} or max(counts.values(), default=0) > 1:
        raise InvalidInput("In braces the unsubscribe address may have {token} and {email}, each once: the recipient's own "
                           "are put there.", field="unsubscribe_url")
    return url


def _postal_address(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise InvalidInput(f"A postal address has at most {TEXT_MAX} characters.", field="postal_address")
    if field := merge_field_in(text):
        raise InvalidInput(f'A postal address is the same for everybody and takes no merge field: "{field}".',
                           field="postal_address")
    return storable(text, "postal_address")
