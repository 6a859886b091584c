"""Whatever is sent to the API, by its own description or against it, is answered as the description says, and never by a 5xx.

Schemathesis makes the requests: by examples, by the edges of every schema, at random, and in chains, where a request uses what
another answered. POSTROOM_API_REQUESTS is how many at least, a tenth of them without a key (5,000 unless that is set; `make fuzz`
makes 100,000), and a run that made fewer fails. A short one draws the same each time; a long one draws its own, and POSTROOM_SEED
the same again. The gateway is a sandbox on loopback, and no worker runs: nothing leaves the machine.

Left out: `/events`, which does not end; the check that valid data is accepted, since what a message or an address must be is said
in no schema; and the one that what was made is there, since the chains also ask a new job for recipients that it does not have.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from acting import acting
from postroom.flow.account import keys
from postroom.gateway.sandbox.server import Sandbox

from .serving import Site, job_of

SHORT = 5_000
REQUESTS = int(os.environ.get("POSTROOM_API_REQUESTS") or SHORT)
IS_LONG = REQUESTS > SHORT
# Schemathesis makes 1,200 requests at the edges, and 16 for each of its examples, at random and in chains; 23 for the first 150.
REQUESTS_ALWAYS, REQUESTS_FOR_AN_EXAMPLE = 2_000, 15
RUN_S_MAX = 6 * 3600 if IS_LONG else 900
SEED = int(os.environ.get("POSTROOM_SEED") or (random.randrange(2**32) if IS_LONG else 1))

# What else may refuse a request that is against the description: it is too large, or about a thing that is not in that state.
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 409, 413, 415, 422]

[[operations]]
include-path = "/previews"  # reads the list only up to the recipient that is shown
checks.negative_data_rejection.enabled = false
"""


async def fuzz(site: Site, directory: Path, key: str | None, requests: int) -> None:
    examples = max(1, (requests - REQUESTS_ALWAYS) // REQUESTS_FOR_AN_EXAMPLE)
    before = site.requests()
    (directory / "schemathesis.toml").write_text(CONFIGURATION)
    print(f"\nPOSTROOM_SEED={SEED}")
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{site.url}/api/v1/openapi.json", "--seed", str(SEED),
        "--max-examples", str(examples), "--exclude-checks", "positive_data_acceptance,ensure_resource_availability",
        "--exclude-path-regex", "/events$", "--continue-on-failure",
        "--generation-database", "none", "--request-timeout", "30", "--no-color", "--warnings", "off",
        *(("--header", f"Authorization: Bearer {key}") if key else ()), cwd=directory, stdout=PIPE, stderr=STDOUT)
    try:
        told, _ = await asyncio.wait_for(run.communicate(), RUN_S_MAX)
    finally:
        if run.returncode is None:
            run.kill()
    print(shown := "\n".join(line[:500] for line in told.decode().splitlines()))
    assert run.returncode == 0, shown
    made = site.requests() - before
    print(f"{made:,} requests")
    assert made >= requests, "it does not try as much as it should"


@pytest.mark.timeout(RUN_S_MAX + 60)
async def test_every_request_with_a_key_is_answered_as_the_description_says(site, tmp_path):
    async with Sandbox() as sandbox:
        account = await site.account(port=sandbox.port)
        made = await (await site.api(account)).post("/jobs", json=job_of(100))
        assert made.status_code == 201
        await fuzz(site, tmp_path, await keys.create_key(site.pool, acting(account), "fuzz"), REQUESTS * 9 // 10)


@pytest.mark.timeout(RUN_S_MAX + 60)
async def test_every_request_without_a_key_is_answered_as_the_description_says(site, tmp_path):
    await fuzz(site, tmp_path, None, REQUESTS // 10)
