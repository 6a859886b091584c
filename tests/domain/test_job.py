"""The statuses of a job and the moves between them."""

from __future__ import annotations

import pytest

from postroom.domain.job import OVER, TRANSITIONS, Status, needs_approval, origins


def test_there_are_exactly_six_statuses_with_the_labels_that_people_know() -> None:
    assert [status.label for status in Status] == ["Pending approval", "Queued", "Sending", "Completed", "Cancelled", "Failed"]


def test_no_move_stands_twice_in_the_table() -> None:
    pairs = [(move.origin, move.target) for move in TRANSITIONS]
    assert len(pairs) == len(set(pairs))


def test_a_status_that_is_over_is_left_by_no_move_and_every_other_one_is() -> None:
    left = {move.origin for move in TRANSITIONS} - {None}
    assert left == set(Status) - OVER
    assert {status for status in Status if status.is_over} == OVER


def test_every_status_can_be_reached() -> None:
    reached: set[Status | None] = {None}
    for _ in Status:
        reached |= {move.target for move in TRANSITIONS if move.origin in reached}
    assert reached == {None, *Status}


def test_every_status_has_a_meaning() -> None:
    assert all(status.meaning.endswith(".") for status in Status)


@pytest.mark.parametrize(("count", "threshold", "waits"), [(99, 100, False), (100, 100, True), (101, 100, True), (1, 1, True)])
def test_the_gate_stands_at_the_threshold(count: int, threshold: int, waits: bool) -> None:
    assert needs_approval(count, threshold) is waits


def test_a_person_may_cancel_whatever_is_not_over() -> None:
    assert origins("cancel") == (Status.PENDING_APPROVAL, Status.QUEUED, Status.SENDING)
    assert origins("submit") == ()
