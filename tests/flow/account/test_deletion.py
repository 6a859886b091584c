"""What can be deleted, what stands in the way, what goes with it, and that nobody else notices."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from acting import acting
from postroom.domain.job import Status
from postroom.errors import Conflict, InvalidInput, NotFound
from postroom.flow.account import deletion, domains
from postroom.flow.account.accounts import create_account
from postroom.flow.account.deletion import delete_account, delete_domain, delete_gateway
from postroom.flow.account.secrets import SecretBox
from postroom.flow.audience.contacts import delete_contact, import_contacts
from postroom.flow.audience.suppressions import suppress, suppressions
from postroom.flow.delivery.witness import Witness, is_lost
from postroom.flow.job.finish import cancel
from postroom.flow.job.report import report
from postroom.flow.preview.look import preview
from postroom.gateway.journal import WindowKey
from stage import SECRET_KEY, Stage, eventually, rows

OWNED = """
    SELECT table_name FROM information_schema.columns
    WHERE column_name = 'account_id' AND table_schema = 'public' AND table_name NOT IN ('job_overview', 'account_deletion')
    ORDER BY table_name"""


async def owned(stage: Stage, account: int) -> dict[str, int]:
    """How many rows each table has of an account."""
    tables = [name for name, in await stage.query(OWNED)]
    return {name: (await stage.query(f"SELECT count(*) FROM {name} WHERE account_id = %s", account))[0][0] for name in tables}


async def filled(stage: Stage, name: str) -> tuple[int, int]:
    """An account with something in nearly everything, and its job, which is completed."""
    account = await stage.account(name, threshold=2)
    await domains.add_domain(stage.pool, SecretBox(SECRET_KEY), acting(account), "club.example", ["ed25519"])
    await import_contacts(stage.pool, acting(account), rows(3))
    await suppress(stage.pool, acting(account), ["person3@list.example", "gone@list.example"])
    async with stage.worker():
        job = await stage.over(account, (await stage.started(account, 5)).id)
    assert job.status is Status.COMPLETED
    return account, job.id


async def test_an_account_goes_with_all_that_is_its_own_and_nothing_of_another(stage: Stage) -> None:
    (account, job), (other, others_job) = await filled(stage, "Club"), await filled(stage, "School")
    before = await owned(stage, other)
    gone = await delete_account(stage.pool, acting(account, "boss"), named="Club")
    assert (gone.jobs, gone.recipients, gone.contacts, gone.suppressions, gone.gateways, gone.domains) == (1, 4, 3, 2, 1, 1)
    assert set((await owned(stage, account)).values()) == {0}
    assert await owned(stage, other) == before
    await stage.sides(other, others_job)
    assert await stage.query("SELECT name, by, recipients, jobs FROM account_deletion") == [("Club", "boss", 4, [job])]
    with pytest.raises(NotFound):
        await report(stage.pool, acting(account), job)
    with pytest.raises(NotFound):
        await delete_account(stage.pool, acting(account, "boss"), named="Club")
    await create_account(stage.pool, "Club")  # the name is free again


async def test_the_tables_that_are_looked_at_are_filled(stage: Stage) -> None:
    account, _ = await filled(stage, "Club")
    rarely = {"api_key", "attachment", "exclusion", "idempotency_key", "job_condition", "preflight", "retry"}
    assert {name for name, count in (await owned(stage, account)).items() if not count} <= rarely


@pytest.mark.parametrize("named", ["", "club", "Club ", "School"])
async def test_an_account_is_deleted_only_by_whoever_gives_its_name(stage: Stage, named: str) -> None:
    account = await stage.account("Club")
    with pytest.raises(InvalidInput, match='give its name as it is: "Club"'):
        await delete_account(stage.pool, acting(account, "boss"), named=named)
    assert (await owned(stage, account))["gateway"] == 1


async def test_an_account_stays_while_a_job_of_it_is_not_over_or_in_hand(stage: Stage) -> None:
    account = await stage.account("Club", threshold=2)
    waiting = await stage.submit(account, 3)
    with pytest.raises(Conflict, match=rf"is needed by job {waiting.id} \(Pending approval\)"):
        await delete_account(stage.pool, acting(account, "boss"), named="Club")
    sending = await stage.submit(account, 1)
    await cancel(stage.pool, acting(account, "boss"), waiting.id)
    with pytest.raises(Conflict, match=rf"is needed by job {sending.id} \("):
        await delete_account(stage.pool, acting(account, "boss"), named="Club")
    await cancel(stage.pool, acting(account, "boss"), sending.id)
    await stage.query("UPDATE chunk SET window_open = true WHERE job_id = %s RETURNING 1", sending.id)
    with pytest.raises(Conflict, match=rf"job {sending.id} \(in hand\)"):
        await delete_account(stage.pool, acting(account, "boss"), named="Club")
    await stage.query("UPDATE chunk SET window_open = false WHERE job_id = %s RETURNING 1", sending.id)
    await delete_account(stage.pool, acting(account, "boss"), named="Club")


async def test_the_database_lets_go_only_of_what_is_the_named_account_s(stage: Stage) -> None:
    (account, _), (other, _) = await filled(stage, "Club"), await filled(stage, "School")
    async with stage.pool.connection() as conn, conn.transaction(force_rollback=True):
        await conn.execute("SELECT set_config('postroom.deleted_account', %s, true)", (str(account),))
        await conn.execute("DELETE FROM outcome WHERE account_id = %s", (account,))
        for table in ("outcome", "recipient", "hand_off_window", "suppression_event", "job_event"):
            with pytest.raises(psycopg.errors.RestrictViolation, match=f"{table} is written once"):
                async with conn.transaction():
                    await conn.execute(f"DELETE FROM {table} WHERE account_id = %s", (other,))


async def test_the_record_of_a_deletion_stays(stage: Stage) -> None:
    await delete_account(stage.pool, acting(await stage.account("Club"), "boss"), named="Club")
    for statement in ("DELETE FROM account_deletion", "UPDATE account_deletion SET by = 'nobody'"):
        with pytest.raises(psycopg.errors.RestrictViolation, match="account_deletion is written once"):
            await stage.query(statement)


async def test_a_list_that_is_being_taken_in_and_a_deletion_wait_for_each_other(stage: Stage) -> None:
    account = await stage.account("Club", threshold=2)
    deleting, submitting = await asyncio.gather(
        delete_account(stage.pool, acting(account, "boss"), named="Club"), stage.submit(account, 500), return_exceptions=True)
    if isinstance(deleting, BaseException):
        assert isinstance(deleting, Conflict)
        assert not isinstance(submitting, BaseException)
    else:
        assert isinstance(submitting, NotFound)
        assert await stage.query("SELECT FROM job") == []


async def test_what_a_worker_remembers_of_an_account_that_was_deleted_is_no_sign_of_a_lost_database(stage: Stage) -> None:
    account, job = await filled(stage, "Club")
    [(owner, chunk_no, window_no)] = await stage.query(
        "SELECT owner, chunk_no, window_no FROM hand_off_window WHERE job_id = %s LIMIT 1", job)
    witness = Witness()
    witness.opened(WindowKey(account, job, chunk_no, window_no))
    witness.ended(job)
    witness._outcomes.append((account, job, 1, 1))
    async with stage.pool.connection() as conn:
        assert not await is_lost(conn, owner, witness.newest())
        await delete_account(stage.pool, acting(account, "boss"), named="Club")
        assert not await is_lost(conn, owner, witness.newest())
        other = Witness()
        other.ended(job + 1)
        assert await is_lost(conn, owner, other.newest())


async def test_a_worker_goes_on_with_other_accounts_when_one_is_deleted(stage: Stage) -> None:
    account, other = await stage.account("Club", threshold=1000), await stage.account("School", threshold=1000)
    async with stage.worker():
        job = await stage.over(account, (await stage.started(account, 20)).id)
        goes_on = await stage.started(other, 20)
        await delete_account(stage.pool, acting(account, "boss"), named="Club")
        assert (await stage.over(other, goes_on.id)).sent == 20
        beat = (await stage.query("SELECT beat FROM installation"))[0][0]

        async def has_looked() -> bool:
            return (await stage.query("SELECT beat FROM installation"))[0][0] > beat + 1
        await eventually(has_looked, patience_s=30)
    assert await stage.query("SELECT FROM job_condition WHERE kind = 'paused'") == []
    assert job.sent == 20


async def test_a_gateway_is_deleted_unless_a_job_names_it(stage: Stage) -> None:
    account, other = await stage.account("Club", threshold=2), await stage.account("School")
    await stage.gateway(account, "spare")
    await stage.query("INSERT INTO gateway_pace (gateway_id) SELECT id FROM gateway WHERE name = 'spare' RETURNING 1")
    job = await stage.submit(account, 3)
    with pytest.raises(Conflict, match=rf'"main" is needed by job {job.id}'):
        await delete_gateway(stage.pool, acting(account), "main")
    await cancel(stage.pool, acting(account, "boss"), job.id)
    with pytest.raises(Conflict, match=r"stands in the history, of 1 job, .*gateway create --replace"):
        await delete_gateway(stage.pool, acting(account), "main")
    await delete_gateway(stage.pool, acting(account), "spare")
    with pytest.raises(NotFound):
        await delete_gateway(stage.pool, acting(account), "spare")
    assert ((await owned(stage, account))["gateway"], (await owned(stage, other))["gateway"]) == (1, 1)


async def test_a_sending_domain_is_deleted_with_its_keys_unless_a_job_is_to_be_signed_by_them(stage: Stage) -> None:
    account = await stage.account("Club", threshold=2)
    await domains.add_domain(stage.pool, SecretBox(SECRET_KEY), acting(account), "club.example", ["ed25519"])
    await domains.add_domain(stage.pool, SecretBox(SECRET_KEY), acting(account), "other.example", ["ed25519"])
    job = await stage.submit(account, 3)
    await delete_domain(stage.pool, acting(account), "other.example")
    with pytest.raises(Conflict, match=rf"The keys of club.example are needed by job {job.id}"):
        await delete_domain(stage.pool, acting(account), "CLUB.example.")
    await cancel(stage.pool, acting(account, "boss"), job.id)
    assert await delete_domain(stage.pool, acting(account), "CLUB.example.") == "club.example"
    assert await domains.keys_of_account(stage.pool, acting(account)) == []
    shown = await preview(stage.pool, stage.deployment, acting(account), job.id, 1)
    assert (shown.note or "").startswith("Shown without its signature")
    assert b"DKIM-Signature" not in shown.source
    with pytest.raises(NotFound, match="is no sending domain of this account"):
        await delete_domain(stage.pool, acting(account), "club.example")


async def test_a_contact_goes_and_leaves_every_count_and_the_opt_out(stage: Stage) -> None:
    account = await stage.account("Club", threshold=2)
    await import_contacts(stage.pool, acting(account), rows(3))
    job = await stage.submit(account, 3)
    await suppress(stage.pool, acting(account), ["person1@list.example"])
    await delete_contact(stage.pool, acting(account), "Person1@LIST.example")
    assert (await report(stage.pool, acting(account), job.id)).job.recipient_count == 3
    assert ((await owned(stage, account))["contact"], (await owned(stage, account))["recipient"]) == (2, 3)
    assert len(await suppressions(stage.pool, acting(account), address="person1@list.example", limit=1)) == 1
    with pytest.raises(NotFound, match="is no contact of this account"):
        await delete_contact(stage.pool, acting(account), "person1@list.example")
    with pytest.raises(InvalidInput):
        await delete_contact(stage.pool, acting(account), "nobody")
    assert (await deletion.holdings(stage.pool, acting(account))).contacts == 2


async def test_what_the_engine_still_had_to_do_for_it_comes_to_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    account, other = await stage.account("Club", threshold=2), await stage.account("School")
    for count in (1, 5):  # one that would be sent, one that would be checked
        await cancel(stage.pool, acting(account, "boss"), (await stage.submit(account, count)).id)
    assert await stage.query("SELECT FROM procrastinate_jobs WHERE status = 'todo'") != []
    await delete_account(stage.pool, acting(account, "boss"), named="Club")
    async with stage.worker():
        assert (await stage.over(other, (await stage.submit(other, 3)).id)).sent == 3

        async def is_idle() -> bool:
            return await stage.query("SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')") == []
        await eventually(is_idle)
    assert await stage.query("SELECT task_name FROM procrastinate_jobs WHERE status = 'failed'") == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
