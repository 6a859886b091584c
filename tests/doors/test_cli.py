"""The command line, told what is right and what is wrong: one sentence for each error, data alone on standard output."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from acting import acting
from flow.audience.workbooks import xlsx
from loopback import local_endpoint
from postroom.config import as_markdown
from postroom.domain.access import postroom_itself
from postroom.domain.job import Status
from postroom.doors.check import check_all
from postroom.doors.cli.listing import opened_list
from postroom.doors.cli.main import app
from postroom.doors.logs import masked
from postroom.flow.delivery.guard import UNKNOWN
from postroom.flow.job import report
from postroom.flow.job.pause import pause
from postroom.gateway.sandbox.script import Refusal, Script
from postroom.gateway.sandbox.server import Sandbox
from postroom.gateway.session import GatewayRefused, open_session
from stage import Stage

from .command import Ended, environment, free_port, here, in_terminal, is_alive, postroom
from .serving import PNG

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["demo", "serve", "sign-in", "worker", "send", "jobs", "jobs list", "jobs show", "jobs recipients", "jobs approve",
            "jobs cancel", "jobs pause", "jobs resume", "jobs continue", "jobs settle", "account create", "account list",
            "account set", "account show", "gateway create", "gateway list", "key create", "key list", "key revoke",
            "account delete", "gateway delete", "domain delete", "contacts import", "contacts delete", "suppress",
            "suppressions list", "suppressions show", "suppressions add", "suppressions remove",
            "sandbox", "check", "settings", "migrate", "trust-database", "version"]
MESSAGE = ("--subject", "News for {{ name }}", "--from", "The Club <news@club.example>")


def one_sentence(ended: Ended, *words: str) -> None:
    assert ended.err.startswith("postroom: ")
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_documented_settings_are_the_settings() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    documented = text.split("<!-- settings -->")[1].split("<!-- /settings -->")[0].strip()
    assert documented == as_markdown(), "write it again with: postroom settings --markdown"


@pytest.mark.parametrize(("given", "shown"), [
    ("postgresql://me:s3cret@db/postroom refused", "postgresql://me:********@db/postroom refused"),
    ("host=db password=s3cret user=me", "host=db password=******** user=me"),
    ("https://post.example/u/AAAAAAcAACo-_x and on", "https://post.example/u/******** and on"),
    ("http://127.0.0.1:8025/sign-in?token=Ab-_c&next=/", "http://127.0.0.1:8025/sign-in?token=********&next=/"),
    ("GET '/u/AAAAAAcAACo%20x?a=b'", "GET '/u/********?a=b'"),
])
def test_the_log_holds_no_password_and_no_token(given: str, shown: str) -> None:
    assert masked(given) == shown


# -- errors ------------------------------------------------------------------------------------------------------------


async def test_a_wrong_database_url_is_one_sentence_without_its_password(home: Path) -> None:
    url = f"postgresql://me:s3cret@127.0.0.1:{free_port()}/nowhere"
    ended = await postroom(home, "jobs", "list", POSTROOM_DATABASE_URL=url)
    assert ended.status == 1
    one_sentence(ended, "127.0.0.1", "POSTROOM_DATABASE_URL")
    assert "s3cret" not in ended.err


async def test_a_setting_that_is_none_is_named(home: Path) -> None:
    ended = await here(home, "jobs", "list", POSTROOM_PORT="many")
    assert ended.status == 2
    one_sentence(ended, "POSTROOM_PORT")


async def test_a_list_that_cannot_be_read_names_its_row_and_leaves_no_job(stage: Stage, cli, files) -> None:
    await stage.account()
    text = files("text.txt", "Hello")
    for name, content, words in (
        ("more.csv", "email,name\na@b.example,A\nb@c.example,B,C\n", ["Row 3"]),
        ("latin.csv", "email,name\nz@b.example,Zoë\n".encode("latin-1"), ["Line 2", "cp1252"]),
        ("two.csv", "mother,father\na@b.example,b@b.example\n", ["mother", "father", "--email-column"]),
        ("nobody.csv", "name\nA\n", ["No column holds the addresses"]),
        ("empty.csv", "", ["empty"]),
        ("nul.csv", b"email\na@b.example\0\n", ["NUL"]),
        ("long.csv", "email,name\na@b.example," + "x" * 10_000_000 + "\n", ["64 KiB"]),
    ):
        ended = await cli("send", files(name, content), *MESSAGE, "--text", text)
        assert ended.status == 2, name
        one_sentence(ended, *words)
    one_sentence(await cli("send", "/nowhere.csv", *MESSAGE, "--text", text), "/nowhere.csv")
    assert json.loads((await cli("jobs", "list", "--json")).out) == []


async def test_a_message_that_is_wrong_is_told_with_all_its_faults(stage: Stage, cli, files) -> None:
    await stage.account()
    ended = await cli("send", files("list.csv", "email\na@b.example\n"), "--subject", "{{ name", "--from", "nobody",
                      "--text", files("text.txt", "{% if %}"))
    assert ended.status == 2
    one_sentence(ended, "From", "subject", "text")


async def test_unknown_things_and_things_that_are_over_are_refused_in_a_sentence(stage: Stage, cli) -> None:
    account = await stage.account()
    job = await stage.submit(account, 100)
    one_sentence(await cli("jobs", "show", "999"), "There is no job 999")
    one_sentence(await cli("jobs", "list", "--account", "Nobody"), "Nobody")
    ended = await cli("jobs", "approve", str(job.id))
    assert ended.status == 1
    one_sentence(ended, "0 of 100 recipients were checked so far")
    await stage.check(job)
    assert (await cli("jobs", "approve", str(job.id))).status == 0
    assert (await cli("jobs", "approve", str(job.id))).status == 0, "approving again changes nothing"
    assert (await cli("jobs", "cancel", str(job.id), "--note", "Wrong list.")).status == 0
    assert (await cli("jobs", "cancel", str(job.id))).status == 0, "cancelling again changes nothing"
    below = await stage.submit(account, 3)
    async with stage.worker():
        await stage.over(account, below.id)
    ended = await cli("jobs", "cancel", str(below.id))
    assert ended.status == 1
    one_sentence(ended, "already Completed", "3 sent")


async def test_several_accounts_have_to_be_told_apart_where_it_matters(stage: Stage, cli, files) -> None:
    await stage.account("Club")
    await stage.account("School")
    ended = await cli("send", files("list.csv", "email\na@b.example\n"), *MESSAGE, "--text", files("t.txt", "x"))
    assert ended.status == 2
    one_sentence(ended, "Club", "School")


@pytest.mark.parametrize("networks", ["all", "127.0.0.1/8", "10.0.0.0/8;127.0.0.0/8", "10.0.0.0/33", "localhost"])
async def test_allowed_networks_that_cannot_be_read_are_a_sentence(home: Path, networks: str) -> None:
    ended = await here(home, "account", "list", POSTROOM_ALLOWED_NETWORKS=networks)
    assert ended.status == 2
    one_sentence(ended, "POSTROOM_ALLOWED_NETWORKS is not valid", "127.0.0.0/8")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "169.254.169.254"])
async def test_a_gateway_that_may_not_be_used_is_refused_when_it_is_made(cli, host: str) -> None:
    assert (await cli("account", "create", "Club")).status == 0
    ended = await cli("gateway", "create", "--host", host, "--security", "none", POSTROOM_ALLOWED_NETWORKS="10.0.0.0/8")
    assert ended.status == 2
    one_sentence(ended, f"The gateway {host}:25 cannot be used", "POSTROOM_ALLOWED_NETWORKS")
    assert (await cli("gateway", "list", "--json")).out.strip() == "[]"


# -- what it does ------------------------------------------------------------------------------------------------------


async def test_an_import_says_how_many_contacts_there_are_and_whom_it_takes_off(stage: Stage, cli, files) -> None:
    assert (await cli("account", "create", "Club")).status == 0
    ended = await cli("contacts", "import", files("c1.csv", "email,Status\ngone@b.example,Subscribed\n"))
    assert "The account has 1 contact now." in ended.out
    told = await cli("contacts", "import", files("c2.csv", "email,Status\ngone@b.example,Unsubscribed\n"), "--json")
    assert "1 address is suppressed by this import" in json.loads(told.out)["remarks"][-1]
    ended = await cli("suppressions", "list")
    assert "Import of contacts from c2.csv" in " ".join(ended.out.split())


async def test_from_nothing_to_a_finished_send_by_commands_alone(stage: Stage, cli, files) -> None:
    assert (await cli("account", "create", "Club", "--threshold", "3")).status == 0
    port = str(stage.sandbox.port)
    ended = await cli("gateway", "create", "--host", "127.0.0.1", "--port", port, "--security", "none", "--json")
    assert json.loads(ended.out)["port"] == stage.sandbox.port
    listed = files("list.csv", "email,name\na@b.example,A\nb@b.example,B\nA@b.example,A again\nnone,C\nc@b.example,C\n")
    body = files("text.txt", "Hello {{ name }}\n")
    async with stage.worker():
        ended = await cli("send", listed, *MESSAGE, "--text", body, "--approve", "--json")
    assert ended.status == 0
    job = json.loads(ended.out)
    assert (job["status"], job["recipient_count"], job["sent"]) == ("completed", 3, 3)
    assert "1 duplicate, 1 unusable address, " in ended.err
    assert stage.sandbox.accepted == 3
    shown = json.loads((await cli("jobs", "show", str(job["id"]), "--json")).out)
    assert [event["verb"] for event in shown["trail"]] == ["submit", "approve", "start", "complete"]
    assert shown["created_by"].startswith("cli")
    assert "Completed" in (await cli("jobs", "list")).out
    assert json.loads((await cli("jobs", "list", "--status", "failed", "--json")).out) == []


async def test_a_message_has_a_preheader_a_body_in_markdown_and_files(stage: Stage, cli, files) -> None:
    account = await stage.account()
    markdown = "# Hello {{ name }}\n\n![Logo](cid:logo.png)\n"
    async with stage.worker():
        ended = await cli("send", files("list.csv", "email,name\na@b.example,A\n"), *MESSAGE,
                          "--markdown", files("a.md", markdown), "--preheader", "For {{ name }}", "--field-policy", "blank",
                          "--no-inline-css", "--header", "X-Campaign: spring", "--header", "X-PM-Tag: a: b",
                          "--attach", files("logo.png", PNG), "--attach", files("rules.txt", "Be kind."),
                          "--json")
    assert ended.status == 0, ended.err
    job = json.loads(ended.out)
    content = await report.content_of(stage.pool, acting(account), job["id"])
    assert (content.markdown, content.preheader, job["field_policy"]) == (markdown, "For {{ name }}", "blank")
    assert not content.inline_css
    assert content.headers == (("X-Campaign", "spring"), ("X-PM-Tag", "a: b"))
    assert [(one.name, one.content_type, bool(one.content_id)) for one in content.attachments] == [
        ("logo.png", "image/png", True), ("rules.txt", "text/plain", False)]


async def test_a_file_that_cannot_go_with_a_message_is_refused_by_its_name_or_size(stage: Stage, cli, files) -> None:
    await stage.account()
    arguments = ("send", files("list.csv", "email\na@b.example\n"), *MESSAGE, "--text", files("text.txt", "Hello"))
    one_sentence(await cli(*arguments, "--attach", "/nowhere.png"), "/nowhere.png")
    one_sentence(await cli(*arguments, "--attach", files("large.bin", bytes(10 * 2**20 + 1))), "10 MiB")
    one_sentence(await cli(*arguments, "--attach", files("a.txt", "A"), "--attach", files("a.txt", "A")), "a.txt")
    ended = await cli("send", *arguments[1:6], "--markdown", files("bad.md", b"\xff"))
    one_sentence(ended, "bad.md", "UTF-8")


async def test_what_the_check_found_is_printed_and_where_it_refuses_the_job_stays_at_its_gate(stage: Stage, cli, files) -> None:
    account = await stage.account(threshold=2)
    listed = files("list.csv", "email,name\na@b.example,A\nblank@b.example,\n")
    body = files("text.txt", "Hello {{ name }}\n")
    async with stage.worker():
        ended = await cli("send", listed, *MESSAGE, "--text", body, "--approve", "--field-policy", "refuse")
        assert ended.status == 1
        [job] = await report.history(stage.pool, acting(account))
        assert job.status is Status.PENDING_APPROVAL
        shown = await cli("jobs", "show", str(job.id))
        for told in (ended.err, shown.out):
            assert "The field “name” is blank. Such as blank@b.example (no. 2)." in told
            assert "The job cannot be approved." in told
        assert f"postroom jobs cancel {job.id}" in ended.err
        one_sentence(await cli("jobs", "approve", str(job.id)), "cannot be approved", "The field “name” is blank.")
        ended = await cli("send", listed, *MESSAGE, "--text", body, "--approve", "--json")
    assert ended.status == 0
    assert "Failed, without a message" in ended.err
    job = json.loads(ended.out)
    assert (job["sent"], job["failed"], stage.sandbox.accepted) == (1, 1, 1)
    shown = json.loads((await cli("jobs", "show", str(job["id"]), "--json")).out)
    assert [(one["kind"], one["effect"]) for one in shown["preflight"]["findings"] if one["kind"] != "list_remark"] == [
        ("blank_field", "fail")]


async def test_a_small_send_that_its_check_refuses_is_not_made_and_says_what_was_found(stage: Stage, cli, files) -> None:
    await stage.account()
    ended = await cli("send", files("list.csv", "email,name\na@b.example,A\nblank@b.example,\n"), *MESSAGE, "--text",
                      files("text.txt", "Hello {{ name }}\n"), "--field-policy", "refuse")
    assert ended.status == 2
    one_sentence(ended, "not created", "The field “name” is blank. 1 recipient, such as blank@b.example (no. 2).")
    assert json.loads((await cli("jobs", "list", "--json")).out) == []


async def test_a_small_send_says_at_once_what_looks_wrong_in_its_message(stage: Stage, cli, files) -> None:
    await stage.account()
    async with stage.worker():
        ended = await cli("send", files("list.csv", "email,name\na@list.example,A\n"), *MESSAGE, "--text",
                          files("text.txt", "Dear *|FNAME|*\n"))
    assert ended.status == 0
    assert "write {{ FNAME }}" in ended.err.partition("Completed")[0]


async def test_outside_of_a_terminal_nobody_is_asked_and_the_job_waits(stage: Stage, cli) -> None:
    account = await stage.account(threshold=2)
    ended = await cli("send", "-", *MESSAGE, "--text", __file__.replace("test_cli.py", "__missing__"), stdin="email\n")
    one_sentence(ended, "cannot be read")
    ended = await cli("send", "-", *MESSAGE, "--text", str(ROOT / "LICENSE"), stdin="email\na@b.example\nb@b.example\n")
    assert ended.status == 1
    [job] = await report.history(stage.pool, acting(account))
    assert job.status is Status.PENDING_APPROVAL
    assert f"postroom jobs approve {job.id}" in ended.err


@pytest.mark.parametrize(("name", "words"), [("", "is empty"), ("  ", "is empty"), ("x" * 201, "at most 200 characters")])
async def test_an_account_without_a_name_or_with_an_endless_one_is_refused_in_plain_words(cli, name: str, words: str) -> None:
    ended = await cli("account", "create", name)
    assert ended.status == 2
    one_sentence(ended, words)


@pytest.mark.parametrize(("arguments", "words"), [
    (("jobs", "list", "--status", "nonsense"), "'nonsense' is not one of 'pending_approval'"),
    (("jobs", "show", "abc"), "A whole number is needed here."), (("key", "revoke", "0"), "The smallest that it can be is 1."),
    (("jobs", "list", "--since", "soon"), "'soon'")])
async def test_an_argument_that_is_wrong_is_refused_in_plain_words(home: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = await here(home, *arguments, COLUMNS="300")
    assert ended.status == 2
    assert "Invalid value for" in ended.err
    assert words in ended.err
    assert "Value error" not in ended.err
    assert "Input should" not in ended.err


@pytest.mark.parametrize(("zone", "day"), [("Asia/Tokyo", "0001-01-01"), ("America/Lima", "9999-12-31T23:00:00")])
async def test_a_day_that_is_none_in_utc_is_refused_in_plain_words(
        stage: Stage, home: Path, url_settings: dict[str, str], zone: str, day: str) -> None:
    """In a process of its own: a zone is the whole process's."""
    await stage.account()
    one_sentence(await postroom(home, "jobs", "list", "--since", day, TZ=zone, **url_settings), "is too far away")


