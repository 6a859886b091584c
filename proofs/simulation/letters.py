"""The letters of the simulation: a message is the job and the position that it is for, and costs nothing to make."""

from __future__ import annotations

from types import SimpleNamespace

from postroom.domain.pace import FIRST_WINDOW_SIZE
from postroom.gateway.connect import Endpoint

ENDPOINT = Endpoint("gateway.example", 25, security="implicit")
GATEWAY = 1


class Letter:
    def __init__(self, job_id: int, lanes: int) -> None:
        self.job_id, self.lanes = job_id, lanes
        self.endpoint, self.gateway_id = ENDPOINT, GATEWAY
        self.is_slow = False
        self.retry_attempts_max = 4
        self.window_size = FIRST_WINDOW_SIZE
        self.message = SimpleNamespace(tail=b"", sender=lambda position: b"bounces@club.example")

    def write(self, envelope: bytes, address: str, position: int, fields: str) -> bytes:
        return b"%d.%d\r\n" % (self.job_id, position)


class Letters:
    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._letters: dict[int, Letter] = {}

    async def of_job(self, account_id: int, job_id: int) -> Letter:
        return self._letters.setdefault(job_id, Letter(job_id, self._lanes))

    def forget(self, job_id: int) -> None:
        self._letters.pop(job_id, None)
