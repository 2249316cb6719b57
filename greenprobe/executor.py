"""`concurrent.futures.ThreadPoolExecutor` for greenthreads: the same calls, and `result()` parks instead of blocking.

A `Future` here is not one of `concurrent.futures`, whose waits block the thread, so `concurrent.futures.wait` does not
take it. Greenthreads have `Future.job` for that: an outcome to `link` to, or to wait for together with others.
"""

from collections.abc import Callable
from concurrent.futures import CancelledError, Executor
from typing import Any, Generic, ParamSpec, TypeVar

from greenprobe.threadpool import DEFAULT_SIZE, Job, ThreadPool

__all__ = ["CancelledError", "Future", "ThreadPoolExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class Future(Generic[T]):
    """A call in a real thread. Users get it from `ThreadPoolExecutor.submit`; they never make one."""

    __slots__ = ("__weakref__", "_cancelled", "job")

    def __init__(self, job: Job[T]) -> None:
        self.job = job
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<Future {'cancelled' if self._cancelled else repr(self.job)}>"

    def cancel(self) -> bool:
        """Cancel the call if it has not begun; tell whether it is cancelled."""
        self._cancelled = self._cancelled or self.job.cancel(CancelledError())
        return self._cancelled

    def cancelled(self) -> bool:
        """Tell whether the call was cancelled."""
        return self._cancelled

    def running(self) -> bool:
        """Tell whether the call is being made."""
        return self.job.begun() and not self.done()

    def done(self) -> bool:
        """Tell whether the call has returned, raised, or was cancelled."""
        return self._cancelled or self.job.ready()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the value and return it, or raise what the call raised, CancelledError, or TimeoutError."""
        if self._cancelled:
            raise CancelledError
        return self.job.wait(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return what the call raised, None if nothing. Raises CancelledError, TimeoutError."""
        if not self._cancelled and not self.job.join(timeout):
            raise TimeoutError(f"{self!r} is not done within {timeout} s")
        if self._cancelled:
            raise CancelledError
        return self.job.exception

    def add_done_callback(self, function: Callable[["Future[T]"], object]) -> None:
        """Call `function(self)` in the hub's loop when it is done, or now if it is; it must not wait."""
        self.job.link(lambda _: function(self))


class ThreadPoolExecutor(Executor):
    """A pool of at most `max_workers` real threads, with the calls of `concurrent.futures.ThreadPoolExecutor`."""

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self.pool = ThreadPool(max_workers if max_workers is not None else DEFAULT_SIZE)
        self._unfinished: set[Future[Any]] = set()

    def submit(  # type: ignore[override]  # our Future has the same methods, but is no subclass
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Have a thread call `fn(*args, **kwargs)`. Raises RuntimeError after `shutdown`."""
        future = Future(self.pool.submit(fn, *args, **kwargs))
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those that are there if `wait`, without those not begun if `cancel_futures`."""
        if cancel_futures:
            for future in list(self._unfinished):
                future.cancel()
        self.pool.shutdown(wait=wait)
