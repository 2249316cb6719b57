"""eventlet.timeout: `Timeout`, an exception that is thrown once, and what tells whether something is a timeout."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, Self

from greenprobe import timeout as core

__all__ = ["Timeout", "is_timeout", "with_timeout", "wrap_is_timeout"]

MISSING: Final = object()


class Timeout(core.Timeout):
    """Raised in the greenthread that made it, `seconds` from then, unless it is cancelled before.

    `exception` is raised in its place, if it is one; False raises the Timeout, which leaves a `with` block silently.
    """

    is_timeout = True

    @property
    def timer(self) -> Any:
        """The timer that runs, or None."""
        return self._timer

    def start(self) -> Self:  # type: ignore[override]
        """Start the clock again; return self. Raises AssertionError if it runs."""
        if self.pending:
            raise AssertionError(f"{self!r} is running; cancel it before you start it again")
        if self.seconds is not None:
            self._start(self.seconds)
        return self

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        how_long = f"{self.seconds} second{'' if self.seconds == 1 else 's'}"
        if self.exception is None or self.exception is True:
            return how_long
        return f"{how_long} ({'silent' if self.exception is False else self.exception})"


def with_timeout(seconds: float | None, function: Callable[..., Any], *args: Any, **kwds: Any) -> Any:
    """Call `function(*args, **kwds)`; raise Timeout after `seconds`, or return `timeout_value` if that is given.

    Only the time-out of this very call is turned into the value.
    """
    value = kwds.pop("timeout_value", MISSING)
    timeout = Timeout(seconds)
    try:
        return function(*args, **kwds)
    except Timeout as error:
        if error is timeout and value is not MISSING:
            return value
        raise
    finally:
        timeout.cancel()


def wrap_is_timeout(base: Any) -> Any:
    """Mark a class of exceptions, or the exceptions that a function returns, as timeouts."""
    if isinstance(base, type):
        base.is_timeout = True  # type: ignore[attr-defined]
        return base

    @wraps(base)
    def marked(*args: Any, **kwargs: Any) -> Any:
        error = base(*args, **kwargs)
        error.is_timeout = True
        return error

    return marked


def is_timeout(obj: object) -> bool:
    """Tell whether an exception says that time ran out: a Timeout, a TimeoutError, or one so marked."""
    return isinstance(obj, TimeoutError) or bool(getattr(obj, "is_timeout", False))
