"""Blocking calls in real threads: results, errors, early ends, limits, threads that end, forks."""

import subprocess
import sys
from _thread import allocate_lock, get_ident
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from time import sleep as real_sleep
from typing import Any

import pytest
from greenlet import GreenletExit

from greenprobe.errors import DeadlockError
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.sync import Event
from greenprobe.testing import wait_all_blocked
from greenprobe.threadpool import WORKERS, ThreadPool, run_in_thread


@pytest.fixture(autouse=True)
def _no_job_is_expected_for_ever(hub: Hub) -> Iterator[None]:
    yield
    wait_all_blocked()
    assert hub.expected == 0


class Gate:
    """A real lock that holds threads up until `open`; `entered` counts who came."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self.entered: list[int] = []

    def __call__(self) -> int:
        self.entered.append(get_ident())
        with self._lock:
            return len(self.entered)

    def open(self) -> None:
        self._lock.release()

    def wait_for(self, count: int) -> None:
        """Wait until so many threads are held up."""
        for _ in range(5000):
            if len(self.entered) >= count:
                return
            real_sleep(0.001)
        raise AssertionError(f"{len(self.entered)} of {count} came")


def fail(error: BaseException) -> None:
    raise error


def test_a_call_runs_in_another_thread_and_returns_its_value() -> None:
    assert run_in_thread(get_ident) != get_ident()
    assert run_in_thread(max, 3, 9) == 9


def test_other_greenthreads_run_meanwhile() -> None:
    gate = Gate()
    green = spawn(run_in_thread, gate)
    wait_all_blocked()
    gate.open()
    assert green.wait() == 1


def test_what_the_call_raises_is_raised_where_it_was_asked_for() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_in_thread(divmod, 1, 0)
    assert caught.value.__traceback__ is not None
    with pytest.raises(SystemExit):
        run_in_thread(fail, SystemExit(3))


def test_a_timeout_ends_the_wait_and_drops_the_result() -> None:
    gate = Gate()
    pool = ThreadPool(1)
    with pytest.raises(TimeoutError):
        pool.run(gate, timeout=0.01)
    gate.open()
    assert pool.run(lambda: "next") == "next"
    pool.shutdown()


def test_a_kill_ends_the_wait_at_once() -> None:
    gate = Gate()
    with ThreadPool(1) as pool:
        green = spawn(pool.run, gate)
        wait_all_blocked()
        green.kill()
        with pytest.raises(GreenletExit):
            green.wait()
        gate.open()


def test_a_call_given_up_before_it_began_is_never_made() -> None:
    gate = Gate()
    calls: list[int] = []
    with ThreadPool(1) as pool:
        first = pool.submit(gate)
        second = spawn(pool.run, calls.append, 1)
        third = pool.submit(calls.append, 3)
        wait_all_blocked()
        second.kill()
        sleep(0)
        gate.open()
        first.wait()
        third.wait()
    assert calls == [3]


def test_a_job_is_cancelled_only_before_it_begins() -> None:
    gate = Gate()
    with ThreadPool(1) as pool:
        first = pool.submit(gate)
        second = pool.submit(int)
        gate.wait_for(1)
        assert not first.cancel()
        assert second.cancel()
        assert not second.cancel()
        with pytest.raises(GreenletExit):
            second.wait()
        gate.open()
        assert first.wait() == 1


def test_a_job_tells_its_links_in_the_loop() -> None:
    seen: list[Any] = []
    with ThreadPool(1) as pool:
        job = pool.submit(get_ident)
        job.link(lambda job: seen.append((job.value, get_ident())))
        job.wait()
    assert seen == [(job.value, get_ident())]


def test_no_more_threads_than_its_size() -> None:
    gate = Gate()
    with ThreadPool(3) as pool:
        jobs = [pool.submit(gate) for _ in range(10)]
        gate.wait_for(3)
        assert pool.threads == 3
        assert pool.waiting == 7
        gate.open()
        for job in jobs:
            job.wait()
        assert len(set(gate.entered)) == 3


def test_an_idle_thread_is_used_before_a_new_one_starts() -> None:
    with ThreadPool(10) as pool:
        pool.run(int)
        for _ in range(50):
            while not pool._idle:
                real_sleep(0)
            pool.run(int)
        assert pool.threads == 1


def test_idle_threads_end() -> None:
    pool = ThreadPool(2, idle_seconds=0.005)
    helpers, workers = Hub.helper_threads, len(WORKERS)  # those of earlier tests' pools that still end among them
    for job in [pool.submit(int) for _ in range(2)]:
        job.wait()
    for _ in range(5000):
        if not pool.threads and Hub.helper_threads <= helpers and len(WORKERS) <= workers:
            break
        real_sleep(0.001)
    assert pool.threads == 0
    assert Hub.helper_threads <= helpers
    assert len(WORKERS) <= workers
    assert pool.run(lambda: "again") == "again"
    pool.shutdown()


def test_threads_that_end_while_jobs_arrive_lose_none() -> None:
    pool = ThreadPool(4, idle_seconds=0.0001)
    for number in range(300):
        assert pool.run(lambda n: n, number, timeout=10) == number
        if number % 3 == 0:
            real_sleep(0.0002)
    pool.shutdown()


def test_shutdown_finishes_what_is_there_and_takes_no_more() -> None:
    done: list[int] = []
    pool = ThreadPool(2)
    for number in range(20):
        pool.submit(done.append, number)
    pool.shutdown()
    assert sorted(done) == list(range(20))
    assert pool.threads == 0
    with pytest.raises(RuntimeError, match="after its shutdown"):
        pool.submit(int)


def test_shutdown_of_an_unused_pool_returns() -> None:
    ThreadPool(2).shutdown()


def test_the_call_sees_the_callers_context_variables() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    def body(text: str) -> str:
        variable.set(text)
        return run_in_thread(variable.get)

    greens = [spawn(body, text) for text in "ab"]
    assert [green.wait() for green in greens] == ["a", "b"]
    assert variable.get() == "unset"


def test_idle_threads_do_not_hide_a_deadlock() -> None:
    run_in_thread(int)
    with pytest.raises(DeadlockError):
        Event().wait()


def test_a_running_job_is_no_deadlock() -> None:
    gate = Gate()

    def open_late() -> None:
        real_sleep(0.04)
        real_sleep(0.04)  # the hub looks after 0.05 s
        gate.open()

    with ThreadPool(2) as pool:
        job = pool.submit(gate)
        pool.submit(open_late)
        assert job.wait() == 1


def test_a_thread_may_wait_for_the_job_of_another() -> None:
    gate = Gate()
    with ThreadPool(2) as pool:
        job = pool.submit(gate)
        other = pool.submit(job.wait)
        gate.wait_for(1)
        gate.open()
        assert other.wait() == 1


def test_a_result_is_let_go_of_by_idle_threads() -> None:
    class Big:
        alive = 0

        def __init__(self) -> None:
            Big.alive += 1

        def __del__(self) -> None:
            Big.alive -= 1

    with ThreadPool(1) as pool:
        pool.run(Big)
        for _ in range(5000):
            if not Big.alive:
                break
            real_sleep(0.001)
        assert Big.alive == 0


def test_green_code_runs_in_a_worker_on_a_hub_of_its_own() -> None:
    def body() -> Hub:
        sleep(0.001)
        return get_hub()

    with ThreadPool(1) as pool:
        assert pool.run(body) is not get_hub()


FORK = """
import os, warnings
from greenprobe.threadpool import default_pool, run_in_thread
warnings.simplefilter("ignore")
run_in_thread(int)
pid = os.fork()
if not pid:
    assert default_pool().threads == 0
    os._exit(run_in_thread(lambda: 7))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert run_in_thread(lambda: 8) == 8
"""


@pytest.mark.slow
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    """A fresh interpreter, as forking pytest would fork its threads."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=30)


@pytest.mark.slow
def test_many_calls_from_many_greenthreads_all_come_home() -> None:
    """Four thousand switches of OS threads."""
    with ThreadPool(4) as pool:
        greens = [spawn(pool.run, partial(pow, number, 2)) for number in range(2000)]
        assert [green.wait() for green in greens] == [number**2 for number in range(2000)]
