"""Asking once for all who want to know the same at the same time; nothing is remembered afterwards."""

from collections.abc import Callable
from typing import Generic, TypeVar

from greenprobe.outcome import AsyncResult

__all__ = ["Once"]

T = TypeVar("T")


class Once(Generic[T]):
    """Calls `ask` with the arguments it is called with; who comes while that is under way waits for the same outcome.

    A kill of who asks is an outcome, too: so use it where all are killed together.
    """

    __slots__ = ("_ask", "_under_way")

    def __init__(self, ask: Callable[[str, str], T]) -> None:
        self._ask = ask
        self._under_way: dict[tuple[str, str], AsyncResult[T]] = {}

    def __call__(self, name: str, kind: str) -> T:
        """Return what `ask` returns, or raise what it raises."""
        key = (name, kind)
        outcome = self._under_way.get(key)
        if outcome is not None:
            return outcome.wait()
        outcome = self._under_way[key] = AsyncResult()
        try:
            value = self._ask(name, kind)
        except BaseException as error:
            outcome.set_exception(error)
            raise
        else:
            outcome.set(value)
            return value
        finally:
            del self._under_way[key]
