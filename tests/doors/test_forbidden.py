"""What an actor has not the right to is a 403 at every door, with a sentence, and nothing is done."""

from __future__ import annotations

from dataclasses import replace

from postroom.domain.access import RIGHTS, Right, Role, machine
from postroom.doors.web import session
from postroom.flow.account import keys

from .test_pages import token_in


async def test_a_key_without_the_scope_is_answered_with_a_problem(site, monkeypatch) -> None:
    account = await site.account()
    job = await site.job(account)
    api = await site.api(account)
    monkeypatch.setattr(keys, "KEY_RIGHTS", frozenset({Right.READ_JOBS}))
    answer = await api.put(f"/jobs/{job['id']}/cancellation")
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert answer.json()["detail"] == "This key may not send, stop or change jobs: it has not the scope jobs:write."
    assert (await api.get(f"/jobs/{job['id']}")).json()["status"] == "pending_approval"


async def test_a_person_without_the_right_is_told_on_a_page(site, monkeypatch) -> None:
    account = await site.account()
    job = await site.job(account)
    operator = await site.operator()
    token = token_in(await operator.get(f"/accounts/{account}/jobs/{job['id']}"))
    monkeypatch.setattr(session, "machine", lambda account_id, name: replace(
        machine(account_id, name), rights=RIGHTS[Role.SENDER]))
    answer = await operator.post(f"/accounts/{account}/jobs/{job['id']}/approval",
                                 data={"form_token": token, "digest": job["digest"]})
    assert answer.status_code == 403
    assert "You may not do that here" in answer.text
    assert "Your role in this account does not let you approve jobs." in answer.text
    assert "Pending approval" in (await operator.get(f"/accounts/{account}/jobs")).text
