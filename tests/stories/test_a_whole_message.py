"""A message with everything that one can have, sent by a worker, and taken from the gateway: the bytes are held to what they say.

Signatures are verified by a program that is not ours, and the parts are read by a parser that is not Python's.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from acting import acting
from doors.serving import PNG, served
from loopback import DIALER
from message.second_reader import SecondReader
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status
from postroom.flow.account import accounts, domains
from postroom.flow.account.deployment import Deployment
from postroom.flow.account.domains import Publication
from postroom.flow.account.secrets import SecretBox
from postroom.message.content import Content
from postroom.message.wire.token import Tokens, read_unsubscribe
from stage import SECRET_KEY, Stage

VERIFIER = Path(__file__).parents[1] / "message" / "wire" / "dkim_verifier.py"
BOUNCES = "bounces.club.example"
PEOPLE = [IncomingRow(n + 1, f"person{n}@list.example", {"name": name})
          for n, name in enumerate(("Ann", "", "Łucja", "=?utf-8?q?Bob?=", "Dee"), 1)]
PERSONAL = Content(
    subject="News for {{ name | default: 'you' }}", html=None, text=None, from_address="news@club.example", from_name="The Club",
    preheader="Five minutes, {{ name }}", markdown="# Dear {{ name }}\n\n.twelve *new* courses\n\n![The dot](cid:dot.png)\n")
SAME_BODY = replace(PERSONAL, preheader="Five minutes", markdown="# Dear all\n\n.twelve *new* courses\n")
IMAGE, PAPER = ("dot.png", PNG), ("Programm für Frühling.txt", "Zwölf Kurse\n".encode() * 400)


@dataclass(frozen=True)
class Taken:
    """One message as the gateway took it: for whom, from which envelope sender, and its bytes."""

    sender: str
    octets: bytes

    @property
    def header(self) -> bytes:
        return self.octets.partition(b"\r\n\r\n")[0]

    @property
    def names(self) -> list[str]:
        return [line.partition(b":")[0].decode() for line in re.split(rb"\r\n(?![ \t])", self.header)]

    def raw(self, name: str) -> list[str]:
        """The lines of a header field, as they stand."""
        found = re.search(rb"(?m)^%b: (.*(?:\r\n[ \t].*)*)\r?$" % name.encode(), self.header)
        assert found, f"there is no {name}"
        return found[1].decode().rstrip("\r").split("\r\n")


@pytest.fixture
def second_reader() -> Iterator[SecondReader]:
    with SecondReader() as reader:
        yield reader


async def equipped(stage: Stage, *, unsubscribe_url: str = "https://club.example/out?t={token}") -> tuple[int, Publication]:
    """An account with a sending domain, a bounce domain and a way out; and what it publishes."""
    account = await stage.account()
    await accounts.change_account(stage.pool, acting(account), bounce_domain=BOUNCES, unsubscribe_url=unsubscribe_url)
    return account, await domains.add_domain(stage.pool, stage.deployment.secrets, acting(account), "club.example")


async def sent(stage: Stage, account: int, content: Content = PERSONAL, files=(IMAGE,)) -> tuple[int, dict[int, Taken]]:
    """A job to PEOPLE, blank fields left blank; its number, and what the gateway took, by position."""
    before = len(stage.sandbox.records)
    async with stage.worker():
        job = await stage.started(account, PEOPLE, content=content, field_policy="blank", files=files)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (len(PEOPLE), 0, 0, 0, 0))
    position = {one.address: number for number, one in enumerate(PEOPLE, 1)}
    new = zip(stage.sandbox.records[before:], stage.sandbox.contents[before:], strict=True)
    return job.id, {position[record.rcpt[0]]: Taken(record.mail_from, octets) for record, octets in new}


def verdicts(published: Publication, taken: dict[int, Taken]) -> list[list[bool]]:
    """Of each message, whether each of its signatures holds."""
    given = {"records": {one.name: one.text for one in published.keys},
             "messages": [base64.b64encode(one.octets).decode() for one in taken.values()]}
    ended = subprocess.run(["/usr/bin/python3", str(VERIFIER)], input=json.dumps(given), capture_output=True, text=True,
                           check=True, timeout=60)
    return json.loads(ended.stdout)


# -- signatures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "files"), [
    (replace(PERSONAL, markdown="Dear {{ name }}\n"), ()), (PERSONAL, (IMAGE,)), (PERSONAL, (IMAGE, PAPER)),
    (SAME_BODY, ()), (SAME_BODY, (PAPER,)), (replace(SAME_BODY, markdown=None, text=".\n\nDear all\n\n\n", preheader=""), ()),
], ids=["personal", "personal with an image", "personal with files", "the same for all", "the same with a file", "text alone"])
async def test_both_signatures_of_every_message_hold_for_an_independent_verifier(stage: Stage, content: Content, files) -> None:
    account, published = await equipped(stage)
    _, taken = await sent(stage, account, content, files)
    assert {one.text.split("; ")[1] for one in published.keys} == {"k=rsa", "k=ed25519"}
    assert verdicts(published, taken) == [[True, True]] * len(PEOPLE)
    bodies = {one.octets.partition(b"\r\n\r\n")[2] for one in taken.values()}
    assert len(bodies) == (len(PEOPLE) if content.markdown and "{{" in content.markdown else 1), "what the case is about"
    changed = {place: replace(one, octets=one.octets[:-4] + b"!" + one.octets[-3:]) for place, one in taken.items()}
    assert verdicts(published, changed) == [[False, False]] * len(PEOPLE), "the last octets of the tail are signed too"


async def test_fields_of_ones_own_arrive_and_what_a_provider_takes_off_breaks_no_signature(stage: Stage) -> None:
    account, published = await equipped(stage)
    own = (("X-Campaign", "Frühling"), ("X-SES-CONFIGURATION-SET", "news"), ("X-Mailgun-Variables", '{"a": {"b": 1}}'))
    _, taken = await sent(stage, account, replace(PERSONAL, headers=own))
    for one in taken.values():
        assert one.raw("X-Campaign") == ["=?utf-8?b?RnLDvGhsaW5n?="]
        assert (one.raw("X-SES-CONFIGURATION-SET"), one.raw("X-Mailgun-Variables")) == (["news"], ['{"a": {"b": 1}}'])
    for name, holds in ((b"X-(?:SES|Mailgun)-[^:]+", True), (b"X-Campaign", False)):
        without = {place: replace(one, octets=re.sub(name + rb": .*\r\n", b"", one.octets)) for place, one in taken.items()}
        assert verdicts(published, without) == [[holds, holds]] * len(PEOPLE)


# -- what a reader finds ---------------------------------------------------------------------------------------------------


async def test_everything_that_was_written_arrives(stage: Stage, second_reader: SecondReader) -> None:
    account, _ = await equipped(stage)
    _, taken = await sent(stage, account, files=(IMAGE, PAPER))
    for position, one in enumerate(PEOPLE, 1):
        read = second_reader.read(taken[position].octets)
        name = one.fields["name"]
        assert dict(read.headers)["Subject"] == f"News for {name or 'you'}"
        assert read.sender == ("The Club", "news@club.example")
        text, html, image, paper = read.parts
        assert f"Dear {name}".strip() in text["text"]
        assert f">Dear {name}</h1>" in html["text"]
        assert f"Five minutes, {name}" in html["text"]
        assert ".twelve" in text["text"]
        assert [part["type"] for part in read.parts] == ["text/plain", "text/html", "image/png", "text/plain"]
        assert f'src="cid:{image["content_id"].strip("<>")}"' in html["text"]
        assert bytes.fromhex(image["octets"]) == PNG
        assert (paper["name"], bytes.fromhex(paper["octets"])) == PAPER


# -- envelopes and header fields ---------------------------------------------------------------------------------------------


async def test_every_envelope_has_a_sender_of_its_own_that_says_whose_it_is(stage: Stage) -> None:
    account, _ = await equipped(stage)
    job_id, taken = await sent(stage, account)
    [(key,)] = await stage.query("SELECT token_key FROM account WHERE id = %s", account)
    for position, one in taken.items():
        found = re.fullmatch(rf"b\+([0-9a-f]{{48}})@{re.escape(BOUNCES)}", one.sender)
        assert found, one.sender
        octets = bytes.fromhex(found[1])
        assert (int.from_bytes(octets[:5], "big"), int.from_bytes(octets[5:8], "big")) == (job_id, position)
        assert found[1] == Tokens(key, job_id).bounce(position), "nobody can make one without the account's key"
    assert len({one.sender for one in taken.values()}) == len(PEOPLE)


async def test_the_header_names_the_list_the_account_and_the_job(stage: Stage) -> None:
    account, _ = await equipped(stage)
    job_id, taken = await sent(stage, account)
    [(message_key,)] = await stage.query("SELECT message_key FROM job WHERE id = %s", job_id)
    for position, one in taken.items():
        assert one.names == [
            "DKIM-Signature", "DKIM-Signature", "From", "To", "Subject", "Message-ID", "Date", "List-Id", "List-Unsubscribe",
            "List-Unsubscribe-Post", "Feedback-ID", "MIME-Version", "Content-Type"]
        assert one.raw("List-Id") == [f"Club <account-{account}.club.example>"]
        assert one.raw("Feedback-ID") == [f"{job_id}-{message_key}:account-{account}:bulk:postroom"]
        assert one.raw("Message-ID") == [f"<{job_id}-{message_key}.{position}@club.example>"]
        assert one.raw("To") == [PEOPLE[position - 1].address]


@pytest.mark.parametrize(("url", "one_click"), [
    ("https://club.example/a-way-out-that-is-longer-than-a-line-of-a-header-may-be/leave?who={email}&t={token}", True),
    ("http://club.example/out/{token}", False),
    ("mailto:leave@club.example?subject={token}", False),
    ("", False),
])
async def test_the_way_out_is_raw_on_one_line_and_one_click_only_with_https(stage: Stage, url: str, one_click: bool) -> None:
    account, published = await equipped(stage, unsubscribe_url=url)
    job_id, taken = await sent(stage, account)
    for position, one in taken.items():
        assert ("List-Unsubscribe" in one.names, "List-Unsubscribe-Post" in one.names) == (bool(url), one_click)
        if not url:
            continue
        (line,) = one.raw("List-Unsubscribe")
        before, _, after = url.replace("{email}", f"person{position}%40list.example").partition("{token}")
        token = line.removeprefix(f"<{before}").removesuffix(f"{after}>")
        assert line == f"<{before}{token}{after}>"
        claimed = read_unsubscribe(token)
        assert claimed is not None
        assert (claimed.job_id, claimed.position) == (job_id, position)
        if one_click:
            assert one.raw("List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]
    assert verdicts(published, taken) == [[True, True]] * len(PEOPLE)


async def test_a_post_to_the_address_in_a_message_takes_exactly_its_recipient_off(stage: Stage) -> None:
    """The account has no address of its own, so it is Postroom's page; a mailbox provider does this."""
    stage.deployment = Deployment(SecretBox(SECRET_KEY), helo_name="worker.example", base_url="https://mail.club.example/",
                          allowed=DIALER.allowed)
    account, _ = await equipped(stage, unsubscribe_url="")
    _, taken = await sent(stage, account)
    async with served(stage.pool, stage.url) as site:
        (line,) = taken[3].raw("List-Unsubscribe")
        address = urlsplit(line.strip("<>"))
        assert (address.scheme, address.netloc) == ("https", "mail.club.example")
        (field,) = taken[3].raw("List-Unsubscribe-Post")
        name, _, value = field.partition("=")
        answer = await site.client().post(address.path, data={name: value})
        assert answer.status_code == 200
    assert await stage.query("SELECT account_id, address_key FROM suppression") == [(account, "person3@list.example")]
    async with stage.worker():
        job = await stage.started(account, PEOPLE, content=PERSONAL, field_policy="blank", files=(IMAGE,))
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.numbers.excluded_suppressed == 1
    assert len(stage.sandbox.records) == 2 * len(PEOPLE) - 1


