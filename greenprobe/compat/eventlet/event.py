"""eventlet.event: a value, or an exception, that is sent once to whoever waits, now or later."""

from typing import Any, Final

from greenprobe.compat.eventlet.greenthread import as_exception
from greenprobe.waitqueue import WaitQueue

__all__ = ["Event"]


class Unsent:
    """Stands for "nothing was sent yet"."""

    def __repr__(self) -> str:
        return "NOT_USED"


NOT_USED: Final = Unsent()


class Event:
    """One value for everybody who waits. A second `send` is an error, unless `reset` came between."""

    _result: Any = None
    _exc: tuple[Any, ...] | None = None

    def __init__(self) -> None:
        self._waiters = WaitQueue()
        self._result = NOT_USED

    def __str__(self) -> str:
        return f"<{type(self).__name__} at {id(self):x} result={self._result!r} _exc={self._exc!r}>"

    def reset(self) -> None:
        """Forget what was sent, so that something may be sent again. Raises AssertionError if nothing was."""
        if self._result is NOT_USED:
            raise AssertionError(f"{self} has sent nothing yet; there is nothing to reset")
        self._result, self._exc = NOT_USED, None

    def ready(self) -> bool:
        """Tell whether something was sent."""
        return self._result is not NOT_USED

    def has_exception(self) -> bool:
        """Tell whether an exception was sent."""
        return self._exc is not None

    def has_result(self) -> bool:
        """Tell whether a value was sent."""
        return self._result is not NOT_USED and self._exc is None

    def poll(self, notready: Any = None) -> Any:
        """Return the value or raise the exception; `notready` if nothing was sent."""
        return self.wait() if self.ready() else notready

    def poll_exception(self, notready: Any = None) -> Any:
        """Raise the exception that was sent; return `notready` if none was."""
        return self.wait() if self.has_exception() else notready

    def poll_result(self, notready: Any = None) -> Any:
        """Return the value that was sent; `notready` if none was."""
        return self.wait() if self.has_result() else notready

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the value and return it, or raise the exception; None after `timeout` seconds."""
        if self.ready():
            return give(self._result, self._exc)
        waiter = self._waiters.enrol()
        try:
            if self.ready():  # another OS thread sent it a moment ago
                return give(self._result, self._exc)
            waiter.wait(timeout)
        finally:
            self._waiters.withdraw(waiter)
        return give(*waiter.item) if waiter.woken else None

    def send(self, result: Any = None, exc: Any = None) -> None:
        """Send a value, or an exception: an instance, a class, or a tuple of what `throw` takes. Never switches.

        Raises AssertionError if something was sent already.
        """
        if self._result is not NOT_USED:
            raise AssertionError(f"{self} has sent already; reset it, or make a new event for each value")
        self._exc = exc if exc is None or isinstance(exc, tuple) else (exc,)
        self._result = result  # last: another OS thread may look at any moment
        for _ in range(len(self._waiters)):
            self._waiters.wake_one((result, self._exc))

    def send_exception(self, *args: Any) -> None:
        """Send an exception, given as to `throw`: an instance, or a class, a value and a traceback."""
        self.send(None, args)


def give(result: Any, exc: tuple[Any, ...] | None) -> Any:
    """Return what was sent, or raise it."""
    if exc is not None:
        raise as_exception(*exc)
    return result
