"""What makes no sense is refused at the line that gave it, and whatever it was given to goes on as before."""

from collections.abc import Callable
from math import nan
from typing import Any

import pytest

from greenprobe.arguments import as_exception, whole
from greenprobe.channel import Channel
from greenprobe.condition import Barrier, Condition
from greenprobe.convenience import listen, serve
from greenprobe.executor import ThreadPoolExecutor
from greenprobe.greenthread import kill, sleep, spawn, spawn_after, spawn_n
from greenprobe.hub import Hub, get_hub
from greenprobe.objectpool import ObjectPool
from greenprobe.outcome import AsyncResult
from greenprobe.pool import GreenPile, GreenPool, as_completed, wait_any
from greenprobe.queue import Queue
from greenprobe.server import StreamServer
from greenprobe.sync import BoundedSemaphore, Event, Lock, RLock, Semaphore
from greenprobe.taskgroup import TaskGroup
from greenprobe.threadpool import ThreadPool, run_in_thread
from greenprobe.timeout import CancelScope, Timeout, fail_after, move_on_after

Call = Callable[[Any], object]
UNRAISABLE = (3, "x", int, object())


def works(hub: Hub) -> bool:
    """Tell whether greenthreads and timers still run as they should, and no error was printed meanwhile."""
    errors: list[BaseException] = []
    hub.on_error = errors.append
    event = Event()
    spawn_after(0, event.set)
    return event.wait(10) and spawn(int).wait() == 0 and not errors


def held_lock() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


def held_condition() -> Condition:
    condition = Condition()
    condition.acquire()
    return condition


def full_queue() -> Queue[int]:
    queue: Queue[int] = Queue(1)
    queue.put(1)
    return queue


def busy_pool() -> GreenPool:
    pool = GreenPool(1)
    pool.spawn(int)
    return pool


def server_for(size: Any) -> StreamServer:
    return StreamServer(("127.0.0.1", 0), print, pool=size)


def in_group(function: Any) -> None:
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(function)
    raise caught.value.exceptions[0]


