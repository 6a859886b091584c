"""The freeze: every row is decided, counted and listed before the job exists, and never again."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acting import acting
from desk import Desk
from postroom.bounded.processes import IN_THREAD
from postroom.domain.audience import IncomingRow
from postroom.domain.job import Status
from postroom.errors import InvalidInput
from postroom.flow.audience import contacts, suppressions
from postroom.flow.audience.intake import fill_intake, read_through
from postroom.flow.job import report
from postroom.flow.job.approve import approve
from postroom.flow.job.finish import cancel
from postroom.ledger.job import recipients

LISTED = "SELECT position, row_no, address, booked FROM recipient WHERE job_id = %s ORDER BY position"
EXCLUDED = "SELECT row_no, kind, value, reason FROM exclusion WHERE job_id = %s ORDER BY row_no"


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


def listed(*addresses: str) -> list[IncomingRow]:
    return [IncomingRow(row_no, address, {}) for row_no, address in enumerate(addresses, start=2)]


MIXED = listed("a@x.example", "no-at-sign", "A@X.example", "gone@x.example", "b@x.example", "a@x.example", "GONE@x.example", "")


async def mixed(desk: Desk, **options: str) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]], object]:
    account = await desk.account()
    await suppressions.suppress(desk.pool, acting(account), ["gone@x.example"], "Opted out.")
    job = await desk.submit(account, MIXED, **options)
    return list(await desk.query(LISTED, job.id)), list(await desk.query(EXCLUDED, job.id)), job


async def test_duplicates_and_unusable_addresses_are_left_out_and_listed_with_row_value_and_reason(desk: Desk) -> None:
    frozen, excluded, job = await mixed(desk)
    assert frozen == [(1, 2, "a@x.example", None), (2, 6, "b@x.example", None)]
    assert excluded == [
        (3, "unusable", "no-at-sign", "There is no @ in the address."),
        (4, "duplicate", "A@x.example", "The same address as in row 2."),
        (5, "suppressed", "gone@x.example", "Opted out."),
        (7, "duplicate", "a@x.example", "The same address as in row 2."),
        (8, "suppressed", "GONE@x.example", "Opted out."),
        (9, "unusable", "", "The address is missing.")]
    assert (job.recipient_count, job.excluded_duplicates, job.excluded_unusable, job.excluded_suppressed) == (2, 2, 2, 2)


async def test_duplicates_may_be_counted_and_booked_as_skipped(desk: Desk) -> None:
    frozen, excluded, job = await mixed(desk, duplicates="skip")
    assert frozen == [(1, 2, "a@x.example", None), (2, 4, "A@x.example", "duplicate"), (3, 6, "b@x.example", None),
                      (4, 7, "a@x.example", "duplicate")]
    assert [row[1] for row in excluded] == ["unusable", "suppressed", "suppressed", "unusable"]
    assert (job.recipient_count, job.skipped, job.unsent, job.excluded_duplicates) == (4, 2, 2, 0)
    outcomes = await desk.query("SELECT position, attempt_no, kind::text, evidence::text, reply FROM outcome ORDER BY position")
    assert outcomes == [(2, 0, "skipped", "freeze", "The same address as in row 2."),
                        (4, 0, "skipped", "freeze", "The same address as in row 2.")]


async def test_duplicates_may_be_sent_one_mail_a_row(desk: Desk) -> None:
    frozen, _, job = await mixed(desk, duplicates="send")
    assert frozen == [(1, 2, "a@x.example", None), (2, 4, "A@x.example", None), (3, 6, "b@x.example", None),
                      (4, 7, "a@x.example", None)]
    assert (job.recipient_count, job.skipped, job.unsent) == (4, 0, 4)


async def test_unusable_addresses_may_be_counted_and_booked_as_failed(desk: Desk) -> None:
    frozen, excluded, job = await mixed(desk, unusable_addresses="fail")
    assert frozen == [(1, 2, "a@x.example", None), (2, 3, "no-at-sign", "unusable"), (3, 6, "b@x.example", None),
                      (4, 9, "", "unusable")]
    assert {row[1] for row in excluded} == {"duplicate", "suppressed"}
    assert (job.recipient_count, job.failed, job.unsent, job.excluded_unusable) == (4, 2, 2, 0)
    page = await report.recipient_page(desk.pool, acting(job.account_id), job.id, recipient_class="failed")
    assert [one.reply for one in page] == ["There is no @ in the address.", "The address is missing."]


async def test_unusable_addresses_of_any_length_and_content_can_be_booked_as_failed(desk: Desk) -> None:
    account = await desk.account()
    endless = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(20_000))
    odd = ["tab\there", "line\nbreak", "back\\slash", "\\.", "\\N", "cr\r", "same", "same", "\ud800", endless]
    job = await desk.submit(account, listed("a@x.example", *odd), unusable_addresses="fail")
    assert (job.recipient_count, job.failed, job.unsent) == (11, 10, 1)
    frozen = [row[2] for row in await desk.query(LISTED, job.id)]
    assert frozen == ["a@x.example", *odd[:8], "?", endless]


async def test_addresses_of_different_accounts_are_suppressed_apart(desk: Desk) -> None:
    first, second = await desk.account("first"), await desk.account("second")
    await suppressions.suppress(desk.pool, acting(first), ["person1@list.example"])
    assert (await desk.submit(first, 2)).recipient_count == 1
    assert (await desk.submit(second, 2)).recipient_count == 2


async def test_the_count_never_changes_whatever_is_suppressed_later(desk: Desk) -> None:
    account = await desk.account(threshold=3)
    job = await desk.checked(account, 3)
    await suppressions.suppress(desk.pool, acting(account), ["person1@list.example", "person2@list.example"])
    assert (await report.report(desk.pool, acting(account), job.id)).job.recipient_count == 3
    approved = await approve(desk.pool, acting(account, "boss"), job.id, digest=job.digest)
    assert (approved.status, approved.recipient_count, approved.unsent) == (Status.SENDING, 3, 3)
    assert (await cancel(desk.pool, acting(account, "me"), job.id)).recipient_count == 3


async def test_contacts_are_a_list_too(desk: Desk) -> None:
    account = await desk.account()
    incoming = listed("b@x.example", "a@x.example", "nobody", "B@x.example")
    now, problems, _ = await contacts.import_contacts(desk.pool, acting(account), incoming)
    assert (now, [(one.row_no, one.value) for one in problems]) == (2, [(4, "nobody")])
    await suppressions.suppress(desk.pool, acting(account), ["a@x.example"])
    await contacts.import_contacts(desk.pool, acting(account), [IncomingRow(2, "c@x.example", {"name": "Ż"})])
    job = await desk.submit(account, None)
    assert {row[2] for row in await desk.query(LISTED, job.id)} == {"B@x.example", "c@x.example"}
    assert job.excluded_suppressed == 1
    assert await desk.query("SELECT fields ->> 'name' FROM recipient WHERE address = 'c@x.example'") == [("Ż",)]


async def test_a_contact_whose_row_says_later_that_it_is_out_is_not_mailed_and_no_import_takes_that_back(desk: Desk) -> None:
    account = await desk.account()
    said = 'Row 2 of the list says "Unsubscribed" in the column "Status".'
    await contacts.import_contacts(desk.pool, acting(account), listed("gone@x.example", "stays@x.example"))
    out = [IncomingRow(2, "Gone@x.example", {}, said), IncomingRow(3, "stranger@x.example", {}, said)]
    now, problems, remarks = await contacts.import_contacts(desk.pool, acting(account), out, name="c2.csv")
    assert (now, [one.reason for one in problems]) == (2, [said, said])
    assert remarks == ("2 addresses are suppressed by this import, by what their own rows say: the account does not mail "
                       "them, contacts from before included.",)
    for one in await suppressions.suppressions(desk.pool, acting(account), limit=9):
        assert (one.reason, one.by) == (f"Import of contacts from c2.csv: {said}", "tester")
    assert [one.verb for one in await suppressions.trail(desk.pool, acting(account), "gone@x.example")] == ["suppress"]
    assert (await contacts.import_contacts(desk.pool, acting(account), out))[2] == (), "it was before"
    await contacts.import_contacts(desk.pool, acting(account), listed("gone@x.example", "stranger@x.example"))
    job = await desk.submit(account, None)
    assert {row[2] for row in await desk.query(LISTED, job.id)} == {"stays@x.example"}


@pytest.mark.parametrize(("count", "connections", "sizes"), [(1, 4, [1]), (17, 1, [5, 5, 5, 2]), (99, 4, [7] * 14 + [1]),
                                                           (4001, 1, [1000, 1000, 1000, 1000, 1])])
async def test_the_list_is_dealt_into_chunks_without_gap_or_overlap(
        desk: Desk, count: int, connections: int, sizes: list[int]) -> None:
    account = await desk.account(threshold=10_000, connections=connections)
    job = await desk.submit(account, count)
    chunks = await desk.query("SELECT first_position, n, next_position FROM chunk WHERE job_id = %s ORDER BY chunk_no", job.id)
    assert [n for _, n, _ in chunks] == sizes
    assert [first for first, _, _ in chunks] == [1 + sum(sizes[:at]) for at in range(len(sizes))]
    assert all(first == following for first, _, following in chunks)
    assert job.lanes == min(connections, count)


async def list_digest(desk: Desk, account: int, incoming: list[IncomingRow], **options: str) -> bytes:
    """Only the list's own, without the key that is drawn for each job."""
    async with (read_through(IN_THREAD, account, incoming) as listed, desk.pool.connection() as conn,
                conn.transaction(force_rollback=True)):
        await fill_intake(conn, await recipients.create_intake(conn), listed)
        await recipients.draw_up(conn, account, **{"duplicates": "exclude", "unusable_addresses": "exclude", **options})
        return await recipients.deal(conn, 2)