async def test_a_start_at_a_time_is_kept_and_one_that_has_passed_is_refused(stage: Stage, cli, files) -> None:
    account = await stage.account(threshold=1)
    listed, text = files("list.csv", "email\na@b.example\n"), files("text.txt", "Hello")
    arguments = ("send", listed, *MESSAGE, "--text", text, "--not-before")
    one_sentence(await cli(*arguments, "2026-01-31T09:00Z"), "2026-01-31 09:00 UTC has passed", "Give a later time")
    assert await stage.query("SELECT count(*) FROM job") == [(0,)]
    await cli(*arguments, "2099-01-31T09:00:00+0200")
    [(not_before,)] = await stage.query("SELECT not_before FROM job WHERE account_id = %s", account)
    assert not_before == datetime(2099, 1, 31, 7, tzinfo=UTC)


async def test_a_gateway_s_password_comes_by_standard_input_and_is_never_shown(stage: Stage, cli) -> None:
    await cli("account", "create", "Club")
    ended = await cli("gateway", "create", "--host", "smtp.example", "--username", "club", "--password-stdin", stdin="s3cret\n")
    assert ended.status == 0
    told = ended.out + (await cli("gateway", "list")).out + (await cli("gateway", "list", "--json")).out
    assert "club" in told
    assert "s3cret" not in told
    one_sentence(await cli("gateway", "create", "--host", "h", "--name", "b", "--username", "x"), "--password-stdin")


