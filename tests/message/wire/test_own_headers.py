"""Which header fields of one's own a message may have, what may stand in them, and how a reader finds them."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.message.wire import own_headers
from postroom.message.wire.own_headers import Header


def faults(*own: Header) -> list[str]:
    found = own_headers.faults(own)
    assert {one.field for one in found} <= {"headers"}
    return [one.message for one in found]


@pytest.mark.parametrize("name", [
    "X-SES-CONFIGURATION-SET", "X-SES-MESSAGE-TAGS", "X-PM-Message-Stream", "X-PM-Tag", "X-PM-Metadata-Color", "X-Mailgun-Tag",
    "X-MC-Tags", "X-MJ-CustomID", "X-Mailin-Tag", "X-Campaign", "x-anything-else", "Precedence", "Auto-Submitted", "Importance",
    "Organization", "List-Help", "List-Archive", "X-Auto-Response-Suppress", "X-Entity-Ref-ID"])
def test_what_providers_and_readers_know_and_what_is_ones_own_may_be_used(name: str) -> None:
    assert faults((name, "news")) == []


@pytest.mark.parametrize(("name", "why"), [
    *((name, "writes it itself") for name in (
        "From", "To", "SUBJECT", "Date", "Message-ID", "Reply-To", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post",
        "Feedback-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "X-Postroom-Job")),
    *((name, "who gets the message") for name in (
        "Cc", "bcc", "X-Bcc", "Resent-To", "Apparently-To", "X-RCPT-TO", "X-Envelope-To", "X-MC-BccAddress",
        "X-MC-PreserveRecipients", "X-Mailgun-Recipient-Variables", "X-SendGrid-Bcc", "X-ElasticEmail-To", "X-Gateway-CC", "X-To",
        "X-AddBcc", "X-Gateway-Recipients", "X-Gateway-Rcpt-Add")),
    *((name, "who the message is from") for name in (
        "Sender", "Return-Path", "Errors-To", "X-Sender", "Disposition-Notification-To", "X-SES-SOURCE-ARN",
        "X-SES-RETURN-PATH-ARN", "X-MC-SigningDomain")),
    *((name, "servers on the way") for name in (
        "Received", "DKIM-Signature", "ARC-Seal", "Authentication-Results", "Delivered-To", "X-Original-To", "X-Received")),
    *((name, "its prefix belongs to a provider") for name in (
        "X-Mailgun-Drop-Message", "X-Mailgun-Deliver-By", "X-MC-Template", "X-MJ-TemplateID", "X-Mailjet-DeduplicateCampaign",
        "X-Sib-Sandbox", "X-SES-LIST-MANAGEMENT-OPTIONS", "X-SendGrid-Send-At", "X-ElasticEmail-Settings",
        "X-PM-KeepID", "X-PM-Metadata-", "X-MS-Exchange-Organization-SCL")),
    ("X-Unsubscribe-Web", "postroom account set"),
    ("Received-SPF", "servers on the way"), ("Expires", "begins with X-"), ("Subject ", "letters, digits and hyphens"),
    ("", "letters, digits and hyphens"), ("X:Y", "letters, digits and hyphens"), ("X-Ä", "letters, digits and hyphens"),
    ("X-a\r\nBcc", "letters, digits and hyphens"), ("X-" + "a" * 60, "letters, digits and hyphens"),
    ("1-X", "begins with a letter"),
])
def test_what_the_message_has_already_or_what_changes_whom_it_reaches_is_refused_by_name(name: str, why: str) -> None:
    [said] = faults((name, "news"))
    assert why in said
    assert name[:40] in said


@pytest.mark.parametrize(("name", "value", "why"), [
    ("X-Campaign", "", "has no value"), ("X-Campaign", "  ", "has no value"), ("X-Campaign", "a" * 901, "longer than 900"),
    ("X-Campaign", "a\r\nBcc: eve@list.example", "line break"), ("X-Campaign", "a\nb", "line break"),
    ("X-Campaign", "a\0b", "control character"), ("X-Campaign", "a\u2028b", "line break"), ("X-Campaign", "\ud800", "line break"),
    ("X-PM-Tag", "Frühling", "printable ASCII"), ("List-Help", "<mailto:jörg@list.example>", "printable ASCII"),
    ("X-PM-Tag", "=?utf-8?q?x?=", "printable ASCII"), ("X-PM-Tag", "a\tb", "control character"),
    ("X-SMTPAPI", "not JSON", "no JSON object"), ("X-SMTPAPI", "[1]", "no JSON object"),
    ("X-SMTPAPI", "[" * 800, "no JSON object"),
    ("X-SMTPAPI", '{"to": ["eve@list.example"]}', '"to" may change who gets'),
    ("X-SMTPAPI", '{"category": "a", "filters": {"bcc": {}}}', '"filters" may change'),
    ("X-MSYS-API", '{"bcc": [{"email": "eve@list.example"}]}', '"bcc" may change'),
    ("X-MSYS-API", '{"options": {"sandbox": true}}', '"options" may change'),
])
def test_a_value_is_one_line_for_everybody(name: str, value: str, why: str) -> None:
    [said] = faults((name, value))
    assert said.startswith(f"The header field {name} ")
    assert why in said


def test_json_that_only_says_what_it_is_about_may_go_with_the_message() -> None:
    assert faults(("X-SMTPAPI", '{"category": ["a"], "unique_args": {"to": "1"}}'),
                  ("X-MSYS-API", '{"campaign_id": "a", "metadata": {"b": {"c": 1}}}'),
                  ("X-Mailgun-Variables", '{"a": {"b": 1}}')) == []


def test_a_name_is_given_once_and_twenty_are_enough() -> None:
    assert faults(("X-A", "1"), ("x-a", "2")) == ['The header field "x-a" cannot be used: it is given twice.']
    assert faults(*((f"X-{n}", "1") for n in range(20))) == []
    assert faults(*((f"X-{n}", "1") for n in range(21))) == ["A message has at most 20 header fields of its own, not 21."]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert len(faults(("Bcc", "1"), ("X-A", ""), ("X-B", "b"))) == 2


@given(st.text(max_size=300) | st.text("=? äb,{}\":", max_size=900))
def test_whatever_is_found_without_fault_comes_back_as_it_went_in_and_is_one_field(value: str) -> None:
    for name in ("X-Campaign", "X-PM-Tag"):
        if faults((name, value)):
            continue
        [line] = own_headers.written([(name, value)])
        message = message_from_bytes(line + b"\r\n", policy=policy.compat32)
        assert message.keys() == [name]
        assert max(map(len, line.split(b"\r\n"))) <= 998
        told = message[name].replace("\r\n", "").replace("\n", "")
        assert str(make_header(decode_header(told))).strip() == value.strip()


def test_what_the_gateway_takes_off_is_not_signed() -> None:
    own = [("X-Campaign", "a"), ("X-SES-CONFIGURATION-SET", "b"), ("X-PM-Metadata-Color", "c"), ("Precedence", "bulk"),
           ("X-SMTPAPI", "{}")]
    assert own_headers.signed(own) == [b"x-campaign", b"precedence"]


@pytest.mark.parametrize(("line", "read"), [
    ("X-Campaign: spring", ("X-Campaign", "spring")), ("X-A:1", ("X-A", "1")), ("X-A: b: c ", ("X-A", "b: c")),
    ("X-A", ("X-A", ""))])
def test_a_line_is_read_as_mail_has_it(line: str, read: Header) -> None:
    assert own_headers.own_header(line) == read
