"""Queues and channels: order, fairness, hand-over, kills at every point, other threads."""

import random
import sys
from _thread import LockType, allocate_lock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from core_tools import one_by_one
from hypothesis import given, settings, strategies as st

from greenprobe.channel import Channel
from greenprobe.errors import DeadlockError, GreenletExit
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.queue import (
    Empty,
    Full,
    LifoQueue,
    PriorityQueue,
    Queue,
    ShutDown,
    first_of,
    settled,
    wake,
)
from greenprobe.testing import JumpClock, RandomOrder, fresh_hub, wait_all_blocked
from greenprobe.waitqueue import WaitQueue

KINDS: list[type[Queue[Any]]] = [Queue, LifoQueue, PriorityQueue]
every_kind = pytest.mark.parametrize("kind", KINDS)


@contextmanager
def nobody_else_running() -> Iterator[None]:
    """Fail if the block lets another greenthread run."""
    other = spawn(int)
    yield
    assert not other.started, "the block switched"
    other.kill()


def drained(queue: Queue[Any]) -> list[Any]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


@pytest.mark.parametrize(("kind", "order"), [(Queue, [2, 3, 1]), (LifoQueue, [1, 3, 2]), (PriorityQueue, [1, 2, 3])])
def test_each_kind_gives_items_in_its_order(kind: type[Queue[int]], order: list[int]) -> None:
    queue = kind()
    for item in (2, 3, 1):
        queue.put(item)
    assert drained(queue) == order


@every_kind
def test_forms_that_do_not_block_raise_and_never_switch(kind: type[Queue[int]]) -> None:
    queue = kind(1)
    with nobody_else_running():
        with pytest.raises(Empty):
            queue.get_nowait()
        with pytest.raises(Empty):
            queue.get(timeout=0)
        queue.put_nowait(1)
        with pytest.raises(Full):
            queue.put_nowait(2)
        with pytest.raises(Full):
            queue.put(2, timeout=0)
        assert queue.full()
        assert queue.get_nowait() == 1
        assert queue.empty()


@every_kind
def test_negative_timeout_raises_value_error(kind: type[Queue[int]]) -> None:
    queue = kind(1)
    with pytest.raises(ValueError):
        queue.put(1, timeout=-1)
    with pytest.raises(ValueError):
        queue.get(timeout=-1)


@every_kind
def test_timeouts_end_waits_at_their_deadline_and_leave_no_waiter(kind: type[Queue[int]], clock: JumpClock) -> None:
    queue = kind(1)
    with pytest.raises(Empty):
        queue.get(timeout=5)
    assert clock.now() == 5
    queue.put(1)
    with pytest.raises(Full):
        queue.put(2, timeout=5)
    assert clock.now() == 10
    assert "0 getting, 0 putting" in repr(queue)
    assert drained(queue) == [1]


def test_a_timeout_with_room_does_not_wait() -> None:
    queue: Queue[int] = Queue(1)
    with nobody_else_running():
        queue.put(1, timeout=3)
        assert queue.get(timeout=3) == 1


def test_getters_are_served_in_the_order_they_came() -> None:
    queue: Queue[int] = Queue()
    getters = one_by_one(queue.get, [True] * 3)
    for item in range(3):
        queue.put(item)
    with pytest.raises(Empty):  # handed over: a latecomer cannot take what waits for another
        queue.get_nowait()
    assert [getter.wait() for getter in getters] == [0, 1, 2]


def test_a_get_from_a_full_queue_admits_the_longest_waiting_putter_at_once() -> None:
    queue: Queue[int] = Queue(1)
    queue.put(0)
    putters = one_by_one(queue.put, (1, 2))
    assert queue.get() == 0
    with pytest.raises(Full):
        queue.put_nowait(3)
    assert [queue.get(), queue.get()] == [1, 2]
    for putter in putters:
        putter.wait()