async def test_what_an_account_says_of_itself_is_set_shown_and_unset(stage: Stage, cli) -> None:
    await stage.account("Club")
    ended = await cli("account", "set", "--bounce-domain", "bounces.club.example", "--postal-address", "1 Main St\nOslo\x1b[2J",
                      "--unsubscribe-url", "https://club.example/{token}", "--require-unsubscribe", "--threshold", "7", "--json")
    told = json.loads(ended.out)
    assert told == {"id": told["id"], "name": "Club", "approval_threshold": 7, "bounce_domain": "bounces.club.example",
                    "unsubscribe_url": "https://club.example/{token}", "postal_address": "1 Main St\nOslo\x1b[2J",
                    "requires_unsubscribe": True, "requires_postal_address": False,
                    "retry_attempts_max": 10, "retry_deadline_s": 14_400, "retry_tail_s": 1_800}
    assert json.loads((await cli("account", "show", "--json")).out) == told
    shown = (await cli("account", "show", "--account", "Club")).out
    for words in ("bounces.club.example", "https://club.example/{token}", "1 Main St", "Oslo\N{REPLACEMENT CHARACTER}"):
        assert words in shown
    ended = await cli("account", "set", "--unsubscribe-url", "", "--no-require-unsubscribe", "--require-postal-address", "--json")
    assert json.loads(ended.out) == told | {
        "unsubscribe_url": None, "requires_unsubscribe": False, "requires_postal_address": True}
    assert "Postroom's own page" in (await cli("account", "show")).out
    ended = await cli("account", "set", "--bounce-domain", "nowhere")
    assert ended.status == 2
    one_sentence(ended, "has no dot")


