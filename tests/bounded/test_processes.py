"""Bounded processes: what is computed there comes back whole, and nothing that is done there reaches anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from postroom.bounded import processes as bounded
from postroom.bounded.processes import Processes, Work
from postroom.bounded.spool import SMALL_OCTETS
from postroom.errors import Conflict, InvalidInput, TooMany
from tests.bounded import calls

IT, LONG = Work("It", 1, short_s=1), Work("It", 60)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    running = Processes(2)
    yield running
    running.close()


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists()


def kill(pid: int) -> None:
    """Until it is dead, and not waited for yet."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize("value", [None, 1.5, "Zoë", b"\0" * 3_000_000, [{"a": (1, 2)}] * 1_000])
async def test_what_goes_in_and_out_is_the_same(processes: Processes, value: object) -> None:
    assert await processes.run(1, IT, calls.echo, value) == value


async def test_files_go_along_and_come_back_written(processes: Processes) -> None:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as into:
        source.write(b"abc")
        assert await processes.run(1, IT, calls.double, source, into) == 6
        into.seek(0)
        assert into.read() == b"abcabc"


async def test_a_process_is_used_again_and_holds_no_file_of_the_last_call(processes: Processes) -> None:
    pid = await processes.run(1, IT, calls.who)
    held = open_files(pid)
    for _ in range(3):
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as into:
            await processes.run(1, IT, calls.double, source, into)
    assert await processes.run(1, IT, calls.who) == pid
    assert open_files(pid) == held


async def test_what_computes_for_ever_is_ended_and_said(processes: Processes) -> None:
    with pytest.raises(InvalidInput, match=r"^The message takes more than 1 s to work through\. Make it simpler or smaller\.$"):
        await processes.run(1, Work("The message", 1), calls.compute_for_ever)
    assert await processes.run(1, IT, calls.echo, 1) == 1


async def test_what_fills_the_memory_is_refused_and_said(processes: Processes) -> None:
    with pytest.raises(InvalidInput, match="The list takes more than 768 MiB of memory"):
        await processes.run(1, Work("The list", 1), calls.fill_memory)
    assert await processes.run(1, IT, calls.echo, 1) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_process_that_dies_fails_its_call_alone(processes: Processes, number: int) -> None:
    with pytest.raises(InvalidInput, match="The message takes more"):
        await processes.run(1, Work("The message", 1), calls.die, number)
    assert await processes.run(1, IT, calls.echo, 1) == 1


async def test_one_that_died_while_it_was_idle_fails_nobody(processes: Processes) -> None:
    pid = await processes.run(1, IT, calls.who)
    kill(pid)
    assert await processes.run(1, IT, calls.who) != pid


async def test_errors_for_people_come_back_as_they_are(processes: Processes) -> None:
    with pytest.raises(InvalidInput, match="third row") as refused:
        await processes.run(1, IT, calls.refuse)
    assert [(one.field, one.row) for one in refused.value.faults] == [("recipients", 3)]
    with pytest.raises(Conflict) as conflict:
        await processes.run(1, IT, calls.conflict)
    assert conflict.value.job_id == 7


async def test_a_bug_comes_back_with_where_it_was(processes: Processes) -> None:
    with pytest.raises(KeyError) as bug:
        await processes.run(1, IT, calls.fail)
    assert "in fail" in "".join(bug.value.__notes__)


async def test_what_nothing_can_carry_is_a_bug_and_not_a_wait(processes: Processes) -> None:
    with pytest.raises(Exception, match=r"(?i)pickle|local object"):
        await processes.run(1, IT, calls.echo, lambda: None)
    with pytest.raises(Exception, match=r"(?i)pickle|local object"):
        await processes.run(1, IT, calls.nothing_can_carry_it)
    assert await processes.run(1, IT, calls.echo, 1) == 1


async def test_one_account_has_one_at_work_and_leaves_the_other_to_others(processes: Processes) -> None:
    mine = [asyncio.create_task(processes.run("mine", IT, calls.nap, 0.3)) for _ in range(3)]
    other = asyncio.create_task(processes.run("other", IT, calls.nap, 0.3))
    times = await asyncio.gather(*mine)
    began, _ended = await other
    assert all(first[1] <= second[0] for first, second in pairwise(times)), "one after the other"
    assert began < times[1][0], "another account does not wait behind them"


async def test_what_is_short_does_not_wait_for_two_accounts_long_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with contextlib.closing(Processes(2, kept=1)) as processes:
        long = [asyncio.create_task(processes.run(whose, LONG, calls.nap, 600)) for whose in ("one", "two")]
        while not processes._busy:  # noqa: ASYNC110 - until one has begun
            await asyncio.sleep(0.01)
        assert await processes.run("three", IT, calls.echo, 1) == 1
        assert len(processes._busy) == 1
        for one in long:
            one.cancel()
        await asyncio.gather(*long, return_exceptions=True)


async def test_what_is_not_done_as_a_short_call_is_done_as_a_long_one(processes: Processes) -> None:
    assert await processes.run(1, Work("It", 20, short_s=1), calls.compute, 1.5) == "computed"
    with pytest.raises(InvalidInput, match="It takes more than 2 s"):
        await processes.run(1, Work("It", 2, short_s=1), calls.compute_for_ever)


async def test_the_work_on_a_small_file_is_short() -> None:
    with tempfile.TemporaryFile() as file:
        assert LONG.on(file).short_s > 0
        file.truncate(SMALL_OCTETS + 1)
        assert LONG.on(file) == LONG


async def test_those_that_nobody_needs_end_but_for_one(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "IDLE_S", 0.2)
    two = {await one for one in [asyncio.create_task(processes.run(whose, IT, calls.who)) for whose in ("one", "two")]}
    assert len(two) == 2
    async with asyncio.timeout(20):
        while sum(map(lives, two)) != 1:  # noqa: ASYNC110 - processes that nobody waits for
            await asyncio.sleep(0.05)
    assert await processes.run(1, IT, calls.who) in two


async def test_an_account_that_asks_for_too_many_is_told(processes: Processes) -> None:
    asked = [asyncio.create_task(processes.run(1, IT, calls.nap, 0.01)) for _ in range(40)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one) for one in answers} == {tuple, TooMany}


async def test_who_is_cancelled_ends_the_process_with_what_it_did(processes: Processes) -> None:
    pid = await processes.run(1, IT, calls.who)
    asked = asyncio.create_task(processes.run(1, IT, calls.nap, 600))
    await asyncio.sleep(0)
    while not processes._busy:  # noqa: ASYNC110 - until it has begun
        await asyncio.sleep(0.01)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not lives(pid)
    assert await processes.run(1, IT, calls.echo, 1) == 1


async def test_closing_ends_whoever_is_at_work(processes: Processes) -> None:
    asked = asyncio.create_task(processes.run(1, IT, calls.nap, 600))
    while not processes._busy:  # noqa: ASYNC110 - until it has begun
        await asyncio.sleep(0.01)
    processes.close()
    with pytest.raises(InvalidInput):
        await asked


async def test_a_module_that_is_named_is_loaded_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    loading = Processes(1, ["colorsys"])
    assert await loading.run(1, IT, calls.has_loaded, "colorsys")
    assert not await loading.run(1, IT, calls.has_loaded, "chunk")
    loading.close()
