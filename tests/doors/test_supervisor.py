"""`postroom serve` as a service manager sees it: it starts, heals, stops in order, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import httpx
import pytest

from postroom.doors.home import owner_name
from postroom.doors.supervisor import listen
from postroom.errors import Unavailable
from postroom.gateway.sandbox.script import Answer, Script
from stage import Stage, eventually

from .command import free_port, in_terminal, is_alive, postroom, running


def children_of(pid: int) -> dict[int, str]:
    """Each child's command line, by its number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if parent == pid and command:
            found[int(entry.name)] = command
    return found


async def child(pid: int, module: str) -> int:
    """The number of the child that runs `module`, as soon as there is one."""

    async def look() -> int | None:
        return next((number for number, command in children_of(pid).items() if module in command), None)

    number: int = await eventually(look)
    return number


async def test_serve_in_a_terminal_prints_a_link_that_signs_in(home: Path, url_settings: dict[str, str]) -> None:
    async with in_terminal(home, "serve", "--port", "0", "--workers", "0", **url_settings) as terminal:
        await terminal.until("No worker runs here")
        [link] = re.findall(r"Sign in:  (http\S+)", terminal.said)
        async with httpx.AsyncClient(timeout=30) as client:
            assert (await client.get(link)).status_code == 303
        terminal.type("\x03")
        assert await terminal.ended() == 0


async def test_serve_in_a_log_says_which_command_prints_a_link_and_stops_on_sigterm(
        home: Path, url_settings: dict[str, str]) -> None:
    async with running(home, "serve", "--port", "0", until="Sign in:", **url_settings) as (process, lines):
        assert "token" not in "".join(lines)
        _, *command = lines[-1].removeprefix("Sign in:").split()
        refused = await postroom(home, *command, **url_settings)
        assert (refused.status, refused.out) == (2, "")
        link = (await postroom(home, *command, "--pipe", **url_settings)).out.strip()
        async with httpx.AsyncClient(timeout=30) as client:
            assert (await client.get(link)).status_code == 303
        web = await child(process.pid, "web_process")
        worker = await child(process.pid, "doors.worker")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert not is_alive(web)
        assert not is_alive(worker)


async def test_a_child_that_dies_is_started_again_and_the_address_stays(home: Path, url_settings: dict[str, str]) -> None:
    async with running(home, "serve", "--port", "0", until="Sign in:", **url_settings) as (process, lines):
        address = lines[0].removeprefix("Postroom is at ")
        for module in ("doors.worker", "web_process"):
            died = await child(process.pid, module)
            os.kill(died, signal.SIGKILL)

            async def another(module: str = module, died: int = died) -> bool:
                return await child(process.pid, module) != died

            await eventually(another)
        async with httpx.AsyncClient(timeout=30) as client:  # it waits, as a browser does; it is not refused
            assert (await client.get(f"{address}/healthz")).json()["status"] == "ok"


async def test_children_end_when_the_supervisor_is_killed(home: Path, url_settings: dict[str, str]) -> None:
    async with running(home, "serve", "--port", "0", until="Sign in:", **url_settings) as (process, lines):
        async with httpx.AsyncClient(timeout=30) as client:
            await client.get(f"{lines[0].removeprefix('Postroom is at ')}/healthz")
        numbers = [await child(process.pid, "web_process"), await child(process.pid, "doors.worker")]
        process.kill()
        await process.wait()

        async def gone() -> bool:
            return not any(map(is_alive, numbers))

        await eventually(gone)


async def test_sigterm_waits_for_the_gateway_s_answer_and_a_second_one_does_not(
        stage: Stage, home: Path, url_settings: dict[str, str]) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=50))
    account = await stage.account(connections=1)
    job = await stage.submit(account, 3)
    async with running(home, "serve", "--port", "0", until="Sign in:", **url_settings) as (process, _lines):

        async def in_hand() -> bool:
            return stage.sandbox.mail_at > 0 and bool(await stage.open_windows(account, job.id))

        await eventually(in_hand)
        await asyncio.sleep(0.5)  # until the content is with the gateway
        process.send_signal(signal.SIGTERM)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), 1.5)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def test_what_root_starts_runs_as_somebody_else_who_is_given_the_home_of_before(
        home: Path) -> None:
    (home / "journal").mkdir(mode=0o700)  # as an earlier version made it
    (home / "journal" / "mark.lock").touch(mode=0o600)
    async with running(home, "serve", "--port", "0", until="Sign in:") as (process, lines):
        async with httpx.AsyncClient(timeout=30) as client:
            assert (await client.get(f"{lines[0].removeprefix('Postroom is at ')}/healthz")).status_code == 200
        numbers = [await child(process.pid, "web_process"), await child(process.pid, "doors.worker")]

        async def have_become() -> set[int] | None:
            users = {user_of(number) for number in numbers}
            return users if os.geteuid() != 0 or 0 not in users else None

        assert await eventually(have_become) == {(home / "pgdata").stat().st_uid}

        async def has_begun() -> bool:
            return any((home / "journal").glob("*.journal"))

        await eventually(has_begun)
        told = (await postroom(home, "check")).out
        assert f"Web and workers run as {owner_name((home / 'pgdata').stat().st_uid)}" in told
        assert (await postroom(home, "trust-database")).status == 0


async def test_a_port_that_is_taken_is_said_before_anything_starts(home: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        ended = await postroom(home, "serve", "--port", str(port))
    assert ended.status == 1
    assert f"Port {port} on 127.0.0.1 is taken" in ended.err
    assert os.listdir(home) == [], "not even a database was made"


async def test_a_wrong_database_url_ends_serve_and_worker_with_a_sentence(home: Path) -> None:
    url = f"postgresql://me:s3cret@127.0.0.1:{free_port()}/nowhere"
    for command in (("serve", "--port", "0"), ("worker",)):
        ended = await postroom(home, *command, POSTROOM_DATABASE_URL=url, POSTROOM_SECRET_KEY="k")
        assert ended.status == 1
        assert "POSTROOM_DATABASE_URL" in ended.err
        assert "s3cret" not in ended.err


def test_a_host_that_is_not_this_machine_is_named() -> None:
    with pytest.raises(Unavailable, match="POSTROOM_HOST"):
        listen("192.0.2.1", 0)
