"""The sample message at any size, plain or rich, and the ways to build it that `message.py` measures.

Every way gives a message of the same header fields and texts: `agree` reads them back and compares, so that nobody is fast by
leaving something out. The plain message only names fields. The rich one has conditions, a loop over the parts of a field, and
filters; it is written twice, since Liquid and Jinja2 differ there.

Fails: `BenchmarkError` if a way gives something else.
"""

from __future__ import annotations

from binascii import b2a_base64, b2a_qp
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property

from jinja2 import Environment

import sample
from harness import BenchmarkError
from postroom.message.content import Content, Identity
from postroom.message.prepare.source import prepare
from postroom.message.render.compile import Compiled, Outfit, Stamp
from postroom.message.render.compile import compile as compile_message
from postroom.message.wire.token import Tokens

STAMP = Stamp("bench", datetime(2027, 6, 5, 10, tzinfo=UTC))
DATE = "Sat, 05 Jun 2027 10:00:00 +0000"
TOKENS = Tokens(b"k" * 32, 7)
UNSUBSCRIBE_URL = "https://club.example/u/{token}"
IDENTITY = Identity(7, sample.SENDER_NAME, UNSUBSCRIBE_URL, "bounces.sender.example")
LIST_ID = f"{sample.SENDER_NAME} <account-7.sender.example>"
ONE_CLICK = "List-Unsubscribe=One-Click"
FEEDBACK_ID = "bench:account-7:bulk:postroom"
OCTETS_WITHOUT_FILLER = 2_000

EVENTS = ("fish market", "boat race", "rope walk", "knot school", "harbour tour", "choir", "long table", "lantern parade")

_RICH_HEAD = """\
Dear {{ first_name | default: "member" }} {{ last_name | upcase }},
{% if plan == "Premium" %}
as a Premium member you sit on the quay, seat {{ seat }}; {{ berth }} is kept for your boat {{ boat }}.
{% elsif plan contains "Family" %}
your seats begin at {{ seat }}; children under ten need no ticket.
{% else %}
your seat is {{ seat }}. There are still places at the long table, at the same price as last year.
{% endif %}
{% unless city == "Oslo" %}From {{ city }} there is a train to the harbour every hour.{% endunless %}
{% if agent and phone %}
Show the code {{ code }} to {{ agent }} (telephone {{ phone | replace: " ", "-" }}).
{% endif %}
Your day, member {{ member_no }}:
{% assign stops = programme | split: "; " %}{% for stop in stops %}
{{ forloop.index }}. {{ stop | capitalize }}{% endfor %}

{% if amount == "" %}Nothing is due.{% else %}The amount of {{ amount }} is due on {{ due_date }}.{% endif %}
"""
_RICH_HEAD_JINJA2 = """\
Dear {{ first_name | default("member", true) }} {{ last_name | upper }},
{% if plan == "Premium" %}
as a Premium member you sit on the quay, seat {{ seat }}; {{ berth }} is kept for your boat {{ boat }}.
{% elif "Family" in plan %}
your seats begin at {{ seat }}; children under ten need no ticket.
{% else %}
your seat is {{ seat }}. There are still places at the long table, at the same price as last year.
{% endif %}
{% if city != "Oslo" %}From {{ city }} there is a train to the harbour every hour.{% endif %}
{% if agent and phone %}
Show the code {{ code }} to {{ agent }} (telephone {{ phone | replace(" ", "-") }}).
{% endif %}
Your day, member {{ member_no }}:
{% for stop in programme.split("; ") %}
{{ loop.index }}. {{ stop | capitalize }}{% endfor %}

{% if amount == "" %}Nothing is due.{% else %}The amount of {{ amount }} is due on {{ due_date }}.{% endif %}
"""


@dataclass(frozen=True)
class Templates:
    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class SizedMessage:
    """One message at one size, as Liquid and as Jinja2 have it."""

    liquid: Templates
    jinja2: Templates

    @cached_property
    def compiled(self) -> Compiled:
        content = Content(self.liquid.subject, self.liquid.html, self.liquid.text, sample.SENDER, sample.SENDER_NAME)
        return compile_message(content, prepare(content), STAMP, {}, Outfit(identity=IDENTITY, tokens=TOKENS))

    @cached_property
    def _renderers(self) -> tuple[Callable[..., str], Callable[..., str], Callable[..., str]]:
        plain, escaping = Environment(keep_trailing_newline=True), Environment(autoescape=True, keep_trailing_newline=True)
        return (plain.from_string(self.jinja2.subject).render, plain.from_string(self.jinja2.text).render,
                escaping.from_string(self.jinja2.html).render)

    def filled(self, fields: dict[str, str]) -> Templates:
        return Templates(*[render(fields) for render in self._renderers])


@dataclass(frozen=True)
class Person:
    """One recipient; `filled` are the texts as they read for this one."""

    position: int
    address: str
    fields: dict[str, str]
    filled: Templates


def plain(kilobytes: int) -> SizedMessage:
    """The sample's templates, cut or filled to about `kilobytes` on the wire."""
    return _sized(kilobytes, sample.TEXT.split(sample.STATIC)[0], sample.HTML.split("<p style=")[0])


def rich(kilobytes: int) -> SizedMessage:
    """The same with conditions, a loop and filters in its beginning."""
    html, html_jinja2 = (sample.HTML.split("<h1")[0] + f"<p>{head}</p>\n" for head in (_RICH_HEAD, _RICH_HEAD_JINJA2))
    return _sized(kilobytes, _RICH_HEAD, html, _RICH_HEAD_JINJA2, html_jinja2)