async def test_a_gateway_that_signs_for_the_domain_says_so(stage: Stage, cli) -> None:
    await stage.account("Club", signs_dkim=False)
    await cli("gateway", "create", "--name", "hosted", "--host", "smtp.example", "--signs-dkim")
    listed = json.loads((await cli("gateway", "list", "--json")).out)
    assert {one["name"]: one["signs_dkim"] for one in listed} == {"main": False, "hosted": True}


async def test_contacts_and_opt_outs_come_from_the_command_line_too(stage: Stage, cli, files) -> None:
    await stage.account()
    ended = await cli("contacts", "import", files("people.csv", "email,name\na@b.example,A\nnobody,B\n"), "--json")
    told = json.loads(ended.out)
    assert told["contacts"] == 1
    assert [problem["row"] for problem in told["problems"]] == [3]
    assert json.loads((await cli("suppress", "a@b.example", "c@b.example", "--json")).out) == {"suppressed": 2, "already": 0}
    one_sentence(await cli("suppress", "nobody"), "Row 1")


async def test_check_says_what_is_wrong_and_hides_nothing_behind_it(stage: Stage, cli) -> None:
    await stage.account("Club")
    await stage.account("School", port=free_port())
    ended = await cli("check", "--json")
    levels = {finding["subject"]: finding["level"] for finding in json.loads(ended.out)["findings"]}
    assert ended.status == 1
    assert levels["gateway main of Club"] == "ok"
    assert levels["gateway main of School"] == "error"
    assert "test" not in json.loads(ended.out)["settings"]["POSTROOM_SECRET_KEY"]


