"""eventlet.greenthread: spawn, wait, link; and a `kill` that raises in the killed one before it returns.

The greenthreads are greenprobe's. What differs is eventlet's: `kill` switches to the killed one at once and comes back
after whoever else was about to run; what a greenthread dies of is printed, whether or not somebody waits for it.
"""

from _thread import get_ident
from collections.abc import Callable, Generator
from functools import partial
from importlib import import_module
from typing import Any
from warnings import warn
from weakref import ref

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe import greenthread as core
from greenprobe.bare_greenthread import BareGreenThread
from greenprobe.compat.eventlet.hubs.hub import get_hub as get_face
from greenprobe.compat.eventlet.hubs.timer import Timer
from greenprobe.compat.eventlet.timeout import Timeout, with_timeout
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import PENDING

__all__ = [
    "GreenThread",
    "getcurrent",
    "kill",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_after_local",
    "spawn_n",
    "with_timeout",
]

UNREPORTED = (GreenletExit, KeyboardInterrupt, SystemExit)


class GreenThread(core.GreenThread):
    """A function that runs in a greenlet of its own, and its outcome. Made by `spawn`."""

    __slots__ = ()

    def _announce(self) -> None:
        super()._announce()
        error = self.exception
        if error is not None and not isinstance(error, UNREPORTED):
            self._hub.on_error(error)

    def link(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call `callback(self, *args, **kwargs)` in it when it ends; now if it has; next if called by a link of it."""
        if self._state != PENDING and self._links is not None and getcurrent() is self:
            self._links.append((callback, args, kwargs))
        else:
            super().link(callback, *args, **kwargs)

    def kill(self, *throw_args: Any) -> None:
        """Raise GreenletExit, or what is given, in it now; come back after whoever else was about to run."""
        kill(self, *throw_args)

    def cancel(self, *throw_args: Any) -> None:  # type: ignore[override]
        """Kill it only if it has not started."""
        cancel(self, *throw_args)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for it in a coroutine. Raises RuntimeError unless an asyncio loop runs it in a greenthread."""
        # By name, and now: who awaits has asyncio loaded, and nobody else is to wait for its import.
        return import_module("greenprobe.aio").as_future(self).__await__()  # type: ignore[no-any-return]


def spawn(func: Callable[..., Any], *args: Any, **kwargs: Any) -> GreenThread:
    """Run `func(*args, **kwargs)` in a new greenthread, from the next turn of the hub on; return it."""
    hub = get_hub()
    green = core.unstarted(GreenThread, hub, func, args, kwargs)
    hub.ready.append(green)
    return green


spawn_n = core.spawn_n


def spawn_after(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> GreenThread:
    """Run a function in a new greenthread, `seconds` from now; `cancel` it before that and it never runs."""
    hub = get_hub()
    green = core.unstarted(GreenThread, hub, func, args, kwargs)
    start_later(hub, green, seconds, green)
    return green


def spawn_after_local(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> GreenThread:
    """Do as `spawn_after`, unless the current greenthread is dead by then."""
    hub = get_hub()
    green = core.unstarted(GreenThread, hub, func, args, kwargs)
    start_later(hub, green, seconds, green, ref(getcurrent()))
    return green


def start_later(
    hub: Hub, link_from: GreenThread, seconds: float, green: greenlet, maker: "ref[greenlet] | None" = None
) -> None:
    """Queue a greenthread `seconds` from now, unless it is killed before, or its maker dead by then."""
    timer = hub.timers.add(hub.clock() + seconds, start, hub, green, maker)
    link_from.link(lambda _: timer.cancel())


def start(hub: Hub, green: greenlet, maker: "ref[greenlet] | None") -> None:
    """Queue a greenthread, unless its maker is dead. Called by the loop."""
    if maker is not None:
        made_by = maker()
        if made_by is None or made_by.dead:
            return
    hub.schedule(green)


def sleep(seconds: float = 0) -> None:
    """Let others run for `seconds`. In the hub's own greenlet 0 does nothing, and more raises RuntimeError."""
    hub = get_hub()
    if getcurrent() is not hub.loop:
        hub.sleep(max(0, seconds))
    elif seconds > 0:
        raise RuntimeError("a callback of the hub cannot sleep; spawn a greenthread for what takes time")


# -- kill


def kill(g: greenlet, *throw_args: Any) -> None:
    """Raise GreenletExit, or what is given, in a greenlet now; come back after whoever else was about to run.

    One that has not started never runs its function, and `wait` raises the exception. For a dead one nothing happens.
    In the hub's own greenlet this comes back when the killed one waits or is over. From another OS thread it does
    not wait.
    """
    if g.dead:
        return
    error = as_exception(*throw_args)
    hub = get_hub()
    me = getcurrent()
    if isinstance(g, core.GreenThread) and g._hub.thread_id != get_ident():
        core.GreenThread.kill(g, error)
        return
    if g is me:
        raise error
    if me is hub.loop:
        strike(g, error)
        return
    hub.ready.append(me)
    try:
        strike(g, error)
    except BaseException:
        hub.forget(me)
        raise


def strike(g: greenlet, error: BaseException) -> None:
    """Switch to a greenlet and raise `error` there, instead of its function if it has not started."""
    if isinstance(g, BareGreenThread) and not g.started:
        g.kill(error)
        g.switch()
    elif g:
        g.throw(error)
    else:
        if isinstance(g, core.GreenThread):
            g._function = partial(raise_it, error)
            g._args, g._kwargs = (), {}
        else:
            g.run = partial(raise_it, error)
        g.switch()


def raise_it(error: BaseException, *_: Any, **__: Any) -> None:
    """Raise an exception."""
    raise error


def as_exception(kind: Any = None, value: Any = None, traceback: Any = None) -> BaseException:
    """Return the exception that the arguments of `throw` stand for: GreenletExit, an instance, or a class and more."""
    if kind is None:
        return GreenletExit()
    if isinstance(kind, BaseException):
        return kind
    if isinstance(value, BaseException):
        error = value
    elif value is None:
        error = kind()
    else:
        error = kind(*value) if isinstance(value, tuple) else kind(value)
    return error.with_traceback(traceback) if traceback is not None else error


def cancel(g: greenlet, *throw_args: Any) -> None:
    """Kill a greenthread only if it has not started."""
    if not (g.started if isinstance(g, core.GreenThread | BareGreenThread) else g):
        kill(g, *throw_args)


# -- deprecated


def call_after_global(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Timer:
    """Run a function in a new greenthread later; return what can be cancelled. Deprecated: use `spawn_after`."""
    warn("call_after_global is deprecated; use spawn_after", DeprecationWarning, stacklevel=2)
    return get_face().schedule_call_global(seconds, spawn_n, func, *args, **kwargs)


def call_after_local(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Timer:
    """Do as `call_after_global`, unless the current greenthread is dead by then. Deprecated: `spawn_after_local`."""
    warn("call_after_local is deprecated; use spawn_after_local", DeprecationWarning, stacklevel=2)
    return get_face().schedule_call_local(seconds, spawn_n, func, *args, **kwargs)


call_after = call_after_local


def exc_after(seconds: float, *throw_args: Any) -> Timer:
    """Raise an exception in the current greenthread later; return what can be cancelled. Deprecated: use `Timeout`."""
    warn("exc_after is deprecated; use Timeout(seconds, exception)", DeprecationWarning, stacklevel=2)
    return get_face().schedule_call_local(seconds, getcurrent().throw, *throw_args)


TimeoutError = Timeout  # eventlet's name
