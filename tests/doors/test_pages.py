"""The pages as HTTP: who gets in, what is refused, what each page says. What moves is in test_pages_live.py."""

from __future__ import annotations

import asyncio
import re
from html import escape, unescape

import pytest

from acting import acting
from postroom.doors.web import pages
from postroom.flow.account.accounts import change_account
from postroom.flow.job.approve import approve
from postroom.flow.job.finish import cancel
from postroom.flow.job.report import content_of, history, report

from .serving import MESSAGE, PNG, csv_of, job_of, served


def token_in(answer) -> str:
    return re.search(r'name="form_token" value="([0-9a-f]+)"', answer.text)[1]


async def test_who_is_not_signed_in_is_told_how(site):
    client = site.client()
    for path in ("/", "/accounts/1/jobs", "/accounts/1/jobs/1", "/accounts/1/send", "/accounts/1/jobs/1/events"):
        answer = await client.get(path)
        assert answer.status_code == 401
        assert "postroom serve" in answer.text
    assert (await client.post("/accounts/1/jobs/1/approval")).status_code == 401


async def test_a_link_lets_in_once_and_the_cookie_cannot_be_guessed(site):
    await site.account()
    client, link = site.client(), await site.link()
    assert (await client.get(link + "x")).status_code == 401
    assert "set-cookie" not in (await client.get("/sign-in")).headers
    answer = await client.get(link)
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert (await client.get(link)).status_code == 303, "whoever is in may load it again"
    await site.stop()
    await site.start()
    again = await site.client().get(link)
    assert (again.status_code, "set-cookie" in again.headers) == (401, False), "nobody else may, not even after a restart"
    name, value = cookie.split(";")[0].split("=", 1)
    for forged in (value[:-1], value + "x", "", "ü"):
        assert (await site.client(headers={"Cookie": f"{name}={forged}".encode("latin-1")}).get("/")).status_code == 401
    assert (await site.client(headers={"Cookie": f"{name}={value}"}).get("/")).status_code == 303


