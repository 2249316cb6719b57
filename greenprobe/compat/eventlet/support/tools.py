"""What eventlet.support hands out: the errno of an exception, bytes to text, deprecated names."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from warnings import warn

__all__ = ["bytes_to_str", "get_errno", "wrap_deprecated"]


def get_errno(exc: BaseException) -> int | None:
    """Return the error number of an exception, or None if it has none."""
    number = getattr(exc, "errno", None)
    if number is None and exc.args and isinstance(exc.args[0], int):
        number = exc.args[0]
    return number


def bytes_to_str(b: Any, encoding: str = "ascii") -> Any:
    """Return bytes as text; anything else as it is."""
    return b.decode(encoding) if isinstance(b, bytes) else b


def wrap_deprecated(old: str, new: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Have a function warn that its name `old` is deprecated, in favour of `new`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def warning(*args: Any, **kwargs: Any) -> Any:
            warn(f"{old} is deprecated; use {new}", DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return warning

    return decorate
