"""eventlet.semaphore: permits, bounded and capped. greenprobe's semaphores with eventlet's arguments."""

from typing import Literal

from greenprobe import sync as core

__all__ = ["BoundedSemaphore", "CappedSemaphore", "Semaphore"]


class Semaphore(core.Semaphore):
    """A number of permits; `acquire` takes one, waiting in line if there is none."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)

    @property
    def counter(self) -> int:
        """How many permits are free."""
        return self._value

    def bounded(self) -> bool:
        """Tell that `release` never waits."""
        return False

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit: True; False if there is none in `timeout` seconds (-1 or None: wait for ever)."""
        if timeout == -1:
            timeout = None
        if timeout is not None and timeout < 0:
            raise ValueError("timeout value must be a positive number")
        return super().acquire(blocking, timeout)

    def release(self, blocking: bool = True) -> Literal[True]:  # type: ignore[override]
        """Give a permit back: to who waits longest, if anybody does. Never waits, whatever `blocking` says."""
        super().release()
        return True


class BoundedSemaphore(Semaphore):
    """A semaphore that cannot be released more often than acquired."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self.original_counter = value

    def release(self, blocking: bool = True) -> Literal[True]:  # type: ignore[override]
        """Give a permit back. Raises ValueError if none was taken."""
        if self._value >= self.original_counter:
            raise ValueError("semaphore released more often than acquired")
        return super().release(blocking)


class CappedSemaphore:
    """A semaphore with a limit: `acquire` waits while there is no permit, `release` while there are `limit`."""

    def __init__(self, count: int, limit: int) -> None:
        if count < 0:
            raise ValueError(f"a semaphore of {count} permits; give 0 or more")
        if count > limit:
            raise ValueError(f"a semaphore of {count} permits with a limit of {limit}; give at most as many as that")
        self.lower_bound = Semaphore(count)
        self.upper_bound = Semaphore(limit - count)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.lower_bound!r}, room {self.upper_bound!r}>"

    def locked(self) -> bool:
        """Tell whether `acquire` would wait."""
        return self.lower_bound.locked()

    def bounded(self) -> bool:
        """Tell whether `release` would wait."""
        return self.upper_bound.locked()

    def acquire(self, blocking: bool = True) -> bool:
        """Take a permit: True; False if there is none and the call is not to wait."""
        if not self.lower_bound.acquire(blocking):
            return False
        self.upper_bound.release()
        return True

    def release(self, blocking: bool = True) -> bool:
        """Give a permit back: True; False if the limit is reached and the call is not to wait."""
        if not self.upper_bound.acquire(blocking):
            return False
        self.lower_bound.release()
        return True

    @property
    def balance(self) -> int:
        """Free permits less waiting acquirers, less free room and more waiting releasers."""
        return self.lower_bound.balance - self.upper_bound.balance

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()
