"""What DNS records mean, by the words of their standards."""

from __future__ import annotations

import pytest

from postroom.domain.authentication import (
    DMARC_QUERIES_MAX,
    DmarcRecord,
    KeyRecord,
    Malformed,
    Record,
    SpfRecord,
    applicable_policy,
    dkim_record,
    dmarc_names,
    is_dmarc,
    is_spf,
    organisational_domain,
    read_dmarc,
    read_key_record,
    read_spf,
    spf_suggestion,
)


def test_a_record_that_is_too_long_for_one_string_becomes_several() -> None:
    record = dkim_record("club.example", "rsa-1", "rsa-sha256", "A" * 392)
    first, second = record.line.removeprefix("rsa-1._domainkey.club.example. IN TXT ").split(" \"")
    assert first.strip('"') + second.strip('"') == record.text
    assert len(first.strip('"')) == 255
    assert Record("club.example", "v=spf1 -all").line == 'club.example. IN TXT "v=spf1 -all"'


# -- DKIM --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "read"), [
    ("v=DKIM1; k=ed25519; p=AAAA", KeyRecord("ed25519", "AAAA", False)),
    ("p=AA AA\t==", KeyRecord("rsa", "AAAA==", False)),
    ("v=DKIM1;k=rsa;t=y:s;h=sha1:sha256;x=unknown;p=;", KeyRecord("rsa", "", True)),
    ("v=DKIM1; t=s; p=AAAA; junk", KeyRecord("rsa", "AAAA", False)),
])
def test_a_key_record_is_read(text: str, read: KeyRecord) -> None:
    assert read_key_record(text) == read


@pytest.mark.parametrize(("text", "words"), [
    ("v=DKIM2; p=AAAA", "v=DKIM2"), ("v=DKIM1; k=rsa", "no p="), ("v=spf1 -all", "v=spf1"), ("hello", "no p="),
    ("v=DKIM1; h=sha1; p=AAAA", "h=sha1"),
])
def test_a_key_record_that_no_receiver_can_use_is_refused(text: str, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        read_key_record(text)


# -- SPF ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hosts", "text"), [
    (["smtp.club.example", "SMTP.club.example"], "v=spf1 a:smtp.club.example ~all"),
    (["9.9.9.9", "[2620:fe::fe]", "mx.club.example"], "v=spf1 ip4:9.9.9.9 ip6:2620:fe::fe a:mx.club.example ~all"),
    (["127.0.0.1", "localhost", "10.0.0.5"], "v=spf1 a mx ~all"),
    ([], "v=spf1 a mx ~all"),
])
def test_the_suggestion_names_the_gateways_that_receivers_can_see(hosts: list[str], text: str) -> None:
    assert spf_suggestion("club.example", hosts) == Record("club.example", text)
    assert not read_spf(text).is_open


@pytest.mark.parametrize(("text", "read"), [
    ("v=spf1 -all", SpfRecord(0, (), False)),
    ("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all", SpfRecord(0, (), False)),
    ("V=SPF1 A MX/24 a:h.example//64 ptr exists:%{i}.x.example ?all", SpfRecord(5, (), False)),
    ("v=spf1 include:a.example +include:b.example include:%{d}.x.example -all", SpfRecord(3, ("a.example", "b.example"), False)),
    ("v=spf1 mx redirect=c.example exp=why.example later=x", SpfRecord(2, ("c.example",), False)),
    ("v=spf1 -all include:a.example redirect=c.example", SpfRecord(0, (), False)),
    ("v=spf1 redirect=c.example mx -all", SpfRecord(1, (), False)),
    ("v=spf1 mx all", SpfRecord(1, (), True)), ("v=spf1 +all", SpfRecord(0, (), True)), ("v=spf1", SpfRecord(0, (), False)),
])
def test_an_spf_record_is_read_up_to_its_all(text: str, read: SpfRecord) -> None:
    assert is_spf(text)
    assert read_spf(text) == read


@pytest.mark.parametrize("text", ["v=spf10 -all", "v=spf", "spf1 -all", " v=spf1 -all", "v=spf1;-all"])
def test_other_texts_are_no_spf(text: str) -> None:
    assert not is_spf(text)


