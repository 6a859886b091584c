"""The journal: what a process wrote can be read once it is dead, and only then; what is damaged proves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.errors import Unavailable
from postroom.gateway import journal as written
from postroom.gateway.dead_journals import DeadJournal, dead_journals
from postroom.gateway.journal import (
    HEADER_OCTETS,
    RECORD_OCTETS,
    RECORDS,
    SEGMENT_OCTETS,
    Intent,
    Journal,
    JournalFull,
    WindowKey,
)

INSTALLATION = b"this one........"
KEY, OTHER = WindowKey(1, 2, 3, 4), WindowKey(2**62, 2**62, 2**31 - 1, 2**31 - 1)
FULL = WindowKey(1, 1, 1, RECORDS)
SENT = Outcome(7, 1, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "2.0.0 Ok: queued as 4XYZ")
DIES_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.gateway.journal import Journal, WindowKey
journal = Journal.open(Path(sys.argv[1]), b"this one........", "host:1:abc", 9)
window = journal.intend(WindowKey(1, 2, 3, 4), 3)
journal.handing_over(window, 7, 1)
journal.answered(window, Outcome(7, 1, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "queued as 4XYZ"))
journal.handing_over(window, 8, 2)
print("now", flush=True)
sys.stdin.read()
"""


def opened(directory: Path, owner: str = "host:1:abc", installation: bytes = INSTALLATION, beat: int = 9) -> Journal:
    return Journal.open(directory, installation, owner, beat)


def abandon(journal: Journal) -> None:
    """As if its process were killed: its locks are gone and its files are there."""
    for segment in {intent.segment for intent in journal._unbooked} | {journal._current}:
        os.close(segment.descriptor)


def found(directory: Path) -> list[DeadJournal]:
    journals = list(dead_journals(directory, INSTALLATION))
    for one in journals:
        one.release()
    return journals


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.journal"))


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """The only segment of a process that died: an intent (record 1), S, A, S."""
    journal = opened(tmp_path)
    window = journal.intend(KEY, 3)
    journal.handing_over(window, 7, 1)
    journal.answered(window, SENT)
    journal.handing_over(window, 8, 2)
    abandon(journal)
    (path,) = segments(tmp_path)
    return path


# -- life and death -----------------------------------------------------------------------------------------------------


def test_what_a_killed_process_wrote_is_read_when_it_is_dead_and_not_before(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", DIES_IN_THE_MIDDLE, str(tmp_path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        assert found(tmp_path) == [], "it lives"
        process.send_signal(signal.SIGSTOP)
        assert found(tmp_path) == [], "it is frozen, which is not dead"
        process.kill()
        process.wait()
    (dead,) = found(tmp_path)
    assert (dead.owner, dead.beat, dead.is_whole) == ("host:1:abc", 9, True)
    assert dead.windows == {KEY: {
        (7, 1): Outcome(7, 1, Kind.SENT, Evidence.REPLY, 250, "2.0.0", "queued as 4XYZ"), (8, 2): None}}


def test_a_journal_is_settled_by_one_at_a_time_and_read_again_until_it_is_discarded(tmp_path: Path, left: Path) -> None:
    (dead,) = dead_journals(tmp_path, INSTALLATION)
    assert list(dead_journals(tmp_path, INSTALLATION)) == [], "somebody has it"
    dead.release()
    (again,) = dead_journals(tmp_path, INSTALLATION)
    assert again.windows == dead.windows
    again.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_clean_end_leaves_nothing_but_what_is_not_booked(tmp_path: Path) -> None:
    tidy, untidy = opened(tmp_path, "tidy"), opened(tmp_path, "untidy")
    untidy.intend(KEY, 1)
    tidy.booked(tidy.intend(KEY, 1))
    tidy.close()
    untidy.close()
    (dead,) = found(tmp_path)
    assert (dead.owner, dead.windows) == ("untidy", {KEY: {}})


def test_a_journal_that_is_set_aside_is_kept_and_never_read_again(tmp_path: Path, left: Path) -> None:
    (dead,) = dead_journals(tmp_path, INSTALLATION)
    dead.set_aside("newer-than-the-database")
    assert found(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [f"{left.name}.newer-than-the-database"]


def test_a_journal_of_another_installation_is_left_alone(tmp_path: Path, left: Path) -> None:
    assert list(dead_journals(tmp_path, b"another one.....")) == []
    assert len(found(tmp_path)) == 1, "neither removed nor still locked"


def test_a_directory_that_is_not_there_has_no_dead(tmp_path: Path) -> None:
    assert found(tmp_path / "nowhere") == []


# -- what is written ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("told", "kept"), [
    (Outcome(7, 32_767, Kind.REFUSED, Evidence.REPLY, 451, "4.7.28", "x" * 63, 3.5, 9), ("4.7.28", "x" * 37)),
    (Outcome(7, 1, Kind.FAILED, Evidence.REPLY, 550, None, "é" * 30), (None, "é" * 18)),  # the cut falls into a letter
    (Outcome(7, 1, Kind.FAILED, Evidence.REPLY, 550, "5.9999.1", ""), (None, "")),
    (Outcome(2**31 - 1, 1, Kind.REFUSED, Evidence.REPLY, 421, "4.999.999", None), ("4.999.999", "")),
])
def test_an_answer_is_kept_with_the_end_of_its_text(tmp_path: Path, told: Outcome, kept: tuple[str | None, str]) -> None:
    journal = opened(tmp_path)
    other = journal.intend(OTHER, 1)
    journal.handing_over(other, told.position, told.attempt_no)
    journal.answered(other, told)
    abandon(journal)
    (dead,) = found(tmp_path)
    assert dead.windows == {OTHER: {(told.position, told.attempt_no): told._replace(
        enhanced_code=kept[0], reply=kept[1], retry_in_s=None)}}


