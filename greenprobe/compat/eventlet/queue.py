"""eventlet.queue: LightQueue, Queue, PriorityQueue, LifoQueue; without bounds by default, a channel with maxsize 0.

Subclasses bring their container by `_init`, `_put` and `_get`, so the core's queues do not fit. As there, who waits is
handed its item, and what was handed to one that is killed before it runs goes back to the others. As in eventlet,
items and waiters are matched a moment later, by one call in the loop (of the thread that waits): until then what was
put is in the queue, and whoever comes first gets it.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from queue import Empty, Full
from types import GenericAlias
from typing import Any, Final

from greenlet import getcurrent

from greenprobe.compat.eventlet.event import Event
from greenprobe.hub import get_hub
from greenprobe.waitqueue import Waiter, WaitQueue

__all__ = ["Empty", "Full", "LifoQueue", "LightQueue", "PriorityQueue", "Queue"]

TAKEN: Final = object()  # what a putter is woken with


class LightQueue:
    """First in, first out, for at most `maxsize` items: None or less than 0 is any number, 0 a channel.

    In a channel `put` waits until somebody gets.
    """

    __class_getitem__: Any = classmethod(GenericAlias)
    queue: Any

    def __init__(self, maxsize: int | None = None) -> None:
        self.maxsize = None if maxsize is None or maxsize < 0 else maxsize
        self.getters = WaitQueue()
        self.putters = WaitQueue()
        self._matching = False
        self._init(maxsize)

    # What a subclass may replace.

    def _init(self, maxsize: int | None) -> None:
        self.queue = deque()

    def _get(self) -> Any:
        return self.queue.popleft()

    def _put(self, item: Any) -> None:
        self.queue.append(item)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {self._format()}>"

    def __str__(self) -> str:
        return f"<{type(self).__name__} {self._format()}>"

    def _format(self) -> str:
        waiting = f"getters[{len(self.getters)}] putters[{len(self.putters)}]"
        return f"maxsize={self.maxsize!r} queue={self.queue!r} {waiting}"

    # -- looking

    def qsize(self) -> int:
        """Return how many items are in the queue."""
        return len(self.queue)

    def resize(self, size: int | None) -> None:
        """Change the bound. What is too much stays; who waits to put is let in where there is room."""
        if self.maxsize is not None and (size is None or size > self.maxsize):
            self._match_soon(self.putters)
        self.maxsize = size

    def putting(self) -> int:
        """Return how many greenthreads wait to put."""
        return len(self.putters)

    def getting(self) -> int:
        """Return how many greenthreads wait to get."""
        return len(self.getters)

    def empty(self) -> bool:
        """Tell whether no item is in the queue."""
        return not self.qsize()

    def full(self) -> bool:
        """Tell whether `maxsize` items are in the queue: a channel always is."""
        return self.maxsize is not None and self.qsize() >= self.maxsize

    # -- put and get

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting for room.

        Raises Full if there is none at once (`block` False) or in `timeout` seconds.
        """
        if self.maxsize is None or self.qsize() < self.maxsize:
            self._put(item)
            if self.getters:
                self._match_soon(self.getters)
        elif not block and self.getters:  # a channel, and somebody there
            self._hand_over(item)
        elif not block:
            raise Full
        else:
            self._put_in_line(item, timeout)

    def put_nowait(self, item: Any) -> None:
        """Add an item now, or raise Full. May be called in the hub's own greenlet."""
        self.put(item, False)

    def _hand_over(self, item: Any) -> None:
        self._put(item)
        if not self.getters.wake_one(self._get()):
            raise Full

    def _put_in_line(self, item: Any, timeout: float | None) -> None:
        putters = self.putters
        waiter = putters.enrol(item)
        try:
            if self.getters or not self.full():
                self._match_soon(putters)
            waiter.wait(timeout)
        except BaseException:
            putters.withdraw(waiter)  # if it is not there any more, the item was put
            raise
        if not waiter.woken and putters.withdraw(waiter):
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item, waiting for one.

        Raises Empty if there is none at once (`block` False) or in `timeout` seconds.
        """
        if self.qsize():
            item = self._get()
            if self.putters:
                self._match_soon(self.putters)
            return item
        if not block and self.putters and getcurrent() is get_hub().loop:
            return self._take_over()
        if not block:
            raise Empty
        return self._get_in_line(timeout)

    def get_nowait(self) -> Any:
        """Remove and return an item now, or raise Empty. May be called in the hub's own greenlet."""
        return self.get(False)

    def _take_over(self) -> Any:
        """Get from a putter of a channel, in the hub's own greenlet."""
        self._admit()
        if not self.qsize():
            raise Empty
        return self._get()

    def _get_in_line(self, timeout: float | None) -> Any:
        getters = self.getters
        waiter = getters.enrol()
        try:
            if self.putters or self.qsize():
                self._match_soon(getters)
            waiter.wait(timeout)
        except BaseException:
            if not getters.withdraw(waiter):
                self._give_back(waiter.item)
            raise
        if not waiter.woken and getters.withdraw(waiter):
            raise Empty
        return waiter.item

    def _give_back(self, item: Any) -> None:
        """Take back what was handed to a getter that will not take it; it is the next to be got, if order matters."""
        put_first: Callable[[Any], object] = getattr(self.queue, "appendleft", self._put)
        put_first(item)
        if self.getters:
            self._match_soon(self.getters)

    # -- items and waiters

    def _match_soon(self, waiters: WaitQueue) -> None:
        """Have the loop of somebody who waits match items and waiters; one call at a time is enough."""
        if self._matching:
            return
        for waiter in list(waiters):
            if not waiter.hub.closed:
                self._matching = True
                waiter.hub.call_threadsafe(self._match)
                return

    def _match(self) -> None:
        """Hand items to getters, and admit putters, until nothing can move. Called by the loop."""
        self._matching = False
        while True:
            if self.getters and self.qsize():
                self._give_first()
            elif self.putters and (self.getters or not self.full()):
                self._admit()
            else:
                return

    def _give_first(self) -> None:
        item = self._get()
        if not self.getters.wake_one(item):
            self._give_back(item)

    def _admit(self) -> None:
        """Put the item of who waits longest to put."""
        putter = next(iter(self.putters), None)
        if putter is None:
            return
        self._put(putter.item)
        self._wake(putter)

    def _wake(self, putter: Waiter) -> None:
        self.putters.withdraw(putter)
        putter.item = TAKEN
        putter.woken = True
        putter.hub.schedule(putter.green)


