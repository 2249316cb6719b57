"""One fair wait queue, and what stands on it: Event, AsyncResult, Semaphore, Lock, RLock, Condition, Barrier.

All are FIFO-fair and may be used by greenthreads of different OS threads. What can be had at once never switches.

No lost wake-up, and no lock
    Facts: CPython passes the GIL to another thread only after a call, at the start of a Python function, or at a
    backward jump. A test of a truth value or an integer, followed by one store or by one method of a built-in
    container, is therefore one step to all other threads. Failure: between "is it free?" and "then I wait" somebody
    frees it, sees no waiter, and wakes nobody. Choice: a waiter enrols first and looks again afterwards; a waker looks
    for waiters and changes the state in one such step. Whoever comes second sees the first. A thing is handed to its
    waiter, not left for whoever comes along: so the order is kept, and a handed thing whose waiter dies of a kill or
    a timeout before its turn is passed on.
    Price: lines marked "one step" must stay one step. Free-threaded builds are not supported (nor by greenlet).

A forked child inherits the queues but not the waiters: `wake_one` passes over those whose hub is closed.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import BrokenBarrierError
from typing import Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

from greenprobe.errors import HubError
from greenprobe.hub import Hub, get_hub

__all__ = [
    "AsyncResult",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "Lock",
    "Outcome",
    "RLock",
    "Semaphore",
    "WaitQueue",
    "Waiter",
]

T = TypeVar("T")


class Waiter:
    """A greenthread in a wait queue. `woken` is set by whoever ends the wait; `item` may carry something over."""

    __slots__ = ("green", "hub", "item", "woken")

    def __init__(self, hub: Hub, green: greenlet) -> None:
        self.hub = hub
        self.green = green
        self.woken = False
        self.item: Any = None

    def wait(self, timeout: float | None = None) -> bool:
        """Park until woken (True) or until `timeout` seconds are over (False). 0 or less does not switch."""
        hub = self.hub
        if timeout is None:
            while not self.woken:
                hub.switch()
            return True
        if timeout <= 0:
            return self.woken
        timer = hub.timers.add(hub.clock() + timeout, hub.schedule, self.green)
        try:
            while not self.woken and timer.callback is not None:
                hub.switch()
        finally:
            timer.cancel()
        return self.woken


class WaitQueue(OrderedDict[Waiter, None]):
    """Waiters in the order they came. Enrolling, withdrawing and waking are one step each."""

    def enrol(self) -> Waiter:
        """Add the current greenthread; the caller looks at its condition again before it waits."""
        hub = get_hub()
        green = getcurrent()
        if green is hub.loop:
            raise HubError("a callback of the hub cannot wait; spawn a greenthread for what takes time")
        waiter = Waiter(hub, green)
        self[waiter] = None
        return waiter

    def withdraw(self, waiter: Waiter) -> bool:
        """Take a waiter out again. False if it was woken already: what it was woken for is then its own to pass on."""
        return self.pop(waiter, waiter) is None

    def wake_one(self, item: Any = None) -> bool:
        """Wake who waits longest and hand over `item`; False if nobody waits."""
        while self:
            try:
                waiter, _ = self.popitem(last=False)
            except KeyError:
                return False
            hub = waiter.hub
            if hub.closed:
                continue
            waiter.item = item
            waiter.woken = True
            hub.ready.append(waiter.green)
            if hub.asleep:
                hub.ring()
            return True
        return False

    def wake_all(self) -> None:
        """Wake everybody who waits now, in order."""
        for _ in range(len(self)):
            self.wake_one()


class Event:
    """A flag that greenthreads wait for: set, clear, wait."""

    __slots__ = ("__weakref__", "_flag", "_waiters")

    def __init__(self) -> None:
        self._flag = False
        self._waiters = WaitQueue()

    def __repr__(self) -> str:
        return f"<Event {'set' if self._flag else 'clear'}, {len(self._waiters)} waiting>"

    def is_set(self) -> bool:
        """Tell whether the flag is set."""
        return self._flag

    def set(self) -> None:
        """Set the flag and wake everybody who waits for it."""
        self._flag = True
        self._waiters.wake_all()

    def clear(self) -> None:
        """Clear the flag; who was woken before still returns True from `wait`."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set: True. False when `timeout` seconds passed first."""
        if self._flag:
            return True
        waiter = self._waiters.enrol()
        try:
            return self._flag or waiter.wait(timeout)
        finally:
            self._waiters.withdraw(waiter)


PENDING, VALUE, ERROR = range(3)


