"""The queues of `queue`, green: `SimpleQueue`, and what `Queue` needs beyond green locks.

`SimpleQueue` stands on `greenprobe.queue`, which has no lock: a finalizer or a signal handler may put, whatever it
interrupted.

`Queue` stays the standard library's, for those who subclass it and take its `mutex`. What need not wait must not
switch: a pool that puts a connection back would lose it to a Timeout that is raised meanwhile. So its mutex lets nobody
else run while it is free; who spins on an empty queue lets others run when there is nothing to lose.
"""

import queue as stdlib
from functools import wraps
from queue import Empty
from types import GenericAlias
from typing import Any, Final

from greenprobe.disguise import Around
from greenprobe.green_lock import QuietLock
from greenprobe.green_turns import give_way
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


def quiet(init: Any) -> Any:
    """Return `queue.Queue.__init__` of a queue whose operations do not switch unless they wait."""
    threading = init.__globals__["threading"]  # of the module that is patched: it may be a private copy

    def __init__(self: Any, maxsize: int = 0) -> None:  # noqa: N807 - its name
        init(self, maxsize)
        self.mutex = QuietLock()
        self.not_empty, self.not_full, self.all_tasks_done = (threading.Condition(self.mutex) for _ in range(3))

    return __init__


def polite(method: Any) -> Any:
    """Return `get` or `put` after which who is refused, maybe again and again, lets others run."""

    @wraps(method)
    def try_politely(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception:  # Empty, Full, ShutDown
            give_way()
            raise

    return try_politely


def asking(method: Any) -> Any:
    """Return `empty` or its like, before which who asks again and again lets others run."""

    @wraps(method)
    def ask(self: Any) -> Any:
        give_way()
        return method(self)

    return ask


PATCHES: Final[dict[Any, dict[str, Any]]] = {
    "_queue": {"Empty": Empty, "SimpleQueue": SimpleQueue},  # a module that is loaded anew must raise what ours does
    stdlib.Queue: {
        "__init__": Around(quiet),
        "empty": Around(asking),
        "full": Around(asking),
        "get": Around(polite),
        "put": Around(polite),
        "qsize": Around(asking),
    },
}
