"""A pool of objects that are dear to make: connections, mostly. Lent to one greenthread at a time, and given back.

Objects are made when nobody has given one back, up to `size` of them. Making may wait: meanwhile its place is taken,
and it is given back if making fails. Who has to wait for an object waits in line, and is handed the first one that
comes back, or the place of one that was dropped. Deciding what is too old is apart from the pool's book-keeping, and
objects are closed outside of it, since closing may wait, too.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from greenprobe.arguments import not_callable, whole
from greenprobe.errors import PoolTimeout
from greenprobe.hub import get_hub
from greenprobe.waitqueue import Waiter, WaitQueue

__all__ = ["ObjectPool", "ObjectPoolStatistics"]

T = TypeVar("T")
PLACE: Final = object()  # what a waiter is handed that may make an object of its own


@dataclass(frozen=True, slots=True)
class ObjectPoolStatistics:
    """A pool at one moment: the most objects it may have, those it has, those that lie idle, and who waits for one."""

    size: int
    made: int
    idle: int
    waiting: int


@dataclass(slots=True)
class Kept(Generic[T]):
    """An object of the pool: since when it exists and since when it lies idle, in the hub's clock."""

    item: T
    made_at: float
    idle_since: float


class ObjectPool(Generic[T]):
    """At most `size` objects made by `make()`, which may wait; given up by `discard(item)`.

    What lay idle for `max_idle` seconds, or is `max_age` seconds old, is discarded rather than lent again.
    """

    def __init__(
        self,
        make: Callable[[], T],
        size: int,
        *,
        discard: Callable[[T], object] | None = None,
        max_idle: float | None = None,
        max_age: float | None = None,
    ) -> None:
        if not callable(make):
            raise not_callable(make)
        if discard is not None and not callable(discard):
            raise not_callable(discard)
        self._make = make
        self._discard = discard if discard is not None else nothing
        self._max_idle = max_idle
        self._max_age = max_age
        self._size = whole(size, 1, "a pool of {} objects")
        self._made = 0  # objects that exist, and places of those that are being made
        self._idle: deque[Kept[T]] = deque()  # the one given back last is lent first, so that the others may grow old
        self._lent: dict[int, Kept[T]] = {}
        self._line = WaitQueue()
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._made} of {self._size} made, {len(self._idle)} idle>"

    def statistics(self) -> ObjectPoolStatistics:
        """Return the pool's figures at this moment."""
        return ObjectPoolStatistics(self._size, self._made, len(self._idle), len(self._line))

    # -- lending

    @contextmanager
    def lend(self, timeout: float | None = None) -> Iterator[T]:
        """Lend an object for a block: it is given back at its end, or dropped if the block raises."""
        item = self.take(timeout)
        try:
            yield item
        except BaseException:
            self.drop(item)
            raise
        self.give_back(item)

    def take(self, timeout: float | None = None) -> T:
        """Return an object that is the caller's until `give_back` or `drop`; waits for one.

        Raises PoolTimeout if there is none in `timeout` seconds, RuntimeError after `close`, and what `make` raises.
        """
        self._refuse_closed()
        self.expire()
        if self._idle:
            return self._hand_out(self._idle.pop())
        if self._made < self._size:
            self._made += 1  # one step with the test
            return self._make_one()
        waiter = self._line.enrol()
        try:
            waiter.wait(timeout)
            if not waiter.woken and self._line.withdraw(waiter):
                raise PoolTimeout(f"no object of {self!r} in {timeout} s")
            self._refuse_closed()
        except BaseException:
            self._withdraw(waiter)
            raise
        return self._make_one() if waiter.item is PLACE else self._hand_out(waiter.item)

    def _withdraw(self, waiter: Waiter) -> None:
        """Pass on what was handed to a waiter that will not take it."""
        if self._line.withdraw(waiter):
            return
        if waiter.item is PLACE:
            self._free_place()
        elif waiter.item is not None:
            self._lay_down(waiter.item)

    def _make_one(self) -> T:
        try:
            item = self._make()
        except BaseException:
            self._free_place()
            raise
        now = get_hub().clock()
        return self._hand_out(Kept(item, now, now))

    def _hand_out(self, kept: Kept[T]) -> T:
        self._lent[id(kept.item)] = kept
        return kept.item

    def give_back(self, item: T) -> None:
        """Take an object back, for the next. Raises ValueError if it is not of this pool, or not lent."""
        kept = self._take_in(item)
        kept.idle_since = get_hub().clock()
        self._lay_down(kept)

    def drop(self, item: T) -> None:
        """Discard an object that is lent: it is broken, or nobody knows its state."""
        self._take_in(item)
        self._free_place()
        self._discard(item)

    def _take_in(self, item: T) -> Kept[T]:
        kept = self._lent.pop(id(item), None)
        if kept is None:
            raise ValueError(f"{item!r} is not lent by {self!r}; give each object back once, to the pool it came from")
        return kept

    def _lay_down(self, kept: Kept[T]) -> None:
        """Keep an object for the next, unless there are too many, or it is too old."""
        if self._closed or self._made > self._size or self._is_old(kept, kept.idle_since):
            self._free_place()
            self._discard(kept.item)
        elif not (self._line and self._line.wake_one(kept)):
            self._idle.append(kept)

    def _free_place(self) -> None:
        """Let somebody else make an object in the place of one that is gone."""
        if self._made > self._size or not (self._line and self._line.wake_one(PLACE)):
            self._made -= 1

    # -- age and size

    def expire(self) -> None:
        """Discard what has lain idle for too long, or is too old."""
        if self._max_idle is None and self._max_age is None:
            return
        now = get_hub().clock()
        old = [kept for kept in self._idle if self._is_old(kept, now)]
        for kept in old:
            self._idle.remove(kept)
            self._free_place()
        for kept in old:
            self._discard(kept.item)

    def _is_old(self, kept: Kept[T], now: float) -> bool:
        too_idle = self._max_idle is not None and now - kept.idle_since >= self._max_idle
        return too_idle or (self._max_age is not None and now - kept.made_at >= self._max_age)

    def resize(self, size: int) -> None:
        """Change how many objects there may be. What is too much is discarded, what is lent when it comes back."""
        self._size = size = whole(size, 1, "a pool of {} objects")
        dropped = []
        while self._made > size and self._idle:
            dropped.append(self._idle.popleft())
            self._made -= 1
        while self._made < size and self._line:
            self._made += 1
            if not self._line.wake_one(PLACE):
                self._made -= 1
        for kept in dropped:
            self._discard(kept.item)

    def close(self) -> None:
        """Discard what lies idle, and what is lent when it comes back; `take` raises from now on."""
        self._closed = True
        idle, self._idle = self._idle, deque()
        self._made -= len(idle)
        while self._line and self._line.wake_one():
            pass  # they look again
        for kept in idle:
            self._discard(kept.item)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self!r} is closed; make a new pool")


def nothing(_: Any) -> None:
    """Do nothing."""
