"""eventlet.pools: a pool of objects that a subclass, or a function, creates."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from greenprobe.compat.eventlet.queue import Full, LightQueue

__all__ = ["Pool", "TokenPool"]

PLACE: Final = object()  # what a waiter is handed that may create an object of its own


class Pool:
    """At most `max_size` objects made by `create`, `min_size` of them at once; the rest when nobody has put one back.

    Objects are got in the order in which they were put, or the last one first if `order_as_stack`.
    """

    def __init__(
        self,
        min_size: int = 0,
        max_size: int = 4,
        order_as_stack: bool = False,
        create: Callable[[], Any] | None = None,
    ) -> None:
        self.min_size = min_size
        self.max_size = max_size
        self.order_as_stack = order_as_stack
        self.current_size = 0
        self.channel = LightQueue(0)
        self.free_items: deque[Any] = deque()
        if create is not None:
            self.create = create  # type: ignore[method-assign]
        for _ in range(min_size):
            self.current_size += 1
            self.free_items.append(self.create())

    def create(self) -> Any:
        """Return a new object. A subclass does, or the function given."""
        raise NotImplementedError(f"{type(self).__name__} must have create(), or be given one")

    def get(self) -> Any:
        """Return an object that is the caller's until `put`; waits for one."""
        if self.free_items:
            return self.free_items.popleft()
        if self.current_size < self.max_size:
            self.current_size += 1
            return self._create_one()
        item = self.channel.get()
        return self._create_one() if item is PLACE else item

    def _create_one(self) -> Any:
        """Create an object; its place is counted already."""
        try:
            return self.create()
        except BaseException:
            self._free_place()
            raise

    def _free_place(self) -> None:
        """Let whoever waits longest create an object in the place of one that is gone."""
        if self.current_size > self.max_size or not self._hand_over(PLACE):
            self.current_size -= 1

    def _hand_over(self, item: Any) -> bool:
        """Give something to whoever waits longest; False if nobody does."""
        if not self.waiting():
            return False
        try:
            self.channel.put(item, block=False)
        except Full:
            return False
        return True

    @contextmanager
    def item(self) -> Iterator[Any]:
        """Get an object for a block, and put it back at its end."""
        item = self.get()
        try:
            yield item
        finally:
            self.put(item)

    def put(self, item: Any) -> None:
        """Put an object back, for the next. It is let go of if the pool has too many."""
        if self.current_size > self.max_size:
            self.current_size -= 1
        elif self._hand_over(item):
            pass
        elif self.order_as_stack:
            self.free_items.appendleft(item)
        else:
            self.free_items.append(item)

    def resize(self, new_size: int) -> None:
        """Change how many objects there may be. What is too much is let go of when it is put back."""
        self.max_size = new_size

    def free(self) -> int:
        """Return how many objects could be got without waiting."""
        return len(self.free_items) + self.max_size - self.current_size

    def waiting(self) -> int:
        """Return how many greenthreads wait for an object."""
        return max(0, self.channel.getting() - self.channel.putting())


class Token:
    """An object of a TokenPool; it stands for nothing but itself."""


class TokenPool(Pool):
    """A pool of tokens, to bound how many greenthreads do something."""

    def create(self) -> Token:
        """Return a new token."""
        return Token()
