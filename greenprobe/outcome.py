"""One value or one exception, set once and waited for by anybody: Outcome and AsyncResult.

What a greenthread dies of is kept for whoever asks. Failure: nobody ever does, and a bug leaves no trace. Choice: a
failure that is dropped with its greenthread, and was never asked for, reports itself. Price: nothing for who succeeds.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from greenprobe.arguments import as_exception, not_callable
from greenprobe.hub import get_hub
from greenprobe.waitqueue import WaitQueue

__all__ = ["ERROR", "PENDING", "VALUE", "AsyncResult", "Outcome", "Unasked"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PENDING, VALUE, ERROR = range(3)


class Unasked:
    """An exception and its traceback, until somebody asks for them; if nobody does, `report` gets the exception."""

    __slots__ = ("error", "report", "traceback")

    def __init__(self, error: BaseException, report: Callable[[BaseException], object]) -> None:
        self.error = error
        self.traceback = error.__traceback__
        self.report: Callable[[BaseException], object] | None = report

    def told(self) -> tuple[BaseException, TracebackType | None]:
        """Return them to who asks."""
        self.report = None
        return self.error, self.traceback

    def __del__(self) -> None:
        if self.report is not None:
            self.report(self.error)


class Outcome(Generic[T_co]):
    """One value or one exception, set once, waited for by anybody; `AsyncResult` and `GreenThread` are outcomes.

    A class without fields, so that it mixes with greenlet; who inherits has `_state`, `_result`, `_waiters`, `_links`
    and calls `_settle` once.
    """

    __slots__ = ()

    _state: int
    _result: Any
    _waiters: WaitQueue | None
    _links: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] | None

    def ready(self) -> bool:
        """Tell whether there is a value or an exception."""
        return self._state != PENDING

    def successful(self) -> bool:
        """Tell whether there is a value."""
        return self._state == VALUE

    @property
    def value(self) -> T_co | None:
        """The value, or None while there is none."""
        return self._result if self._state == VALUE else None

    @property
    def exception(self) -> BaseException | None:
        """The exception, or None if there is none."""
        return self._failure()[0] if self._state == ERROR else None

    def wait(self, timeout: float | None = None) -> T_co:
        """Wait for the value and return it, or raise the exception. Raises TimeoutError after `timeout` seconds."""
        if self._state == PENDING and not self.join(timeout):
            raise TimeoutError(f"no result of {self!r} in {timeout} s")
        if self._state == VALUE:
            return self._result  # type: ignore[no-any-return]
        error, traceback = self._failure()
        try:
            raise error.with_traceback(traceback)  # the same exception may be raised often: keep its traceback short
        finally:
            del error, traceback, self  # the traceback holds this frame, and we hold the error: no cycle

    def _failure(self) -> tuple[BaseException, TracebackType | None]:
        result = self._result
        if isinstance(result, Unasked):
            result = self._result = result.told()
        return result  # type: ignore[no-any-return]

    def join(self, timeout: float | None = None) -> bool:
        """Wait until there is a value or an exception, and tell whether there is; neither is returned or raised."""
        if self._state != PENDING:
            return True
        waiters = WaitQueue()
        if self._waiters is None:
            self._waiters = waiters  # type: ignore[misc]  # one step with the test
        waiters = self._waiters
        waiter = waiters.enrol()
        try:
            return self._state != PENDING or waiter.wait(timeout) or self._state != PENDING
        finally:
            waiters.withdraw(waiter)

    def link(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call `callback(self, *args, **kwargs)` when the outcome is there, or now if it is; in order of linking."""
        if not callable(callback):
            raise not_callable(callback)
        link = (callback, args, kwargs)
        if self._links is None:
            self._links = []  # type: ignore[misc]
        if self._state == PENDING:
            self._links.append(link)  # one step with the test
        else:
            callback(self, *args, **kwargs)

    def unlink(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Take a link back; False if there is no such link (any more)."""
        if self._links is None or (callback, args, kwargs) not in self._links:
            return False
        self._links.remove((callback, args, kwargs))
        return True

    def _settle(self, state: int, result: Any) -> None:
        """Set the outcome and tell everybody. Raises RuntimeError if it is there already."""
        if self._state != PENDING:
            raise RuntimeError(f"{self!r} has its outcome already; make a new one for each result")
        self._result = result
        self._state = state  # type: ignore[misc]  # one step with the test
        self._announce()

    def _announce(self) -> None:
        """Wake who waits for the outcome, and call the links."""
        if self._waiters:
            self._waiters.wake_all()
        while self._links:
            callback, args, kwargs = self._links.pop(0)
            try:
                callback(self, *args, **kwargs)
            except Exception as error:  # the other links, and the outcome, are not this one's to spoil
                get_hub().on_error(error)


class AsyncResult(Outcome[T]):
    """A value or an exception that somebody sets once and anybody waits for."""

    __slots__ = ("__weakref__", "_links", "_result", "_state", "_waiters")

    def __init__(self) -> None:
        self._state = PENDING
        self._result = None
        self._waiters = None
        self._links = None

    def __repr__(self) -> str:
        return f"<AsyncResult {('pending', 'value', 'exception')[self._state]}>"

    def set(self, value: T) -> None:
        """Set the value. Raises RuntimeError if the outcome is there already."""
        self._settle(VALUE, value)

    def set_exception(self, error: BaseException | type[BaseException]) -> None:
        """Set the exception. Raises RuntimeError if the outcome is there already."""
        error = as_exception(error)
        self._settle(ERROR, (error, error.__traceback__))
