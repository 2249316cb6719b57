"""Bounded concurrency: GreenPool, its imap and GreenPile; and waiting for the first of many outcomes.

A pool has `size` places. `spawn` takes one, waiting in line if there is none, and the worker gives it back when it
ends, however it ends. Inside a worker of a full pool nobody can be waited for, as the worker itself holds what would
be waited for: there `spawn` runs the function in place, and returns a greenthread that is over.

`imap` reads its input in a greenthread of its own (the feeder), at most `size` items ahead of whoever takes results:
so memory is bounded by the pool, and an input that waits does not hold up results that are there. Its workers take
places in this pool.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from sys import is_finalizing
from typing import Any, Generic, ParamSpec, Self, TypeVar

from greenlet import getcurrent, greenlet

from greenprobe.arguments import not_callable, whole
from greenprobe.bare_greenthread import bare_greenthread
from greenprobe.greenthread import GreenThread, kill, spawn, unstarted
from greenprobe.hub import get_hub
from greenprobe.outcome import ERROR, VALUE, AsyncResult, Outcome, Unasked
from greenprobe.queue import Empty, Queue
from greenprobe.sync import Lock, Semaphore
from greenprobe.waitqueue import WaitQueue

__all__ = ["GreenPile", "GreenPool", "PoolStatistics", "Results", "as_completed", "wait_any"]

P = ParamSpec("P")
R = TypeVar("R")
Some = TypeVar("Some", bound=Outcome[Any])


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool at one moment: its places, those free, its running workers, who waits for a place, its open imaps."""

    size: int
    free: int
    running: int
    waiting: int
    feeding: int


class Worker(GreenThread):
    """A greenthread that gives its place in a pool back when it is over. Made by `GreenPool.spawn`."""

    __slots__ = ("_pool",)
    _pool: "GreenPool"

    def _announce(self) -> None:
        self._pool._leave(self)
        super()._announce()