FUNCTIONS: dict[str, Call] = {
    "spawn": spawn,
    "spawn_n": spawn_n,
    "spawn_after": lambda function: spawn_after(0, function),
    "GreenPool.spawn": lambda function: GreenPool(1).spawn(function),
    "GreenPool.spawn_n": lambda function: GreenPool(1).spawn_n(function),
    "GreenPool.imap": lambda function: GreenPool().imap(function, [1]),
    "GreenPool.imap_unordered": lambda function: GreenPool().imap_unordered(function, [1]),
    "GreenPool.starmap": lambda function: GreenPool().starmap(function, [(1,)]),
    "GreenPool.map": lambda function: GreenPool().map(function, [1]),
    "GreenPile.spawn": lambda function: GreenPile(1).spawn(function),
    "TaskGroup.spawn": in_group,
    "ThreadPool.submit": lambda function: ThreadPool(1).submit(function),
    "ThreadPoolExecutor.submit": lambda function: ThreadPoolExecutor(1).submit(function),
    "run_in_thread": run_in_thread,
    "Hub.call_threadsafe": lambda function: get_hub().call_threadsafe(function),
    "AsyncResult.link": lambda function: AsyncResult[int]().link(function),
    "ObjectPool": lambda function: ObjectPool(function, 1),
    "StreamServer": lambda function: StreamServer(("127.0.0.1", 0), function),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("function", [None, 3, "x"])
def test_what_cannot_be_called_is_refused_at_once(hub: Hub, name: str, function: object) -> None:
    with pytest.raises(TypeError, match=f"cannot call {function!r}; give a function"):
        FUNCTIONS[name](function)
    assert works(hub)


def test_a_pool_keeps_the_place_of_what_cannot_be_called() -> None:
    pool = GreenPool(1)
    for spawn_in_pool in (pool.spawn, pool.spawn_n):
        with pytest.raises(TypeError):
            spawn_in_pool(None)  # type: ignore[arg-type]
    assert (pool.free(), pool.running()) == (1, 0)
    assert pool.map(abs, [-1]) == [1]


RAISERS: dict[str, Call] = {
    "kill": lambda error: kill(spawn(int), error),
    "GreenThread.kill": lambda error: spawn(int).kill(error),
    "kill a bare one": lambda error: kill(spawn_n(int), error),
    "AsyncResult.set_exception": lambda error: AsyncResult[int]().set_exception(error),
    "Timeout": lambda error: Timeout(1, error),
}


@pytest.mark.parametrize("name", RAISERS)
@pytest.mark.parametrize("error", UNRAISABLE)
def test_what_cannot_be_raised_is_refused_at_once(hub: Hub, name: str, error: object) -> None:
    with pytest.raises(TypeError, match="cannot raise"):
        RAISERS[name](error)
    assert works(hub)
    assert not len(hub.timers)


def test_a_running_greenthread_is_spared_what_cannot_be_raised(hub: Hub) -> None:
    greens = [spawn(Event().wait), spawn_n(Event().wait)]
    sleep(0)
    for green in greens:
        with pytest.raises(TypeError, match="cannot raise 'x'"):
            kill(green, "x")  # type: ignore[arg-type]
    assert works(hub)
    assert all(green and not green.dead for green in greens)
    for green in greens:
        kill(green)
    sleep(0)


@pytest.mark.parametrize("thing", [None, 3, int])
def test_only_greenlets_can_be_killed(thing: Any) -> None:
    with pytest.raises(TypeError, match="cannot kill"):
        kill(thing)


def test_the_action_of_a_barrier_is_a_function() -> None:
    with pytest.raises(TypeError, match="cannot call 3"):
        Barrier(1, 3)  # type: ignore[arg-type]


def test_a_handler_is_a_function() -> None:
    with listen(("127.0.0.1", 0)) as listener, pytest.raises(TypeError, match="cannot call None"):
        serve(listener, None)  # type: ignore[arg-type]


def test_an_exception_may_be_given_as_a_class() -> None:
    result: AsyncResult[int] = AsyncResult()
    result.set_exception(LookupError)
    with pytest.raises(LookupError):
        result.wait()
    assert isinstance(as_exception(OSError), OSError)


SIZES: dict[str, Call] = {
    "GreenPool": GreenPool,
    "GreenPile": GreenPile,
    "GreenPool.resize": lambda size: GreenPool(1).resize(size),
    "Semaphore": Semaphore,
    "BoundedSemaphore": BoundedSemaphore,
    "Barrier": Barrier,
    "ThreadPool": ThreadPool,
    "StreamServer": lambda size: server_for(size if size is not None else ()),  # None is any number
    "ObjectPool": lambda size: ObjectPool(object, size),
    "ObjectPool.resize": lambda size: ObjectPool(object, 1).resize(size),
    "wait_any": lambda count: wait_any([spawn(int)], count=count),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_size_is_a_whole_number_and_not_negative(name: str) -> None:
    sizes: tuple[Any, ...] = (None, "3", 2.5, nan, [])
    for size in sizes:
        with pytest.raises(TypeError, match="give a whole number"):
            SIZES[name](size)
    with pytest.raises(ValueError, match=r" -1.*; give \d or more"):
        SIZES[name](-1)


def test_a_size_may_be_any_integer_of_any_type() -> None:
    class Three:
        def __index__(self) -> int:
            return 3

    assert whole(Three(), 3, "{}") == 3
    assert GreenPool(Three()).size == 3  # type: ignore[arg-type]


WAITS: dict[str, Call] = {
    "sleep": sleep,
    "Event.wait": lambda timeout: Event().wait(timeout),
    "Semaphore.acquire": lambda timeout: Semaphore(0).acquire(timeout=timeout),
    "Lock.acquire": lambda timeout: held_lock().acquire(timeout=timeout),
    "RLock.acquire": lambda timeout: RLock().acquire(timeout=timeout),
    "Condition.wait": lambda timeout: held_condition().wait(timeout),
    "Condition.wait_for": lambda timeout: held_condition().wait_for(bool, timeout),
    "Barrier.wait": lambda timeout: Barrier(2).wait(timeout),
    "Queue.get": lambda timeout: Queue[int]().get(timeout=timeout),
    "Queue.put": lambda timeout: full_queue().put(1, timeout=timeout),
    "Queue.join": lambda timeout: full_queue().join(timeout),
    "Channel.get": lambda timeout: Channel[int]().get(timeout=timeout),
    "Channel.put": lambda timeout: Channel[int]().put(1, timeout=timeout),
    "AsyncResult.wait": lambda timeout: AsyncResult[int]().wait(timeout),
    "AsyncResult.join": lambda timeout: AsyncResult[int]().join(timeout),
    "GreenPool.join": lambda timeout: busy_pool().join(timeout),
    "as_completed": lambda timeout: list(as_completed([AsyncResult[int]()], timeout)),
    "wait_any": lambda timeout: wait_any([AsyncResult[int]()], timeout),
    "Timeout": Timeout,
    "move_on_after": move_on_after,
    "fail_after": fail_after,
    "CancelScope": lambda deadline: CancelScope(deadline=deadline),
    "spawn_after": lambda seconds: spawn_after(seconds, int),
    "Timers.add": lambda when: get_hub().timers.add(when, int),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_time_is_a_number(hub: Hub, name: str) -> None:
    with pytest.raises(ValueError):
        WAITS[name](nan)
    with pytest.raises(TypeError):
        WAITS[name]("x")
    assert works(hub)
    assert not len(hub.timers)


def test_a_sleep_has_a_length(hub: Hub) -> None:
    with pytest.raises(TypeError):
        sleep(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", [None, 3, Event()])
def test_only_outcomes_are_waited_for(thing: Any) -> None:
    green = spawn(int)
    with pytest.raises(TypeError, match="cannot wait for"):
        wait_any([green, thing])
    with pytest.raises(TypeError, match="cannot wait for"):
        list(as_completed([green, thing]))


@pytest.mark.parametrize("order", [None, 3, []])
def test_a_hub_keeps_its_order_if_another_makes_no_sense(hub: Hub, order: Any) -> None:
    before = hub.ready
    with pytest.raises(TypeError, match="give a deque"):
        hub.set_order(order)
    assert hub.ready is before
    assert works(hub)
