"""A deadline around a block of code: `Timeout`, and the cancel scopes behind `move_on_after` and `fail_after`.

Two kinds, for two kinds of callers.

`Timeout` is eventlet's: an exception that is thrown once into the greenthread that started it. Whoever swallows it has
swallowed it.

A `CancelScope` is a state: from its deadline on, the block is over, and every switch inside it raises `Cancelled`,
again and again until the block is left; the scope then swallows its own exception. Scopes nest, and the outermost
that is over wins: its exception passes through the inner ones. A shielded scope keeps what is outside from reaching
in, for clean-up that has to wait (give it a deadline of its own).

How a greenthread learns of it. One that is parked has `Cancelled` thrown in by the loop. One that runs finds out at its
next switch: the hub counts the scopes that are over and not yet left (`Hub.overdue`), and looks at the current
greenthread's only while there are any. So scopes cost the hot path one test of an integer. `Cancelled` is then raised
in place of the switch. Who swallows it in an endless loop would starve everybody, and keep an outer deadline from being
noticed: once in PATIENCE times the others run.
"""

from math import inf
from types import TracebackType
from typing import Any, Final, Self

from greenlet import getcurrent, greenlet

from greenprobe.errors import Cancelled, HubError
from greenprobe.hub import Hub, get_hub
from greenprobe.timers import Timer

__all__ = ["CancelScope", "Timeout", "fail_after", "move_on_after", "with_timeout"]

PATIENCE: Final = 16

Instead = BaseException | type[BaseException] | bool | None


class Timeout(BaseException):
    """Raised in the greenthread that made it, `seconds` from then, unless it is cancelled before.

    `seconds` None never fires. `exception` is raised in its place, if it is an exception; False raises the Timeout
    itself, and leaving a `with` block by it is then silent. A context manager; the clock runs from the construction.
    """

    __slots__ = ("_timer", "exception", "seconds")

    def __init__(self, seconds: float | None = None, exception: Instead = None) -> None:
        if exception is not None:
            refuse_odd(exception)
        self.seconds = seconds
        self.exception = exception
        self._timer: Timer | None = None
        if seconds is not None:
            self._start(seconds)

    @property
    def pending(self) -> bool:
        """Whether it will still fire."""
        return self._timer is not None and self._timer.callback is not None

    def start(self) -> None:
        """Start the clock again. Raises RuntimeError if it runs."""
        if self._timer is not None and self._timer.callback is not None:
            raise RuntimeError(f"{self!r} is running; cancel it before you start it again")
        if self.seconds is not None:
            self._start(self.seconds)

    def _start(self, seconds: float) -> None:
        hub = get_hub()
        green = getcurrent()
        if green is hub.loop:
            raise HubError("a callback of the hub cannot have a timeout, as it must not wait")
        self._timer = hub.timers.add(hub.clock() + seconds, self._fire, green)

    def _fire(self, green: greenlet) -> None:
        if not green.dead:
            green.throw(self if self.exception is None or isinstance(self.exception, bool) else self.exception)

    def cancel(self) -> None:
        """Do not fire. Does nothing if it has fired or was cancelled."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        if self._timer is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.cancel()
        return error is self and self.exception is False

    def __str__(self) -> str:
        if self.seconds is None:
            return "no timeout"
        return f"{self.seconds:g} second{'' if self.seconds == 1 else 's'}"

    def __repr__(self) -> str:
        return f"<Timeout {self}{' pending' if self.pending else ''}>"


def refuse_odd(instead: Instead) -> None:
    """Raise TypeError for what can neither be raised nor tells whether to be silent."""
    kind = instead if isinstance(instead, type) else type(instead)
    if not issubclass(kind, (BaseException, bool)):
        raise TypeError(f"a timeout cannot raise {instead!r}; give an exception, or False to be silent")


def with_timeout(seconds: float | None, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call `function(*args, **kwargs)`; raise Timeout after `seconds`, or return `timeout_value` if that is given."""
    fallback = "timeout_value" in kwargs
    value = kwargs.pop("timeout_value", None)
    timeout = Timeout(seconds)
    try:
        return function(*args, **kwargs)
    except Timeout as error:
        if error is timeout and fallback:
            return value
        raise
    finally:
        timeout.cancel()


