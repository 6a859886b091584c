"""A client that is made from the API's description: complete, right in its types, and understood by the API."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAKER = ROOT / ".venv" / "client" / "bin" / "openapi-python-client"

# Whoever writes against the API by its types; the type checker reads it, and it runs.
PROGRAM = """
import sys

from postroom_client import AuthenticatedClient
from postroom_client.api.default import create_job, list_jobs, show_job
from postroom_client.models import Job, JobPage, Message, NewJob, NewJobListedRecipient, Problem
from postroom_client.models.from_ import From

client = AuthenticatedClient(sys.argv[1] + "/api/v1", sys.argv[2])
new = NewJob(message=Message(from_=From(address="news@club.example"), subject="Hello", text="Hello"),
             recipients=[NewJobListedRecipient(email=f"person{n}@list.example") for n in range(100)])
made = create_job.sync(client=client, body=new, idempotency_key="once")
assert isinstance(made, Job), made
again = create_job.sync(client=client, body=new, idempotency_key="once")
assert isinstance(again, Job)
assert again.id == made.id
page = list_jobs.sync(client=client)
assert isinstance(page, JobPage)
assert [one.id for one in page.items] == [made.id]
missing = show_job.sync(made.id + 1, client=client)
assert isinstance(missing, Problem)
print(made.recipient_count, missing.status)
"""


async def ended(*command: str | Path, cwd: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(*map(str, command), cwd=cwd, stdout=PIPE, stderr=STDOUT)
    told, _ = await process.communicate()
    return process.returncode, told.decode()


async def test_a_client_made_from_the_description_is_whole_typed_and_understood(site, tmp_path: Path):
    described = (await site.client().get("/api/v1/openapi.json")).json()
    (tmp_path / "openapi.json").write_text(json.dumps(described))
    (tmp_path / "settings.yaml").write_text("post_hooks: []")
    status, told = await ended(MAKER, "generate", "--path", "openapi.json", "--meta", "none", "--output-path", "postroom_client",
                               "--config", "settings.yaml", "--fail-on-warning", cwd=tmp_path)
    assert status == 0, told
    (tmp_path / "program.py").write_text(PROGRAM)
    status, told = await ended(sys.executable, "-m", "mypy", "--strict", "postroom_client", "program.py", cwd=tmp_path)
    assert status == 0, told
    account = await site.account()
    key = (await site.api(account)).headers["Authorization"].removeprefix("Bearer ")
    assert await ended(sys.executable, "program.py", site.url, key, cwd=tmp_path) == (0, "100 404\n")
