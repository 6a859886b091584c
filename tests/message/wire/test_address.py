"""Addresses are taken whole or refused with a sentence."""

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.message.wire.address import AddressRefused, envelope, needs_utf8, parse_address


@pytest.mark.parametrize(
    "raw",
    [
        "a@b.co",
        "First.Last+tag@example.com",
        "x_y-z!#$%&'*/?=^`{|}~@a-b.example",
        "u@sub.domain.test",
        "u@nothing.invalid",
        "u@1.2.3.4a",
        f"{'l' * 64}@{'d' * 63}.example",
    ],
)
def test_a_plain_address_is_taken_as_it_is(raw: str) -> None:
    assert parse_address(raw).address == raw
    assert parse_address(raw).envelope == raw.encode()


def test_the_domain_is_lowercased_and_the_local_part_is_kept() -> None:
    found = parse_address("  Anna.B@EXAMPLE.Com\n")
    assert (found.address, found.key, found.envelope) == (
        "Anna.B@example.com",
        "anna.b@example.com",
        b"Anna.B@example.com",
    )


@pytest.mark.parametrize(
    "spelling", ["x@bücher.example", "x@BÜCHER.example", "x@bu\u0308cher.example", "X@xn--bcher-kva.Example"]
)
def test_all_spellings_of_an_international_domain_are_one_address(spelling: str) -> None:
    found = parse_address(spelling)
    assert found.address.partition("@")[2] == "bücher.example"
    assert found.key == "x@xn--bcher-kva.example"
    assert found.envelope.lower() == b"x@xn--bcher-kva.example"
    assert envelope(found.address) == found.envelope


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "The address is missing."),
        ("   ", "The address is missing."),
        ("anna", "There is no @ in the address."),
        ("@b.co", "There is nothing before the @."),
        ("a@", "There is nothing after the @."),
        ("a@b@c.co", "There is more than one @ in the address."),
        ("a@x..y", 'The domain "x..y" is not a valid domain name.'),
        ("a@-x.co", 'The domain "-x.co" is not a valid domain name.'),
        ("a@x-.co", 'The domain "x-.co" is not a valid domain name.'),
        ("a@b.123", 'The domain "b.123" is not a valid domain name.'),
        ("a@.co", 'The domain ".co" is not a valid domain name.'),
        ("a@co.", 'The domain "co." is not a valid domain name.'),
        (f"a@{'d' * 64}.co", f'The domain "{"d" * 64}.co" is not a valid domain name.'),
        ("a@localhost", 'The domain "localhost" has no dot; a full domain name is needed.'),
        ("a@[127.0.0.1]", "A bracketed IP address after the @ is not supported."),
        (".a@b.co", '".a" is not valid before the @.'),
        ("a..b@b.co", '"a..b" is not valid before the @.'),
        ("a(c)@b.co", '"a(c)" is not valid before the @.'),
        ("=?utf-8?q?a=0D=0ABcc?=@b.co", '"=?utf-8?q?a=0D=0ABcc?=" is not valid before the @.'),
        ("a@b.co\x1f", "The address contains the invisible character U+001F."),
        (f"{'l' * 65}@b.co", "The part before the @ is longer than 64 bytes."),
        (f"a@{'d.' * 200}co", "The address is longer than 254 bytes."),
        ("Bob <bob@b.co>", "There is a space in the address."),
        ("<bob@b.co>", "Only the address itself may stand here, without a name or angle brackets."),
        ("a@b.co,c@d.co", "There is a comma in the address; only one address may stand here."),
        ('"a b"@b.co', "Quotation marks are not supported in an address."),
        ("a\x00@b.co", "The address contains the invisible character U+0000."),
        ("a@b.co\r\nRCPT TO:<x@y.co>", "The address contains the invisible character U+000D."),
        ("a\u202eb@b.co", "The address contains the invisible character U+202E."),
        ("a\u200bb@b.co", "The address contains the invisible character U+200B."),
        ("a\ud800@b.co", "The address contains the invisible character U+D800."),
        ("é\u200d@b.co", "The address contains the invisible character U+200D."),
        ("é\x85@b.co", "The address contains the invisible character U+0085."),
        ("é\u2028RSET@b.co", "The address contains the invisible character U+2028."),
        ("é\ue000@b.co", "The address contains the invisible character U+E000."),
        ("é\U0010ffff@b.co", "The address contains the invisible character U+10FFFF."),
        ("é\u3000e@b.co", "There is a space in the address."),
        (f"{'é' * 33}@b.co", "The part before the @ is longer than 64 bytes."),
        (f"{'é' * 32}@{'d' * 63}.{'d' * 63}.{'d' * 62}.example", "The address is longer than 254 bytes."),
        ("é.@b.co", '"é." is not valid before the @.'),
        ("é..é@b.co", '"é..é" is not valid before the @.'),
        ("é(c)@b.co", '"é(c)" is not valid before the @.'),
        ("é=?utf-8?q?x?=@b.co", '"é=?utf-8?q?x?=" is not valid before the @.'),
        ("\u0301a@b.co", '"\u0301a" is not valid before the @.'),
        ("a.\u0301b@b.co", '"a.\u0301b" is not valid before the @.'),
        ("bob\uff20evil.example@b.co", '"bob\uff20evil.example" is not valid before the @.'),
        ("a\uff1e@b.co", '"a\uff1e" is not valid before the @.'),
        ("a\uff1d\uff1fb@b.co", '"a\uff1d\uff1fb" is not valid before the @.'),
    ],
)
def test_a_refusal_says_what_is_wrong(raw: str, reason: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        parse_address(raw)
    assert refused.value.reason == reason
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("raw", "octets"),
    [
        ("josé@example.com", "josé@example.com"),
        ("jose\u0301@Example.COM", "josé@example.com"),
        ("Pelé.Ω+x@bücher.example", "Pelé.Ω+x@xn--bcher-kva.example"),
        ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"),
        ("संपर्क@डाटामेल.भारत", "संपर्क@xn--c2bd4bq1db8d.xn--h2brj9c"),
        ("квіточка@пошта.укр", "квіточка@xn--80a1acn3a.xn--j1amh"),
        ("☃\ufe0f@b.co", "☃\ufe0f@b.co"),
        (f"{'é' * 32}@b.co", f"{'é' * 32}@b.co"),
        (f"{'é' * 32}@{'d' * 63}.{'d' * 63}.{'d' * 53}.example", f"{'é' * 32}@{'d' * 63}.{'d' * 63}.{'d' * 53}.example"),
    ],
)
def test_a_local_part_outside_ascii_goes_out_in_utf8_and_its_domain_in_a_labels(raw: str, octets: str) -> None:
    found = parse_address(raw)
    assert found.envelope == octets.encode()
    assert envelope(found.address) == found.envelope
    assert needs_utf8(found.envelope)


