"""Whatever is put into a message comes back, from two parsers that share nothing, or is refused with a reason.

A run generates POSTROOM_VALUES different values (20,000 unless that is set; `make fuzz` takes a million) for From, List-Id, the
names of files, the subject, text and HTML. It goes in rounds; POSTROOM_SEED begins again with the round of a seed that was told.
"""

from __future__ import annotations

import os
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from message.second_reader import Read, SecondReader
from postroom.errors import InvalidInput
from postroom.message.content import Bodies, Content, Identity
from postroom.message.prepare.attachment import NAME_MAX, describe
from postroom.message.render.compile import LIST_ID_MAX, Compiled, Outfit, Stamp, compile  # noqa: A004
from postroom.message.wire.address import envelope, needs_utf8
from postroom.message.wire.headers import VALUE_MAX, Unrenderable, mailbox
from postroom.message.wire.token import Tokens

VALUES = int(os.environ.get("POSTROOM_VALUES") or 20_000)
ROUND = 10  # letters; in a longer round hypothesis spends most of them on what it tried before, put in other places

STAMP = Stamp("7-abc", datetime(2026, 6, 5, 7, 8, 9, tzinfo=UTC))
BOUNDARY = "=_a" + sha256(b"7-abc").hexdigest()[:32]
SIMPLE = Bodies('<p title="{{ c }}">{{ d }}</p>\n{{ c }}{{ d }}\n', "Dear {{ a }},\n.\n{{ b }}{{ a }}\n--{{ b }}\n")
RICH = Bodies(f"{{% if true %}}{SIMPLE.html}{{% endif %}}", f"{{% for i in (1..2) %}}{SIMPLE.text}{{% endfor %}}")
PLANNED = ["From", "To", "Subject", "Message-ID", "Date", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID",
           "MIME-Version", "Content-Type"]
LEAVES = ["text/plain", "text/html", "application/octet-stream"]
FILE = b"\x00\r\n.\r\n\xff"
FILES = {sha256(FILE).hexdigest(): FILE}
ADDRESSES = ["ann@list.example", "jörg@list.example", "用户@bücher.example", "o'brien+news@xn--bcher-kva.example"]

# Noncharacters are characters (Unicode's corrigendum 9), but Perl's decoder of headers does not know that.
_PLANE_ENDS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_NONCHARACTER = re.compile(f"[\ufdd0-\ufdef{_PLANE_ENDS}]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})

LOOK_ALIKES = [
    "=?utf-8?q?=0D=0ABcc:_eve=40evil.example?=", "=?utf-8?q?=0D=0ABcc: eve@evil.example?=", "=?utf-8?b?DQpCY2M6IGE=?=",
    "=?utf-8?q?", "=?utf-8?b?", "?=", "=?", "??", "=?=", "=?iso-8859-1?q?=E9?=", "=?utf-7?q?+AA0ACg-?=", "=?x?y?z?=",
    "=?utf-8*en?q?a?=", "=?UTF-8?Q?=?utf-8?q?a?=?=", "=?utf-8?q?=C3?=", "=?utf-8?b?w?=", "=0D=0A", "=3D", "=", "_", "%0D%0A",
]  # fmt: skip
STRUCTURE = [
    ".", "..", "--", "--" + BOUNDARY, "--" + BOUNDARY + "--", BOUNDARY, "Bcc: eve@evil.example", "<eve@evil.example>",
    "eve@evil.example,", "Content-Type: text/html", "(", ")", "<", ">", '"', "\\", ",", ";", ":", "@", "'", "&amp;", "&", "%",
    "{{ a }}", "{% if a %}", "}}", " ", "  ", "x" * 75, "x" * 76, "x" * 77, "é" * 30, "\xa0", "\u3000", "\ufeff", "\u200d",
    "\u202e", "\ufffe", "\U0010ffff", "e\u0301\u0323", "👩‍👩‍👧‍👦", "مرحبا", "สวัสดี", "שלום", "你好", "हिन्दी", "한국어",
]  # fmt: skip
CONTROLS = [
    "\r\n", "\r", "\n", "\r\n.\r\n", "\n.\n", "\r.\r", "\r\n\r\n", "\r\n--" + BOUNDARY + "\r\n", "\n--" + BOUNDARY + "--\n",
    "\r\nBcc: eve@evil.example\r\n", "\t", "\x00", "\x0b", "\x0c", "\x1b", "\x1c", "\x7f", "\x85", "\u2028", "\u2029", "\ud800",
    "\udfff",
]  # fmt: skip

# Each of them is one letter of an alphabet, so that a value is one draw: cheap, and it shrinks well.
_MARKS = {0xE000 + number: piece for number, piece in enumerate(LOOK_ALIKES + STRUCTURE + CONTROLS)}
_ALL_MARKS = "".join(map(chr, _MARKS))
_HARMLESS_MARKS = _ALL_MARKS[: -len(CONTROLS)] + "abcXYZ 019é好"

harmless = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
repeated = st.tuples(st.text(harmless, min_size=1, max_size=9), st.sampled_from([9, 9, 99, 1_100]))
wild = st.text(st.characters(), min_size=1, max_size=60) | st.text(_ALL_MARKS, min_size=1, max_size=12)
plain = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=200)
spaced = st.text(" ab.", min_size=1, max_size=99)
values = st.one_of(  # of every seven, five that a header may hold
    st.text(harmless, min_size=1, max_size=60), st.text(_HARMLESS_MARKS, min_size=1, max_size=12), plain | spaced,
    repeated.map(lambda drawn: drawn[0] * drawn[1]), wild,
).map(lambda drawn: drawn.translate(_MARKS))


