"""The last look at a message: good bytes pass, and each way in which bytes can be wrong is refused with what is wrong.

A good message is made by the compiler, and then damaged.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.message.content import Content, Identity
from postroom.message.prepare.source import prepare
from postroom.message.render.compile import Compiled, Outfit, Stamp, compile  # noqa: A004
from postroom.message.wire.dkim import RSA, Dkim, generate, load_signer
from postroom.message.wire.headers import Unrenderable
from postroom.message.wire.token import Tokens
from postroom.message.wire.verify import Plan

STAMP = Stamp("7-abc", datetime(2026, 6, 5, 7, 8, 9, tzinfo=UTC))
CONTENT = Content("Hello {{ name }}", "<p>Dear {{ name }},</p>\n<p>all is wéll.</p>\n", "Dear {{ name }},\n.\nall is well.\n",
                  "news@club.example", "The Clüb", "office@club.example")
NOTHING_MORE = Outfit()
OUTFIT = Outfit(identity=Identity(3, "Clüb", "https://club.example/u/{token}"), tokens=Tokens(b"k" * 32, 7))


def made(content: Content, outfit: Outfit = NOTHING_MORE) -> Compiled:
    return compile(content, prepare(content), STAMP, {}, outfit)


JOB = made(CONTENT, OUTFIT)
GOOD = JOB.render("ann@list.example", 12, {"name": "Ann"})
SENDER = b"From: =?utf-8?b?VGhlIENsw7xi?= <news@club.example>\r\n"
TO = b"To: ann@list.example\r\n"
SUBJECT = b"Subject: Hello Ann\r\n"
BOUNDARY = GOOD[GOOD.index(b'"=_') + 1:].partition(b'"')[0]


def refused(octets: bytes, what: str, *, by: Compiled = JOB, utf8: bool = False) -> None:
    with pytest.raises(Unrenderable, match=what) as refusal:
        by.check(octets, utf8=utf8)
    assert refusal.value.reason.endswith(".")


def changed(old: bytes, new: bytes) -> bytes:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def with_subject(value: bytes) -> bytes:
    return changed(SUBJECT, b"Subject: " + value + b"\r\n")


def test_a_good_message_passes() -> None:
    JOB.check(GOOD)


@pytest.mark.parametrize("changes", [{"html": None}, {"text": None}, {"reply_to": None}, {"from_name": ""},
                                     {"subject": "é" * 900}, {"subject": "x " * 900},
                                     {"from_name": "=?utf-8?q?=0D=0A?="}, {"text": "." * 9_000}])
def test_every_shape_of_a_message_passes(changes: dict[str, str | None]) -> None:
    for outfit in (Outfit(), OUTFIT, Outfit(identity=Identity(3, "C", "mailto:out@club.example?subject=out"))):
        job = made(replace(CONTENT, **changes), outfit)
        job.check(job.render("ann@list.example", 12, {"name": "Ann"}))


def test_a_signed_message_passes_where_a_signature_was_planned_and_only_there() -> None:
    planned = made(CONTENT, Outfit(signatures=1))
    message = planned.render("ann@list.example", 12, {"name": "Ann"})
    signed = Dkim([load_signer("club.example", "a" * 60, generate(RSA)[0])], STAMP.date).sign(message)
    planned.check(signed)
    refused(message, "instead of DKIM-Signature, From", by=planned)
    refused(signed, "has DKIM-Signature, From, To", by=made(CONTENT))


@pytest.mark.parametrize(("old", "new", "what"), [
    (TO, TO + b"Bcc: eve@evil.example\r\n", "it has From, To, Bcc, Subject"),
    (TO, TO + TO, "it has From, To, To, Subject"),
    (TO, b"", "it has From, Subject"),
    (SUBJECT + b"Message-ID: <7-abc.12@club.example>\r\n", b"Message-ID: <7-abc.12@club.example>\r\n" + SUBJECT,
     "it has From, To, Message-ID, Subject"),
    (TO, b"to: ann@list.example\r\n", "it has From, to, Subject"),
    (TO, b"To : ann@list.example\r\n", "it has From, To , Subject"),
    (TO, b"To:ann@list.example\r\n", "a value holds"),
    (TO, b"\r\n" + TO, "it has From instead of"),
    (SUBJECT, b"Subject: Hello\r\n\r\nAnn\r\n", "it has From, To, Subject instead of"),
    (SUBJECT, b"Subject: Hello\r\n \r\n Ann\r\n", "a line that is empty"),
    (SUBJECT, b"Subject: Hello\r\n \t \r\n", "a line that is empty"),
    (SUBJECT, b"Subject: Hello\r\nAnn\r\n", "it has From, To, Subject, Ann"),
    (SUBJECT, b"Subject: Hello\rAnn\r\n", "a value holds"),
    (SUBJECT, b"Subject: Hello\nBcc: eve@evil.example\r\n", "a value holds"),
    (SUBJECT, b"Subject: Hello \x00\r\n", "a value holds"),
    (SUBJECT, b"Subject: Hello \x1b\r\n", "a value holds"),
    (SUBJECT, b"Subject: Hello \x7f\r\n", "a value holds"),
    (SUBJECT, b"Subject: Hello \tAnn\r\n", "a value holds"),
    (SUBJECT, "Subject: Héllo\r\n".encode(), "a value holds"),
    (TO, "To: änn@list.example\r\n".encode(), "a value holds"),
    (SUBJECT, b"Subject: " + b"x" * 990 + b"\r\n", "longer than 998"),
    (SUBJECT, b"Subject: x\r\n " + b"x" * 998 + b"\r\n", "longer than 998"),
])  # fmt: skip
def test_a_header_that_is_not_as_planned_is_refused(old: bytes, new: bytes, what: str) -> None:
    refused(changed(old, new), what)


@pytest.mark.parametrize(("old", "new", "what"), [
    (b"all is well.", b"all is\rwell.", "bare line end"),
    (b"all is well.", b"all is\nwell.", "bare line end"),
    (b"all is well.", b"all\n\ris well.", "bare line end"),
    (b"all is well.", b"all\r\r\nis well.", "bare line end"),
    (b"all is well.", b"all is\x00well.", "control character"),
    (b"all is well.", b"all is\x0bwell.", "control character"),
    (b"all is well.", b"all is\x7fwell.", "control character"),
    (b"all is well.", "all is wéll.".encode(), "not 7-bit"),
    (b"all is well.", b"a" * 999, "longer than 998"),
    (b"all is well.", b".all is well.", "begins with a dot"),
    (b"all is well.", b"all is\r\n.well.", "begins with a dot"),
    (b"all is well.", b"all is\r\n.\r\nMAIL FROM:<eve@evil.example>", "begins with a dot"),
    (b"all is well.", b"all is\n.\nMAIL FROM:<eve@evil.example>", "bare line end"),
    (b"all is well.", b"all is\n.\r\nMAIL FROM:<eve@evil.example>", "bare line end"),
    (b"all is well.", b"all is\r\n.\rMAIL FROM:<eve@evil.example>", "bare line end"),
    (b"all is well.", b"all is\r.\rMAIL FROM:<eve@evil.example>", "bare line end"),
    (b"all is well.", b"x\r\n--" + BOUNDARY + b"\r\nContent-Type: text/html\r\n\r\ny", "divides the parts"),
    (b"all is well.", b"x\r\n--" + BOUNDARY + b"--\r\nand more", "divides the parts"),
    (b"\r\n--" + BOUNDARY + b"--\r\n", b"\r\n", "divides the parts"),
    (b"\r\n--" + BOUNDARY + b"--\r\n", b"\r\n--" + BOUNDARY + b"--", "not ended"),
])  # fmt: skip
def test_a_body_that_somebody_could_read_otherwise_is_refused(old: bytes, new: bytes, what: str) -> None:
    refused(changed(old, new), what)


@pytest.mark.parametrize("octets", [b"", b"\r\n", b"\r\n\r\n", b"From", GOOD.partition(b"\r\n\r\n")[0] + b"\r\n"])
def test_what_is_no_message_at_all_is_refused(octets: bytes) -> None:
    refused(octets, "header fields that were planned")


def test_a_line_of_998_octets_and_a_tab_in_a_body_pass() -> None:
    JOB.check(changed(b"all is well.", b"a\t" + b"x" * 996))


@pytest.mark.parametrize("hidden", ["\r\n", "\x00", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"])
def test_an_encoded_word_that_hides_a_control_character_is_refused(hidden: str) -> None:
    octets = hidden.encode()
    quoted = b"".join(b"=%02X" % octet for octet in octets)
    refused(with_subject(b"=?utf-8?q?Hello" + quoted + b"Bcc=3A_eve=40evil=2Eexample?="), "hides a control character")
    refused(with_subject(b"=?utf-8?b?" + base64.b64encode(b"Hello" + octets) + b"?="), "hides a control character")
    refused(changed(SENDER, b"From: =?utf-8?q?The" + quoted + b"Club?= <news@club.example>\r\n"), "hides a control character")


@pytest.mark.parametrize("value", [
    b"=?utf-8?q?=0D=0ABcc: eve@evil.example?=",  # with spaces in it, as some readers take it
    b"=?utf-8?q?a?b=0D=0A?=",  # with a question mark
    b"=?utf-8?q?Hello\r\n Ann=0D=0A?=",  # over two lines
    b"=?utf-8?q?Hello\r\n\tAnn=0D=0A?=",
    b"=?utf-8?\r\n q?=0D=0A?=",
    b"=?utf-8*en?q?=0D=0A?=",  # with a language (RFC 2231 5)
    b"=?utf-7?q?+AA0ACg-?=",
    b"=?utf-16?b?AA0ACg==?=",
    b"=?us-ascii?q?Ann?=",
    b"=?utf-8??DQo=?=",
    b"=??q?=0D=0A?=",
    b"=?utf-8?x?=0D=0A?=",
    b"=?utf-8?q?=0d=0a?=",
    b"=?utf-8?q?=0?=",
    b"=?utf-8?q?=C3?=",  # half a character
    b"=?utf-8?b?DQo?=",  # without its padding
    b"=?utf-8?b?DQ=o?=",
    b"=?utf-8?b?D?=",
    b"=?utf-8?b?/w==?=",
    b"=?x =?utf-8?q?=0D=0A?=",
    b"Hello =?utf-8?q?Ann=?=0D=0A?=",
])  # fmt: skip
def test_what_some_reader_takes_for_an_encoded_word_and_is_none_of_ours_is_refused(value: bytes) -> None:
    refused(with_subject(value), "none of ours")


@pytest.mark.parametrize("value", [b"=?utf-8?q?H=C3=A9llo_Ann?=", b"=?utf-8?b?SMOpbGxv?=\r\n =?utf-8?q?_Ann?=", b"a =? b",
                                   b"=??="])
def test_our_own_encoded_words_and_what_nobody_takes_for_one_pass(value: bytes) -> None:
    for _ in range(2):  # the second time it is remembered
        JOB.check(with_subject(value))


def test_a_way_out_that_looks_like_an_encoded_word_is_refused() -> None:
    job = made(CONTENT, Outfit(identity=Identity(3, "C", "https://club.example/?a=?utf-8?q?=0D=0ABcc:?=")))
    refused(job.render("ann@list.example", 12, {}), "none of ours", by=job)


def test_only_to_may_be_utf8_and_only_where_that_was_said() -> None:
    message = JOB.render("änn@list.example", 12, {"name": "x " * 600})
    assert len(message.partition(b"\r\n\r\n")[0]) > 998, "all fields together are no line"
    JOB.check(message, utf8=True)
    refused(message, "a value holds")
    refused(message.replace(b"Dear", "Déar".encode(), 1), "not 7-bit", utf8=True)
    refused(message.replace(b"club", "clüb".encode(), 1), "a value holds", utf8=True)
    JOB.check(GOOD, utf8=True)


@pytest.mark.parametrize(("address", "what"), [
    (b"\xe4nn@list.example", "not UTF-8"),
    (b"\xc0\x8d\xc0\x8ann@list.example", "not UTF-8"),  # CR LF in too many octets
    (b"\xed\xa0\x80nn@list.example", "not UTF-8"),  # half a character
    ("\x85nn@list.example".encode(), "control character"),
    ("\u2028nn@list.example".encode(), "control character"),
    ("ä@list.example\r\n x".encode() + b"x" * 998, "longer than 998"),
    ("ä\x00@list.example".encode(), "a value holds"),
    ("ä@list.example\r\nBcc: eve@evil.example".encode(), "it has From, To, Bcc"),
    ("ä@list.example\n.\nBcc: eve@evil.example".encode(), "a value holds"),
])  # fmt: skip
def test_an_internationalised_address_is_looked_at_as_closely(address: bytes, what: str) -> None:
    refused(changed(TO, b"To: " + address + b"\r\n"), what, utf8=True)


@pytest.mark.parametrize(("tail", "what"), [(b"\r\nx", "not ended"), (b".\r\n", "dot"), (b"\r\n.\r\n", "dot"),
                                            (b"a\nb\r\n", "bare"), (b"x" * 999 + b"\r\n", "998"), (b"\xff\r\n", "7-bit")])
def test_what_everybody_gets_after_the_personal_part_is_looked_at_too(tail: bytes, what: str) -> None:
    plan = Plan(["From"], [])
    plan.check_tail(b"\r\n--x\r\nfile\r\n")
    with pytest.raises(Unrenderable, match=what):
        plan.check_tail(tail)


DAMAGES = [b"\r", b"\n", b"\x00", b"\x7f", b"\xff", b"\r\n.", b"\n.\r\n", b"\r\n.\r\n"]


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(DAMAGES))
def test_damage_anywhere_is_seen(place: int, damage: bytes) -> None:
    damaged = GOOD[:place] + damage + GOOD[place:]
    with pytest.raises(Unrenderable):
        JOB.check(damaged)
