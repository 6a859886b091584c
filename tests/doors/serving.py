"""The web process for tests: the application served by uvicorn on a loopback port, in the test's own loop."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from acting import acting
from loopback import NETWORKS
from postroom.bounded.processes import IN_THREAD, Runs
from postroom.config import Settings
from postroom.doors.app import create_app
from postroom.doors.connections import Connection, watch
from postroom.doors.wiring import Postroom, deployment
from postroom.flow.account import accounts, gateways, keys, operator
from postroom.flow.account.secrets import SecretBox
from postroom.flow.check.preflight import Checks
from postroom.ledger.database.db import Pool
from postroom.tasks import end

SECRET_KEY = "test"
MESSAGE = {"subject": "News for {{ name }}", "text": "Hello {{ name }}\n", "html": "<p>Hello {{ name }}</p>",
           "from": {"address": "news@club.example", "name": "The Club"}}
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield


@dataclass
class Site:
    """A running web process, which works on templates and lists in threads unless `bounded` does it. `stop` and `start` are
    what a restart looks like from outside: the port stays."""

    pool: Pool
    settings: Settings
    app: Any = None
    port: int = 0
    bounded: Runs = IN_THREAD
    _server: _Server | None = None
    _serving: asyncio.Task[None] | None = None
    _watching: asyncio.Task[None] | None = None
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.app = create_app(Postroom(self.settings, self.pool, deployment(self.settings, self.bounded)))
        listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = listener.getsockname()[1]
        self._server = _Server(uvicorn.Config(
            self.app, http=Connection, log_config=None, access_log=False, timeout_graceful_shutdown=0, lifespan="off"))
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        self._watching = asyncio.create_task(watch(self._server.server_state.connections))

    async def stop(self) -> None:
        assert self._server is not None
        assert self._serving is not None
        assert self._watching is not None
        await end(self._watching)
        self._server.should_exit = self._server.force_exit = True
        for connection in list(self._server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self._serving

    def connections(self) -> set[Any]:
        """Those that are open now."""
        assert self._server is not None
        return set(self._server.server_state.connections)

    def requests(self) -> int:
        """How many it has answered since its start."""
        assert self._server is not None
        return self._server.server_state.total_requests

    def client(self, **options: Any) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False, **options)
        self.clients.append(client)
        return client

    async def api(self, account_id: int, key_name: str = "website") -> httpx.AsyncClient:
        """A program with a key of the account."""
        key = await keys.create_key(self.pool, acting(account_id), key_name)
        client = self.client(headers={"Authorization": f"Bearer {key}"})
        client.base_url = httpx.URL(f"{self.url}/api/v1")
        return client

    async def operator(self) -> httpx.AsyncClient:
        """The operator, signed in. Redirects are not followed, so that tests see them."""
        client = self.client()
        assert (await client.get(await self.link())).status_code == 303
        return client

    async def link(self) -> str:
        """A new one that signs in."""
        return f"{self.url}/sign-in?token={await operator.new_link(self.pool)}"

    async def account(self, name: str = "Club", *, threshold: int = 100, port: int = 9) -> int:
        """An account with a gateway; by default one to which nobody connects, because no worker runs."""
        account = await accounts.create_account(self.pool, name, approval_threshold=threshold)
        await gateways.create_gateway(self.pool, SecretBox(SECRET_KEY), acting(account.id), name="main", host="127.0.0.1",
                                      port=port, security="none", connections=2)
        return account.id

    async def check(self, account_id: int, job_id: int) -> None:
        """The pre-flight of a job, as a worker runs it, to its end."""
        checks = Checks(self.pool, deployment(self.settings))
        while await checks.check(account_id, job_id, True):
            pass

    async def job(self, account_id: int, count: int = 100, **options: Any) -> dict[str, Any]:
        """A new job, checked, so that it can be approved."""
        api = await self.api(account_id, f"key {len(self.clients)}")
        made = (await api.post("/jobs", json=job_of(count, **options))).json()
        await self.check(account_id, made["id"])
        return (await api.get(f"/jobs/{made['id']}")).json()


@contextlib.asynccontextmanager
async def served(pool: Pool, url: str, bounded: Runs = IN_THREAD, **settings: Any) -> AsyncIterator[Site]:
    site = Site(pool, Settings(database_url=url, secret_key=SECRET_KEY, unsafe_database=True,
                               **{"allowed_networks": NETWORKS, **settings}), bounded=bounded)
    await site.start()
    try:
        yield site
    finally:
        for client in site.clients:
            await client.aclose()
        await site.stop()


def listed(count: int) -> list[dict[str, Any]]:
    """Recipients as a program sends them."""
    return [{"email": f"person{n}@list.example", "fields": {"name": f"Person {n}"}} for n in range(1, count + 1)]


def in_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def job_of(count: int, **options: Any) -> dict[str, Any]:
    return {"message": MESSAGE, "recipients": listed(count), **options}


def csv_of(count: int) -> bytes:
    return b"email,name\n" + b"".join(b"person%d@list.example,Person %d\n" % (n, n) for n in range(1, count + 1))


async def upload(api: httpx.AsyncClient, recipients: bytes, content_type: str = "text/csv", message=None, headers=None, files=()):
    """A new job by multipart/form-data; `files` are (name, octets)."""
    return await api.post("/jobs", headers=headers, files=[
        ("message", (None, json.dumps(message or {"message": MESSAGE}), "application/json")),
        ("recipients", ("list", recipients, content_type)), *(("attachment", file) for file in files)])
