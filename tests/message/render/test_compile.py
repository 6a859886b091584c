"""A recipient's bytes: whole, safe, personal, and the same every time."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from postroom.errors import InvalidInput
from postroom.message.content import Identity
from postroom.message.liquid.template import Content
from postroom.message.prepare.source import prepare
from postroom.message.render.compile import Compiled, Outfit, Stamp, compile  # noqa: A004
from postroom.message.wire.address import AddressRefused
from postroom.message.wire.headers import Unrenderable
from postroom.message.wire.token import Tokens

STAMP = Stamp("job-7", datetime(2026, 6, 5, 7, 8, 9, tzinfo=UTC))
CONTENT = Content(
    subject='{{ name | default: "Hello" }}, news from {{ account.name }}',
    html='<p>Dear {{ name | default: "friend" }},</p>\n<a href="/?{{ link }}">{{ fields["First name"] | upcase }}</a>\n',
    text="Dear {{ name }}, {{ link }}\n.\nyours {{ account.name }}\n",
    from_address="club@sender.example",
    from_name="Ünïon «Club»",
    reply_to="office@bücher.example",
)
NOTHING_MORE = Outfit()
ACCOUNT = {"name": "Harbour"}
PLANNED = ["From", "To", "Subject", "Message-ID", "Date", "Reply-To", "MIME-Version", "Content-Type"]

hard_text = st.text(" \t.=\r\n{}%<>&\"'aé\x00", max_size=200)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=120) | hard_text
header_text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)


def compiled(**changes: str | None) -> Compiled:
    return made(replace(CONTENT, **changes))


def made(content: Content, outfit: Outfit = NOTHING_MORE, *, stamp: Stamp = STAMP) -> Compiled:
    return compile(content, prepare(content), stamp, ACCOUNT, outfit)


def read(octets: bytes) -> EmailMessage:
    message = message_from_bytes(octets, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def bodies(octets: bytes) -> list[str]:
    """Text of each part, decoded, line ends as LF."""
    found = read(octets)
    parts = list(found.iter_parts()) if found.is_multipart() else [found]
    assert all(not part.defects for part in parts)
    return [(part.get_payload(decode=True) or b"").decode("utf-8").replace("\r\n", "\n") for part in parts]


def subject(octets: bytes) -> str:
    raw = re.search(rb"^Subject: ((?:.|\r\n )*)\r\n", octets, re.MULTILINE)
    assert raw
    return str(make_header(decode_header(raw[1].decode().replace("\r\n", ""))))


def lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def assert_sound(octets: bytes, planned: list[str] = PLANNED) -> None:
    assert re.fullmatch(rb"[\t\r\n -~]*", octets)
    assert not re.search(rb"[\r\n]", octets.replace(b"\r\n", b""))
    assert octets.endswith(b"\r\n")
    assert not re.search(rb"^\.", octets, re.MULTILINE)
    assert max(map(len, octets.split(b"\r\n"))) <= 78
    assert read(octets).keys() == planned


@given(name=header_text, link=any_text, first=any_text)
@example(name="=?utf-8?q?=0D=0ABcc:_a@b.c?=", link=".\r\n.\r\n", first="x" * 3000)
@example(name="", link="", first="")
@example(name="👩‍👩‍👧‍👦" * 10, link="." * 200, first="\r\n\r\n--=_\r\n")
@example(name="مرحبا", link="สวัสดี", first="e\u0301\u0323" * 50)
@settings(max_examples=1_500)
def test_any_values_come_back_and_nothing_else_does(name: str, link: str, first: str) -> None:
    octets = JOB.render("anna@example.com", 12, {"name": name, "link": link, "First name": first})
    assert_sound(octets)
    given, (name, link, first) = name, map(visible, (name, link, first))
    assert subject(octets) == f"{name if given else 'Hello'}, news from Harbour"
    text, html = bodies(octets)
    assert text == f"Dear {name}, {lf(link)}\n.\nyours Harbour\n"
    dear = escaped(name) if given else "friend"
    assert html == f'<p>Dear {dear},</p>\n<a href="/?{escaped(lf(link))}">{escaped(lf(first.upper()))}</a>\n'


@given(value=st.none() | st.booleans() | st.integers() | st.floats() | header_text | any_text)
@settings(max_examples=700)
def test_the_fast_and_the_rich_way_give_the_same_text(value: object) -> None:
    assume(not (isinstance(value, str) and value.isspace()))  # what a template assigns to a name of its own is no field
    fast, rich = (bodies(job.render("anna@example.com", 1, {"v": value})) for job in (SIMPLE, RICH))
    assert fast == rich


def visible(text: str) -> str:
    """A field that holds nothing but white space is blank."""
    return "" if text.isspace() else text


def escaped(text: str) -> str:
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(plain, entity)
    return text


JOB = compiled()
SIMPLE = compiled(subject="s", text='{{ v }}|{{ v | default: "-" }}', html="{{ v | append: '<' }}\n{{ v }}")
RICH = compiled(
    subject="s",
    text='{% if true %}{{ v }}|{{ v | default: "-" }}{% endif %}',
    html="{% assign w = v %}{{ w | append: '<' }}\n{{ w }}",
)


def test_the_headers_are_those_planned() -> None:
    octets = JOB.render("Anna@bücher.example", 12, {"name": "Anna"})
    found = read(octets)
    assert found["To"] == "Anna@xn--bcher-kva.example"
    assert found["From"].addresses[0].addr_spec == "club@sender.example"
    assert found["From"].addresses[0].display_name == "Ünïon «Club»"
    assert found["Reply-To"] == "office@xn--bcher-kva.example"
    assert found["Message-ID"] == "<job-7.12@sender.example>"
    assert found["Date"] == "Fri, 05 Jun 2026 07:08:09 +0000"
    assert [part.get_content_type() for part in found.iter_parts()] == ["text/plain", "text/html"]


def list_id(name: str) -> bytes:
    octets = made(CONTENT, Outfit(identity=Identity(3, name))).render("a@b.example", 1, {})
    found = re.search(rb"^List-Id: ((?:.|\r\n )*)\r\n", octets, re.MULTILINE)
    assert found
    return found[1]


def test_a_list_id_holds_the_account_s_name_while_it_has_255_octets_at_most() -> None:
    alone = b"<account-3.sender.example>"
    assert (list_id(""), list_id("Harbour"), list_id("Harbour\n")) == (alone, b"Harbour " + alone, alone)
    made = [list_id("a" * length) for length in range(1, 221, 3)]
    assert all(one.endswith(alone) and len(one) <= 255 for one in made)
    assert max(map(len, made)) > 240, "a name that just fits is there"
    assert [one == alone for one in made] == sorted(one == alone for one in made), "and each that is longer is not"
    assert made[-1] == alone


@pytest.mark.parametrize(("url", "one_click"), [
    ("https://club.example/out/{token}", True), ("https://club.example/out?who={email}", True),
    ("https://club.example/preferences", False), ("https://club.example/preferences#{token}", False),
    ("http://club.example/out/{token}", False), ("mailto:out@club.example?subject={token}", False)])
def test_one_click_is_promised_where_the_address_itself_says_who_leaves(url: str, one_click: bool) -> None:
    job = made(CONTENT, Outfit(identity=Identity(3, "Harbour", url), tokens=Tokens(b"k" * 32, 7)))
    octets = job.render("a@b.example", 1, {"name": "Ann"})
    job.check(octets)
    assert b"\r\nList-Unsubscribe: <" + url[:12].encode() in octets
    assert (b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in octets) == one_click


def test_one_body_alone_is_not_wrapped() -> None:
    octets = compiled(html=None, text="Only {{ name }}").render("a@b.example", 1, {"name": "this"})
    assert read(octets).get_content_type() == "text/plain"
    assert bodies(octets) == ["Only this\n"]
    assert_sound(octets, [*PLANNED, "Content-Transfer-Encoding"])


def test_html_alone_brings_a_text_part_with_live_fields() -> None:
    octets = compiled(text=None, html='<p>Hi {{ name }}, <a href="{{ link }}">look</a></p>').render(
        "a@b.example", 1, {"name": "<Jo>", "link": "/?a=1&b"}
    )
    assert bodies(octets)[0] == "Hi <Jo>, look (/?a=1&b)\n"


@pytest.mark.parametrize(
    "character", ["\r\nBcc: x@y.example", "\n", "\x00", "\x1b", "\x85", "\u2028", "\u2029", "\t", "\ud83d"]
)
def test_a_value_that_cannot_stand_in_a_header_fails_that_recipient_only(character: str) -> None:
    with pytest.raises(Unrenderable, match="The Subject contains"):
        JOB.render("a@b.example", 1, {"name": f"Anna{character}"})
    assert_sound(JOB.render("a@b.example", 1, {"name": "Anna"}))


def test_half_a_character_in_a_body_fails_that_recipient() -> None:
    with pytest.raises(Unrenderable, match="half a character"):
        JOB.render("a@b.example", 1, {"link": "\ud83d"})


def test_an_address_that_was_never_validated_is_refused() -> None:
    for address in ("a@b.example\r\nBcc: x@y.example", "a b@c.example", "<a@b.example>", "=?u?q?a?=@b.example", ""):
        with pytest.raises(AddressRefused):
            JOB.render(address, 1, {})


def test_a_message_over_two_mebibytes_fails_that_recipient() -> None:
    with pytest.raises(Unrenderable, match="larger than 2 MiB"):
        JOB.render("a@b.example", 1, {"link": "x" * 2_100_000})
    with pytest.raises(Unrenderable, match=r"limit|larger"):
        RICH.render("a@b.example", 1, {"v": "x" * 2_100_000})


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 | divided_by: n }}",
        "{% for i in (1..10000) %}{% for j in (1..10000) %}x{% endfor %}{% endfor %}",
        "{% assign s = 'aaaaaaaaaa' %}{% for i in (1..100) %}{% assign s = s | append: s %}{% endfor %}{{ s }}",
        "{% assign s = 'aaaaaaaaaa' %}{% for i in (1..9) %}{% assign s = s | replace: 'a', s %}{% endfor %}{{ s }}",
        "{% assign s = 9 %}{% for i in (1..100) %}{% assign s = s | times: s %}{% endfor %}{{ s }}",
        "{{ big | split: '' | join: big }}",
        "{{ big | replace: 'x', big }}",
        "{% if a %}{{ b | divided_by: 0 }}{% else %}{{ 'x' | slice: 'a', 'b' }}{% endif %}",
        "{{ 1 | divided_by: 0 }}",
    ],
)
def test_what_a_template_cannot_do_with_a_value_fails_that_recipient_only(source: str) -> None:
    job = compiled(subject="s", text=source)
    with pytest.raises(Unrenderable) as refused:
        job.render("a@b.example", 1, {"n": 0, "big": "x" * 20_000})
    assert refused.value.reason.endswith(".")


def test_missing_and_none_are_empty_and_take_the_default() -> None:
    job = compiled(subject="s", html=None, text='[{{ a }}][{{ a | default: "x" }}][{{ fields["b c"] | default: "y" }}]')
    for fields in ({}, {"a": None, "b c": None}, {"a": "", "b c": ""}):
        assert bodies(job.render("a@b.example", 1, fields)) == ["[][x][y]\n"]
    for false in (False, "false"):  # as the API and a workbook give it
        assert bodies(job.render("a@b.example", 1, {"a": 0, "b c": false})) == ["[0][0][false]\n"]


def test_equal_keys_of_other_types_are_not_mixed_up() -> None:
    job = compiled(subject="s", html=None, text="{{ a }}")
    values: list[object] = [1, True, 1.0, "1", 0, False, "True", None]
    assert [bodies(job.render("a@b.example", 1, {"a": value})) for value in values * 2] == [
        ["1\n"], ["true\n"], ["1.0\n"], ["1\n"], ["0\n"], ["false\n"], ["True\n"], ["\n"]
    ] * 2  # fmt: skip


def test_the_address_the_account_and_the_fields_are_told_apart() -> None:
    job = compiled(
        subject="{{ email }}",
        html=None,
        text='{{ email }} {{ fields["email"] }} {{ account.name }} {{ fields["account"] }} {{ fields.size }}'
        '{% if email contains "@" %} {{ account.name }}{% endif %} {{ name | append: account.name }}',
    )
    octets = job.render("a@b.example", 1, {"email": "A@b.example", "account": "mine", "name": "n"})
    assert bodies(octets) == ["a@b.example A@b.example Harbour mine  Harbour nHarbour\n"]
    assert subject(octets) == "a@b.example"


def test_two_columns_with_look_alike_names_are_two_columns() -> None:
    job = compiled(subject="s", html=None, text='{{ fields.x }} {{ ["fields.x"] }} {{ fields["a.b"] }}')
    octets = job.render("a@b.example", 1, {"x": "one", "fields.x": "two", "a.b": "three"})
    assert bodies(octets) == ["one two three\n"]


def test_a_content_that_was_never_checked_is_refused_when_it_is_compiled() -> None:
    for changes in ({"from_name": "a\nb"}, {"from_address": "x"}, {"text": "{{"}, {"subject": ""}):
        with pytest.raises(InvalidInput):
            compiled(**changes)


def test_a_list_or_an_object_as_a_value_is_refused_by_name() -> None:
    with pytest.raises(Unrenderable, match='"link" is a list'):
        JOB.render("a@b.example", 1, {"link": ["x"]})


def test_conditions_loops_and_assigned_names_work() -> None:
    job = compiled(
        subject="{% if vip %}VIP {{ name }}{% else %}{{ name }}{% endif %}",
        html=None,
        text="{% assign greeting = 'Hi ' | append: name %}{{ greeting }}\n{% for tag in (1..3) %}{{ tag }},{% endfor %}\n"
        "{% if vip %}é.{{ name }}\n{% endif %}{% comment %}hidden{% endcomment %}{{ name }} {% raw %}{{ raw }}{% endraw %}",
    )
    octets = job.render("a@b.example", 1, {"name": "Jo", "vip": True})
    assert subject(octets) == "VIP Jo"
    assert bodies(octets) == ["Hi Jo\n1,2,3,\né.Jo\nJo {{ raw }}\n"]
    assert bodies(job.render("a@b.example", 1, {"name": "X"})) == ["Hi X\n1,2,3,\nX {{ raw }}\n"]


def test_values_are_escaped_in_html_and_plain_elsewhere() -> None:
    job = compiled(subject="{{ v }}", text="{{ v }}", html="<p>{{ v }}|{{ v | upcase }}|{{ v | escape }}</p>")
    octets = job.render("a@b.example", 1, {"v": "<b>&'\""})
    assert subject(octets) == "<b>&'\""
    assert bodies(octets) == [
        "<b>&'\"\n",
        "<p>&lt;b&gt;&amp;&#39;&#34;|&lt;B&gt;&amp;&#39;&#34;|&lt;b&gt;&amp;&#39;&#34;</p>\n",
    ]


def test_the_time_is_the_job_s_and_never_the_clock_s() -> None:
    text = "{{ now | date: '%d.%m.%Y' }} {{ 'today' | date: '%F' }}"
    job = compiled(subject="{{ 'now' | date: '%Y' }}", html=None, text=text)
    octets = job.render("a@b.example", 1, {})
    assert (subject(octets), bodies(octets)) == ("2026", ["05.06.2026 2026-06-05\n"])


RENDER = """
import hashlib, sys
sys.path.insert(0, {here!r})
from test_compile import JOB, RICH
digest = hashlib.sha256()
for index in range(50):
    fields = {{"name": "Łu" * index, "link": "." * index, "First name": "x", "v": index / 7}}
    for job in (JOB, RICH):
        digest.update(job.render(f"r{{index}}@example.com", index, fields))
        again = job.render(f"r{{index}}@example.com", index, fields)
        assert job.render(f"r{{index}}@example.com", index, fields) == again
print(digest.hexdigest())
"""


def test_two_processes_make_the_same_bytes() -> None:
    script = RENDER.format(here=os.path.dirname(__file__))
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(digests) == 1


def test_liquid_is_not_loaded_before_it_is_needed() -> None:
    script = (
        "import sys, postroom.message.render.compile, postroom.message.wire.address as a; a.parse_address('a@b.co'); "
        "print([m for m in ('liquid', 'email_validator', 'dateutil', 'email') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    assert out == "[]\n"


@pytest.mark.parametrize("job_ref", ["", "a b", "a\r\nb", "é", "x" * 65, "a@b"])
def test_a_stamp_takes_plain_job_refs_only(job_ref: str) -> None:
    with pytest.raises(ValueError, match="job_ref"):
        Stamp(job_ref, STAMP.date)


def test_a_byte_order_mark_is_no_part_of_a_subject() -> None:
    job = compiled(subject="\ufeffNews", html=None, text="x")
    assert subject(job.render("a@b.example", 1, {})) == "News"