class Outcome(Generic[T]):
    """One value or one exception, set once, waited for by anybody; `AsyncResult` and `GreenThread` are outcomes.

    A class without fields, so that it mixes with greenlet; who inherits has `_state`, `_result`, `_waiters`, `_links`
    and calls `_settle` once.
    """

    __slots__ = ()

    _state: int
    _result: Any
    _waiters: WaitQueue | None
    _links: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] | None

    def ready(self) -> bool:
        """Tell whether there is a value or an exception."""
        return self._state != PENDING

    def successful(self) -> bool:
        """Tell whether there is a value."""
        return self._state == VALUE

    @property
    def value(self) -> T | None:
        """The value, or None while there is none."""
        return self._result if self._state == VALUE else None

    @property
    def exception(self) -> BaseException | None:
        """The exception, or None if there is none."""
        return self._result[0] if self._state == ERROR else None

    def wait(self, timeout: float | None = None) -> T:
        """Wait for the value and return it, or raise the exception. Raises TimeoutError after `timeout` seconds."""
        if self._state == PENDING:
            self._await(timeout)
        if self._state == VALUE:
            return self._result  # type: ignore[no-any-return]
        error, traceback = self._result
        try:
            raise error.with_traceback(traceback)  # the same exception may be raised often: keep its traceback short
        finally:
            del error, traceback

    def join(self, timeout: float | None = None) -> bool:
        """Wait until there is a value or an exception, and tell whether there is; neither is returned or raised."""
        try:
            self._await(timeout)
        except TimeoutError:
            return False
        return True

    def _await(self, timeout: float | None) -> None:
        if self._waiters is None:
            self._waiters = WaitQueue()
        waiters = self._waiters
        waiter = waiters.enrol()
        try:
            if self._state == PENDING and not waiter.wait(timeout) and self._state == PENDING:
                raise TimeoutError(f"no result of {self!r} in {timeout} s")
        finally:
            waiters.withdraw(waiter)

    def link(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call `callback(self, *args, **kwargs)` when the outcome is there, or now if it is; in order of linking."""
        if self._state != PENDING:
            callback(self, *args, **kwargs)
            return
        if self._links is None:
            self._links = []
        self._links.append((callback, args, kwargs))

    def unlink(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Take a link back; False if there is no such link (any more)."""
        if self._links is None or (callback, args, kwargs) not in self._links:
            return False
        self._links.remove((callback, args, kwargs))
        return True

    def _settle(self, state: int, result: Any) -> None:
        self._result = result
        self._state = state
        if self._waiters:
            self._waiters.wake_all()
        while self._links:
            callback, args, kwargs = self._links.pop(0)
            try:
                callback(self, *args, **kwargs)
            except Exception as error:  # the other links, and the outcome, are not this one's to spoil
                get_hub().on_error(error)


class AsyncResult(Outcome[T]):
    """A value or an exception that somebody sets once and anybody waits for."""

    __slots__ = ("__weakref__", "_links", "_result", "_state", "_waiters")

    def __init__(self) -> None:
        self._state = PENDING
        self._result = None
        self._waiters = None
        self._links = None

    def __repr__(self) -> str:
        return f"<AsyncResult {('pending', 'value', 'exception')[self._state]}>"

    def set(self, value: T) -> None:
        """Set the value. Raises RuntimeError if the outcome is there already."""
        self._refuse_twice()
        self._settle(VALUE, value)

    def set_exception(self, error: BaseException) -> None:
        """Set the exception. Raises RuntimeError if the outcome is there already."""
        self._refuse_twice()
        self._settle(ERROR, (error, error.__traceback__))

    def _refuse_twice(self) -> None:
        if self._state != PENDING:
            raise RuntimeError(f"{self!r} has its outcome already; make a new one for each result")


class Semaphore:
    """A number of permits; `acquire` takes one, waiting in line if there is none."""

    __slots__ = ("__weakref__", "_value", "_waiters")

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError(f"a semaphore of {value} permits; give 0 or more")
        self._value = value
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
            self.release()  # somebody handed us one, too
            return True
        try:
            return waiter.wait(timeout) or not waiters.withdraw(waiter)
        except BaseException:
            if not waiters.withdraw(waiter):
                self.release()
            raise

    def release(self) -> None:
        """Give a permit back: to who waits longest, if anybody does. Never switches."""
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
        self._bound = value

    def release(self) -> None:
        """Give a permit back. Raises ValueError if all are back already."""
        if self._value >= self._bound:
            raise ValueError(f"semaphore released more often than acquired: all {self._bound} permits are free")
        super().release()


class Lock(Semaphore):
    """A mutual exclusion lock with the interface of `threading.Lock`; any greenthread may release it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(1)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take the lock: True; False if it is not free in `timeout` seconds (-1 or None: wait for ever)."""
        refuse_odd_timeout(blocking, timeout)
        return super().acquire(blocking, timeout)

    def release(self) -> None:
        """Free the lock, or hand it to who waits longest. Raises RuntimeError if it is free."""
        if self._value:
            raise RuntimeError("release unlocked lock")
        super().release()


class RLock:
    """A lock that its owner, a greenlet, may take several times. The interface of `threading.RLock`."""

    __slots__ = ("__weakref__", "_count", "_lock", "_owner")

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner: greenlet | None = None
        self._count = 0

    def __repr__(self) -> str:
        return f"<RLock owner={self._owner!r} count={self._count}>"

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take the lock once more: True; False if it is not free in `timeout` seconds (-1 or None: for ever)."""
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

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    # What Condition needs of a lock; the names are those of the standard library's.

    def _is_owned(self) -> bool:
        return self._owner is getcurrent()

    def _release_save(self) -> int:
        count, self._count, self._owner = self._count, 0, None
        self._lock.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self._lock.acquire()
        self._count = count
        self._owner = getcurrent()


class Condition:
    """Wait for a state that a lock guards. The interface of `threading.Condition`; the default lock is an RLock."""

    __slots__ = ("__weakref__", "_lock", "_waiters", "acquire", "release")

    def __init__(self, lock: Lock | RLock | None = None) -> None:
        self._lock = lock if lock is not None else RLock()
        self._waiters = WaitQueue()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __repr__(self) -> str:
        return f"<Condition on {self._lock!r}, {len(self._waiters)} waiting>"

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def _owned(self) -> bool:
        lock = self._lock
        return lock._is_owned() if isinstance(lock, RLock) else lock.locked()

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, take the lock again. False when `timeout` seconds passed first.

        Raises RuntimeError if the lock is not held. A notification whose receiver is killed goes to the next waiter.
        """
        if not self._owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiters = self._waiters
        waiter = waiters.enrol()
        saved = self._let_go()
        try:
            return waiter.wait(timeout) or not waiters.withdraw(waiter)
        except BaseException:
            if not waiters.withdraw(waiter):
                waiters.wake_one()
            raise
        finally:
            self._take_back(saved)

    def _let_go(self) -> int:
        lock = self._lock
        if isinstance(lock, RLock):
            return lock._release_save()
        lock.release()
        return 1

    def _take_back(self, count: int) -> None:
        # The lock must be ours again before anything may be raised, so what is thrown in meanwhile waits.
        pending: BaseException | None = None
        while True:
            try:
                if isinstance(self._lock, RLock):
                    self._lock._acquire_restore(count)
                else:
                    self._lock.acquire()
                break
            except BaseException as error:
                pending = error
        if pending is not None:
            raise pending

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `predicate()` is true and return it; what it returned last when `timeout` seconds passed."""
        clock = get_hub().clock
        deadline = None if timeout is None else clock() + timeout
        result = predicate()
        while not result:
            left = None if deadline is None else deadline - clock()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake `n` waiters, who get the lock one after the other. Raises RuntimeError if the lock is not held."""
        if not self._owned():
            raise RuntimeError("cannot notify on un-acquired lock")
        for _ in range(n):
            if not self._waiters.wake_one():
                return

    def notify_all(self) -> None:
        """Wake all waiters."""
        self.notify(len(self._waiters))


class Barrier:
    """Hold greenthreads until `parties` of them have come. The interface of `threading.Barrier`."""

    __slots__ = ("__weakref__", "_action", "_condition", "_count", "_generation", "_timeout", "parties")

    def __init__(
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> None:
        if parties < 1:
            raise ValueError(f"a barrier for {parties} parties; give 1 or more")
        self.parties = parties
        self._action = action
        self._timeout = timeout
        self._condition = Condition(Lock())
        self._count = 0
        self._generation = Generation()

    def __repr__(self) -> str:
        return f"<Barrier {self.n_waiting} of {self.parties} waiting{', broken' if self.broken else ''}>"

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        return self._count

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken: every `wait` raises until `reset`."""
        return self._generation.broken

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others; return a number from 0 to parties - 1, different for each of them.

        Raises BrokenBarrierError if the barrier is or gets broken: by `abort`, `reset`, a failing action, or when
        somebody's wait takes longer than `timeout` seconds or ends in an exception.
        """
        timeout = self._timeout if timeout is None else timeout
        with self._condition:
            generation = self._generation
            if generation.broken:
                raise BrokenBarrierError
            index = self._count
            self._count += 1
            if self._count == self.parties:
                self._release_all()
                return index
            try:
                done = self._condition.wait_for(lambda: generation.over or generation.broken, timeout)
            except BaseException:
                self._break(generation)
                raise
            if not done:
                self._break(generation)
            if generation.broken:
                raise BrokenBarrierError
            return index

    def _release_all(self) -> None:
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            self._break(self._generation)
            raise
        self._generation.over = True
        self._renew()

    def _renew(self) -> None:
        self._generation = Generation()
        self._count = 0
        self._condition.notify_all()

    def _break(self, generation: "Generation") -> None:
        if generation.over:
            return
        generation.broken = True
        if generation is self._generation:
            self._count = 0
        self._condition.notify_all()

    def reset(self) -> None:
        """Make the barrier as new; who waits now gets BrokenBarrierError."""
        with self._condition:
            if self._count:
                self._generation.broken = True
            self._renew()

    def abort(self) -> None:
        """Break the barrier: who waits, and who comes until `reset`, gets BrokenBarrierError."""
        with self._condition:
            self._break(self._generation)


class Generation:
    """One filling of a barrier."""

    __slots__ = ("broken", "over")

    def __init__(self) -> None:
        self.broken = False
        self.over = False


def refuse_odd_timeout(blocking: bool, timeout: float | None) -> None:
    """Raise what `threading.Lock.acquire` raises for a timeout that makes no sense."""
    if timeout is None or timeout == -1:
        return
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0:
        raise ValueError("timeout value must be a non-negative number")
