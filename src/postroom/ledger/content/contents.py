"""What a job sends: its message, as it was frozen with the job, and what it is sent with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from psycopg.rows import class_row

from postroom.errors import NotFound
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class JobContent:
    """The message of a job and what it is sent with. `content`, `bodies`, `identity` and `account_fields` are JSON; `password`
    and `oauth` are sealed; `token_key` is the account's."""

    id: int
    account_id: int
    content: str
    bodies: str
    identity: str
    account_fields: str
    message_key: str
    token_key: bytes = field(repr=False)
    dkim_keys: list[int]
    field_policy: str
    started_at: datetime | None
    lanes: int
    retry_attempts_max: int
    gateway_id: int
    host: str
    port: int
    security: str
    username: str | None
    password: bytes | None
    ca_certificates: str | None
    oauth: bytes | None


async def job_content(conn: Connection, account_id: int, job_id: int) -> JobContent:
    """Raises NotFound."""
    async with conn.cursor(row_factory=class_row(JobContent)) as cursor:
        await cursor.execute(SQL.job_content, {"account_id": account_id, "job_id": job_id})
        if (content := await cursor.fetchone()) is None:
            raise no_such_job(job_id)
        return content


def no_such_job(job_id: int) -> NotFound:
    return NotFound(f"There is no job {job_id} in this account.")