async def test_the_same_list_has_the_same_digest_and_any_change_another(desk: Desk) -> None:
    account = await desk.account()
    base = [IncomingRow(2, "a@x.example", {"n": "1"}), IncomingRow(3, "b@x.example", {}), IncomingRow(4, "c@x.example", {})]
    variants = [
        base[:2], [*base, IncomingRow(5, "d@x.example", {})], [base[0], base[2], base[1]],
        [IncomingRow(2, "a@x.example", {"n": "2"}), *base[1:]], [IncomingRow(2, "a@x.example", {"n": 1}), *base[1:]],
        [IncomingRow(2, "a@x.example", {"m": "1"}), *base[1:]], [IncomingRow(2, "A@x.example", {"n": "1"}), *base[1:]]]
    variants = [[IncomingRow(n, row.address, row.fields) for n, row in enumerate(variant, start=2)] for variant in variants]
    digests = [await list_digest(desk, account, variant) for variant in [base, *variants]]
    assert len(set(digests)) == len(digests)
    assert await list_digest(desk, account, base) == digests[0]


async def test_two_lists_never_share_a_digest_by_moving_text_between_values(desk: Desk) -> None:
    account = await desk.account()
    first, second = (listed("a", "b\t\t3\tunusable\t{}\n2\tc"), listed("a\t\t2\tunusable\t{}\n2\tb", "c"))
    third = listed("a\ta\t2\tunusable\t{}\n2\tb", "b")
    digests = {await list_digest(desk, account, one, unusable_addresses="fail") for one in (first, second, third)}
    assert len(digests) == 3


