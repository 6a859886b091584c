"""Keys that open only here, and what is to be published for them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from acting import acting
from postroom.errors import Conflict, InvalidInput, Unavailable
from postroom.flow.account import accounts, domains, gateways
from postroom.flow.account.secrets import SecretBox
from postroom.ledger.database.db import Pool
from postroom.message.wire.dkim import Dkim, load_signer

BOX = SecretBox("test")
MESSAGE = b"From: news@club.example\r\n\r\nHello\r\n"


async def account_with_gateways(pool: Pool, *hosts: str, bounce_domain: str | None = None) -> int:
    account = await accounts.create_account(pool, "Club")
    for number, host in enumerate(hosts):
        await gateways.create_gateway(pool, BOX, acting(account.id), name=str(number), host=host)
    if bounce_domain:
        await accounts.change_account(pool, acting(account.id), bounce_domain=bounce_domain)
    return account.id


async def test_what_to_publish_holds_the_public_halves_of_the_keys_that_sign(pool: Pool) -> None:
    account_id = await account_with_gateways(pool)
    made = await domains.add_domain(pool, BOX, acting(account_id), " Club.EXAMPLE. ")
    rsa, ed25519 = await domains.keys_of_account(pool, acting(account_id))
    assert [record.name for record in made.keys] == [f"{key.selector}._domainkey.club.example" for key in (rsa, ed25519)]
    assert made.keys[0].text == f"v=DKIM1; k=rsa; p={rsa.public_key}"
    assert made.keys[1].text == f"v=DKIM1; k=ed25519; p={ed25519.public_key}"
    public = load_der_public_key(base64.b64decode(rsa.public_key))
    assert public.key_size == 2048  # type: ignore[union-attr]
    assert b"PRIVATE" not in rsa.private_key
    async with pool.connection() as conn:
        ids = await domains.signing_keys(conn, account_id, "News.Club.example")
        opened = await domains.opened_keys(conn, BOX, account_id, ids)
    signers = [load_signer(one.domain, one.selector, one.private_key) for one in opened]
    assert "PRIVATE" not in repr(opened)
    assert ids == [rsa.id, ed25519.id]
    assert [(one.domain, one.selector, one.algorithm) for one in signers] == [
        ("club.example", rsa.selector, "rsa-sha256"), ("club.example", ed25519.selector, "ed25519-sha256")]
    assert Dkim(signers, datetime(2026, 11, 24, tzinfo=UTC)).sign(MESSAGE).count(b"DKIM-Signature:") == 2


async def test_selectors_of_two_accounts_on_one_domain_do_not_meet(pool: Pool) -> None:
    names = set()
    for name in ("Club", "School"):
        account = await accounts.create_account(pool, name)
        added = await domains.add_domain(pool, BOX, acting(account.id), "club.example", ["ed25519"])
        names |= {record.name for record in added.keys}
    assert len(names) == 2


async def test_spf_is_suggested_for_the_senders_and_dmarc_for_the_domain(pool: Pool) -> None:
    account_id = await account_with_gateways(pool, "smtp.club.example", "9.9.9.9", "127.0.0.1", bounce_domain="b.club.example")
    made = await domains.add_domain(pool, BOX, acting(account_id), "club.example", ["ed25519", "ed25519"])
    spf = 'IN TXT "v=spf1 a:smtp.club.example ip4:9.9.9.9 ~all"'
    assert [record.line for record in made.spf] == [f"club.example. {spf}", f"b.club.example. {spf}"]
    assert made.dmarc.line == '_dmarc.club.example. IN TXT "v=DMARC1; p=none"'
    assert len(made.keys) == 1


async def test_a_bounce_domain_that_is_the_sending_domain_is_told_once(pool: Pool) -> None:
    account_id = await account_with_gateways(pool, bounce_domain="club.example")
    assert len((await domains.add_domain(pool, BOX, acting(account_id), "club.example", ["ed25519"])).spf) == 1


async def test_a_domain_that_is_known_keeps_its_keys(pool: Pool) -> None:
    account_id = await account_with_gateways(pool)
    await domains.add_domain(pool, BOX, acting(account_id), "bücher.example", ["ed25519"])
    keys = await domains.keys_of_account(pool, acting(account_id))
    assert keys[0].domain == "xn--bcher-kva.example"
    with pytest.raises(Conflict, match="already"):
        await domains.add_domain(pool, BOX, acting(account_id), "BÜCHER.example", ["rsa"])
    assert await domains.keys_of_account(pool, acting(account_id)) == keys


@pytest.mark.parametrize("name", ["", "localhost", "club..example", "-club.example", "a@club.example", "club example.org",
                                  "[127.0.0.1]", "x" * 64 + ".example", "club\0.example", "club.example..", "\udcff.example"])
async def test_what_is_no_domain_is_refused(pool: Pool, name: str) -> None:
    account_id = await account_with_gateways(pool)
    with pytest.raises(InvalidInput) as caught:
        await domains.add_domain(pool, BOX, acting(account_id), name, ["ed25519"])
    assert caught.value.faults[0].field == "domain"
    assert await domains.keys_of_account(pool, acting(account_id)) == []


@pytest.mark.parametrize("algorithms", [[], ["dsa"], ["rsa", "rsa-sha1"]])
async def test_a_key_of_another_kind_is_refused(pool: Pool, algorithms: list[str]) -> None:
    account_id = await account_with_gateways(pool)
    with pytest.raises(InvalidInput, match="rsa, ed25519"):
        await domains.add_domain(pool, BOX, acting(account_id), "club.example", algorithms)


async def test_keys_that_do_not_open_here_or_are_not_ours_let_nothing_go_unsigned(pool: Pool) -> None:
    account_id = await account_with_gateways(pool)
    await domains.add_domain(pool, BOX, acting(account_id), "club.example", ["ed25519"])
    other = await accounts.create_account(pool, "School")
    async with pool.connection() as conn:
        ids = await domains.signing_keys(conn, account_id, "club.example")
        with pytest.raises(Unavailable, match=r"DKIM key ed25519-\w+ of club\.example was stored with another POSTROOM_"):
            await domains.opened_keys(conn, SecretBox("another"), account_id, ids)
        with pytest.raises(Unavailable, match="not in the database"):
            await domains.opened_keys(conn, BOX, other.id, ids)
        assert await domains.signing_keys(conn, other.id, "club.example") == []
        assert await domains.opened_keys(conn, BOX, other.id, []) == ()