@pytest.mark.fifo
def test_an_item_handed_to_a_killed_getter_goes_back_to_the_front() -> None:
    queue: Queue[int] = Queue(3)
    getter = spawn(queue.get)
    wait_all_blocked()
    getter.kill()
    queue.put(1)
    queue.put(2)
    with pytest.raises(GreenletExit):
        getter.wait()
    assert drained(queue) == [1, 2]
    for item in range(3):
        queue.put_nowait(item)
    with pytest.raises(Full):
        queue.put_nowait(3)


@pytest.mark.fifo
def test_an_item_handed_to_a_killed_getter_goes_to_the_next_getter() -> None:
    queue: Queue[int] = Queue()
    first, second = spawn(queue.get), spawn(queue.get)
    wait_all_blocked()
    first.kill()
    queue.put(1)
    assert second.wait() == 1


def test_a_killed_putter_in_line_does_not_put() -> None:
    queue: Queue[int] = Queue(1)
    queue.put(0)
    putter = spawn(queue.put, 1)
    wait_all_blocked()
    putter.kill()
    putter.join()
    assert drained(queue) == [0]
    assert queue.unfinished_tasks == 1


def test_items_that_cannot_be_compared_leave_the_queue_as_it_was() -> None:
    queue: PriorityQueue[object] = PriorityQueue(2)
    queue.put(1)
    with pytest.raises(TypeError):
        queue.put("a")
    queue.put(0)
    assert drained(queue) == [0, 1]
    assert queue.unfinished_tasks == 2


def test_a_waiting_putter_gets_the_error_of_its_own_item() -> None:
    queue: PriorityQueue[object] = PriorityQueue(2)
    queue.put(1)
    queue.put(2)
    putter = spawn(queue.put, "a")
    wait_all_blocked()
    assert queue.get() == 1
    with pytest.raises(TypeError):
        putter.wait()
    assert drained(queue) == [2]


# -- tasks and shutdown


def test_join_waits_until_every_task_is_done() -> None:
    queue: Queue[int] = Queue()
    assert queue.join()
    queue.put(1)
    queue.put(2)
    joiner = spawn(queue.join)
    queue.task_done()
    wait_all_blocked()
    assert not joiner.ready()
    queue.task_done()
    assert joiner.wait() is True
    with pytest.raises(ValueError):
        queue.task_done()


def test_join_with_a_timeout_tells_that_tasks_are_left(clock: JumpClock) -> None:
    queue: Queue[int] = Queue()
    queue.put(1)
    assert queue.join(timeout=3) is False
    assert clock.now() == 3


@every_kind
def test_shutdown_lets_what_is_in_the_queue_be_got(kind: type[Queue[int]]) -> None:
    queue = kind(2)
    queue.put(1)
    queue.shutdown()
    with pytest.raises(ShutDown):
        queue.put(2)
    with pytest.raises(ShutDown):
        queue.put_nowait(2)
    assert queue.get() == 1
    with pytest.raises(ShutDown):
        queue.get()
    with pytest.raises(ShutDown):
        queue.get_nowait()
    with pytest.raises(ShutDown):
        queue.put_nowait(2)
    assert queue.is_shutdown


def test_shutdown_wakes_who_waits_to_get_and_to_put() -> None:
    empty: Queue[int] = Queue()
    full: Queue[int] = Queue(1)
    full.put(0)
    waiting = [spawn(empty.get), spawn(empty.get, timeout=9), spawn(full.put, 1), spawn(full.put, 2, timeout=9)]
    wait_all_blocked()
    empty.shutdown()
    full.shutdown()
    for green in waiting:
        with pytest.raises(ShutDown):
            green.wait()
    assert drained(full) == [0]


def test_immediate_shutdown_drops_the_items_and_ends_join() -> None:
    queue: Queue[int] = Queue()
    queue.put(1)
    queue.put(2)
    joiner = spawn(queue.join)
    wait_all_blocked()
    queue.shutdown(immediate=True)
    assert joiner.wait()
    assert queue.empty()
    assert queue.unfinished_tasks == 0


