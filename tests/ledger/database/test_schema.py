"""The database refuses what the code must not do. Everything here is raw SQL: no code of ours stands in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg
import pytest
from psycopg import sql

from postroom.domain.job import OVER, TRANSITIONS, Status
from postroom.domain.outcome import Evidence, Kind
from postroom.ledger.database import db

Refused = (psycopg.errors.RestrictViolation, psycopg.errors.IntegrityError)


class Undone(Exception):
    """Rolls back what was only tried."""


class Builder:
    """Builds rows as the schema wants them, so that each test breaks one thing only."""

    def __init__(self, conn: db.Connection) -> None:
        self.conn = conn

    async def account(self, name: str = "Club") -> int:
        account_id = await self.one("INSERT INTO account (name) VALUES (%s) RETURNING id", name)
        await self.conn.execute("INSERT INTO gateway (account_id, name, host, port, security) "
                                "VALUES (%s, 'main', 'localhost', 25, 'none')", (account_id,))
        return account_id

    async def job(self, account_id: int, status: Status = Status.PENDING_APPROVAL, count: int = 3, **changes: object) -> int:
        """A whole job in `status`, reached by the table's moves."""
        first = Status.PENDING_APPROVAL if "approval_threshold" not in changes else Status.QUEUED
        job_id = await self.bare_job(account_id, first, count, **changes)
        await self.conn.execute("INSERT INTO chunk (account_id, job_id, chunk_no, first_position, n, digest, next_position) "
                                "VALUES (%s, %s, 0, 1, %s, '', 1)", (account_id, job_id, count))
        await self.conn.execute(
            "INSERT INTO recipient (account_id, job_id, position, row_no, address, address_key, dedupe_key, fields) "
            "SELECT %s, %s, p, p + 1, 'a' || p, 'a' || p, '', '{}' FROM generate_series(1, %s) AS p", (account_id, job_id, count))
        for step in path_to(status, first):
            if step is Status.COMPLETED:
                await self.conn.execute("UPDATE chunk SET sent = n WHERE job_id = %s", (job_id,))
            await self.move(job_id, step)
        return job_id

    async def bare_job(self, account_id: int, status: Status, count: int = 3, **changes: object) -> int:
        """Only the row, with every column as `status` wants it."""
        values: dict[str, object] = {
            "account_id": account_id, "status": status, "subject": "s", "content": "{}", "bodies": "{}",
            "duplicates": "exclude", "unusable_addresses": "exclude", "recipient_count": count, "lanes": 1,
            "approval_threshold": count, "digest": bytes(32), "message_key": "k", "created_by": "me", "moved_by": "me",
            **columns_of(status), **changes}
        values.setdefault("gateway_id", await self.one("SELECT id FROM gateway WHERE account_id = %s", account_id))
        statement = sql.SQL("INSERT INTO job ({}) VALUES ({}) RETURNING id").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join([sql.Placeholder()] * len(values)))
        return await self.one(statement, *values.values())

    async def move(self, job_id: int, target: Status) -> None:
        values = {"status": target, "approved_digest": bytes(32), **columns_of(target)}
        statement = sql.SQL("UPDATE job SET {} WHERE id = {}").format(
            sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in values),
            sql.Literal(job_id))
        await self.conn.execute(statement, list(values.values()))

    async def one(self, statement: str | sql.Composed, *values: object) -> int:
        row = await (await self.conn.execute(statement, values)).fetchone()
        assert row is not None
        return int(row[0])

    async def refused(self, constraint: str, statement: str | sql.Composed, *values: object) -> None:
        """`constraint` is the name, or words of the message where a trigger refuses."""
        with pytest.raises(Refused) as caught:
            async with self.conn.transaction():
                await self.conn.execute(statement, values)
        assert caught.value.diag.constraint_name == constraint or constraint in str(caught.value), caught.value


def columns_of(status: Status) -> dict[str, object]:
    """What the CHECKs want of a job in `status`, so that only the move itself can be refused."""
    started = "2030-01-01" if status in (Status.SENDING, Status.COMPLETED) else None
    return {"started_at": started, "ended_at": "2030-01-02" if status in OVER else None, "queue_no": 1,
            "reason": "because", "approved_digest": bytes(32)}


