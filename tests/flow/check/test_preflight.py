"""Everybody's message is made once before anybody approves, and what is found decides what is possible."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from acting import acting
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status
from postroom.domain.preflight import BULK_FROM, FindingKind, Preflight, told
from postroom.errors import Conflict, InvalidInput
from postroom.flow.account import accounts, domains
from postroom.flow.account.deployment import GatewayFacts
from postroom.flow.check import preflight
from postroom.flow.check.preflight import Checks, look_at
from postroom.flow.delivery.recover import sweep
from postroom.flow.job import report
from postroom.flow.job.approve import approve
from postroom.flow.job.finish import cancel
from postroom.gateway.sandbox.script import Script
from postroom.ledger.check.preflight import ToCheck
from postroom.ledger.database import engine
from postroom.message.content import Bodies, Content
from postroom.message.render.compile import Stamp, compile  # noqa: A004
from stage import CONTENT, Stage, eventually, rows, staged

FIELDS = replace(CONTENT, subject="News", html=None, text="Dear {{ first_name }} of {{ city | default: 'somewhere' }}\n")


def people(*first_names: str | None) -> list[IncomingRow]:
    return [IncomingRow(n + 1, f"p{n}@list.example", {"first_name": name, "city": ""}) for n, name in enumerate(first_names, 1)]


async def found(stage: Stage, account: int, job_id: int) -> Preflight:
    return await report.preflight_of(stage.pool, acting(account), job_id)


def kinds(preflight: Preflight) -> dict[str, int]:
    return {f"{one.kind.value} {one.about}" if one.kind.value.endswith("field") else one.kind.value: one.count
            for one in preflight.findings}


# -- large jobs: by the workers, before the approval ---------------------------------------------------------------------


async def test_a_large_job_cannot_be_approved_before_everybody_was_looked_at(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    with pytest.raises(Conflict, match=r"cannot be approved yet: 0 of 100 recipients were checked"):
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
    checks = Checks(stage.pool, stage.deployment)
    assert await checks.check(account, job.id, True)
    with pytest.raises(Conflict, match="cannot be approved yet"):
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
    await stage.check(job)
    assert (await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)).status is Status.SENDING


async def test_the_database_itself_refuses_an_approval_before_that(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    with pytest.raises(psycopg.errors.RestrictViolation, match="was not checked for every recipient"):
        await stage.query("UPDATE job SET status = 'queued', queue_no = 1, approved_digest = digest, moved_by = 'x' "
                          "WHERE id = %s RETURNING 1", job.id)


async def test_a_worker_looks_by_itself_and_the_page_is_told(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 300)
    async with stage.worker():
        async def done() -> bool:
            return (await found(stage, account, job.id)).is_done
        await eventually(done)
    told = await report.report(stage.pool, acting(account), job.id)
    assert told.preflight is not None
    assert (told.preflight.checked, told.preflight.to_check, told.preflight.findings) == (300, 300, ())
    assert told.sentence.startswith("Waiting for a person to approve it: 300 recipients.")
    assert stage.sandbox.accepted == 0


async def test_a_look_that_a_dead_worker_left_is_taken_up_by_the_sweep(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    await stage.query("DELETE FROM procrastinate_jobs RETURNING 1")
    await stage.query("UPDATE preflight SET lease_until = now() - interval '1 s' WHERE chunk_no >= 0 RETURNING 1")
    await sweep(stage.pool, give_up_s=60, lease_s=30)
    async with stage.pool.connection() as conn:
        assert (await engine.live_lanes(conn, engine.CHECK_TASK)).get(job.id, 0) >= 1
    await stage.check(job)
    assert (await found(stage, account, job.id)).is_done


async def test_a_chunk_in_hand_is_not_taken_by_another_and_a_cancelled_job_by_nobody(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    checks = [Checks(stage.pool, stage.deployment) for _ in range(4)]
    await asyncio.gather(*(one.check(account, job.id, True) for one in checks))
    looks = await stage.query("SELECT count(*) FROM preflight WHERE checked_at IS NOT NULL AND chunk_no >= 0")
    assert looks == [(4,)]
    await cancel(stage.pool, acting(account, "boss"), job.id)
    assert not await checks[0].check(account, job.id, True)


# -- what is found ---------------------------------------------------------------------------------------------------------


async def test_blank_and_unknown_fields_are_named_with_count_and_examples(stage: Stage) -> None:
    account = await stage.account(threshold=2)
    content = replace(FIELDS, subject="{{ frist_name | default: 'Hello' }}")
    job = await stage.checked(account, people("Ann", "", None, "  ", "Bob"), content=content)
    preflight = await found(stage, account, job.id)
    assert kinds(preflight) == {"unknown_field frist_name": 0, "blank_field first_name": 3}
    blank = preflight.findings[1]
    assert [one.address for one in blank.examples] == ["p2@list.example", "p3@list.example", "p4@list.example"]
    assert [one.position for one in blank.examples] == [2, 3, 4]


async def test_a_field_printed_only_where_it_is_there_is_no_finding(stage: Stage) -> None:
    account = await stage.account(threshold=1)
    content = replace(FIELDS, text="{% if first_name != blank %}Dear {{ first_name }}{% else %}Hello{% endif %}\n")
    job = await stage.checked(account, people("Ann", ""), content=content)
    assert (await found(stage, account, job.id)).findings == ()


@pytest.mark.parametrize(("policy", "counts"), [("fail", (2, 1)), ("blank", (3, 0))])
async def test_what_the_policy_says_of_blank_fields_is_what_happens(stage: Stage, policy: str, counts: tuple[int, int]) -> None:
    account = await stage.account(threshold=1)
    job = await stage.started(account, people("Ann", "", "Bob"), content=FIELDS, field_policy=policy)
    async with stage.worker():
        view = await stage.over(account, job.id)
    assert (view.sent, view.failed) == counts
    sides = await stage.sides(account, job.id)
    if policy == "fail":
        assert sides.told[2].reply == 'The message could not be made: The field "first_name" is blank.'
        assert sides.told[2].evidence == "worker"


async def test_with_the_policy_refuse_a_blank_field_keeps_the_job_from_being_approved(stage: Stage) -> None:
    account = await stage.account(threshold=1)
    job = await stage.checked(account, people("Ann", ""), content=FIELDS, field_policy="refuse")
    with pytest.raises(Conflict, match=r"cannot be approved: The field “first_name” is blank. \(1 recipient\)"):
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
    with pytest.raises(psycopg.errors.RestrictViolation, match="found unfit to send"):
        await stage.query("UPDATE job SET status = 'queued', queue_no = 1, approved_digest = digest, moved_by = 'x' "
                          "WHERE id = %s RETURNING 1", job.id)
    assert (await report.report(stage.pool, acting(account), job.id)).sentence.startswith("It cannot be approved as it is")


async def test_with_the_policy_refuse_a_field_that_nobody_has_refuses_too_and_the_page_says_so(stage: Stage) -> None:
    account = await stage.account(threshold=1)
    content = replace(FIELDS, text="{{ nmae | default: 'Hello' }}\n")
    job = await stage.checked(account, people("Ann", "Bob"), content=content, field_policy="refuse")
    assert (await report.report(stage.pool, acting(account), job.id)).sentence.startswith("It cannot be approved as it is")
    with pytest.raises(Conflict, match="“nmae”"):
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)


@pytest.mark.parametrize("count", [20, 200])
async def test_a_message_that_nobody_would_get_is_refused(stage: Stage, count: int) -> None:
    account = await stage.account()
    content = replace(CONTENT, text="{{ name | times: 3 | divided_by: 0 }}\n")
    if count < 100:
        with pytest.raises(InvalidInput, match="was not created: The message cannot be made"):
            await stage.submit(account, count, content=content)
        return
    job = await stage.checked(account, count, content=content)
    with pytest.raises(Conflict, match="cannot be approved: The message cannot be made"):
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)


async def test_a_message_that_cannot_be_made_for_somebody_is_found_with_its_reason(stage: Stage) -> None:
    account = await stage.account(threshold=1)
    content = replace(CONTENT, subject="{{ name }}")
    job = await stage.checked(account, [IncomingRow(2, "a@list.example", {"name": "x\x1by"}), *rows(1, 2)], content=content)
    (finding,) = (await found(stage, account, job.id)).findings
    assert (finding.kind, finding.count) == (FindingKind.UNRENDERABLE, 1)
    assert "U+001B" in finding.about


async def test_who_has_a_value_that_is_no_number_is_counted_and_gets_no_message(stage: Stage) -> None:
    account = await stage.account(threshold=1)
    content = replace(CONTENT, html=None, text="{{ due | times: 1.5 }} euros{% if due > 9 %}!{% endif %}\n")
    values = ("8.5", "8,50", "€9", "", "none", "10")
    rows_of = [IncomingRow(n, f"p{n}@list.example", {"name": "Ann", "due": value}) for n, value in enumerate(values, 2)]
    job = await stage.checked(account, rows_of, content=content)
    blank, wrong = (await found(stage, account, job.id)).findings
    assert (blank.kind, blank.about, blank.count) == (FindingKind.BLANK_FIELD, "due", 1)
    assert (wrong.kind, wrong.count, [one.position for one in wrong.examples]) == (FindingKind.UNRENDERABLE, 3, [2, 3, 5])
    assert wrong.about.endswith('in "due | times: 1.5" a value is not read as a number: write it as 1234.56.')
    await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
    async with stage.worker():
        view = await stage.over(account, job.id)
    assert (view.sent, view.failed) == (2, 4)
    assert '"8,50" is not read as a number' in str((await stage.sides(account, job.id)).told[2].reply)


@pytest.mark.parametrize("policy", ["fail", "blank", "refuse"])
async def test_a_date_in_doubt_is_shown_at_the_gate_and_refused_only_by_that_policy(stage: Stage, policy: str) -> None:
    account = await stage.account(threshold=1)
    content = replace(CONTENT, html="<p>{{ until | date: '%e %B' }}</p>", text="{{ until | date: '%e %B' }}\n")
    values = ("05/06/2026", "25/06/2026", "05.06.2026", "05/06/2026", "45000")
    rows_of = [IncomingRow(n, f"p{n}@list.example", {"name": "Ann", "until": value}) for n, value in enumerate(values, 2)]
    job = await stage.checked(account, rows_of, content=content, field_policy=policy)
    preflight = await found(stage, account, job.id)
    (doubt,) = preflight.findings
    assert (doubt.kind, doubt.about, doubt.count, [one.position for one in doubt.examples]) == (
        FindingKind.UNREAD_DATE, "until", 3, [1, 4, 5])
    assert told(doubt).startswith("What “until” holds may be two days, or is none: it is printed as it stands.")
    assert bool(preflight.refusing) is (policy == "refuse")


@pytest.mark.parametrize("name", ["now", "today", "unsubscribe_url"])
async def test_a_list_with_a_column_of_a_name_that_is_taken_is_refused_and_says_what_to_write(stage: Stage, name: str) -> None:
    account = await stage.account()
    listed = [IncomingRow(n, f"p{n}@list.example", {"name": "Ann", name: "mine"}) for n in range(2, 5)]
    with pytest.raises(InvalidInput, match=rf'has a column "{name}", .* Write {{{{ fields\["{name}"\] }}}} for the column'):
        await stage.submit(account, listed, content=replace(CONTENT, text=f"Hello {{{{ {name} }}}}\n"))
    await stage.submit(account, listed, content=replace(CONTENT, text=f'Hello {{{{ fields["{name}"] }}}}\n'))


async def test_who_has_an_address_that_does_more_than_lead_somewhere_gets_no_message(stage: Stage) -> None:
    account = await stage.account(threshold=1)
    content = replace(CONTENT, html="<a href='{{ site }}'>Your site</a>")
    sites = ("https://a.example", "javascript:alert(1)", "JAVASCRIPT:1")
    people = [IncomingRow(n, f"p{n}@list.example", {"name": "Ann", "site": site}) for n, site in enumerate(sites, 2)]
    (finding,) = (await found(stage, account, (await stage.checked(account, people, content=content)).id)).findings
    assert (finding.kind, finding.count) == (FindingKind.UNRENDERABLE, 2)
    assert '"site" gives an address' in finding.about


async def test_what_the_gateway_cannot_take_is_found_before_the_approval(pool, database) -> None:
    async with staged(pool, database, script=Script(size_max=900)) as stage:
        account = await stage.account(threshold=1)
        people = [IncomingRow(2, "zoë@list.example", {"name": "Zoë"}), IncomingRow(3, "b@list.example", {"name": "x" * 2_000}),
                  IncomingRow(4, "c@list.example", {"name": "C"})]
        job = await stage.checked(account, people)
        assert kinds(await found(stage, account, job.id)) == {"address_refused": 1, "too_large": 1}
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
        async with stage.worker():
            view = await stage.over(account, job.id)
        assert (view.sent, view.failed) == (1, 2)
        told = (await stage.sides(account, job.id)).told
        assert "does not offer SMTPUTF8" in str(told[1].reply)
        assert "the gateway takes at most 900" in str(told[2].reply)


async def test_a_gateway_that_does_not_answer_is_said_and_hinders_nothing(stage: Stage) -> None:
    account = await stage.account(threshold=1, port=9)
    job = await stage.checked(account, 2)
    (finding,) = (await found(stage, account, job.id)).findings
    assert finding.kind is FindingKind.GATEWAY_SILENT
    assert "connection refused" in finding.about
    assert (await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)).status is Status.SENDING


async def test_what_the_account_requires_of_every_message_is_required(stage: Stage) -> None:
    account = await stage.account(threshold=1)
    await accounts.change_account(stage.pool, acting(account), requires_unsubscribe=True, requires_postal_address=True)
    first = await stage.checked(account, 2)
    assert kinds(await found(stage, account, first.id)) == {"no_unsubscribe": 0, "no_postal_address": 0}
    await accounts.change_account(stage.pool, acting(account), unsubscribe_url="https://club.example/out?{token}",
                                  postal_address="Harbour 1, Oslo")
    second = await stage.checked(account, 2)
    preflight = await found(stage, account, second.id)
    assert [one.about.partition("put ")[2] for one in preflight.refusing] == [
        "{{ unsubscribe_url }} into it.", "{{ account.postal_address }} into it."]
    content = replace(CONTENT, html=None, text="Hi {{ name }}, leave: {{ unsubscribe_url }}\n{{ account.postal_address }}\n")
    third = await stage.started(account, 2, content=content)
    async with stage.worker():
        await stage.over(account, third.id)
    assert [b"Harbour 1, Oslo" in one for one in stage.sandbox.contents] == [True, True], "it is a field of the account"


async def test_a_field_that_the_account_has_not_is_blank_for_everybody(stage: Stage) -> None:
    account = await stage.account(threshold=1)
    content = replace(CONTENT, html=None, text="Hi {{ name }}\n{{ account.name }}, {{ account.postal_adress }}\n")
    preflight = await found(stage, account, (await stage.checked(account, 2, content=content)).id)
    assert [(one.kind, one.about, one.count) for one in preflight.refusing] == [
        (FindingKind.BLANK_FIELD, "account.postal_adress", 2)]


@pytest.mark.parametrize(("content", "lacks"), [
    (replace(CONTENT, html="<p>{{ unsubscribe_url }} {{ account.postal_address }}</p>"), "text"),
    (replace(CONTENT, text="{{ unsubscribe_url }} {{ account.postal_address }}\n"), "HTML")])
async def test_what_is_required_of_every_message_is_required_of_both_its_bodies(
        stage: Stage, content: Content, lacks: str) -> None:
    account = await stage.account(threshold=1)
    await accounts.change_account(stage.pool, acting(account), requires_unsubscribe=True, requires_postal_address=True,
                                  unsubscribe_url="https://club.example/out?{token}", postal_address="Harbour 1, Oslo")
    job = await stage.checked(account, 2, content=content)
    assert [one.about.partition("put ")[2] for one in (await found(stage, account, job.id)).refusing] == [
        f"{{{{ unsubscribe_url }}}} into its {lacks} part too.", f"{{{{ account.postal_address }}}} into its {lacks} part too."]


async def test_a_text_part_that_is_made_of_the_html_has_what_the_html_has(stage: Stage) -> None:
    account = await stage.account()
    await accounts.change_account(stage.pool, acting(account), requires_unsubscribe=True, requires_postal_address=True,
                                  unsubscribe_url="https://club.example/out?{token}", postal_address="Harbour & Co\nKai 1")
    html = "<p><a href='{{ unsubscribe_url }}'>Leave</a></p><p>Harbour &amp; Co<br>Kai  1</p>"
    job = await stage.submit(account, 2, content=replace(CONTENT, html=html, text=None))
    assert kinds(await found(stage, account, job.id)) == {}


async def test_one_click_that_nobody_signs_is_said_and_hinders_nothing(stage: Stage) -> None:
    account = await stage.account(signs_dkim=False)
    await accounts.change_account(stage.pool, acting(account), unsubscribe_url="https://club.example/preferences")
    assert kinds(await found(stage, account, (await stage.submit(account, 2)).id)) == {}, "there is no one-click to sign"
    await accounts.change_account(stage.pool, acting(account), unsubscribe_url="https://club.example/out?{token}")
    unsigned = await stage.submit(account, 2)
    preflight = await found(stage, account, unsigned.id)
    assert (kinds(preflight), preflight.refusing) == ({"one_click_unsigned": 0}, ())
    assert kinds(await found(stage, account, (await stage.submit(account, BULK_FROM)).id)) == {"no_dkim": 0}, "that says it all"
    await domains.add_domain(stage.pool, stage.deployment.secrets, acting(account), "club.example")
    assert kinds(await found(stage, account, (await stage.submit(account, 2)).id)) == {}


async def test_bulk_needs_keys_of_ones_own_or_a_gateway_that_signs(stage: Stage) -> None:
    account = await stage.account(signs_dkim=False)
    bare = await stage.submit(account, BULK_FROM)
    assert kinds(await found(stage, account, bare.id)) == {"no_dkim": 0}
    assert kinds(await found(stage, account, (await stage.submit(account, BULK_FROM - 1)).id)) == {}
    await accounts.change_account(stage.pool, acting(account), bounce_domain="bounces.other.example")
    assert kinds(await found(stage, account, (await stage.submit(account, BULK_FROM)).id)) == {"from_not_aligned": 0}
    await domains.add_domain(stage.pool, stage.deployment.secrets, acting(account), "club.example")
    assert kinds(await found(stage, account, (await stage.submit(account, BULK_FROM)).id)) == {}


# -- small jobs: before they are there ------------------------------------------------------------------------------------


async def test_another_systems_fields_and_html_that_is_cut_are_said_and_hinder_nothing(stage: Stage) -> None:
    account = await stage.account()
    html = "<p>Dear *|FNAME|*</p>" + "<p>much</p>" * 10_000
    for size in (3, 100):  # before it is created, and at the gate
        job = await stage.submit(account, size, content=replace(CONTENT, html=html))
        if size == 100:
            await stage.check(job)
        preflight = await found(stage, account, job.id)
        foreign, clipped = preflight.findings
        assert (foreign.kind, clipped.kind) == (FindingKind.FOREIGN_FIELD, FindingKind.MAY_BE_CLIPPED)
        assert foreign.about.startswith('In the html, line 1, column 9: "*|FNAME|*" is how other systems write a field')
        assert "107 KB" in clipped.about
        assert preflight.refusing == ()


async def test_a_word_in_marks_is_another_systems_field_if_the_list_has_such_a_column(stage: Stage) -> None:
    account = await stage.account()
    content = replace(CONTENT, subject="Hi", text=None, html="<p>[[Town]] {shoe size} {so on}</p>", from_name="*|LIST:COMPANY|*")
    listed = [IncomingRow(n, f"p{n}@list.example", {"town": "", **({"Shoe size": "1"} if n % 2 else {})}) for n in range(1, 101)]
    for size in (3, 100):
        job = await stage.submit(account, listed[:size], content=content)
        told = [one.about for one in (await found(stage, account, job.id)).findings if one.kind is FindingKind.FOREIGN_FIELD]
        fixed, shoes, town = sorted(told)
        assert town.startswith('In the html, line 1, column 4: "[[Town]]" is how other systems write a field')
        assert town.endswith("write {{ town }}.")
        assert shoes.endswith('write {{ fields["Shoe size"] }}.')
        assert fixed.endswith("the From name is the same for everybody and takes no merge field.")


async def test_a_small_job_is_checked_before_it_starts_and_keeps_what_was_found(stage: Stage) -> None:
    account = await stage.account()
    job = await stage.submit(account, people("Ann", ""), content=FIELDS)
    assert job.status is Status.SENDING
    preflight = await found(stage, account, job.id)
    assert (preflight.is_done, kinds(preflight)) == (True, {"blank_field first_name": 1})


async def test_a_small_job_that_its_policy_refuses_is_not_created_and_the_answer_says_why(stage: Stage) -> None:
    account = await stage.account()
    with pytest.raises(InvalidInput, match="The send was not created: The field “first_name” is blank") as refused:
        await stage.submit(account, people("Ann", ""), content=FIELDS, field_policy="refuse")
    (fault,) = refused.value.faults
    assert "p2@list.example (no. 2)" in fault.message
    assert fault.field == "recipients"
    for table in ("job", "recipient", "preflight", "attachment", "procrastinate_jobs"):
        assert await stage.query(f"SELECT count(*) FROM {table}") == [(0,)]


HOSTILE = [
    "{% for i in (1..10000) %}{% for j in (1..10000) %}x{% endfor %}{% endfor %}",
    "{% for i in (1..9000) %}{% if i > 3 %}{{ name | upcase | downcase }}{% endif %}{% endfor %}"]


@pytest.mark.parametrize("text", HOSTILE)
async def test_an_adversarial_template_refuses_itself_and_no_other_job_waits_for_it(stage: Stage, text: str) -> None:
    account, other, third = await stage.account(), await stage.account("Other"), await stage.account("Third")
    hostile = await stage.submit(account, 1_000, content=replace(CONTENT, text=text))
    large = await stage.submit(third, 500)
    async with stage.worker():
        good = await stage.submit(other, 50)
        assert (await stage.over(other, good.id)).sent == 50
        await eventually(lambda: is_done(stage, third, large.id))
        await eventually(lambda: is_done(stage, account, hostile.id))
    assert (await found(stage, third, large.id)).findings == ()
    with pytest.raises(Conflict, match="cannot be approved"):
        await approve(stage.pool, acting(account, "boss"), hostile.id, digest=hostile.digest)


async def is_done(stage: Stage, account: int, job_id: int) -> bool:
    return (await found(stage, account, job_id)).is_done


SLOW = ("{% for i in (1..1500) %}{{ name | upcase | downcase | capitalize }}{{ i | times: 3 | plus: 2 }}{% endfor %}", HOSTILE[1])


@pytest.mark.parametrize("text", SLOW)
def test_a_template_that_takes_long_ends_the_look_when_its_cpu_is_used_up(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many ms a template takes is the machine's affair, so the limit is set where no machine can stay below it: 50 messages
    in 25 ms of CPU."""
    monkeypatch.setattr(preflight, "MEAN_MAX_S", 0.0005)
    content = replace(CONTENT, html=None, text=text * 4)
    message = compile(content, Bodies(None, content.text), Stamp("1-k", datetime(2030, 1, 1, tzinfo=UTC)), {})
    look = look_at(message, [ToCheck(n, f"p{n}@x.example", '{"name": "Ann"}') for n in range(1, 1_001)], GatewayFacts(), 0)
    assert look.is_too_slow
    [crossed] = [one.examples[0].position for one in look.findings if one.kind is FindingKind.TOO_SLOW]
    assert crossed < preflight.LOOKED_AT_MIN
    assert max(one.count for one in look.findings) <= crossed, "nobody after it was looked at"


async def test_a_gateway_that_says_nothing_holds_a_small_submit_no_longer_than_its_transaction_may_stand(stage: Stage) -> None:
    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    async with server:
        account = await stage.account(port=server.sockets[0].getsockname()[1])
        content = replace(CONTENT, text="".join(f"{{% if name == '{n}' %}}{n}{{% endif %}}" for n in range(150)) + "{{ name }}")
        job = await stage.submit(account, 60, content=content)
        assert kinds(await found(stage, account, job.id)) == {"gateway_silent": 0}
        await cancel(stage.pool, acting(account, "boss"), job.id)
