"""The demo, as a stranger runs it."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from conftest import passable_directory
from postroom.ledger.embedded import EmbeddedPostgres
from stage import eventually

from .command import is_alive, postroom, running


@pytest.fixture(scope="module")
async def demo_home() -> AsyncIterator[Path]:
    """One for all: that a second demo finds what the first one left is part of what it promises."""
    home = passable_directory("demo")
    yield home
    await EmbeddedPostgres(home / "demo").stop()
    shutil.rmtree(home)


async def test_the_demo_by_itself_ends_with_both_sides_in_agreement(demo_home: Path) -> None:
    listed = demo_home / "list.csv"
    listed.write_text("email,name\n" + "".join(f"person{n}@list.example,Person {n}\n" for n in range(400)))
    script = "rcpt:temp=3%,perm=3%; seed=3"
    ended = await postroom(demo_home, "demo", "--auto", "--recipients-file", str(listed), "--script", script)
    assert ended.status == 0, ended
    numbers = {name: int(number) for name, number in re.findall(
        r"^(Sent|Failed|Skipped|Unconfirmed|Unsent|Sum) +(\d+)", ended.out, re.MULTILINE)}
    assert numbers["Sum"] == 400
    assert numbers["Failed"] > 0
    assert f"accepted {numbers['Sent']} messages, 0 of them a second time" in ended.out


async def test_the_demo_waits_with_5000_recipients_and_its_link_leads_to_the_gate(demo_home: Path) -> None:
    async with running(demo_home, "demo", "--port", "0", until="Stop with Ctrl-C",
                       POSTROOM_DATABASE_URL="postgresql://never:touched@127.0.0.1:1/real") as (process, lines):
        assert "Job 2: 5,000 recipients." in lines
        [link] = [line.partition(": ")[2] for line in lines if line.startswith("Open this page")]
        async with httpx.AsyncClient(timeout=30, follow_redirects=True) as client:
            page = await client.get(link)
        assert page.status_code == 200
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