async def test_of_many_that_bring_the_same_link_one_is_let_in(site):
    link = await site.link()
    answers = await asyncio.gather(*(site.client().get(link) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [303] + 7 * [401]


async def test_a_link_and_a_cookie_are_dead_when_their_time_is_over(site):
    operator, link = await site.operator(), await site.link()
    async with site.pool.connection() as conn:
        await conn.execute("UPDATE sign_in_link SET until = clock_timestamp()")
        await conn.execute("UPDATE operator_session SET until = clock_timestamp()")
    assert (await operator.get("/")).status_code == 401
    assert (await site.client().get(link)).status_code == 401


async def test_a_copy_of_the_cookie_is_dead_after_the_sign_out_on_every_process(pool, database, site):
    await site.account()
    operator = await site.operator()
    copies = dict(operator.cookies)
    async with served(pool, database) as other:
        copy = other.client(cookies=copies)
        page = await copy.get("/accounts/1/jobs")
        assert (await operator.post("/sign-out", data={"form_token": token_in(page)})).status_code == 200
        assert (await copy.get("/accounts/1/jobs")).status_code == 401
    await site.stop()
    await site.start()
    assert (await site.client(cookies=copies).get("/accounts/1/jobs")).status_code == 401


async def test_behind_https_the_cookie_goes_nowhere_else(pool, database):
    async with served(pool, database, base_url="https://post.example") as site:
        cookie = (await site.client().get(await site.link())).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "Secure" in cookie


async def test_a_form_that_was_sent_from_elsewhere_does_nothing(site):
    account_id = await site.account()
    job, operator = await site.job(account_id), await site.operator()
    page = await operator.get(f"/accounts/{account_id}/jobs/{job['id']}")
    form = {"form_token": token_in(page), "digest": job["digest"]}
    where = f"/accounts/{account_id}/jobs/{job['id']}/approval"
    for data, headers in (({**form, "form_token": ""}, {}), ({**form, "form_token": "0" * 64}, {}),
                          (form, {"Sec-Fetch-Site": "cross-site"}), (form, {"Origin": "https://evil.example"})):
        assert (await operator.post(where, data=data, headers=headers)).status_code == 403
    assert (await report(site.pool, acting(account_id), job["id"])).job.status == "pending_approval"
    assert (await operator.post(where, data=form, headers={"Sec-Fetch-Site": "same-origin"})).status_code == 303
    assert (await report(site.pool, acting(account_id), job["id"])).job.approved_by == "operator"


async def test_what_was_approved_is_what_the_page_showed(site):
    account_id = await site.account()
    job, operator = await site.job(account_id), await site.operator()
    where = f"/accounts/{account_id}/jobs/{job['id']}"
    token = token_in(await operator.get(where))
    answer = await operator.post(f"{where}/approval", data={"form_token": token, "digest": "00" * 32})
    assert answer.status_code == 409
    assert f'href="{where}"' in answer.text
    assert (await report(site.pool, acting(account_id), job["id"])).job.status == "pending_approval"


async def test_the_gate_shows_the_exact_count_what_was_left_out_and_the_content(site):
    account_id = await site.account()
    rows = [*job_of(1234)["recipients"], {"email": "person1@list.example"}, {"email": "nobody"}]
    job = await site.job(account_id, 0, recipients=rows)
    text = (await (await site.operator()).get(f"/accounts/{account_id}/jobs/{job['id']}")).text
    assert "<strong>1,234</strong> recipients" in text
    assert "locked at job creation" in text
    assert "Duplicate" in text
    assert "Unusable" in text
    assert "Suppressed" not in text
    assert "news@club.example" in text
    assert job["digest"] in text
    assert all(f">{label}</button>" in text for label in ("Approve and send to 1,234 recipients", "Change it", "Cancel"))


async def test_every_answer_is_kept_to_itself(site):
    await site.account()
    operator = await site.operator()
    for path in ("/accounts/1/jobs", "/nothing", "/static/live.js", "/accounts/1/send"):
        headers = (await operator.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert (await operator.get("/accounts/1/jobs")).headers["cache-control"] == "no-store"


async def test_no_text_from_outside_becomes_markup(site):
    account_id = await site.account("<b>Club</b>")
    evil = "<script>alert(1)</script>"
    message = {**MESSAGE, "subject": evil, "text": evil, "html": evil, "from": {"address": "a@b.example", "name": evil}}
    job = await site.job(account_id, 3, message=message,
                     recipients=[{"email": evil}, *job_of(2)["recipients"]], unusable_addresses="fail")
    await cancel(site.pool, acting(account_id, evil), job["id"], note=evil)
    operator = await site.operator()
    base = f"/accounts/{account_id}/jobs"
    for path in (base, f"{base}/{job['id']}", f"{base}/{job['id']}/recipients", f"{base}/{job['id']}/exclusions",
                 f"/accounts/{account_id}/send"):
        answer = await operator.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text
        assert "<b>Club" not in answer.text
    preview = await operator.get(f"{base}/{job['id']}/message")
    assert preview.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


async def test_the_history_is_filtered_and_paged(site, monkeypatch):
    monkeypatch.setattr(pages, "JOBS_PER_PAGE", 2)
    account_id = await site.account()
    api = await site.api(account_id)
    ids = [(await api.post("/jobs", json=job_of(count))).json()["id"] for count in (100, 1, 1, 1)]
    operator, base = await site.operator(), f"/accounts/{account_id}/jobs"

    async def shown(query: str) -> list[int]:
        text = (await operator.get(base + query)).text
        return [int(one) for one in re.findall(rf'<th scope="row"><a href="{base}/(\d+)"', text)]

    assert await shown("") == [ids[3], ids[2]]
    older = re.search(r'rel="next" href="([^"]+)"', (await operator.get(base)).text)[1]
    assert await shown(older) == [ids[1], ids[0]]
    assert await shown("?status=pending_approval&since=&until=") == [ids[0]]
    assert await shown("?until=2020-01-01") == []
    assert (await operator.get(base + "?since=soon")).status_code == 422
    assert (await operator.get(base + "?status=paused")).status_code == 422


async def test_the_ledger_is_shown_by_state_with_its_reasons(site, monkeypatch):
    monkeypatch.setattr(pages, "ROWS_PER_PAGE", 2)
    account_id = await site.account()
    job = await site.job(account_id, 0, recipients=[*job_of(3)["recipients"], {"email": "nobody"}], unusable_addresses="fail")
    operator, where = await site.operator(), f"/accounts/{account_id}/jobs/{job['id']}/recipients"
    first = await operator.get(where)
    assert "person2@list.example" in first.text
    assert "person3@list.example" not in first.text
    second = await operator.get(where + re.search(r'rel="next" href="([^"]+)"', first.text)[1].replace("&amp;", "&"))
    assert "person3@list.example" in second.text
    failed = await operator.get(where + "?state=failed")
    assert "There is no @ in the address." in failed.text
    assert "person1@list.example" not in failed.text
    assert (await operator.get(where + "?state=lost")).status_code == 422


async def test_a_recipient_is_found_by_its_address_and_leads_to_what_became_of_it(site):
    account_id = await site.account()
    rows = [*job_of(3)["recipients"], *({"email": one} for one in ("no<b>body", "person1@list.example", "Person2@List.example"))]
    job = await site.job(account_id, 0, recipients=rows, unusable_addresses="fail", duplicates="skip")
    operator, where = await site.operator(), f"/accounts/{account_id}/jobs/{job['id']}/recipients"

    async def found(**query: str) -> list[str]:
        text = (await operator.get(where, params=query)).text
        assert f'name="address" value="{escape(query.get("address", ""))}"' in text
        return re.findall(r'<th scope="row" class="who"><bdi class="address">(.*?)</bdi>', text)

    assert await found(address=" PERSON3@list.example ") == ["person3@list.example"]
    assert await found(address="person2@list.example") == ["person2@list.example", "Person2@list.example"]
    assert await found(address="person2@list.example", state="skipped") == ["Person2@list.example"]
    assert await found(address="no<b>body") == ["no&lt;b&gt;body"]
    assert len(await found(address="")) == 6
    page = await operator.get(where, params={"address": "person9@list.example", "state": "sent"})
    assert 'Nobody here is at <bdi class="address">person9@list.example</bdi>.' in page.text
    assert 'href="?state=failed&amp;address=person9%40list.example"' in page.text
    assert '<input type="hidden" name="state" value="sent">' in page.text
    [leads_to] = re.findall(r'href="([^"]+/attempts)"', (await operator.get(where, params={"address": "no<b>body"})).text)
    attempts = await operator.get(leads_to)
    for words in ("no&lt;b&gt;body", "decided when the list was frozen", "Failed"):
        assert words in attempts.text
    assert "Nothing has happened to it yet." in (await operator.get(f"{where}/1/attempts")).text
    assert (await operator.get(f"{where}/7/attempts")).status_code == 404


async def test_the_numbers_of_each_row_of_the_history_add_up(site):
    account_id = await site.account()
    await site.job(account_id, 0, recipients=[*job_of(99)["recipients"], {"email": "nobody"}], unusable_addresses="fail")
    text = (await (await site.operator()).get(f"/accounts/{account_id}/jobs")).text
    assert re.findall(r'<th scope="col" class="num">(\w+)</th>', text) == [
        "Recipients", "Sent", "Failed", "Skipped", "Unconfirmed", "Unsent"]
    assert re.findall(r'<td class="num[^"]*" data-label="\w+">(\d+)</td>', text) == ["100", "0", "1", "0", "0", "99"]


async def test_what_is_not_there_and_what_is_not_possible_have_friendly_pages(site):
    account_id = await site.account()
    other_id = await site.account("Other")
    job, operator = await site.job(account_id), await site.operator()
    for path in ("/nothing", "/accounts/999/jobs", f"/accounts/{account_id}/jobs/999", "/accounts/x/jobs",
                 f"/accounts/{other_id}/jobs/{job['id']}", f"/accounts/{other_id}/jobs/{job['id']}/message"):
        answer = await operator.get(path)
        assert (answer.status_code, "There is nothing here" in answer.text) == (404, True), path
    await cancel(site.pool, acting(account_id, "somebody"), job["id"])
    where = f"/accounts/{account_id}/jobs/{job['id']}"
    form = {"form_token": token_in(await operator.get(where)), "digest": job["digest"]}
    answer = await operator.post(f"{where}/approval", data=form)
    assert (answer.status_code, "not possible now" in answer.text) == (409, True)
    assert (await operator.post(f"{where}/cancellation", data=form)).status_code == 303


async def test_a_bug_is_a_page_that_tells_nothing(site, monkeypatch):
    async def broken(*_args, **_more):
        raise RuntimeError("secret detail")

    account_id = await site.account()
    monkeypatch.setattr(pages, "reports", broken)
    answer = await (await site.operator()).get(f"/accounts/{account_id}/jobs")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "secret" not in answer.text


async def test_without_an_account_the_first_page_says_how_to_make_one(site):
    answer = await (await site.operator()).get("/")
    assert "postroom account create" in answer.text


async def test_a_form_that_comes_after_the_session_is_told_that_nothing_was_done_and_what_was_written_is_kept(site):
    account_id, client = await site.account(), site.client()
    for path in (f"/accounts/{account_id}/send", f"/accounts/{account_id}/opt-outs"):
        answer = await client.post(path, data={"subject": "Spring"})
        assert (answer.status_code, "nothing was done" in answer.text, "what you wrote is still there" in answer.text) == (
            401, True, True)
    assert "what you wrote" not in (await client.get(f"/accounts/{account_id}/send")).text
    assert "what you wrote" not in (await client.post("/sign-out")).text


async def test_signing_out_ends_the_session_in_this_browser(site):
    await site.account()
    operator = await site.operator()
    token = token_in(await operator.get("/accounts/1/jobs"))
    assert (await operator.post("/sign-out", data={"form_token": token})).status_code == 200
    assert (await operator.get("/accounts/1/jobs")).status_code == 401


FORM = {"subject": "News", "from_address": "news@club.example", "text": "Hello", "source": "file"}


async def send(operator, account_id: int, recipients: bytes | None = None, page=None, files=(("", b""),), to: str = "send",
               request_headers=None, **fields: str):
    """As a browser sends it: also where no file was chosen there is a part for it."""
    page = page or await operator.get(f"/accounts/{account_id}/send")
    hidden = dict(re.findall(r'name="(form_\w+)" value="([^"]+)"', page.text))
    parts = [(name, (None, value)) for name, value in {**FORM, **hidden, **fields}.items()]
    return await operator.post(f"/accounts/{account_id}/{to}", headers=request_headers, files=[
        *parts, *(("attachment", file) for file in files), ("recipients", ("list.csv", recipients or b"", "text/csv"))])


async def test_the_form_leads_to_the_gate(site):
    account_id = await site.account()
    operator = await site.operator()
    answer = await send(operator, account_id, csv_of(100))
    job = (await history(site.pool, acting(account_id)))[0]
    assert (answer.status_code, answer.headers["location"]) == (303, f"/accounts/{account_id}/jobs/{job.id}")
    assert (job.status, job.recipient_count, job.created_by) == ("pending_approval", 100, "operator")
    await site.check(account_id, job.id)
    assert (await approve(site.pool, acting(account_id, "x"), job.id)).status == "sending"


async def test_the_form_takes_all_that_a_message_can_be(site):
    account_id = await site.account()
    operator = await site.operator()
    await send(operator, account_id, csv_of(3), body_format="markdown", body="# Hello {{ name }}\n\n![Logo](cid:logo.png)",
               preheader="For {{ name }}", text="", field_policy="blank", inline_css="no",
               headers="X-Campaign: <b>spring\r\n\r\nX-PM-Tag:news\r\n",
               files=[("logo.png", PNG), ("the rules.txt", b"Be kind.")])
    job = (await history(site.pool, acting(account_id)))[0]
    content = await content_of(site.pool, acting(account_id), job.id)
    assert (content.markdown, content.html, content.text) == ("# Hello {{ name }}\n\n![Logo](cid:logo.png)", None, None)
    assert (content.preheader, content.inline_css, job.field_policy) == ("For {{ name }}", False, "blank")
    assert [(one.name, one.content_type, bool(one.content_id)) for one in content.attachments] == [
        ("logo.png", "image/png", True), ("the rules.txt", "text/plain", False)]
    assert content.headers == (("X-Campaign", "<b>spring"), ("X-PM-Tag", "news"))
    for place in ("", "/preview?position=1"):
        page = (await operator.get(f"/accounts/{account_id}/jobs/{job.id}{place}")).text
        assert "<dt>X-Campaign</dt><dd><bdi>&lt;b&gt;spring</bdi></dd>" in page


async def test_what_is_wrong_is_said_at_its_field_and_what_was_written_stays(site):
    account_id = await site.account()
    operator = await site.operator()

    async def complaint(field: str, recipients: bytes = csv_of(3), files=(), **fields: str) -> str:
        answer = await send(operator, account_id, recipients, files=files, **fields)
        assert answer.status_code == 422
        assert "Nothing was created" in answer.text
        assert ">Hello</textarea>" in answer.text.replace("\n", "") or "text" in fields
        for name, value in fields.items():
            if name in ("body", "preheader"):
                assert value in unescape(answer.text)
            if name == "body_format" and field == "body":
                assert f'<option value="{value}" selected>' in answer.text
        return re.search(rf'id="{field}-complaints">(.*?)</ul>', answer.text, re.DOTALL)[1]

    assert "Choose a file with the recipients" in await complaint("recipients", b"")
    assert "Row 3" in await complaint("recipients", b"email,name\na@list.example,b\nc@list.example,d,e\n")
    two = b"mother,father\na@list.example,b@list.example\n"
    assert "column “<bdi>mother</bdi>”" in await complaint("recipients", two)
    assert "no @" in await complaint("from_address", from_address="nobody")
    assert "empty" in await complaint("subject", subject="")
    assert "no gateway" in await complaint("gateway", gateway="other")
    assert "no time" in await complaint("not_before", not_before="soon")
    assert "NUL" in await complaint("text", text="a\0b")
    assert "line 2" in await complaint("body", body="Hello\n{% if %}", body_format="markdown")
    assert "mjml" in await complaint("body", body="<mjml><nothing>", body_format="mjml")
    assert "one of HTML" in await complaint("body_format", body="Hello", body_format="docx")
    assert "preheader" in await complaint("preheader", preheader="{{ name", body="<p>Hello</p>")
    assert "needs an HTML part" in await complaint("preheader", preheader="Without a body")
    assert "no file has that name" in await complaint("attachments", body='<img src="cid:b.png">', files=[("a.png", PNG)])
    assert "21 files" in await complaint("attachments", files=[(f"{n}.txt", b"x") for n in range(21)])
    assert "Bcc" in await complaint("headers", headers="X-A: b\nBcc: eve@list.example")
    assert "field_policy" in await complaint("field_policy", field_policy="guess")
    assert "opted_out_rows" in await complaint("opted_out_rows", opted_out_rows="guess")
    assert await history(site.pool, acting(account_id)) == []


async def test_a_small_send_that_its_check_refuses_says_what_was_found_at_the_recipients(site):
    account_id = await site.account()
    operator = await site.operator()
    rows = b"email,name\na@list.example,A\nb@list.example,\n"
    answer = await send(operator, account_id, rows, text="Hello {{ name }}", field_policy="refuse")
    found = re.search(r'id="recipients-complaints">(.*?)</ul>', answer.text, re.DOTALL)[1]
    assert answer.status_code == 422
    assert "The field “name” is blank. 1 recipient, such as b@list.example (no. 2)." in found
    assert '<option value="refuse" selected>' in answer.text
    assert await history(site.pool, acting(account_id)) == []
    await change_account(site.pool, acting(account_id), requires_unsubscribe=True)
    answer = await send(operator, account_id, rows, field_policy="blank")
    assert "no address to unsubscribe at" in re.search(r'id="message-complaints">(.*?)</ul>', answer.text, re.DOTALL)[1]


async def test_a_look_ahead_takes_lists_as_large_as_a_send_does(site):
    account_id = await site.account()
    answer = await send(await site.operator(), account_id, csv_of(5_000), to="send/preview")
    assert (answer.status_code, "Preview" in answer.text) == (200, True)


async def test_files_that_are_too_large_together_are_refused_while_they_come_in(site):
    account_id = await site.account()
    answer = await send(await site.operator(), account_id, csv_of(3), files=[(f"{n}.bin", b"x" * 4_000_000) for n in range(5)])
    assert (answer.status_code, "larger than 10 MiB together" in answer.text) == (413, True)


async def test_a_form_that_is_sent_twice_makes_one_job_and_after_an_edit_another(site):
    account_id = await site.account()
    operator = await site.operator()
    page = await operator.get(f"/accounts/{account_id}/send")
    first = await send(operator, account_id, csv_of(100), page)
    again = await send(operator, account_id, csv_of(100), page)
    edited = await send(operator, account_id, csv_of(100), page, subject="Other news")
    other_file = await send(operator, account_id, csv_of(100), page, files=[("rules.txt", b"Be kind.")])
    assert first.headers["location"] == again.headers["location"] != edited.headers["location"]
    assert other_file.headers["location"] not in (first.headers["location"], edited.headers["location"])
    assert len(await history(site.pool, acting(account_id))) == 3


async def test_the_form_too_is_refused_from_elsewhere(site):
    account_id = await site.account()
    operator = await site.operator()
    answer = await send(operator, account_id, csv_of(100), form_token="0" * 64, text="A long letter")
    assert (answer.status_code, "You signed in again since" in answer.text, "A long letter" in answer.text) == (409, True, True)
    assert (await send(operator, account_id, csv_of(100), request_headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    assert await history(site.pool, acting(account_id)) == []


@pytest.mark.parametrize(("place", "back"), [
    ("jobs?status=soon", "/accounts/1/jobs"), ("jobs?before=x", "/accounts/1/jobs"),
    ("jobs/1/recipients?state=x", "/accounts/1/jobs/1"), ("jobs/1/exclusions?after=-1", "/accounts/1/jobs/1"),
    ("jobs/7", "/"), ("jobs/x", "/")])
async def test_a_page_of_trouble_leads_back_to_what_is_near(site, place, back):
    await site.job(await site.account(), 3)
    answer = await (await site.operator()).get(f"/accounts/1/{place}")
    assert answer.status_code in (404, 422)
    assert f'<a class="button" href="{back}">' in answer.text
    assert "Nothing was changed" not in answer.text, "nobody wrote anything"


async def test_a_form_that_was_refused_says_that_nothing_was_changed_and_where_to_find_what_was_written(site):
    account_id = await site.account(threshold=3)
    where = f"/accounts/{account_id}/jobs/{(await site.job(account_id, 3))['id']}"
    operator = await site.operator()
    form = {"form_token": token_in(await operator.get(where))}
    for noun, fields, status in (("approval", {"digest": "x"}, 422), ("pause", {"reason": "x" * 20_000}, 413)):
        answer = await operator.post(f"{where}/{noun}", data={**form, **fields})
        assert answer.status_code == status
        assert "Nothing was changed. What you wrote may still be there when you go back" in answer.text
        assert f'href="{where}">To the job' in answer.text