@dataclass(frozen=True)
class Letter:
    """All the values of one job: three for everyone, and five for each recipient."""

    from_name: str
    list_name: str
    file_name: str
    is_rich: bool
    recipients: list[dict[str, str]]

    @property
    def values(self) -> list[str]:
        own = [value for fields in self.recipients for value in fields.values()]
        return [self.from_name, self.list_name, self.file_name, *own]


fields = st.fixed_dictionaries(dict.fromkeys(("subject", "a", "b", "c", "d"), values))
letters = st.builds(Letter, values | st.just(""), values | st.just(""), values, st.booleans(),
                    st.lists(fields, min_size=2, max_size=5))


@pytest.fixture(scope="module")
def second_reader() -> Iterator[SecondReader]:
    with SecondReader() as reader:
        yield reader


def test_everything_that_is_generated_comes_back_from_two_parsers_or_is_refused(second_reader: SecondReader) -> None:
    tally: Counter[str] = Counter()
    distinct: set[int] = set()
    number = int(os.environ.get("POSTROOM_SEED") or random.randrange(2**32))

    @settings(max_examples=ROUND, database=None, suppress_health_check=list(HealthCheck))
    @given(letters)
    def comes_back(letter: Letter) -> None:
        distinct.update(map(hash, letter.values))
        send(letter, second_reader, tally)

    while len(distinct) < VALUES:
        tally["rounds"] += 1
        number += 1
        if tally["rounds"] % 100 == 1:
            print(f"seed {number - 1}: {len(distinct)} values so far, {dict(tally)}", flush=True)
        try:
            seed(number)(comes_back)()
        except BaseException:
            print(f"POSTROOM_SEED={number - 1} begins with the round that fails")
            raise
    print(f"{len(distinct)} values, {dict(tally)}")
    assert tally["read"] > 2 * tally["refused"], "most of what is generated can be sent"
    assert min(tally[what] for what in ("refused", "no From", "no List-Id", "no file")) > 0


def send(letter: Letter, second_reader: SecondReader, tally: Counter[str]) -> None:
    """Compile the letter, render it for each of its recipients, and read it back."""
    job, sent = compiled(letter, tally)
    for position, fields in enumerate(sent.recipients, 1):
        address = ADDRESSES[position % len(ADDRESSES)]
        subject = visible(fields["subject"])
        if is_unfit_for_a_header(subject) or any("Cs" in map(unicodedata.category, value) for value in fields.values()):
            tally["refused"] += 1
            with pytest.raises(Unrenderable, match=r"(?s)(The Subject|half a character).*\.\Z"):
                job.render(address, position, fields)
            continue
        octets = job.render(address, position, fields)
        tally["read"] += 1
        job.check(octets, utf8=needs_utf8(envelope(address)))
        octets += job.tail
        assert max(map(len, octets.split(b"\r\n"))) <= 78
        expected = Expected(sent.from_name, sent.list_name, sent.file_name, envelope(address).decode(), subject,
                            *bodies_of(sent, fields))
        assert by_python(octets) == expected
        assert by_perl(second_reader.read(octets), expected) == expected.as_perl_sees_it()


def compiled(letter: Letter, tally: Counter[str]) -> tuple[Compiled, Letter]:
    """The letter's job; a name that is refused, as it should be, is left out of it."""
    identity = Identity(3, letter.list_name, "https://club.example/u/{token}")
    bodies = RICH if letter.is_rich else SIMPLE
    outfit = Outfit(identity, Tokens(b"k" * 32, 7), FILES)
    content = Content("{{ subject }}", "x", "x", "news@club.example", letter.from_name)
    if is_unfit_for_a_file(letter.file_name):
        tally["no file"] += 1
        refused("attachments", lambda: describe(letter.file_name, FILE))
        letter = replace(letter, file_name="")
    else:
        content = replace(content, attachments=(describe(letter.file_name, FILE),))
    if is_unfit_for_a_header(letter.from_name) or holds_a_merge_field(letter.from_name):
        tally["no From"] += 1
        refused("from_name", lambda: compile(content, bodies, STAMP, {}, outfit))
        letter, content = replace(letter, from_name=""), replace(content, from_name="")
    job = compile(content, bodies, STAMP, {}, outfit)
    if is_unfit_for_a_list(letter.list_name):  # an account is named for many reasons; only its number must be in List-Id
        tally["no List-Id"] += 1
        letter = replace(letter, list_name="")
    return job, letter


