"""Event, AsyncResult, Semaphore, Lock, RLock, Condition, Barrier: order, hand-over, threads, forks, odd arguments."""

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
from core_tools import PATIENCE, in_child, one_by_one, turns
from greenlet import GreenletExit, getcurrent

from greenprobe.condition import Barrier, BrokenBarrierError, Condition
from greenprobe.errors import HubError
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import AsyncResult
from greenprobe.sync import BoundedSemaphore, Event, Lock, RLock, Semaphore
from greenprobe.timeout import Timeout, move_on_after
from greenprobe.waitqueue import Waiter, WaitQueue

THREADS, ROUNDS = 4, 5_000


def settle() -> None:
    """Let everybody who can run, run."""
    turns(4)


def in_threads(work: Callable[[int], None], count: int = THREADS) -> None:
    """Run `work(number)` in OS threads and raise what any of them raised."""
    failures: list[BaseException] = []

    def body(number: int) -> None:
        try:
            with Timeout(PATIENCE):
                work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as many places as can be where one thread overtakes another
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    if failures:
        raise failures[0]


@contextmanager
def no_switch(hub: Hub) -> Iterator[None]:
    """Fail if the block lets another greenthread run."""
    ran: list[int] = []
    other = spawn(ran.append, 1)
    yield
    assert not ran
    other.wait()


# -- the queue's order


@pytest.mark.parametrize("make", [lambda: Semaphore(0), lambda: BoundedSemaphore(0), Lock])
def test_waiters_are_served_in_the_order_they_came(make: Callable[[], Semaphore]) -> None:
    thing = make()
    if thing._value:
        thing.acquire()
    if isinstance(thing, BoundedSemaphore):
        thing._bound = 5
    order: list[int] = []

    def take(number: int) -> None:
        thing.acquire()
        order.append(number)
        if isinstance(thing, Lock):
            thing.release()

    greens = one_by_one(take, range(5))
    for _ in range(1 if isinstance(thing, Lock) else 5):
        thing.release()
        settle()
    for green in greens:
        green.wait()
    assert order == [0, 1, 2, 3, 4]


def test_a_free_permit_that_was_handed_over_cannot_be_snatched() -> None:
    lock = Lock()
    lock.acquire()
    got: list[str] = []
    waiter = spawn(lambda: (lock.acquire(), got.append("waiter")))  # type: ignore[func-returns-value]
    settle()
    lock.release()
    assert not lock.acquire(False)
    waiter.wait()
    assert got == ["waiter"]


class Interleaved(WaitQueue):
    """A wait queue where another thread comes between: it calls `between` before and after somebody enrols."""

    def __init__(self, between: Callable[[], object]) -> None:
        super().__init__()
        self._between = between

    def enrol(self, item: Any = None) -> Waiter:
        self._between()
        waiter = super().enrol(item)
        self._between()
        return waiter


def test_two_permits_that_come_while_one_enrols_are_both_there_afterwards() -> None:
    """The first comes before the waiter is seen, and is free; the second is handed to it."""
    semaphore = Semaphore(0)
    semaphore._waiters = Interleaved(semaphore.release)
    assert semaphore.acquire()
    assert semaphore.balance == 1
    assert semaphore.acquire(blocking=False)
    assert not semaphore.acquire(blocking=False)


@pytest.mark.parametrize("forever", [None, -1])
def test_a_semaphore_waits_for_ever_if_told_so(forever: float | None) -> None:
    semaphore = Semaphore(0)
    waiter = spawn(semaphore.acquire, True, forever)
    settle()
    assert not waiter.ready()
    semaphore.release()
    assert waiter.wait() is True


# -- hand-over to who dies


@pytest.mark.fifo
def test_a_permit_handed_to_a_killed_waiter_goes_to_the_next() -> None:
    semaphore = Semaphore(0)
    first, second = spawn(semaphore.acquire), spawn(semaphore.acquire)
    settle()
    first.kill()  # takes effect at its next turn; until then it is in line and is handed the permit
    semaphore.release()
    assert second.wait(PATIENCE) is True
    assert isinstance(first.exception, GreenletExit)
    assert semaphore._value == 0


def test_a_permit_handed_over_at_the_moment_of_the_timeout_is_not_lost(clock: Any) -> None:
    semaphore = Semaphore(0)
    waiter = spawn(semaphore.acquire, timeout=5)
    spawn(lambda: (sleep(5), semaphore.release())).join()  # type: ignore[func-returns-value]
    assert waiter.wait() + semaphore._value == 1