async def test_nobody_left_is_an_error_with_examples_and_nothing_is_written(desk: Desk) -> None:
    account = await desk.account()
    await suppressions.suppress(desk.pool, acting(account), ["gone@x.example"])
    with pytest.raises(InvalidInput, match="Nobody is left to send to: 1 suppressed, 1 unusable") as caught:
        await desk.submit(account, listed("gone@x.example", "nobody"))
    assert [(fault.row, fault.message) for fault in caught.value.faults] == [
        (2, "Opted out."), (3, "There is no @ in the address.")]
    for nothing in ([], None):
        with pytest.raises(InvalidInput, match="The list has no rows"):
            await desk.submit(account, nothing)
    for table in ("job", "recipient", "chunk", "exclusion", "outcome", "job_event", "procrastinate_jobs"):
        assert await desk.query(f"SELECT count(*) FROM {table}") == [(0,)], table


async def test_a_list_of_which_every_row_is_booked_at_once_is_completed_at_once(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, listed("nobody", "nowhere"), unusable_addresses="fail")
    assert (job.status, job.failed, job.unsent) == (Status.COMPLETED, 2, 0)


async def test_pages_of_the_ledger_follow_the_list_and_the_class(desk: Desk) -> None:
    account = await desk.account()
    job = await desk.submit(account, listed("a@x.example", "b@x.example", "c@x.example", "nobody", "d@x.example", "a@x.example",
                                            "b@x.example"), unusable_addresses="fail", duplicates="skip")

    async def page(recipient_class: str | None, after: int = 0, limit: int = 10) -> list[int]:
        async with desk.pool.connection() as conn:
            found = await recipients.page_of_recipients(
                conn, account, job.id, recipient_class=recipient_class, after=after, limit=limit)
        return [one.position for one in found]

    assert await page(None) == [1, 2, 3, 4, 5, 6, 7]
    assert (await page("unsent"), await page("failed"), await page("skipped")) == ([1, 2, 3, 5], [4], [6, 7])
    assert await page("sent") == await page("unconfirmed") == []
    assert await page(None, after=2, limit=2) == [3, 4]
    async with desk.pool.connection() as conn:
        assert await recipients.page_of_recipients(conn, account + 1, job.id, recipient_class=None, after=0, limit=10) == []


spelling = st.sampled_from(["a@x.example", "A@X.EXAMPLE", "b@x.example", "B@x.example", "gone@x.example", "bad", ""])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(addresses=st.lists(spelling, max_size=12), duplicates=st.sampled_from(["exclude", "skip", "send"]),
       unusable=st.sampled_from(["exclude", "fail"]))
async def test_every_row_is_listed_or_excluded_exactly_once(
        desk: Desk, addresses: list[str], duplicates: str, unusable: str) -> None:
    account = await desk.account(f"Club {await desk.query('SELECT clock_timestamp()')}")
    await suppressions.suppress(desk.pool, acting(account), ["gone@x.example"])
    incoming = listed(*addresses)
    try:
        job = await desk.submit(account, incoming, duplicates=duplicates, unusable_addresses=unusable)
    except InvalidInput:
        assert all(address in ("gone@x.example", "bad", "") for address in addresses)
        return
    frozen, excluded = await desk.query(LISTED, job.id), await desk.query(EXCLUDED, job.id)
    assert [row[0] for row in frozen] == list(range(1, job.recipient_count + 1))
    assert [row[1] for row in frozen] == sorted(row[1] for row in frozen)
    assert sorted([row[1] for row in frozen] + [row[0] for row in excluded]) == [row.row_no for row in incoming]
    assert sum((job.sent, job.failed, job.skipped, job.unconfirmed, job.unsent)) == job.recipient_count
