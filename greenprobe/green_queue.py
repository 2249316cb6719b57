"""`_queue.SimpleQueue`, green: an unbounded queue whose `put` may be called again while it is being called.

It stands on `greenprobe.queue`, which has no lock: a finalizer or a signal handler may put, whatever it interrupted.
"""

from queue import Empty
from types import GenericAlias
from typing import Any, Final

from greenprobe.queue import Queue

__all__ = ["PATCHES", "SimpleQueue"]


class SimpleQueue:
    """`queue.SimpleQueue`, green."""

    __slots__ = ("__weakref__", "_queue")

    __class_getitem__: Any = classmethod(GenericAlias)

    def __init__(self) -> None:
        self._queue: Queue[Any] = Queue()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; never waits, whatever is asked."""
        self._queue.put(item)

    def put_nowait(self, item: Any) -> None:
        """Add an item."""
        self._queue.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item. Raises Empty if there is none at once (`block` False) or in `timeout` seconds."""
        if timeout is not None and block and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        return self._queue.get(block, timeout)

    def get_nowait(self) -> Any:
        """Remove and return an item now, or raise Empty."""
        return self._queue.get(False)

    def empty(self) -> bool:
        """Tell whether it is empty now."""
        return self._queue.empty()

    def qsize(self) -> int:
        """Return how many items are in it now."""
        return self._queue.qsize()


SimpleQueue.__module__ = "_queue"

PATCHES: Final[dict[Any, dict[str, Any]]] = {
    "_queue": {"Empty": Empty, "SimpleQueue": SimpleQueue},  # a module that is loaded anew must raise what ours does
}