class CancelScope:
    """A block that can be called off: by its deadline, or by `cancel()`. Used once, as a context manager.

    `deadline` is absolute, in the hub's clock. `cancel_called` tells that it is over, `cancelled_caught` that the block
    was left for that reason.
    """

    __slots__ = (
        "_counted",
        "_entered",
        "_green",
        "_hub",
        "_outer",
        "_raised",
        "_timer",
        "cancel_called",
        "cancelled_caught",
        "deadline",
        "shield",
    )

    def __init__(self, *, deadline: float = inf, shield: bool = False) -> None:
        if not deadline <= inf:  # before the block is entered: it could not be left
            raise ValueError(f"a deadline at {deadline!r}; give a time of the hub's clock")
        self.deadline = deadline
        self.shield = shield
        self.cancel_called = False
        self.cancelled_caught = False
        self._entered = False
        self._counted = False
        self._green: greenlet | None = None
        self._outer: CancelScope | None = None
        self._raised = 0
        self._timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} deadline={self.deadline:g}{' over' if self.cancel_called else ''}>"

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError(f"{self!r} was used before; make a new one for each block")
        self._entered = True
        self._hub: Hub = get_hub()
        self._green = green = getcurrent()
        self._outer = innermost(green)
        green._greenprobe_scope = self  # type: ignore[attr-defined]
        if self.cancel_called or (self.deadline != inf and self.deadline <= self._hub.clock()):
            self.cancel_called = True
            self._count()
        elif self.deadline != inf:
            self._timer = self._hub.timers.add(self.deadline, self._expire, green)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        green, self._green = self._green, None
        assert green is not None
        self._unlink(green)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._counted:
            self._counted = False
            self._hub_now().overdue -= 1
        if isinstance(error, Cancelled) and error.args == (self,):
            self.cancelled_caught = True
            return self._caught(error)
        return False

    def _unlink(self, green: greenlet) -> None:
        """Leave the scopes of `green`; a generator may leave its block while one that began later goes on."""
        inner = innermost(green)
        if inner is self:
            green._greenprobe_scope = self._outer  # type: ignore[attr-defined]
        else:
            while inner is not None and inner._outer is not self:
                inner = inner._outer
            if inner is not None:
                inner._outer = self._outer
        self._outer = None

    def _caught(self, error: Cancelled) -> bool:
        """Decide what leaves the block in place of our own Cancelled."""
        return True

    def cancel(self) -> None:
        """Call the block off: whoever is in it gets Cancelled now, or at its next switch. Any OS thread may call it."""
        if self.cancel_called:
            return
        self.cancel_called = True
        green = self._green
        if green is None:
            return
        hub = self._hub_now()
        current = getcurrent()
        if current is hub.loop:
            self._count()
            self._deliver()
        elif current is green:
            self._count()
        else:
            hub.call_threadsafe(self._count_and_deliver)

    def _hub_now(self) -> Hub:
        if self._hub.closed:  # the block was entered before a fork
            self._hub = get_hub()
        return self._hub

    def _expire(self, green: greenlet) -> None:
        self.cancel()

    def _count(self) -> None:
        if self._green is not None and not self._counted:
            self._counted = True
            self._hub.check_overdue = raise_if_over
            self._hub.overdue += 1

    def _count_and_deliver(self) -> None:
        self._count()
        self._deliver()

    def _deliver(self) -> None:
        green = self._green
        if green is not None and not green.dead and outermost_over(green) is self:
            green.throw(Cancelled(self))


class FailScope(CancelScope):
    """A cancel scope that raises TimeoutError when its block was called off."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float, *, deadline: float, shield: bool) -> None:
        super().__init__(deadline=deadline, shield=shield)
        self.seconds = seconds

    def _caught(self, error: Cancelled) -> bool:
        raise TimeoutError(f"not done within {self.seconds:g} s") from None


def move_on_after(seconds: float | None, *, shield: bool = False) -> CancelScope:
    """Return a scope that leaves its block `seconds` from now, silently; see `cancelled_caught`. None: never.

    With `shield` the deadlines of outer scopes wait until the block is left. Raises ValueError for less than 0.
    """
    return CancelScope(deadline=deadline_in(seconds), shield=shield)


def fail_after(seconds: float | None, *, shield: bool = False) -> CancelScope:
    """Return a scope that leaves its block `seconds` from now by raising TimeoutError. None: never.

    With `shield` the deadlines of outer scopes wait until the block is left. Raises ValueError for less than 0.
    """
    if seconds is None:
        return CancelScope(shield=shield)
    return FailScope(seconds, deadline=deadline_in(seconds), shield=shield)


def deadline_in(seconds: float | None) -> float:
    """Return the deadline `seconds` from now. Raises ValueError for a negative time or NaN."""
    if seconds is None:
        return inf
    if not seconds >= 0:
        raise ValueError(f"a deadline {seconds!r} s from now; give 0 or more")
    return get_hub().clock() + seconds


def innermost(green: greenlet) -> CancelScope | None:
    """Return the innermost scope that a greenlet is in."""
    scope: CancelScope | None = getattr(green, "_greenprobe_scope", None)
    return scope


def outermost_over(green: greenlet) -> CancelScope | None:
    """Return the outermost scope of `green` that is over and that no shield keeps out."""
    found = None
    scope = innermost(green)
    while scope is not None:
        if scope.cancel_called:
            found = scope
        if scope.shield:
            break
        scope = scope._outer
    return found


def raise_if_over() -> None:
    """Raise Cancelled in the current greenthread if one of its scopes is over. Called at its switches."""
    scope = outermost_over(getcurrent())
    if scope is None:
        return
    scope._raised += 1
    if not scope._raised % PATIENCE:
        get_hub().give_way()
    raise Cancelled(scope)
