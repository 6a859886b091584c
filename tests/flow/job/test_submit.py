"""From a message and a list to a job: all or nothing, and a repeated request does no harm."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from acting import acting
from desk import Desk
from postroom.domain.audience import IncomingRow, read_ndjson
from postroom.domain.job import Status
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow.account import accounts
from postroom.flow.audience.list_file import ListFile
from postroom.flow.audience.suppressions import suppress
from postroom.flow.content import preparing
from postroom.flow.content.preparing import LATE_AT_MOST, Submission, prepare
from postroom.flow.job.approve import approve
from postroom.flow.job.submit import APPROVED, IdempotencyKey, digest_of, submit
from stage import CONTENT, rows

KEY = IdempotencyKey("once", bytes(32))


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


async def nothing_is_there(desk: Desk) -> bool:
    left = [await desk.query(f"SELECT count(*) FROM {table}")
            for table in ("job", "recipient", "chunk", "exclusion", "idempotency_key", "procrastinate_jobs")]
    temporary = await desk.query("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")
    return [*left, temporary] == [[(0,)]] * 7


@pytest.mark.parametrize("parts", [{"html": "<td width={{ n }}>"}, {"html": None, "markdown": "<td width={{ n }}>"}])
def test_a_message_whose_fields_could_add_attributes_is_never_frozen(parts: dict[str, str | None]) -> None:
    with pytest.raises(InvalidInput, match="stands in a tag outside of quotes"):
        prepare(Submission(acting(1), replace(CONTENT, **parts)))


def test_the_digest_changes_with_every_part_and_with_nothing_else() -> None:
    values = {"content": "{}", "bodies": "{}", "identity": "{}", "dkim_keys": [1], "field_policy": "fail", "account_fields": "{}",
              "message_key": "key", "gateway_id": 1, "recipient_count": 100}
    assert set(APPROVED) == values.keys()
    variants = [(values | {name: f"{value}0"}, bytes(32)) for name, value in values.items()]
    moved = values | {"content": "{", "bodies": "}{}"}
    digests = {digest_of(*variant) for variant in [(values, bytes(32)), (values, b"x" * 32), (moved, bytes(32)), *variants]}
    assert len(digests) == len(variants) + 3
    assert digest_of(values | {"subject": "x", "lanes": 3}, bytes(32)) == digest_of(values, bytes(32))
    assert len(digest_of(values, bytes(32))) == 32


@pytest.mark.parametrize("data", [
    b"email\na@x.example\nb@x.example,too many\n", b"email\n" + b"a@x.example\n" * 1500 + b"\xff\n", b"email\nx\0y\n",
    b'email,n\na@x.example,"open\n'])
async def test_an_error_in_the_middle_of_the_list_leaves_nothing(desk: Desk, data: bytes) -> None:
    account = await desk.account()
    with pytest.raises(InvalidInput) as caught:
        await desk.submit(account, ListFile(io.BytesIO(data), "table"))
    assert caught.value.faults[0].row is not None
    assert await nothing_is_there(desk)
    assert (await desk.submit(account, 3)).recipient_count == 3, "the connection is as good as before"


async def test_a_list_that_breaks_off_leaves_nothing(desk: Desk) -> None:
    def broken() -> Iterator[IncomingRow]:
        yield from rows(600)
        raise ConnectionResetError("the upload was cut")

    with pytest.raises(ConnectionResetError):
        await desk.submit(await desk.account(), broken())
    assert await nothing_is_there(desk)


async def test_half_a_character_is_refused_with_its_row(desk: Desk) -> None:
    for line in (b'{"email": "a@x.example", "fields": {"n": "\\ud800"}}', b'{"email": "a@x.example", "fields": {"\\udfff": 1}}'):
        with pytest.raises(InvalidInput, match="Row 2 holds half a character"):
            await desk.submit(await desk.account(f"Club {line!r}"), read_ndjson(io.BytesIO(b"{}\n" + line)))
    assert await nothing_is_there(desk)


async def test_every_value_comes_through_as_it_was_given(desk: Desk) -> None:
    fields = {"tab": "a\tb", "lines": "a\r\nb\\n", "copy": "\\.", "null": None, "no": False, "n": 2**64 - 1, "f": 1.5, "ż": "😀"}
    job = await desk.submit(await desk.account(), [IncomingRow(2, "a@x.example", fields)], field_policy="blank")
    assert await desk.query("SELECT fields FROM recipient WHERE job_id = %s", job.id) == [(fields,)]


@pytest.mark.parametrize(("changes", "field"), [
    ({"duplicates": "merge"}, "duplicates"), ({"unusable_addresses": "guess"}, "unusable_addresses"),
    ({"not_before": datetime(2030, 1, 1)}, "not_before"), ({"gateway": "other"}, "gateway"),  # noqa: DTZ001 - that is the fault
    ({"content": replace(CONTENT, subject="")}, "subject"), ({"content": replace(CONTENT, subject="a\0b")}, "subject"),
    ({"content": replace(CONTENT, html="{% if %}")}, "html")])
async def test_a_wrong_request_is_refused_with_the_field(desk: Desk, changes: dict[str, object], field: str) -> None:
    account = await desk.account()
    with pytest.raises(InvalidInput) as caught:
        await desk.submit(account, 3, **changes)
    assert caught.value.faults[0].field == field
    assert await nothing_is_there(desk)


async def test_a_start_that_has_passed_is_refused_and_a_minute_that_has_begun_is_not(desk: Desk) -> None:
    account = await desk.account()
    past = datetime.now(UTC) - LATE_AT_MOST - timedelta(seconds=1)
    with pytest.raises(InvalidInput, match=f"{past:%Y-%m-%d %H:%M} UTC has passed: it is .* UTC now") as caught:
        await desk.submit(account, 3, not_before=past.astimezone(timezone(timedelta(hours=5))))
    assert caught.value.faults[0].field == "not_before"
    assert await nothing_is_there(desk)
    begun = datetime.now(UTC).replace(second=0, microsecond=0)
    assert (await desk.submit(account, 3, not_before=begun)).status is Status.SENDING


async def test_a_request_that_is_repeated_after_its_time_answers_with_the_same_job(desk: Desk, monkeypatch) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    submission = Submission(acting(await desk.account(), "me"), CONTENT, not_before=soon)
    first = await submit(desk.pool, desk.deployment, submission, rows(3), idempotency=KEY)
    monkeypatch.setattr(preparing, "LATE_AT_MOST", timedelta(hours=-1))
    assert await submit(desk.pool, desk.deployment, submission, rows(3), idempotency=KEY) == first


async def test_a_small_job_waits_at_the_gate_where_it_is_asked_to_and_is_checked_before(desk: Desk) -> None:
    account = await desk.account(threshold=100)
    job = await desk.submit(account, 99, waits_at_gate=True)
    assert (job.status, job.to_check, job.checked) == (Status.PENDING_APPROVAL, 99, 99)
    assert await desk.query("SELECT count(*) FROM procrastinate_jobs") == [(0,)], "no worker has to look at it"
    assert (await approve(desk.pool, acting(account, "me"), job.id, digest=job.digest)).status is Status.SENDING
    with pytest.raises(InvalidInput, match="The send was not created"):
        await desk.submit(account, 3, waits_at_gate=True, field_policy="fail", content=replace(CONTENT, text="{{ nmae }}"))


async def test_the_list_of_another_job_is_taken_as_it_was_frozen_without_those_who_opted_out_since(desk: Desk) -> None:
    account = await desk.account()
    people = [*rows(3), IncomingRow(5, "nowhere", {"name": "N"}), IncomingRow(6, "person1@list.example", {})]
    job = await desk.submit(account, people, unusable_addresses="fail", duplicates="skip")
    await suppress(desk.pool, acting(account), ["person2@list.example"])
    again = await desk.submit(account, None, list_of=job.id, unusable_addresses="fail", duplicates="skip")
    listed = "SELECT row_no, address, fields::text, booked FROM recipient WHERE job_id = %s AND row_no <> 3 ORDER BY position"
    assert await desk.query(listed, again.id) == await desk.query(listed, job.id)
    assert (again.recipient_count, again.excluded_suppressed) == (4, 1)
    with pytest.raises(InvalidInput, match="The list has no rows"):
        await desk.submit(await desk.account("Other"), None, list_of=job.id)


async def test_an_account_without_a_gateway_cannot_send(desk: Desk) -> None:
    account = await accounts.create_account(desk.pool, "bare")
    with pytest.raises(InvalidInput, match="no gateway"):
        await desk.submit(account.id, 3)
    with pytest.raises(NotFound):
        await desk.submit(999, 3)


async def test_a_request_that_is_repeated_answers_with_the_same_job(desk: Desk) -> None:
    submission = Submission(acting(await desk.account(), "me"), CONTENT)
    first = await submit(desk.pool, desk.deployment, submission, rows(3), idempotency=KEY)
    again = await submit(desk.pool, desk.deployment, submission, rows(3), idempotency=KEY)
    assert (first.id, again) == (again.id, first)
    other = await desk.account("other")
    again = await submit(desk.pool, desk.deployment, replace(submission, actor=acting(other)), rows(3), idempotency=KEY)
    assert again.id != first.id


async def test_a_key_of_another_request_is_refused(desk: Desk) -> None:
    submission = Submission(acting(await desk.account(), "me"), CONTENT)
    job = await submit(desk.pool, desk.deployment, submission, rows(3), idempotency=KEY)
    with pytest.raises(InvalidInput, match=rf"was used for another request \(job {job.id}\)"):
        await submit(desk.pool, desk.deployment, submission, rows(4), idempotency=IdempotencyKey("once", b"x" * 32))
    assert await desk.query("SELECT count(*) FROM job") == [(1,)]


async def test_a_request_that_failed_does_not_use_its_key_up(desk: Desk) -> None:
    submission = Submission(acting(await desk.account(), "me"), CONTENT)
    with pytest.raises(InvalidInput):
        await submit(desk.pool, desk.deployment, submission, [], idempotency=KEY)
    assert (await submit(desk.pool, desk.deployment, submission, rows(3), idempotency=KEY)).recipient_count == 3


async def test_of_the_same_request_many_times_at_once_one_job_is_made(desk: Desk) -> None:
    submission = Submission(acting(await desk.account(), "me"), CONTENT)
    answers = await asyncio.gather(*(submit(desk.pool, desk.deployment, submission, rows(50), idempotency=KEY) for _ in range(5)),
                                   return_exceptions=True)
    conflicts = [answer for answer in answers if isinstance(answer, Conflict)]
    assert all("is still running" in str(conflict) for conflict in conflicts)
    assert len({answer.id for answer in answers if not isinstance(answer, BaseException)}) == 1
    assert await desk.query("SELECT count(*) FROM job") == [(1,)]


@pytest.mark.parametrize("key", ["", "k" * 256, "nul\0"])
async def test_a_key_that_cannot_be_kept_is_refused(desk: Desk, key: str) -> None:
    submission = Submission(acting(await desk.account(), "me"), CONTENT)
    with pytest.raises(InvalidInput) as caught:
        await submit(desk.pool, desk.deployment, submission, rows(3), idempotency=IdempotencyKey(key, bytes(32)))
    assert caught.value.faults[0].field == "Idempotency-Key"
    assert await nothing_is_there(desk)
