"""The newest of what a process has heard of, and whether the database has it."""

from __future__ import annotations

from postroom.flow.delivery.witness import MOST, Witness
from postroom.gateway.journal import WindowKey


def key(window_no: int) -> WindowKey:
    return WindowKey(1, 2, 3, window_no)


def test_the_newest_windows_are_remembered() -> None:
    witness = Witness()
    for window_no in range(MOST + 10):
        witness.opened(key(window_no))
    assert witness.newest().windows == {key(window_no) for window_no in range(10, MOST + 10)}


def test_what_was_heard_of_while_the_database_was_looked_at_is_remembered_after_that() -> None:
    witness = Witness()
    witness.opened(key(1))
    witness.ended(7)
    known = witness.newest()
    witness.opened(key(2))
    witness.ended(8)
    witness.forget(known)
    assert (witness.newest().windows, witness.newest().ends) == ({key(2)}, {8})
