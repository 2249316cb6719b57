"""The tools for tests: the jumping clock, run orders, waiting for all, leak checks, a fresh hub."""

import os
from _thread import allocate_lock, start_new_thread
from time import monotonic

import pytest
from greenlet import getcurrent, greenlet

from greenprobe.errors import DeadlockError, HubError
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import get_hub
from greenprobe.sync import Event
from greenprobe.testing import (
    JumpClock,
    LifoOrder,
    PriorityOrder,
    RandomOrder,
    assert_no_leaks,
    fresh_hub,
    wait_all_blocked,
)
from greenprobe.threadpool import run_in_thread

# -- a hub a test


def test_a_fresh_hub_is_the_threads_hub_for_the_block_only() -> None:
    old = get_hub()
    with fresh_hub() as hub:
        assert get_hub() is hub is not old
        sleep(0)
    assert hub.closed
    assert get_hub() is old
    assert not old.closed
    sleep(0)


def test_a_fresh_hub_leaves_no_descriptors_and_no_greenthreads() -> None:
    with assert_no_leaks(), fresh_hub():
        sleep(0)


def test_a_fresh_hub_is_refused_inside_a_greenthread() -> None:
    def body() -> None:
        with fresh_hub():
            pass

    with pytest.raises(HubError, match="main greenlet"):
        spawn(body).wait()


# -- the clock


def test_the_clock_jumps_over_sleeps_in_their_order() -> None:
    began = monotonic()
    seen: list[tuple[str, float]] = []
    with fresh_hub(), JumpClock() as clock:

        def sleeper(name: str, seconds: float) -> None:
            sleep(seconds)
            seen.append((name, clock.now()))

        spawn(sleeper, "late", 3600)
        spawn(sleeper, "soon", 30)
        sleep(7200)
        assert clock.now() == get_hub().clock() == 7200
    assert seen == [("soon", 30), ("late", 3600)]
    assert monotonic() - began < 5


def test_the_clock_stands_still_while_somebody_can_run() -> None:
    with fresh_hub(), JumpClock() as clock:
        event = Event()
        sleeper = spawn(sleep, 30)

        def busy() -> None:
            for _ in range(500):
                sleep(0)
            assert clock.now() == 0
            event.set()

        spawn(busy)
        assert event.wait(1000)
        assert not sleeper.ready()
        sleeper.kill()
        sleep(0)


def test_the_clock_does_not_jump_over_data_that_is_on_its_way() -> None:
    with fresh_hub() as hub, JumpClock() as clock:
        reader, writer = os.pipe2(os.O_NONBLOCK)
        try:
            slot = hub.poller.slot(reader)
            os.write(writer, b"x")
            assert hub.wait(slot.read, clock.now() + 30)
            assert clock.now() == 0
            os.read(reader, 1)
            assert not hub.wait(slot.read, clock.now() + 30)
            assert clock.now() == 30
            hub.poller.close(slot)
        finally:
            os.close(reader)
            os.close(writer)


def test_the_clock_waits_for_a_job_in_a_thread() -> None:
    """A timeout of an hour must not fire because a thread takes some real milliseconds."""
    lock = allocate_lock()
    lock.acquire()
    with fresh_hub(), JumpClock() as clock:
        greenthread = spawn(run_in_thread, lock.acquire, timeout=3600)
        wait_all_blocked()
        lock.release()
        assert greenthread.wait(timeout=7200) is True
        assert clock.now() == 0


def test_the_clock_moves_by_hand() -> None:
    with fresh_hub(), JumpClock() as clock:
        clock.advance(5)
        sleep(10)
        assert clock.now() == 15


def test_the_clock_is_taken_back() -> None:
    with fresh_hub() as hub:
        before = hub.clock
        with JumpClock():
            assert hub.clock is not before
        assert hub.clock is before
        assert hub.idle_policy is None


def test_the_clock_is_refused_when_real_timers_run() -> None:
    with fresh_hub() as hub:
        hub.timers.add(hub.clock() + 60, print)
        with pytest.raises(HubError, match="enter JumpClock first"), JumpClock():
            pass


def test_a_deadlock_is_found_under_the_clock() -> None:
    with fresh_hub(), JumpClock(), pytest.raises(DeadlockError):
        Event().wait()


# -- waiting for all


def test_wait_all_blocked_returns_when_the_last_one_parks() -> None:
    with fresh_hub():
        event = Event()
        steps: list[int] = []

        def worker(turns: int) -> None:
            for _ in range(turns):
                sleep(0)
            steps.append(turns)
            event.wait()

        workers = [spawn(worker, turns) for turns in (0, 3, 200)]
        wait_all_blocked()
        assert steps == [0, 3, 200]
        assert not any(worker.ready() for worker in workers)
        event.set()
        wait_all_blocked()
        assert all(worker.ready() for worker in workers)


def test_wait_all_blocked_wakes_all_who_wait_in_it() -> None:
    with fresh_hub() as hub:
        waiters = [spawn(wait_all_blocked) for _ in range(3)]
        wait_all_blocked()
        sleep(0)
        assert all(waiter.ready() for waiter in waiters)
        assert hub.idle_policy is None


