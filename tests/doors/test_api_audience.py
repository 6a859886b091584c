"""The API: opt-outs, and what can be deleted."""

from __future__ import annotations

from acting import acting
from postroom.flow.account import domains, gateways
from postroom.flow.account.secrets import SecretBox
from postroom.flow.audience.contacts import import_contacts
from postroom.flow.job.finish import cancel
from stage import rows

from .serving import SECRET_KEY, job_of
from .test_api_problems import is_problem


async def test_opt_outs_are_added_paged_looked_up_and_lifted_with_their_trail(site):
    api = await site.api(await site.account("Club"))
    other = await site.api(await site.account("School"))
    added = await api.post("/suppressions", json={
        "addresses": [f"p{n}+x@list.example" for n in (2, 1, 3)], "reason": "By letter."})
    assert added.json() == {"suppressed": 3, "already": 0}
    page = (await api.get("/suppressions", params={"limit": 2})).json()
    assert [one["address"] for one in page["items"]] == ["p1+x@list.example", "p2+x@list.example"]
    answer = await api.get("/suppressions", params={"limit": 2, "cursor": page["next_cursor"]})
    assert [(one["address"], one["by"], one["reason"]) for one in answer.json()["items"]] == [
        ("p3+x@list.example", "key website", "By letter.")]
    assert answer.json()["next_cursor"] is None
    assert len((await api.get("/suppressions?address=P1+x@list.example")).json()["items"]) == 1  # a bare plus is a space in a URL
    assert (await other.get("/suppressions")).json()["items"] == []

    asked = {"address": "p1+x@list.example", "reason": "Signed up again."}
    answer = await api.delete("/suppressions", params=asked)
    assert is_problem(answer, 409)
    assert "mails this person again" in answer.json()["detail"]
    assert is_problem(await api.delete("/suppressions", params={"address": "p1+x@list.example", "confirmed": "true"}), 422)
    assert is_problem(await other.delete("/suppressions", params={**asked, "confirmed": "true"}), 404)
    lifted = await api.delete("/suppressions", params={**asked, "confirmed": "true"})
    assert (lifted.status_code, lifted.json()["reason"]) == (200, "By letter.")
    told = (await api.get("/suppressions/trail", params={"address": "p1+x@list.example"})).json()["items"]
    assert [(one["verb"], one["by"], one["reason"]) for one in told] == [
        ("suppress", "key website", "By letter."), ("lift", "key website", "Signed up again.")]


async def test_opt_outs_that_cannot_be_taken_are_named_and_none_is_added(site):
    api = await site.api(await site.account())
    answer = await api.post("/suppressions", json={"addresses": ["a@x.example", "nobody"]})
    assert is_problem(answer, 422)
    assert answer.json()["errors"][0]["row"] == 2
    assert (await api.get("/suppressions")).json()["items"] == []
    for params in ({"address": "nobody"}, {"address": "\0@x.example"}, {"cursor": "\0"}):
        assert is_problem(await api.get("/suppressions", params=params), 422), params
    assert is_problem(await api.delete("/suppressions", params={
        "address": "a@x.example", "reason": "x" * 1_001, "confirmed": "true"}), 422)


async def test_a_contact_a_domain_and_a_gateway_are_deleted_unless_they_are_needed(site):
    account = await site.account("Club")
    api = await site.api(account)
    await import_contacts(site.pool, acting(account), rows(1))
    await domains.add_domain(site.pool, SecretBox(SECRET_KEY), acting(account), "club.example", ["ed25519"])
    await gateways.create_gateway(site.pool, SecretBox(SECRET_KEY), acting(account), name="a/b +c", host="127.0.0.1",
                                  security="none")
    job = (await api.post("/jobs", json=job_of(100))).json()
    for path, name, needed in (("/domains", "club.example", True), ("/gateways", "main", True), ("/gateways", "a/b +c", False)):
        params = {path[1:-1] if path == "/domains" else "name": name}
        answer = await api.delete(path, params=params)
        assert is_problem(answer, 409) if needed else answer.json() == {"deleted": name}, path
    await cancel(site.pool, acting(account, "boss"), job["id"])
    assert (await api.delete("/domains", params={"domain": "Club.example"})).json() == {"deleted": "club.example"}
    assert (await api.delete("/contacts", params={"address": "person1@list.example"})).status_code == 200
    assert is_problem(await api.delete("/contacts", params={"address": "person1@list.example"}), 404)
    assert is_problem(await api.delete("/gateways", params={"name": "nobody"}), 404)
    assert is_problem(await api.delete("/gateways", params={"name": "\0"}), 422)


async def test_an_account_is_deleted_by_its_own_key_and_its_name_and_the_key_is_nobody_then(site):
    api = await site.api(await site.account("Club"))
    other = await site.api(await site.account("School"))
    assert is_problem(await api.delete("/account"), 422)
    assert is_problem(await api.delete("/account", params={"name": "School"}), 422)
    answer = await api.delete("/account", params={"name": "Club"})
    assert (answer.status_code, answer.json()["gateways"], answer.json()["keys"]) == (200, 1, 1)
    assert is_problem(await api.get("/jobs"), 401)
    assert (await other.get("/jobs")).status_code == 200