async def test_check_warns_of_a_gateway_that_offers_a_login_and_gets_none(stage: Stage, cli) -> None:
    await stage.account("Club")
    async with Sandbox(credentials=("club", "secret")) as asking:
        await stage.account("School", port=asking.port)
        findings = {one["subject"]: one for one in json.loads((await cli("check", "--json")).out)["findings"]}
    assert findings["gateway main of Club"]["level"] == "ok"
    assert findings["gateway main of School"]["level"] == "warning"
    assert "--username" in findings["gateway main of School"]["told"]


@pytest.mark.parametrize(("unknown", "options", "status"), [
    (2, (), 1), (1, (), 0), (1, ("--fail-above", "40"), 1), (1, ("--fail-above", "50"), 0), (0, ("--fail-above", "0"), 0)])
async def test_a_send_ends_with_an_error_where_more_failed_than_may(
        stage: Stage, cli, files, unknown: int, options: tuple[str, ...], status: int) -> None:
    await stage.account()
    people = ("a@list.example", "b@list.example")
    stage.sandbox.script = Script(refuse={one: Refusal("rcpt", 550, "5.1.1 Unknown") for one in people[:unknown]})
    async with stage.worker():
        ended = await cli("send", files("list.csv", "email\n" + "\n".join(people) + "\n"), *MESSAGE[2:], "--subject", "News",
                          "--text", files("text.txt", "Hello"), *options)
    assert (ended.status, f"{unknown} of 2 failed" in ended.err) == (status, status == 1)


