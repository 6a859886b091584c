"""What a real DNS server has of a domain, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from acting import acting
from name_server import SERVFAIL, NameServer, Zone, name_server
from postroom.domain.checking import Level
from postroom.errors import NotFound
from postroom.flow.account import accounts, domains
from postroom.flow.account.authentication import check_domains
from postroom.flow.account.secrets import SecretBox
from postroom.ledger.database.db import Pool

BOX = SecretBox("test")
SPF = {"club.example": ["v=spf1 a -all", "unrelated"]}
DMARC = {"_dmarc.club.example": ["v=DMARC1; p=quarantine"]}


async def account_of(pool: Pool, bounce_domain: str | None = None) -> tuple[int, dict[str, list[str]]]:
    """An account that sends from club.example, and the records of its keys."""
    account = await accounts.create_account(pool, "Club")
    if bounce_domain:
        await accounts.change_account(pool, acting(account.id), bounce_domain=bounce_domain)
    made = await domains.add_domain(pool, BOX, acting(account.id), "club.example", ["ed25519"])
    return account.id, {record.name: [record.text] for record in made.keys}


async def checked(pool: Pool, account_id: int, zone: Zone) -> tuple[dict[str, tuple[Level, str]], NameServer]:
    """By the first word or two of each subject."""
    async with name_server(zone) as server:
        findings = await check_domains(pool, acting(account_id), nameserver=server.address)
    return {finding.subject.rsplit(" ", 1)[0]: (finding.level, finding.told) for finding in findings}, server


async def test_what_was_told_to_publish_is_found_right_once_it_is_published(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    await accounts.change_account(pool, acting(account.id), bounce_domain="bounce.club.example")
    made = await domains.add_domain(pool, BOX, acting(account.id), "club.example")
    zone = {record.name: [record.text] for record in (*made.keys, *made.spf, made.dmarc)}
    async with name_server(zone) as server:
        findings = await check_domains(pool, acting(account.id), "CLUB.example", nameserver=server.address)
    assert [finding.level for finding in findings] == [Level.OK] * 6
    assert [finding.subject.split()[0] for finding in findings] == ["DKIM", "DKIM", "SPF", "DMARC", "DKIM", "SPF"]
    assert "bounce.club.example and aligns (relaxed)" in findings[-1].told


@pytest.mark.parametrize(("change", "level", "words"), [
    (lambda _: None, Level.ERROR, "The key is not published. Publish: "),
    (lambda _: [], Level.ERROR, "The key is not published. Publish: "),
    (lambda text: [text, text + " "], Level.ERROR, "2 TXT records"),
    (lambda text: [text[:text.index("p=")] + "p="], Level.ERROR, "revoked"),
    (lambda text: [text[:-4] + "AAA="], Level.ERROR, "Another key is published"),
    (lambda text: [text.replace("k=ed25519; ", "")], Level.ERROR, "Another key is published"),
    (lambda text: [text.replace("k=", "t=y; k=", 1)], Level.WARNING, "t=y"),
    (lambda text: [text.replace("p=", "q=")], Level.ERROR, "no p="),
    (lambda _: SERVFAIL, Level.ERROR, "could not say"),
    (lambda text: [text.replace("p=", "p= ")], Level.OK, "published (ed25519-sha256)"),
])
async def test_a_key_is_right_only_where_receivers_find_ours(
        pool: Pool, change: Callable[[str], Any], level: Level, words: str) -> None:
    account_id, keys = await account_of(pool)
    [(name, [text])] = keys.items()
    zone = {key: value for key, value in ({name: change(text)} | SPF | DMARC).items() if value is not None}
    found, _ = await checked(pool, account_id, zone)
    told = found.pop("DKIM")
    assert told[0] is level
    assert words in told[1]
    assert {one[0] for one in found.values()} == {Level.OK}, "one thing that is wrong hides no other"


INCLUDES = {f"s{number}.example": [f"v=spf1 a include:s{number + 1}.example ~all"] for number in range(20)}


@pytest.mark.parametrize(("zone", "level", "words"), [
    ({}, Level.ERROR, "club.example has no SPF record"),
    ({"club.example": ["v=spf1 a", "v=spf1 mx"]}, Level.ERROR, "2 SPF records"),
    ({"club.example": ["v=spf1 +all"]}, Level.ERROR, "lets anybody send"),
    ({"club.example": ["v=spf1 include:open.example -all"], "open.example": ["v=spf1 all"]}, Level.ERROR,
     "The SPF record of open.example lets anybody send"),
    ({"club.example": ["v=spf1 ip4:club -all"]}, Level.ERROR, '"ip4:club"'),
    ({"club.example": ["v=spf1 include:gone.example -all"]}, Level.ERROR, "gone.example has no SPF record"),
    ({"club.example": ["v=spf1 include:slow.example -all"], "slow.example": SERVFAIL}, Level.ERROR, "could not say"),
    ({"club.example": ["v=spf1 include:a..example -all"]}, Level.ERROR, "cannot be looked up"),
    ({"club.example": ["v=spf1 " + "a " * 10 + "-all"]}, Level.OK, "10 of 10 look-ups"),
    ({"club.example": ["v=spf1 " + "a " * 11 + "-all"]}, Level.ERROR, "more than 10 look-ups"),
    ({"club.example": ["v=spf1 include:x.example include:y.example -all"], "x.example": ["v=spf1 a mx ~all"],
      "y.example": ["v=spf1 redirect=x.example"]}, Level.OK, "7 of 10 look-ups"),
    ({"club.example": ["v=spf1 include:s0.example -all"]} | INCLUDES, Level.ERROR, "more than 10 look-ups"),
    ({"club.example": ["v=spf1 include:club.example -all"]}, Level.ERROR, "more than 10 look-ups"),
])
async def test_spf_is_one_record_that_can_be_evaluated_and_is_not_open(
        pool: Pool, zone: Zone, level: Level, words: str) -> None:
    account_id, keys = await account_of(pool)
    found, server = await checked(pool, account_id, {**keys, **DMARC, **zone})
    assert found["SPF"][0] is level
    assert words in found["SPF"][1]
    assert len([name for name in server.asked if "_dmarc" not in name]) <= 12, "their number is bounded"


async def test_with_a_bounce_domain_its_spf_counts_and_not_that_of_the_from_domain(pool: Pool) -> None:
    account_id, keys = await account_of(pool, "bounce.club.example")
    found, server = await checked(pool, account_id, {**keys, **DMARC, "bounce.club.example": ["v=spf1 mx -all"]})
    assert found["SPF"][0] is Level.OK
    assert "club.example" not in server.asked


@pytest.mark.parametrize(("zone", "level", "words"), [
    ({}, Level.ERROR, 'Publish: _dmarc.club.example. IN TXT "v=DMARC1; p=none"'),
    ({"_dmarc.club.example": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]}, Level.ERROR, "2 DMARC records"),
    ({"_dmarc.club.example": ["v=DMARC1; p=reject; sp=none; np=quarantine; x=y", "note"]}, Level.OK,
     "p=reject holds for it, by _dmarc.club.example; sp=none below, np=quarantine"),
    ({"_dmarc.example": ["v=DMARC1; p=reject; sp=quarantine; t=y"]}, Level.OK,
     "p=quarantine holds for it, as a test (t=y), by _dmarc.example"),
    ({"_dmarc.club.example": SERVFAIL}, Level.ERROR, "could not say"),
])
async def test_dmarc_is_looked_for_at_the_domain_and_above(pool: Pool, zone: Zone, level: Level, words: str) -> None:
    account_id, keys = await account_of(pool)
    found, _ = await checked(pool, account_id, {**keys, **SPF, **zone})
    assert found["DMARC"][0] is level
    assert words in found["DMARC"][1]


@pytest.mark.parametrize(("bounce_domain", "record", "level", "words"), [
    (None, "p=none; aspf=s", Level.OK, "same domain and aligns (strict)"),
    ("b.club.example", "p=none", Level.OK, "aligns (relaxed)"),
    ("b.club.example", "p=none; aspf=s", Level.WARNING, "aspf=s wants the same domain"),
    ("b.provider.example", "p=none", Level.WARNING, "it belongs to another owner"),
])
async def test_spf_aligns_where_envelope_and_from_have_one_owner(
        pool: Pool, bounce_domain: str | None, record: str, level: Level, words: str) -> None:
    account_id, keys = await account_of(pool, bounce_domain)
    sender = {bounce_domain or "club.example": ["v=spf1 a -all"]}
    found, _ = await checked(pool, account_id, {**keys, **sender, "_dmarc.club.example": [f"v=DMARC1; {record}"]})
    assert found["SPF alignment"][0] is level
    assert words in found["SPF alignment"][1]


@pytest.mark.parametrize(("record", "words"), [
    ("p=none", "aligns too (relaxed)"), ("p=none; adkim=s", "does not align (adkim=s)")])
async def test_dkim_aligns_and_strictness_is_said(pool: Pool, record: str, words: str) -> None:
    account_id, keys = await account_of(pool)
    found, _ = await checked(pool, account_id, {**keys, **SPF, "_dmarc.club.example": [f"v=DMARC1; {record}"]})
    assert found["DKIM alignment"][0] is Level.OK
    assert words in found["DKIM alignment"][1]


async def test_a_deep_domain_asks_at_most_eight_times_for_its_policy(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    await domains.add_domain(pool, BOX, acting(account.id), "1.2.3.4.5.6.7.8.9.club.example", ["ed25519"])
    _, server = await checked(pool, account.id, {})
    assert len([name for name in server.asked if name.startswith("_dmarc.")]) == 8


async def test_what_the_account_does_not_send_from_is_not_found(pool: Pool) -> None:
    account = await accounts.create_account(pool, "Club")
    with pytest.raises(NotFound, match="has no sending domain yet"):
        await check_domains(pool, acting(account.id))
    await domains.add_domain(pool, BOX, acting(account.id), "club.example", ["ed25519"])
    with pytest.raises(NotFound, match=r"does not send from school\.example"):
        await check_domains(pool, acting(account.id), "school.example")
