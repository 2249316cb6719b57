"""Pace: rates become delays, without a clock."""

import pytest

from greenprobe.engine.pace import SLACK, Pace


def starts(pace: Pace, count: int, *, now: float = 0.0) -> list[float]:
    """Return when `count` probes start that are all ready at `now`, one after the other."""
    times = []
    for _ in range(count):
        now += pace.delay(now)
        times.append(now)
    return times


def test_probes_start_at_equal_distances() -> None:
    times = starts(Pace(10), 21)
    assert times[-1] - times[0] == pytest.approx(2.0, abs=SLACK + 1e-9)


def test_a_late_turn_is_made_up_for_and_a_pause_is_not() -> None:
    pace = Pace(1000)
    starts(pace, 5)
    assert sum(pace.delay(100.0) == 0 for _ in range(100)) == pytest.approx(SLACK * 1000, abs=2)
