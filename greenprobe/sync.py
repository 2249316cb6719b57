"""Flags, permits and locks: Event, Semaphore, BoundedSemaphore, Lock, RLock.

How their wake-ups cannot be lost, without a lock of their own, is told in `waitqueue`.
"""

from _thread import TIMEOUT_MAX

from greenlet import getcurrent, greenlet

from greenprobe.arguments import whole
from greenprobe.hub import Hub, get_hub
from greenprobe.waitqueue import Waiter, WaitQueue
from greenprobe.whereabouts import name_of

__all__ = ["BoundedSemaphore", "Event", "Lock", "RLock", "Semaphore"]


class Event:
    """A flag that greenthreads wait for: set, clear, wait.

    A hundred thousand may wait, so who waits for ever is a greenlet and its hub in a line, no `Waiter`. `set` puts a
    new line in the place of the old one: a wait is over when the line it is in is no longer the event's. Who waits
    reads the line first and the flag afterwards, who sets writes the flag first: so one of the two sees the other.
    """

    __slots__ = ("__weakref__", "_flag", "_line")

    def __init__(self) -> None:
        self._flag = False
        self._line: dict[greenlet | Waiter, Hub] = {}

    def __repr__(self) -> str:
        return f"<Event {'set' if self._flag else 'clear'}, {len(self._line)} waiting>"

    def is_set(self) -> bool:
        """Tell whether the flag is set."""
        return self._flag

    def set(self) -> None:
        """Set the flag and wake everybody who waits for it."""
        self._flag = True
        fresh: dict[greenlet | Waiter, Hub] = {}
        line, self._line = self._line, fresh  # one step: without a call, threads do not change
        for waiter, hub in line.copy().items():  # a copy is one step, too; another thread may just enter itself
            if hub.closed:
                continue
            if isinstance(waiter, Waiter):
                waiter.woken = True
                waiter = waiter.green
            hub.schedule(waiter)

    def clear(self) -> None:
        """Clear the flag; who was woken before still returns True from `wait`."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set: True. False when `timeout` seconds passed first."""
        line = self._line
        if self._flag:
            return True
        hub = get_hub()
        me = getcurrent()
        if me is hub.loop or me in line or timeout is not None:
            return self._wait_as_waiter(line, timeout)
        line[me] = hub
        try:
            while line is self._line:
                hub.successor().switch()
        except BaseException:
            if line is not self._line:
                hub.forget(me)
            del line[me]
            raise
        return True

    def _wait_as_waiter(self, line: dict[greenlet | Waiter, Hub], timeout: float | None) -> bool:
        """Wait with a timeout; or once more, in a signal handler that came in the middle of a wait."""
        waiter = Waiter()
        line[waiter] = waiter.hub
        try:
            return line is not self._line or waiter.wait(timeout)
        finally:
            del line[waiter]

    def _at_fork_reinit(self) -> None:
        # What the standard library calls, in a forked child, on what its own modules wait for.
        self._line = {}


