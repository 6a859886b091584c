"""Writes messages of every kind, to compare what two processes make: `write_mail.py forwards|backwards`, an RSA key on stdin.

Prints one JSON object: for each kind and recipient the SHA-256 of both messages, and of the envelope's sender, that were made for
it. Backwards, the recipients come in another order, so that what is remembered between them is another.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from postroom.message.content import Content, Identity
from postroom.message.prepare import attachment, source
from postroom.message.render.compile import Compiled, Outfit, Stamp, compile  # noqa: A004
from postroom.message.wire.dkim import Dkim, load_signer
from postroom.message.wire.token import Tokens

STAMP = Stamp("7-abc", datetime(2026, 6, 5, 7, 8, 9, tzinfo=UTC))
ACCOUNT = {"name": "Hafen", "postal_address": "Kai 1\nŁódź"}
FILES = {"logo é.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "report.csv": "a;ß\n".encode() * 400, "цена.bin": b"\x00" * 999}
RICH = """
{% assign greeting = name | default: 'friend' | upcase %}
{% if vip %}VIP {% elsif number > 3 %}three {% else %}-{% endif %}{{ greeting }}
{% for key in fields %}{{ key | join: '=' }};{% endfor %}
{% for i in (1..5) %}{{ forloop.index }}{{ name | slice: i }}{% endfor %}
{% case number %}{% when 1 %}one{% else %}{{ number | times: 1.1 | round: 2 }}{% endcase %}
{% capture x %}{{ name }}{% endcapture %}{{ x }}
{{ 'now' | date: '%A %c %x %X %Z %s %-s %10s %%s' }}
{{ today | date: '%d. %B' }} {{ '2026-02-03 04:05' | date: '%a %b %I %p' }} {{ now }}
{{ '2026-02-03 04:05 NST' | date: '%c %Z %s%-s' }} {{ '2026-02-03 04:05 +0545' | date: '%c %z %s' }}
{{ list | split: ',' | uniq | sort | reverse | join: '+' }} {{ list | split: ',' | size }}
{{ number | divided_by: 7.0 }}
"""
SIMPLE = ("Dear {{ name | default: 'friend' }}, {{ fields['the city'] }} {{ number }} {{ vip }} {{ account.postal_address }}\n"
          "{{ email }}\n")
HTML = ("<html><head><style>p { color: red } .a { margin: 0 } a:hover { color: blue }</style></head><body><p class='a'>{{ name }}"
        "</p><p style='top: 0'>{{ fields['the city'] | upcase }}</p><a href='{{ unsubscribe_url }}'>out</a></body></html>")
MJML = (f"<mjml><mj-body><mj-section><mj-column><mj-text>{SIMPLE}</mj-text><mj-button href='{{{{ unsubscribe_url }}}}'>out"
        "</mj-button></mj-column></mj-section></mj-body></mjml>")

CONTENTS = {
    "text": Content("Hi {{ name }}", None, SIMPLE, "news@club.example", "Clüb"),
    "html": Content("Hi {{ name }}, é", HTML, None, "news@club.example", "The Club", "office@bücher.example", "Soon: {{ name }}"),
    "rich": Content("{% if vip %}V{% endif %}{{ name }}", "<p>{{ name }}</p>" + RICH, RICH, "news@club.example"),
    "markdown": Content("m", None, None, "news@club.example", markdown=f"# Hi {{{{ name }}}}\n\n- a\n- **b**\n\n{SIMPLE}"),
    "mjml": Content("m", None, None, "news@club.example", mjml=MJML),
    "files": Content("f", "<p>{{ name }}<img src='cid:logo é.png'></p>", SIMPLE, "news@club.example"),
}
PEOPLE: list[dict[str, object]] = [
    {"name": "Ann", "the city": "Łódź", "number": 1, "vip": True, "list": "b,a,ß,a"},
    {"name": "", "the city": None, "number": 2.5, "vip": False, "list": ""},
    {"the city": "<b>.\r\n.\n", "number": 1e12, "name": "İSTANBUL ıi ǅ", "list": "x,é,e\u0301"},
    {"name": "王小明", "number": 7, "vip": "yes", "list": ",,"},
    {"name": "Ann", "the city": "Łódź", "number": -1, "vip": None, "list": "1,2"},
]  # fmt: skip


def compiled(content: Content, *, signatures: int) -> Compiled:
    described = [attachment.describe(name, octets) for name, octets in FILES.items()] if content.subject == "f" else []
    files, html = attachment.placed(described, content.html)
    content = replace(content, html=html, attachments=files)
    identity = Identity(3, "Clüb", "https://club.example/u/{token}?a={email}", "bounces.club.example")
    return compile(content, source.prepare(content), STAMP, ACCOUNT, Outfit(
        identity, Tokens(b"k" * 32, 7), {one.digest: FILES[one.name] for one in files}, signatures=signatures))


def main(order: str, rsa: str) -> None:
    ed25519 = Ed25519PrivateKey.from_private_bytes(b"k" * 32).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signers = [load_signer("club.example", "r", rsa), load_signer("club.example", "e", ed25519.decode())]
    digests: dict[str, list[str]] = {}
    positions = list(range(1, len(PEOPLE) + 1)) * 2
    for kind, content in CONTENTS.items():
        message = compiled(content, signatures=len(signers))
        dkim = Dkim(signers, STAMP.date, message.tail)
        for position in positions if order == "forwards" else positions[::-1]:
            address = "jörg@list.example" if position == 2 else f"person{position}@list.example"
            octets = dkim.sign(message.render(address, position, PEOPLE[position - 1]))
            message.check(octets, utf8=position == 2)
            whole = sha256(octets + message.tail + message.sender(position)).hexdigest()
            digests.setdefault(f"{kind} {position}", []).append(whole)
    json.dump(digests, sys.stdout, sort_keys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.read())
