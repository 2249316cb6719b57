"""Timers of a hub, as eventlet's callers hold them: a call at a time, that can be cancelled."""

from collections.abc import Callable
from typing import Any
from weakref import ref

from greenlet import getcurrent

from greenprobe.hub import Hub, get_hub
from greenprobe.timers import Timer as CoreTimer

__all__ = ["LocalTimer", "Timer"]


class Timer:
    """A call of `cb(*args, **kw)` by the hub, `seconds` after `schedule()`.

    No time at all stands for the end of the run queue, so that calls and greenthreads run in the order they came.
    """

    def __init__(self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any) -> None:
        self.seconds = seconds
        self.tpl = cb, args, kw
        self.called = False
        self.scheduled_time = 0.0
        self._timer: CoreTimer | None = None

    def __repr__(self) -> str:
        state = "over" if self.called else "pending"
        return f"<{type(self).__name__} {self.seconds} s {self.tpl[0]!r} {state}>"

    @property
    def pending(self) -> bool:
        """Whether the call will still be made."""
        return not self.called

    def schedule(self, hub: Hub | None = None) -> "Timer":
        """Let the time run, on the hub of this thread unless given; return self."""
        hub = hub if hub is not None else get_hub()
        self.called = False
        self.scheduled_time = hub.clock() + self.seconds
        if self.seconds > 0:
            self._timer = hub.timers.add(self.scheduled_time, self)
        else:
            hub.call_threadsafe(self)
        return self

    def __call__(self, *_: Any) -> None:
        if self.called:
            return
        self.called = True
        cb, args, kw = self.tpl
        cb(*args, **kw)

    def cancel(self) -> None:
        """See to it that the call is not made. Does nothing if it was, or will not be."""
        self.called = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def copy(self) -> "Timer":
        """Return a timer of the same call, not scheduled."""
        cb, args, kw = self.tpl
        return type(self)(self.seconds, cb, *args, **kw)

    def __lt__(self, other: "Timer") -> bool:
        return self.scheduled_time < other.scheduled_time


class LocalTimer(Timer):
    """A timer whose call is only made if the greenlet that made it still lives then."""

    def __init__(self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any) -> None:
        super().__init__(seconds, cb, *args, **kw)
        self._maker = ref(getcurrent())

    @property
    def pending(self) -> bool:
        """Whether the call will still be made."""
        return not self.called and self._lives()

    def _lives(self) -> bool:
        maker = self._maker()
        return maker is not None and not maker.dead

    def __call__(self, *_: Any) -> None:
        if self._lives():
            super().__call__()
        self.called = True