@pytest.mark.parametrize("term", ["ip4:300.1.1.1", "ip4", "ip6:192.0.2.1", "ip4:2001:db8::1", "include", "include:", "exists",
                                  "smtp.example", "~~all", "a;b"])
def test_a_term_that_makes_receivers_ignore_the_record_is_named(term: str) -> None:
    with pytest.raises(Malformed, match=f'"{term}"'):
        read_spf(f"v=spf1 {term} -all")


# -- DMARC -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["v=DMARC1", "v=DMARC1; p=none", "v = DMARC1 ;p=none"])
def test_a_text_that_begins_with_the_version_is_dmarc(text: str) -> None:
    assert is_dmarc(text)


@pytest.mark.parametrize("text", ["v=DMARC10; p=none", "p=none; v=DMARC1", "v=dmarc1; p=none", ""])
def test_other_texts_are_no_dmarc(text: str) -> None:
    assert not is_dmarc(text)


@pytest.mark.parametrize(("text", "read"), [
    ("v=DMARC1; p=reject", DmarcRecord("reject", "reject", "reject", False, False, "u", False)),
    ("v=DMARC1; p=None; sp=QUARANTINE; adkim=s; aspf=s; psd=n; t=y; pct=50; x=1",
     DmarcRecord("none", "quarantine", "quarantine", True, True, "n", True)),
    ("v=DMARC1; p=quarantine; np=reject; adkim=r;", DmarcRecord("quarantine", "quarantine", "reject", False, False, "u", False)),
    ("v=DMARC1; rua=mailto:a@b.example", DmarcRecord("none", "none", "none", False, False, "u", False)),
    ("v=DMARC1; p=block", DmarcRecord("none", "none", "none", False, False, "u", False)),
])
def test_a_dmarc_record_is_read_and_unknown_tags_are_ignored(text: str, read: DmarcRecord) -> None:
    assert read_dmarc(text) == read


@pytest.mark.parametrize(("domain", "names"), [
    ("example", ["example"]), ("a.example", ["a.example", "example"]),
    ("a.b.c.d.e.f.g", ["a.b.c.d.e.f.g", "b.c.d.e.f.g", "c.d.e.f.g", "d.e.f.g", "e.f.g", "f.g", "g"]),
    ("1.2.3.4.5.6.7.8.9.example", ["1.2.3.4.5.6.7.8.9.example", "4.5.6.7.8.9.example", "5.6.7.8.9.example", "6.7.8.9.example",
                                   "7.8.9.example", "8.9.example", "9.example", "example"]),
])
def test_the_walk_goes_up_in_at_most_eight_questions(domain: str, names: list[str]) -> None:
    assert dmarc_names(domain) == names
    assert len(dmarc_names("x." * 100 + "example")) == DMARC_QUERIES_MAX


def walk(domain: str, **records: str) -> list[tuple[str, DmarcRecord | None]]:
    """`a_b="p=none"` is a record at a.b."""
    given = {name.replace("_", "."): read_dmarc(f"v=DMARC1; {text}") for name, text in records.items()}
    return [(name, given.get(name)) for name in dmarc_names(domain)]


@pytest.mark.parametrize(("walked", "owner", "where"), [
    (walk("a.b.example"), "a.b.example", None),
    (walk("a.b.example", b_example="p=none"), "b.example", "b.example"),
    (walk("a.b.example", a_b_example="p=none", b_example="p=none"), "b.example", "a.b.example"),
    (walk("a.b.example", a_b_example="p=none; psd=n")[:1], "a.b.example", "a.b.example"),
    (walk("a.b.c.example", c_example="p=reject; psd=y")[:3], "b.c.example", "c.example"),
    (walk("a.b.c.example", b_c_example="p=none", c_example="p=reject; psd=y")[:3], "b.c.example", "b.c.example"),
    (walk("c.example", c_example="p=reject; psd=y"), "c.example", "c.example"),
])
def test_the_owner_answers_for_the_names_below_and_the_nearest_policy_holds(
        walked: list[tuple[str, DmarcRecord | None]], owner: str, where: str | None) -> None:
    applicable = applicable_policy(walked)
    assert organisational_domain(walked) == owner
    assert (applicable[0] if applicable else None) == where