def test_a_domain_alone_never_needs_utf8() -> None:
    assert not needs_utf8(parse_address("anna@bücher.example").envelope)
    assert not needs_utf8(parse_address("anna@example.com").envelope)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("josé@b.co", "JOSE\u0301@B.CO"),
        ("οδος@b.co", "ΟΔΟΣ@b.co"),
        ("οδοσ@b.co", "ΟΔΟΣ@b.co"),
        ("straße@b.co", "STRASSE@b.co"),
        ("\u212bsa@b.co", "åsa@b.co"),
        ("q\u0323\u0307@b.co", "q\u0307\u0323@b.co"),
        ("İ@b.co", "i\u0307@b.co"),
    ],
)
def test_two_spellings_of_one_address_have_one_key(one: str, other: str) -> None:
    assert parse_address(one).key == parse_address(other).key


def test_every_letter_that_has_two_spellings_has_one_key_which_is_its_own() -> None:
    letters = [letter for letter in map(chr, range(sys.maxunicode)) if unicodedata.normalize("NFD", letter.casefold()) != letter]
    assert len(letters) > 10_000
    taken = 0
    for letter in letters:
        try:
            found = parse_address(f"a{letter}\u0345\u0301b@b.co")
        except AddressRefused:
            continue
        taken += 1
        spellings = [unicodedata.normalize("NFC", found.address), unicodedata.normalize("NFD", found.address), found.key]
        assert {parse_address(spelling).key for spelling in spellings} == {found.key}
    assert taken > 10_000


def test_from_and_reply_to_need_ascii_before_the_at_sign() -> None:
    with pytest.raises(AddressRefused, match=r'^"josé" before the @ has letters outside ASCII\. From and Reply-To need'):
        parse_address("josé@example.com", ascii_only=True)
    assert parse_address("office@bücher.example", ascii_only=True).envelope == b"office@xn--bcher-kva.example"


def test_known_parser_differentials_are_refused() -> None:
    for raw in ("a@b,c@d.co", "alice@example.org)bob@example.com", "a@b.co\u037e", "a@b.co;", "a@ex\uff1bample.com"):
        with pytest.raises(AddressRefused):
            parse_address(raw)


@given(st.text(max_size=40) | st.emails() | st.from_regex(r"[a-z.@\-xn ]{1,30}", fullmatch=True))
@settings(max_examples=1_500)
def test_whatever_is_taken_is_stable_and_safe_on_the_wire(raw: str) -> None:
    try:
        found = parse_address(raw)
    except AddressRefused:
        return
    assert found.envelope.rpartition(b"@")[2].isascii()
    assert found.envelope.decode().isprintable()
    assert found.envelope.count(b"@") == 1
    assert not set(found.envelope) & set(b"\r\n\x00 <>,;\"")
    again = parse_address(found.address)
    assert again.key == found.key
    assert again.address == found.address
    assert envelope(found.address) == again.envelope


@given(st.text(max_size=30))
@settings(max_examples=500)
def test_no_text_gets_past_envelope_unsafely(raw: str) -> None:
    try:
        octets = envelope(raw)
    except AddressRefused:
        return
    assert not set(octets) & set(b"\r\n\x00 <>,;\"")
    assert b"=?" not in octets
    assert octets.decode().isprintable()