def path_to(status: Status, first: Status) -> Sequence[Status]:
    """The shortest way through the table."""
    paths = {first: [first]}
    for _ in Status:
        for move in TRANSITIONS:
            if move.origin in paths and move.target not in paths:
                paths[move.target] = [*paths[move.origin], move.target]
    return paths[status][1:]


@pytest.fixture
async def build(pool: db.Pool) -> Builder:
    async with pool.connection() as conn:
        yield Builder(conn)


# -- the state machine --------------------------------------------------------------------------------------------------


async def test_the_database_has_the_transitions_of_the_code(build: Builder) -> None:
    rows = await (await build.conn.execute("SELECT verb, from_status, to_status FROM job_transition")).fetchall()
    assert sorted(rows) == sorted((move.verb, move.origin or "new", move.target) for move in TRANSITIONS)


async def test_the_database_has_the_kinds_and_evidence_of_the_code_in_the_same_order(build: Builder) -> None:
    kinds, evidence = await (await build.conn.execute(
        "SELECT enum_range(NULL::outcome_kind)::text[], enum_range(NULL::outcome_evidence)::text[]")).fetchone()
    assert set(kinds) == set(Kind)
    assert evidence == list(Evidence)


async def test_of_all_pairs_of_statuses_exactly_the_tables_moves_pass(build: Builder) -> None:
    allowed = {(move.origin, move.target) for move in TRANSITIONS}
    passed = set()
    for number, origin in enumerate(Status):
        account_id = await build.account(f"Club {number}")
        async with build.conn.transaction():
            job_id = await build.job(account_id, origin)
        for target in Status:
            if target is origin:
                continue
            try:
                async with build.conn.transaction():
                    if target is Status.COMPLETED and origin not in OVER:
                        await build.conn.execute("UPDATE chunk SET sent = n WHERE job_id = %s", (job_id,))
                    await build.move(job_id, target)
                    passed.add((origin, target))
                    raise Undone
            except (psycopg.errors.RestrictViolation, Undone):
                continue
    assert passed == {pair for pair in allowed if pair[0] is not None}


async def test_a_job_comes_into_being_only_as_the_table_says(build: Builder) -> None:
    account_id = await build.account()
    for status in Status:
        try:
            async with build.conn.transaction(force_rollback=True):
                await build.bare_job(account_id, status)
            passed = True
        except psycopg.errors.RestrictViolation:
            passed = False
        assert passed == (status in {move.target for move in TRANSITIONS if move.origin is None}), status


async def test_a_status_that_nobody_knows_is_refused(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id)
    await build.refused("does not go from", "UPDATE job SET status = 'paused' WHERE id = %s", job_id)
    await build.conn.execute("INSERT INTO job_transition VALUES ('pause', 'pending_approval', 'paused')")
    await build.refused("status_is_known",
                        "UPDATE job SET status = 'paused', queue_no = 1, approved_digest = digest WHERE id = %s", job_id)


async def test_every_move_leaves_an_event_and_is_told_to_those_who_listen(build: Builder, pool: db.Pool) -> None:
    account_id = await build.account()
    async with pool.connection() as listener:
        await listener.execute("LISTEN postroom_job")
        async with build.conn.transaction():
            job_id = await build.job(account_id, Status.COMPLETED)
        told = [notice.payload async for notice in listener.notifies(timeout=5, stop_after=4)]
    assert told == [f"{account_id} {job_id} {status}" for status in ("pending_approval", "queued", "sending", "completed")]
    events = await (await build.conn.execute("SELECT verb, from_status, to_status, by FROM job_event ORDER BY id")).fetchall()
    assert events == [("submit", None, "pending_approval", "me"), ("approve", "pending_approval", "queued", "me"),
                      ("start", "queued", "sending", "me"), ("complete", "sending", "completed", "me")]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED, Status.FAILED])