def test_every_kind_of_outcome_comes_back_as_it_was(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    window = journal.intend(KEY, len(Kind))
    told = [Outcome(position, 1, kind, Evidence.REPLY, 250, None, "so it said") for position, kind in enumerate(Kind)]
    for one in told:
        journal.answered(window, one)
    abandon(journal)
    assert list(found(tmp_path)[0].windows[KEY].values()) == told


def test_windows_of_many_sessions_may_mix(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    window = journal.intend(KEY, 2)
    other = journal.intend(OTHER, 2)
    for position in (1, 2):
        journal.handing_over(window, position, 1)
        journal.handing_over(other, position, 5)
    abandon(journal)
    assert found(tmp_path)[0].windows == {KEY: {(1, 1): None, (2, 1): None}, OTHER: {(1, 5): None, (2, 5): None}}


def test_a_window_that_two_claims_intend_is_remembered_for_each_of_them(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    first, second = journal.intend(KEY, 1), journal.intend(KEY, 1)  # its lease ran out, and another lane claimed the chunk
    fill(journal)
    journal.booked(first)
    journal.booked(first)
    journal.handing_over(second, 1, 2)
    assert len(segments(tmp_path)) == 2, "the second is not booked by the first"
    abandon(journal)
    assert found(tmp_path)[0].windows[KEY] == {(1, 2): None}


# -- segments -----------------------------------------------------------------------------------------------------------


def fill(journal: Journal) -> Intent:
    """An unbooked window that leaves no room in the segment."""
    return journal.intend(FULL, (RECORDS - 1) // 2)


def test_a_segment_whose_windows_are_booked_goes_when_the_database_was_seen_beyond_that(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    window = journal.intend(KEY, 1)
    journal.booked(window)
    first = segments(tmp_path)
    full = fill(journal)
    before = journal.finished()
    journal.intend(OTHER, 1)
    journal.booked(full)
    assert len(segments(tmp_path)) == 3
    journal.forget(before)
    assert (len(segments(tmp_path)), set(first) & set(segments(tmp_path))) == (2, set()), "and what was booked since stays"
    journal.forget(journal.finished())
    assert len(segments(tmp_path)) == 1
    abandon(journal)


def test_what_is_set_aside_is_kept_from_when_it_is_booked_and_no_reader_settles_by_it(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    booked, full = journal.intend(KEY, 1), fill(journal)
    journal.booked(booked)
    journal.set_aside("why")
    aside = [path.name for path in tmp_path.glob("*.why")]
    assert (len(aside), len(segments(tmp_path))) == (1, 2), "one is not booked yet, and there is a new one"
    journal.handing_over(full, 1, 1)
    journal.booked(full)
    journal.forget(journal.finished())
    assert len(list(tmp_path.glob("*.why"))) == 2
    fresh = journal.intend(OTHER, 1)
    journal.booked(fresh)
    journal.close()
    assert len(list(tmp_path.iterdir())) == 2, "what came later is like any other"
    assert found(tmp_path) == []


def test_what_stands_in_two_segments_is_read_as_one_journal(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    full = fill(journal)
    window = journal.intend(KEY, 2)
    journal.handing_over(window, 1, 1)
    journal.handing_over(full, 2, 1)
    assert len(segments(tmp_path)) == 2
    abandon(journal)
    (dead,) = found(tmp_path)
    assert dead.is_whole
    assert dead.windows == {FULL: {(2, 1): None}, KEY: {(1, 1): None}}


def test_a_segment_full_to_its_last_record_is_whole(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    window = journal.intend(KEY, (RECORDS - 1) // 2)
    for position in range(RECORDS - 1):
        journal.handing_over(window, position, 1)
    abandon(journal)
    (dead,) = found(tmp_path)
    assert (dead.is_whole, len(dead.windows[KEY])) == (True, RECORDS - 1)


def test_a_dead_journal_is_not_touched_while_one_of_its_segments_is_held(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal)
    before = journal._current.descriptor
    journal.intend(KEY, 1)
    os.close(before)  # a process that is dying loses its locks one after the other
    assert found(tmp_path) == []
    abandon_current = journal._current.descriptor
    os.close(abandon_current)
    assert len(found(tmp_path)) == 1


def test_sending_goes_on_when_the_directory_is_taken_away_and_the_next_segment_makes_it_anew(tmp_path: Path) -> None:
    home = tmp_path / "journal"
    journal = opened(home)
    full = fill(journal)
    segments(home)[0].unlink()
    home.rmdir()
    journal.handing_over(full, 1, 1)
    journal.intend(KEY, 1)
    journal.booked(full)
    assert len(segments(home)) == 1
    abandon(journal)


def test_what_was_begun_of_a_segment_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, young = tmp_path / "a-000001.draft", tmp_path / "b-000001.draft"
    for draft in (old, young):
        draft.touch()
    os.utime(old, (1, 1))
    assert found(tmp_path) == []
    assert list(tmp_path.iterdir()) == [young]


# -- nothing is sent that cannot be written -----------------------------------------------------------------------------


def test_a_journal_that_cannot_be_made_is_said_with_path_and_reason(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(JournalFull, match=r"The journal .*/journal/.*\.journal cannot be written: .* Nothing is sent") as error:
        opened(tmp_path / "journal")
    assert isinstance(error.value, Unavailable)


def test_without_room_for_a_segment_no_window_is_opened_and_it_goes_on_when_there_is_some(tmp_path: Path) -> None:
    home = tmp_path / "journal"
    journal = opened(home)
    full = fill(journal)
    home.rename(tmp_path / "away")
    home.touch()  # no directory can be made here
    with pytest.raises(JournalFull):
        window = journal.intend(KEY, 1)
    journal.handing_over(full, 1, 1)
    home.unlink()
    window = journal.intend(KEY, 1)
    journal.booked(window)
    journal.booked(full)
    journal.close()


def test_a_hand_over_that_cannot_be_written_may_not_be_made_and_an_answer_is_not_lost_by_it(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    window = journal.intend(KEY, 2)
    journal.handing_over(window, 1, 1)
    writable = journal._current.descriptor
    journal._current.descriptor = os.open(segments(tmp_path)[0], os.O_RDONLY)  # no write succeeds through this one
    with pytest.raises(JournalFull):
        journal.handing_over(window, 2, 1)
    journal.answered(window, SENT._replace(position=1))
    os.close(journal._current.descriptor)
    journal._current.descriptor = writable
    journal.handing_over(window, 2, 1)
    abandon(journal)
    (dead,) = found(tmp_path)
    assert (dead.is_whole, dead.windows) == (True, {KEY: {(1, 1): None, (2, 1): None}}), "what follows stands in its place"


# -- damage -------------------------------------------------------------------------------------------------------------


def test_behind_the_first_damaged_record_nothing_is_believed(tmp_path: Path, left: Path) -> None:
    damage(left, HEADER_OCTETS + 2 * RECORD_OCTETS + 20, b"\xff")  # in the answer, the third record
    (dead,) = found(tmp_path)
    assert (dead.is_whole, dead.windows) == (False, {KEY: {(7, 1): None}})


@pytest.mark.parametrize("octets", [SEGMENT_OCTETS - 1, HEADER_OCTETS + 3 * RECORD_OCTETS, HEADER_OCTETS])
def test_a_file_that_is_shorter_than_it_was_made_is_not_whole(tmp_path: Path, left: Path, octets: int) -> None:
    os.truncate(left, octets)
    (dead,) = found(tmp_path)
    assert not dead.is_whole
    assert dead.windows.keys() == ({KEY} if octets > HEADER_OCTETS else set())


def test_records_behind_a_gap_are_neither_believed_nor_overlooked(tmp_path: Path, left: Path) -> None:
    damage(left, HEADER_OCTETS + RECORD_OCTETS, bytes(RECORD_OCTETS))  # as after a power loss: a page that was never written
    (dead,) = found(tmp_path)
    assert (dead.is_whole, dead.windows) == (False, {KEY: {}})


def test_a_record_in_the_place_of_another_ends_the_file(tmp_path: Path, left: Path) -> None:
    content = left.read_bytes()
    second = content[HEADER_OCTETS + RECORD_OCTETS:HEADER_OCTETS + 2 * RECORD_OCTETS]
    damage(left, HEADER_OCTETS + 3 * RECORD_OCTETS, second)
    (dead,) = found(tmp_path)
    assert (dead.is_whole, dead.windows[KEY].keys()) == (False, {(7, 1)})


def test_a_record_of_another_file_ends_this_one(tmp_path: Path, left: Path) -> None:
    other = tmp_path / "other"
    journal = opened(other, "host:2:def")
    journal.intend(OTHER, 1)
    abandon(journal)
    foreign = segments(other)[0].read_bytes()[HEADER_OCTETS:HEADER_OCTETS + RECORD_OCTETS]
    damage(left, HEADER_OCTETS, foreign)
    (dead,) = found(tmp_path)
    assert (dead.is_whole, dead.windows) == (False, {})


def test_after_a_restart_of_the_machine_a_journal_is_not_whole(
        tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restarted = tmp_path / "boot_id"
    restarted.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    monkeypatch.setattr(written, "BOOT_ID", restarted)
    (dead,) = found(tmp_path)
    assert (dead.is_whole, len(dead.windows[KEY])) == (False, 2), "what is there was written all the same"
    monkeypatch.setattr(written, "BOOT_ID", tmp_path / "none")
    journal = opened(tmp_path / "untold")
    abandon(journal)
    assert [one.is_whole for one in found(tmp_path / "untold")] == [False], "where the system does not tell, nothing is sure"


def test_a_file_without_a_header_is_set_aside(tmp_path: Path, left: Path) -> None:
    damage(left, 0, bytes(HEADER_OCTETS))
    assert found(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [f"{left.name}.unreadable"]


def damage(path: Path, offset: int, octets: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(octets)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(offset=st.integers(0, HEADER_OCTETS + 6 * RECORD_OCTETS), octets=st.binary(min_size=1, max_size=200))
def test_whatever_is_damaged_the_reader_tells_nothing_that_was_not_written(
        tmp_path: Path, left: Path, offset: int, octets: bytes) -> None:
    whole = left.read_bytes()
    damage(left, offset, octets)
    try:
        for dead in found(tmp_path):
            assert dead.windows.items() <= {KEY: {(7, 1): SENT, (8, 2): None}}.items() or not dead.is_whole
            assert dead.windows.get(KEY, {}).keys() <= {(7, 1), (8, 2)}
            assert dead.windows.get(KEY, {}).get((7, 1)) in (None, SENT)
            assert dead.is_whole == (left.read_bytes() == whole)
    finally:
        for path in tmp_path.iterdir():
            path.rename(left)
        left.write_bytes(whole)
