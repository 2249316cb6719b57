"""Waiting for a state that a lock guards, and for each other: Condition and Barrier."""

from collections.abc import Callable
from threading import BrokenBarrierError
from typing import TypeVar

from greenprobe.arguments import not_callable, whole
from greenprobe.errors import HubError
from greenprobe.hub import get_hub
from greenprobe.sync import Lock, RLock
from greenprobe.timeout import CancelScope
from greenprobe.waitqueue import WaitQueue

__all__ = ["Barrier", "BrokenBarrierError", "Condition"]

T = TypeVar("T")


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
        failure: BaseException | None = None
        try:
            waiter.wait(timeout)
        except BaseException as error:
            failure = error
        notified = not waiters.withdraw(waiter)
        failure = self._take_back(saved) or failure
        if failure is None:
            return notified
        if notified:
            waiters.wake_one()
        try:
            raise failure
        finally:
            del failure

    def _let_go(self) -> int:
        lock = self._lock
        if isinstance(lock, RLock):
            return lock._release_save()
        lock.release()
        return 1

    def _take_back(self, count: int) -> BaseException | None:
        """Take the lock, whatever is thrown in meanwhile, and return what was thrown in last."""
        failure: BaseException | None = None
        while True:
            try:
                with CancelScope(shield=True):  # a scope that is over would end every wait before it began
                    self._acquire(count)
                return failure
            except HubError:
                raise  # there is no hub any more to wait with
            except BaseException as error:
                failure = error

    def _acquire(self, count: int) -> None:
        if isinstance(self._lock, RLock):
            self._lock._acquire_restore(count)
        else:
            self._lock.acquire()

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

    def _at_fork_reinit(self) -> None:
        # What the standard library calls, in a forked child, on what its own modules wait for.
        self._lock._at_fork_reinit()
        self._waiters = WaitQueue()


class Barrier:
    """Hold greenthreads until `parties` of them have come. The interface of `threading.Barrier`."""

    __slots__ = ("__weakref__", "_action", "_condition", "_count", "_generation", "_timeout", "parties")

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        self.parties = whole(parties, 1, "a barrier for {} parties")
        if action is not None and not callable(action):
            raise not_callable(action)
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
