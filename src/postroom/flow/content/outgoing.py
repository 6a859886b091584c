"""What is needed of a job to send it: the compiled message, its signatures, and the way to the gateway. Made once per job."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from postroom.domain.pace import FIRST_WINDOW_SIZE
from postroom.errors import Unavailable
from postroom.flow.account import domains
from postroom.flow.account.deployment import Deployment, NotSetUp
from postroom.flow.account.domains import OpenedKey
from postroom.gateway.session import Endpoint
from postroom.ledger.content import attachments, contents
from postroom.ledger.content.contents import JobContent
from postroom.ledger.database.db import Connection, Pool
from postroom.message.content import Bodies, Content, Identity
from postroom.message.render.compile import Compiled, Outfit, Stamp
from postroom.message.render.compile import compile as compile_content
from postroom.message.wire import own_headers
from postroom.message.wire.address import needs_utf8
from postroom.message.wire.dkim import Dkim, load_signer
from postroom.message.wire.token import Tokens

JOBS_MAX = 32
FILES_OCTETS_MAX = 64 * 2**20  # of all jobs that are kept, so that a few jobs with large files do not fill the memory
SLOW_S = 0.002  # of CPU: a message that takes longer is made in a thread, so that other sessions of the process go on

decode_fields = msgspec.json.Decoder(dict[str, str | int | float | bool | None]).decode


class Writer:
    """Writes one job's message to one recipient after the other. Several threads may write at once."""

    def __init__(self, message: Compiled, dkim: Dkim | None) -> None:
        self.message = message
        self.is_slow = dkim is not None and dkim.is_slow
        self._dkim = dkim
        self._body_hash: bytes | None = None
        self._rendering = threading.Lock()

    def write(self, envelope: bytes, address: str, position: int, fields: str, blanks: set[str] | None = None) -> bytes:
        """The bytes for one recipient, signed and looked at once more; `message.tail` follows them. Raises Unrenderable.

        `fields` is a JSON object, `blanks` as in `Compiled.render`. The same for the same recipient, whoever writes it and
        however often.
        """
        with self._rendering:
            message = self.message.render(address, position, decode_fields(fields), blanks)
        if self._dkim is not None:
            if self._body_hash is None and not self.message.body_varies:
                self._body_hash = self._dkim.body_hash(message)
            message = self._dkim.sign(message, self._body_hash)
        self.message.check(message, utf8=needs_utf8(envelope))
        return message


class OutgoingJob(Writer):
    """One job, ready to go out: its message, the way to its gateway, and how often a recipient is tried there.

    `window_size` is what the latest window showed to be right, for whoever begins with a chunk.
    """

    def __init__(self, message: Compiled, dkim: Dkim | None, endpoint: Endpoint, *, gateway_id: int, lanes: int,
                 retry_attempts_max: int) -> None:
        super().__init__(message, dkim)
        self.endpoint = endpoint
        self.gateway_id = gateway_id
        self.lanes = lanes
        self.retry_attempts_max = retry_attempts_max
        self.window_size = FIRST_WINDOW_SIZE


class OutgoingJobs:
    """The jobs that this worker has lately sent for; the least recently used one goes first."""

    def __init__(self, pool: Pool, deployment: Deployment) -> None:
        self._pool, self._deployment = pool, deployment
        self._kept: OrderedDict[int, OutgoingJob] = OrderedDict()

    async def of_job(self, account_id: int, job_id: int) -> OutgoingJob:
        """Of a job that has started. Raises NotSetUp; Unavailable without a database, or with another secret key."""
        if (outgoing := self._kept.get(job_id)) is not None:
            self._kept.move_to_end(job_id)
            return outgoing
        outgoing = self._kept[job_id] = await outgoing_job(self._pool, self._deployment, account_id, job_id)
        files = sum(len(one.message.tail) for one in self._kept.values())
        while len(self._kept) > 1 and (len(self._kept) > JOBS_MAX or files > FILES_OCTETS_MAX):
            _, oldest = self._kept.popitem(last=False)
            files -= len(oldest.message.tail)
        return outgoing

    def forget(self, job_id: int) -> None:
        self._kept.pop(job_id, None)


