"""A channel: a rendezvous that holds nothing, where greenthreads synchronise by passing values.

It stands on the same wait queues and exceptions as the queues, and is right without a lock for the same reasons; see
`queue.py`.
"""

from collections import deque
from typing import Any, Generic, Self, TypeVar

from greenprobe.queue import NOTHING, Empty, Full, ShutDown, first_of, refuse_negative, settled, wake
from greenprobe.waitqueue import Waiter, WaitQueue

__all__ = ["Channel"]

T = TypeVar("T")


class Channel(Generic[T]):
    """A rendezvous: `put` waits until somebody gets, `get` until somebody puts; both in line. Closable, iterable.

    Stackless Python's tasklets synchronise on such channels.
    """

    __slots__ = ("__weakref__", "_closed", "_getters", "_putters", "_returned")

    def __init__(self) -> None:
        self._closed = False
        self._getters = WaitQueue()
        self._putters = WaitQueue()
        self._returned: deque[T] = deque()  # handed to getters that were killed before they ran

    def __repr__(self) -> str:
        waiting = f"{len(self._getters)} getting, {len(self._putters)} putting"
        return f"<Channel {waiting}{', closed' if self._closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def balance(self) -> int:
        """How many wait to put, or, negative, to get."""
        return len(self._putters) - len(self._getters)

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Hand an item to somebody who gets.

        Raises Full if nobody does at once (`block` False) or in `timeout` seconds, ShutDown if the channel is closed.
        """
        refuse_negative(timeout, block)
        while True:
            if self._closed:
                raise ShutDown
            if self._getters and self._getters.wake_one(item):
                return
            if not block:
                raise Full
            waiter = self._putters.enrol(item)
            if not (self._getters or self._closed) or not self._putters.withdraw(waiter):
                self._wait_to_put(waiter, timeout)
                return

    def _wait_to_put(self, waiter: Waiter, timeout: float | None) -> None:
        try:
            waiter.wait(timeout)
        except BaseException:
            self._putters.withdraw(waiter)
            raise
        if not waiter.woken and self._putters.withdraw(waiter):
            raise Full
        if settled(waiter) is NOTHING:
            raise ShutDown

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take an item from somebody who puts.

        Raises Empty if nobody does at once (`block` False) or in `timeout` seconds, ShutDown if the channel is closed.
        """
        refuse_negative(timeout, block)
        while True:
            if self._returned:
                return self._returned.popleft()  # one step with the test
            putter = first_of(self._putters) if self._putters else None
            if putter is not None:
                item: T = putter.item
                wake(putter)
                return item
            if self._closed or not block:
                raise ShutDown if self._closed else Empty
            waiter = self._getters.enrol()
            if not (self._putters or self._returned or self._closed) or not self._getters.withdraw(waiter):
                return self._wait_to_get(waiter, timeout)

    def _wait_to_get(self, waiter: Waiter, timeout: float | None) -> T:
        try:
            waiter.wait(timeout)
        except BaseException:
            if not self._getters.withdraw(waiter):
                self._return_item(settled(waiter))
            raise
        if not waiter.woken and self._getters.withdraw(waiter):
            raise Empty
        item = settled(waiter)
        if item is NOTHING:
            raise ShutDown
        return item  # type: ignore[no-any-return]

    def _return_item(self, item: Any) -> None:
        if item is NOTHING:
            return
        self._returned.appendleft(item)
        while self._getters and self._returned:
            item = self._returned.popleft()  # one step with the test
            if not self._getters.wake_one(item):
                self._returned.appendleft(item)

    def put_nowait(self, item: T) -> None:
        """Hand an item to who waits for one now, or raise Full."""
        self.put(item, False)

    def get_nowait(self) -> T:
        """Take an item from who waits to put one now, or raise Empty."""
        return self.get(False)

    def close(self) -> None:
        """Refuse every later `put` and `get`; who waits in one gets ShutDown, and iteration ends."""
        self._closed = True
        for waiters in (self._getters, self._putters):
            while waiters and waiters.wake_one(NOTHING):
                pass

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.get()
        except ShutDown:
            raise StopIteration from None
