"""The parser under arbitrary pieces and hostile octets, and the classification table line by line."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from postroom.gateway.replies import (
    Phase,
    ProtocolError,
    Reply,
    ReplyParser,
    Verdict,
    accepts,
    classify,
    good_group,
    may_be_about_the_recipient,
)


def parse(*pieces: bytes) -> list[Reply]:
    parser, replies = ReplyParser(), []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next()) is not None:
            replies.append(reply)
    return replies


@pytest.mark.parametrize(
    ("octets", "replies"),
    [
        (b"250 ok\r\n", [Reply(250, "", "ok")]),
        (b"250\r\n", [Reply(250, "", "")]),
        (b"250 \r\n", [Reply(250, "", "")]),
        (b"250 2.0.0 Ok: queued as 4F\r\n", [Reply(250, "2.0.0", "2.0.0 Ok: queued as 4F")]),
        (b"550 5.1.1\r\n", [Reply(550, "5.1.1", "5.1.1")]),
        (b"250 ok\n354 go\n", [Reply(250, "", "ok"), Reply(354, "", "go")]),
        (b"550-5.1.1 no\r\n550-\r\n550 5.1.1 such\r\n", [Reply(550, "5.1.1", "5.1.1 no\n\n5.1.1 such")]),
        (b"550 5.7.515 no\r\n", [Reply(550, "5.7.515", "5.7.515 no")]),
        (b"550 4.1.1 contradicts itself\r\n", [Reply(550, "", "4.1.1 contradicts itself")]),
        (b"250 2.0 of 3.5.7 apples\r\n", [Reply(250, "", "2.0 of 3.5.7 apples")]),
    ],
)
def test_replies_are_read_as_they_were_said(octets: bytes, replies: list[Reply]):
    assert parse(octets) == replies
    assert parse(*(octets[i : i + 1] for i in range(len(octets)))) == replies


def test_what_does_not_print_is_escaped_and_the_rest_is_kept():
    (reply,) = parse("550 nul \0 esc \x1b bidi \u202e cr \r tab \t Grüße 中".encode() + b" \xff\r\n")
    assert reply.text == "nul \\x00 esc \\x1b bidi \\u202e cr \\r tab \\t Grüße 中 \\xff"


def test_a_long_text_is_cut_and_the_lines_are_kept():
    parser = ReplyParser()
    parser.feed(b"".join(b"250-%b\r\n" % (b"X" * 300) for _ in range(9)) + b"250 LAST\r\n")
    reply = parser.next()
    assert reply is not None
    assert len(reply.text) == 512
    assert parser.lines[-1] == b"LAST"


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n",
        b"\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"150 ok\r\n",
        b"650 ok\r\n",
        b"250_ok\r\n",
        b"\x16\x03\x01\n",
        b"250-a\r\n550 b\r\n",
        b"250-a\r\n\r\n",
        "２５０ ok\r\n".encode(),
        b"x" * 8193,
        b"250 " + b"x" * 9000 + b"\r\n",
        b"250-a\r\n" * 129,
        (b"250-" + b"x" * 8000 + b"\r\n") * 9,
    ],
)
def test_garbage_and_excess_are_refused(octets: bytes):
    with pytest.raises(ProtocolError, match="the gateway sent"):
        parse(octets)


def test_what_came_before_garbage_counts():
    parser = ReplyParser()
    parser.feed(b"250 ok\r\nrubbish\r\n")
    assert parser.next() == Reply(250, "", "ok")
    assert parser.pending
    with pytest.raises(ProtocolError, match="rubbish"):
        parser.next()


@given(strategies.binary(max_size=300))
def test_no_octets_do_anything_but_parse_or_be_refused(octets: bytes):
    try:
        for reply in parse(octets):
            assert 200 <= reply.code < 600
            assert "\0" not in reply.text
    except ProtocolError:
        pass


@given(strategies.lists(strategies.sampled_from([b"250 2.0.0 ok\r\n", b"354 go\r\n", b"250-a\r\n250 b\r\n"])))
def test_the_fast_path_takes_exactly_what_the_parser_would(lines: list[bytes]):
    replies = parse(*lines)
    single = all(line.count(b"\n") == 1 for line in lines)
    good = [accepts(phase, reply.code) for phase, reply in
            zip((Phase.DOT, Phase.MAIL, Phase.RCPT, Phase.DATA), replies, strict=False)]
    expected = replies[0] if single and len(lines) == 4 and all(good) else None
    assert good_group(b"".join(lines)) == expected


@pytest.mark.parametrize("tail", [b"x", b"\r\n", b"250 ok\r\n", b"\0"])
def test_the_fast_path_takes_not_an_octet_more(tail: bytes):
    assert good_group(b"250 2.0.0 as 1\r\n250 a\r\n250 b\r\n354 c\r\n") == Reply(250, "2.0.0", "2.0.0 as 1")
    assert good_group(b"250 2.0.0 as 1\r\n250 a\r\n250 b\r\n354 c\r\n" + tail) is None


@pytest.mark.parametrize(("phase", "line", "may_be"), [
    (Phase.RCPT, "450 4.7.1 Greylisted", True), (Phase.RCPT, "451 come again", True), (Phase.RCPT, "452 4.3.1 storage", False),
    (Phase.RCPT, "451 4.3.0 later", False), (Phase.RCPT, "421 4.7.0 closing", False), (Phase.MAIL, "450 4.7.1 slow", False),
    (Phase.DOT, "454 4.7.0 Throttling failure", False), (Phase.DOT, "451 4.7.1 later", False),
])
def test_only_what_a_greylist_says_of_a_recipient_may_be_about_it(phase: Phase, line: str, may_be: bool) -> None:
    assert may_be_about_the_recipient(phase, *parse(line.encode() + b"\r\n")) is may_be


SETTING_UP = (Phase.CONNECT, Phase.EHLO, Phase.STARTTLS, Phase.AUTH)
TRANSACTION = (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT)


def judge(phase: Phase, said: str) -> Verdict:
    (reply,) = parse(said.encode() + b"\r\n")
    return classify(phase, reply)


@pytest.mark.parametrize(
    ("phases", "said", "verdict"),
    [
        (TRANSACTION + SETTING_UP, "421 4.3.2 going down", Verdict.THROTTLED),
        ((Phase.CONNECT,), "554 no", Verdict.GATEWAY_FAULT),
        ((Phase.CONNECT,), "450 later", Verdict.THROTTLED),
        (SETTING_UP, "454 4.7.0 later", Verdict.THROTTLED),
        ((Phase.AUTH,), "432 4.7.12 password expired", Verdict.THROTTLED),
        ((Phase.AUTH,), "535 5.7.8 no", Verdict.GATEWAY_FAULT),
        ((Phase.AUTH,), "534 5.7.9 no", Verdict.GATEWAY_FAULT),
        ((Phase.AUTH,), "538 5.7.11 no", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "530 5.7.0 authenticate first", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "535 5.7.8 no", Verdict.GATEWAY_FAULT),
        ((Phase.MAIL,), "550 5.1.0 sender", Verdict.GATEWAY_FAULT),
        ((Phase.MAIL,), "553 sender", Verdict.GATEWAY_FAULT),
        ((Phase.MAIL,), "555 parameter", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "553 5.1.8 sender's domain", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "550 5.4.5 Daily user sending limit exceeded", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "554 5.3.2 not accepting messages", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "550 5.7.708 Traffic not accepted from this IP", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "550 5.7.705 tenant has exceeded threshold", Verdict.GATEWAY_FAULT),
        ((Phase.MAIL, Phase.DATA, Phase.DOT), "552 5.3.4 too big", Verdict.MESSAGE_REFUSED),
        ((Phase.MAIL, Phase.DATA, Phase.DOT), "552 too big", Verdict.MESSAGE_REFUSED),
        ((Phase.MAIL, Phase.DATA, Phase.DOT), "550 5.3.4 too big", Verdict.MESSAGE_REFUSED),
        ((Phase.MAIL, Phase.DATA, Phase.DOT), "550 5.6.7 no letters outside ASCII", Verdict.MESSAGE_REFUSED),
        ((Phase.MAIL, Phase.DATA, Phase.DOT), "552 5.2.3 too long", Verdict.MESSAGE_REFUSED),
        ((Phase.RCPT,), "552 too many recipients", Verdict.RECIPIENT_PUT_OFF),
        ((Phase.RCPT,), "552 5.2.2 mailbox full", Verdict.RETRY),
        (TRANSACTION, "552 5.4.5 Daily user sending limit exceeded", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "552 5.7.28 flood", Verdict.GATEWAY_FAULT),
        ((Phase.DATA, Phase.DOT), "552 5.2.2 mailbox full", Verdict.RECIPIENT_FAILED),
        (TRANSACTION, "550 5.7.26 unauthenticated", Verdict.JOB_FAULT),
        (TRANSACTION, "550 5.7.27 spf", Verdict.JOB_FAULT),
        (TRANSACTION, "550 5.7.29 tls", Verdict.JOB_FAULT),
        (TRANSACTION, "550 5.7.515 dkim", Verdict.JOB_FAULT),
        (TRANSACTION, "450 slow down", Verdict.THROTTLED),
        (TRANSACTION, "451 4.7.1 slow down", Verdict.THROTTLED),
        (TRANSACTION, "452 4.3.1 storage", Verdict.THROTTLED),
        (TRANSACTION, "454 Throttling failure: Maximum sending rate exceeded", Verdict.THROTTLED),
        ((Phase.RCPT, Phase.DATA, Phase.DOT), "450 4.2.1 mailbox busy", Verdict.RETRY),
        ((Phase.RCPT,), "452 4.2.2 mailbox full", Verdict.RETRY),
        ((Phase.RCPT,), "451 4.1.1 cannot verify", Verdict.RECIPIENT_PUT_OFF),
        ((Phase.RCPT, Phase.DATA, Phase.DOT), "499 what", Verdict.RECIPIENT_PUT_OFF),
        (TRANSACTION, "432 4.3.2 too many connections", Verdict.THROTTLED),
        ((Phase.MAIL,), "499 what", Verdict.THROTTLED),
        ((Phase.MAIL,), "450 4.1.0 sender", Verdict.THROTTLED),
        ((Phase.MAIL,), "452 4.2.2 over quota", Verdict.THROTTLED),
        ((Phase.MAIL,), "503 5.5.4 send AUTH command first", Verdict.THROTTLED),
        ((Phase.RCPT, Phase.DATA), "503 5.5.1 nested MAIL", Verdict.RECIPIENT_PUT_OFF),
        ((Phase.RCPT, Phase.DATA, Phase.DOT), "550 5.1.1 unknown", Verdict.RECIPIENT_FAILED),
        ((Phase.RCPT,), "550 no", Verdict.RECIPIENT_REFUSED),
        ((Phase.RCPT,), "556 5.1.10 null MX", Verdict.RECIPIENT_FAILED),
        ((Phase.RCPT,), "501 5.1.3 bad address", Verdict.RECIPIENT_FAILED),
        ((Phase.RCPT,), "554 5.7.1 policy", Verdict.RECIPIENT_REFUSED),
        ((Phase.RCPT,), "550 5.1.0 <a@club.example>: Sender address rejected", Verdict.RECIPIENT_REFUSED),
        ((Phase.RCPT,), "599 what", Verdict.RECIPIENT_REFUSED),
        ((Phase.MAIL, Phase.RCPT), "504 5.5.2 <vm>: Helo command rejected", Verdict.GATEWAY_FAULT),
        ((Phase.MAIL, Phase.RCPT), "501 5.5.4 invalid argument", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "450 4.1.8 sender's domain not found", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "550 5.1.90 daily limit", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "554 5.2.252 SendAsDenied", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "550 5.7.60 no permission to send as this sender", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "550 5.7.25 no PTR record", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "550 5.7.606 banned sending IP", Verdict.GATEWAY_FAULT),
        (TRANSACTION, "550 5.7.23 SPF", Verdict.JOB_FAULT),
        ((Phase.RCPT,), "550 5.7.133 only members may send to this group", Verdict.RECIPIENT_REFUSED),
        ((Phase.DATA, Phase.DOT), "550 no", Verdict.MESSAGE_REFUSED),
        ((Phase.DATA, Phase.DOT), "554 no", Verdict.MESSAGE_REFUSED),
        ((Phase.DATA, Phase.DOT), "554 5.7.1 spam", Verdict.MESSAGE_REFUSED),
        ((Phase.DATA, Phase.DOT), "550 5.6.0 content", Verdict.MESSAGE_REFUSED),
        ((Phase.DATA, Phase.DOT), "599 what", Verdict.MESSAGE_REFUSED),
        ((Phase.DOT,), "503 5.5.1 what", Verdict.MESSAGE_REFUSED),
        ((Phase.MAIL, Phase.RCPT, Phase.DOT), "250 ok", Verdict.ACCEPTED),
        ((Phase.RCPT,), "251 will forward", Verdict.ACCEPTED),
        ((Phase.DATA,), "354 go", Verdict.ACCEPTED),
        ((Phase.AUTH,), "235 2.7.0 in", Verdict.ACCEPTED),
    ],
)
def test_a_reply_means_what_it_speaks_of(phases: tuple[Phase, ...], said: str, verdict: Verdict):
    assert {phase.value: judge(phase, said) for phase in phases} == {phase.value: verdict for phase in phases}


# Each cell of the table of phases and replies that has a reply. What "connection lost" means in each is decided by the session
# (test_session_truth.py) and the flow (tests/stories).
CELLS = {
    (Phase.CONNECT, "220 ready"): Verdict.ACCEPTED, (Phase.CONNECT, "421 busy"): Verdict.THROTTLED,
    (Phase.CONNECT, "450 later"): Verdict.THROTTLED, (Phase.CONNECT, "554 no"): Verdict.GATEWAY_FAULT,
    (Phase.EHLO, "250 hello"): Verdict.ACCEPTED, (Phase.EHLO, "421 busy"): Verdict.THROTTLED,
    (Phase.EHLO, "450 later"): Verdict.THROTTLED, (Phase.EHLO, "554 no"): Verdict.GATEWAY_FAULT,
    (Phase.STARTTLS, "220 go"): Verdict.ACCEPTED, (Phase.STARTTLS, "421 busy"): Verdict.THROTTLED,
    (Phase.STARTTLS, "454 4.3.0 no TLS now"): Verdict.THROTTLED, (Phase.STARTTLS, "501 no"): Verdict.GATEWAY_FAULT,
    (Phase.AUTH, "235 in"): Verdict.ACCEPTED, (Phase.AUTH, "421 busy"): Verdict.THROTTLED,
    (Phase.AUTH, "454 4.7.0 later"): Verdict.THROTTLED, (Phase.AUTH, "432 4.7.12 change it"): Verdict.THROTTLED,
    (Phase.AUTH, "535 5.7.8 wrong"): Verdict.GATEWAY_FAULT, (Phase.AUTH, "534 5.7.9 weak"): Verdict.GATEWAY_FAULT,
    (Phase.AUTH, "538 5.7.11 encrypt"): Verdict.GATEWAY_FAULT, (Phase.AUTH, "530 5.7.0 TLS first"): Verdict.GATEWAY_FAULT,
    (Phase.MAIL, "250 ok"): Verdict.ACCEPTED, (Phase.MAIL, "421 bye"): Verdict.THROTTLED,
    (Phase.MAIL, "451 later"): Verdict.THROTTLED, (Phase.MAIL, "530 login"): Verdict.GATEWAY_FAULT,
    (Phase.MAIL, "550 sender"): Verdict.GATEWAY_FAULT, (Phase.MAIL, "553 sender"): Verdict.GATEWAY_FAULT,
    (Phase.MAIL, "552 too large"): Verdict.MESSAGE_REFUSED,
    (Phase.RCPT, "250 ok"): Verdict.ACCEPTED, (Phase.RCPT, "421 bye"): Verdict.THROTTLED,
    (Phase.RCPT, "452 4.2.2 full"): Verdict.RETRY, (Phase.RCPT, "552 too many"): Verdict.RECIPIENT_PUT_OFF,
    (Phase.RCPT, "550 5.1.1 unknown"): Verdict.RECIPIENT_FAILED, (Phase.RCPT, "550 5.2.1 disabled"): Verdict.RECIPIENT_FAILED,
    (Phase.RCPT, "550 5.7.1 policy"): Verdict.RECIPIENT_REFUSED,
    (Phase.DATA, "354 go"): Verdict.ACCEPTED, (Phase.DATA, "421 bye"): Verdict.THROTTLED,
    (Phase.DATA, "451 later"): Verdict.THROTTLED, (Phase.DATA, "454 Throttling failure"): Verdict.THROTTLED,
    (Phase.DATA, "550 5.1.1 unknown"): Verdict.RECIPIENT_FAILED, (Phase.DATA, "554 no"): Verdict.MESSAGE_REFUSED,
    (Phase.DATA, "503 no valid recipients"): Verdict.RECIPIENT_PUT_OFF,
    (Phase.DOT, "250 queued"): Verdict.ACCEPTED, (Phase.DOT, "421 bye"): Verdict.THROTTLED,
    (Phase.DOT, "451 4.2.1 busy"): Verdict.RETRY, (Phase.DOT, "451 4.7.1 later"): Verdict.THROTTLED,
    (Phase.DOT, "550 5.2.2 full"): Verdict.RECIPIENT_FAILED, (Phase.DOT, "554 5.7.1 spam"): Verdict.MESSAGE_REFUSED,
    (Phase.DOT, "550 5.7.26 unauthenticated"): Verdict.JOB_FAULT, (Phase.DOT, "550 5.7.27 unauthenticated"): Verdict.JOB_FAULT,
    (Phase.DOT, "550 5.7.29 unencrypted"): Verdict.JOB_FAULT, (Phase.DOT, "550 5.7.515 unauthenticated"): Verdict.JOB_FAULT,
}


@pytest.mark.parametrize(("phase", "said"), CELLS)
def test_a_reply_means_what_the_table_of_phases_says(phase: Phase, said: str):
    assert judge(phase, said) is CELLS[phase, said]


@pytest.mark.parametrize("phase", TRANSACTION + SETTING_UP)
def test_every_refusal_has_a_verdict_and_no_temporary_one_fails_anybody(phase: Phase):
    for code in range(400, 600):
        verdict = classify(phase, Reply(code, "", ""))
        assert verdict is not Verdict.ACCEPTED
        if code < 500:
            assert verdict in (Verdict.RETRY, Verdict.RECIPIENT_PUT_OFF, Verdict.THROTTLED)


def test_what_answers_nothing_is_never_rounded_to_a_yes_or_no():
    for phase, code in ((Phase.DOT, 354), (Phase.DATA, 250), (Phase.MAIL, 354), (Phase.RCPT, 300)):
        with pytest.raises(ValueError, match="no answer"):
            classify(phase, Reply(code, "", ""))
