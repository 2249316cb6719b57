"""What a hub runs, and in which order: the interfaces that tests and policies fill in."""

from collections.abc import Callable
from typing import Any, NoReturn, Protocol, runtime_checkable

from greenprobe.arguments import not_callable

__all__ = ["Call", "IdlePolicy", "Refusal", "RunQueue"]


@runtime_checkable
class RunQueue(Protocol):
    """The order in which ready greenthreads run: a `collections.deque`, or one of `greenprobe.testing`.

    What is queued has a `switch()`. `append` must be atomic, as other threads call it; `remove` raises ValueError if
    the item is not queued.
    """

    def append(self, item: Any, /) -> object: ...
    def popleft(self) -> Any: ...
    def remove(self, item: Any, /) -> None: ...
    def __len__(self) -> int: ...


class IdlePolicy(Protocol):
    """What a hub does when nobody can run; tests put clocks that jump here. See `greenprobe.testing`."""

    def patience(self, seconds: float) -> float:
        """Return how long to poll, given how long the hub would (negative: for ever)."""

    def idle(self) -> bool:
        """Nothing happened in that time: wake somebody and return True, or leave it to the hub."""


class Call:
    """A function call that stands in the run queue like a greenlet."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if not callable(function):
            raise not_callable(function)
        self.function = function
        self.args = args

    def switch(self) -> object:
        """Make the call."""
        return self.function(*self.args)


class Refusal:
    """Stands in for a greenlet that must not be switched to: who tries gets `error`, with `message`."""

    __slots__ = ("error", "message")

    def __init__(self, error: type[Exception], message: str) -> None:
        self.error = error
        self.message = message

    def switch(self) -> NoReturn:
        """Refuse."""
        raise self.error(self.message)