def test_wait_all_blocked_comes_before_a_jump_of_the_clock() -> None:
    with fresh_hub(), JumpClock() as clock:
        spawn(sleep, 30)
        wait_all_blocked()
        assert clock.now() == 0
        sleep(60)
        assert clock.now() == 60


def test_a_killed_wait_all_blocked_leaves_no_policy_behind() -> None:
    with fresh_hub() as hub:
        waiter = spawn(wait_all_blocked)
        sleep(0)
        assert hub.idle_policy is not None
        waiter.kill()
        sleep(0)
        assert hub.idle_policy is None


# -- orders


def run_ten() -> list[int]:
    seen: list[int] = []
    for number in range(10):
        spawn(seen.append, number)
    wait_all_blocked()
    return seen


def test_a_random_order_is_a_function_of_its_seed() -> None:
    def shuffled(seed: int) -> list[int]:
        with fresh_hub(), RandomOrder(seed):
            return run_ten()

    assert shuffled(1) == shuffled(1)
    assert sorted(shuffled(1)) == list(range(10))
    assert len({tuple(shuffled(seed)) for seed in range(5)}) == 5


def test_how_long_a_step_takes_does_not_change_a_random_order() -> None:
    def shuffled(step: float) -> list[int]:
        seen: list[int] = []

        def work(number: int) -> None:
            for _ in range(3):
                clock.advance(step)
                seen.append(number)
                sleep(0)

        with fresh_hub() as hub, JumpClock() as clock:
            hub.slice = 0.01
            sleep(0)
            clock.advance(step)  # in a turn that began before the order
            with RandomOrder(3):
                for number in range(5):
                    spawn(work, number)
                wait_all_blocked()
            assert hub.slice == 0.01
        return seen

    assert shuffled(1.0) == shuffled(0.0)


def test_a_failure_under_a_random_order_names_the_seed() -> None:
    with pytest.raises(ZeroDivisionError) as caught, fresh_hub(), RandomOrder(77):
        raise ZeroDivisionError
    assert "RandomOrder(77)" in "".join(caught.value.__notes__)


def test_last_in_first_out_runs_backwards() -> None:
    with fresh_hub(), LifoOrder():
        assert run_ten() == list(reversed(range(10)))


def test_priorities_decide_who_runs_first() -> None:
    keys: dict[greenlet, float] = {}
    with fresh_hub(), PriorityOrder(lambda green: keys.get(green, 0.0)):
        seen: list[int] = []

        def enter(number: int) -> None:
            keys[getcurrent()] = float(number)
            sleep(0)
            seen.append(number)

        for number in (3, 1, 2):
            spawn(enter, number)
        wait_all_blocked()
        assert seen == [1, 2, 3]


def test_a_call_from_a_thread_arrives_in_every_order() -> None:
    for order in (RandomOrder(5), LifoOrder(), PriorityOrder(lambda _: 0.0)):
        with fresh_hub(), order:
            assert run_in_thread(lambda: 42) == 42


def test_the_order_before_comes_back() -> None:
    with fresh_hub() as hub:
        before = hub.ready
        with RandomOrder(1):
            assert hub.ready is not before
        assert hub.ready is before


# -- leaks


def test_a_parked_greenthread_is_a_leak_with_a_name_and_a_place() -> None:
    with fresh_hub():
        event = Event()
        with pytest.raises(AssertionError, match=r"lost waits in .*Event\.wait"), assert_no_leaks():
            green = spawn(event.wait)
            green.name = "lost"
            sleep(0)
        green.kill()
        sleep(0)


def test_an_open_descriptor_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.testing.SETTLING_SECONDS", 0.01)
    with pytest.raises(AssertionError, match=r"descriptor \d+ \(pipe:"), assert_no_leaks():
        ends = os.pipe()
    for end in ends:
        os.close(end)


def test_a_running_thread_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.testing.SETTLING_SECONDS", 0.01)
    lock = allocate_lock()
    lock.acquire()
    with pytest.raises(AssertionError, match=r"thread \d+"), assert_no_leaks():
        start_new_thread(lock.acquire, ())
    lock.release()


def test_what_ends_by_itself_is_no_leak() -> None:
    with fresh_hub(), assert_no_leaks():
        green = spawn(Event().wait)
        sleep(0)
        green.kill()  # ends at the next turn
        reader, writer = os.pipe()
        os.close(reader)
        os.close(writer)


def test_idle_threads_of_a_pool_are_no_leak() -> None:
    with fresh_hub(), assert_no_leaks():
        run_in_thread(int)


def test_an_exception_of_the_block_is_not_hidden_by_leaks() -> None:
    with fresh_hub():
        green = spawn(Event().wait)
        with pytest.raises(KeyError), assert_no_leaks():
            sleep(0)  # now it is parked
            raise KeyError
        green.kill()
        sleep(0)
