"""Nobody does what they have not the right to, whichever door they came by: flow asks, and no verb of it forgets to."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from acting import acting
from postroom.domain.access import RIGHTS, Actor, Kind, Right, Role
from postroom.errors import Forbidden
from postroom.flow.account import gateways
from postroom.flow.account.acting import permitted
from postroom.flow.audience import suppressions
from postroom.flow.job import approve, finish, report
from postroom.ledger.job import jobs
from stage import Stage

FLOW = Path(report.__file__).parent.parent
# What workers and the machine itself do, or whoever holds a token of a message: there is nobody whose rights could be asked.
OF_NOBODY = {
    "start_idle_queue", "complete", "fail", "message_of", "outgoing_job", "holder_of", "create_account", "find_account",
    "account_by_id", "all_accounts", "new_link", "sign_in", "is_signed_in", "sign_out", "addressee_of", "unsubscribe",
    "held_jobs", "sweep", "trust", "stand_still", "wait", "audit", "settle_dead_siblings"}
ASKED_BELOW = {"watch": "report"}  # the one asks by calling the other


def of_role(account_id: int, role: Role) -> Actor:
    return Actor(Kind.PERSON, "ann", account_id, RIGHTS[role], person_id=1)


def test_who_has_the_right_is_told_the_account_and_who_has_not_what_is_missing() -> None:
    assert permitted(of_role(7, Role.VIEWER), Right.READ_JOBS) == 7
    with pytest.raises(Forbidden, match=r"^Your role in this account does not let you approve jobs\.$"):
        permitted(of_role(7, Role.SENDER), Right.APPROVE_JOBS)
    with pytest.raises(Forbidden, match=r"^This key may not send, stop or change jobs: it has not the scope jobs:write\.$"):
        permitted(Actor(Kind.KEY, "key x", 7, frozenset({Right.READ_JOBS}), key_id=1), Right.WRITE_JOBS)


def test_every_verb_of_flow_asks_before_it_does_anything() -> None:
    seen, forgot = set[str](), list[str]()
    for path in FLOW.rglob("*.py"):
        for verb in ast.parse(path.read_text()).body:
            if not isinstance(verb, ast.AsyncFunctionDef) or verb.name.startswith("_"):
                continue
            names = [one.arg for one in (*verb.args.args, *verb.args.kwonlyargs)]
            if names[:1] != ["pool"]:
                continue
            seen.add(verb.name)
            calls = {node.func.id for node in ast.walk(verb) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
            if not calls & {"permitted", ASKED_BELOW.get(verb.name)} and verb.name not in OF_NOBODY:
                forgot.append(f"{path.relative_to(FLOW)}: {verb.name}")
    assert forgot == []
    assert seen >= OF_NOBODY, "and nobody is excused who is not there"


async def test_each_role_does_what_it_may_and_nothing_more(stage: Stage) -> None:
    account = await stage.account(threshold=2)
    job = await stage.checked(account, 2)
    await report.report(stage.pool, of_role(account, Role.VIEWER), job.id)
    for role in (Role.VIEWER, Role.SENDER):
        with pytest.raises(Forbidden, match="let you approve jobs"):
            await approve.approve(stage.pool, of_role(account, role), job.id, digest=job.digest)
    with pytest.raises(Forbidden, match="let you send, stop or change jobs"):
        await finish.cancel(stage.pool, of_role(account, Role.VIEWER), job.id)
    with pytest.raises(Forbidden, match="let you change who opted out"):
        await suppressions.suppress(stage.pool, of_role(account, Role.VIEWER), ["ann@x.example"])
    with pytest.raises(Forbidden, match="let you see the settings"):
        await gateways.gateways(stage.pool, of_role(account, Role.VIEWER))
    assert (await report.report(stage.pool, acting(account), job.id)).job.status == job.status
    assert await suppressions.suppressions(stage.pool, acting(account), limit=1) == []
    await approve.approve(stage.pool, of_role(account, Role.APPROVER), job.id, digest=job.digest)


async def test_who_did_it_is_kept_by_number_and_by_the_name_as_it_was(stage: Stage) -> None:
    account = await stage.account(threshold=2)
    job = await stage.checked(account, 2)
    key = Actor(Kind.KEY, "key shop", account, RIGHTS[Role.APPROVER], person_id=3, key_id=5)
    await approve.approve(stage.pool, key, job.id, digest=job.digest)
    async with stage.pool.connection() as conn, conn.transaction():
        await jobs.record_event(conn, account, job.id, "pause", by=of_role(account, Role.SENDER))
    assert await stage.query("SELECT approved_by, by_person, by_key FROM approval") == [("key shop", 3, 5)]
    trail = await stage.query("SELECT verb, by, by_person, by_key FROM job_event ORDER BY id")
    assert trail == [("submit", "tester", None, None), ("approve", "key shop", 3, 5), ("start", "postroom", None, None),
                     ("pause", "ann", 1, None)]
