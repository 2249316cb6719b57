"""eventlet.lock: a semaphore of one permit that refuses to be released when nobody holds it."""

from typing import Literal

from greenprobe.compat.eventlet.semaphore import Semaphore
from greenprobe.waitqueue import WaitQueue

__all__ = ["Lock"]


class Lock(Semaphore):
    """A mutual exclusion lock; any greenthread may release it."""

    def release(self, blocking: bool = True) -> Literal[True]:  # type: ignore[override]
        """Free the lock, or hand it to who waits longest. Raises RuntimeError if it is free."""
        if self._value > 0:
            raise RuntimeError("release unlocked lock")
        return super().release(blocking)

    def _at_fork_reinit(self) -> None:
        self._value = 1
        self._waiters = WaitQueue()
