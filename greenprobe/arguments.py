"""What callers give, refused at their own line when it makes no sense.

A function that cannot be called, or an exception that cannot be raised, would else fail later and elsewhere: in the
loop, in another thread, in a greenthread that nobody waits for.
"""

from operator import index
from typing import SupportsIndex

from greenlet import GreenletExit

__all__ = ["as_exception", "not_callable", "whole"]


def whole(number: SupportsIndex, least: int, what: str) -> int:
    """Return a whole number of at least `least`; `what` says what it is for, with {} for the number.

    Raises TypeError if it is no whole number, ValueError if it is less.
    """
    try:
        value = index(number)
    except TypeError:
        raise TypeError(f"{what.format(repr(number))}; give a whole number") from None
    if value < least:
        raise ValueError(f"{what.format(value)}; give {least} or more")
    return value


def not_callable(thing: object) -> TypeError:
    """Return the error to raise for a function that is none."""
    return TypeError(f"cannot call {thing!r}; give a function, not what it returns, and its arguments after it")


def as_exception(error: BaseException | type[BaseException] | None) -> BaseException:
    """Return an exception instance, GreenletExit by default. Raises TypeError for what cannot be raised."""
    if error is None:
        return GreenletExit()
    made = error() if isinstance(error, type) else error
    if not isinstance(made, BaseException):
        raise TypeError(f"cannot raise {error!r}; give an exception")
    return made
