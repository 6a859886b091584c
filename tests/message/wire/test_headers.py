"""Header values come back as they went in, and smuggle nothing."""

from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom.message.wire import headers
from postroom.message.wire.headers import Unrenderable

LOOK_ALIKES = ["=?utf-8?q?x?=", "=?utf-8?q?=0D=0ABcc:_a@b.c?=", "a =? b", "=?utf-8?b?SGk=?= and more", "?=", "=?"]
SCRIPTS = [
    "مرحبا بالعالم",
    "สวัสดีชาวโลก",
    "שלום",
    "你好，世界",
    "👩‍👩‍👧‍👦 family",
    "e\u0301\u0323 combining",
    "Ελλάδα",
    "नमस्ते",
    "Łódź",
    "한국어",
]
CONTROLS = ["\r\nBcc: a@b.c", *"\r\n\x00\t\x0b\x0c\x1b\x1c\x7f\x85\u2028\u2029\ud800"]
characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
values = st.text(characters, max_size=120) | st.sampled_from(LOOK_ALIKES + SCRIPTS)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.timezones(), allow_imaginary=False)  # noqa: DTZ001
words = st.lists(st.text("ab=?_.\"\\(),:;<>@ é好😀", max_size=12), max_size=30).map(" ".join)


def subject_of(octets: bytes) -> str:
    """What a reader makes of it: unfold, then decode encoded words, by the standard library's oldest decoder."""
    unfolded = octets.replace(b"\r\n", b"").decode("ascii")
    return str(make_header(decode_header(unfolded)))


def assert_well_formed(octets: bytes, first_column: int) -> None:
    lines = (b" " * first_column + octets).split(b"\r\n")
    assert octets.isascii()
    assert b"\r" not in octets.replace(b"\r\n", b"")
    assert b"\n" not in octets.replace(b"\r\n", b"")
    for number, line in enumerate(lines):
        assert len(line) <= (76 if b"=?" in line else 78)
        assert number == 0 or (line[:1] == b" " and line.strip())


@given(values | words)
@example("a" * 300)
@example("x " * 100 + "y")
@example(" leading and trailing ")
@example("two  spaces")
@example("é" * 200)
@example("😀" * 60)
@settings(max_examples=2_000)
def test_a_subject_comes_back_as_it_went_in(value: str) -> None:
    octets = headers.unstructured("Subject", value)
    assert_well_formed(octets, len("Subject: "))
    assert subject_of(octets) == value
    parsed = message_from_bytes(b"Subject: " + octets + b"\r\n\r\n", policy=policy.default)
    assert parsed.keys() == ["Subject"]


@given(values | words)
@settings(max_examples=1_000)
def test_a_display_name_comes_back_and_the_address_is_the_only_one(name: str) -> None:
    octets = headers.mailbox("From", name, b"a@b.example")
    assert_well_formed(octets, len("From: "))
    parsed = message_from_bytes(b"From: " + octets + b"\r\n\r\n", policy=policy.default)
    assert parsed.keys() == ["From"]
    addresses = parsed["From"].addresses
    assert [address.addr_spec for address in addresses] == ["a@b.example"]
    phrase = octets.removesuffix(b"<a@b.example>").removesuffix(b" " if b"\r\n <a@" not in octets else b"\r\n ")
    if phrase.startswith(b"=?"):  # whose parts the standard library's newer parser parts with white space
        assert subject_of(phrase) == name
    elif name:
        assert addresses[0].display_name == name


@pytest.mark.parametrize("value", LOOK_ALIKES[:4])
def test_what_looks_like_an_encoded_word_is_encoded(value: str) -> None:
    octets = headers.unstructured("Subject", value)
    assert b"\r\nBcc" not in octets
    assert octets.startswith(b"=?utf-8?")
    assert subject_of(octets) == value


@pytest.mark.parametrize("character", CONTROLS)
def test_a_control_character_is_refused_by_name(character: str) -> None:
    for attempt in (headers.unstructured, lambda name, value: headers.mailbox(name, value, b"a@b.example")):
        with pytest.raises(Unrenderable, match=f"U\\+{ord(character[0]):04X}"):
            attempt("Subject", f"Hello {character} there")


def test_ascii_stays_readable_and_folds_at_spaces() -> None:
    assert headers.unstructured("Subject", "Hello there") == b"Hello there"
    folded = headers.unstructured("Subject", "word " * 30 + "end")
    assert b"=?" not in folded
    assert folded.count(b"\r\n ") == 2


def test_the_shorter_encoding_is_taken() -> None:
    assert headers.unstructured("Subject", "Grüße aus Oslo an alle").startswith(b"=?utf-8?q?")
    assert headers.unstructured("Subject", "Привет").startswith(b"=?utf-8?b?")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Anna Smith", b"Anna Smith <a@b.example>"),
        ("Smith, J.", b'"Smith, J." <a@b.example>'),
        ('The "Club"', b'"The \\"Club\\"" <a@b.example>'),
        ("", b"a@b.example"),
    ],
)
def test_a_plain_display_name_is_a_phrase(name: str, expected: bytes) -> None:
    assert headers.mailbox("From", name, b"a@b.example") == expected


def test_a_date_is_written_in_english_with_its_offset() -> None:
    assert headers.date(datetime(2026, 6, 5, 7, 8, 9, tzinfo=UTC)) == b"Fri, 05 Jun 2026 07:08:09 +0000"
    moment = datetime(2026, 1, 1, 0, 30, tzinfo=timezone(-timedelta(hours=3, minutes=30)))
    assert headers.date(moment) == b"Thu, 01 Jan 2026 00:30:00 -0330"
    with pytest.raises(ValueError, match="time zone"):
        headers.date(datetime(2026, 1, 1))  # noqa: DTZ001


@given(moments)
def test_a_date_comes_back(moment: datetime) -> None:
    assert parsedate_to_datetime(headers.date(moment).decode()).timestamp() == moment.replace(microsecond=0).timestamp()
