"""Deadlines in order: the heap against a model, cheap cancelling, callbacks that add, cancel and raise."""

import sys
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from greenprobe.hub import Hub
from greenprobe.testing import JumpClock
from greenprobe.timers import MIN_DEAD, Timer, Timers

Operation = tuple[str, float]
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "cancel", "fire"]), st.floats(0, 10, allow_nan=False)), max_size=300
)


@given(OPERATIONS)
@settings(max_examples=100, deadline=None)
def test_timers_fire_as_a_sorted_list_would(operations: list[Operation]) -> None:
    timers = Timers()
    fired: list[int] = []
    live: dict[int, tuple[float, Timer]] = {}
    for number, (what, value) in enumerate(operations):
        if what == "add":
            live[number] = (value, timers.add(value, fired.append, number))
        elif what == "cancel" and live:
            key = sorted(live)[int(value * 1e6) % len(live)]
            live.pop(key)[1].cancel()
        elif what == "fire":
            due = sorted((when, key) for key, (when, _) in live.items() if when <= value)
            fired.clear()
            while timers.fire_next(value):
                pass
            assert fired == [key for _, key in due]
            for _, key in due:
                del live[key]
        assert len(timers) == len(live)
        assert timers.next_deadline() == min((when for when, _ in live.values()), default=None)
        assert len(timers.heap) <= 2 * len(live) + MIN_DEAD + 1


@pytest.mark.parametrize("order", ["newest first", "oldest first", "random"])
def test_many_timers_set_and_cancelled_leave_a_small_heap(order: str) -> None:
    timers = Timers()
    kept = [timers.add(1e9, print) for _ in range(10)]
    random = Random(1)
    for _ in range(20):
        batch = [timers.add(random.random() * 1e6, print) for _ in range(1000)]
        if order == "newest first":
            batch.reverse()
        elif order == "random":
            random.shuffle(batch)
        for timer in batch:
            timer.cancel()
    assert len(timers) == len(kept)
    assert len(timers.heap) <= len(kept) * 2 + MIN_DEAD + 1


@pytest.mark.slow
def test_a_million_timers_set_and_cancelled_leave_a_small_heap() -> None:
    """Slow: a million, most in flight a thousand at a time, cancelled in random order."""
    timers = Timers()
    random = Random(2)
    window: list[Timer] = []
    for number in range(1_000_000):
        window.append(timers.add(number + 3600.0, print))
        if len(window) == 1000:
            random.shuffle(window)
            for timer in window:
                timer.cancel()
            window.clear()
    assert len(timers) == 0
    assert len(timers.heap) <= MIN_DEAD + 1
    assert sys.getsizeof(timers.heap) < 100_000


def test_a_rebuilt_heap_is_in_order() -> None:
    timers = Timers()
    random = Random(3)
    fired: list[float] = []
    moments = [random.random() for _ in range(500)]
    running = [timers.add(moment, fired.append, moment) for moment in moments]
    for timer in running[:400]:
        timer.cancel()
    assert len(timers.heap) < 300  # it was rebuilt
    while timers.fire_next(1.0):
        pass
    assert fired == sorted(moments[400:])


def test_a_timer_set_and_cancelled_at_once_leaves_nothing() -> None:
    timers = Timers()
    timers.add(1, print)
    timers.add(2, print).cancel()
    assert len(timers.heap) == 1


def test_equal_deadlines_fire_in_order_of_their_start() -> None:
    timers = Timers()
    fired: list[int] = []
    for number in range(50):
        timers.add(1.0, fired.append, number)
    while timers.fire_next(1.0):
        pass
    assert fired == list(range(50))


def test_nothing_fires_before_its_deadline() -> None:
    timers = Timers()
    timers.add(1.0, pytest.fail, "too early")
    assert not timers.fire_next(0.999_999_999)


def test_a_cancelled_timer_lets_go_of_what_it_would_call() -> None:
    timers = Timers()
    timers.add(1.0, print)
    timer = timers.add(0.5, print, "argument")
    timer.cancel()
    assert (timer.callback, timer.args, timer.pending) == (None, (), False)


def test_cancelling_twice_or_after_the_end_does_nothing() -> None:
    timers = Timers()
    fired: list[str] = []
    timer = timers.add(1.0, fired.append, "once")
    other = timers.add(2.0, fired.append, "other")
    assert timers.fire_next(5)
    timer.cancel()
    timer.cancel()
    assert len(timers) == 1
    other.cancel()
    other.cancel()
    assert len(timers) == 0
    assert not timers.fire_next(5)
    assert fired == ["once"]


def test_a_callback_may_cancel_the_next_timer_and_add_others() -> None:
    timers = Timers()
    fired: list[str] = []

    def first() -> None:
        fired.append("first")
        second.cancel()
        timers.add(1.0, fired.append, "third")

    timers.add(1.0, first)
    second = timers.add(1.0, fired.append, "second")
    while timers.fire_next(1.0):
        pass
    assert fired == ["first", "third"]


def test_a_timer_whose_callback_raises_is_over() -> None:
    timers = Timers()
    fired: list[str] = []
    timer = timers.add(1.0, int, "no number")
    timers.add(1.0, fired.append, "next")
    with pytest.raises(ValueError, match="no number"):
        timers.fire_next(1.0)
    assert not timer.pending
    assert timers.fire_next(1.0)
    assert fired == ["next"]


def test_not_a_number_is_refused() -> None:
    """NaN compares false with everything: one of them would bring all others out of order."""
    timers = Timers()
    with pytest.raises(ValueError, match="NaN"):
        timers.add(float("nan"), print)
    assert not timers.heap


def test_clear_forgets_all() -> None:
    timers = Timers()
    timer = timers.add(1.0, pytest.fail, "cleared")
    timers.clear()
    timer.cancel()
    assert (len(timers), timers.next_deadline(), timers.fire_next(2.0), timer.pending) == (0, None, False, False)


def test_a_timer_says_what_it_will_call() -> None:
    timers = Timers()
    timer = timers.add(1.5, print)
    assert "1.5" in repr(timer)
    assert "print" in repr(timer)
    timer.cancel()
    assert repr(timer) == "<Timer over>"


def test_the_hub_goes_on_after_a_callback_that_raises(hub: Hub, clock: JumpClock) -> None:
    errors: list[str] = []
    hub.on_error = lambda error: errors.append(str(error))
    hub.timers.add(1, int, "no number")
    hub.timers.add(1, int, "none either")
    hub.sleep(2)
    assert len(errors) == 2


def test_a_callback_that_adds_a_due_timer_each_time_starves_nobody(hub: Hub, clock: JumpClock) -> None:
    """The clock stands still, so what is added for "now" is always due."""
    rounds: list[int] = []

    def again() -> None:
        rounds.append(len(rounds))
        assert len(rounds) < 1000, "the loop is held by its timers"
        hub.timers.add(clock.now(), again)

    hub.timers.add(clock.now(), again)
    for _ in range(200):
        hub.sleep(0)
    hub.timers.clear()
    assert rounds
