"""The demo, as a stranger runs it."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path

import httpx
import pytest

from acting import acting
from conftest import passable_directory
from postroom.config import Settings
from postroom.doors import wiring
from postroom.doors.cli.demo import POSTAL_ADDRESS
from postroom.flow.preview.look import preview
from postroom.ledger.database.embedded import EmbeddedPostgres
from stage import eventually

from .command import Ended, is_alive, postroom, running


@pytest.fixture(scope="module")
async def demo_home() -> AsyncIterator[Path]:
    """One for all: that a second demo finds what the first one left is part of what it promises."""
    home = passable_directory("demo")
    yield home
    await EmbeddedPostgres(home / "demo").stop()
    shutil.rmtree(home)


@pytest.fixture(scope="module")
async def first(demo_home: Path) -> Ended:
    """The first demo of this home, which ran by itself."""
    listed = demo_home / "list.csv"
    listed.write_text("email,name\n" + "".join(f"person{n}@list.example,{f'Person {n}' if n else ''}\n" for n in range(400)))
    script = "rcpt:temp=3%,perm=3%; seed=3"
    return await postroom(demo_home, "demo", "--auto", "--recipients-file", str(listed), "--script", script)


def test_the_demo_by_itself_ends_with_both_sides_in_agreement(first: Ended) -> None:
    assert first.status == 0, first
    numbers = {name: int(number) for name, number in re.findall(
        r"^(Sent|Failed|Skipped|Unconfirmed|Unsent|Sum) +(\d+)", first.out, re.MULTILINE)}
    assert numbers["Sum"] == 400
    assert numbers["Failed"] > 0
    assert f"accepted {numbers['Sent']} messages, 0 of them a second time" in first.out
    assert "The field “name” is blank. Such as person0@list.example (no. 1)." in first.out


async def test_the_demo_s_message_has_a_logo_a_way_out_a_postal_address_and_a_signature(demo_home: Path, first: Ended) -> None:
    async with wiring.opened(Settings(home=demo_home / "demo"), name="test", connections=2) as installation:
        seen = await preview(installation.pool, installation.deployment, acting(1), 1, 1)
    message = message_from_bytes(seen.source)
    assert (seen.reason, seen.note, seen.blank) == (None, None, ("name",))
    assert [(one.name, one.content_type, bool(one.content_id)) for one in seen.files] == [("logo.png", "image/png", True)]
    assert "d=riverside.example" in message["DKIM-Signature"]
    assert re.fullmatch(r"<http://127\.0\.0\.1:\d+/u/\S+>", message["List-Unsubscribe"])
    assert message["List-Unsubscribe"].strip("<>") in seen.html
    assert "Where to go in" in seen.html
    assert POSTAL_ADDRESS in seen.text


async def test_the_demo_waits_with_5000_recipients_and_its_link_leads_to_the_gate(demo_home: Path, first: Ended) -> None:
    async with running(demo_home, "demo", "--port", "0", until="Stop with Ctrl-C",
                       POSTROOM_DATABASE_URL="postgresql://never:touched@127.0.0.1:1/real") as (process, lines):
        assert "Job 2: 5,000 recipients." in lines
        [command] = [line.partition(": ")[2] for line in lines if line.startswith("Open this page")]
        link = (await postroom(demo_home / "demo", *command.split()[1:], "--pipe")).out.strip()
        async with httpx.AsyncClient(timeout=30, follow_redirects=True) as client:
            async def checked() -> httpx.Response | None:
                page = await client.get(link)
                return page if "Checked for every recipient" in page.text else None

            page = await eventually(checked, every_s=0.5)
        assert page.status_code == 200
        assert "The field “name” is blank." in page.text
        assert page.url.path.endswith("/jobs/2")
        assert "5,000" in page.text
        # The database of its own is killed, and comes back.
        address = link.partition("/sign-in")[0]
        postmaster = int((demo_home / "demo" / "pgdata" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)

        async def dead() -> bool:
            return not is_alive(postmaster)

        async def healthy() -> bool:
            async with httpx.AsyncClient(timeout=30) as client:
                return (await client.get(f"{address}/healthz")).status_code == 200

        await eventually(dead)
        await eventually(healthy, every_s=0.2)
        process.terminate()
        assert await process.wait() == 0
