"""Each named query is planned by the real server; the hot ones find their rows by index."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import postroom.ledger
from conftest import on_database
from postroom.ledger.database import db

LEDGER = Path(postroom.ledger.__file__).parent
MODULES = [import_module("postroom.ledger." + ".".join(path.relative_to(LEDGER).with_suffix("").parts))
           for path in sorted(LEDGER.rglob("*.sql")) if path.with_suffix(".py").exists()]
QUERIES = {f"{module.__name__.split('.')[-1]}.{name}": text for module in MODULES for name, text in vars(module.SQL).items()}
TABLES_FIRST = {  # what must stand before a query can be planned
    "intake": ["create_intake"], "finding": ["create_intake", "create_finding"],
    "listing": ["create_intake", "create_finding", "create_listing"],
    "deal": ["create_intake", "create_finding", "create_listing", "create_deal"], "contact_intake": ["create_contact_intake"],
    "continued": ["create_continued"]}
ARGUMENTS = {"account_id": 1, "job_id": 1, "duplicates": "exclude", "unusable_addresses": "exclude", "chunk_size": 1000}


async def plan(conn: db.Connection, text: str) -> str:
    """The generic plan, as a prepared statement gets it: parameters are unknown."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    for number, name in enumerate(names, start=1):
        text = text.replace(f"%({name})s", f"${number}")
    text = re.sub(r"^CREATE TEMPORARY TABLE (\w+) ON COMMIT DROP AS\s", "", text).replace("%%", "%")
    await conn.execute("SET plan_cache_mode = force_generic_plan")
    await conn.execute("DEALLOCATE ALL")
    await conn.execute("PREPARE planned AS " + text, prepare=False)
    nulls = f"({', '.join(['NULL'] * len(names))})" if names else ""
    rows = await (await conn.execute(f"EXPLAIN (COSTS OFF) EXECUTE planned{nulls}", prepare=False)).fetchall()
    return "\n".join(row[0] for row in rows)


async def prepare_tables(conn: db.Connection, text: str) -> None:
    for table, names in TABLES_FIRST.items():
        if re.search(rf"\b(FROM|JOIN|INTO|COPY|ANALYZE|ON) {table}\b", text):
            for name in names:
                if await (await conn.execute("SELECT to_regclass(%s) IS NULL", ("pg_temp." + name[7:],))).fetchone() == (True,):
                    await conn.execute(QUERIES.get(f"recipients.{name}") or QUERIES[f"contacts.{name}"], ARGUMENTS)


@pytest.fixture(scope="module")
async def planner(postgres_url: str, template: str) -> db.Connection:
    """One database for all plans; each is rolled back."""
    name = f"{template}_plans"
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        try:
            async with await psycopg.AsyncConnection.connect(on_database(postgres_url, name), autocommit=True,
                                                            prepare_threshold=None) as conn:
                yield conn
        finally:
            await admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("name", QUERIES)
async def test_the_server_plans(planner: db.Connection, name: str) -> None:
    text = QUERIES[name]
    async with planner.transaction(force_rollback=True):
        await prepare_tables(planner, text)
        if text.startswith("COPY"):
            async with planner.cursor() as cursor, cursor.copy(text) as copy:
                await copy.write(b"2\ta@x.example\ta@x.example\t\\N\t{}\n")
        elif text.startswith(("ANALYZE", "SET ", "CREATE INDEX")) or re.match(r"CREATE TEMPORARY TABLE \w+ \(", text):
            await planner.execute(text)
        else:
            assert await plan(planner, text)


