"""How much at once, how long to wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroom.domain.pace import CHUNK_SIZE_MAX, RETRY_DELAY_MAX_S, WINDOW_SIZE_MAX, chunk_size, retry_delay_s, window_size


@given(st.integers(1, 2_000_000), st.integers(1, 100))
def test_a_chunk_has_1_to_1000_recipients_and_small_jobs_give_every_lane_work(count: int, lanes: int) -> None:
    size = chunk_size(count, lanes)
    assert 1 <= size <= CHUNK_SIZE_MAX
    assert -(-count // size) >= min(lanes, count)


@given(st.floats(0, 1e9))
def test_a_window_has_1_to_100_recipients(messages_per_s: float) -> None:
    assert 1 <= window_size(messages_per_s) <= WINDOW_SIZE_MAX


def test_a_window_is_about_400_ms_of_a_sessions_own_speed_and_up_to_two_seconds_of_a_slow_ones() -> None:
    assert [window_size(speed) for speed in (0, 5, 25, 100, 250, 10_000)] == [1, 10, 32, 40, 100, 100]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_retry_waits_never_longer_than_the_cap(refusals: int, chance: float) -> None:
    assert 0 <= retry_delay_s(refusals, chance) <= RETRY_DELAY_MAX_S


def test_each_refusal_doubles_the_longest_wait() -> None:
    assert [retry_delay_s(n, 0.5, base_s=1) for n in (1, 2, 3)] == [1, 2, 4]
