"""Passing values between greenthreads: Queue, LifoQueue, PriorityQueue.

The queues have the interface and the exceptions of the standard library's, `shutdown` of Python 3.13 included; over
each of them one can iterate until it is shut down. Non-blocking forms never switch.

How a queue stays right without a lock (read `waitqueue.py` first)
    `_places` counts the free places; taking one is one step with the test that there is one. Who puts stores first
    and looks for waiting getters afterwards; who gets enrols first and looks for items afterwards, so one of the two
    sees the other. Whatever the looking finds is set right by `_balance`, and only there: items go to getters, the
    items of waiting putters into free places, each to who waits longest, until there is nothing to move.
    Failure without it: an item in the queue and a getter asleep. Price: two tests of truth a put or get.
    A shut down queue has a huge debt of places, so that putting needs no test of its own for that.

What is handed to a getter that is killed, or times out, before it runs goes to the next one, or back to the front. A
putter that is killed after its item was taken has put it.
"""

import sys
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from queue import Empty, Full
from time import sleep
from typing import Any, Final, Generic, Self, TypeVar

from greenprobe.waitqueue import Waiter, WaitQueue

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):
        """Raised when putting to, or getting from, a queue that is shut down."""


__all__ = [
    "NOTHING",
    "Empty",
    "Full",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "ShutDown",
    "first_of",
    "refuse_negative",
    "settled",
    "wake",
]

T = TypeVar("T")

UNBOUNDED: Final = (1 << 30) - 1  # places; the largest integer that CPython compares on its fast path
DEBT: Final = 1 << 32  # places that a queue which is shut down lacks
NOTHING: Final = object()  # what a getter is woken with when nothing will come any more


