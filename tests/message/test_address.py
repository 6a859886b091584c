"""Addresses are taken whole or refused with a sentence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.message.address import AddressRefused, envelope, parse_address


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
        (f"{'l' * 65}@b.co", "The part before the @ is longer than 64 characters."),
        (f"a@{'d.' * 200}co", "The address is longer than 254 characters."),
        ("Bob <bob@b.co>", "There is a space in the address."),
        ("<bob@b.co>", "Only the address itself may stand here, without a name or angle brackets."),
        ("a@b.co,c@d.co", "There is a comma in the address; only one address may stand here."),
        ('"a b"@b.co', "Quotation marks are not supported in an address."),
        ("a\x00@b.co", "The address contains the invisible character U+0000."),
        ("a@b.co\r\nRCPT TO:<x@y.co>", "The address contains the invisible character U+000D."),
        ("a\u202eb@b.co", "The address contains the invisible character U+202E."),
        ("a\u200bb@b.co", "The address contains the invisible character U+200B."),
        ("a\ud800@b.co", "The address contains the invisible character U+D800."),
    ],
)
def test_a_refusal_says_what_is_wrong(raw: str, reason: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        parse_address(raw)
    assert refused.value.reason == reason
    assert str(refused.value) == reason


def test_a_local_part_outside_ascii_is_refused_until_the_session_speaks_smtputf8() -> None:
    with pytest.raises(AddressRefused, match="SMTPUTF8"):
        parse_address("josé@example.com")


def test_known_parser_differentials_are_refused() -> None:
    for raw in ("a@b,c@d.co", "alice@example.org)bob@example.com", "a@b.co\u037e", "a@b.co;", "a@ex\uff1bample.com"):
        with pytest.raises(AddressRefused):
            parse_address(raw)


@given(st.text(max_size=40) | st.emails() | st.from_regex(r"[a-z.@\-xn ]{1,30}", fullmatch=True))
@settings(max_examples=1_500, deadline=None)
def test_whatever_is_taken_is_stable_and_safe_on_the_wire(raw: str) -> None:
    try:
        found = parse_address(raw)
    except AddressRefused:
        return
    assert found.envelope.isascii()
    assert found.envelope.count(b"@") == 1
    assert not set(found.envelope) & set(b"\r\n\x00 <>,;\"")
    again = parse_address(found.address)
    assert again.key == found.key
    assert again.address == found.address
    assert envelope(found.address) == again.envelope


@given(st.text(max_size=30))
@settings(max_examples=500, deadline=None)
def test_no_text_gets_past_envelope_unsafely(raw: str) -> None:
    try:
        octets = envelope(raw)
    except AddressRefused:
        return
    assert not set(octets) & set(b"\r\n\x00 <>,;\"")
    assert b"=?" not in octets
