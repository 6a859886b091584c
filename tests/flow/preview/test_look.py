"""What a preview shows is what goes out, to the byte, and looking changes nothing."""

from __future__ import annotations

import io
import re
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy

import pytest

from acting import acting
from postroom.domain.audience import IncomingRow
from postroom.errors import InvalidInput, NotFound
from postroom.flow.account import accounts, domains
from postroom.flow.account.deployment import Deployment
from postroom.flow.account.secrets import SecretBox
from postroom.flow.audience import contacts
from postroom.flow.audience.list_file import ListFile
from postroom.flow.content.outgoing import Writer, files_of, outgoing_job, signed
from postroom.flow.content.preparing import Submission
from postroom.flow.preview.look import IMAGES_MAX, Preview, framed, framed_for_everyone, preview, preview_draft
from postroom.ledger.content.contents import job_content
from postroom.ledger.database.db import Pool
from postroom.message.content import Content
from postroom.message.render.compile import BlankFields
from stage import CONTENT, Stage, rows

PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
RICH = Content(subject="Zoë → {{ name }} " + "wörd " * 20, html='<p>Hello {{ name }}</p><img src="cid:dot.png">', text=None,
               from_address="news@club.example", from_name="Zoë’s Club, the old one",
               headers=(("X-Campaign", "Frühling"), ("X-PM-Tag", "spring")))
DEPLOYMENT = Deployment(SecretBox("test"), helo_name="worker.example")
FILES = (("dot.png", PNG), ("résumé.txt", "Grüße\n".encode()))


async def tables(stage: Stage) -> dict[str, tuple[int, str]]:
    """Every table there is: how many rows it has, and a digest of them."""
    found: dict[str, tuple[int, str]] = {}
    for (name,) in await stage.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        [found[name]] = await stage.query(
            f"SELECT count(*), coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {name} t")
    return found


async def look(stage: Stage, account: int, job_id: int, position: int, deployment: Deployment | None = None) -> Preview:
    return await preview(stage.pool, deployment or stage.deployment, acting(account), job_id, position)


def of_position(stage: Stage, position: int) -> bytes:
    """What the gateway received for one recipient."""
    [content] = [one for one in stage.sandbox.contents if f"\r\nTo: person{position}@list.example\r\n".encode() in one]
    return content


async def test_the_source_is_what_the_gateway_then_receives_signatures_and_files_included(stage: Stage) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, SecretBox("test"), acting(account), "club.example")
    job = await stage.started(account, 120, content=RICH, files=FILES)
    before = {position: await look(stage, account, job.id, position) for position in (1, 7, 120)}
    async with stage.worker():
        await stage.over(account, job.id)
    for position, shown in before.items():
        assert shown.source == of_position(stage, position)
        assert shown.source.count(b"DKIM-Signature:") == 2
        assert (await look(stage, account, job.id, position)) == shown, "afterwards it is the same"
    assert (await stage.sides(account, job.id)).counts == (120, 0, 0, 0, 0)


async def test_it_is_read_back_from_the_bytes_and_images_are_put_in_only_for_the_frame(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100, content=RICH, files=FILES)
    shown = await look(stage, account, job.id, 3)
    assert shown.subject == RICH.subject.replace("{{ name }}", "Person 3")
    assert shown.headers == RICH.headers
    assert shown.sender == "Zoë’s Club, the old one <news@club.example>"
    assert shown.address == "person3@list.example"
    assert shown.html is not None
    assert "<p>Hello Person 3</p>" in shown.html
    assert "cid:" in shown.html
    in_a_frame = await framed(shown)
    assert "cid:" not in in_a_frame
    assert "data:image/png;base64,iVBOR" in in_a_frame
    assert shown.text is not None
    assert "Hello Person 3" in shown.text
    assert [(one.name, one.content_type, one.octets, bool(one.content_id)) for one in shown.files] == [
        ("dot.png", "image/png", PNG, True), ("résumé.txt", "text/plain", "Grüße\n".encode(), False)]


async def test_a_large_image_that_is_shown_many_times_fills_the_frame_only_so_far(stage: Stage) -> None:
    account = await stage.account()
    large = PNG + bytes(3 * 2**20)
    content = replace(RICH, html='<img src="cid:dot.png">' * 20 + '<img src="cid:large.png">' * 60)
    job = await stage.submit(account, 100, content=content, files=(("dot.png", PNG), ("large.png", large)))
    for html in (await framed(await look(stage, account, job.id, 1)),
                 await framed_for_everyone(stage.pool, acting(account), job.id)):
        assert (html.count('"data:image/png;base64,'), html.count('"cid:')) == (20 + 3, 57), "as many as there is room for"
        assert len(html) < IMAGES_MAX + 10_000


