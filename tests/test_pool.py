"""Pools: places, lines, maps, piles, kills at every point, and the first of many."""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from core_tools import one_by_one, run_python, turns

from greenprobe.errors import GreenletExit
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.hub import Hub
from greenprobe.outcome import AsyncResult
from greenprobe.pool import GreenPile, GreenPool, as_completed, wait_any
from greenprobe.queue import Queue
from greenprobe.sync import Event
from greenprobe.testing import JumpClock, RandomOrder, fresh_hub, wait_all_blocked
from greenprobe.waitqueue import Waiter, WaitQueue


def double(number: int) -> int:
    sleep(0)
    return number * 2


def fail_on_three(number: int) -> int:
    sleep(0)
    if number == 3:
        raise ValueError(number)
    return number


# -- places


def test_no_more_than_size_run_at_once() -> None:
    pool = GreenPool(3)
    most = 0

    def work() -> None:
        nonlocal most
        most = max(most, pool.running())
        sleep(0)

    for _ in range(20):
        pool.spawn_n(work)
    assert pool.waitall()
    assert most == 3
    assert (pool.free(), pool.running()) == (3, 0)


def test_spawn_gives_the_result_and_the_exception() -> None:
    pool = GreenPool(2)
    assert pool.spawn(double, 4).wait() == 8
    with pytest.raises(ValueError):
        pool.spawn(fail_on_three, number=3).wait()


def test_spawn_from_inside_a_full_pool_runs_in_place() -> None:
    pool = GreenPool(1)
    depth: list[int] = []

    def descend(levels: int) -> int:
        depth.append(levels)
        return pool.spawn(descend, levels - 1).wait() + 1 if levels else 0

    assert pool.spawn(descend, 5).wait() == 5
    assert depth == [5, 4, 3, 2, 1, 0]


def test_what_runs_in_place_keeps_its_context_to_itself_and_its_exception_in_the_outcome() -> None:
    pool = GreenPool(1)
    variable = ContextVar("variable", default=0)

    def outer() -> tuple[int, BaseException | None]:
        pool.spawn(variable.set, 5)
        return variable.get(), pool.spawn(fail_on_three, 3).exception

    value, error = pool.spawn(outer).wait()
    assert value == 0
    assert isinstance(error, ValueError)


def test_a_kill_while_running_in_place_kills_the_worker() -> None:
    pool = GreenPool(1)
    worker = pool.spawn(lambda: pool.spawn(Event().wait).wait())
    wait_all_blocked()
    worker.kill()
    with pytest.raises(GreenletExit):
        worker.wait()
    assert pool.free() == 1


def test_a_worker_killed_before_it_starts_gives_its_place_back() -> None:
    pool = GreenPool(1)
    pool.spawn(double, 1).kill()
    assert pool.free() == 1
    assert pool.waitall()


def test_places_are_given_in_the_order_of_asking() -> None:
    pool = GreenPool(1)
    gate = Event()
    order: list[int] = []
    pool.spawn(gate.wait)
    askers = one_by_one(lambda number: pool.spawn_n(order.append, number), range(3))
    assert pool.waiting() == 3
    gate.set()
    for asker in askers:
        asker.wait()
    pool.waitall()
    assert order == [0, 1, 2]


@pytest.mark.parametrize("switches", range(8))
def test_a_place_handed_to_a_killed_asker_is_not_lost(switches: int) -> None:
    pool = GreenPool(1)
    pool.spawn(double, 1)
    askers = [spawn(pool.spawn_n, double, number) for number in range(3)]
    for _ in range(switches):
        sleep(0)
    askers[0].kill()
    for asker in askers:
        asker.join()
    assert pool.waitall()
    assert pool.free() == 1


def test_an_asker_that_is_killed_in_line_starts_nobody() -> None:
    pool = GreenPool(1)
    over = Event()
    worker = pool.spawn(over.wait)
    started: list[int] = []
    asker = spawn(pool.spawn, started.append, 1)
    turns(1)
    asker.kill()
    asker.join()
    over.set()
    worker.wait()
    turns(3)
    assert (started, pool.free(), pool.waiting()) == ([], 1, 0)


def test_a_place_that_another_thread_frees_while_one_enrols_is_taken() -> None:
    pool = GreenPool(1)
    pool._free = 0  # a worker of another thread has it

    class FreedMeanwhile(WaitQueue):
        def enrol(self, item: Any = None) -> Waiter:
            pool._give_back()
            return super().enrol(item)

    pool._line = FreedMeanwhile()
    assert pool.spawn(int).wait() == 0
    assert pool.free() == 1