# -- the last look -----------------------------------------------------------------------------------------------------------


async def test_bytes_that_fail_the_last_look_fail_their_recipient_with_the_reason_and_never_reach_the_gateway(
        stage: Stage) -> None:
    """Every value is fine by itself, and the message is made; but List-Unsubscribe, which cannot be folded, is one line."""
    account, _ = await equipped(stage, unsubscribe_url="https://club.example/" + "out/" * 100 + "?who={email}")
    long = IncomingRow(3, f"{'!' * 64}@{'字' * 50}.example", {"name": "Long"})
    async with stage.worker():
        job = await stage.started(account, [PEOPLE[0], long, PEOPLE[2]], content=PERSONAL, files=(IMAGE,))
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.counts == (2, 1, 0, 0, 0)
    assert (sides.told[2].reply, sides.told[2].evidence) == (
        "The message could not be made: A line of the message is longer than 998 octets.", "worker")
    assert sorted(record.rcpt for record in stage.sandbox.records) == [(PEOPLE[0].address,), (PEOPLE[2].address,)]


@pytest.mark.parametrize(("selector", "reason"), [
    ("s;\r\nBcc: eve@evil.example\r\nX: x", "it has DKIM-Signature, Bcc, X,"),
    ("s;\r\n\r\nHello", "it has DKIM-Signature instead of DKIM-Signature, From"),
    ("s;\n.\n", "a value holds a character that no header may hold"),
    ("s;\r\n =?utf-8?q?=0D=0ABcc=3A_eve=40evil?=", "an encoded word that hides a control character"),
    ("s" * 1_000, "A line of the message is longer than 998 octets"),
], ids=["a field more", "the end of the header", "a bare line feed", "an encoded word", "a long line"])
async def test_whatever_was_done_to_a_key_since_the_approval_the_last_look_lets_nothing_out(
        stage: Stage, selector: str, reason: str) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, stage.deployment.secrets, acting(account), "club.example", ["ed25519"])
    job = await stage.started(account, PEOPLE, content=SAME_BODY)
    await stage.query("UPDATE dkim_key SET selector = %s RETURNING 1", selector)
    async with stage.worker():
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.counts == (0, len(PEOPLE), 0, 0, 0)
    for told in sides.told.values():
        assert told.evidence == "worker"
        assert reason in str(told.reply)
    assert stage.sandbox.accepted == 0
    assert stage.sandbox.mail_at == 0, "no MAIL command was ever said"


async def test_a_bounce_domain_that_was_tampered_with_becomes_no_command(stage: Stage) -> None:
    account = await stage.account()
    await stage.query("UPDATE account SET bounce_domain = %s RETURNING 1", "b.example>\r\nRCPT TO:<eve@evil.example")
    async with stage.worker():
        job = await stage.started(account, PEOPLE, content=SAME_BODY)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.counts == (0, len(PEOPLE), 0, 0, 0)
    assert all("not an address that can be spoken" in str(told.reply) for told in sides.told.values())
    assert (stage.sandbox.accepted, stage.sandbox.mail_at) == (0, 0)