@pytest.mark.parametrize("seed", range(30))
def test_no_permit_is_lost_or_made_whoever_is_killed_or_times_out(seed: int, clock: Any) -> None:
    rng = random.Random(seed)
    permits = rng.randrange(1, 4)
    semaphore = Semaphore(permits)
    inside: list[object] = []

    def user(patience: float | None, hold: float) -> None:
        if semaphore.acquire(timeout=patience):
            inside.append(getcurrent())
            try:
                assert len(inside) <= permits
                sleep(hold)
            finally:
                inside.remove(getcurrent())
                semaphore.release()

    waits = [None, 0, 1, 2]
    greens = [spawn(user, rng.choice(waits), rng.randrange(3)) for _ in range(20)]
    for _ in range(12):
        sleep(rng.randrange(2))
        rng.choice(greens).kill()
    for green in greens:
        green.join()
        assert green.exception is None or isinstance(green.exception, GreenletExit)
    assert (semaphore._value, semaphore._waiters) == (permits, {})


@pytest.mark.parametrize("seed", range(20))
def test_an_rlock_survives_kills_at_every_switch(seed: int, clock: Any) -> None:
    rng = random.Random(seed)
    lock = RLock()

    def user(hold: int) -> None:
        with lock, lock:
            sleep(hold)
            assert lock._owner is getcurrent()

    greens = [spawn(user, rng.randrange(3)) for _ in range(10)]
    for _ in range(8):
        sleep(rng.randrange(2))
        rng.choice(greens).kill()
    for green in greens:
        green.join()
        assert green.exception is None or isinstance(green.exception, GreenletExit)
    assert lock.acquire(False)


# -- what can be had at once, and what is not to wait


def test_non_blocking_forms_never_switch(hub: Hub) -> None:
    free, taken, event, result = Lock(), Lock(), Event(), AsyncResult[int]()
    taken.acquire()
    result.set(1)
    with no_switch(hub):
        assert free.acquire()
        free.release()
        assert not taken.acquire(False)
        assert not taken.acquire(timeout=0)
        assert not Semaphore(0).acquire(False)
        assert not event.wait(0)
        event.set()
        assert event.wait()
        assert result.wait() == 1
        with RLock(), Condition() as held:
            assert held
        with Condition() as _:
            pass
        assert Barrier(1).wait() == 0


def test_a_callback_of_the_hub_cannot_wait(hub: Hub) -> None:
    failures: list[BaseException] = []
    hub.on_error = failures.append
    hub.call_threadsafe(Semaphore(0).acquire)
    settle()
    assert [type(error) for error in failures] == [HubError]


def test_a_wait_on_a_closed_hub_is_an_error_and_no_endless_loop() -> None:
    def work(_: int) -> None:
        sleep(0)
        get_hub().close()
        with pytest.raises(HubError, match="closed"):
            Event().wait()

    failures: list[BaseException] = []
    thread = threading.Thread(target=lambda: catching(failures, work))
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not failures


def catching(failures: list[BaseException], work: Callable[[int], None]) -> None:
    """Keep what `work` raises."""
    try:
        work(0)
    except BaseException as error:
        failures.append(error)


# -- event


def test_event_wakes_all_and_stays_set() -> None:
    event = Event()
    greens = [spawn(event.wait) for _ in range(3)]
    settle()
    event.set()
    assert [green.wait() for green in greens] == [True] * 3
    assert event.wait(0)


def test_a_waiter_woken_by_set_returns_true_though_the_event_is_cleared_at_once() -> None:
    event = Event()
    waiter = spawn(event.wait, 60)
    settle()
    event.set()
    event.clear()
    assert waiter.wait() is True
    assert not event.wait(0)


def test_event_wait_times_out_at_its_deadline(clock: Any) -> None:
    event = Event()
    assert event.wait(30) is False
    assert clock.now() == 30
    assert not event._line


def test_event_set_by_another_thread_between_the_look_and_the_enrolment_is_seen(clock: Any) -> None:
    event = Event()

    class SetMeanwhile(dict[Any, Hub]):
        def __setitem__(self, waiter: Any, hub: Hub) -> None:
            event.set()
            super().__setitem__(waiter, hub)

    for timeout in (None, 30):
        event.clear()
        event._line = SetMeanwhile()
        assert event.wait(timeout)
    assert clock.now() == 0


