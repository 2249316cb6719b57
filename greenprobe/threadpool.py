"""Run a blocking call in a real OS thread while other greenthreads go on.

Facts. Some calls block and cannot be made green: libc's resolver, files on slow disks, C libraries. A real thread can
make them; the greenthread that asked waits as it waits for anything: it may time out or be killed.
Failures. A thread cannot be killed, so a call that was given up goes on; its result must reach nobody. A pool whose
threads never end costs memory for ever. A fork copies the pool but none of its threads.
Choice. Threads start when a job finds none idle, up to `size`, and end after some idle seconds. A job is taken by one
step that its giver-up contends for: taken first, it runs and its result is dropped; given up first, it never runs. The
result goes home by `hub.call_threadsafe`, so links run in the loop, as everywhere. A forked child starts afresh.
Price: two switches of OS threads a call, 30 to 60 us. Interpreter exit does not wait for jobs.
"""

import os
from _queue import Empty, SimpleQueue
from _thread import LockType, allocate_lock, get_native_id, start_new_thread
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar
from weakref import WeakSet

from greenlet import GreenletExit

from greenprobe.arguments import not_callable, whole
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import ERROR, PENDING, VALUE, Outcome
from greenprobe.sync import Event
from greenprobe.waitqueue import WaitQueue

__all__ = ["WORKERS", "Job", "ThreadPool", "default_pool", "run_in_thread"]

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_SIZE: Final = 32
IDLE_SECONDS: Final = 5.0

WORKERS: set[int] = set()  # the kernel's ids of all threads of all pools
_pools: "WeakSet[ThreadPool]" = WeakSet()
_counting = allocate_lock()  # guards WORKERS and Hub.helper_threads