def refused(field: str, attempt: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        attempt()
    assert [fault.field for fault in refusal.value.faults] == [field]


# ---- what must come back


@dataclass(frozen=True)
class Expected:
    from_name: str
    list_name: str
    file_name: str
    to: str
    subject: str
    text: str
    html: str

    def as_perl_sees_it(self) -> Expected:
        in_headers = ("from_name", "list_name", "file_name", "subject")
        return replace(self, **{name: _NONCHARACTER.sub("\ufffd", getattr(self, name)) for name in in_headers})


def is_unfit_for_a_header(value: str) -> bool:
    return len(value) > VALUE_MAX or not {"Cc", "Cs", "Zl", "Zp"}.isdisjoint(map(unicodedata.category, value))


def is_unfit_for_a_list(value: str) -> bool:
    return is_unfit_for_a_header(value) or len(mailbox("List-Id", value, b"account-3.club.example")) > LIST_ID_MAX


def is_unfit_for_a_file(value: str) -> bool:
    is_no_name = not value.strip() or value in (".", "..") or "/" in value or "\\" in value
    return is_no_name or len(value) > NAME_MAX or is_unfit_for_a_header(value) or holds_a_merge_field(value)


def holds_a_merge_field(value: str) -> bool:
    return "{{" in value or "{%" in value


def visible(value: str) -> str:
    """A field that holds nothing but white space is blank."""
    return "" if value.isspace() else value


def bodies_of(letter: Letter, fields: dict[str, str]) -> tuple[str, str]:
    """Text and HTML with the fields in them. All line ends are the same, and a part ends with one of its own."""
    a, b, c, d = (lf(visible(fields[name])) for name in "abcd")
    c, d = c.translate(_ESCAPES), d.translate(_ESCAPES)
    text, html = f"Dear {a},\n.\n{b}{a}\n--{b}\n", f'<p title="{c}">{d}</p>\n{c}{d}\n'
    return (text * 2 + "\n", html + "\n") if letter.is_rich else (text, html)


def lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


# ---- what two readers find


def by_python(octets: bytes) -> Expected:
    """By the standard library; its older decoder of headers, since its newer one parts encoded words with white space."""
    message = message_from_bytes(octets, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message.keys() == PLANNED
    assert not any(part.defects for part in message.walk())
    leaves = [part for part in message.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in leaves] == LEAVES[: len(leaves)]
    contents = [part.get_payload(decode=True) for part in leaves]
    assert contents[2:] in ([], [FILE])
    text, html = (lf(content.decode("utf-8")) for content in contents[:2])
    # Not get_filename(), which takes quotation marks and angle brackets off a name that has them.
    file_name = leaves[2]["Content-Disposition"].params["filename"] if len(leaves) > 2 else ""
    raw = {name: str(value).replace("\r\n", "") for name, value in message.raw_items()}
    assert raw["List-Id"].endswith("<account-3.club.example>")
    from_name, address = parseaddr(raw["From"])
    list_name, list_id = parseaddr(raw["List-Id"])
    assert (address, list_id) == ("news@club.example", "account-3.club.example")
    to = raw["To"].encode("ascii", "surrogateescape").decode()
    return Expected(decoded(from_name), decoded(list_name), file_name, to, decoded(raw["Subject"]), text, html)


def decoded(value: str) -> str:
    return str(make_header(decode_header(value))) if "=?" in value else value


def by_perl(read: Read, expected: Expected) -> Expected:
    assert [name for name, _ in read.headers] == PLANNED
    assert [part["type"] for part in read.parts] == LEAVES[: len(read.parts)]
    assert [bytes.fromhex(part["octets"]) for part in read.parts[2:]] in ([], [FILE])
    file_name = read.parts[2]["name"] if len(read.parts) > 2 else ""
    values = dict(read.headers)
    phrase, address = read.sender
    assert address == "news@club.example"
    list_name = values["List-Id"].removesuffix("<account-3.club.example>").removesuffix(" ")
    if list_name == '"' + expected.list_name.replace("\\", "\\\\").replace('"', '\\"') + '"':
        list_name = expected.list_name  # quoted: Email::MIME knows no List-Id, and leaves the marks
    text, html = (lf(part["text"]) for part in read.parts[:2])
    to = values["To"].encode("latin-1").decode()
    return Expected(phrase or "", list_name, file_name, to, values["Subject"], text, html)
