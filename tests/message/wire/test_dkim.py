"""Signatures that an independent verifier accepts, that break when anything that was signed changes, and are always the same."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.message.wire import quoted
from postroom.message.wire.dkim import ED25519, RSA, SIGNED, Dkim, Signer, generate, load_signer
from postroom.message.wire.headers import mailbox, unstructured

MOMENT = datetime(2026, 11, 24, 9, 30, 15, 999_999, tzinfo=UTC)
DOMAIN = "club.example"
PEMS: dict[str, str] = {}
RECORDS: dict[str, str] = {}
for _algorithm in (RSA, ED25519):
    PEMS[_algorithm], _public = generate(_algorithm)
    RECORDS[f"{_algorithm}._domainkey.{DOMAIN}"] = f"v=DKIM1; k={_algorithm.removesuffix('-sha256')}; p={_public}"
SIGNERS = [load_signer(DOMAIN, algorithm, pem) for algorithm, pem in PEMS.items()]

FIELDS = {
    "From": b"=?utf-8?q?Z=C3=B6e?= <news@club.example>", "To": b"ann@list.example", "Cc": b"bob@list.example",
    "Subject": b"=?utf-8?b?w5xuw69vbiA=?=\r\n =?utf-8?b?0JrQu9GD0LE=?=", "Date": b"Tue, 24 Nov 2026 09:30:15 +0000",
    "Reply-To": b"office@club.example", "Message-ID": b"<7-ab.1@club.example>", "List-Id": b"News\r\n <news.club.example>",
    "List-Unsubscribe": b"<https://club.example/u/1>", "List-Unsubscribe-Post": b"List-Unsubscribe=One-Click",
    "MIME-Version": b"1.0", "Content-Type": b'text/plain;\r\n charset="utf-8"', "Feedback-ID": b"7:club",
}
BODY = b"Dear Ann,\r\n\r\n all is =\r\nwell.\r\n"


def message(body: bytes = BODY, **changes: bytes | None) -> bytes:
    """With every field that is signed; None leaves one out. An underscore in a name stands for the hyphen."""
    fields = FIELDS | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [name.encode() + b": " + value + b"\r\n" for name, value in fields.items() if value is not None]
    return b"".join(lines) + b"\r\n" + body


def verdicts(messages: Sequence[bytes], records: dict[str, str] | None = None) -> list[list[bool]]:
    given = {"records": records or RECORDS, "messages": [base64.b64encode(one).decode() for one in messages]}
    ended = subprocess.run(["/usr/bin/python3", str(Path(__file__).with_name("dkim_verifier.py"))], input=json.dumps(given),
                           capture_output=True, text=True, check=True, timeout=60)
    return json.loads(ended.stdout)


def signed(octets: bytes, signers: Sequence[Signer] = SIGNERS) -> bytes:
    return Dkim(signers, MOMENT).sign(octets)


BOTH = [True, True]
NEITHER = [False, False]

header_text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=120)
body_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.text(" \t.=\n\u00e9", max_size=300)


@given(st.lists(st.tuples(header_text, header_text, body_text), min_size=20, max_size=40))
@settings(max_examples=8)
def test_an_independent_verifier_accepts_whatever_the_message_holds(drawn: list[tuple[str, str, str]]) -> None:
    messages = [message(quoted.piece(body + "\n"), Subject=unstructured("Subject", subject),
                        From=mailbox("From", name, b"news@club.example")) for subject, name, body in drawn]
    assert verdicts([signed(one) for one in messages]) == [BOTH] * len(messages)


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n" * 5, b"no end of line", b"text\r\n\r\n\r\n", b"\r\n\r\ntext\r\n",
                                  b"x\r\n" * 20_000])
def test_a_body_may_be_empty_or_end_in_blank_lines(body: bytes) -> None:
    assert verdicts([signed(message(body))]) == [BOTH]


@pytest.mark.parametrize("tail", [b"", b"\r\n", b"\r\n\r\n", b"--b--\r\n", b"--b--\r\n\r\n\r\n", b"QUJD" * 19 + b"\r\n",
                                  b"\r\n--b\r\n" * 50_000])
def test_a_tail_is_signed_and_not_returned(tail: bytes) -> None:
    head = message(b"Dear Ann,\r\n\r\n")
    dkim = Dkim(SIGNERS, MOMENT, tail)
    assert dkim.sign(head) + tail == signed(head + tail)
    assert verdicts([dkim.sign(head) + tail]) == [BOTH]


def test_the_hash_of_a_body_that_is_the_same_for_everyone_is_made_once() -> None:
    dkim = Dkim(SIGNERS, MOMENT, b"--b--\r\n")
    known = dkim.body_hash(message())
    assert known == hashlib.sha256(BODY + b"--b--\r\n").digest()
    for_bob = message(To=b"bob@list.example")
    assert dkim.sign(for_bob, known) == dkim.sign(for_bob)


def test_what_a_relay_may_do_to_the_layout_of_a_header_breaks_nothing() -> None:
    octets = signed(message())
    changed = (octets.replace(b"\r\nSubject: ", b"\r\nSUBJECT:\t ").replace(b"\r\n =?utf-8?b?0J", b" =?utf-8?b?0J")
               .replace(b"charset", b"\t  charset"))
    assert changed != octets
    assert verdicts([changed, b"Received: from a by b\r\n" + octets + b"\r\n\r\n"]) == [BOTH, BOTH]


def test_every_field_that_is_listed_breaks_both_signatures_when_it_is_changed_or_taken_away() -> None:
    octets = signed(message())
    broken = []
    for name in SIGNED:
        field = re.compile(rb"^" + name + rb": (.)((?:.|\r\n )*)\r\n", re.MULTILINE | re.IGNORECASE)
        assert field.search(octets), f"the message has no {name.decode()}"
        broken += [field.sub(rb"%b: x\1\2\r\n" % name, octets, count=1), field.sub(b"", octets, count=1)]
    assert verdicts(broken) == [NEITHER] * 2 * len(SIGNED)


def test_a_second_field_breaks_both_signatures_wherever_it_is_put() -> None:
    """MIME-Version is listed once: a second one says nothing that a reader could show."""
    octets = signed(message())
    header, _, body = octets.partition(b"\r\n\r\n")
    listed = re.search(rb"h=([^;]+);", header)
    assert listed
    names = listed[1].replace(b"\r\n ", b"").split(b":")
    assert {name for name in names if names.count(name) == 2} == set(SIGNED) - {b"mime-version"}
    broken = []
    for name in set(SIGNED) - {b"mime-version"}:
        line = name + b": x\r\n"
        broken += [line + octets, header + b"\r\n" + line + b"\r\n" + body]
    assert verdicts(broken) == [NEITHER] * len(broken)


def test_a_field_of_ones_own_is_signed_against_change_absence_and_a_second_one() -> None:
    dkim = Dkim(SIGNERS, MOMENT, more=[b"x-campaign", b"organization"])
    octets = dkim.sign(message(X_Campaign=b"spring", Organization=b"Club"))
    changed = octets.replace(b"X-Campaign: spring", b"X-Campaign: autumn")
    absent = octets.replace(b"Organization: Club\r\n", b"")
    twice = octets.replace(b"X-Campaign: spring\r\n", b"X-Campaign: spring\r\nx-campaign: spring\r\n")
    assert max(map(len, octets.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 78
    assert verdicts([octets, changed, absent, twice]) == [BOTH, NEITHER, NEITHER, NEITHER]


@pytest.mark.parametrize("absent", [name for name in FIELDS if name not in ("From", "MIME-Version", "Feedback-ID")])
def test_a_field_that_was_absent_cannot_be_added(absent: str) -> None:
    octets = signed(message(**{absent: None}))
    assert verdicts([octets, absent.encode() + b": x\r\n" + octets]) == [BOTH, NEITHER]


def test_a_changed_body_breaks_both_signatures() -> None:
    octets = signed(message())
    assert verdicts([octets + b"More.\r\n", octets.replace(b"all is", b"all  is"), octets[:-2] + b" \r\n"]) == [NEITHER] * 3


def test_the_fields_stand_in_front_folded_and_say_when() -> None:
    octets = signed(message())
    assert octets.endswith(b"\r\n" + message())
    fields = octets.removesuffix(message())
    assert fields.count(b"DKIM-Signature: v=1; a=") == Dkim(SIGNERS, MOMENT).field_count == 2
    assert fields.count(b" t=1795512615;\r\n") == 2
    assert max(len(line) for line in fields.split(b"\r\n")) <= 78
    assert b"\r" not in fields.replace(b"\r\n", b"")


def test_another_process_signs_the_same_bytes() -> None:
    program = """if True:
        import json, sys
        from datetime import datetime
        from postroom.message.wire.dkim import Dkim, load_signer
        pems, moment, octets = json.load(sys.stdin)
        signers = [load_signer("club.example", algorithm, pem) for algorithm, pem in pems.items()]
        sys.stdout.buffer.write(Dkim(signers, datetime.fromisoformat(moment)).sign(octets.encode("ascii")))
    """
    given = json.dumps([PEMS, MOMENT.isoformat(), message().decode("ascii")]).encode()
    for seed in ("1", "2"):
        ended = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, check=True, timeout=60,
                               env={"PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo"})
        assert ended.stdout == signed(message())


def test_threads_sign_at_once_and_each_gets_its_own() -> None:
    dkim = Dkim(SIGNERS, MOMENT)
    messages = [message(To=b"person%d@list.example" % n) for n in range(100)]
    with ThreadPoolExecutor(8) as threads:
        at_once = list(threads.map(dkim.sign, messages))
    assert at_once == [dkim.sign(one) for one in messages]
    assert verdicts(at_once) == [BOTH] * len(messages)


def test_the_published_key_of_rfc_8463_signs_and_its_record_verifies() -> None:
    seed = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")  # appendix A.2
    pem = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signer = load_signer("football.example.com", "brisbane", pem)
    record = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    assert verdicts([signed(message(), [signer])], {"brisbane._domainkey.football.example.com": record}) == [[True]]


@pytest.mark.parametrize(("algorithms", "is_slow"), [([RSA], True), ([ED25519], False), ([ED25519, RSA], True), ([], False)])
def test_only_rsa_is_slow(algorithms: list[str], is_slow: bool) -> None:
    signers = [signer for signer in SIGNERS if signer.algorithm in algorithms]
    dkim = Dkim(signers, MOMENT)
    assert (dkim.is_slow, dkim.field_count) == (is_slow, len(algorithms))
    assert (dkim.sign(message()) == message()) == (not algorithms)


def test_a_key_that_is_none_to_sign_with_is_refused_and_does_not_show() -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    p, q, e = 2**521 - 1, 2**127 - 1, 65537  # primes; 648 bits together
    d = pow(e, -1, (p - 1) * (q - 1))
    short = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q)).private_key()
    for key in (elliptic, short):
        with pytest.raises(ValueError, match="at least 1024 bits"):
            load_signer(DOMAIN, "s", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    with pytest.raises(ValueError, match="rsa-sha1"):
        generate("rsa-sha1")
    assert "PRIVATE" not in repr(SIGNERS)


def test_a_message_that_is_not_one_of_ours_is_not_signed() -> None:
    with pytest.raises(ValueError, match="subject twice"):
        signed(b"Subject: another\r\n" + message())
    with pytest.raises(ValueError, match="not found"):
        signed(b"Subject: no end\r\n")
