"""Real workers, killed, frozen, cut off, robbed of database, journal and power: the short versions of `make prove`."""

from __future__ import annotations

import pytest

from proofs import (
    clocks,
    databases,
    failover,
    freezes,
    journal_losses,
    kills,
    machines,
    points,
    poolers,
    power_losses,
    restores,
)
from proofs.verdict import Scale


async def test_workers_that_are_killed_lose_nobody_and_mail_nobody_twice() -> None:
    verdict = await kills.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    assert verdict.figures["kills"] == 10


async def test_a_database_that_stops_at_once_leaves_nobody_in_doubt() -> None:
    verdict = await databases.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    assert verdict.figures["unconfirmed"] == 0


async def test_without_the_journals_of_the_dead_only_open_windows_are_in_doubt() -> None:
    verdict = await journal_losses.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    assert verdict.figures["unconfirmed"] > 0, "somebody had a window in hand each time"


async def test_a_loss_of_power_leaves_doubt_about_open_windows_at_most() -> None:
    assert (await power_losses.prove(Scale.SHORT, 1, print)).faults == []


async def test_a_worker_that_wakes_up_after_its_lease_leaves_nobody_in_doubt() -> None:
    verdict = await freezes.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    assert verdict.figures["chunks taken over"] > 0


async def test_whoever_dies_at_a_named_point_everybody_is_accounted_for() -> None:
    verdict = await points.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    figures = verdict.figures
    assert figures["deaths"] >= points.POINTS_MIN
    doomed = figures["lives"] - figures["lives led once more"] - len(points.LIVES)
    assert figures["deaths"] + figures["lives in which nobody died though somebody was to"] == doomed


async def test_the_other_machine_goes_on_where_one_is_cut_off() -> None:
    verdict = await machines.prove(Scale.SHORT, 1, print)
    if verdict.skipped:
        pytest.skip(verdict.skipped)
    assert verdict.faults == []


async def test_a_standby_that_takes_over_has_nobody_mailed_again() -> None:
    verdict = await failover.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    assert (verdict.figures["fail-overs"], verdict.figures["stood still"]) == (2, 1)


async def test_behind_a_pooler_nobody_is_lost_or_mailed_again_and_one_that_keeps_no_session_is_refused() -> None:
    verdict = await poolers.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    figures = verdict.figures
    assert (figures["stops"], figures["refused in transaction mode"], figures["refused in statement mode"]) == (1, 1, 1)


async def test_a_backup_in_the_place_of_the_database_has_nobody_mailed_again_but_by_a_persons_wrong_word() -> None:
    verdict = await restores.prove(Scale.SHORT, 1, print)
    assert verdict.faults == []
    assert (verdict.figures["twice"], verdict.figures["stood still"]) == (0, 1)
    assert verdict.figures[restores.MAILED_AGAIN] > 0, "a person took an old dump for the newest database"


async def test_a_clock_that_is_set_gives_nobody_up_and_keeps_nobody_waiting() -> None:
    assert (await clocks.prove(Scale.SHORT, 1, print)).faults == []