@pytest.mark.parametrize(("name", "level"), [
    ("localhost", "warning"), ("vm", "warning"), ("vm.localdomain", "warning"), ("mail.lan.", "warning"),
    ("mail.club.example", "ok")])
async def test_check_warns_of_a_name_that_gateways_do_not_like(stage: Stage, name: str, level: str) -> None:
    [found] = [one for one in await check_all(stage.settings(helo_name=name)) if one.subject == "name"]
    assert (found.level.value, name in found.told) == (level, True)


async def test_check_finds_a_database_that_is_away(home: Path) -> None:
    ended = await here(home, "check", POSTROOM_DATABASE_URL=f"postgresql://me:s3cret@127.0.0.1:{free_port()}/nowhere")
    assert ended.status == 1
    assert "error   database" in ended.out
    assert "s3cret" not in ended.out


async def test_a_sandbox_takes_no_password_as_an_argument(home: Path) -> None:
    one_sentence(await here(home, "sandbox", "--login", "club:secret"), "--login takes the user alone")
    one_sentence(await here(home, "sandbox", "--login", "club"), "--password-stdin")
    one_sentence(await here(home, "sandbox", "--login", "club", "--password-stdin"), "no password on standard input")


async def test_a_sandbox_takes_the_password_from_standard_input(home: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "postroom.doors.cli.main", "sandbox", "--login", "club", "--password-stdin", "--port", "0",
        "--json", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment(home, PYTHONUNBUFFERED="1"))
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"secret\n")
        told = json.loads(await process.stdout.readuntil(b"}"))
        for password, welcome in (("secret", True), ("wrong", False)):
            with contextlib.nullcontext() if welcome else pytest.raises(GatewayRefused):
                await (await open_session(local_endpoint("127.0.0.1", told["port"], "none", "club", password))).close()
    finally:
        process.kill()
        await process.wait()