def test_an_event_may_be_waited_for_in_the_middle_of_a_wait_for_it(clock: Any) -> None:
    """As in a signal handler, which runs wherever the main greenthread stands."""
    event = Event()

    class Interrupted(dict[Any, Hub]):
        def __setitem__(self, waiter: Any, hub: Hub) -> None:
            super().__setitem__(waiter, hub)
            for _ in once:
                assert event.wait(1) is False
                with Timeout(1, False):
                    event.wait()

    once = iter([None])
    event._line = Interrupted()
    waiter = spawn(event.wait)
    sleep(3)
    assert not waiter.ready()
    event.set()
    assert waiter.wait() is True


@pytest.mark.slow
def test_event_loses_no_wake_up_between_threads() -> None:
    """4 threads pass a turn around 5,000 times: each waits for its own event and sets the next one's."""
    events = [Event() for _ in range(THREADS)]
    events[0].set()

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            events[number].wait()
            events[number].clear()
            events[(number + 1) % THREADS].set()

    in_threads(work)


# -- other OS threads


@pytest.mark.slow
@pytest.mark.parametrize("make", [Lock, RLock, lambda: Semaphore(1), lambda: BoundedSemaphore(1), Condition])
def test_a_lock_keeps_threads_apart_and_loses_no_wake_up(make: Callable[[], Any]) -> None:
    """4 threads, 2 greenthreads each, 5,000 times a thread through one lock."""
    lock = make()
    inside = total = 0

    def pass_through() -> None:
        nonlocal inside, total
        for _ in range(ROUNDS // 2):
            with lock:
                inside += 1
                assert inside == 1
                total += 1
                if total % 7 == 0:
                    sleep(0)
                inside -= 1

    def work(_: int) -> None:
        for green in [spawn(pass_through), spawn(pass_through)]:
            green.wait()

    in_threads(work)
    assert total == THREADS * ROUNDS


@pytest.mark.slow
def test_condition_passes_items_between_threads() -> None:
    """2 producers, 2 consumers, 5,000 items each; a lost notification hangs it."""
    condition, items = Condition(), []
    eaten: list[int] = []

    def work(number: int) -> None:
        for each in range(ROUNDS):
            with condition:
                if number % 2:
                    items.append(each)
                    condition.notify()
                else:
                    condition.wait_for(lambda: items)
                    eaten.append(items.pop())

    in_threads(work)
    assert len(eaten) == 2 * ROUNDS


@pytest.mark.slow
def test_barrier_holds_threads_together() -> None:
    """4 threads meet 1,000 times; nobody is ever a round ahead."""
    barrier, rounds = Barrier(THREADS), [0] * THREADS

    def work(number: int) -> None:
        for _ in range(1_000):
            rounds[number] += 1
            barrier.wait()
            assert max(rounds) - min(rounds) <= 1
            assert min(rounds) >= rounds[number] - 1

    in_threads(work)


@pytest.mark.slow
def test_results_reach_waiters_in_other_threads() -> None:
    """5,000 outcomes, each set by one thread while three begin to wait for it."""
    results = [AsyncResult[int]() for _ in range(ROUNDS)]

    def work(number: int) -> None:
        for index, result in enumerate(results):
            if number == 0:
                result.set(index)
            else:
                assert result.wait() == index

    in_threads(work)


def test_only_one_of_two_setters_wins() -> None:
    result = AsyncResult[int]()
    result.set(1)
    with pytest.raises(RuntimeError, match="already"):
        result.set(2)
    with pytest.raises(RuntimeError, match="already"):
        result.set_exception(OSError())
    assert result.wait() == 1


def test_a_release_in_another_thread_wakes_a_sleeping_hub(hub: Hub) -> None:
    lock = Lock()

    def release() -> None:
        while not hub.asleep:
            os.sched_yield()
        lock.release()

    lock.acquire()
    waiter = spawn(lock.acquire)
    settle()
    began = monotonic()
    threading.Thread(target=release).start()
    assert waiter.wait(PATIENCE)
    assert monotonic() - began < PATIENCE / 2  # it was woken, and did not find out when the time of this wait was over


# -- forks


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_passes_over_the_waiters_of_its_parent() -> None:
    semaphore = Semaphore(0)
    waiter = spawn(semaphore.acquire)
    settle()

    def child() -> bool:
        semaphore.release()
        return semaphore.acquire(timeout=PATIENCE)

    assert in_child(child) == (0, "True")
    assert not waiter.ready()
    semaphore.release()
    assert waiter.wait()


# -- odd arguments, as threading has them


@pytest.mark.parametrize("make", [Lock, RLock])
@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((True, -2), ValueError),
        ((False, 1), ValueError),
        ((True, 1e100), OverflowError),
        ((True, float("nan")), ValueError),
    ],
)
def test_odd_timeouts_of_locks_are_errors(
    make: Callable[[], Any], args: tuple[Any, ...], error: type[Exception]
) -> None:
    for lock in (make(), threading.Lock() if make is Lock else threading.RLock()):
        with pytest.raises(error):
            lock.acquire(*args)
        assert lock.acquire(True, -1)


