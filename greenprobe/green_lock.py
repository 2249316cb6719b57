"""The locks of `_thread`, green: `lock` and `RLock`, with the very interface, errors and repr of the C types.

They stand on `sync.Lock`: FIFO-fair, safe between OS threads, no switch when free. What differs from `sync` is what a
drop-in owes: keyword names, refused timeouts, types that cannot be made or subclassed where C's cannot.

Owners are threads, not greenlets (`green_ident`): a signal handler that runs beside the main greenthread may take
again what that holds, as it may in a process that is not patched.
"""

import sys
from typing import Any, Final, NoReturn, Self

from greenprobe.green_ident import get_ident
from greenprobe.green_turns import give_way
from greenprobe.sync import Lock, refuse_odd_timeout

__all__ = ["QuietLock", "RLock", "allocate_lock", "lock"]

MAY_BE_CALLED: Final = sys.version_info >= (3, 13)  # since then `threading.Lock` is the type itself


class QuietLock(Lock):
    """A lock of `_thread`'s interface that never lets others run while it is free, whoever spins on it."""

    __slots__ = ()

    def __repr__(self) -> str:
        state = "unlocked" if self._value else "locked"
        return f"<{state} _thread.lock object at {id(self):#x}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle '_thread.lock' object")

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # type: ignore[override]
        """Take the lock: True; False if it is not free in `timeout` seconds (-1: wait for ever)."""
        if self._value > 0 and timeout == -1:
            self._value = 0  # one step with the test
            return True
        refuse_odd_timeout(blocking, timeout + 0.0)
        return super().acquire(blocking, timeout)

    def release(self) -> None:  # type: ignore[override]
        """Free the lock, or hand it to who waits longest. Raises RuntimeError if it is free."""
        if self._value:
            raise RuntimeError("release unlocked lock")
        self._give()


class lock(QuietLock):  # noqa: N801 - the name of the type in `_thread`
    """`_thread.lock`, green."""

    __slots__ = ()

    def __new__(cls, *args: Any) -> Self:
        if not MAY_BE_CALLED:
            raise TypeError("cannot create '_thread.lock' instances")
        if args:
            raise TypeError(f"lock() takes no arguments ({len(args)} given)")
        return super().__new__(cls)

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("type '_thread.lock' is not an acceptable base type")

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # type: ignore[override]
        """Take the lock: True; False if it is not free in `timeout` seconds (-1: wait for ever)."""
        give_way()
        if self._value > 0 and timeout == -1:
            self._value = 0  # one step with the test
            return True
        refuse_odd_timeout(blocking, timeout + 0.0)
        return Lock.acquire(self, blocking, timeout)

    acquire_lock = acquire
    release_lock = QuietLock.release
    locked_lock = Lock.locked


lock.__module__ = "_thread"


def allocate_lock() -> lock:
    """Return a new lock."""
    new = object.__new__(lock)
    Lock.__init__(new)
    return new


class RLock:
    """`_thread.RLock`, green: a lock that its owner, a thread, may take several times."""

    __slots__ = ("__weakref__", "_block", "_count", "_owner")

    _block: lock
    _owner: int
    _count: int

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._block = allocate_lock()
        self._count = self._owner = 0
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # it takes what C's takes: anything
        pass

    def __repr__(self) -> str:
        state = "locked" if self._count else "unlocked"
        kind = type(self)
        name = f"{kind.__module__}.{kind.__qualname__}"
        return f"<{state} {name} object owner={self._owner} count={self._count} at {id(self):#x}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle '{type(self).__module__}.{type(self).__qualname__}' object")

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock once more: True; False if it is not free in `timeout` seconds (-1: wait for ever)."""
        if timeout != -1:
            refuse_odd_timeout(blocking, timeout + 0.0)
        me = get_ident()
        if self._owner == me:
            self._count += 1
            return True
        if not self._block.acquire(blocking, timeout):
            return False
        self._owner = me
        self._count = 1
        return True

    __enter__ = acquire

    def release(self) -> None:
        """Give the lock back once. Raises RuntimeError if the caller is not the owner."""
        if self._owner != get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = 0
            self._block.release()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def locked(self) -> bool:
        """Tell whether anybody holds it."""
        return self._count > 0

    # What `threading` needs of it.

    def _is_owned(self) -> bool:
        return self._owner == get_ident()

    def _recursion_count(self) -> int:
        return self._count if self._owner == get_ident() else 0

    def _release_save(self) -> tuple[int, int]:
        if not self._count:
            raise RuntimeError("cannot release un-acquired lock")
        state = (self._count, self._owner)
        self._count = self._owner = 0
        self._block.release()
        return state

    def _acquire_restore(self, state: tuple[int, int]) -> None:
        self._block.acquire()
        self._count, self._owner = state

    def _at_fork_reinit(self) -> None:
        self._block._at_fork_reinit()
        self._count = self._owner = 0


RLock.__module__ = "_thread"