def test_iteration_ends_when_the_queue_is_shut_down() -> None:
    queue: Queue[int] = Queue(2)

    def produce() -> None:
        for number in range(5):
            queue.put(number)
        queue.shutdown()

    spawn(produce)
    assert list(queue) == [0, 1, 2, 3, 4]


def test_a_get_that_nobody_can_answer_is_a_deadlock() -> None:
    with pytest.raises(DeadlockError):
        Queue().get()


# -- whatever the order: nothing is lost, doubled or left asleep


def exchange(queue: Any, each: int, kill_after: int | None = None, parties: int = 3) -> tuple[list[int], list[int]]:
    """Have several put and get; kill a random party after some switches. Return what was put and what was got."""
    put: list[int] = []
    got: list[int] = []

    def produce(base: int) -> None:
        for number in range(base, base + each):
            put.append(number)
            queue.put(number)

    def consume() -> None:
        for item in queue:
            got.append(item)
            sleep(0)

    producers = [spawn(produce, 1000 * index) for index in range(parties)]
    consumers = [spawn(consume) for _ in range(parties)]
    if kill_after is not None:
        for _ in range(kill_after):
            sleep(0)
        victim = (producers[1:] + consumers[1:])[kill_after % (2 * parties - 2)]
        victim.kill()
    finish(producers, consumers, queue)
    return put, got


def finish(producers: list[GreenThread], consumers: list[GreenThread], queue: Any) -> None:
    for green in producers:
        green.join()
    (queue.close if isinstance(queue, Channel) else queue.shutdown)()
    for green in consumers:
        green.join()


MAKERS: list[Callable[[], Any]] = [Queue, lambda: Queue(1), lambda: Queue(3), lambda: LifoQueue(2), PriorityQueue]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("make", [*MAKERS, Channel])
def test_every_item_arrives_once_in_any_run_order(make: Callable[[], Any], seed: int) -> None:
    with fresh_hub(), RandomOrder(seed):
        put, got = exchange(make(), 8)
    assert sorted(got) == sorted(put)


