"""The hub of a thread as eventlet's callers see it: timers, listeners, `switch`. A face on greenprobe's hub."""

from _thread import _local
from collections.abc import Callable
from errno import EBADF, ENOTCONN
from typing import Any, Final

from greenlet import getcurrent, greenlet

from greenprobe.compat.eventlet.hubs.levels import IOClosed, notify_close, refuse_hub_switch, wait_for_level
from greenprobe.compat.eventlet.hubs.timer import LocalTimer, Timer
from greenprobe.debug import allow_multiple_waiters
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub as CoreHub, get_hub as get_core
from greenprobe.poller import Mark

__all__ = ["READ", "WRITE", "BaseHub", "FdListener", "Hub", "get_hub"]

READ: Final = "read"
WRITE: Final = "write"


class FdListener:
    """A callback for a descriptor that is ready. Made by `hub.add`; `hub.remove` ends it."""

    def __init__(
        self,
        evtype: str,
        fileno: int,
        cb: Callable[..., Any],
        tb: Callable[..., Any],
        mark_as_closed: Callable[[], Any] | None,
    ) -> None:
        self.evtype = evtype
        self.fileno = fileno
        self.cb = cb
        self.tb = tb
        self.mark_as_closed = mark_as_closed
        self.spent = False
        self.greenlet = getcurrent()
        self.watcher: greenlet | None = None

    def __repr__(self) -> str:
        return f"FdListener({self.evtype!r}, {self.fileno}, {self.cb!r}, {self.tb!r})"

    def defang(self) -> None:
        """Let it do nothing from now on."""
        self.spent = True
        self.cb = self.tb = nothing