HOT = {
    "audit.recount": ("recipient", "outcome"),
    "windows.turn_window": ("recipient", "outcome", "chunk", "suppression", "hand_off_window", "retry"),
    "windows.claim_chunk": ("chunk",), "windows.settle_window": ("outcome", "chunk"),
    "windows.fence_owner": ("job", "chunk"), "windows.doubtful_windows": ("hand_off_window", "outcome", "chunk"),
    "windows.take_due_retries": ("retry",), "windows.recipients_at": ("recipient",), "windows.renew_leases": ("chunk",),
    "jobs.page_of_jobs": ("job", "chunk", "approval"), "jobs.view_job": ("job", "chunk"),
    "retries.jobs_to_give_up_in": ("job", "retry"), "retries.note_tails": ("job", "chunk", "retry"),
    "retries.give_up": ("chunk", "retry", "outcome"), "pace.slow_down": ("job", "chunk"),
    "settlements.doubts": ("chunk", "outcome", "hand_off_window"),
    "jobs.job_progress": ("job", "chunk"), "jobs.next_in_queue": ("job",), "jobs.has_nothing_left": ("chunk",),
    "recipients.page_of_recipients": ("recipient", "outcome"),
    "recipients.page_of_recipients_at_address": ("recipient", "outcome"),
    "recipients.page_of_recipients_by_outcome": ("recipient", "outcome"),
    "recipients.page_of_sent_recipients": ("recipient", "outcome"),
    "recipients.page_of_unsent_recipients": ("recipient", "outcome", "chunk"),
    "recipients.page_of_exclusions": ("exclusion",), "recipients.outcomes_of_recipient": ("recipient", "outcome"),
}


FILL = """
    INSERT INTO account (name) SELECT 'account ' || n FROM generate_series(1, 20) AS n;
    INSERT INTO gateway (account_id, name, host, port, security) SELECT id, 'g', 'localhost', 25, 'none' FROM account ORDER BY id;
    INSERT INTO job (account_id, gateway_id, status, subject, content, bodies, duplicates, unusable_addresses, recipient_count,
                     lanes, approval_threshold, digest, message_key, queue_no, created_by, moved_by)
        SELECT 1 + n % 20, 1 + n % 20, 'queued', 's', '{}', '{}', 'exclude', 'exclude', 20, 1, 100, sha256('x'), 'k', n,
               'me', 'me'
        FROM generate_series(1, 2000) AS n;
    INSERT INTO chunk (account_id, job_id, chunk_no, first_position, n, digest, next_position)
        SELECT account_id, id, p, p, 1, '', p FROM job, generate_series(1, 20) AS p;
    INSERT INTO recipient
        SELECT account_id, id, p, p + 1, 'a' || p, 'a' || p, '', NULL, '{}' FROM job, generate_series(1, 20) AS p;
    INSERT INTO outcome SELECT account_id, job_id, position, 1, CASE position WHEN 1 THEN 'failed' ELSE 'sent' END::outcome_kind,
        'reply', CASE position WHEN 1 THEN 550 ELSE 250 END FROM recipient;
    INSERT INTO hand_off_window SELECT account_id, job_id, chunk_no, 1, 1, 'w', now(), '{1}', '{1}' FROM chunk;
    INSERT INTO retry SELECT account_id, id, 0, 1, 2, 1, now() FROM job;
    INSERT INTO approval SELECT account_id, id, 'boss', now(), digest FROM job;
    INSERT INTO suppression SELECT account_id, 'b' || id, 'r' FROM job;
    INSERT INTO exclusion SELECT account_id, id, 99, 'duplicate', 'a', 'r' FROM job;
    UPDATE job SET status = 'cancelled', ended_at = now() WHERE id > 40;
"""


@pytest.fixture(scope="module")
async def filled(planner: db.Connection) -> db.Connection:
    """2,000 jobs of 20 accounts, nearly all of them over, with 20 recipients each."""
    async with planner.transaction():
        await planner.execute(FILL, prepare=False)
    await planner.execute("ANALYZE")
    return planner


@pytest.mark.parametrize("name", HOT)
async def test_a_hot_query_reads_by_index(filled: db.Connection, name: str) -> None:
    text = await plan(filled, QUERIES[name])
    for table in HOT[name]:
        assert f"Seq Scan on {table} " not in text + " ", text
    assert "Index" in text


async def test_a_page_of_the_history_walks_its_index_and_stops(filled: db.Connection) -> None:
    text = await plan(filled, QUERIES["jobs.page_of_jobs"])
    once = r"( +InitPlan \d+.*\n +-> +Seq Scan on procrastinate_workers\n +Filter.*\n)?"  # whether a worker runs
    in_order = (rf"Limit\n{once}( +-> +Nested Loop( Left Join)?\n( +Join Filter.*\n)?)+ +-> +"
                r"Index Scan (Backward )?using \w+ on job j")
    assert re.search(in_order, text), text  # newest first without sorting, so it stops after a page