class Semaphore:
    """A number of permits; `acquire` takes one, waiting in line if there is none. Raises ValueError for less than 0."""

    __slots__ = ("__weakref__", "_value", "_waiters")

    def __init__(self, value: int = 1) -> None:
        self._value = whole(value, 0, "a semaphore of {} permits")
        self._waiters = WaitQueue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value} free, {len(self._waiters)} waiting>"

    @property
    def balance(self) -> int:
        """Free permits less waiters."""
        return self._value - len(self._waiters)

    def locked(self) -> bool:
        """Tell whether there is no free permit."""
        return self._value == 0

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit: True; False if there is none in `timeout` seconds (-1 or None: wait for ever)."""
        if timeout is not None and not blocking:
            raise ValueError("can't specify timeout for non-blocking acquire")
        if self._value > 0:
            self._value -= 1  # one step with the test
            return True
        if not blocking:
            return False
        return self._acquire_in_line(None if timeout == -1 else timeout)

    def _acquire_in_line(self, timeout: float | None) -> bool:
        waiters = self._waiters
        waiter = waiters.enrol()
        if self._value > 0:
            self._value -= 1  # one step with the test
            if waiters.withdraw(waiter):
                return True
            self._give()  # somebody handed us one, too
            return True
        try:
            return waiter.wait(timeout) or not waiters.withdraw(waiter)
        except BaseException:
            if not waiters.withdraw(waiter):
                self._give()
            raise

    def release(self, n: int = 1) -> None:
        """Give `n` permits back: to those who wait longest, if anybody does. Never switches."""
        if n < 1:
            raise ValueError("n must be one or more")
        for _ in range(n):
            self._give()

    def _give(self) -> None:
        while self._waiters:
            if self._waiters.wake_one():
                return
        self._value += 1  # one step with the test

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class BoundedSemaphore(Semaphore):
    """A semaphore that cannot be released more often than acquired."""

    __slots__ = ("_bound",)

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._bound = self._value

    def release(self, n: int = 1) -> None:
        """Give `n` permits back. Raises ValueError if that is more than were taken."""
        if self._value + n > self._bound:
            raise ValueError(
                f"semaphore released more often than acquired: {n} given back, {self._value} of {self._bound} free"
            )
        super().release(n)


class Lock(Semaphore):
    """A mutual exclusion lock with the interface of `threading.Lock`; any greenthread may release it."""

    __slots__ = ()

    def __init__(self) -> None:
        self._value = 1
        self._waiters = WaitQueue()

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        return f"<{state} greenprobe.Lock object at {id(self):#x}, {len(self._waiters)} waiting>"

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take the lock: True; False if it is not free in `timeout` seconds (-1 or None: wait for ever)."""
        if self._value > 0 and (timeout is None or timeout == -1):
            self._value = 0  # one step with the test
            return True
        refuse_odd_timeout(blocking, timeout)
        return super().acquire(blocking, None if timeout == -1 else timeout)

    def release(self, n: int = 1) -> None:
        """Free the lock, or hand it to who waits longest. Raises RuntimeError if it is free."""
        if self._value:
            raise RuntimeError("release unlocked lock")
        self._give()

    def _at_fork_reinit(self) -> None:
        # The same for the locks that guard its modules.
        self._value = 1
        self._waiters = WaitQueue()


class RLock:
    """A lock that its owner, a greenlet, may take several times. The interface of `threading.RLock`."""

    __slots__ = ("__weakref__", "_count", "_lock", "_owner")

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner: greenlet | None = None
        self._count = 0

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        owner = name_of(self._owner) if self._owner is not None else None
        return f"<{state} greenprobe.RLock object owner={owner} count={self._count} at {id(self):#x}>"

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take the lock once more: True; False if it is not free in `timeout` seconds (-1 or None: for ever)."""
        refuse_odd_timeout(blocking, timeout)
        me = getcurrent()
        if self._owner is me:
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner = me
        self._count = 1
        return True

    def release(self) -> None:
        """Give the lock back once. Raises RuntimeError if the caller is not the owner."""
        if self._owner is not getcurrent():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            self._lock.release()

    def locked(self) -> bool:
        """Tell whether somebody holds the lock."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()
        self._owner = None
        self._count = 0

    # What Condition, and the standard library, need of a lock; the names are the standard library's.

    def _is_owned(self) -> bool:
        return self._owner is getcurrent()

    def _recursion_count(self) -> int:
        return self._count if self._owner is getcurrent() else 0

    def _release_save(self) -> int:
        count, self._count, self._owner = self._count, 0, None
        self._lock.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self._lock.acquire()
        self._count = count
        self._owner = getcurrent()


def refuse_odd_timeout(blocking: bool, timeout: float | None) -> None:
    """Raise what `threading.Lock.acquire` raises for a timeout that makes no sense; -1 is for ever."""
    if timeout is None or timeout == -1:
        return
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if not timeout >= 0:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