async def test_looking_changes_no_table(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    before = await tables(stage)
    await look(stage, account, job.id, 1)
    await preview_draft(stage.pool, stage.deployment, Submission(acting(account), RICH, files=FILES), rows(3), 2)
    assert await tables(stage) == before


async def test_a_recipient_who_gets_no_message_has_the_reason(stage: Stage) -> None:
    account = await stage.account()
    listed = [IncomingRow(2, "ann@list.example", {"name": ""}), IncomingRow(3, "nobody", {"name": "N"}),
              IncomingRow(4, "bob@list.example", {"name": "two\nlines"}), *rows(100, 5)]
    job = await stage.submit(account, listed, unusable_addresses="fail")
    blank, unusable, unmakable = [await look(stage, account, job.id, position) for position in (1, 2, 3)]
    assert (blank.reason, blank.blank) == ('The message cannot be made: The field "name" is blank.', ("name",))
    assert unusable.reason == "There is no @ in the address."
    assert unmakable.reason is not None
    assert "The Subject contains" in unmakable.reason
    assert {one.source for one in (blank, unusable, unmakable)} == {b""}


async def test_fields_that_are_blank_and_those_that_are_not_there_are_told_apart(stage: Stage) -> None:
    account = await stage.account()
    content = replace(CONTENT, subject="News", html=None, text="{{ name }}, {{ city }}, {{ first_name }}\n")
    listed = [IncomingRow(n, f"p{n}@list.example", {"name": "Ann", "city": " "}) for n in range(2, 102)]
    job = await stage.submit(account, listed, content=content, field_policy="blank")
    shown = await look(stage, account, job.id, 1)
    assert (shown.blank, shown.unknown, shown.reason) == (("city",), ("first_name",), None)
    assert shown.text == "Ann, , \n"


async def test_what_is_odd_in_the_message_is_said_with_it(stage: Stage) -> None:
    account = await stage.account()
    content = replace(CONTENT, html="<p>Dear [FNAME]</p>{% for n in (1..9000) %}<p>much more</p>{% endfor %}")
    job = await stage.submit(account, 1, content=content)
    shown = await look(stage, account, job.id, 1)
    assert [words in remark for words, remark in zip(("[FNAME]", "Gmail"), shown.remarks, strict=True)] == [True, True]


async def test_a_writer_tells_what_is_blank_when_it_is_asked_to(stage: Stage) -> None:
    account = await stage.account()
    listed = [IncomingRow(2, "ann@list.example", {"name": ""}), *rows(100, 2)]
    job = await stage.submit(account, listed, content=replace(CONTENT, subject="News"))
    outgoing = await outgoing_job(stage.pool, stage.deployment, account, job.id)
    person = b"ann@list.example", "ann@list.example", 1, '{"name": ""}'
    blanks: set[str] = set()
    assert b"<p>Hello=20=\r\n</p>" in outgoing.write(*person, blanks)
    assert blanks == {"name"}
    with pytest.raises(BlankFields):
        outgoing.write(*person)


class SlowFiles(dict[str, bytes]):
    """Files that are there only in the next second."""

    def __getitem__(self, digest: str) -> bytes:
        asked = int(time.time())
        while int(time.time()) == asked:
            time.sleep(0.01)
        return super().__getitem__(digest)


async def test_the_date_and_the_signatures_are_of_one_moment_however_long_it_takes_to_make(stage: Stage) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, SecretBox("test"), acting(account), "club.example")
    job = await stage.submit(account, 100, content=RICH, files=FILES)
    async with stage.pool.connection() as conn:
        stored = await job_content(conn, account, job.id)
        writer = Writer(*await signed(conn, stage.deployment, stored, SlowFiles(await files_of(conn, stored))))
    octets = writer.write(b"ann@list.example", "ann@list.example", 1, '{"name": "Ann"}')
    date = message_from_bytes(octets, policy=policy.default)["Date"].datetime
    assert {int(found) for found in re.findall(rb"\bt=(\d+)", octets)} == {int(date.timestamp())}


async def test_keys_that_cannot_be_opened_here_leave_it_unsigned_and_that_is_said(stage: Stage) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, SecretBox("test"), acting(account), "club.example")
    job = await stage.submit(account, 100)
    shown = await look(stage, account, job.id, 1, Deployment(SecretBox("another"), helo_name="web.example"))
    assert shown.note is not None
    assert "POSTROOM_SECRET_KEY" in shown.note
    assert b"DKIM-Signature" not in shown.source
    assert shown.text == "Hello Person 1\n"


async def test_a_gateway_that_cannot_be_used_here_hinders_no_look(stage: Stage) -> None:
    account = await stage.account(login=("ann", "secret"))
    job = await stage.submit(account, 100)
    shown = await look(stage, account, job.id, 1, Deployment(SecretBox("another"), helo_name="web.example"))
    assert (shown.note, shown.text) == (None, "Hello Person 1\n")