async def test_a_job_that_is_over_never_changes_again(build: Builder, status: Status) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id, status)
    for change in ("reason = 'another'", "moved_by = 'you'", "ended_at = now()", "queue_no = 9", "status = status"):
        await build.refused("which is final", f"UPDATE job SET {change} WHERE id = {job_id}")


# -- the gate -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("approved", [None, bytes(31) + b"x"])
async def test_a_job_of_100_that_is_not_approved_as_it_is_gets_no_further(build: Builder, approved: bytes | None) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id, count=100)
    await build.conn.execute("UPDATE chunk SET sent = n")
    for target in Status:
        await build.conn.execute("INSERT INTO job_transition VALUES ('any', 'pending_approval', %s) ON CONFLICT DO NOTHING",
                                 (target,))
        if target not in (Status.PENDING_APPROVAL, Status.CANCELLED):
            times = columns_of(target)
            await build.refused(
                "a_large_job_is_approved_as_it_is",
                "UPDATE job SET status = %s, approved_digest = %s, queue_no = 1, started_at = %s, ended_at = %s, reason = 'r' "
                "WHERE id = %s", target, approved, times["started_at"], times["ended_at"], job_id)


async def test_99_need_no_approval_and_never_wait_for_one(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        await build.job(account_id, Status.QUEUED, count=99, approval_threshold=100, approved_digest=None)
    with pytest.raises(psycopg.errors.CheckViolation, match="a_small_job_never_waits_for_approval"):
        await build.bare_job(account_id, Status.PENDING_APPROVAL, 99, approval_threshold=100)


async def test_a_queued_large_job_cannot_lose_its_approval(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id, Status.QUEUED, count=100)
    for digest in (None, b"x" * 32):
        await build.refused("a_large_job_is_approved_as_it_is",
                            "UPDATE job SET approved_digest = %s WHERE id = %s", digest, job_id)


FROZEN = {
    "gateway_id": "gateway_id + 1", "subject": "'x'", "content": "'[]'", "account_fields": "'[]'", "duplicates": "'send'",
    "unusable_addresses": "'fail'",
    "recipient_count": "recipient_count + 1", "excluded_duplicates": "1", "excluded_unusable": "1", "excluded_suppressed": "1",
    "lanes": "lanes + 1", "approval_threshold": "1000", "digest": "sha256('x')", "message_key": "'x'", "created_by": "'x'",
    "created_by_person": "1", "created_by_key": "1",
    "bodies": "'[]'", "identity": "'[]'", "dkim_keys": "'{1}'", "field_policy": "'fail'",
    "continues": "id", "continued_class": "'unsent'", "corrects": "id", "read_as": "'[]'",
    "created_at": "now() - interval '1 day'", "created_in": "pg_current_xact_id()", "account_id": "account_id + 1"}
MOVING = {"id", "status", "approved_digest", "queue_no", "not_before", "started_at", "ended_at", "moved_by", "moved_by_person",
          "moved_by_key", "reason"}


async def test_list_content_and_options_of_a_job_are_frozen(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id)
    for column, value in FROZEN.items():
        await build.refused("are frozen", f"UPDATE job SET {column} = {value} WHERE id = {job_id}")
    columns = await (await build.conn.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 'job'::regclass AND attnum > 0")).fetchall()
    assert {name for name, in columns} == FROZEN.keys() | MOVING, "a new column is frozen or moving: say which"


@pytest.mark.parametrize(("constraint", "status", "changes"), [
    ("a_queued_job_has_a_queue_number", Status.QUEUED, {"queue_no": None}),
    ("a_started_job_has_a_start", Status.QUEUED, {"started_at": "2030-01-01"}),
    ("a_started_job_has_a_start", Status.PENDING_APPROVAL, {"started_at": "2030-01-01"}),
    ("a_job_that_is_over_has_an_end", Status.QUEUED, {"ended_at": "2030-01-01"}),
    ("recipient_list_is_not_empty", Status.PENDING_APPROVAL, {"recipient_count": 0, "approval_threshold": 0}),
    ("lanes_are_few", Status.QUEUED, {"lanes": 0}),
    ("lanes_are_few", Status.QUEUED, {"lanes": 101}),
    ("digest_is_sha256", Status.PENDING_APPROVAL, {"digest": b"short"}),
    ("duplicates_option_is_known", Status.QUEUED, {"duplicates": "merge"}),
    ("unusable_addresses_option_is_known", Status.QUEUED, {"unusable_addresses": "guess"}),
])
async def test_what_is_true_in_a_status_is_held(
        build: Builder, constraint: str, status: Status, changes: dict[str, object]) -> None:
    account_id = await build.account()
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        await build.bare_job(account_id, status, **changes)
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize(("constraint", "target", "missing"), [
    ("a_job_that_is_over_has_an_end", Status.CANCELLED, "ended_at"),
    ("a_started_job_has_a_start", Status.COMPLETED, "started_at"),
    ("a_failed_job_has_a_reason", Status.FAILED, "reason")])
async def test_a_job_does_not_end_without_what_its_end_must_say(
        build: Builder, constraint: str, target: Status, missing: str) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id, Status.SENDING)
        await build.conn.execute("UPDATE job SET reason = NULL")
        await build.conn.execute("UPDATE chunk SET sent = n")
    values = {"started_at": "now()", "ended_at": "now()", "reason": "'r'", missing: "NULL"}
    await build.refused(constraint, "UPDATE job SET status = %s, " + ", ".join(f"{k} = {v}" for k, v in values.items())
                        + " WHERE id = %s", target, job_id)


async def test_an_account_has_one_sending_job(build: Builder) -> None:
    first, second = await build.account("first"), await build.account("second")
    async with build.conn.transaction():
        await build.job(first, Status.SENDING)
        await build.job(second, Status.SENDING)
        waiting = await build.job(first, Status.QUEUED)
    await build.refused("one_sending_job_per_account",
                        "UPDATE job SET status = 'sending', started_at = now() WHERE id = %s", waiting)


async def test_two_queued_jobs_never_have_the_same_place(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        await build.job(account_id, Status.QUEUED)
    with pytest.raises(psycopg.errors.UniqueViolation, match="one_place_in_the_queue_per_job"):
        await build.bare_job(account_id, Status.QUEUED)


async def test_a_job_uses_a_gateway_of_its_own_account(build: Builder) -> None:
    mine, theirs = await build.account("mine"), await build.account("theirs")
    gateway = await build.one("SELECT id FROM gateway WHERE account_id = %s", theirs)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="gateway_belongs_to_the_account"):
        await build.bare_job(mine, Status.QUEUED, gateway_id=gateway)


# -- the frozen list ----------------------------------------------------------------------------------------------------


async def fill_every_table(build: Builder) -> tuple[int, int]:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id, Status.SENDING)
        await build.conn.execute("INSERT INTO exclusion VALUES (%s, %s, 9, 'duplicate', 'a', 'r')", (account_id, job_id))
    await build.conn.execute("INSERT INTO approval VALUES (%s, %s, 'boss', now(), '')", (account_id, job_id))
    await build.conn.execute("INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence) "
                             "VALUES (%s, %s, 1, 1, 'unconfirmed', 'lease_lost')", (account_id, job_id))
    await build.conn.execute("INSERT INTO hand_off_window "
                             "(account_id, job_id, chunk_no, window_no, lease_epoch, owner, positions, attempts) "
                             "VALUES (%s, %s, 0, 1, 1, 'w', '{1}', '{1}')", (account_id, job_id))
    return account_id, job_id


