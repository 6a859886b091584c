"""Accounts and what belongs to them; what one account has, no other sees."""

from __future__ import annotations

import asyncio

import pytest

from postroom.domain.audience import IncomingRow
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow import accounts
from postroom.flow.secrets import SecretBox, hash_of
from postroom.ledger.db import Pool

BOX = SecretBox("test")


async def gateway(pool: Pool, account_id: int, **changes: object) -> int:
    return await accounts.create_gateway(pool, BOX, account_id, **{"name": "main", "host": "localhost", **changes})


async def test_a_name_belongs_to_one_account_also_when_two_ask_at_once(pool: Pool) -> None:
    made = await asyncio.gather(*(accounts.create_account(pool, " Club ") for _ in range(3)), return_exceptions=True)
    assert sorted(isinstance(one, Conflict) for one in made) == [False, True, True]
    assert [one.name for one in await accounts.all_accounts(pool)] == ["Club"]


@pytest.mark.parametrize(("name", "threshold"), [("", 100), ("   ", 100), ("x" * 201, 100), ("Club", 0), ("nul\0", 100),
                                                 ("byte \udcff", 100)])
async def test_an_account_that_cannot_be_is_refused(pool: Pool, name: str, threshold: int) -> None:
    with pytest.raises(InvalidInput):
        await accounts.create_account(pool, name, approval_threshold=threshold)
    assert await accounts.all_accounts(pool) == []


async def test_the_only_account_needs_no_name_and_of_several_one_must_be_named(pool: Pool) -> None:
    with pytest.raises(NotFound, match="postroom account create"):
        await accounts.find_account(pool, None)
    first = await accounts.create_account(pool, "first")
    assert await accounts.find_account(pool, None) == first
    await accounts.create_account(pool, "second")
    with pytest.raises(InvalidInput, match="There are 2 accounts; name one: first, second"):
        await accounts.find_account(pool, None)
    with pytest.raises(NotFound, match='no account named "third"'):
        await accounts.find_account(pool, "third")


@pytest.mark.parametrize("name", ["nul\0", "half \ud800", "byte \udcff"])
async def test_a_name_that_no_account_can_have_is_not_found(pool: Pool, name: str) -> None:
    with pytest.raises(NotFound, match="There is no account named") as caught:
        await accounts.find_account(pool, name)
    str(caught.value).encode()  # a terminal and JSON can take it


async def test_a_gateways_password_is_sealed_and_opens_again(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    await gateway(pool, account.id, username="u", password="secret")
    (stored,) = await accounts.gateways(pool, account.id)
    assert (stored.port, stored.connections, b"secret" in (stored.password or b"")) == (465, 10, False)
    assert BOX.open(stored.password or b"") == "secret"
    with pytest.raises(Conflict, match='already has a gateway named "main"'):
        await gateway(pool, account.id)


@pytest.mark.parametrize(("changes", "field"), [
    ({"security": "ssl"}, "security"), ({"port": 0}, "port"), ({"port": 65536}, "port"), ({"connections": 0}, "connections"),
    ({"connections": 101}, "connections"), ({"username": "u"}, "password"), ({"password": "p"}, "password"),
    ({"host": ""}, "host"), ({"host": "a b"}, "host"), ({"host": "a\0b"}, "host"), ({"host": "\udcff"}, "host"),
    ({"name": "nul\0"}, "name"), ({"name": "\ud800"}, "name"), ({"username": "\udcff", "password": "p"}, "username"),
    ({"username": "u", "password": "\udcff"}, "password"),
])
async def test_a_gateway_that_cannot_be_is_refused(pool: Pool, changes: dict[str, object], field: str) -> None:
    account = await accounts.create_account(pool, "Club")
    with pytest.raises(InvalidInput) as caught:
        await gateway(pool, account.id, **changes)
    assert caught.value.faults[0].field == field
    assert await accounts.gateways(pool, account.id) == []


@pytest.mark.parametrize("text", ["nul\0", "half \ud800", "byte \udcff"])
async def test_a_text_that_cannot_be_kept_names_no_key_no_field_and_no_reason(pool: Pool, text: str) -> None:
    account = await accounts.create_account(pool, "Club")
    for attempt in (accounts.create_key(pool, account.id, text), accounts.suppress(pool, account.id, ["a@x.example"], text),
                    accounts.create_account(pool, "Other", fields={"city": text}),
                    accounts.create_account(pool, "Other", fields={text: "Oslo"})):
        with pytest.raises(InvalidInput):
            await attempt
    assert await accounts.all_accounts(pool) == [account]


async def test_a_key_speaks_for_its_account_until_it_is_revoked(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    key = await accounts.create_key(pool, account.id, "app")
    holder = await accounts.holder_of(pool, key)
    assert holder is not None
    assert (holder.account_id, holder.name, holder.account_name) == (account.id, "app", "Club")
    assert await accounts.holder_of(pool, key + "x") is None
    with pytest.raises(Conflict):
        await accounts.create_key(pool, account.id, "app")
    async with pool.connection() as conn:
        await conn.execute("UPDATE api_key SET revoked_at = now() WHERE secret_hash = %s", (hash_of(key),))
    assert await accounts.holder_of(pool, key) is None


async def test_the_last_row_of_an_address_wins_and_its_contact_stays_one(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    for _ in range(2):
        now, problems = await accounts.import_contacts(pool, account.id, [
            IncomingRow(2, "a@x.example", {"n": 1}), IncomingRow(3, "A@x.example", {"n": 2}), IncomingRow(4, "bad", {})])
        assert (now, [(one.row_no, one.value) for one in problems]) == (1, [(4, "bad")])
    async with pool.connection() as conn:
        assert await (await conn.execute("SELECT address, fields FROM contact")).fetchall() == [("A@x.example", {"n": 2})]


async def test_an_address_is_suppressed_once_and_the_first_reason_stands(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    assert await accounts.suppress(pool, account.id, ["a@x.example", "b@x.example"], "Opted out.") == 2
    assert await accounts.suppress(pool, account.id, ["A@X.example", "c@x.example"], "Bounced.") == 1
    with pytest.raises(InvalidInput, match="Row 2: There is no @"):
        await accounts.suppress(pool, account.id, ["d@x.example", "bad"])
    async with pool.connection() as conn:
        rows = await (await conn.execute("SELECT address_key, reason FROM suppression ORDER BY 1")).fetchall()
    assert rows == [("a@x.example", "Opted out."), ("b@x.example", "Opted out."), ("c@x.example", "Bounced.")]


async def test_a_gateway_that_was_mistyped_can_be_corrected(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    made = await gateway(pool, account.id, host="smtp.exmaple", port=2599)
    again = await gateway(pool, account.id, host="smtp.example", security="starttls", replace=True)
    assert again == made, "it is the same one, so jobs that wait for it go on"
    (one,) = await accounts.gateways(pool, account.id)
    assert (one.host, one.port, one.security) == ("smtp.example", 587, "starttls")
    with pytest.raises(NotFound, match='no gateway named "other" to replace'):
        await gateway(pool, account.id, name="other", replace=True)