class Queue(Generic[T]):
    """First in, first out, for at most `maxsize` items (0 or less: any number). The interface of `queue.Queue`."""

    __slots__ = (
        "__weakref__",
        "_getters",
        "_is_shut_down",
        "_joiners",
        "_places",
        "_put_back",
        "_putters",
        "_store",
        "_take",
        "_unfinished",
        "maxsize",
        "queue",
    )

    queue: Any
    _store: Callable[[T], object]
    _take: Callable[[], T]
    _put_back: Callable[[T], object]

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._places = maxsize if maxsize > 0 else UNBOUNDED
        self._unfinished = 0
        self._is_shut_down = False
        self._getters = WaitQueue()
        self._putters = WaitQueue()
        self._joiners = WaitQueue()
        self._contain()

    def _contain(self) -> None:
        """Make the container, and bind the three methods of it that are used."""
        items: deque[T] = deque()
        self.queue = items
        self._store = items.append
        self._take = items.popleft
        self._put_back = items.appendleft

    def __repr__(self) -> str:
        state = ", shut down" if self._is_shut_down else ""
        waiting = f"{len(self._getters)} getting, {len(self._putters)} putting"
        return f"<{type(self).__name__} {len(self.queue)} of {self.maxsize or 'any number'}, {waiting}{state}>"

    # -- put and get

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting for a free place.

        Raises Full if there is none at once (`block` False) or in `timeout` seconds, ShutDown after `shutdown`.
        """
        if self._places > 0 and timeout is None:
            self._places -= 1  # one step with the test, the two counters and the store
            self._unfinished += 1
            try:
                self._store(item)
            except BaseException:  # items of a heap that cannot be compared
                self._places += 1
                self._unfinished -= 1
                raise
            if self._getters:
                self._balance()
        else:
            self._put_in_line(item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove and return an item, waiting for one.

        Raises Empty if there is none at once (`block` False) or in `timeout` seconds, ShutDown if none will come.
        """
        if self.queue and timeout is None:
            try:
                item = self._take()  # one step with the test, but for a heap
            except IndexError:
                return self.get(block)
            self._places += 1
            if self._putters:
                self._balance()
            return item
        return self._get_in_line(block, timeout)

    def put_nowait(self, item: T) -> None:
        """Add an item now, or raise Full."""
        self.put(item, False)

    def get_nowait(self) -> T:
        """Remove and return an item now, or raise Empty."""
        return self.get(False)

    def _put_in_line(self, item: T, block: bool, timeout: float | None) -> None:
        refuse_negative(timeout, block)
        if self._is_shut_down:
            raise ShutDown
        if self._places > 0 and block:
            try:
                self.put(item, False)
                return
            except Full:
                pass  # another thread was faster
        if not block:
            raise Full
        putters = self._putters
        waiter = putters.enrol(item)
        try:
            self._balance()
            waiter.wait(timeout)
        except BaseException:
            putters.withdraw(waiter)
            raise
        if not waiter.woken and putters.withdraw(waiter):
            raise Full
        refused = settled(waiter)
        if refused is not None:
            raise refused

    def _get_in_line(self, block: bool, timeout: float | None) -> T:
        refuse_negative(timeout, block)
        if self.queue and block:
            try:
                return self.get(False)
            except Empty:
                pass  # another thread was faster
        if not block:
            raise ShutDown if self._is_shut_down else Empty
        getters = self._getters
        waiter = getters.enrol()
        try:
            self._balance()
            waiter.wait(timeout)
        except BaseException:
            if not getters.withdraw(waiter):
                self._return_item(settled(waiter))
            raise
        if not waiter.woken and getters.withdraw(waiter):
            raise Empty
        item = settled(waiter)
        if item is NOTHING:
            raise ShutDown
        return item  # type: ignore[no-any-return]

    # -- moving what can move

    def _balance(self) -> None:
        """Hand items to getters, and admit the items of putters, until nothing can move."""
        while True:
            if self._getters and self.queue:
                self._hand_over()
            elif self._putters and self._places > 0:
                self._places -= 1  # one step with the test
                self._admit()
            elif self._is_shut_down and self._getters:
                self._getters.wake_one(NOTHING)
            elif self._is_shut_down and self._putters:
                self._putters.wake_one(ShutDown())
            else:
                return

    def _hand_over(self) -> None:
        try:
            item = self._take()  # one step with the caller's test, but for a heap
        except IndexError:
            return
        self._places += 1
        if not self._getters.wake_one(item):
            self._places -= 1
            self._put_back(item)

    def _admit(self) -> None:
        """Store the item of the longest waiting putter in a place that is taken already."""
        waiter = first_of(self._putters)
        if waiter is None:
            self._places += 1
            return
        self._unfinished += 1
        try:
            self._store(waiter.item)
            waiter.item = None
        except Exception as error:  # not the fault of whoever makes room: the putter gets it
            self._places += 1
            self._unfinished -= 1
            waiter.item = error
        wake(waiter)

    def _return_item(self, item: Any) -> None:
        """Give on what was handed to a getter that will not take it."""
        if item is not NOTHING:
            self._places -= 1
            self._put_back(item)
            self._balance()

    # -- looking

    def qsize(self) -> int:
        """Return how many items are in the queue."""
        return len(self.queue)

    def empty(self) -> bool:
        """Tell whether no item is in the queue."""
        return not self.queue

    def full(self) -> bool:
        """Tell whether `maxsize` items are in the queue."""
        return 0 < self.maxsize <= len(self.queue)

    @property
    def is_shutdown(self) -> bool:
        """Whether `shutdown` was called."""
        return self._is_shut_down

    @property
    def unfinished_tasks(self) -> int:
        """How many items were put and not yet reported by `task_done`."""
        return self._unfinished

    # -- the end of tasks, and of the queue

    def task_done(self) -> None:
        """Say that an item that was got has been worked on. Raises ValueError if said more often than items were put.

        The last one wakes who waits in `join`.
        """
        if self._unfinished <= 0:
            raise ValueError("task_done() called too many times")
        self._unfinished -= 1  # one step with the test
        if not self._unfinished:
            self._joiners.wake_all()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every item put has been reported by `task_done`: True; False after `timeout` seconds."""
        if not self._unfinished:
            return True
        joiners = self._joiners
        waiter = joiners.enrol()
        try:
            return not self._unfinished or waiter.wait(timeout)
        finally:
            joiners.withdraw(waiter)

    def shutdown(self, immediate: bool = False) -> None:
        """Refuse every later `put`, and `get` once the queue is empty: they raise ShutDown, who waits there included.

        `immediate` drops what is in the queue, and counts it as done.
        """
        if not self._is_shut_down:
            self._is_shut_down = True
            self._places -= DEBT
        if immediate:
            self._drop_all()
        self._balance()

    def _drop_all(self) -> None:
        while self.queue:
            try:
                self._take()
            except IndexError:
                return
            self._places += 1
            if self._unfinished > 0:
                self.task_done()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.get()
        except ShutDown:
            raise StopIteration from None


class LifoQueue(Queue[T]):
    """Last in, first out. The interface of `queue.LifoQueue`."""

    __slots__ = ()

    def _contain(self) -> None:
        items: list[T] = []
        self.queue = items
        self._store = self._put_back = items.append
        self._take = items.pop


class PriorityQueue(Queue[T]):
    """The smallest item first, often a tuple (priority, data). The interface of `queue.PriorityQueue`."""

    __slots__ = ()

    def _contain(self) -> None:
        items: Heap[T] = Heap()
        self.queue = items
        self._store = self._put_back = items.push
        self._take = items.pop_smallest


class Heap(list[T]):
    """A heap that OS threads may share. Comparing items may run Python code, which lets other threads in: a lock."""

    __slots__ = ("_lock",)

    def __init__(self, items: Iterable[T] = ()) -> None:
        super().__init__(items)
        self._lock = allocate_lock()

    def push(self, item: T) -> None:
        """Add an item; if it cannot be compared with the others, the heap is as it was."""
        with self._lock:
            try:
                heappush(self, item)  # type: ignore[type-var]
            except BaseException:
                self[:] = [other for other in self if other is not item]
                heapify(self)  # type: ignore[type-var]
                raise

    def pop_smallest(self) -> T:
        """Remove and return the smallest item. Raises IndexError if there is none."""
        with self._lock:
            return heappop(self)  # type: ignore[type-var]


def first_of(waiters: WaitQueue) -> Waiter | None:
    """Take out who waits longest, or return None; the caller must `wake` it."""
    while waiters:
        try:
            waiter, _ = waiters.popitem(last=False)
        except KeyError:
            return None
        if not waiter.hub.closed:
            return waiter
    return None


def wake(waiter: Waiter) -> None:
    """Wake a waiter that `first_of` took out."""
    waiter.woken = True
    waiter.hub.schedule(waiter.green)


def settled(waiter: Waiter) -> Any:
    """Return what a waiter was woken with. One that was taken out of its queue may be woken a moment later only."""
    while not waiter.woken:
        sleep(0)  # really: the other thread is about to do it
    return waiter.item


def refuse_negative(timeout: float | None, block: bool) -> None:
    """Raise what the standard library raises for a timeout that makes no sense."""
    if timeout is not None and block and not timeout >= 0:
        raise ValueError("'timeout' must be a non-negative number")
