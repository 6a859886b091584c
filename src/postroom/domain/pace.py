"""How much at once, how long to wait: pure functions, every number with its unit."""

from __future__ import annotations

from math import ceil

CHUNK_SIZE_MAX = 1_000
WINDOW_SIZE_MAX = 50
WINDOW_TIME_S = 0.2
CHUNKS_PER_LANE = 4

RETRY_DELAY_BASE_S = 5.0
RETRY_DELAY_MAX_S = 900.0
REFUSALS_MAX = 8


def chunk_size(recipient_count: int, lanes: int) -> int:
    """Recipients in a chunk: at most 1,000, and small enough that every lane gets work until near the end."""
    return max(1, min(CHUNK_SIZE_MAX, ceil(recipient_count / (lanes * CHUNKS_PER_LANE))))


def window_size(messages_per_s: float) -> int:
    """Recipients whose intent is committed together: about 200 ms of this session's own speed, at most 50."""
    return max(1, min(WINDOW_SIZE_MAX, round(messages_per_s * WINDOW_TIME_S)))


def retry_delay_s(refusals: int, chance: float, base_s: float = RETRY_DELAY_BASE_S) -> float:
    """Full-jitter exponential backoff: `chance` in [0, 1) is drawn by the caller; `refusals` counts from 1."""
    return chance * min(RETRY_DELAY_MAX_S, base_s * 2.0 ** min(refusals, 20))
