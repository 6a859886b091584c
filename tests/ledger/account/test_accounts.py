"""Accounts and what belongs to them; what one account has, no other sees."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from acting import acting
from postroom.domain.access import KEY_RIGHTS
from postroom.domain.audience import IncomingRow
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow.account import accounts, gateways, keys
from postroom.flow.account.secrets import SecretBox, hash_of
from postroom.flow.audience import contacts, suppressions
from postroom.ledger.database.db import Pool

BOX = SecretBox("test")


async def gateway(pool: Pool, account_id: int, **changes: object) -> int:
    return await gateways.create_gateway(pool, BOX, acting(account_id), **{"name": "main", "host": "localhost", **changes})


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
    (stored,) = await gateways.gateways(pool, acting(account.id))
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
    assert await gateways.gateways(pool, acting(account.id)) == []


@pytest.mark.parametrize("text", ["nul\0", "half \ud800", "byte \udcff"])
async def test_a_text_that_cannot_be_kept_names_no_key_no_field_and_no_reason(pool: Pool, text: str) -> None:
    account = await accounts.create_account(pool, "Club")
    for attempt in (keys.create_key(pool, acting(account.id), text),
                    suppressions.suppress(pool, acting(account.id), ["a@x.example"], text),
                    accounts.create_account(pool, "Other", fields={"city": text}),
                    accounts.create_account(pool, "Other", fields={text: "Oslo"})):
        with pytest.raises(InvalidInput):
            await attempt
    assert await accounts.all_accounts(pool) == [account]


async def test_a_key_speaks_for_its_account_until_it_is_revoked(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    key = await keys.create_key(pool, acting(account.id), "app")
    holder = await keys.holder_of(pool, key)
    assert holder is not None
    assert (holder.account_id, holder.name, holder.rights) == (account.id, "key app", KEY_RIGHTS)
    assert await keys.holder_of(pool, key + "x") is None
    with pytest.raises(Conflict):
        await keys.create_key(pool, acting(account.id), "app")
    async with pool.connection() as conn:
        await conn.execute("UPDATE api_key SET revoked_at = now() WHERE secret_hash = %s", (hash_of(key),))
    assert await keys.holder_of(pool, key) is None


async def test_the_last_row_of_an_address_wins_and_its_contact_stays_one(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    for _ in range(2):
        now, problems, _ = await contacts.import_contacts(pool, acting(account.id), [
            IncomingRow(2, "a@x.example", {"n": 1}), IncomingRow(3, "A@x.example", {"n": 2}), IncomingRow(4, "bad", {})])
        assert (now, [(one.row_no, one.value) for one in problems]) == (1, [(4, "bad")])
    async with pool.connection() as conn:
        assert await (await conn.execute("SELECT address, fields FROM contact")).fetchall() == [("A@x.example", {"n": 2})]


async def test_an_address_is_suppressed_once_and_the_first_reason_stands(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    assert await suppressions.suppress(pool, acting(account.id), ["a@x.example", "b@x.example"], "Opted out.") == 2
    assert await suppressions.suppress(pool, acting(account.id), ["A@X.example", "c@x.example"], "Bounced.") == 1
    with pytest.raises(InvalidInput, match="Row 2: There is no @"):
        await suppressions.suppress(pool, acting(account.id), ["d@x.example", "bad"])
    async with pool.connection() as conn:
        rows = await (await conn.execute("SELECT address_key, reason FROM suppression ORDER BY 1")).fetchall()
    assert rows == [("a@x.example", "Opted out."), ("b@x.example", "Opted out."), ("c@x.example", "Bounced.")]


async def test_a_gateway_that_was_mistyped_can_be_corrected(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    made = await gateway(pool, account.id, host="smtp.exmaple", port=2599)
    again = await gateway(pool, account.id, host="smtp.example", security="starttls", replace=True)
    assert again == made, "it is the same one, so jobs that wait for it go on"
    (one,) = await gateways.gateways(pool, acting(account.id))
    assert (one.host, one.port, one.security) == ("smtp.example", 587, "starttls")
    with pytest.raises(NotFound, match='no gateway named "other" to replace'):
        await gateway(pool, account.id, name="other", replace=True)


async def test_an_account_changes_only_what_is_given_and_an_empty_text_unsets(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    other = await accounts.create_account(pool, "Other")
    assert (account.bounce_domain, account.unsubscribe_url, account.postal_address) == (None, None, None)
    assert (account.requires_unsubscribe, account.requires_postal_address) == (False, False)
    said = {"approval_threshold": 7, "bounce_domain": "bounces.club.example", "postal_address": "1 Main St\nOslo",
            "unsubscribe_url": "https://club.example/out?who={email}&t={token}", "requires_unsubscribe": True,
            "requires_postal_address": True, "retry_attempts_max": 3, "retry_deadline_s": 60, "retry_tail_s": 5}
    changed = await accounts.change_account(pool, acting(account.id), **said)
    assert changed == replace(account, **said) == await accounts.account_by_id(pool, account.id)
    assert await accounts.change_account(pool, acting(account.id)) == changed
    unset = await accounts.change_account(pool, acting(account.id), bounce_domain="", unsubscribe_url="", postal_address=" ",
                                          requires_unsubscribe=False, requires_postal_address=False)
    assert unset == replace(account, approval_threshold=7, retry_attempts_max=3, retry_deadline_s=60, retry_tail_s=5)
    assert await accounts.account_by_id(pool, other.id) == other
    with pytest.raises(NotFound):
        await accounts.change_account(pool, acting(999), approval_threshold=7)


@pytest.mark.parametrize(("given", "kept"), [
    ("Bounces.Club.EXAMPLE", "bounces.club.example"), (" bounces.club.example ", "bounces.club.example"),
    ("bücher.example", "xn--bcher-kva.example"), ("xn--bcher-kva.example", "xn--bcher-kva.example"),
])
async def test_a_bounce_domain_is_kept_as_servers_write_it(pool: Pool, given: str, kept: str) -> None:
    account = await accounts.create_account(pool, "Club")
    assert (await accounts.change_account(pool, acting(account.id), bounce_domain=given)).bounce_domain == kept


@pytest.mark.parametrize("url", [
    "https://club.example", "https://club.example:8443/u/{token}?e={email}#top", "http://127.0.0.1:8025/u/{token}",
    "mailto:out@club.example?subject=unsubscribe%20{token}", "mailto:out+{token}@club.example",
    "https://club.example/" + "x" * (500 - len("https://club.example/")),
])
async def test_an_unsubscribe_address_may_hold_the_recipients_own_token_and_email(pool: Pool, url: str) -> None:
    account = await accounts.create_account(pool, "Club")
    assert (await accounts.change_account(pool, acting(account.id), unsubscribe_url=url)).unsubscribe_url == url


UNSAYABLE = {
    "approval_threshold": [0, 2**31], "retry_attempts_max": [0, 101], "retry_deadline_s": [0, 2**31], "retry_tail_s": [-1, 2**31],
    "bounce_domain": ["localhost", "a b.example", "me@club.example", "[127.0.0.1]", "club.example\r\nX: y", "-.example",
                      "nul\0.example", "\udcff.example", " ",
                      ".".join(["x" * 50] * 4)],  # a domain, but too long for what stands before it
    "unsubscribe_url": [
        "club.example/out", "ftp://club.example/", "javascript:alert(1)", "https://", "https:///out", "https:// club.example/",
        "https://club.example/a b", "https://club.example/>, <https://evil.example/", "https://club.example/\r\nBcc: a@b",
        "https://club.example/zurück", "HTTPS://club.example/", "https://club.example/\0", "https://club.example/\ud800",
        "https://club.example/" + "x" * 480, "https://{token}.club.example/", "https://club.example/{name}",
        "https://club.example/{token}/{token}", "https://club.example/{token", "https://club.example/{{token}}",
        "https://club.example/{}", "mailto:", "mailto:out", "mailto:out@{email}"],
    "postal_address": ["x" * 501, "nul\0", "half \ud800"],
}


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in UNSAYABLE.items() for text in texts])
async def test_what_an_account_cannot_say_of_itself_is_refused_and_nothing_changes(pool: Pool, field: str, text: object) -> None:
    account = await accounts.create_account(pool, "Club")
    with pytest.raises(InvalidInput) as caught:
        await accounts.change_account(pool, acting(account.id), **{"requires_unsubscribe": True, field: text})
    assert caught.value.faults[0].field == field
    str(caught.value).encode()  # a terminal and JSON can take it
    assert await accounts.account_by_id(pool, account.id) == account


async def test_a_gateway_says_whether_it_signs_and_a_correction_says_it_again(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    for signs, again in ((True, False), (False, True)):
        await gateway(pool, account.id, signs_dkim=signs, replace=again)
        assert [one.signs_dkim for one in await gateways.gateways(pool, acting(account.id))] == [signs]


async def test_a_gateway_has_the_limits_of_its_operator_and_a_correction_gives_all_of_them_anew(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    limits = {"messages_per_s": 0.5, "messages_per_connection": 100, "daily_quota": 10_000, "warm_up_from": 200}
    for given, again in (({}, False), (limits, True), ({"daily_quota": 5}, True)):
        await gateway(pool, account.id, limits=gateways.Limits(**given), replace=again)
        (one,) = await gateways.gateways(pool, acting(account.id))
        assert {name: getattr(one, name) for name in limits} == dict.fromkeys(limits) | given


@pytest.mark.parametrize(("field", "value"), [
    ("messages_per_s", 0.0), ("messages_per_s", -1.0), ("messages_per_s", float("nan")), ("messages_per_s", float("inf")),
    ("messages_per_connection", 0), ("daily_quota", 0), ("daily_quota", 2**31), ("warm_up_from", -1)])
async def test_a_limit_that_would_let_nothing_or_everything_through_is_refused(pool: Pool, field: str, value: float) -> None:
    account = await accounts.create_account(pool, "Club")
    with pytest.raises(InvalidInput) as caught:
        await gateway(pool, account.id, limits=gateways.Limits(**{field: value}))
    assert caught.value.faults[0].field == field
    assert await gateways.gateways(pool, acting(account.id)) == []