class Queue(LightQueue):
    """A LightQueue that counts what was put and is not yet reported by `task_done`, so that `join` can wait for it."""

    def __init__(self, maxsize: int | None = None) -> None:
        super().__init__(maxsize)
        self.unfinished_tasks = 0
        self._cond = Event()
        self._cond.send(None)

    def _format(self) -> str:
        return f"{super()._format()} tasks={self.unfinished_tasks} _cond={self._cond}"

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._put_bookkeeping()

    def _put_bookkeeping(self) -> None:
        self.unfinished_tasks += 1
        if self._cond.ready():
            self._cond.reset()

    def _give_back(self, item: Any) -> None:
        unfinished = self.unfinished_tasks
        super()._give_back(item)
        self.unfinished_tasks = unfinished  # it was put once

    def task_done(self) -> None:
        """Say that an item that was got has been worked on. Raises ValueError if said more often than put."""
        if self.unfinished_tasks <= 0:
            raise ValueError("task_done() called too many times")
        self.unfinished_tasks -= 1
        if self.unfinished_tasks == 0:
            self._cond.send(None)

    def join(self) -> None:
        """Wait until every item put has been reported by `task_done`."""
        if self.unfinished_tasks > 0:
            self._cond.wait()


class PriorityQueue(Queue):
    """The smallest item first, often a tuple (priority, data)."""

    def _init(self, maxsize: int | None) -> None:
        self.queue = []

    def _put(self, item: Any) -> None:
        heappush(self.queue, item)
        self._put_bookkeeping()

    def _get(self) -> Any:
        return heappop(self.queue)


class LifoQueue(Queue):
    """Last in, first out."""

    def _init(self, maxsize: int | None) -> None:
        self.queue = []

    def _put(self, item: Any) -> None:
        self.queue.append(item)
        self._put_bookkeeping()

    def _get(self) -> Any:
        return self.queue.pop()