def test_semaphore_refuses_what_threading_refuses() -> None:
    for kind in (Semaphore, threading.Semaphore):
        with pytest.raises(ValueError):
            kind(-1)
        with pytest.raises(ValueError):
            kind(1).acquire(False, timeout=1)
        with pytest.raises(ValueError):
            kind(1).release(0)
    bounded = BoundedSemaphore(2)
    bounded.acquire()
    with pytest.raises(ValueError, match="more often"):
        bounded.release(2)
    bounded.release()


def test_a_semaphore_releases_several_permits() -> None:
    semaphore = Semaphore(0)
    waiters = [spawn(semaphore.acquire) for _ in range(2)]
    settle()
    semaphore.release(3)
    assert all(waiter.wait() for waiter in waiters)
    assert (semaphore._value, semaphore.balance) == (1, 1)


def test_release_of_a_free_lock_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="unlocked"):
        Lock().release()


# -- RLock


def test_an_rlock_belongs_to_one_greenlet() -> None:
    lock = RLock()
    with lock, lock:
        thief = spawn(lock.release)
        with pytest.raises(RuntimeError, match="un-acquired"):
            thief.wait()
        assert spawn(lock.acquire, False).wait() is False
    assert spawn(lock.acquire, False).wait() is True
    with pytest.raises(RuntimeError, match="un-acquired"):
        lock.release()


# -- Condition


def waiting(condition: Condition, timeout: float | None = None) -> GreenThread:
    """Spawn a greenthread that waits for a notification; it returns what wait() returned."""

    def body() -> bool:
        with condition:
            return condition.wait(timeout)

    count = len(condition._waiters)
    green = spawn(body)
    while len(condition._waiters) == count:
        sleep(0)
    return green


def test_condition_needs_its_lock() -> None:
    for condition in (Condition(), Condition(Lock())):
        for method in (condition.wait, condition.notify, condition.notify_all):
            with pytest.raises(RuntimeError, match="un-acquired"):
                method()


def test_notify_wakes_as_many_as_asked_in_order() -> None:
    condition = Condition()
    greens = [waiting(condition) for _ in range(3)]
    with condition:
        condition.notify(2)
    turns(8)
    assert [green.ready() for green in greens] == [True, True, False]
    with condition:
        condition.notify_all()
    assert greens[2].wait() is True


def test_a_notified_waiter_that_is_killed_passes_it_on() -> None:
    condition = Condition()
    first, second = waiting(condition), waiting(condition)
    with condition:
        condition.notify()
        settle()  # the one that was notified now waits for the lock
        first.kill()
        settle()
    assert second.wait(PATIENCE) is True
    assert isinstance(first.exception, GreenletExit) or first.ready()


def test_the_lock_is_taken_again_by_who_is_killed_twice() -> None:
    condition = Condition()
    held: list[bool] = []

    def body() -> None:
        with condition:
            try:
                condition.wait()
            finally:
                held.append(condition._owned())

    green = spawn(body)
    settle()
    with condition:
        green.kill()
        settle()
        green.kill(OSError("second"))
        settle()
        assert not green.ready()
    with pytest.raises(OSError, match="second"):
        green.wait()
    assert held == [True]
    assert condition.acquire(False)


def test_a_scope_that_ends_while_the_lock_is_taken_does_not_stop_the_hub(clock: Any) -> None:
    condition = Condition()

    def body() -> bool:
        with move_on_after(1) as scope, condition:
            condition.wait()
        return scope.cancelled_caught

    green = spawn(body)
    settle()
    with condition:
        sleep(5)
    assert green.wait() is True
    assert clock.now() == 5


def test_condition_wait_times_out_with_the_lock_held(clock: Any) -> None:
    condition = Condition()
    with condition:
        assert condition.wait(3) is False
        assert condition._owned()
        assert condition.wait_for(lambda: clock.now() >= 10, timeout=4) is False
    assert clock.now() == 7


