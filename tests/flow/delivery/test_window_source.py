"""What a gateway's answer makes of a recipient, and what becomes of those who were never begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom.domain.outcome import Evidence, Kind
from postroom.flow.content.outgoing import OutgoingJob
from postroom.flow.delivery.window_source import Row, WindowSource
from postroom.gateway.journal import Journal, WindowKey
from postroom.gateway.replies import Phase, Reply, Verdict
from postroom.gateway.session import Endpoint, Envelope
from postroom.ledger.delivery.windows import InHand, Window
from postroom.message.prepare.source import prepare
from postroom.message.render.compile import Stamp
from postroom.message.render.compile import compile as compile_content
from stage import CONTENT

STAMP = Stamp("1-key", datetime(2030, 1, 1, tzinfo=UTC))
ENDPOINT = Endpoint("127.0.0.1", 25, security="none")
ATTEMPTS_MAX = 8
OUTGOING = OutgoingJob(compile_content(CONTENT, prepare(CONTENT), STAMP, {"name": "Club"}), None, ENDPOINT, gateway_id=1, lanes=1,
                retry_attempts_max=ATTEMPTS_MAX)
RETRY_BASE_S = 0.5
KEY = WindowKey(1, 1, 0, 1)
SourceOf = Callable[..., WindowSource]


def in_hand(position: int, *, name: str = "Ann", refusals: int = 0, attempt_no: int = 1, was_refused: bool = False,
            own: int | None = None, due_for_s: float = 0.0) -> InHand:
    return InHand(position, attempt_no, f"person{position}@list.example", f'{{"name": "{name}"}}', refusals, was_refused, own,
                  due_for_s)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path, bytes(16), "tester", 0)
    yield journal
    journal.close()


@pytest.fixture
def source_of(journal: Journal) -> SourceOf:
    def make(*recipients: InHand, may_go_on: Callable[[], bool] = lambda: True, row: Row | None = None) -> WindowSource:
        return WindowSource(Window(1, recipients), OUTGOING, may_go_on, journal=journal, intent=journal.intend(KEY, 50),
                            retry_base_s=RETRY_BASE_S, row=row or Row())
    return make


def begun(source: WindowSource) -> Envelope:
    envelope = source.next()
    assert envelope is not None
    return envelope


def test_an_envelope_says_who_it_is_for_and_its_content_is_the_message_of_that_one(source_of: SourceOf) -> None:
    source = source_of(in_hand(1, name="Ann"), in_hand(2, name="Bob"))
    first, second = begun(source), begun(source)
    assert (first.sender, first.recipient) == (b"news@club.example", b"person1@list.example")
    assert second.recipient == b"person2@list.example"
    content = source.content(second)
    assert content is not None
    assert b"\r\nSubject: News for Bob\r\n" in content
    assert second.size == len(content)
    assert source.next() is None


def test_what_the_gateway_accepted_is_sent_with_its_own_words(source_of: SourceOf) -> None:
    source = source_of(in_hand(1))
    source.replied(begun(source), Phase.DOT, Reply(250, "2.0.0", "2.0.0 Ok: queued as 42"))
    (one,) = source.outcomes()
    assert (one.kind, one.evidence, one.code, one.enhanced_code, one.reply) == (
        Kind.SENT, Evidence.REPLY, 250, "2.0.0", "2.0.0 Ok: queued as 42")
    assert source.accepted == 1


def test_a_permanent_refusal_fails_this_one_and_the_window_goes_on(source_of: SourceOf) -> None:
    source = source_of(in_hand(1), in_hand(2))
    source.replied(begun(source), Phase.RCPT, Reply(550, "5.1.1", "5.1.1 No such mailbox"))
    source.replied(begun(source), Phase.DOT, Reply(250, "", "Ok"))
    first, second = source.outcomes()
    assert (first.kind, first.code, first.reply, first.retry_in_s) == (Kind.FAILED, 550, "5.1.1 No such mailbox", None)
    assert second.kind is Kind.SENT
    assert source.trouble is None


def test_a_temporary_refusal_leaves_it_unsent_and_counts_against_it(source_of: SourceOf) -> None:
    source = source_of(in_hand(1, refusals=2, attempt_no=3))
    source.replied(begun(source), Phase.RCPT, Reply(450, "4.2.1", "4.2.1 Busy"))
    (one,) = source.outcomes()
    assert (one.kind, one.attempt_no, one.refusals) == (Kind.REFUSED, 3, 3)
    assert one.retry_in_s is not None
    assert 0 <= one.retry_in_s < RETRY_BASE_S * 2**3
    assert source.trouble is None


def test_the_last_temporary_refusal_that_is_put_up_with_fails_it(source_of: SourceOf) -> None:
    source = source_of(in_hand(1, refusals=ATTEMPTS_MAX - 1))
    source.replied(begun(source), Phase.RCPT, Reply(450, "4.2.1", "4.2.1 Busy"))
    (one,) = source.outcomes()
    assert (one.kind, one.reply) == (Kind.FAILED, "4.2.1 Busy"), "the gateway's words stay its own"


REFUSED_FOR_NOBODY_KNOWS_WHOM = [
    (Phase.RCPT, Reply(554, "5.7.1", "5.7.1 <person{n}@list.example>: Relay access denied"), Verdict.GATEWAY_FAULT),
    (Phase.RCPT, Reply(550, "", "no mail for list.example today, id {n}7f3"), Verdict.GATEWAY_FAULT),
    (Phase.DOT, Reply(552, "5.3.4", "5.3.4 Message too big"), Verdict.JOB_FAULT),
    (Phase.DOT, Reply(554, "5.7.1", "5.7.1 [CS01] Message {n}-8 not accepted for policy reasons"), Verdict.JOB_FAULT)]


def said_to(position: int, reply: Reply) -> Reply:
    return reply._replace(text=reply.text.replace("{n}", str(position)))


@pytest.mark.parametrize(("phase", "reply", "verdict"), REFUSED_FOR_NOBODY_KNOWS_WHOM)
def test_a_refusal_that_does_not_tell_whom_it_is_about_fails_nobody_before_another_is_accepted_and_a_few_in_a_row_end_the_window(
        source_of: SourceOf, phase: Phase, reply: Reply, verdict: Verdict) -> None:
    source = source_of(*[in_hand(position) for position in range(1, 12)])
    for position in range(1, 11):
        accepted = position == 5
        source.replied(begun(source), Phase.DOT if accepted else phase, Reply(250, "", "Ok") if accepted
                       else said_to(position, reply))
    outcomes = source.outcomes()
    assert [one.kind for one in outcomes] == [Kind.FAILED] * 4 + [Kind.SENT] + [Kind.REFUSED] * 5 + [Kind.RELEASED]
    assert len({one.alike for one in outcomes if one.kind is Kind.REFUSED}) == 1
    assert {one.refusals for one in outcomes} == {0}, "none counts against anybody"
    assert source.trouble == (phase, verdict, said_to(10, reply)), "the fifth in a row"


@pytest.mark.parametrize(("phase", "reply", "verdict"), REFUSED_FOR_NOBODY_KNOWS_WHOM)
def test_a_second_one_of_somebody_of_whom_nothing_else_is_known_is_the_last(
        source_of: SourceOf, phase: Phase, reply: Reply, verdict: Verdict) -> None:
    source = source_of(in_hand(1, attempt_no=2, was_refused=True), in_hand(2))
    source.replied(begun(source), phase, said_to(1, reply))
    source.replied(begun(source), phase, said_to(2, reply))
    first, second = source.outcomes()
    assert (first.kind, first.alike, second.kind) == (Kind.FAILED, None, Kind.REFUSED)


def test_nobody_fails_in_a_row_that_is_about_us_however_often_refused(source_of: SourceOf) -> None:
    row = Row()
    source = source_of(*[in_hand(position, attempt_no=2) for position in range(1, 6)], row=row)
    for _ in range(5):
        source.replied(begun(source), Phase.RCPT, Reply(550, "5.7.1", "5.7.1 go away"))
    source = source_of(in_hand(3, attempt_no=3, was_refused=True), row=row)
    source.replied(begun(source), Phase.RCPT, Reply(550, "5.7.1", "5.7.1 go away"))
    (one,) = source.outcomes()
    assert (one.kind, source.trouble is not None) == (Kind.REFUSED, True)


def test_many_refusals_in_a_row_are_about_us_though_no_two_are_alike(source_of: SourceOf) -> None:
    words = "abcdefghijklmnopqrst"
    source = source_of(*[in_hand(position) for position in range(1, 30)])
    for word in words:
        assert source.trouble is None
        source.replied(begun(source), Phase.RCPT, Reply(550, "", word))
    assert source.trouble is not None
    assert {one.kind for one in source.outcomes()} == {Kind.REFUSED, Kind.RELEASED}


@pytest.mark.parametrize(("phase", "reply", "verdict"), [
    (Phase.DOT, Reply(454, "4.7.0", "4.7.0 Throttling failure"), Verdict.THROTTLED),
    (Phase.MAIL, Reply(550, "5.7.1", "5.7.1 Sender refused"), Verdict.GATEWAY_FAULT),
])
def test_what_is_no_recipients_fault_never_counts_against_one_and_ends_the_window(
        source_of: SourceOf, phase: Phase, reply: Reply, verdict: Verdict) -> None:
    source = source_of(in_hand(1, refusals=ATTEMPTS_MAX - 1), in_hand(2, refusals=4))
    source.replied(begun(source), phase, reply)
    assert source.next() is None, "nobody else is begun"
    first, second = source.outcomes()
    assert (first.kind, first.refusals) == (Kind.REFUSED, ATTEMPTS_MAX - 1)
    assert (second.kind, second.refusals, second.retry_in_s) == (Kind.RELEASED, 4, 0)
    assert source.trouble == (phase, verdict, reply)


FAULTS = [(Phase.RCPT, Reply(501, "", "malformed address <person{n}@list.example>"), Verdict.GATEWAY_FAULT),
          (Phase.DOT, Reply(550, "5.4.5", "5.4.5 Daily limit of {n}0 exceeded"), Verdict.GATEWAY_FAULT),
          (Phase.DOT, Reply(550, "5.7.26", "5.7.26 Unauthenticated sender"), Verdict.JOB_FAULT)]


@pytest.mark.parametrize(("phase", "reply", "verdict"), FAULTS)
def test_a_fault_that_two_in_a_row_meet_ends_the_window_and_counts_against_neither(
        source_of: SourceOf, phase: Phase, reply: Reply, verdict: Verdict) -> None:
    source = source_of(*[in_hand(position, refusals=ATTEMPTS_MAX - 1) for position in (1, 2, 3)])
    source.replied(begun(source), phase, said_to(1, reply))
    source.replied(begun(source), phase, said_to(2, reply))
    assert source.next() is None
    assert [(one.kind, one.refusals, one.own) for one in source.outcomes()] == [
        (Kind.REFUSED, ATTEMPTS_MAX - 1, None)] * 2 + [(Kind.RELEASED, ATTEMPTS_MAX - 1, None)]
    assert source.trouble == (phase, verdict, said_to(1, reply))


@pytest.mark.parametrize(("phase", "reply", "verdict"), FAULTS)
def test_a_fault_that_only_the_last_of_a_window_meets_is_one(
        source_of: SourceOf, phase: Phase, reply: Reply, verdict: Verdict) -> None:
    source = source_of(in_hand(1))
    source.replied(begun(source), phase, reply)
    assert source.next() is None
    assert source.trouble == (phase, verdict, reply)


@pytest.mark.parametrize(("phase", "reply"), [fault[:2] for fault in FAULTS[:2]])
def test_a_fault_that_one_meets_while_the_next_is_accepted_is_that_ones_own_and_fails_it_at_the_second_time(
        source_of: SourceOf, phase: Phase, reply: Reply) -> None:
    source = source_of(in_hand(1, refusals=2), in_hand(2))
    source.replied(begun(source), phase, said_to(1, reply))
    source.replied(begun(source), Phase.DOT, Reply(250, "", "Ok"))
    first, _ = source.outcomes()
    assert (first.kind, first.refusals, source.trouble) == (Kind.REFUSED, 3, None)
    source = source_of(in_hand(1, refusals=3, own=first.own), in_hand(2))
    source.replied(begun(source), phase, said_to(1, reply))
    alone, _ = source.outcomes()
    assert (alone.kind, alone.refusals, alone.own, source.trouble) == (Kind.REFUSED, 4, first.own, None)
    source.replied(begun(source), Phase.DOT, Reply(250, "", "Ok"))
    first, _ = source.outcomes()
    assert first.kind is Kind.FAILED


def test_a_message_that_one_is_refused_while_the_next_is_accepted_is_no_fault_of_the_job(source_of: SourceOf) -> None:
    source = source_of(in_hand(1), in_hand(2))
    source.replied(begun(source), Phase.DOT, Reply(550, "5.7.26", "5.7.26 Unauthenticated sender"))
    source.replied(begun(source), Phase.DOT, Reply(250, "", "Ok"))
    assert [one.kind for one in source.outcomes()] == [Kind.FAILED, Kind.SENT]
    assert source.trouble is None


PUT_OFF = [(Phase.RCPT, Reply(450, "4.1.2", "4.1.2 <person{n}@list.example>: Domain not found")),
           (Phase.RCPT, Reply(503, "", "This mail server requires authentication")),
           (Phase.RCPT, Reply(552, "", "too many recipients"))]


@pytest.mark.parametrize(("phase", "reply"), PUT_OFF)
def test_a_few_who_are_put_off_alike_in_a_row_are_not_what_it_is_about(
        source_of: SourceOf, phase: Phase, reply: Reply) -> None:
    source = source_of(*[in_hand(position) for position in range(1, 7)])
    for position in range(1, 6):
        assert source.trouble is None
        source.replied(begun(source), phase, said_to(position, reply))
    assert source.next() is None
    assert [one.refusals for one in source.outcomes()] == [1] * 4 + [0] * 2
    assert source.trouble == (phase, Verdict.THROTTLED, said_to(5, reply))


def test_full_mailboxes_in_a_row_are_about_each_of_them(source_of: SourceOf) -> None:
    source = source_of(*[in_hand(position) for position in range(1, 11)])
    for _ in range(10):
        source.replied(begun(source), Phase.RCPT, Reply(452, "4.2.2", "4.2.2 Mailbox full"))
    assert ({one.refusals for one in source.outcomes()}, source.trouble) == ({1}, None)


def test_whoever_was_put_off_while_others_were_accepted_is_no_part_of_a_row(source_of: SourceOf) -> None:
    phase, reply = PUT_OFF[0]
    source = source_of(*[in_hand(position) for position in range(1, 5)])
    for position in range(1, 4):
        source.replied(begun(source), phase, said_to(position, reply))
    source.replied(begun(source), Phase.DOT, Reply(250, "", "Ok"))
    own = source.outcomes()[0].own
    source = source_of(*[in_hand(position, refusals=1, own=own) for position in range(1, 11)])
    for position in range(1, 11):
        source.replied(begun(source), phase, said_to(position, reply))
    assert ({one.refusals for one in source.outcomes()}, source.trouble) == ({2}, None)


def test_a_second_refusal_that_fails_one_makes_no_row_of_those_who_come_behind(source_of: SourceOf) -> None:
    row = Row()
    source = source_of(*[in_hand(position, attempt_no=2, was_refused=True) for position in range(1, 7)], in_hand(7), row=row)
    for _ in range(7):
        source.replied(begun(source), Phase.RCPT, Reply(550, "", "Unrouteable address"))
    assert [one.kind for one in source.outcomes()] == [Kind.FAILED] * 6 + [Kind.REFUSED]
    assert source.trouble is None


def test_whoever_goes_back_untouched_keeps_the_place_and_what_is_known_of_the_refusals(source_of: SourceOf) -> None:
    source = source_of(in_hand(1, refusals=2, own=7, due_for_s=12.5))
    (one,) = source.outcomes()
    assert (one.kind, one.retry_in_s, one.refusals, one.own) == (Kind.RELEASED, -12.5, 2, 7)


def test_a_connection_lost_after_the_dot_is_doubt_and_the_others_are_certain(source_of: SourceOf) -> None:
    source = source_of(in_hand(1), in_hand(2))
    source.lost(begun(source), "the connection broke")
    first, second = source.outcomes()
    assert (first.kind, first.evidence) == (Kind.UNCONFIRMED, Evidence.CONNECTION_LOST)
    assert first.reply == "No answer to the end of the message: the connection broke."
    assert (second.kind, second.evidence) == (Kind.RELEASED, Evidence.WORKER)


def test_one_that_was_announced_and_never_answered_goes_back(source_of: SourceOf) -> None:
    source = source_of(in_hand(1))
    begun(source)
    (one,) = source.outcomes()
    assert (one.kind, one.retry_in_s) == (Kind.RELEASED, 0)


def test_after_a_cancel_nobody_is_begun_and_content_is_withheld(source_of: SourceOf) -> None:
    going = [True]
    source = source_of(in_hand(1), in_hand(2), may_go_on=lambda: going[0])
    envelope = begun(source)
    going[0] = False
    assert source.content(envelope) is None
    assert source.next() is None
    assert {one.kind for one in source.outcomes()} == {Kind.RELEASED}


def test_values_that_no_message_can_hold_fail_their_own_recipient_only(source_of: SourceOf) -> None:
    source = source_of(in_hand(1, name="two\\nlines"), in_hand(2))
    envelope = begun(source)
    assert envelope.recipient == b"person2@list.example"
    first, second = source.outcomes()
    assert (first.kind, first.evidence) == (Kind.FAILED, Evidence.WORKER)
    assert first.reply
    assert first.reply.startswith("The message could not be made: The Subject contains")
    assert second.kind is Kind.RELEASED