def _sized(kilobytes: int, text: str, html: str, text_jinja2: str = "", html_jinja2: str = "") -> SizedMessage:
    room = max(0, kilobytes * 1024 - OCTETS_WITHOUT_FILLER) * 23 // 50  # for each part, before it is encoded
    filler = ((sample.STATIC + "\n") * (room // len(sample.STATIC) + 1))[:room]
    text_end = filler + "\nAll about your day: {{ link }}\n"
    paragraphs = "".join([f"<p>{line}</p>\n" for line in filler.split("\n")])
    html_end = paragraphs + '<p><a href="{{ link }}">Your day</a></p>\n</body></html>\n'
    return SizedMessage(Templates(sample.SUBJECT, text + text_end, html + html_end),
                        Templates(sample.SUBJECT, (text_jinja2 or text) + text_end, (html_jinja2 or html) + html_end))


def people(sized: SizedMessage, first: int, count: int) -> Iterator[Person]:
    for index in range(first, first + count):
        fields = sample.values(index) | {"programme": programme(index)}
        yield Person(index, sample.address(index), fields, sized.filled(fields))


def programme(index: int) -> str:
    """Five of 704 events at gates; hardly any two recipients have the same five."""
    return "; ".join(f"{EVENTS[(index + stop * 3) % 8]} at gate {index // 3**stop % 88 + 1}" for stop in range(5))


Build = Callable[[Person], bytes]
Way = Callable[[SizedMessage], Build]


def ours(sized: SizedMessage) -> Build:
    render = sized.compiled.render
    return lambda person: render(person.address, person.position, person.fields)


def ours_checked(sized: SizedMessage) -> Build:
    render, check = sized.compiled.render, sized.compiled.check

    def build(person: Person) -> bytes:
        message = render(person.address, person.position, person.fields)
        check(message)
        return message

    return build


def email_message(_sized: SizedMessage) -> Build:
    """The standard library, given texts that are filled in."""
    return lambda person: _as_email_message(person.filled, person)


def jinja2_and_email_message(sized: SizedMessage) -> Build:
    return lambda person: _as_email_message(sized.filled(person.fields), person)


def jinja2_by_hand(sized: SizedMessage) -> Build:
    """What a good engineer writes to be fast: compiled templates, header fields as one string, bodies encoded in C."""
    return lambda person: _by_hand(sized.filled(person.fields), person)


def _as_email_message(filled: Templates, person: Person) -> bytes:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = f"{sample.SENDER_NAME} <{sample.SENDER}>"
    message["To"] = person.address
    message["Subject"] = filled.subject
    message["Message-ID"] = f"<bench.{person.position}@sender.example>"
    message["Date"] = DATE
    message["List-Id"] = LIST_ID
    message["List-Unsubscribe"] = f"<{UNSUBSCRIBE_URL.replace('{token}', TOKENS.unsubscribe(person.position))}>"
    message["List-Unsubscribe-Post"] = ONE_CLICK
    message["Feedback-ID"] = FEEDBACK_ID
    message.set_content(filled.text, cte="quoted-printable")
    message.add_alternative(filled.html, subtype="html", cte="quoted-printable")
    return message.as_bytes()


def _by_hand(filled: Templates, person: Person) -> bytes:
    subject = filled.subject
    if not subject.isascii() or not subject.isprintable() or "=?" in subject:
        words = [subject[start : start + 11].encode() for start in range(0, len(subject), 11)]  # of at most 44 octets
        subject = "\r\n ".join(f"=?utf-8?b?{b2a_base64(word, newline=False).decode()}?=" for word in words)
    head = (
        f"From: {sample.SENDER_NAME} <{sample.SENDER}>\r\nTo: {person.address}\r\nSubject: {subject}\r\n"
        f"Message-ID: <bench.{person.position}@sender.example>\r\nDate: {DATE}\r\nList-Id: {LIST_ID}\r\n"
        f"List-Unsubscribe: <{UNSUBSCRIBE_URL.replace('{token}', TOKENS.unsubscribe(person.position))}>\r\n"
        f"List-Unsubscribe-Post: {ONE_CLICK}\r\nFeedback-ID: {FEEDBACK_ID}\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="=_bench"\r\n'
    )
    parts = [
        f"\r\n--=_bench\r\nContent-Type: text/{kind}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n".encode() + b2a_qp(text.encode()).replace(b"\n", b"\r\n")
        for kind, text in (("plain", filled.text), ("html", filled.html))
    ]
    return head.encode("ascii") + parts[0] + parts[1] + b"\r\n--=_bench--\r\n"


def agree(sized: SizedMessage, ways: Mapping[str, Way], samples: int = 20) -> None:
    """Raise `BenchmarkError` unless all ways give the same header fields and texts."""
    build = ours(sized)
    for person in people(sized, 0, samples):
        expected = _read(build(person))
        for name, way in ways.items():
            found = _read(way(sized)(person))
            if found != expected:
                raise BenchmarkError(f"{name} builds another message than ours:\n{found}\nand not\n{expected}")


def _read(octets: bytes) -> tuple[dict[str, str], list[str]]:
    message = message_from_bytes(octets, policy=policy.default)
    headers = {name: str(value) for name, value in message.items() if name != "Content-Type"}
    texts = [str(part.get_content()).replace("\r\n", "\n") for part in message.iter_parts()]
    return headers, texts
