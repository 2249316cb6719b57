"""multiprocessing's locks in a patched process: who waits for one lets the other greenthreads run.

Facts. They are semaphores that processes share; a wait for one is a call in C, and no descriptor tells when it ends. An
RLock's owner is an OS thread. Failures: a greenthread that waits stops the one which feeds the queue that the holder in
another process waits for (`Pool.terminate` does just that), and all greenthreads own an RLock together.
Choice. A wait tries, and sleeps in between, a little longer each time. Where nobody else can run, as in a worker of a
Pool, it blocks for real. Before an RLock's semaphore comes a green RLock, which knows greenthreads apart.
Price: up to LONGEST_PAUSE of delay where there is contention and somebody else to run.
"""

from _thread import _count as count_other_threads
from collections.abc import Callable
from functools import partial
from os import getpid
from typing import Any, Final

from greenprobe.doors import keep_doors
from greenprobe.hub import Hub, get_hub
from greenprobe.sync import RLock

__all__ = ["adopt_semaphores"]

SHORTEST_PAUSE: Final = 0.0002  # seconds
LONGEST_PAUSE: Final = 0.005
FOREVER: Final = float("inf")
SLICE: Final = 0.25  # seconds of a real wait, after which a Ctrl-C that came meanwhile is raised
RECURSIVE: Final = 0  # the kind of an RLock


def is_alone(hub: Hub) -> bool:
    """Tell whether no other greenthread of this thread can ever run, unless we do something."""
    return not (
        hub.ready
        or len(hub.timers)
        or hub.expected
        or hub.poller.has_waiters()
        or count_other_threads() > Hub.helper_threads
    )


def wait(semaphore: Any, timeout: float | None) -> bool:
    """Take a semaphore of C's: True; False when `timeout` seconds passed first."""
    if semaphore.acquire(False):
        return True
    hub = get_hub()
    deadline = FOREVER if timeout is None else hub.clock() + timeout
    pause = SHORTEST_PAUSE
    while (left := deadline - hub.clock()) > 0:
        if wait_a_little(hub, semaphore, pause, left):
            return True
        pause = min(pause * 2, LONGEST_PAUSE)
    return False


def wait_a_little(hub: Hub, semaphore: Any, pause: float, left: float) -> bool:
    """Take a semaphore after a pause, or a slice of a real wait; tell whether that succeeded."""
    if is_alone(hub):
        got: bool = semaphore.acquire(True, min(SLICE, left))
        hub.sleep(0)
        return got
    hub.sleep(min(pause, left))
    return semaphore.acquire(False)  # type: ignore[no-any-return]


class GreenAccess:
    """The `acquire` and `release` of one lock of multiprocessing's."""

    __slots__ = ("guard", "process", "semaphore")

    def __init__(self, semaphore: Any) -> None:
        self.semaphore = semaphore
        self.guard = RLock() if semaphore.kind == RECURSIVE else None
        self.process = getpid()

    def start_afresh(self) -> None:
        """In a forked child, forget which greenthread of the parent holds the guard, as C forgets the thread."""
        self.process = getpid()
        self.guard = RLock() if self.guard is not None else None

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take the lock, as `SemLock.acquire` does."""
        if self.process != getpid():
            self.start_afresh()
        if not block or (timeout is not None and timeout < 0):
            timeout = 0
        if self.guard is None:
            return wait(self.semaphore, timeout)
        return self.guard.acquire(timeout != 0, timeout or -1) and self.acquire_guarded(self.guard, timeout)

    def acquire_guarded(self, guard: RLock, timeout: float | None) -> bool:
        """Take the semaphore; give the guard back without it."""
        got = False
        try:
            got = wait(self.semaphore, timeout)
        finally:
            if not got:
                guard.release()
        return got

    def release(self) -> None:
        """Give the lock back, as `SemLock.release` does."""
        if self.guard is not None and not self.guard._is_owned():
            raise AssertionError("attempt to release recursive lock not owned by thread")
        self.semaphore.release()
        if self.guard is not None:
            self.guard.release()


def make_methods(self: Any) -> None:
    """`SemLock._make_methods`: give a lock its methods."""
    access = GreenAccess(self._semlock)
    self.acquire, self.release = access.acquire, access.release


def enter(self: Any) -> Any:
    """`SemLock.__enter__`."""
    return self.acquire()


def leave(self: Any, *exc_info: object) -> None:
    """`SemLock.__exit__`."""
    self.release()


def open_synchronize(module: Any) -> Callable[[], object]:
    """Make the locks of `multiprocessing.synchronize` green that are made from now on."""
    green = {"_make_methods": make_methods, "__enter__": enter, "__exit__": leave}
    before = {name: vars(module.SemLock)[name] for name in green}
    put_all(module.SemLock, green)
    return partial(put_all, module.SemLock, before)


def put_all(holder: type, attributes: dict[str, Any]) -> None:
    """Set attributes of a class."""
    for name, value in attributes.items():
        setattr(holder, name, value)


def adopt_semaphores() -> Callable[[], None]:
    """Make multiprocessing's locks green, whenever it is imported; return what undoes it."""
    return keep_doors({"multiprocessing.synchronize": open_synchronize})
