"""A pool of objects: who gets one, who makes one, what is too old, and what happens when making fails."""

from itertools import count

import pytest
from core_tools import turns

from greenprobe.errors import PoolTimeout
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub
from greenprobe.objectpool import ObjectPool, ObjectPoolStatistics
from greenprobe.testing import JumpClock


class Thing:
    """What the pools are of."""

    numbers = count()

    def __init__(self) -> None:
        self.number = next(self.numbers)


@pytest.fixture
def gone() -> list[Thing]:
    """What was discarded."""
    return []


def figures(pool: ObjectPool[Thing]) -> tuple[int, int, int]:
    """Return how many there are, how many idle, how many wait."""
    found = pool.statistics()
    return found.made, found.idle, found.waiting


def test_nothing_is_made_before_it_is_needed_and_what_comes_back_is_lent_again() -> None:
    pool = ObjectPool(Thing, 2)
    assert pool.statistics() == ObjectPoolStatistics(2, 0, 0, 0)
    first = pool.take()
    pool.give_back(first)
    assert pool.take() is first
    assert figures(pool) == (1, 0, 0)


def test_who_waits_gets_what_comes_back_in_line() -> None:
    pool = ObjectPool(Thing, 1)
    one = pool.take()
    waiters = []
    for _ in range(2):
        waiters.append(spawn(pool.take))
        turns()
    assert figures(pool) == (1, 0, 2)
    pool.give_back(one)
    assert waiters[0].wait() is one
    assert not waiters[1].dead
    pool.give_back(one)
    assert waiters[1].wait() is one


def test_a_dropped_object_makes_room_for_a_new_one(gone: list[Thing]) -> None:
    pool = ObjectPool(Thing, 1, discard=gone.append)
    one = pool.take()
    waiter = spawn(pool.take)
    turns()
    pool.drop(one)
    assert waiter.wait() is not one
    assert gone == [one]


def test_waiting_has_an_end(clock: JumpClock) -> None:
    pool = ObjectPool(Thing, 1)
    pool.take()
    with pytest.raises(PoolTimeout):
        pool.take(timeout=3)
    assert clock.now() == 3
    assert figures(pool) == (1, 0, 0)


@pytest.mark.fifo  # it has to be killed between being handed something and running
def test_a_waiter_killed_after_it_was_handed_an_object_passes_it_on() -> None:
    pool = ObjectPool(Thing, 1)
    one = pool.take()
    waiters = [spawn(pool.take) for _ in range(2)]
    turns()
    waiters[0].kill()  # raised in it when it has been handed the object already
    pool.give_back(one)
    assert waiters[1].wait() is one


@pytest.mark.fifo  # it has to be killed between being handed something and running
def test_a_waiter_killed_after_it_was_handed_a_place_passes_it_on() -> None:
    pool = ObjectPool(Thing, 1)
    one = pool.take()
    waiters = [spawn(pool.take) for _ in range(2)]
    turns()
    waiters[0].kill()
    pool.drop(one)
    assert waiters[1].wait() is not one
    assert figures(pool) == (1, 0, 0)


def test_making_that_fails_gives_its_place_back() -> None:
    answers: list[ValueError | Thing] = [ValueError("no"), Thing()]

    def make() -> Thing:
        sleep(0)
        answer = answers.pop(0)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    pool = ObjectPool(make, 1)
    takers = [spawn(pool.take) for _ in range(2)]
    for taker in takers:
        taker.join()
    failed, made = sorted(takers, key=lambda taker: taker.successful())
    with pytest.raises(ValueError, match="no"):
        failed.wait()
    assert isinstance(made.wait(), Thing)
    assert figures(pool) == (1, 0, 0)


def test_making_takes_a_place_while_it_waits(hub: Hub) -> None:
    def make() -> Thing:
        hub.sleep(0)
        return Thing()

    pool = ObjectPool(make, 2)
    takers = [spawn(pool.take) for _ in range(5)]
    turns(5)
    assert sorted(taker.dead for taker in takers) == [False, False, False, True, True]
    for taker in takers:
        taker.kill()
    turns()


def test_what_lay_idle_or_is_old_is_not_lent_again(clock: JumpClock, gone: list[Thing]) -> None:
    pool = ObjectPool(Thing, 3, discard=gone.append, max_idle=10, max_age=100)
    one = pool.take()
    pool.give_back(one)
    clock.advance(9)
    assert pool.take() is one
    pool.give_back(one)
    clock.advance(10)
    assert pool.take() is not one
    assert gone == [one]
    two = pool.take()
    clock.advance(100)
    pool.give_back(two)
    assert two in gone


def test_a_block_gives_back_and_drops_if_it_raises(gone: list[Thing]) -> None:
    pool = ObjectPool(Thing, 1, discard=gone.append)
    with pool.lend() as one:
        assert figures(pool) == (1, 0, 0)
    assert figures(pool) == (1, 1, 0)
    with pytest.raises(KeyError), pool.lend() as same:
        raise KeyError
    assert same is one
    assert gone == [one]
    assert figures(pool) == (0, 0, 0)


def test_giving_back_twice_or_what_is_not_the_pools_is_an_error() -> None:
    pool = ObjectPool(Thing, 1)
    one = pool.take()
    pool.give_back(one)
    for thing in (one, Thing()):
        with pytest.raises(ValueError, match="not lent"):
            pool.give_back(thing)


def test_growing_lets_waiters_in_and_shrinking_discards(gone: list[Thing]) -> None:
    pool = ObjectPool(Thing, 1, discard=gone.append)
    first = pool.take()
    waiter = spawn(pool.take)
    turns()
    pool.resize(2)
    second = waiter.wait()
    pool.give_back(first)
    pool.resize(1)
    assert gone == [first]
    pool.give_back(second)
    assert figures(pool) == (1, 1, 0)
    for size in (0, -1):
        with pytest.raises(ValueError, match="1 or more"):
            pool.resize(size)


def test_closing_discards_wakes_and_refuses(gone: list[Thing]) -> None:
    pool = ObjectPool(Thing, 2, discard=gone.append)
    one, two = pool.take(), pool.take()
    pool.give_back(one)
    assert pool.take() is one
    waiter = spawn(pool.take)
    turns()
    pool.give_back(two)
    turns()
    assert waiter.wait() is two
    late = spawn(pool.take)
    turns()
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        late.wait()
    with pytest.raises(RuntimeError, match="closed"):
        pool.take()
    pool.give_back(one)
    assert gone == [one]


def test_an_object_that_was_handed_over_as_the_pool_closed_is_discarded(gone: list[Thing]) -> None:
    pool = ObjectPool(Thing, 1, discard=gone.append)
    one = pool.take()
    waiter = spawn(pool.take)
    turns()
    pool.give_back(one)
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        waiter.wait()
    assert (gone, figures(pool)) == ([one], (0, 0, 0))
