"""What a worker needs of a job to send it: the compiled message and the way to the gateway. Compiled once per job."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from postroom.errors import InvalidInput, PostroomError, Unavailable
from postroom.flow.secrets import SecretBox
from postroom.gateway.session import Endpoint
from postroom.ledger import jobs
from postroom.ledger.db import Pool
from postroom.ledger.jobs import JobContent
from postroom.message.address import parse_address
from postroom.message.compile import Compiled, Stamp
from postroom.message.compile import compile as compile_content
from postroom.message.template import Content

LETTERS_MAX = 32


@dataclass(frozen=True, slots=True)
class Letter:
    """`sender` is the envelope's (MAIL FROM)."""

    message: Compiled
    sender: bytes
    endpoint: Endpoint
    lanes: int


class NotSetUp(PostroomError):
    """The gateway cannot be used as it is set up here: a person has to mend it. Nothing is wrong with the job."""


class Letters:
    """The letters of the jobs that this worker has lately sent for; the least recently used one goes first."""

    def __init__(self, pool: Pool, secrets: SecretBox, *, helo_name: str, allow_plaintext: bool) -> None:
        self._pool, self._secrets, self._helo_name, self._allow_plaintext = pool, secrets, helo_name, allow_plaintext
        self._cache: OrderedDict[int, Letter] = OrderedDict()

    async def of_job(self, account_id: int, job_id: int) -> Letter:
        """Raises NotSetUp; Unavailable without a database."""
        if (letter := self._cache.get(job_id)) is not None:
            self._cache.move_to_end(job_id)
            return letter
        async with self._pool.connection() as conn:
            stored = await jobs.job_content(conn, account_id, job_id)
        letter = self._cache[job_id] = self._write(stored)
        if len(self._cache) > LETTERS_MAX:
            self._cache.popitem(last=False)
        return letter

    def forget(self, job_id: int) -> None:
        self._cache.pop(job_id, None)

    def _write(self, stored: JobContent) -> Letter:
        assert stored.started_at is not None, "only a job that is sending has a letter"
        content = msgspec.json.decode(stored.content, type=Content)
        # Date, boundary and Message-ID come from the job's own row: the same bytes on every attempt and every machine.
        stamp = Stamp(f"{stored.id}-{stored.message_key}", stored.started_at)
        message = compile_content(content, stamp, msgspec.json.decode(stored.account_fields, type=dict[str, str]))
        try:
            endpoint = Endpoint(
                stored.host, stored.port, security=stored.security,  # type: ignore[arg-type]  # held by a CHECK
                username=stored.username, password=self._secrets.open(stored.password) if stored.password else None,
                helo_name=self._helo_name, allow_plaintext=self._allow_plaintext)
        except (InvalidInput, Unavailable) as error:
            raise NotSetUp(str(error)) from None
        return Letter(message, parse_address(content.from_address).envelope, endpoint, stored.lanes)