class Job(Outcome[T]):
    """One call in a real thread, and its outcome. Users get it from `ThreadPool.submit`; they never make one."""

    __slots__ = (
        "__weakref__",
        "_args",
        "_context",
        "_function",
        "_hub",
        "_kwargs",
        "_links",
        "_result",
        "_state",
        "_taken",
        "_waiters",
    )

    def __init__(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._function: Callable[..., T] | None = function
        self._args = args
        self._kwargs = kwargs
        self._context = copy_context()
        self._hub = get_hub()
        self._taken = allocate_lock()
        self._state = PENDING
        self._result = None
        self._waiters: WaitQueue | None = None
        self._links = None

    def __repr__(self) -> str:
        state = ("running" if self.begun() else "queued", "value", "exception")[self._state]
        return f"<Job {getattr(self._function, '__qualname__', '')} {state}>"

    def begun(self) -> bool:
        """Tell whether a thread has taken it, or it was cancelled: in either case it is too late to cancel."""
        return self._taken.locked()

    def cancel(self, error: BaseException | None = None) -> bool:
        """See to it that the call is never made, and `wait` raises `error` (GreenletExit unless given).

        False if it is being made, or was made, already.
        """
        if not self._taken.acquire(False):
            return False
        self._go_home(ERROR, (error if error is not None else GreenletExit(), None))
        return True

    def run(self) -> None:
        """Make the call, in the thread that is to make it, unless it was cancelled."""
        if not self._taken.acquire(False):
            return
        function, args, kwargs = self._function, self._args, self._kwargs
        assert function is not None
        try:
            result = self._context.run(function, *args, **kwargs)
        except BaseException as error:
            traceback = error.__traceback__
            error.__traceback__ = traceback = traceback.tb_next if traceback is not None else None
            self._go_home(ERROR, (error, traceback))  # without our own frame, which holds this job: no cycle
        else:
            self._go_home(VALUE, result)

    def _go_home(self, state: int, result: Any) -> None:
        hub = self._hub
        if hub.closed:  # the thread that asked has ended; others may wait
            self._settle(state, result)
        else:
            hub.call_threadsafe(self._come_home, state, result)

    def _come_home(self, state: int, result: Any) -> None:
        self._hub.expected -= 1
        self._function, self._args, self._kwargs = None, (), {}
        self._settle(state, result)


class ThreadPool:
    """At most `size` OS threads that make blocking calls; none is started before it is needed.

    Any greenthread of any OS thread may submit. As a context manager it shuts down at the end and waits for its jobs.
    """

    def __init__(self, size: int = DEFAULT_SIZE, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self.size = whole(size, 1, "a pool of {} threads")
        self.idle_seconds = idle_seconds
        self._start_afresh()
        watch_forks()
        _pools.add(self)

    def _start_afresh(self) -> None:
        # Each job that is put is meant for an idle thread, a new thread, or is backlog: exactly one of the three.
        self._lock: LockType = allocate_lock()
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._idle = 0  # threads that wait and that no job is meant for yet
        self._backlog = 0  # jobs that no thread is meant for yet
        self._threads = 0
        self._closed = False
        self._ended = Event()

    def __repr__(self) -> str:
        return f"<ThreadPool {self._threads} of {self.size} threads, {self._idle} idle, {self._backlog} jobs waiting>"

    @property
    def threads(self) -> int:
        """How many threads there are now."""
        return self._threads

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return self._backlog

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Have a thread call `function(*args, **kwargs)`, in a copy of the caller's context; return its outcome."""
        if not callable(function):
            raise not_callable(function)
        job = Job(function, args, kwargs)
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit to a thread pool after its shutdown")
            self._find_thread()
            job._hub.expected += 1
            self._jobs.put(job)
        return job

    def _find_thread(self) -> None:
        """Put aside a thread for the next job, or count it as backlog. Raises RuntimeError if no thread can start."""
        if self._idle:
            self._idle -= 1
        elif self._threads == self.size or not self._start_thread():
            self._backlog += 1

    def _start_thread(self) -> bool:
        """Start a thread; False if the system gives no more but there are others. Raises RuntimeError if not."""
        try:
            start_new_thread(self._work, ())
        except RuntimeError:
            if not self._threads:
                raise
            return False
        self._threads += 1
        change_helpers(1)
        return True

    def run(self, function: Callable[..., T], *args: Any, timeout: float | None = None) -> T:
        """Have a thread call `function(*args)` and wait for the result, at most `timeout` seconds (TimeoutError).

        If the wait ends early, by its timeout or a kill, a call that has not begun is not made; else its result is
        dropped.
        """
        job = self.submit(function, *args)
        try:
            return job.wait(timeout)
        except BaseException:
            job.cancel()
            raise

    def shutdown(self, *, wait: bool = True) -> None:
        """Take no more jobs; finish those that are there, and wait for that if `wait`. Its threads end."""
        with self._lock:
            self._closed = True
            for _ in range(self._idle):
                self._jobs.put(None)
            self._idle = 0
            if not self._threads:
                self._ended.set()
        if wait:
            self._wait_for_end()

    def _wait_for_end(self) -> None:
        hub = get_hub()
        hub.expected += 1
        try:
            self._ended.wait()
        finally:
            hub.expected -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.shutdown()

    # -- in the threads

    def _work(self) -> None:
        WORKERS.add(get_native_id())
        while True:
            job = self._next_job()
            if job is None:
                break
            job.run()
            del job  # an idle thread must not keep the last result alive
            if not self._stay():
                break
        self._leave()

    def _next_job(self) -> Job[Any] | None:
        while True:
            try:
                return self._jobs.get(True, self.idle_seconds)
            except Empty:
                if self._may_leave():
                    return None

    def _may_leave(self) -> bool:
        with self._lock:
            if not self._idle:
                return False  # every idle thread has a job coming, so this one, too
            self._idle -= 1
            return True

    def _stay(self) -> bool:
        with self._lock:
            if self._backlog:
                self._backlog -= 1
            elif self._closed:
                return False
            else:
                self._idle += 1
            return True

    def _leave(self) -> None:
        with self._lock:
            self._threads -= 1
            last = self._closed and not self._threads
        if last:
            self._ended.set()
        WORKERS.discard(get_native_id())
        change_helpers(-1)


def change_helpers(by: int) -> None:
    """Count threads that wake nobody unless a job runs, which `Hub.expected` counts."""
    with _counting:
        Hub.helper_threads += by


# -- one pool for all


_default: ThreadPool | None = None


def default_pool() -> ThreadPool:
    """Return the pool of the process, made at the first call."""
    global _default
    if _default is None:
        _default = ThreadPool()
    return _default


def run_in_thread(function: Callable[..., T], *args: Any, timeout: float | None = None) -> T:
    """Call `function(*args)` in a real thread of the process's pool and wait for the result, green.

    Raises TimeoutError after `timeout` seconds. If the wait ends early, a call that has not begun is not made; one that
    has goes on, and its result is dropped. The function must not touch this thread's greenthreads.
    """
    return default_pool().run(function, *args, timeout=timeout)


# -- fork


_watching_forks = False


def watch_forks() -> None:
    """Have a forked child start with empty pools: it inherits the books, but no thread."""
    global _watching_forks
    if not _watching_forks:
        _watching_forks = True
        os.register_at_fork(after_in_child=start_afresh)


def start_afresh() -> None:
    """Forget threads and jobs of the parent, in the child. `Hub.helper_threads` stays: CPython counts the dead, too."""
    global _counting
    _counting = allocate_lock()
    WORKERS.clear()
    for pool in list(_pools):
        pool._start_afresh()