def test_what_spawn_n_runs_in_place_is_over_and_its_failure_printed(hub: Hub) -> None:
    pool = GreenPool(1)
    printed: list[BaseException] = []
    hub.on_error = printed.append
    ran: list[int] = []

    def inner(number: int) -> None:
        ran.append(number)
        if number:
            raise ValueError(number)

    def outer() -> list[int]:
        pool.spawn_n(inner, 0)
        pool.spawn_n(inner, 1)
        return list(ran)

    assert pool.spawn(outer).wait() == [0, 1]
    assert pool.join()
    assert ran == [0, 1]
    assert [type(error) for error in printed] == [ValueError]


def test_a_pool_of_size_0_runs_nobody_until_it_is_resized() -> None:
    pool = GreenPool(0)
    asker = spawn(pool.spawn, double, 2)
    wait_all_blocked()
    assert not asker.ready()
    pool.resize(1)
    assert asker.wait().wait() == 4


def test_a_pool_that_nobody_waits_for_grows_and_shrinks() -> None:
    pool = GreenPool(1)
    sizes = []
    for size in (3, 0, 2):
        pool.resize(size)
        sizes.append((pool.size, pool.free()))
    assert sizes == [(3, 3), (0, 0), (2, 2)]


def test_a_shrunken_pool_starts_nobody_until_enough_have_ended() -> None:
    pool = GreenPool(3)
    gates = [Event() for _ in range(3)]
    for gate in gates:
        pool.spawn_n(gate.wait)
    pool.resize(1)
    asker = spawn(pool.spawn_n, int)
    for gate in gates[:2]:
        gate.set()
        wait_all_blocked()
        assert not asker.ready()
    assert pool.free() == 0
    gates[2].set()
    asker.wait()
    assert pool.waitall()
    assert pool.statistics().size == pool.free() == 1


