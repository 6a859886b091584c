"""The outgoing jobs of the simulation: a message is the job and the position that it is for, and costs nothing to make."""

from __future__ import annotations

from types import SimpleNamespace

from postroom.domain.pace import FIRST_WINDOW_SIZE
from postroom.gateway.connect import Endpoint

ENDPOINT = Endpoint("gateway.example", 25, security="implicit")
GATEWAY = 1
ATTEMPTS_MAX = 4


class OutgoingJob:
    def __init__(self, job_id: int, lanes: int) -> None:
        self.job_id, self.lanes = job_id, lanes
        self.endpoint, self.gateway_id = ENDPOINT, GATEWAY
        self.is_slow = False
        self.retry_attempts_max = ATTEMPTS_MAX
        self.window_size = FIRST_WINDOW_SIZE
        self.message = SimpleNamespace(tail=b"", sender=lambda position: b"bounces@club.example")

    def write(self, envelope: bytes, address: str, position: int, fields: str) -> bytes:
        return b"%d.%d\r\n" % (self.job_id, position)


class OutgoingJobs:
    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._jobs: dict[int, OutgoingJob] = {}

    async def of_job(self, account_id: int, job_id: int) -> OutgoingJob:
        return self._jobs.setdefault(job_id, OutgoingJob(job_id, self._lanes))

    def forget(self, job_id: int) -> None:
        self._jobs.pop(job_id, None)
