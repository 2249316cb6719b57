"""eventlet.greenpool: GreenPool and GreenPile.

The differences to the core's pool are eventlet's: `imap` runs in a pool of its own, so that it takes no places of this
one and `waitall` does not wait for it, and what its workers and the pool's die of is printed.
"""

import traceback
from collections.abc import Callable, Iterable
from typing import Any, Self

from greenlet import getcurrent, greenlet

from greenprobe import greenthread as core
from greenprobe.compat.eventlet.greenthread import UNREPORTED, GreenThread, kill, spawn_n
from greenprobe.compat.eventlet.queue import LightQueue
from greenprobe.compat.eventlet.semaphore import Semaphore
from greenprobe.hub import get_hub
from greenprobe.outcome import VALUE, AsyncResult
from greenprobe.sync import Event

__all__ = ["GreenPile", "GreenPool"]

DEBUG = True  # print what workers of `spawn_n` die of


class GreenPool:
    """At most `size` greenthreads at once. Size 0 lets nobody run until `resize`."""

    def __init__(self, size: int = 1000) -> None:
        self.size = checked(size)
        self.coroutines_running: set[greenlet] = set()
        self.sem = Semaphore(self.size)
        self._debt = 0  # places that were taken away while workers had them
        self._idle = Event()
        self._idle.set()

    def resize(self, new_size: int) -> None:
        """Change the number of places. Workers that are too many by then run on; nobody new starts until they end."""
        new_size = checked(new_size)
        change = new_size - self.size
        self.size = new_size
        paid = min(self._debt, change) if change > 0 else 0
        self._debt -= paid
        for _ in range(change - paid):
            self.sem.release()
        for _ in range(-change):
            if not self.sem.acquire(blocking=False):
                self._debt += 1

    def running(self) -> int:
        """Return how many workers there are."""
        return len(self.coroutines_running)

    def free(self) -> int:
        """Return how many places are free; less than 0 after the pool shrank under its workers."""
        return self.sem.counter - self._debt

    def waiting(self) -> int:
        """Return how many greenthreads wait for a place."""
        return self.sem.counter - self.sem.balance

    # -- work

    def spawn(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> GreenThread:
        """Run `function(*args, **kwargs)` in a worker and return it; waits for a free place.

        In a worker of this pool, while it is full, the function runs before `spawn` returns.
        """
        if self._must_run_here():
            return run_here(function, args, kwargs)
        self.sem.acquire()
        worker = core.unstarted(GreenThread, get_hub(), function, args, kwargs)
        self._admit(worker)
        return worker

    def spawn_n(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run a function in a worker whose outcome nobody wants; it is printed if `greenpool.DEBUG` is set."""
        if self._must_run_here():
            report_errors(function, args, kwargs)
            return
        self.sem.acquire()
        self._admit(core.unstarted(core.GreenThread, get_hub(), report_errors, (function, args, kwargs), {}))

    def _must_run_here(self) -> bool:
        return self.sem.locked() and getcurrent() in self.coroutines_running

    def _admit(self, worker: core.GreenThread) -> None:
        self.coroutines_running.add(worker)
        self._idle.clear()
        worker.link(self._spawn_done)
        get_hub().ready.append(worker)

    def _spawn_done(self, worker: greenlet) -> None:
        self.coroutines_running.discard(worker)
        if self._debt:
            self._debt -= 1
        else:
            self.sem.release()
        if not self.coroutines_running:
            self._idle.set()

    def waitall(self) -> None:
        """Wait until no worker runs. Raises AssertionError in a worker of this pool, which would wait for itself."""
        if getcurrent() in self.coroutines_running:
            raise AssertionError("a worker cannot wait for its own pool to end, as it is part of it: wait outside")
        while self.coroutines_running:
            self._idle.wait()

    # -- maps

    def imap(self, function: Callable[..., Any] | None, *iterables: Iterable[Any]) -> "GreenMap":
        """Call a function for each tuple of `zip(*iterables)`; iterate over the results, in the order of the input."""
        return self.starmap(function, zip(*iterables))  # noqa: B905 - the shortest input ends it, as in map()

    def starmap(self, function: Callable[..., Any] | None, iterable: Iterable[Iterable[Any]]) -> "GreenMap":
        """Do as `imap`, each item of `iterable` being the arguments of one call. None returns them.

        At most as many results as this pool has places are kept, and the input is read as they are taken. An exception
        is raised in the place of its result, and the iteration may go on.
        """
        results = GreenMap(max(1, self.size))
        results.feed(function if function is not None else tuple_of, iterable)
        return results


def checked(size: Any) -> int:
    """Return a pool's size. Raises TypeError if it is no number, ValueError if it is negative."""
    try:
        number = int(size)
    except ValueError as error:
        raise TypeError(f"a pool of size {size!r}; give a whole number") from error
    if number < 0:
        raise ValueError(f"a pool of size {number}; give 0 or more")
    return number


def tuple_of(*args: Any) -> tuple[Any, ...]:
    """Return the arguments."""
    return args


def run_here(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> GreenThread:
    """Call a function now; return a greenthread that has its result. What it raises is raised here."""
    green = core.unstarted(GreenThread, get_hub(), function, (), {})
    green._settle(VALUE, function(*args, **kwargs))
    green._function = None
    return green


def report_errors(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Call a function; print what it raises, if `DEBUG` says so. What ends greenthreads or the process goes on."""
    try:
        function(*args, **kwargs)
    except UNREPORTED:
        raise
    except BaseException:
        if DEBUG:
            traceback.print_exc()


# -- piles


class GreenPile:
    """Greenthreads in a row: `spawn` adds one, iterating gives their results in the order of spawning, and waits.

    Made over a pool, or a new one of `size_or_pool` places.
    """

    def __init__(self, size_or_pool: int | GreenPool = 1000) -> None:
        self.pool = size_or_pool if isinstance(size_or_pool, GreenPool) else GreenPool(size_or_pool)
        self.waiters = LightQueue()
        self.counter = 0

    def spawn(self, func: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run `func(*args, **kw)` in the pool; its result takes the next place in the row."""
        self.counter += 1
        try:
            worker = self.pool.spawn(func, *args, **kw)
            self.waiters.put(worker)
        except BaseException:
            self.counter -= 1
            raise

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self.counter:
            raise StopIteration
        try:
            return self.waiters.get().wait()
        finally:
            self.counter -= 1

    def next(self) -> Any:
        """Return the next result, or raise the next exception; StopIteration if there is none."""
        return self.__next__()


class GreenMap:
    """The results of an imap, in the order of its input. Made by `GreenPool.imap`.

    A feeder reads the input and spawns workers, and waits while as many results as there are places lie here. When the
    iterator is dropped, it stops; workers that run go on to their end.
    """

    def __init__(self, size: int) -> None:
        self._pool = GreenPool(size)
        self._row = Row(size)
        self._feeder: greenlet | None = None
        self._over = False

    def feed(self, function: Callable[..., Any], iterable: Iterable[Iterable[Any]]) -> None:
        """Start the feeder."""
        self._feeder = spawn_n(feed, self._pool, self._row, function, iterable)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        worker = self._row.get()
        if worker is None:
            self._over = True
            raise StopIteration
        return worker.wait()

    def next(self) -> Any:
        """Return the next result, or raise the next exception; StopIteration if there is none."""
        return self.__next__()

    def __del__(self) -> None:
        feeder, row = self._feeder, self._row
        row.dropped = True
        if feeder is not None and row.putting():
            get_hub().call_threadsafe(kill, feeder)  # a garbage collection may run anywhere


class Row(LightQueue):
    """Workers in the order of the input, and whether anybody will still ask for them."""

    dropped = False


def feed(pool: GreenPool, row: Row, function: Callable[..., Any], iterable: Iterable[Iterable[Any]]) -> None:
    """Spawn a worker for each item of the input, and put them into a row; None ends it."""
    try:
        for args in iterable:
            worker = pool.spawn(function, *args)
            if row.dropped and row.full():
                return
            row.put(worker)
    except Exception as error:  # of the input: it comes out where the next result would
        failed: AsyncResult[Any] = AsyncResult()
        failed.set_exception(error)
        row.put(failed)
    row.put(None)