class Hub:
    """What `get_hub()` returns. `greenlet` is the loop that runs everybody else."""

    READ = READ
    WRITE = WRITE
    SYSTEM_EXCEPTIONS = (KeyboardInterrupt, SystemExit)

    def __init__(self, core: CoreHub) -> None:
        self._core = core
        self._listeners: dict[tuple[str, int], list[FdListener]] = {}
        self._reporter = core.on_error
        self._debug_exceptions = True

    def __repr__(self) -> str:
        return f"<eventlet's face of {self._core!r}>"

    # -- switching

    @property
    def greenlet(self) -> Any:
        """The greenlet of the loop."""
        return self._core.loop

    def switch(self) -> Any:
        """Park the current greenthread until somebody switches to it; return what was passed."""
        refuse_hub_switch(self._core)
        return self._core.switch()

    def ensure_greenlet(self) -> None:
        """Do nothing: the loop is always there."""

    def run(self, *a: Any, **kw: Any) -> None:
        """Run everybody else, as `switch` does. Raises RuntimeError in the loop itself, which runs already."""
        if getcurrent() is self._core.loop:
            raise RuntimeError("the hub runs already")
        self.switch()

    def abort(self, wait: bool = False) -> None:
        """Forget every timer and listener, and who is about to run when this turn ends; `wait` until that is done.

        Who waits never runs again, unless something that is started later wakes him.
        """
        core = self._core
        me = getcurrent()
        core.call_threadsafe(self._forget, me if wait else None)
        if wait:
            refuse_hub_switch(core)
            core.switch()

    def _forget(self, aborter: Any) -> None:
        core = self._core
        core.timers.clear()
        while core.ready:
            core.ready.popleft()
        for listeners in list(self._listeners.values()):
            for listener in list(listeners):
                self.remove(listener)
        if aborter is not None:
            core.ready.append(aborter)

    # -- timers

    @property
    def clock(self) -> Callable[[], float]:
        """What the time is read from, in monotonic seconds."""
        return self._core.clock

    def schedule_call_global(self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any) -> Timer:
        """Call `cb(*args, **kw)` in the loop, `seconds` from now; it must not wait."""
        return self.add_timer(Timer(seconds, cb, *args, **kw))

    def schedule_call_local(self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any) -> Timer:
        """Do as `schedule_call_global`, unless the current greenlet is dead by then."""
        return self.add_timer(LocalTimer(seconds, cb, *args, **kw))

    def add_timer(self, timer: Timer) -> Timer:
        """Let a timer's time run on this hub."""
        return timer.schedule(self._core)

    def timer_canceled(self, timer: Timer) -> None:
        """Do nothing: cancelled timers are looked after by the core."""

    def get_timers_count(self) -> int:
        """Return how many timers run."""
        return len(self._core.timers)

    # -- descriptors

    def add(
        self,
        evtype: str,
        fileno: int,
        cb: Callable[..., Any],
        tb: Callable[..., Any],
        mark_as_closed: Callable[[], Any] | None,
    ) -> FdListener:
        """Call `cb(fileno)` in the loop whenever a descriptor is ready, until `remove`.

        If it is closed, `mark_as_closed()` and `tb(IOClosed)` are called. Raises RuntimeError if there is a listener
        of that kind and several are not allowed (`debug.hub_prevent_multiple_readers`).
        """
        listener = FdListener(evtype, fileno, cb, tb, mark_as_closed)
        listeners = self._listeners.setdefault((evtype, fileno), [])
        if listeners and not self._core.poller.share_all:
            raise RuntimeError(
                f"a second listener to {evtype} fd {fileno}: {listener!r} beside {listeners[0]!r}; give each "
                "greenthread its own socket, or see debug.hub_prevent_multiple_readers"
            )
        listeners.append(listener)
        listener.watcher = spawn_n(self._watch, listener)
        return listener

    def _watch(self, listener: FdListener) -> None:
        """Wait for a descriptor on behalf of a listener, as often as it is ready."""
        core = self._core
        while not listener.spent:
            try:
                wait_for_level(core, listener.fileno, writing=listener.evtype == WRITE)
            except OSError as error:
                if error.errno != EBADF:
                    raise
                self._take_out(listener)
                core.call_threadsafe(self._closed, listener)
                return
            core.call_threadsafe(self._call, listener)
            core.sleep()  # the callback runs before this comes back

    def _call(self, listener: FdListener) -> None:
        if not listener.spent:
            listener.cb(listener.fileno)

    def _closed(self, listener: FdListener) -> None:
        if listener.spent:
            return
        listener.spent = True
        if listener.mark_as_closed is not None:
            listener.mark_as_closed()
        listener.tb(IOClosed(ENOTCONN, "Operation on closed file"))

    def _take_out(self, listener: FdListener) -> None:
        key = listener.evtype, listener.fileno
        listeners = self._listeners.get(key, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(key, None)

    def remove(self, listener: FdListener) -> None:
        """End a listener."""
        self._take_out(listener)
        listener.defang()
        watcher, listener.watcher = listener.watcher, None
        if watcher is not None and watcher is not getcurrent():
            kill(watcher)

    def remove_descriptor(self, fileno: int) -> None:
        """End all listeners of a descriptor and wake who waits for it: they are told that it is closed."""
        notify_close(fileno)

    def notify_close(self, fileno: int) -> None:
        """Say that a descriptor is closed."""
        notify_close(fileno)

    def mark_as_reopened(self, fileno: int) -> None:
        """Say that a number stands for a new descriptor."""
        notify_close(fileno)

    def get_readers(self) -> list[FdListener]:
        """Return a listener for each wait to read."""
        return self._waits(READ)

    def get_writers(self) -> list[FdListener]:
        """Return a listener for each wait to write."""
        return self._waits(WRITE)

    def _waits(self, evtype: str) -> list[FdListener]:
        found = [each for (kind, _), listeners in self._listeners.items() if kind == evtype for each in listeners]
        watchers = {listener.watcher for listener in found}
        for fd, slot in list(self._core.poller.slots.items()):
            waiter = (slot.read if evtype == READ else slot.write).waiter
            if waiter is not None and not isinstance(waiter, Mark) and waiter not in watchers:
                found.append(FdListener(evtype, fd, waiter.switch, waiter.throw, None))
        return found

    # -- debugging

    @property
    def debug_exceptions(self) -> bool:
        """Whether what greenthreads and timers die of is printed."""
        return self._debug_exceptions

    @debug_exceptions.setter
    def debug_exceptions(self, value: bool) -> None:
        self.set_timer_exceptions(value)

    def set_timer_exceptions(self, value: bool) -> None:
        """Print what greenthreads and timers die of, or not."""
        self._debug_exceptions = bool(value)
        self._core.on_error = self._reporter if value else nothing

    def prevent_multiple_readers(self, value: bool) -> None:
        """Refuse a second waiter for one side of a descriptor, or allow it."""
        allow_multiple_waiters(not value)


BaseHub = Hub  # what hubs of others are classes of


def nothing(*_: Any) -> None:
    """Do nothing."""


_here = _local()


def get_hub() -> Hub:
    """Return the hub of the current OS thread, the same one at each call."""
    core = get_core()
    face: Hub | None = getattr(_here, "face", None)
    if face is None or face._core is not core:  # a forked child has a new one
        face = _here.face = Hub(core)
    return face
