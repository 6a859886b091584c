"""The message that all contenders send: personalised multipart/alternative, 14 personal values, 10 KB on the wire.

The templates use `{{ name }}` only, which Liquid, Jinja2 and Django's templates read alike, so that everyone renders
the same text. Values come in several scripts, since encoding them is part of the work.
"""

from __future__ import annotations

import json
from email.message import EmailMessage
from email.policy import SMTP

SENDER = "news@sender.example"
SENDER_NAME = "The Harbour Club"

FIRST_NAMES = ("Anna", "Łukasz", "Zoë", "Мария", "José", "陳", "Nikos", "Søren", "Fatima", "John")
LAST_NAMES = ("Smith", "Żółkowski", "Müller", "Иванова", "García", "大文", "Laskaris", "Ångström", "Diallo", "O'Neil")
CITIES = ("Oslo", "Kraków", "Zürich", "Łódź", "A Coruña", "高雄市", "Θεσσαλονίκη", "Århus", "Dakar", "Cork")
PLANS = ("Basic", "Family & friends", "Premium")

SUBJECT = "{{ first_name }}, your place at the summer regatta"

STATIC = (
    "The club's summer regatta opens on the first Saturday of July, and this year the whole harbour takes part: "
    "the boats leave at ten, the children's race follows at noon, and the long table on the quay is laid from six. "
    "Parking is behind the old fish hall – please leave the quay itself free for the trailers. "
)

TEXT = (
    "Dear {{ first_name }} {{ last_name }},\n\n"
    "member {{ member_no }} from {{ city }}: your {{ plan }} plan is paid up to {{ due_date }}.\n"
    "The amount of {{ amount }} was booked. Your seat is {{ seat }}, your berth {{ berth }}, your boat {{ boat }}.\n"
    "Show the code {{ code }} to {{ agent }} (telephone {{ phone }}).\n\n"
    + "\n\n".join([STATIC] * 9)
    + "\n\nAll about your day: {{ link }}\n\nFair winds\nThe Harbour Club\n"
)

HTML = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Summer regatta</title></head>\n'
    '<body style="margin:0;padding:24px;background:#f4f6f8;font-family:Helvetica,Arial,sans-serif;color:#1c2733">\n'
    '<h1 style="font-size:24px;line-height:32px">Dear {{ first_name }} {{ last_name }},</h1>\n'
    "<p>member <b>{{ member_no }}</b> from {{ city }}: your {{ plan }} plan is paid up to {{ due_date }}. "
    "The amount of <b>{{ amount }}</b> was booked. Your seat is {{ seat }}, your berth {{ berth }}, "
    "your boat {{ boat }}.</p>\n<p>Show the code <code>{{ code }}</code> to {{ agent }} (telephone {{ phone }}).</p>\n"
    + "\n".join([f'<p style="font-size:15px;line-height:24px;margin:0 0 16px 0">{STATIC}</p>'] * 13)
    + '\n<p><a href="{{ link }}" style="background:#0b6;color:#fff;padding:12px 20px">All about your day</a></p>\n'
    "<p>Fair winds<br>The Harbour Club</p>\n</body></html>\n"
)


def address(index: int) -> str:
    return f"member{index}@recipient.example"


def values(index: int) -> dict[str, str]:
    """The 14 personal values of recipient number `index`."""
    ten = index % 10
    return {
        "first_name": FIRST_NAMES[ten],
        "last_name": LAST_NAMES[index // 10 % 10],
        "city": CITIES[index // 100 % 10],
        "member_no": f"M-{index:07d}",
        "plan": PLANS[index % 3],
        "amount": f"€ {index % 900 + 12}.50",
        "due_date": f"{index % 28 + 1} June 2027",
        "seat": f"{'ABCDEF'[index % 6]}{index % 40 + 1}",
        "berth": f"pier {index % 9 + 1}, place {index % 60 + 1}",
        "boat": f"Möwe {index % 300 + 1}",
        "code": f"{index * 7919 % 1000000:06d}",
        "agent": f"{LAST_NAMES[ten]} at gate {index % 4 + 1}",
        "phone": f"+47 22 {index % 1000000:06d}",
        "link": f"https://regatta.example/day/{index * 104729 % 1000000007:x}?m={index}",
    }


def substituted(template: str, fields: dict[str, str]) -> str:
    for name, value in fields.items():
        template = template.replace("{{ " + name + " }}", value)
    return template


def ready_message(index: int = 1) -> bytes:
    """A finished message in CRLF form, for the contenders that are handed their bytes."""
    fields = values(index)
    message = EmailMessage(policy=SMTP)
    message["From"] = f"{SENDER_NAME} <{SENDER}>"
    message["To"] = address(index)
    message["Subject"] = substituted(SUBJECT, fields)
    message["Message-ID"] = f"<{index}.regatta@sender.example>"
    message["Date"] = "Sat, 05 Jun 2027 10:00:00 +0000"
    message.set_content(substituted(TEXT, fields), cte="quoted-printable")
    message.add_alternative(substituted(HTML, fields), subtype="html", cte="quoted-printable")
    return message.as_bytes()


def as_json(recipients: int) -> str:
    """Templates, ready message and personal values for contenders in other languages."""
    people = [{"address": address(index), "fields": values(index)} for index in range(recipients)]
    return json.dumps(
        {
            "sender": SENDER,
            "sender_name": SENDER_NAME,
            "subject": SUBJECT,
            "text": TEXT,
            "html": HTML,
            "ready": ready_message().decode("ascii"),
            "people": people,
        }
    )