async def test_what_is_written_once_is_never_changed_deleted_or_truncated(build: Builder) -> None:
    await fill_every_table(build)
    for table, column in (("recipient", "address"), ("exclusion", "reason"), ("outcome", "reply"), ("hand_off_window", "owner"),
                          ("job_event", "by"), ("approval", "approved_by")):
        for statement in (f"UPDATE {table} SET {column} = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            await build.refused(f"{table} is written once", statement)
        assert await build.one(f"SELECT count(*) FROM {table}") > 0
    for table in ("job", "chunk"):
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            await build.refused("is written once", statement)
    for column in ("account_id", "job_id", "chunk_no", "first_position", "n"):
        await build.refused("chunk is written once", f"UPDATE chunk SET {column} = {column}")
    await build.refused("chunk is written once", "UPDATE chunk SET digest = 'x'")


LATE = {
    "recipient": "INSERT INTO recipient (account_id, job_id, position, row_no, address, address_key, dedupe_key, fields) "
                 "VALUES (%s, %s, 99, 99, 'late', 'late', '', '{}')",
    "chunk": "INSERT INTO chunk (account_id, job_id, chunk_no, first_position, n, digest, next_position) "
             "VALUES (%s, %s, 99, 99, 1, '', 99)",
    "exclusion": "INSERT INTO exclusion (account_id, job_id, row_no, kind, value, reason) "
                 "VALUES (%s, %s, 99, 'duplicate', 'a', 'r')",
}


@pytest.mark.parametrize("table", LATE)
async def test_a_frozen_list_takes_no_late_row(build: Builder, table: str) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id)
    await build.refused("frozen when the job is created", LATE[table], account_id, job_id)