async def outgoing_job(pool: Pool, deployment: Deployment, account_id: int, job_id: int) -> OutgoingJob:
    """As it goes out; of a job that has not started, as it would go out now. Raises NotFound, NotSetUp, Unavailable."""
    async with pool.connection() as conn:
        stored = await contents.job_content(conn, account_id, job_id)
        files = await files_of(conn, stored)
        message, dkim = await signed(conn, deployment, stored, files)
    return OutgoingJob(message, dkim, deployment.endpoint(stored), gateway_id=stored.gateway_id, lanes=stored.lanes,
                  retry_attempts_max=stored.retry_attempts_max)


async def signed(conn: Connection, deployment: Deployment, stored: JobContent,
                 files: Mapping[str, bytes]) -> tuple[Compiled, Dkim | None]:
    """A job's message and what signs it, as `made` makes them. Raises NotSetUp."""
    return await asyncio.to_thread(made, stored, files, await keys_of(conn, deployment, stored))


async def keys_of(conn: Connection, deployment: Deployment, stored: JobContent) -> tuple[OpenedKey, ...]:
    """What signs a job's messages. Raises NotSetUp."""
    try:
        return await domains.opened_keys(conn, deployment.secrets, stored.account_id, stored.dkim_keys)
    except Unavailable as error:  # sealed with another key than this installation's
        raise NotSetUp(str(error)) from None


def made(stored: JobContent, files: Mapping[str, bytes], keys: Sequence[OpenedKey],
         content: Content | None = None) -> tuple[Compiled, Dkim | None]:
    """A job's message (`compile_job`) and what signs it; None where the account has no keys for its domain."""
    moment = moment_of(stored)
    begun = replace(stored, started_at=moment)  # its Date is the moment of the signatures, however long it takes to make
    message = compile_job(begun, files, signatures=len(keys), content=content)
    signers = [load_signer(key.domain, key.selector, key.private_key) for key in keys]
    own = own_headers.signed((content or content_of(stored)).headers)
    return message, Dkim(signers, moment, message.tail, own) if signers else None


async def files_of(conn: Connection, stored: JobContent) -> dict[str, bytes]:
    """The octets of a job's attachments, by digest."""
    digests = [one.digest for one in content_of(stored).attachments]
    return await attachments.octets_of(conn, stored.account_id, digests) if digests else {}


def compile_job(stored: JobContent, files: Mapping[str, bytes], *, signatures: int = 0,
                content: Content | None = None) -> Compiled:
    """A job's message. Date, boundaries and Message-ID come from the job's own row: the same bytes on every attempt and every
    machine. `content` instead of the job's own is for a test message."""
    account_fields = msgspec.json.decode(stored.account_fields, type=dict[str, str])
    outfit = Outfit(identity=identity_of(stored), tokens=Tokens(stored.token_key, stored.id), files=files,
                    fails_blanks=stored.field_policy != "blank", signatures=signatures)
    return compile_content(content or content_of(stored), bodies_of(stored), stamp_of(stored), account_fields, outfit)


def content_of(stored: JobContent) -> Content:
    return msgspec.json.decode(stored.content, type=Content)


def bodies_of(stored: JobContent) -> Bodies:
    return msgspec.json.decode(stored.bodies, type=Bodies)


def identity_of(stored: JobContent) -> Identity | None:
    """None for a job that is older than identities."""
    return msgspec.json.decode(stored.identity, type=Identity) if stored.identity != "{}" else None


def moment_of(stored: JobContent) -> datetime:
    """Date and the time of the signatures: when the job started, or now for a look before that."""
    return stored.started_at or datetime.now(UTC)


def stamp_of(stored: JobContent) -> Stamp:
    return Stamp(f"{stored.id}-{stored.message_key}", moment_of(stored))