async def test_nobody_sees_what_is_not_theirs_or_not_there(stage: Stage) -> None:
    account, other = await stage.account(), await stage.account("Other")
    job = await stage.submit(account, 100)
    for where, *wrong in ((other, job.id, 1), (account, job.id + 1, 1), (account, job.id, 101), (account, job.id, 2**40)):
        with pytest.raises(NotFound):
            await preview(stage.pool, stage.deployment, acting(where), *wrong)


# -- drafts ----------------------------------------------------------------------------------------------------------------


def drafted(account: int, content: Content = CONTENT, **options) -> Submission:
    return Submission(acting(account), content, **options)


async def test_a_draft_is_shown_as_its_job_would_send_it(stage: Stage) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, SecretBox("test"), acting(account), "club.example")
    shown = await preview_draft(stage.pool, stage.deployment, drafted(account, RICH, files=FILES), rows(3), 3)
    job = await stage.submit(account, 100, content=RICH, files=FILES)
    sent = await look(stage, account, job.id, 3)
    assert (shown.subject, shown.sender, shown.html, shown.text, shown.files) == (
        sent.subject, sent.sender, sent.html, sent.text, sent.files)
    assert shown.source.count(b"DKIM-Signature:") == 2


async def test_a_list_is_read_no_further_than_the_row_that_is_wanted(stage: Stage) -> None:
    account = await stage.account()
    read = []

    def listed() -> Iterator[IncomingRow]:
        for row in rows(20):
            read.append(row.row_no)
            yield row

    shown = await preview_draft(stage.pool, stage.deployment, drafted(account), listed(), 7)
    assert (shown.address, shown.text) == ("person7@list.example", "Hello Person 7\n")
    assert read == list(range(2, 9))
    unreadable = ListFile(io.BytesIO(b"email,name\na@list.example,Ann\nc@list.example,too,many\n"), "table")
    with pytest.raises(InvalidInput) as caught:
        await preview_draft(stage.pool, stage.deployment, drafted(account), unreadable, 2)
    assert caught.value.faults[0].row == 3


@pytest.mark.parametrize(("changes", "field", "words"), [
    ({"text": "Hello\n{{ name"}, "text", "In the text, line 2, column 1: "),
    ({"subject": "{{ name | shout }}"}, "subject", "In the subject, line 1, column "),
    ({"from_address": "nobody"}, "from_address", "no @"),
])
async def test_what_is_wrong_with_a_draft_is_said_with_its_place(
        pool: Pool, changes: dict[str, str], field: str, words: str) -> None:
    account = (await accounts.create_account(pool, "Club")).id
    with pytest.raises(InvalidInput) as caught:
        await preview_draft(pool, DEPLOYMENT, drafted(account, replace(CONTENT, **changes)), rows(1), 1)
    [fault] = caught.value.faults
    assert fault.field == field
    assert words in fault.message


async def test_a_draft_to_the_contacts_takes_them_in_the_order_of_the_send(stage: Stage) -> None:
    account = await stage.account()
    await contacts.import_contacts(stage.pool, acting(account), [IncomingRow(2, "zoe@list.example", {"name": "Zoë"}),
                                                         IncomingRow(3, "ann@list.example", {"name": "Ann"})])
    shown = [await preview_draft(stage.pool, stage.deployment, drafted(account), None, position) for position in (1, 2)]
    assert [(one.address, one.text) for one in shown] == [
        ("zoe@list.example", "Hello Zoë\n"), ("ann@list.example", "Hello Ann\n")]
    with pytest.raises(InvalidInput, match="ends before that"):
        await preview_draft(stage.pool, stage.deployment, drafted(account), None, 3)


async def test_an_address_of_a_draft_that_cannot_be_mailed_is_the_reason(stage: Stage) -> None:
    account = await stage.account()
    shown = await preview_draft(stage.pool, stage.deployment, drafted(account), [IncomingRow(2, "nobody", {"name": "N"})], 1)
    assert (shown.address, shown.reason) == ("nobody", "There is no @ in the address.")
    with pytest.raises(InvalidInput, match="half a character"):
        await preview_draft(stage.pool, stage.deployment, drafted(account),
                            [IncomingRow(2, "a@b.example", {"name": "\ud800"})], 1)


async def test_a_draft_is_shown_with_what_the_columns_of_its_list_make_another_systems_field(stage: Stage) -> None:
    account = await stage.account()
    content = replace(CONTENT, html="<p>[[Town]] {see above}</p>")
    for fields, told in (({"town": "Bonn"}, 1), ({"shire": "Kent"}, 0)):
        shown = await preview_draft(stage.pool, stage.deployment, Submission(acting(account), content),
                                    [IncomingRow(2, "ann@list.example", fields)], 1)
        assert [one.partition(": write ")[2] for one in shown.remarks] == ["{{ town }}."] * told
