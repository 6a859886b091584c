"""How much at once, how long to wait: pure functions, every number with its unit."""

from __future__ import annotations

from math import ceil

CHUNK_SIZE_MAX = 1_000
FIRST_WINDOW_SIZE = 10  # while nothing is known of the speed
WINDOW_SIZE_MAX = 100
WINDOW_TIME_S = 0.4
WINDOW_FAR_SIZE = 32  # each turn costs a round trip: to a gateway that is far away it shall be one in thirty-three
WINDOW_FAR_TIME_S = 2.0
CHUNKS_PER_LANE = 4

RETRY_DELAY_BASE_S = 5.0
RETRY_DELAY_MAX_S = 900.0

# Recipients refused for good in a row, nobody accepted between them, by answers that do not tell whom they are about: so many
# that are alike, or so many whatever is said, and it is about us, or about the message.
ALIKE_MAX = 5
REFUSED_IN_A_ROW_MAX = 20

# A throttled gateway: half as fast, at most once a second; then faster again by a twentieth of that speed each second, so
# as fast as before after 20 s. A minute without another throttle ends it.
SLOWED_TO = 0.5
SLOWED_EVERY_S = 1.0
SLOWED_FROM_MIN_PER_S = 2.0  # where too little was accepted lately to measure by
SPEED_MIN_PER_S = 0.1
GROWTH_PER_S = 0.05
SLOWED_FOR_S = 60.0
THROTTLES_IN_A_ROW_MAX = 5  # seconds in a row with a throttle and nothing accepted: then it is better left alone


def chunk_size(recipient_count: int, lanes: int) -> int:
    """Recipients in a chunk: at most 1,000, and small enough that every lane gets work until near the end."""
    return max(1, min(CHUNK_SIZE_MAX, ceil(recipient_count / (lanes * CHUNKS_PER_LANE))))


def window_size(messages_per_s: float) -> int:
    """Recipients whose intent is committed together: about 400 ms of this session's own speed, at most 100; where that is fewer
    than 32, up to two seconds' worth."""
    far = min(WINDOW_FAR_SIZE, round(messages_per_s * WINDOW_FAR_TIME_S))
    return max(1, min(WINDOW_SIZE_MAX, max(far, round(messages_per_s * WINDOW_TIME_S))))


def retry_delay_s(refusals: int, chance: float, base_s: float = RETRY_DELAY_BASE_S) -> float:
    """Full-jitter exponential backoff: `chance` in [0, 1) is drawn by the caller; `refusals` counts from 1."""
    return chance * min(RETRY_DELAY_MAX_S, base_s * 2.0 ** min(refusals, 20))


def grown_to_per_s(slowed_per_s: float, since_s: float) -> float | None:
    """Additive increase: messages a second, so long after it was slowed to `slowed_per_s`. None: it is slowed no more."""
    return slowed_per_s * (1 + GROWTH_PER_S * max(0.0, since_s)) if since_s < SLOWED_FOR_S else None
