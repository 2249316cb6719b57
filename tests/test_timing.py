"""Timing: the estimator's arithmetic, the tries, and the window, without a clock."""

import pytest
from hypothesis import given, strategies as st

from greenprobe.engine.timing import SCOUTS, SHORTEST, HostTiming, Timing


def timing_of(*, longest: float = 1.0, max_tries: int = 6, limit: int = 100) -> Timing:
    return Timing(longest=longest, max_tries=max_tries, limit=limit)


def test_the_first_sample_sets_the_estimate_as_rfc_6298_says() -> None:
    host = HostTiming()
    host.sample(0.2)
    assert (host.srtt, host.rttvar, host.timeout) == pytest.approx((0.2, 0.1, 0.6))


def test_further_samples_move_it_by_an_eighth_and_a_quarter() -> None:
    host = HostTiming()
    host.sample(0.2)
    host.sample(0.28)
    assert host.srtt == pytest.approx(0.21)
    assert host.rttvar == pytest.approx(0.1 + (0.08 - 0.1) / 4)


def test_a_host_that_has_not_answered_gets_the_longest_timeout() -> None:
    assert timing_of(longest=3.0).timeout(HostTiming(), 1) == 3.0


def test_a_scout_gets_the_longest_timeout_and_others_what_the_network_has_shown() -> None:
    timing, stranger = timing_of(), HostTiming()
    timing.answered(HostTiming(), 0.01, 1)
    assert timing.timeout(stranger, 1, is_scout=True) == 1.0
    assert timing.timeout(stranger, 1) == SHORTEST


def test_the_first_ports_of_a_host_without_answer_are_its_scouts() -> None:
    timing, host = timing_of(), HostTiming()
    assert [timing.is_scout(host) for _ in range(SCOUTS + 2)] == [True] * SCOUTS + [False] * 2


def test_a_host_that_has_answered_needs_no_scouts() -> None:
    timing, host = timing_of(), HostTiming()
    timing.answered(host, 0.01, 1)
    assert not timing.is_scout(host)
    assert timing.timeout(host, 1, is_scout=True) == SHORTEST


def test_each_further_try_waits_longer_up_to_the_longest() -> None:
    timing, host = timing_of(), HostTiming()
    timing.answered(host, 0.2, 1)
    assert [timing.timeout(host, n) for n in (1, 2, 3)] == pytest.approx([0.6, 0.9, 1.0])


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 10), st.integers(1, 10))
def test_a_timeout_is_never_outside_its_bounds(rtts: list[float], longest: float, attempt: int) -> None:
    timing, host = timing_of(longest=longest), HostTiming()
    for rtt in rtts:
        timing.answered(host, rtt, 1)
    assert min(SHORTEST, longest) <= timing.timeout(host, attempt) <= longest


def test_a_silent_port_of_a_host_that_answers_is_asked_three_times() -> None:
    timing, host = timing_of(), HostTiming()
    timing.answered(host, 0.01, 1)
    assert timing.tries(host) == 3


@pytest.mark.parametrize(("late", "tries"), ((0, 3), (1, 3), (2, 4), (10, 6), (30, 10), (100, 20)))
def test_loss_earns_a_silent_port_more_tries(late: int, tries: int) -> None:
    """`late` of 100 answers came to the second try: (late / (100 + late)) ** tries is just below 1e-6."""
    timing, host = timing_of(max_tries=50), HostTiming()
    for place in range(100):
        timing.answered(host, 0.01, 2 if place < late else 1)
    assert timing.tries(host) == tries


def test_there_are_never_more_tries_than_allowed() -> None:
    timing, host = timing_of(max_tries=5), HostTiming()
    timing.answered(host, 0.01, 9)
    assert timing.tries(host) == 5


def test_without_retries_every_port_is_asked_once() -> None:
    timing, host = timing_of(max_tries=1), HostTiming()
    timing.answered(host, 0.01, 1)
    assert timing.tries(host) == 1


def test_a_probe_is_off_the_wire_after_a_round_trip_and_some() -> None:
    timing, host = timing_of(), HostTiming()
    timing.answered(host, 0.2, 1)
    assert 0.2 < timing.ripe(host) < 0.7
    assert timing.ripe(HostTiming()) == timing.ripe(host)


def test_before_any_answer_a_probe_is_on_the_wire_as_long_as_the_earth_is_round() -> None:
    assert timing_of().ripe(HostTiming()) == 0.2
    assert timing_of(longest=0.05).ripe(HostTiming()) == 0.05


def test_running_out_leaves_fewer_places_than_were_reached() -> None:
    timing = timing_of(limit=100)
    timing.exhausted(40)
    assert timing.places == 30
    for _ in range(50):
        timing.exhausted(0)
    assert timing.places == 1


def test_answers_give_places_back_one_a_round() -> None:
    timing, host = timing_of(limit=10), HostTiming()
    timing.exhausted(4)
    assert timing.places == 3
    for _ in range(3):
        timing.answered(host, 0.01, 1)
    assert timing.places == 4
    for _ in range(1000):
        timing.answered(host, 0.01, 1)
    assert timing.places == 10


def test_a_smaller_limit_takes_places_away_and_a_larger_one_gives_none() -> None:
    timing = timing_of(limit=100)
    timing.limit_to(20)
    assert timing.places == 20
    timing.limit_to(500)
    assert (timing.limit, timing.places) == (20, 20)


def test_answers_that_come_at_once_are_sampled_now_and_then() -> None:
    """A near host's timeout is the shortest anyway; its samples would be the dearest part of a probe."""
    timing, host = timing_of(), HostTiming()
    for _ in range(100):
        timing.answered(host, 0.00001, 1)
    before = host.srtt
    timing.answered(host, 0.09, 1)
    assert host.answers == 101
    assert host.srtt > before