async def test_migrate_says_what_it_did(home: Path, bare_database: str) -> None:
    settings = {"POSTROOM_DATABASE_URL": bare_database, "POSTROOM_UNSAFE_DATABASE": "true"}
    assert "Migrated: 0001" in (await here(home, "migrate", **settings)).out
    assert "up to date" in (await here(home, "migrate", **settings)).out


async def test_trusting_the_database_lets_go_on_what_was_paused_for_doubt_of_it(stage: Stage, home: Path) -> None:
    settings = {"POSTROOM_DATABASE_URL": stage.url, "POSTROOM_UNSAFE_DATABASE": "true"}
    account = await stage.account()
    job = await stage.submit(account, 3)
    await pause(stage.pool, postroom_itself(account), job.id, reason=UNKNOWN)
    assert f"Jobs that go on: {job.id}." in (await here(home, "trust-database", **settings)).out
    assert (home / "journal" / "mark").exists()
    assert json.loads((await here(home, "trust-database", "--json", **settings)).out) == {"resumed": []}


async def test_how_a_list_was_read_is_printed_and_the_column_and_who_is_out_are_chosen(stage: Stage, cli, files) -> None:
    account = await stage.account(threshold=1)
    listed = files("list.csv", "name,mother,father,Status\nA,m@b.example,f@b.example,Unsubscribed\nB,n@b.example,g@b.example,\n")
    send = ("send", listed, *MESSAGE, "--text", files("text.txt", "Hello"), "--email-column", "Father")
    out = 'Not to be mailed by what their own row says in the column "Status", and'
    for choice, count, then in (((), "1 recipient", "left out: row 2."),
                                (("--opted-out-rows", "send"), "2 recipients", "mailed all the same")):
        ended = await cli(*send, *choice)
        assert f": {count}." in ended.err
        assert 'The addresses are those of the column "father", as was chosen.' in ended.err
        assert f"{out} {then}" in ended.err
    shown = await cli("jobs", "show", str((await report.history(stage.pool, acting(account)))[0].id))
    assert 'The addresses are those of the column "father"' in shown.out


async def test_contacts_come_from_a_workbook_and_who_is_out_by_their_own_row_is_not_taken(stage: Stage, cli, files) -> None:
    await stage.account()
    book = files("members.xlsx", xlsx({"Members": [["Name", "Mail", "Email Opt Out"], ["A", "a@b.example", False],
                                                   ["B", "b@b.example", True], ["B", "B@b.example", False]]}))
    told = json.loads((await cli("contacts", "import", book, "--json")).out)
    assert (told["contacts"], [one["row"] for one in told["problems"]]) == (1, [3])
    assert told["remarks"][0] == 'The addresses are those of the column "Mail", found by what stands in it.'
    assert "of the column" in (await cli("contacts", "import", book, "--opted-out-rows", "send")).out


