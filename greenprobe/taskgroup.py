"""Children that cannot outlive their block: TaskGroup.

Whatever ends the block, it is left only when every child has ended. The first failure, of a child or of the block
itself, calls off all the others, and all failures come out together in an ExceptionGroup. Calling off is level
triggered: a child that swallows `Cancelled` meets it again at its next switch (see `timeout.py`).

What ends a greenthread from outside (a kill, the end of an outer scope) is no failure: it calls the children off and
passes on as it is once they have ended, unless some of them failed.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, Self

from greenprobe.arguments import not_callable
from greenprobe.errors import Cancelled, GreenletExit
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.outcome import AsyncResult
from greenprobe.timeout import CancelScope
from greenprobe.waitqueue import WaitQueue

__all__ = ["TaskGroup"]

P = ParamSpec("P")


class TaskGroup:
    """A block and the greenthreads spawned in it. Used once, as a context manager; groups nest.

    Raises an ExceptionGroup of what failed when the block is left; a BaseExceptionGroup if not all are Exceptions.
    """

    def __init__(self) -> None:
        self._scope = CancelScope()
        self._children: dict[GreenThread, CancelScope] = {}
        self._starting: dict[GreenThread, AsyncResult[Any]] = {}
        self._errors: list[BaseException] = []
        self._joiner = WaitQueue()
        self._open = False

    def __repr__(self) -> str:
        return f"<TaskGroup of {len(self._children)}{' called off' if self.cancel_called else ''}>"

    def __enter__(self) -> Self:
        self._scope.__enter__()
        self._open = True
        return self

    @property
    def cancel_called(self) -> bool:
        """Whether the group was called off, by `cancel` or by a failure."""
        return self._scope.cancel_called

    def cancel(self) -> None:
        """Call the block and all children off; those that have not started never run. No failure."""
        self._scope.cancel()
        for child, scope in list(self._children.items()):
            scope.cancel()
            child.cancel()

    # -- children

    def spawn(self, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> GreenThread:
        """Run a function in a new child, from the next turn on; return it. Its value is None if it is called off.

        Children may spawn more of them, as long as the block is not left.
        """
        return self._add(function, args, kwargs)

    def start(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run `function(*args, ready=..., **kwargs)` in a new child, wait until it calls `ready(value)`, return value.

        If it fails before that, its exception is raised here; if it just ends, RuntimeError.
        """
        started: AsyncResult[Any] = AsyncResult()

        def ready(value: Any = None) -> None:
            started.set(value)

        child = self._add(function, args, {**kwargs, "ready": ready})
        self._starting[child] = started
        try:
            started.join()
        except BaseException:
            if child in self._children:
                self._children[child].cancel()
            raise
        finally:
            self._starting.pop(child, None)
        return started.wait()

    def _add(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> GreenThread:
        if not self._open:
            raise RuntimeError(f"{self!r} takes no children outside of its block; spawn inside of `with TaskGroup()`")
        if not callable(function):
            raise not_callable(function)
        scope = CancelScope()
        child = spawn(run_in_scope, scope, function, args, kwargs)
        self._children[child] = scope
        child.link(self._ended)
        if self.cancel_called:
            scope.cancel()
        return child

    def _ended(self, child: GreenThread) -> None:
        del self._children[child]
        error = child.exception
        started = self._starting.pop(child, None)
        if started is not None and not started.ready():
            started.set_exception(reason_not_to_be_ready(error))
        elif error is not None and not isinstance(error, GreenletExit):
            self._errors.append(error)
            self.cancel()
        if not self._children:
            self._joiner.wake_all()

    # -- the end of the block

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        called_off = self._scope.__exit__(kind, error, traceback)
        if error is not None:
            self.cancel()
        raised = [] if error is None or called_off else [error]
        raised += self._wait_for_children()
        self._open = False
        errors, self._errors = self._errors, []
        if not errors and not any(isinstance(each, Exception) for each in raised):
            return called_off if not raised else self._pass_on(raised[0], error)
        failures = [each for each in raised if not isinstance(each, (Cancelled, GreenletExit))] + errors
        raise BaseExceptionGroup(f"{len(failures)} failed in a task group", failures) from None

    @staticmethod
    def _pass_on(first: BaseException, error: BaseException | None) -> bool:
        if first is error:
            return False
        raise first

    def _wait_for_children(self) -> list[BaseException]:
        """Wait until every child has ended, come what may. Return what was thrown in meanwhile."""
        interruptions: list[BaseException] = []
        while self._children:
            try:
                with CancelScope(shield=self.cancel_called):  # called off they end soon, and must be waited for
                    self._wait_once()
            except BaseException as error:
                interruptions.append(error)
                self.cancel()
        return interruptions

    def _wait_once(self) -> None:
        waiter = self._joiner.enrol()
        try:
            if self._children:
                waiter.wait()
        finally:
            self._joiner.withdraw(waiter)


def run_in_scope(
    scope: CancelScope, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a function in a scope; None if it is called off."""
    with scope:
        return function(*args, **kwargs)
    return None


def reason_not_to_be_ready(error: BaseException | None) -> BaseException:
    """Return what `start` raises for a child that ended before it was ready."""
    if error is not None and not isinstance(error, GreenletExit):
        return error
    return RuntimeError("the child ended before it called ready(); call it once, when others may go on")