@pytest.mark.parametrize("table", LATE)
async def test_a_late_row_that_began_before_the_freeze_committed_is_refused(build: Builder, pool: db.Pool, table: str) -> None:
    account_id = await build.account()
    async with pool.connection() as other, other.transaction(force_rollback=True):
        await other.execute("SELECT pg_current_xact_id()")  # it is the older transaction, and sees the job only at the end
        with pytest.raises(psycopg.errors.IntegrityError):  # noqa: PT012 - the one is inside the other
            async with build.conn.transaction():
                job_id = await build.job(account_id)
                async with other.transaction():
                    await asyncio.wait_for(other.execute(LATE[table], (account_id, job_id)), 10)
        async with build.conn.transaction():
            job_id = await build.job(account_id)
        with pytest.raises(psycopg.errors.IntegrityError, match="frozen when the job is created"):
            await other.execute(LATE[table], (account_id, job_id))


async def test_a_savepoint_inside_the_freeze_is_part_of_it(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction(), build.conn.transaction():
        await build.job(account_id)
    assert await build.one("SELECT count(*) FROM recipient") == 3


@pytest.mark.parametrize(("what", "statement"), [
    ("1 are listed", "INSERT INTO recipient (account_id, job_id, position, row_no, address, address_key, dedupe_key, fields) "
                     "SELECT account_id, id, 1, 2, 'a', 'a', '', '{}' FROM job"),
    ("3 dealt", "INSERT INTO chunk (account_id, job_id, chunk_no, first_position, n, digest, next_position) "
                "SELECT account_id, id, 0, 1, 3, '', 1 FROM job"),
    ("0 are listed", "SELECT 1")])
async def test_a_half_built_job_does_not_commit(build: Builder, what: str, statement: str) -> None:
    account_id = await build.account()
    with pytest.raises(psycopg.errors.IntegrityError, match=what):  # noqa: PT012 - it is the commit that fails
        async with build.conn.transaction():
            await build.bare_job(account_id, Status.PENDING_APPROVAL)
            await build.conn.execute(statement)
    assert await build.one("SELECT count(*) FROM job") == 0


async def test_an_address_is_in_a_job_once_unless_its_dedupe_key_tells_it_apart(build: Builder) -> None:
    account_id = await build.account()
    with pytest.raises(psycopg.errors.UniqueViolation, match="one_recipient_per_address_and_job"):  # noqa: PT012 - one transaction
        async with build.conn.transaction():
            job_id = await build.job(account_id)
            await build.conn.execute(
                "INSERT INTO recipient (account_id, job_id, position, row_no, address, address_key, dedupe_key, fields) "
                "VALUES (%s, %s, 4, 5, 'A1', 'a1', '', '{}')", (account_id, job_id))


async def test_a_chunk_has_at_most_1000_recipients(build: Builder) -> None:
    account_id = await build.account()
    with pytest.raises(psycopg.errors.CheckViolation, match="chunk_is_of_1_to_1000"):  # noqa: PT012 - one transaction
        async with build.conn.transaction():
            job_id = await build.bare_job(account_id, Status.PENDING_APPROVAL, 1001)
            await build.conn.execute("INSERT INTO chunk (account_id, job_id, chunk_no, first_position, n, digest, next_position) "
                                     "VALUES (%s, %s, 0, 1, 1001, '', 1)", (account_id, job_id))


# -- the accounting -----------------------------------------------------------------------------------------------------


async def test_the_counts_of_a_chunk_always_add_up(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        await build.job(account_id, Status.SENDING)
    for column in ("sent", "failed", "skipped", "unconfirmed"):
        await build.refused("accounting_identity", f"UPDATE chunk SET {column} = -1")
        await build.refused("accounting_identity", f"UPDATE chunk SET {column} = n + 1")
    await build.refused("accounting_identity", "UPDATE chunk SET sent = 2, failed = 2")
    await build.refused("accounting_identity", "UPDATE chunk SET sent = 1, failed = 1, skipped = 1, unconfirmed = 1")
    with pytest.raises(psycopg.errors.GeneratedAlways):
        await build.conn.execute("UPDATE chunk SET unsent = 0")


async def test_a_job_is_not_completed_while_anything_is_unsent_or_in_hand(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id, Status.SENDING)
    complete = "UPDATE job SET status = 'completed', ended_at = now() WHERE id = %s"
    await build.conn.execute("UPDATE chunk SET sent = n - 1")
    await build.refused("a_completed_job_has_nothing_unsent", complete, job_id)
    await build.conn.execute("UPDATE chunk SET sent = n, window_open = true")
    await build.refused("a_completed_job_has_nothing_unsent", complete, job_id)
    await build.conn.execute("UPDATE chunk SET window_open = false")
    await build.conn.execute(complete, (job_id,))


async def test_nothing_is_unsent_again_in_a_completed_job(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        await build.job(account_id, Status.COMPLETED)
    await build.refused("a_completed_job_has_nothing_unsent", "UPDATE chunk SET sent = sent - 1")
    await build.conn.execute("UPDATE chunk SET sent = sent - 1, unconfirmed = 1")  # evidence may still move it between classes


async def test_sent_is_only_what_the_gateway_accepted_or_a_person_assumes(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        job_id = await build.job(account_id, Status.SENDING)
    insert = ("INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, code) "
              "VALUES (%s, %s, 1, 1, 'sent', %s, %s)")
    for evidence, code in [("reply", None), ("reply", 354), ("reply", 199), ("reply", 300), ("reply", 450), ("reply", 550)] + [
            (other, 250) for other in Evidence if other not in (Evidence.REPLY, Evidence.PERSON)]:
        await build.refused("sent_is_only_what_the_gateway_accepted", insert, account_id, job_id, evidence, code)
    await build.conn.execute(insert, (account_id, job_id, "person", None))  # who settles a doubt may say "assume sent"
    await build.conn.execute(insert, (account_id, job_id, "reply", 250))
    await build.refused("one_outcome_per_attempt_and_evidence", insert, account_id, job_id, "reply", 251)


@pytest.mark.parametrize("column", ["lease_epoch", "next_position", "window_no"])
async def test_epoch_position_and_window_only_move_forward(build: Builder, column: str) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        await build.job(account_id, Status.SENDING)
    await build.conn.execute(f"UPDATE chunk SET {column} = {column} + 2")
    await build.refused("only move forward", f"UPDATE chunk SET {column} = {column} - 1")


async def test_windows_stay_in_their_chunk(build: Builder) -> None:
    account_id = await build.account()
    async with build.conn.transaction():
        await build.job(account_id, Status.SENDING)
    await build.refused("windows_stay_in_the_chunk", "UPDATE chunk SET next_position = first_position + n + 1")


async def test_a_window_number_is_used_once(build: Builder) -> None:
    await fill_every_table(build)
    await build.refused("hand_off_window_pkey", "INSERT INTO hand_off_window SELECT * FROM hand_off_window")