async def test_an_address_column_is_chosen_only_where_there_are_columns(stage: Stage, cli, files) -> None:
    await stage.account()
    listed = files("a.ndjson", '{"email": "a@b.example"}')
    one_sentence(await cli("contacts", "import", listed, "--email-column", "email"), "NDJSON")


def test_a_big_list_is_read_whole_with_its_bar(files) -> None:
    rows = 40_000
    path = files("big.csv", "email,name\n" + "".join(f"person{n}@list.example,Person {n}\n" for n in range(rows)))
    with opened_list(path, encoding="utf-8") as read:
        assert sum(1 for _ in read) == rows


# -- in a terminal -----------------------------------------------------------------------------------------------------


async def test_the_gate_is_asked_in_the_terminal_and_takes_only_the_exact_count(
        stage: Stage, home: Path, files, url_settings: dict[str, str]) -> None:
    account = await stage.account(threshold=2)
    listed, body = files("list.csv", "email,name\na@b.example,A\nb@b.example,\n"), files("text.txt", "Hello {{ name }}\n")
    arguments = ("send", listed, *MESSAGE, "--text", body, "--field-policy", "blank")
    async with in_terminal(home, *arguments, **url_settings) as terminal:
        await terminal.until("0 of 2 recipients so far")
        await terminal.until("No worker is running")
        async with stage.worker():
            await terminal.until("is blank. Such as b@b.example")
            await terminal.until("Approve")
        terminal.type("1\n")
        assert await terminal.ended() == 1
    [job] = await report.history(stage.pool, acting(account))
    assert job.status is Status.PENDING_APPROVAL
    async with stage.worker(), in_terminal(home, *arguments, **url_settings) as terminal:
        await terminal.until("Approve")
        terminal.type("2\n")
        assert await terminal.ended() == 0
    assert stage.sandbox.accepted == 2


async def test_the_gate_of_one_recipient_asks_in_the_singular(
        stage: Stage, home: Path, files, url_settings: dict[str, str]) -> None:
    await stage.account(threshold=1)
    arguments = ("send", files("list.csv", "email,name\na@b.example,A\n"), *MESSAGE, "--text", files("text.txt", "Hello\n"))
    async with stage.worker(), in_terminal(home, *arguments, **url_settings) as terminal:
        await terminal.until("Type 1 to approve sending to exactly 1 recipient, c to cancel")
        await terminal.until("Approve")
        terminal.type("\n")
        assert await terminal.ended() == 1


async def test_ctrl_c_leaves_the_job_running_and_says_how_to_stop_it(
        stage: Stage, home: Path, files, url_settings: dict[str, str]) -> None:
    account = await stage.account()
    arguments = ("send", files("list.csv", "email,name\na@b.example,A\n"), *MESSAGE, "--text", files("text.txt", "Hello\n"))
    async with in_terminal(home, *arguments, **url_settings) as terminal:
        await terminal.until("unsent 1")
        await terminal.until("No worker is running")
        terminal.type("\x03")
        assert await terminal.ended() == 130
        assert "postroom jobs cancel" in terminal.said
    [job] = await report.history(stage.pool, acting(account))
    assert job.status is Status.SENDING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_that_ends_a_watching_send_stops_the_database_of_its_own(
        home: Path, files, number: signal.Signals) -> None:
    assert (await postroom(home, "account", "create", "Club")).status == 0
    assert (await postroom(home, "gateway", "create", "--host", "127.0.0.1", "--port", "25", "--security", "none")).status == 0
    async with in_terminal(home, "send", files("list.csv", "email,name\na@list.example,A\n"), *MESSAGE, "--text",
                           files("text.txt", "Hello\n")) as terminal:
        await terminal.until("unsent 1")
        postmaster = int((home / "pgdata" / "postmaster.pid").read_text().split()[0])
        terminal.signal(number)
        assert await terminal.ended() == 130
    assert not is_alive(postmaster)
