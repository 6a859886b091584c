"""From a list to a gateway: the whole way on real parts, and the gate on it."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from acting import acting
from conftest import passable_directory
from postroom.domain.job import Status
from postroom.flow.audience.list_file import ListFile
from postroom.flow.job.approve import approve
from smtp_sink import Sink, smtp_sink
from stage import Stage, eventually

COUNT = 10_000
NAMES = ("Anna", "Żaneta", "Ольга", "王小明", "محمد", "O'Brien, \"Pat\"", "Γιώργος", "José")


def a_list_as_csv() -> io.BytesIO:
    """10,000 people in many scripts; three of them twice, one address that is none, and one that is missing."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["email", "name", "city"])
    table.writerows([f"person{n}@list.example", f"{NAMES[n % len(NAMES)]} {n}", "Łódź"] for n in range(1, COUNT + 1))
    again = ("PERSON1@list.example", "person2@LIST.example", "person3@list.example")
    table.writerows([[address, "again", ""] for address in again])
    table.writerows([["not an address", "x", ""], ["", "nobody", ""]])
    return io.BytesIO(text.getvalue().encode())


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    directory: Path = passable_directory("sink")
    async with smtp_sink(directory) as sink:
        yield sink
    shutil.rmtree(directory)


async def submitted(stage: Stage, account: int):
    job = await stage.checked(account, ListFile(a_list_as_csv(), "table"))
    assert (job.status, job.recipient_count) == (Status.PENDING_APPROVAL, COUNT)
    assert (job.excluded_duplicates, job.excluded_unusable) == (3, 2)
    return job


async def test_ten_thousand_from_a_csv_reach_the_gateway_and_both_sides_count_the_same(stage: Stage) -> None:
    account = await stage.account(connections=8)
    async with stage.worker():
        job = await submitted(stage, account)
        assert stage.sandbox.accepted == 0, "nobody is spoken to before the approval"
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert sides.numbers.status is Status.COMPLETED
    assert sides.counts == (COUNT, 0, 0, 0, 0)
    assert len(sides.taken) == stage.sandbox.accepted == COUNT
    assert {record.rcpt for record in stage.sandbox.records} == {(f"person{n}@list.example",) for n in range(1, COUNT + 1)}


async def test_ten_thousand_reach_a_gateway_that_somebody_else_wrote(stage: Stage, sink: Sink) -> None:
    account = await stage.account(connections=8, port=sink.port)
    async with stage.worker():
        job = await submitted(stage, account)
        await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
        done = await stage.over(account, job.id)
    assert (done.status, done.sent, done.unsent, done.unconfirmed) == (Status.COMPLETED, COUNT, 0, 0)

    async def all_written() -> bool:
        return sum(sink.recipients().values()) >= COUNT
    await eventually(all_written)
    assert sink.accepted() == COUNT
    assert sink.recipients() == {f"person{n}@list.example": 1 for n in range(1, COUNT + 1)}


@pytest.mark.parametrize(("count", "waits"), [(99, False), (100, True), (101, True)])
async def test_the_gate_stands_at_one_hundred(stage: Stage, count: int, waits: bool) -> None:
    account = await stage.account()
    async with stage.worker():
        job = await stage.checked(account, count)
        assert job.status is (Status.PENDING_APPROVAL if waits else Status.SENDING)
        if waits:
            assert stage.sandbox.accepted == 0
            await approve(stage.pool, acting(account, "boss"), job.id, digest=job.digest)
        await stage.over(account, job.id)
    sides = await stage.sides(account, job.id)
    assert (sides.numbers.status, sides.counts) == (Status.COMPLETED, (count, 0, 0, 0, 0))
    assert sides.numbers.approved_by == ("boss" if waits else None)
    assert len(sides.taken) == count
