"""Deadlines around blocks: Timeout as eventlet has it, and scopes that stay over until they are left."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from core_tools import turns
from hypothesis import given, settings, strategies as st

from greenprobe.errors import Cancelled, GreenletExit, HubError
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.sync import Event, Lock
from greenprobe.testing import JumpClock
from greenprobe.timeout import CancelScope, Timeout, fail_after, innermost, move_on_after, with_timeout


@pytest.fixture(autouse=True)
def nothing_overdue(hub: Hub) -> Iterator[None]:
    """Every scope that was counted as over is counted off again."""
    yield
    assert hub.overdue == 0


# -- Timeout


def test_timeout_fires_at_its_deadline_not_before(clock: JumpClock) -> None:
    with pytest.raises(Timeout), Timeout(30):
        sleep(3600)
    assert clock.now() == 30


def test_timeout_is_no_exception_that_is_caught_in_passing(clock: JumpClock) -> None:
    assert not issubclass(Timeout, Exception)
    with pytest.raises(Timeout), Timeout(1):
        try:
            sleep(5)
        except Exception:
            pytest.fail("caught")


def test_a_timeout_with_false_is_silent(clock: JumpClock) -> None:
    with Timeout(1, False):
        sleep(5)
        pytest.fail("not reached")
    assert clock.now() == 1


def test_a_silent_timeout_lets_others_through(clock: JumpClock) -> None:
    with pytest.raises(Timeout) as caught, Timeout(1) as outer, Timeout(2, False):
        sleep(5)
    assert caught.value is outer


@pytest.mark.parametrize("exception", [ValueError, ValueError("instance")])
def test_another_exception_is_raised_in_its_place(clock: JumpClock, exception: Exception) -> None:
    with pytest.raises(ValueError), Timeout(1, exception):
        sleep(5)


def test_a_block_that_ends_in_time_leaves_no_timer(hub: Hub) -> None:
    with Timeout(3600):
        sleep(0)
    assert len(hub.timers) == 0


def test_a_timeout_of_none_never_fires(hub: Hub) -> None:
    with Timeout(None) as timeout:
        assert not timeout.pending
        assert len(hub.timers) == 0
    assert str(timeout) == "no timeout"


def test_a_timeout_that_is_over_may_be_used_again(clock: JumpClock) -> None:
    timeout = Timeout(5)
    with timeout:
        sleep(1)
    with pytest.raises(Timeout), timeout:
        sleep(60)
    timeout.start()
    with pytest.raises(Timeout):
        sleep(60)
    timeout.start()  # it has fired, so nobody need cancel it first
    timeout.cancel()
    assert clock.now() == 11


def test_a_running_timeout_cannot_be_started_again() -> None:
    timeout = Timeout(3600)
    with pytest.raises(RuntimeError):
        timeout.start()
    timeout.cancel()
    timeout.start()
    assert timeout.pending
    timeout.cancel()
    timeout.cancel()
    assert not timeout.pending


def test_a_swallowed_timeout_is_swallowed(clock: JumpClock) -> None:
    with Timeout(1):
        try:
            sleep(5)
        except Timeout:
            pass
        sleep(5)
    assert clock.now() == 6


def test_a_timeout_reaches_the_greenthread_that_made_it(clock: JumpClock) -> None:
    def other() -> None:
        sleep(5)

    green = spawn(other)
    with pytest.raises(Timeout), Timeout(1):
        green.wait()
    assert green.wait() is None


def test_a_callback_of_the_loop_cannot_have_a_timeout(hub: Hub) -> None:
    errors: list[BaseException] = []
    hub.on_error = errors.append
    hub.call_threadsafe(Timeout, 1)
    turns(2)
    assert [type(error) for error in errors] == [HubError]


def test_timeouts_say_how_long() -> None:
    for seconds, text in ((1, "1 second"), (2.5, "2.5 seconds")):
        timeout = Timeout(seconds)
        assert str(timeout) == text
        assert repr(timeout) == f"<Timeout {text} pending>"
        timeout.cancel()


def test_with_timeout_calls_and_gives_up(clock: JumpClock) -> None:
    assert with_timeout(1, lambda one, two: (one, two), 1, two=2) == (1, 2)
    assert with_timeout(1, sleep, 5, timeout_value="late") == "late"
    with pytest.raises(Timeout):
        with_timeout(1, sleep, 5)


def test_with_timeout_lets_the_timeout_of_others_through(clock: JumpClock) -> None:
    with pytest.raises(Timeout), Timeout(1):
        with_timeout(2, sleep, 5, timeout_value="late")


def test_not_a_number_is_no_time(hub: Hub) -> None:
    for make in (Timeout, move_on_after, fail_after):
        with pytest.raises(ValueError):
            make(float("nan"))
    assert len(hub.timers) == 0


# -- scopes


def test_move_on_after_leaves_its_block_silently(clock: JumpClock) -> None:
    with move_on_after(30) as scope:
        sleep(3600)
        pytest.fail("not reached")
    assert clock.now() == 30
    assert (scope.cancel_called, scope.cancelled_caught) == (True, True)


def test_fail_after_raises_timeout_error(clock: JumpClock) -> None:
    with pytest.raises(TimeoutError, match="not done within 2 s"), fail_after(2):
        sleep(5)


def test_a_block_that_ends_in_time_is_not_over(hub: Hub, clock: JumpClock) -> None:
    with fail_after(5) as scope:
        sleep(3)
    assert (scope.cancel_called, scope.cancelled_caught) == (False, False)
    assert len(hub.timers) == 0


def test_none_never_ends(hub: Hub) -> None:
    with move_on_after(None), fail_after(None):
        assert len(hub.timers) == 0


def test_a_swallowed_cancellation_is_raised_again_at_every_switch(clock: JumpClock) -> None:
    raised = 0
    with move_on_after(1) as scope:
        for _ in range(5):
            try:
                sleep(5)
            except Cancelled:
                raised += 1
    assert raised == 5
    assert clock.now() == 1
    assert not scope.cancelled_caught  # it ended by itself


def test_scopes_that_a_generator_leaves_out_of_order_keep_each_other(clock: JumpClock) -> None:
    def numbers() -> Iterator[int]:
        with move_on_after(1):
            yield from range(10)

    generator = numbers()
    next(generator)
    with move_on_after(5) as scope, move_on_after(9):
        del generator  # leaves its block, the outermost, in the middle of ours
        sleep(100)
    assert scope.cancelled_caught
    assert clock.now() == 5


def test_who_swallows_every_cancellation_does_not_starve_others() -> None:
    other = spawn(sleep, 0)
    with move_on_after(None) as scope:
        scope.cancel()
        for _ in range(1000):
            try:
                sleep(1)
            except Cancelled:
                if other.ready():
                    break
    assert other.ready()


def test_a_kill_reaches_who_swallows_every_cancellation() -> None:
    def stubborn() -> None:
        with move_on_after(None) as scope:
            scope.cancel()
            for _ in range(1_000_000):  # more than it gets to before the kill, in any order
                try:
                    sleep(1)
                except Cancelled:
                    pass

    green = spawn(stubborn)
    turns(1)
    green.kill()
    with pytest.raises(GreenletExit):
        green.wait()


@pytest.mark.parametrize("scope", [move_on_after, fail_after])
def test_a_block_whose_time_is_up_before_it_begins_ends_at_its_first_switch(scope: Any, clock: JumpClock) -> None:
    late = scope(1)
    clock.advance(1)
    for block in (scope(0), late):
        with suppress(TimeoutError), block:
            sleep(0)
            raise AssertionError("the block went on")
        assert block.cancelled_caught


@pytest.mark.parametrize(("outer", "inner", "caught_by"), [(1, 2, "outer"), (2, 1, "inner"), (1, 1, "outer")])
def test_of_two_scopes_the_outer_wins(clock: JumpClock, outer: float, inner: float, caught_by: str) -> None:
    with move_on_after(outer) as first:
        with move_on_after(inner) as second:
            sleep(5)
        sleep(0)
    caught = {"outer": first.cancelled_caught, "inner": second.cancelled_caught}
    if outer == inner:  # both were over by the time; the first to be thrown was right then
        assert first.cancelled_caught or second.cancelled_caught
    else:
        assert caught[caught_by]
        assert caught == {"outer": caught_by == "outer", "inner": caught_by == "inner"}


def test_of_two_scopes_that_are_both_over_the_outer_wins(clock: JumpClock) -> None:
    with move_on_after(2) as outer:
        with move_on_after(1) as inner:
            try:
                sleep(5)
            except Cancelled:
                with CancelScope(shield=True):
                    sleep(2)
            sleep(0)
            pytest.fail("not reached")
        pytest.fail("not reached")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


def test_a_shield_keeps_the_outer_scope_out_until_it_is_left(clock: JumpClock) -> None:
    steps: list[float] = []
    with move_on_after(1):
        try:
            sleep(5)
        finally:
            with CancelScope(shield=True):
                sleep(2)
                steps.append(clock.now())
            steps.append(clock.now())
            sleep(1)
            pytest.fail("not reached")
    assert steps == [3, 3]
    assert clock.now() == 3


def test_a_shield_has_a_deadline_of_its_own(clock: JumpClock) -> None:
    with move_on_after(1):
        try:
            sleep(5)
        finally:
            with move_on_after(2, shield=True) as cleaning:
                sleep(10)
    assert cleaning.cancelled_caught
    assert clock.now() == 3


def test_a_scope_cancelled_before_it_is_entered_ends_at_the_first_switch() -> None:
    scope = CancelScope()
    scope.cancel()
    reached = False
    with scope:
        reached = True
        sleep(0)
        pytest.fail("not reached")
    assert reached
    assert scope.cancelled_caught


def test_a_scope_cancelled_from_inside_ends_at_the_next_switch() -> None:
    with CancelScope() as scope:
        scope.cancel()
        scope.cancel()
        reached = True
        sleep(0)
        pytest.fail("not reached")
    assert reached


@pytest.mark.parametrize("how", ["greenthread", "thread", "loop"])
def test_a_scope_can_be_cancelled_from_elsewhere(hub: Hub, how: str) -> None:
    with CancelScope() as scope:
        if how == "greenthread":
            spawn(scope.cancel)
        elif how == "loop":
            hub.call_threadsafe(scope.cancel)
        else:
            threading.Thread(target=scope.cancel).start()
        Event().wait(5)
        pytest.fail("not reached")
    assert scope.cancelled_caught
    turns(2)


def test_a_cancellation_that_comes_after_the_end_does_nothing(hub: Hub) -> None:
    with CancelScope() as scope:
        canceller = spawn(scope.cancel)
        thread = threading.Thread(target=scope.cancel)
        thread.start()
        thread.join()
    canceller.wait()
    turns(3)
    assert not scope.cancelled_caught


@pytest.mark.fifo
def test_a_scope_called_off_while_its_greenthread_is_ready_ends_at_its_next_switch() -> None:
    event = Event()
    scope = CancelScope()
    outcome: list[str] = []

    def waiter() -> None:
        with scope:
            event.wait()
            outcome.append("woken")
            sleep(0)
            outcome.append("past the switch")

    green = spawn(waiter)
    turns(1)
    event.set()  # queues the waiter
    scope.cancel()  # queues the end of its scope
    green.wait()
    assert outcome == ["woken"]
    assert scope.cancelled_caught


def test_a_scope_reaches_its_own_greenthread_only(clock: JumpClock) -> None:
    """The one who is over is counted by the hub; the others switch all the same."""
    finished = Event()

    def overdue() -> None:
        with move_on_after(1):
            while not finished.is_set():
                try:
                    sleep(5)
                except Cancelled:
                    with CancelScope(shield=True):
                        sleep(1)

    def innocent() -> None:
        for _ in range(20):
            sleep(0.5)
        finished.set()

    greens = [spawn(overdue), spawn(innocent)]
    for green in greens:
        green.wait()


def test_cancelled_is_no_exception_that_is_caught_in_passing() -> None:
    assert not issubclass(Cancelled, Exception)


def test_a_scope_is_used_once() -> None:
    with CancelScope() as scope:
        pass
    with pytest.raises(RuntimeError, match="used before"), scope:
        pass


@pytest.mark.parametrize("seconds", [-1, -0.001])
def test_a_deadline_in_the_past_is_refused(seconds: float) -> None:
    for make in (move_on_after, fail_after):
        with pytest.raises(ValueError):
            make(seconds)


def test_an_exception_from_the_block_passes_the_scope(clock: JumpClock) -> None:
    with pytest.raises(ZeroDivisionError), move_on_after(1):
        try:
            sleep(5)
        except Cancelled:
            1 // 0  # noqa: B018


def test_a_lock_is_free_after_its_holder_was_called_off(clock: JumpClock) -> None:
    lock = Lock()
    with move_on_after(1), lock:
        sleep(5)
    assert not lock.locked()
    blocker = spawn(lock.acquire)
    turns(1)
    with move_on_after(1):
        lock.acquire()
    assert blocker.wait()
    lock.release()
    assert not lock.locked()


def test_a_killed_greenthread_leaves_its_scopes(hub: Hub, clock: JumpClock) -> None:
    def inside() -> None:
        with move_on_after(10), fail_after(20):
            sleep(3600)

    green = spawn(inside)
    turns(1)
    green.kill()
    green.join()
    assert innermost(green) is None
    assert len(hub.timers) == 0


NESTINGS = st.lists(
    st.tuples(
        st.sampled_from(["move_on", "fail", "shield", "timeout", "cancelled", "swallow"]),
        st.integers(0, 6),  # the deadline of this level
        st.integers(0, 3),  # how long it sleeps before the next level
    ),
    max_size=6,
)


def nest(levels: list[tuple[str, int, int]]) -> None:
    """Enter one scope after the other, sleeping in between, and swallow what some of them would let through."""
    if not levels:
        sleep(1)
        return
    (kind, seconds, pause), *rest = levels
    with ExitStack() as stack:
        if kind == "move_on":
            stack.enter_context(move_on_after(seconds))
        elif kind == "shield":
            stack.enter_context(move_on_after(seconds, shield=True))
        elif kind == "timeout":
            stack.enter_context(Timeout(seconds, False))
        elif kind == "cancelled":
            scope = stack.enter_context(CancelScope())
            scope.cancel()
        elif kind == "fail":
            stack.enter_context(fail_after(seconds))
        try:
            sleep(pause)
            nest(rest)
            sleep(pause)
        except (TimeoutError, Cancelled):
            if kind != "swallow":
                raise


@given(st.lists(NESTINGS, min_size=1, max_size=4), st.lists(st.integers(0, 8), max_size=3))
@settings(max_examples=60, deadline=None)
def test_whatever_is_nested_nothing_stays_overdue(programs: list[list[tuple[str, int, int]]], kills: list[int]) -> None:
    with JumpClock():
        hub = get_hub()
        greens = [spawn(nest, levels) for levels in programs]
        for number, when in enumerate(kills):
            sleep(when)
            greens[number % len(greens)].kill()
        for green in greens:
            green.join()
            assert isinstance(green.exception, BaseException | None)
            assert not isinstance(green.exception, Cancelled)
            assert innermost(green) is None
        assert hub.overdue == 0
        assert len(hub.timers) == 0
