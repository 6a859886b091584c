"""Messages that take long to make are made in threads, so that a worker's other sessions go on; quick ones are not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acting import acting
from postroom.domain.outcome import Kind
from postroom.domain.pace import FIRST_WINDOW_SIZE
from postroom.flow.account import domains
from postroom.flow.content.outgoing import OutgoingJob, OutgoingJobs, outgoing_job, signed
from postroom.flow.delivery.window_source import Row, WindowSource
from postroom.flow.job.finish import cancel
from postroom.gateway.journal import Journal, WindowKey
from postroom.gateway.sandbox.script import Answer, Script
from postroom.ledger.content import contents
from postroom.ledger.delivery.windows import InHand, Window
from postroom.message.content import Bodies
from postroom.message.render.compile import Stamp
from postroom.message.render.compile import compile as compile_content
from stage import CONTENT, Stage


def slow_template() -> str:
    """A text that takes about 6 ms of CPU on whatever machine this is: three times as much as a message may take in the event
    loop, and a third of what the pre-flight lets pass."""
    def once(loops: int) -> tuple[str, float]:
        text = f"{{% for i in (1..{loops}) %}}{{{{ name | append: i }}}} {{% endfor %}}\n"
        message = compile_content(CONTENT, Bodies(None, text), Stamp("1-k", datetime(2030, 1, 1, tzinfo=UTC)), {})
        began = time.thread_time()
        for position in range(5):
            message.render("ann@list.example", position, {"name": "Ann"})
        return text, (time.thread_time() - began) / 5

    _, cost_s = min((once(200) for _ in range(5)), key=lambda measured: measured[1])
    return once(round(200 * 0.006 / cost_s))[0]



SLOW = replace(CONTENT, text=slow_template())
KEY = WindowKey(1, 1, 0, 1)
COUNT = 4 * FIRST_WINDOW_SIZE  # with one connection each window is a chunk
FIRST_WINDOW, EVERYBODY = set(range(1, FIRST_WINDOW_SIZE + 1)), set(range(1, COUNT + 1))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path, bytes(16), "tester", 0)
    yield journal
    journal.close()


class Watched(OutgoingJob):
    """Notes to whom it was written in the event loop's own thread, and to whom in another."""

    in_the_loop: set[int]
    in_threads: set[int]

    def write(self, envelope: bytes, address: str, position: int, fields: str) -> bytes:
        is_loop = threading.current_thread() is threading.main_thread()
        (self.in_the_loop if is_loop else self.in_threads).add(position)
        return super().write(envelope, address, position, fields)


class WatchedJobs(OutgoingJobs):
    """Has one job, the one that the test is about."""

    outgoing: Watched

    async def of_job(self, account_id: int, job_id: int) -> OutgoingJob:
        return self.outgoing


async def watched(stage: Stage, account: int, job_id: int) -> Watched:
    async with stage.pool.connection() as conn:
        stored = await contents.job_content(conn, account, job_id)
        outgoing = Watched(*await signed(conn, stage.deployment, stored, {}), stage.deployment.endpoint(stored),
                         gateway_id=stored.gateway_id, lanes=stored.lanes, retry_attempts_max=stored.retry_attempts_max)
    outgoing.in_the_loop, outgoing.in_threads = set(), set()
    return outgoing


@pytest.mark.parametrize(("algorithm", "content", "in_the_loop"), [
    ("rsa", CONTENT, set()), ("ed25519", CONTENT, EVERYBODY), ("ed25519", SLOW, FIRST_WINDOW)])
async def test_what_is_slow_is_made_in_threads_from_the_start_with_rsa_and_as_soon_as_a_template_shows_it(
        stage: Stage, algorithm: str, content, in_the_loop: set[int]) -> None:
    account = await stage.account(connections=1)
    await domains.add_domain(stage.pool, stage.deployment.secrets, acting(account), "club.example", [algorithm])
    job = await stage.started(account, COUNT, content=content)
    outgoing_jobs = WatchedJobs(stage.pool, stage.deployment)
    outgoing_jobs.outgoing = await watched(stage, account, job.id)
    await stage.query("DELETE FROM procrastinate_jobs RETURNING 1")  # the test is the only lane
    async with stage.deliveries(outgoing_jobs) as deliveries:
        while await deliveries.deliver(account, job.id, may_stay=True):
            pass
    assert outgoing_jobs.outgoing.in_the_loop == in_the_loop
    assert outgoing_jobs.outgoing.in_threads == EVERYBODY - in_the_loop
    assert (await stage.sides(account, job.id)).counts == (COUNT, 0, 0, 0, 0)


async def test_a_window_that_is_made_ahead_ends_where_it_may_not_go_on_and_gives_everybody_back(
        stage: Stage, journal: Journal) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, stage.deployment.secrets, acting(account), "club.example", ["rsa"])
    job = await stage.started(account, COUNT)
    outgoing = await watched(stage, account, job.id)
    answers = iter([True, True, True])
    window = Window(1, tuple(InHand(n, 1, f"person{n}@list.example", '{"name": "Ann"}', 0) for n in range(1, 11)))
    source = WindowSource(window, outgoing, lambda: next(answers, False), journal=journal, intent=journal.intend(KEY, 50),
                  retry_base_s=1, row=Row())
    await asyncio.to_thread(source.prepare)
    assert outgoing.in_threads == {1, 2, 3}
    assert source.next() is None
    assert [one.kind for one in source.outcomes()] == [Kind.RELEASED] * 10
    assert outgoing.in_the_loop == set()


async def test_a_message_is_the_same_wherever_it_is_made(stage: Stage, journal: Journal) -> None:
    account = await stage.account()
    await domains.add_domain(stage.pool, stage.deployment.secrets, acting(account), "club.example", ["rsa"])
    job = await stage.started(account, COUNT, content=SLOW)
    outgoing = [await outgoing_job(stage.pool, stage.deployment, account, job.id) for _ in range(2)]
    ahead, here = (WindowSource(Window(1, (InHand(7, 1, "person7@list.example", '{"name": "Ann"}', 0),)), one, lambda: True,
                                journal=journal, intent=journal.intend(KEY, 50), retry_base_s=1, row=Row())
                   for one in outgoing)
    await asyncio.to_thread(ahead.prepare)
    first, second = ahead.next(), here.next()
    assert first is not None
    assert second is not None
    assert ahead.content(first) == here.content(second)


async def test_a_cancel_in_the_middle_of_slow_messages_leaves_everybody_counted(stage: Stage) -> None:
    stage.sandbox.script = Script(dot=Answer(delay_s=0.02))
    account = await stage.account()
    await domains.add_domain(stage.pool, stage.deployment.secrets, acting(account), "club.example", ["rsa"])
    async with stage.worker_process():
        job = await stage.started(account, 400, content=SLOW)
        await stage.until_accepted(60)
        await cancel(stage.pool, acting(account, "boss"), job.id)
        after = await stage.over(account, job.id)
        following = await stage.started(account, 30, content=SLOW)
        assert (await stage.over(account, following.id)).sent == 30
    assert 60 <= after.sent < 400
    assert (await stage.sides(account, job.id)).counts == (after.sent, 0, 0, 0, 400 - after.sent)
    assert (await stage.sides(account, following.id)).counts == (30, 0, 0, 0, 0)
