"""Files of a message: kept once for an account however many jobs carry them, and part of what is approved."""

from __future__ import annotations

import hashlib
from email import message_from_bytes

import psycopg
import pytest

from acting import acting
from desk import Desk
from postroom.flow.job.approve import approve
from postroom.flow.job.submit import APPROVED, digest_of
from postroom.ledger.content import attachments
from stage import Stage

PAPER, PRICES = b"Be kind.\n" * 100, b"a,b\n1,2\n"


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


async def kept(desk: Desk) -> list[tuple[int, bytes]]:
    return [*await desk.query("SELECT account_id, octets FROM attachment ORDER BY account_id, octets")]


async def test_the_same_file_of_many_jobs_is_one_row_whatever_its_name(desk: Desk) -> None:
    account = await desk.account()
    await desk.submit(account, 100, files=(("rules.txt", PAPER), ("the same.txt", PAPER)))
    await desk.submit(account, 100, files=(("Regeln.txt", PAPER), ("prices.csv", PRICES)))
    await desk.submit(account, 3, files=(("rules.txt", PAPER),))
    assert await kept(desk) == [(account, PAPER), (account, PRICES)]


async def test_another_account_has_a_row_of_its_own_and_reads_nobody_elses(desk: Desk) -> None:
    first, second = await desk.account("First"), await desk.account("Second")
    await desk.submit(first, 100, files=(("rules.txt", PAPER), ("prices.csv", PRICES)))
    await desk.submit(second, 100, files=(("rules.txt", PAPER),))
    assert await kept(desk) == [(first, PAPER), (first, PRICES), (second, PAPER)]
    async with desk.pool.connection() as conn:
        assert await attachments.octets_of(conn, second, [sha256(PAPER), sha256(PRICES)]) == {sha256(PAPER): PAPER}


async def test_what_is_approved_names_the_file_by_its_octets(desk: Desk) -> None:
    """The job's digest is made again from its row: with the digest of other octets in its content it is another one."""
    account = await desk.account()
    job = await desk.checked(account, 100, files=(("rules.txt", PAPER),))
    not_text = ("dkim_keys", "gateway_id", "recipient_count")
    names = ", ".join(name if name in not_text else f"{name}::text" for name in APPROVED)
    [row] = await desk.query(f"SELECT {names} FROM job WHERE id = %s", job.id)
    values = dict(zip(APPROVED, row, strict=True))
    [(list_digest,)] = await desk.query(
        "SELECT sha256(string_agg(digest, ''::bytea ORDER BY chunk_no)) FROM chunk WHERE job_id = %s", job.id)
    assert digest_of(values, list_digest) == job.digest
    content = values["content"].replace(sha256(PAPER), sha256(PAPER + b"!"))
    assert content != values["content"]
    assert digest_of(values | {"content": content}, list_digest) != job.digest
    with pytest.raises(psycopg.errors.RestrictViolation, match="list, content and options are frozen"):
        await desk.query("UPDATE job SET content = %s WHERE id = %s RETURNING 1", content, job.id)


async def test_every_job_that_carries_it_sends_the_octets_that_were_approved(stage: Stage) -> None:
    account = await stage.account(threshold=2)
    async with stage.worker():
        for name in ("rules.txt", "Regeln.txt"):
            job = await stage.checked(account, 2, files=((name, PAPER),))
            await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
            await stage.over(account, job.id)
    parts = [part for octets in stage.sandbox.contents for part in message_from_bytes(octets).walk() if part.get_filename()]
    assert [(one.get_filename(), one.get_payload(decode=True)) for one in parts] == [
        ("rules.txt", PAPER), ("rules.txt", PAPER), ("Regeln.txt", PAPER), ("Regeln.txt", PAPER)]


@pytest.mark.parametrize("change", ["UPDATE attachment SET octets = 'other'", "DELETE FROM attachment"])
async def test_a_file_that_is_kept_is_never_another_and_never_gone(desk: Desk, change: str) -> None:
    """A job that was approved with it would send something else, or could not be sent at all."""
    account = await desk.account()
    await desk.submit(account, 100, files=(("rules.txt", PAPER),))
    with pytest.raises(psycopg.errors.RestrictViolation, match="attachment is written once and never changed"):
        await desk.query(f"{change} RETURNING 1")
    assert await kept(desk) == [(account, PAPER)]


async def test_octets_under_a_digest_that_is_not_theirs_are_refused(desk: Desk) -> None:
    account = await desk.account()
    async with desk.pool.connection() as conn:
        with pytest.raises(psycopg.errors.CheckViolation, match="attachment_digest_is_sha256"):
            await attachments.keep(conn, account, {sha256(PAPER): PRICES})