def test_condition_gives_an_rlock_back_completely() -> None:
    condition = Condition()
    with condition, condition:
        spawn(lambda: condition.__enter__() and (condition.notify(), condition.release()))  # type: ignore[func-returns-value]
        assert condition.wait(PATIENCE) is True
        condition.release()
        assert condition._owned()
        condition.acquire()


# -- Barrier


def arrive(barrier: Barrier, count: int) -> list[GreenThread]:
    """Spawn greenthreads that wait at a barrier."""
    greens = [spawn(barrier.wait) for _ in range(count)]
    settle()
    return greens


def test_barrier_gives_each_party_its_own_number_and_is_used_again() -> None:
    barrier = Barrier(3)
    for _ in range(2):
        greens = arrive(barrier, 2)
        assert barrier.n_waiting == 2
        assert sorted([barrier.wait(), *(green.wait() for green in greens)]) == [0, 1, 2]


@pytest.mark.parametrize("end", ["abort", "reset"])
def test_abort_and_reset_break_the_wait_of_those_who_are_there(end: str) -> None:
    barrier = Barrier(3)
    greens = arrive(barrier, 2)
    getattr(barrier, end)()
    for green in greens:
        with pytest.raises(BrokenBarrierError):
            green.wait()
    assert barrier.broken is (end == "abort")
    barrier.reset()
    greens = arrive(barrier, 2)
    assert barrier.wait() == 2
    for green in greens:
        green.wait()


def test_an_action_that_raises_breaks_the_barrier() -> None:
    def fail() -> None:
        raise LookupError("action")

    barrier = Barrier(2, fail)
    (green,) = arrive(barrier, 1)
    with pytest.raises(LookupError, match="action"):
        barrier.wait()
    with pytest.raises(BrokenBarrierError):
        green.wait()
    with pytest.raises(BrokenBarrierError):
        barrier.wait()


def test_the_action_runs_once_before_anybody_goes_on() -> None:
    seen: list[str] = []
    barrier = Barrier(2, lambda: seen.append("action"))
    green = spawn(lambda: (barrier.wait(), seen.append("party")))  # type: ignore[func-returns-value]
    settle()
    barrier.wait()
    green.wait()
    assert seen == ["action", "party"]


def test_a_timeout_breaks_the_barrier_for_all(clock: Any) -> None:
    barrier = Barrier(3, timeout=9)
    (green,) = arrive(barrier, 1)
    with pytest.raises(BrokenBarrierError):
        barrier.wait(2)
    with pytest.raises(BrokenBarrierError):
        green.wait()
    assert clock.now() == 2
    assert barrier.broken


def test_a_killed_party_breaks_the_barrier() -> None:
    barrier = Barrier(3)
    one, other = arrive(barrier, 2)
    one.kill()
    with pytest.raises(BrokenBarrierError):
        other.wait()


# -- outcomes


def test_an_outcome_wakes_all_and_runs_links_in_order() -> None:
    result = AsyncResult[str]()
    calls: list[int] = []
    for number in range(3):
        result.link(lambda _, number=number: calls.append(number))
    greens = [spawn(result.wait) for _ in range(2)]
    settle()
    result.set("value")
    result.link(lambda _: calls.append(3))
    assert [green.wait() for green in greens] == ["value"] * 2
    assert calls == [0, 1, 2, 3]


def test_an_exception_is_raised_in_every_waiter_and_join_only_tells() -> None:
    result = AsyncResult[str]()
    assert result.join(0) is False
    result.set_exception(LookupError("gone"))
    for _ in range(2):
        with pytest.raises(LookupError, match="gone"):
            result.wait()
    assert result.join() is True
    assert (result.value, result.ready(), result.successful()) == (None, True, False)


def test_join_lets_a_timeout_of_ones_own_pass(clock: Any) -> None:
    with pytest.raises(TimeoutError), Timeout(1, TimeoutError):
        AsyncResult[str]().join(60)
    assert clock.now() == 1


def test_wait_times_out(clock: Any) -> None:
    with pytest.raises(TimeoutError, match="no result"):
        AsyncResult[str]().wait(7)
    assert clock.now() == 7


def test_a_link_that_fails_spoils_nothing(hub: Hub) -> None:
    result, failures, calls = AsyncResult[int](), list[BaseException](), list[int]()
    hub.on_error = failures.append
    result.link(lambda _: 1 / 0)
    result.link(lambda each: calls.append(each.value))
    result.set(5)
    assert calls == [5]
    assert [type(error) for error in failures] == [ZeroDivisionError]
    assert get_hub() is hub
