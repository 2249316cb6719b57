"""Hubs of several OS threads: each its own, closed with its thread, and no wake-up between them is lost."""

import gc
import os
import threading
import weakref
from collections.abc import Callable

import pytest
from core_tools import run_python, turns

from greenprobe import hub as hubs
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import AsyncResult
from greenprobe.sync import Event, Semaphore


def run_threads(*functions: Callable[[], object]) -> None:
    """Run each in a thread of its own; raise what the first of them to fail raised."""
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:  # raised again by the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "a wake-up was lost"
    for error in errors:
        raise error


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_each_thread_has_a_hub_of_its_own(hub: Hub) -> None:
    found: list[Hub] = []
    run_threads(lambda: found.append(get_hub()), lambda: found.append(get_hub()))
    assert len({id(each) for each in [hub, *found]}) == 3
    assert get_hub() is hub


def test_a_thread_that_ends_leaves_no_hub_behind() -> None:
    kept: list[weakref.ref[Hub]] = []

    def work() -> None:
        kept.append(weakref.ref(get_hub()))
        spawn(sleep, 0).wait()

    run_threads(work, work)
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


@pytest.mark.slow
def test_short_threads_leave_no_descriptors() -> None:
    """Slow: 200 hubs with two descriptors each; some leave greenthreads behind that wait, or never ran."""

    def work() -> None:
        spawn(sleep, 0).wait()
        spawn(sleep, 0)
        spawn(Event().wait)
        sleep(0)
        spawn(pytest.fail, "never runs")

    before = descriptors()
    for _ in range(50):
        run_threads(work, work, work, work)
    assert descriptors() <= before


def test_the_hub_of_a_thread_is_closed_when_it_ends() -> None:
    found: list[Hub] = []

    def work() -> None:
        sleep(0)
        found.append(get_hub())

    run_threads(work)
    assert found[0].closed


def test_waking_a_hub_whose_thread_has_ended_does_nothing() -> None:
    found: list[Hub] = []
    run_threads(lambda: found.append(get_hub()))
    found[0].call_threadsafe(pytest.fail, "nobody is there")
    found[0].asleep = True
    found[0].ring()


def test_a_call_from_another_thread_runs_in_the_hubs_thread(hub: Hub) -> None:
    ran: list[int] = []
    done = Event()

    def record() -> None:
        ran.append(threading.get_ident())
        done.set()

    thread = threading.Thread(target=hub.call_threadsafe, args=(record,))
    thread.start()
    assert done.wait(5)
    thread.join()
    assert ran == [threading.get_ident()]


@pytest.mark.fifo
def test_a_burst_of_calls_rings_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    rings: list[int] = []
    ran: list[int] = []
    write = os.write

    def counting(fd: int, data: bytes) -> int:
        if fd == hub._bell:
            rings.append(fd)
        return write(fd, data)

    monkeypatch.setattr("greenprobe.hub.write", counting)
    hub.asleep = True  # as it is inside a poll
    for number in range(1000):
        hub.call_threadsafe(ran.append, number)
    assert len(rings) == 1
    turns(3)
    assert ran == list(range(1000))
    for number in range(100):
        hub.call_threadsafe(ran.append, number)
    assert len(rings) == 1  # the hub is awake


@pytest.mark.slow
def test_events_between_four_threads_lose_no_wake_up() -> None:
    """Slow: 20,000 hand-offs round a ring of threads."""
    rounds, size = 5_000, 4
    events = [Event() for _ in range(size)]

    def pass_on(place: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(rounds):
                assert events[place].wait(20)
                events[place].clear()
                events[(place + 1) % size].set()

        return run

    events[0].set()
    run_threads(*(pass_on(place) for place in range(size)))


@pytest.mark.slow
def test_semaphores_between_four_threads_lose_no_permit() -> None:
    """Slow: 20,000 hand-offs of two permits among eight greenthreads in four threads."""
    semaphore = Semaphore(2)
    inside: list[int] = []
    worst: list[int] = []

    def use() -> None:
        for number in range(2_500):
            with semaphore:
                inside.append(number)
                worst.append(len(inside))
                if number % 7 == 0:
                    sleep(0)
                inside.pop()

    def work() -> None:
        greens = [spawn(use) for _ in range(2)]
        for green in greens:
            green.wait(30)

    run_threads(work, work, work, work)
    assert max(worst) <= 2
    assert semaphore.balance == 2


@pytest.mark.slow
def test_results_set_in_one_thread_reach_waiters_in_three() -> None:
    """Slow: 2,000 results, three waiters each, set while they come."""
    results: list[AsyncResult[int]] = [AsyncResult() for _ in range(2_000)]

    def produce() -> None:
        for number, result in enumerate(results):
            result.set(number)
            if number % 10 == 0:
                sleep(0)

    def consume() -> None:
        assert [result.wait(20) for result in results] == list(range(len(results)))

    run_threads(consume, consume, consume, produce)


@pytest.mark.slow
def test_greenthreads_are_waited_for_and_killed_across_threads() -> None:
    """Slow: 300 greenthreads, each waited for in one thread and killed from another at a random point."""
    greens: list[GreenThread] = []
    ready, done = threading.Event(), Event()

    def owner() -> None:
        greens.extend(spawn(sleep, 0.001 * (number % 5)) for number in range(300))
        ready.set()
        assert done.wait(20)

    def killer() -> None:
        ready.wait(10)
        for green in greens[::2]:
            green.kill()

    def waiter() -> None:
        ready.wait(10)
        for green in greens:
            assert green.join(20)
        done.set()

    run_threads(owner, killer, waiter)
    assert all(green.ready() for green in greens)


def test_a_fork_handler_is_registered_once() -> None:
    run_threads(get_hub, get_hub)
    assert hubs._watching_forks


@pytest.mark.slow
def test_a_thread_that_ends_with_greenthreads_says_nothing() -> None:
    """Slow: starts an interpreter."""
    done = run_python("""
        import threading
        from greenprobe.greenthread import sleep, spawn
        def work():
            spawn(sleep, 60)
            sleep(0)
            spawn(print, "never runs")
        for _ in range(5):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