class GreenPool:
    """At most `size` greenthreads at once. Size 0 lets nobody run until `resize`. Raises ValueError for less."""

    def __init__(self, size: int = 1000) -> None:
        self._size = self._free = whole(size, 0, "a pool of size {}")  # _free is below 0 once it shrank under workers
        self._workers: dict[greenlet, None] = {}  # in order, so that killing them is the same every time
        self._feeders: dict[greenlet, bool] = {}  # and whether a worker of this pool waits for what they feed
        self._feeding = 0  # feeders that are not waiting for somebody to take results
        self._line = WaitQueue()
        self._joiners = WaitQueue()

    def __repr__(self) -> str:
        return f"<GreenPool {self.running()} of {self._size} running, {self.waiting()} waiting>"

    # -- work

    def spawn(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> GreenThread[R]:
        """Run `function(*args, **kwargs)` in a worker and return it; waits for a free place.

        In a worker of this pool, while it is full, the function runs before `spawn` returns.
        """
        if not callable(function):
            raise not_callable(function)
        if not self._take_place():
            return run_here(function, args, kwargs)
        hub = get_hub()
        worker = unstarted(Worker, hub, function, args, kwargs)
        worker._pool = self
        worker._links = []  # so that its end is announced
        self._workers[worker] = None
        hub.ready.append(worker)
        return worker

    def spawn_n(self, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a function in a worker whose outcome nobody wants; an exception is printed."""
        if not callable(function):
            raise not_callable(function)
        if not self._take_place():
            error = run_here(function, args, kwargs).exception
            if error is not None:
                get_hub().on_error(error)
            return
        hub = get_hub()
        worker = bare_greenthread(hub, function, args, kwargs, self)
        self._workers[worker] = None
        hub.ready.append(worker)

    def _take_place(self) -> bool:
        """Take a free place, waiting for it; False in a worker of this pool while there is none."""
        if self._free > 0:
            self._free -= 1  # one step with the test
        elif self._is_inside(getcurrent()):
            return False
        else:
            self._wait_for_place()
        return True

    def _wait_for_place(self) -> None:
        line = self._line
        waiter = line.enrol()
        try:
            self._admit()
            waiter.wait()
        except BaseException:
            if not line.withdraw(waiter):
                self._give_back()
            raise

    def _admit(self) -> None:
        """Give free places to those who wait longest."""
        while self._line and self._free > 0:
            self._free -= 1  # one step with the test
            if not self._line.wake_one():
                self._free += 1

    def _give_back(self) -> None:
        self._free += 1
        if self._line:
            self._admit()
        if self._joiners and not self._is_busy():
            self._joiners.wake_all()

    def _leave(self, worker: greenlet) -> None:
        self._workers.pop(worker, None)
        self._give_back()

    def _is_inside(self, green: greenlet) -> bool:
        return green in self._workers or self._feeders.get(green, False)

    # -- maps

    def imap(self, function: Callable[..., R], *iterables: Iterable[Any]) -> "Results[R]":
        """Call a function for each item, or for each tuple of `zip(*iterables)`; iterate over results in input order.

        Nothing runs before the first result is asked for. An exception is raised in the place of its result, and the
        iteration may go on; one of the input is the last. Leaving the loop early kills what still runs.
        """
        return self.starmap(function, zip(*iterables))  # noqa: B905 - the shortest input ends it, as in map()

    def starmap(self, function: Callable[..., R], arguments: Iterable[Iterable[Any]]) -> "Results[R]":
        """Do as `imap`, each item of `arguments` being the arguments of one call."""
        return Results(Stream(self, function, iter(arguments), ordered=True))

    def imap_unordered(self, function: Callable[..., R], *iterables: Iterable[Any]) -> "Results[R]":
        """Do as `imap`, with the results in the order in which they come."""
        return Results(Stream(self, function, zip(*iterables), ordered=False))  # noqa: B905

    def map(self, function: Callable[..., R], *iterables: Iterable[Any]) -> list[R]:
        """Return the list of all results, in input order; the first exception kills the rest and is raised."""
        return list(self.imap(function, *iterables))

    # -- waiting and killing

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no worker runs and no imap is being fed: True; False after `timeout` seconds.

        An imap whose results nobody takes is not waited for. Raises RuntimeError in a worker of this pool.
        """
        me = getcurrent()
        if me in self._workers or me in self._feeders:
            raise RuntimeError("a worker cannot wait for its own pool to end, as it is part of it: wait outside")
        clock = get_hub().clock
        deadline = None if timeout is None else clock() + timeout
        while self._is_busy():
            waiter = self._joiners.enrol()
            try:
                left = None if deadline is None else deadline - clock()
                if self._is_busy() and not waiter.wait(left):
                    return not self._is_busy()
            finally:
                self._joiners.withdraw(waiter)
        return True

    waitall = join

    def _is_busy(self) -> bool:
        return self._free < self._size or self._feeding > 0

    def kill(self, error: BaseException | type[BaseException] | None = None) -> None:
        """Have `error` (GreenletExit unless given) raised in every worker and imap of the pool; does not wait.

        Called by a worker, it is raised there last. Who waits in `spawn` for a place is not of the pool and gets it.
        """
        me = getcurrent()
        for green in sorted([*self._feeders, *self._workers], key=lambda green: green is me):
            kill(green, error)

    # -- size

    def resize(self, size: int) -> None:
        """Change the number of places. Workers that are too many by then run on; nobody new starts until they end."""
        size = whole(size, 0, "a pool of size {}")
        self._free += size - self._size
        self._size = size
        self._admit()

    @property
    def size(self) -> int:
        """The number of places."""
        return self._size

    def free(self) -> int:
        """Return how many places are free."""
        return max(0, self._free)

    def running(self) -> int:
        """Return how many workers there are."""
        return len(self._workers)

    def waiting(self) -> int:
        """Return how many greenthreads wait for a place."""
        return len(self._line)

    def statistics(self) -> PoolStatistics:
        """Return the pool's figures at this moment."""
        return PoolStatistics(self._size, self.free(), self.running(), self.waiting(), len(self._feeders))


def run_here(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> GreenThread:
    """Call a function now, and return a greenthread that is over and has its outcome.

    What is thrown into the caller meanwhile (a kill, a timeout) goes on to the caller.
    """
    return over(*outcome_of(function, args, kwargs))  # no name for either: a failure's traceback holds this frame


def outcome_of(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, Any]:
    """Call a function and return the state and the result of its outcome."""
    try:
        return VALUE, copy_context().run(function, *args, **kwargs)
    except Exception as error:
        return ERROR, Unasked(error, get_hub().on_error)


def over(state: int, result: Any) -> GreenThread:
    """Return a greenthread that never ran and has an outcome."""
    green = unstarted(GreenThread, get_hub(), outcome_of, (), {})
    green._function = None
    green._settle(state, result)
    return green


# -- imap


class Stream:
    """One imap at work: what its feeder and its Results share. No Results in it, so that dropping those ends it."""

    def __init__(
        self, pool: GreenPool, function: Callable[..., Any], arguments: Iterator[Iterable[Any]], *, ordered: bool
    ) -> None:
        if not callable(function):
            raise not_callable(function)
        self.pool = pool
        self.function = function
        self.arguments = arguments
        self.ordered = ordered
        self.feeder: GreenThread | None = None
        self.room = Semaphore(max(1, pool.size))
        self.outcomes: Queue[Outcome[Any] | None] = Queue()  # None: the feeder is over
        self.outstanding = 0  # calls whose outcome nobody took yet
        self.running: dict[Outcome[Any], None] = {}
        self.over = False

    def begin(self) -> None:
        """Start the feeder."""
        pool = self.pool
        feeder = self.feeder = spawn(self._feed)
        pool._feeders[feeder] = pool._is_inside(getcurrent())
        pool._feeding += 1
        feeder.link(self._fed)

    def _feed(self) -> None:
        arguments = self.arguments
        try:
            while not self.over:
                self._wait_for_room()
                try:
                    item = next(arguments)
                except StopIteration:
                    return
                self._give(self.pool.spawn(self.function, *item))
        except Exception as error:  # of the input: it comes out where the next result would
            failed: AsyncResult[Any] = AsyncResult()
            failed.set_exception(error)
            self._give(failed)

    def _give(self, outcome: Outcome[Any]) -> None:
        self.outstanding += 1
        self.running[outcome] = None
        if self.ordered:
            self.outcomes.put(outcome)
        outcome.link(self._finished)
        if self.over:  # closed between the place that was given to us and its use
            self.close()

    def _finished(self, outcome: Outcome[Any]) -> None:
        _ = outcome.exception  # asked for: of those after the first, whoever iterates may not want to know
        self.running.pop(outcome, None)
        if not self.ordered:
            self.outcomes.put(outcome)

    def _wait_for_room(self) -> None:
        if self.room.acquire(blocking=False):
            return
        self._rest()
        try:
            self.room.acquire()
        finally:
            self.pool._feeding += 1

    def _rest(self) -> None:
        pool = self.pool
        pool._feeding -= 1
        if pool._joiners and not pool._is_busy():
            pool._joiners.wake_all()

    def _fed(self, feeder: GreenThread) -> None:
        self._rest()
        del self.pool._feeders[feeder]
        self.outcomes.put(None)

    def close(self) -> None:
        """Kill the feeder and the workers."""
        self.over = True
        self.outstanding = 0
        for green in (self.feeder, *self.running):
            if not isinstance(green, GreenThread):
                continue
            if getcurrent() is green:  # a garbage collection may run anywhere
                get_hub().call_threadsafe(green.kill)
            else:
                green.kill()


class Results(Generic[R]):
    """The results of an imap, as they come: an iterator that can go on after an exception, and a context manager.

    Made by `GreenPool.imap`. `close()`, or dropping it, kills what still runs.
    """

    __slots__ = ("__weakref__", "_head", "_stream", "_taking")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._head: Outcome[R] | None = None
        self._taking = Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        with self._taking:  # who shares the iterator gets results of its own
            return result_of(self._next_outcome())

    def _next_outcome(self) -> Outcome[R]:
        stream = self._stream
        if stream.feeder is None and not stream.over:
            stream.begin()
        head = self._head
        while head is None:
            if stream.over and not stream.outstanding:
                raise StopIteration
            head = self._head = stream.outcomes.get()
            if head is None:
                stream.over = True
        head.join()  # if this wait is ended from outside, the next call waits for the same result
        self._head = None
        if not stream.outstanding:  # closed while we waited
            raise StopIteration
        stream.outstanding -= 1
        stream.room.release()
        return head

    def close(self) -> None:
        """End the iteration, also for who waits in it: kill what still runs. Does not wait."""
        self._head = None
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._stream.feeder is not None and not is_finalizing():  # no greenlet runs any more at the very end
            self._stream.close()


class GreenPile:
    """Greenthreads in a row: `spawn` adds one, iterating gives their results in the order of spawning, and waits.

    Made over a pool, or a new one of `size_or_pool` places. The iteration ends when every result has been given; after
    an exception it may go on.
    """

    def __init__(self, size_or_pool: int | GreenPool = 1000) -> None:
        self.pool = size_or_pool if isinstance(size_or_pool, GreenPool) else GreenPool(size_or_pool)
        self._row: deque[GreenThread] = deque()

    def spawn(self, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run `function(*args, **kwargs)` in the pool; its result takes the next place in the row."""
        self._row.append(self.pool.spawn(function, *args, **kwargs))

    def __len__(self) -> int:
        return len(self._row)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._row:
            raise StopIteration
        self._row[0].join()
        return result_of(self._row.popleft())

    next = __next__


def result_of(outcome: Outcome[R]) -> R:
    """Return the result of an outcome, or raise its exception: in an iteration, which StopIteration would end."""
    try:
        return outcome.wait()
    except StopIteration as error:
        raise RuntimeError(f"{outcome!r} raised StopIteration, which is no result") from error  # as PEP 479 does


# -- the first of many


def as_completed(objects: Iterable[Some], timeout: float | None = None) -> Iterator[Some]:
    """Yield greenthreads, or other outcomes, in the order in which they come to their end.

    Raises TimeoutError if not all have, `timeout` seconds after the first was asked for.
    """
    waited_for = list(objects)
    for one in waited_for:
        if not isinstance(one, Outcome):
            raise TypeError(f"cannot wait for {one!r}; give greenthreads, or other outcomes")
    ended: Queue[Some] = Queue()
    clock = get_hub().clock
    deadline = None if timeout is None else clock() + timeout
    try:
        for one in waited_for:
            one.link(ended.put_nowait)
        for missing in range(len(waited_for), 0, -1):
            try:
                yield ended.get(timeout=None if deadline is None else max(deadline - clock(), 0.0))
            except Empty:
                raise TimeoutError(f"{missing} of {len(waited_for)} have not ended in {timeout} s") from None
    finally:
        for one in waited_for:
            one.unlink(ended.put_nowait)


def wait_any(objects: Iterable[Some], timeout: float | None = None, *, count: int = 1) -> list[Some]:
    """Wait until `count` greenthreads, or other outcomes, have ended; return those, in the order of their ends.

    After `timeout` seconds, or if there are fewer, return what has ended.
    """
    ended: list[Some] = []
    count = whole(count, 0, "a wait for {} of them")
    if not count:
        return ended
    try:
        for one in as_completed(objects, timeout):
            ended.append(one)
            if len(ended) == count:
                break
    except TimeoutError:
        pass
    return ended