@pytest.mark.parametrize("make", [*MAKERS, Channel])
def test_a_kill_at_any_switch_loses_at_most_what_the_victim_held(make: Callable[[], Any]) -> None:
    for switches in range(40):
        put, got = exchange(make(), 5, kill_after=switches)
        assert len(set(got)) == len(got), switches
        assert set(got) <= set(put), switches
        assert len(put) - len(got) <= 1, switches  # a producer killed in line has not put its last item


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.lists(st.sampled_from(["put", "get", "kill", "turn"]), max_size=40))
def test_any_history_keeps_places_and_items_in_step(maxsize: int, history: list[str]) -> None:
    with fresh_hub():
        queue: Queue[int] = Queue(maxsize)
        waiting: list[GreenThread] = []
        chance = random.Random(len(history))
        for number, step in enumerate(history):
            if step == "put":
                waiting.append(spawn(queue.put, number))
            elif step == "get":
                waiting.append(spawn(queue.get))
            elif step == "kill" and waiting:
                chance.choice(waiting).kill()
            else:
                sleep(0)
        for green in waiting:
            green.kill()
        for green in waiting:
            green.join()
        left = drained(queue)
        got = [green.value for green in waiting if isinstance(green.value, int)]
        assert len({*left, *got}) == len(left) + len(got)
        for number in range(maxsize):
            queue.put_nowait(number)
        assert not maxsize or queue.full()


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """OS threads that hand the GIL over as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("make", [*MAKERS, Channel])
def test_threads_and_greenthreads_share_a_queue(make: Callable[[], Any]) -> None:
    """Slow: four OS threads have to interleave often enough."""
    queue, count = make(), 6000
    got: list[int] = []

    def produce(base: int) -> None:
        for number in range(base, base + count):
            queue.put(number)

    def consume() -> None:
        with fresh_hub():
            takers = [spawn(got.extend, iter(queue)) for _ in range(2)]
            for taker in takers:
                taker.wait()

    threads = [Thread(target=produce, args=(index * count,)) for index in range(2)]
    consumers = [Thread(target=consume) for _ in range(2)]
    for thread in (*threads, *consumers):
        thread.start()
    for thread in threads:
        thread.join(20)
    (queue.close if isinstance(queue, Channel) else queue.shutdown)()
    for thread in consumers:
        thread.join(20)
    assert not any(thread.is_alive() for thread in (*threads, *consumers))
    assert sorted(got) == list(range(2 * count))


@pytest.mark.slow
@pytest.mark.usefixtures("eager_threads")
def test_timeouts_across_threads_lose_no_item() -> None:
    """Slow: a timeout has to meet a hand-over from another OS thread."""
    queue: Queue[int] = Queue(1)
    got: list[int] = []

    def produce() -> None:
        for number in range(20000):
            queue.put(number)
        queue.shutdown()

    thread = Thread(target=produce)
    thread.start()
    while True:
        try:
            got.append(queue.get(timeout=0.00001))
        except Empty:
            continue
        except ShutDown:
            break
    thread.join()
    assert got == list(range(20000))


def test_a_waiter_taken_out_by_another_thread_waits_for_what_it_is_woken_with() -> None:
    waiters = WaitQueue()
    waiter = waiters.enrol()
    assert first_of(waiters) is waiter
    assert not waiters.withdraw(waiter)

    def wake_late(gate: LockType) -> None:
        gate.acquire()
        waiter.item = "late"
        wake(waiter)

    gate = allocate_lock()
    gate.acquire()
    thread = Thread(target=wake_late, args=(gate,))
    thread.start()
    gate.release()
    assert settled(waiter) == "late"
    thread.join()


# -- channels


def test_a_put_into_a_channel_waits_until_somebody_gets() -> None:
    channel: Channel[int] = Channel()
    putters = one_by_one(channel.put, (1, 2))
    assert channel.balance == 2
    assert not putters[0].ready()
    assert [channel.get(), channel.get()] == [1, 2]
    for putter in putters:
        putter.wait()


def test_a_channel_holds_nothing() -> None:
    channel: Channel[int] = Channel()
    with nobody_else_running():
        with pytest.raises(Full):
            channel.put_nowait(1)
        with pytest.raises(Empty):
            channel.get_nowait()
        with pytest.raises(Full):
            channel.put(1, timeout=0)
    assert channel.balance == 0


def test_channel_timeouts_leave_no_waiter(clock: JumpClock) -> None:
    channel: Channel[int] = Channel()
    with pytest.raises(Full):
        channel.put(1, timeout=2)
    with pytest.raises(Empty):
        channel.get(timeout=2)
    assert clock.now() == 4
    assert channel.balance == 0


def test_closing_a_channel_ends_waits_and_iteration() -> None:
    channel: Channel[int] = Channel()
    getter = spawn(list, channel)
    channel.put(1)
    channel.close()
    assert getter.wait() == [1]
    with pytest.raises(ShutDown):
        channel.put(1)
    with pytest.raises(ShutDown):
        channel.get()
    other: Channel[int] = Channel()
    putter = spawn(other.put, 1)
    wait_all_blocked()
    other.close()
    with pytest.raises(ShutDown):
        putter.wait()


@pytest.mark.fifo
@pytest.mark.fifo
def test_what_a_killed_getter_was_handed_goes_to_the_next_in_line() -> None:
    channel: Channel[str] = Channel()
    first, second, third = (spawn(channel.get) for _ in range(3))
    wait_all_blocked()
    first.kill()
    channel.put("a")
    assert second.wait() == "a"
    assert repr(channel) == "<Channel 1 getting, 0 putting>"
    channel.close()
    with pytest.raises(ShutDown):
        third.wait()
    assert repr(channel) == "<Channel 0 getting, 0 putting, closed>"


def test_what_a_killed_getter_was_handed_stays_in_the_channel() -> None:
    channel: Channel[int] = Channel()
    getter = spawn(channel.get)
    wait_all_blocked()
    getter.kill()
    channel.put(1)
    with pytest.raises(GreenletExit):
        getter.wait()
    assert channel.get() == 1
