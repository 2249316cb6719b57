"""Pace: rates become delays, without a clock."""

import pytest

from greenprobe.engine.pace import FIRST, LEAST, PATIENCE, SLACK, Pace, SelfPace


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


def test_the_own_pace_begins_at_half_of_what_was_too_fast() -> None:
    assert SelfPace(300, 0.0).rate_per_s == 150
    assert SelfPace(50_000, 0.0).rate_per_s == FIRST
    assert SelfPace(1, 0.0).rate_per_s == LEAST


def test_drops_slow_it_down_once_a_while_and_never_to_a_stop() -> None:
    pace = SelfPace(320, 0.0)
    for step in range(11):
        pace.dropped(PATIENCE + step / 100)
    assert pace.rate_per_s == 80
    for step in range(100):
        pace.dropped(PATIENCE * (step + 3))
    assert pace.rate_per_s == LEAST


def test_it_grows_while_nothing_is_dropped() -> None:
    pace = SelfPace(200, 0.0)
    pace.delay(0.5)
    assert pace.rate_per_s == 100
    for second in range(1, 40):
        pace.delay(float(second))
    assert pace.rate_per_s > 1000