@pytest.mark.parametrize(("size", "error"), [("3", TypeError), (1.5, TypeError), (-1, ValueError)])
def test_sizes_that_make_no_sense_are_refused(size: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        GreenPool(size)
    with pytest.raises(error):
        GreenPool(1).resize(size)


def test_spawn_n_prints_what_its_function_raises(hub: Hub) -> None:
    errors: list[BaseException] = []
    hub.on_error = errors.append
    pool = GreenPool(1)
    pool.spawn_n(fail_on_three, 3)
    assert pool.waitall()
    assert [type(error) for error in errors] == [ValueError]


# -- waiting and killing


def test_waitall_from_a_worker_says_that_it_cannot_be() -> None:
    pool = GreenPool(1)
    with pytest.raises(RuntimeError, match="worker"):
        pool.spawn(pool.waitall).wait()


def test_the_input_of_an_imap_cannot_wait_for_its_pool() -> None:
    pool = GreenPool(2)

    def items() -> Iterator[int]:
        pool.join()
        yield 1

    with pytest.raises(RuntimeError, match="its own pool"):
        list(pool.imap(int, items()))


def test_join_tells_that_workers_are_left(clock: JumpClock) -> None:
    pool = GreenPool(2)
    pool.spawn(sleep, 10)
    assert pool.join(timeout=4) is False
    assert clock.now() == 4
    assert pool.join(timeout=7) is True


def test_kill_ends_every_worker() -> None:
    pool = GreenPool(3)
    workers = [pool.spawn(Event().wait) for _ in range(3)]
    wait_all_blocked()
    pool.kill()
    assert pool.waitall()
    assert all(isinstance(worker.exception, GreenletExit) for worker in workers)


def test_a_worker_that_kills_its_pool_dies_last() -> None:
    pool = GreenPool(2)
    other = pool.spawn(Event().wait)
    killer = pool.spawn(pool.kill)
    assert pool.waitall()
    assert isinstance(killer.exception, GreenletExit)
    assert isinstance(other.exception, GreenletExit)


# -- maps


@pytest.mark.parametrize("size", [1, 2, 10])
@pytest.mark.parametrize("seed", range(3))
def test_imap_keeps_the_order_of_its_input(size: int, seed: int) -> None:
    with fresh_hub(), RandomOrder(seed):
        pool = GreenPool(size)
        assert list(pool.imap(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
        assert sorted(pool.imap_unordered(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
        assert list(pool.starmap(pow, [(2, 3), (3, 2)])) == pool.map(pow, [2, 3], [3, 2]) == [8, 9]
        assert pool.waitall()


def test_unordered_results_come_as_they_are_ready(clock: JumpClock) -> None:
    def nap(seconds: int) -> int:
        sleep(seconds)
        return seconds

    assert list(GreenPool(3).imap_unordered(nap, [3, 1, 2])) == [1, 2, 3]


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_a_map_over_nothing_is_empty(name: str) -> None:
    results = getattr(GreenPool(2), name)(double, [])
    assert list(results) == []
    assert list(results) == []


@pytest.mark.parametrize("size", [1, 2, 10])
def test_an_exception_is_raised_at_its_place_and_the_iteration_goes_on(size: int) -> None:
    results = GreenPool(size).imap(fail_on_three, range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError):
        next(results)
    assert list(results) == [4, 5]


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_an_exception_of_the_input_ends_the_iteration(name: str) -> None:
    def numbers() -> Iterator[int]:
        yield from (1, 2)
        raise KeyError("input")

    results = getattr(GreenPool(1), name)(double, numbers())
    got: list[int] = []
    with pytest.raises(KeyError):
        got.extend(iter(results.__next__, None))
    assert list(results) == []


def test_imap_reads_no_more_than_it_may_run_ahead() -> None:
    pool = GreenPool(3)
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    results = pool.imap(double, numbers())
    wait_all_blocked()
    assert read == []
    next(results)
    wait_all_blocked()
    assert len(read) <= 4
    assert pool.waitall()  # what nobody takes is not waited for
    results.close()


def test_an_input_that_waits_does_not_hold_up_results() -> None:
    source: Queue[int] = Queue()
    source.put(1)
    results = GreenPool(5).imap(double, source)
    assert next(results) == 2
    source.shutdown()
    assert list(results) == []


def test_waitall_covers_an_imap_whose_input_waits(clock: JumpClock) -> None:
    pool = GreenPool(5)

    def numbers() -> Iterator[int]:
        yield 1
        sleep(10)
        yield 2

    results = pool.imap(double, numbers())
    assert next(results) == 2
    assert pool.waitall()
    assert clock.now() == 10
    assert list(results) == [4]


def test_leaving_the_loop_early_kills_what_is_left() -> None:
    pool = GreenPool(3)
    killed: list[int] = []

    def work(number: int) -> int:
        try:
            if number:
                Event().wait()
        except GreenletExit:
            killed.append(number)
            raise
        return number

    for _ in pool.imap(work, range(100)):
        wait_all_blocked()
        break
    assert pool.waitall()
    assert sorted(killed) == [1, 2, 3]
    turns()  # an imap whose results nobody takes is not waited for
    assert pool.statistics().feeding == 0


def test_leaving_the_loop_kills_what_the_feeder_was_about_to_start() -> None:
    pool = GreenPool(1)
    ended: list[int] = []

    def work(number: int) -> int:
        try:
            return number if not number else Event().wait()
        finally:
            ended.append(number)

    for _ in pool.imap(work, range(100)):  # the place that is free by now was given to the feeder, which has not run
        break
    turns()
    assert pool.running() == 0
    assert pool.free() == 1
    assert ended in ([0], [0, 1])


def test_greenthreads_that_share_an_imap_get_results_of_their_own() -> None:
    results = GreenPool(3).imap(double, range(20))
    shares = [spawn(list, results) for _ in range(4)]
    assert sorted(number for share in shares for number in share.wait()) == [number * 2 for number in range(20)]


@pytest.mark.parametrize("imap", [GreenPool.imap, GreenPool.imap_unordered])
def test_closing_an_imap_ends_the_iteration_of_who_waits_for_a_result(imap: Callable[..., Any]) -> None:
    results = imap(GreenPool(3), lambda _: Event().wait(), range(5))
    takers = [spawn(list, results) for _ in range(2)]
    wait_all_blocked()
    results.close()
    assert [taker.wait() for taker in takers] == [[], []]
    assert list(results) == []


def test_a_function_that_raises_stop_iteration_does_not_end_the_iteration() -> None:
    empty = iter([1])  # one result, and then none
    pool = GreenPool(1)
    results = pool.imap(lambda _: next(empty), range(3))
    assert next(results) == 1
    for _ in range(2):
        with pytest.raises(RuntimeError, match="StopIteration"):
            next(results)
    pile = GreenPile(pool)
    pile.spawn(next, empty)
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(pile)


def test_imap_inside_a_worker_of_a_full_pool_does_not_deadlock() -> None:
    pool = GreenPool(2)
    workers = [pool.spawn(lambda: list(pool.imap(double, range(5)))) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [[0, 2, 4, 6, 8]] * 2


def test_a_wait_for_a_result_that_is_ended_from_outside_loses_no_result() -> None:
    gate = Event()

    def work(number: int) -> int:
        gate.wait()
        return number

    results = GreenPool(2).imap(work, range(3))
    taker = spawn(next, results)
    wait_all_blocked()
    taker.kill()
    taker.join()
    gate.set()
    assert list(results) == [0, 1, 2]


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_a_pool_killed_at_any_switch_is_empty_afterwards(name: str) -> None:
    for switches in range(15):
        pool = GreenPool(2)
        taker = spawn(list, getattr(pool, name)(double, range(5)))
        for _ in range(switches):
            sleep(0)
        pool.kill()
        taker.join()
        wait_all_blocked()
        assert pool.waitall()
        assert (pool.free(), pool.statistics().feeding) == (2, 0), switches


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_a_taker_killed_at_any_switch_leaves_an_empty_pool(name: str) -> None:
    for switches in range(15):
        pool = GreenPool(2)
        taker = spawn(list, getattr(pool, name)(double, range(5)))
        for _ in range(switches):
            sleep(0)
        taker.kill()
        taker.join()
        del taker
        wait_all_blocked()
        assert pool.waitall()
        assert (pool.free(), pool.statistics().feeding) == (2, 0), switches


def test_an_imap_left_open_at_the_end_of_the_program_is_not_heard_of() -> None:
    done = run_python("""
        from greenprobe.pool import GreenPool
        results = GreenPool(2).imap(abs, range(100))
        print(next(results))
        """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_failures_after_the_one_that_ended_an_imap_are_not_reported(hub: Hub) -> None:
    reported: list[BaseException] = []
    hub.on_error = reported.append
    with pytest.raises(ZeroDivisionError):
        GreenPool(5).map(lambda _: 1 / 0, range(5))
    sleep(0)
    assert not reported


def test_a_failure_in_place_of_a_worker_that_nobody_asks_for_is_reported(hub: Hub) -> None:
    reported: list[BaseException] = []
    hub.on_error = reported.append
    pool = GreenPool(1)
    pool.spawn(lambda: pool.spawn(lambda: 1 / 0).ready()).wait()
    assert [type(error) for error in reported] == [ZeroDivisionError]


# -- piles


def test_a_pile_gives_results_in_the_order_of_spawning(clock: JumpClock) -> None:
    def nap(seconds: int) -> int:
        sleep(seconds)
        return seconds

    pile = GreenPile(2)
    for seconds in (3, 1, 2):
        pile.spawn(nap, seconds)
    assert list(pile) == [3, 1, 2]
    assert list(pile) == []


def test_a_pile_goes_on_after_an_exception() -> None:
    pile = GreenPile(GreenPool(1))
    for number in (3, 4):
        pile.spawn(fail_on_three, number)
    with pytest.raises(ValueError):
        next(pile)
    assert next(pile) == 4
    with pytest.raises(StopIteration):
        next(pile)


# -- the first of many


def naps(*seconds: int) -> list[GreenThread]:
    return [spawn(sleep, each) for each in seconds]


def test_as_completed_yields_in_the_order_of_ends_and_unlinks(clock: JumpClock) -> None:
    slow, fast = naps(3, 1)
    done: AsyncResult[int] = AsyncResult()
    done.set(1)
    assert list(as_completed([slow, fast, done])) == [done, fast, slow]
    assert list(as_completed([])) == []


def test_as_completed_says_when_time_is_over(clock: JumpClock) -> None:
    greens = naps(1, 5)
    with pytest.raises(TimeoutError, match="1 of 2"):
        list(as_completed(greens, 3))
    assert clock.now() == 3
    greens[1].kill()


def test_wait_any_returns_the_first(clock: JumpClock) -> None:
    greens = naps(5, 2, 3)
    assert wait_any(greens) == [greens[1]]
    assert clock.now() == 2
    assert not greens[0]._links
    assert wait_any(greens, timeout=2, count=3) == [greens[1], greens[2]]
    assert clock.now() == 4
    assert len(wait_any(greens, count=9)) == 3


MAPS: list[Callable[[GreenPool], Any]] = [lambda pool: pool.imap(double, range(3))]


@pytest.mark.parametrize("make", MAPS)
def test_results_close_as_a_context_manager(make: Callable[[GreenPool], Any]) -> None:
    pool = GreenPool(2)
    with make(pool) as results:
        assert next(results) == 0
    assert list(results) == []
    assert pool.waitall()
