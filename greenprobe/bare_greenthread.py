"""Greenthreads whose outcome nobody wants: what `spawn_n` starts, and how their greenlets are used again.

Facts. When a greenlet calls its first Python function, CPython maps 16 KiB for its frames, and it unmaps them when the
greenlet ends: six microseconds, more than all the rest of a short greenthread. Failure: a pool that runs a short
function for each of a million items spends most of its own time there. Choice: a bare greenthread whose function is
over rests, parked in the loop, and `spawn_n` gives it the next function; its frames stay mapped. Nobody can tell it
from a new one, because only one that nobody else refers to is used again: its own frames let go of it while it rests.
One that somebody does refer to says that it is dead, and ends.
Price: up to MAX_RESTING greenlets of 6 KiB a hub, and a frame more than the function needs.
"""

from _thread import get_ident
from collections.abc import Callable
from contextvars import copy_context
from sys import getrefcount
from typing import Any, Final, Protocol
from weakref import getweakrefcount

from greenlet import getcurrent, greenlet

from greenprobe.arguments import as_exception
from greenprobe.hub import Hub

__all__ = ["BareGreenThread", "bare_greenthread", "throw_soon"]

MAX_RESTING: Final = 256  # a hub


class Place(Protocol):
    """What a bare greenthread takes up until its function is over: a place in a pool."""

    def _leave(self, green: greenlet) -> None: ...


class BareGreenThread(greenlet):
    """A greenthread that keeps nothing. Made by `spawn_n`; it may run several functions, one after the other.

    `function` is what it is to run, None once it runs, `nothing` if it was called off, `resting` while it rests.
    """

    __slots__ = ("args", "function", "hub", "kwargs", "place")
    function: Callable[..., Any] | None
    args: tuple[Any, ...] | None
    kwargs: dict[str, Any] | None
    place: Place | None

    def __init__(self, hub: Hub) -> None:
        super().__init__(live, hub.loop)
        self.hub = hub

    @property
    def started(self) -> bool:
        """Whether its function has begun to run."""
        return self.function is None or self.function is resting

    @property
    def dead(self) -> bool:
        """Whether its function is over."""
        return self.function is resting or is_dead(self)

    def kill(self, error: BaseException | type[BaseException] | None = None) -> None:
        """Have `error` (GreenletExit unless given) raised in it, where it waits; unstarted, it never runs.

        Over, nothing happens. Any OS thread may call this.
        """
        error = as_exception(error)
        if get_ident() != self.hub.thread_id:
            self.hub.call_threadsafe(self.kill, error)
        elif not self.started:
            self.function, self.args, self.kwargs = nothing, (), {}
        elif not self.dead:
            throw_soon(self.hub, self, error)


is_dead: Final = greenlet.dead.__get__


def bare_greenthread(
    hub: Hub, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], place: Place | None = None
) -> BareGreenThread:
    """Return a bare greenthread that will run `function(*args, **kwargs)` once it is queued."""
    context = copy_context()
    green = rested(hub) if hub.resting else None
    if green is not None:
        green.gr_context = context if len(context) else None
    else:
        green = BareGreenThread(hub)
        if len(context):  # else greenlet makes an empty one at the first use
            green.gr_context = context
    green.function = function
    green.args = args
    green.kwargs = kwargs
    green.place = place
    return green


def rested(hub: Hub) -> BareGreenThread | None:
    """Return one that rests and that nobody else refers to; those met that somebody does refer to end."""
    while hub.resting:
        green: BareGreenThread = hub.resting.pop()
        if getrefcount(green) == UNHELD and not getweakrefcount(green):
            return green
        green.function = None
        hub.ready.append(green)
    return None


def unheld() -> int:
    """Return the reference count of what only a local variable refers to, as this Python counts."""
    thing = object()
    return getrefcount(thing)


UNHELD: Final = unheld()


def live() -> None:
    """Run one function after the other. What a function raises ends the greenlet, and is the loop's to tell."""
    me: Any
    while True:
        me = getcurrent()
        function, args, kwargs = me.function, me.args, me.kwargs
        me.function = me.args = me.kwargs = None
        try:
            if kwargs or len(args) > 1:
                function(*args, **kwargs)
            elif args:
                function(args[0])
            else:
                function()
        finally:
            if me.place is not None:
                me.place._leave(me)
                me.place = None
        if not may_rest(me):
            return
        hub = me.hub
        del me, function, args, kwargs
        if not rest(hub):
            return


def may_rest(me: BareGreenThread) -> bool:
    """Tell whether there is room to rest, and whether this one would be as good as new."""
    return len(me.hub.resting) < MAX_RESTING and me.parent is me.hub.loop and not getweakrefcount(me)


def rest(hub: Hub) -> bool:
    """Rest until there is another function (True), or somebody was found to hold the current greenlet (False)."""
    me: Any = getcurrent()
    vars(me).clear()
    me.function = resting
    hub.resting.append(me)
    del me
    try:
        while getcurrent().function is resting:  # type: ignore[attr-defined]
            hub.loop.switch()  # not `hub.switch`: who hops holds a reference to whom it hopped to
    except BaseException:
        if getcurrent() in hub.resting:  # thrown at by whoever holds it
            hub.resting.remove(getcurrent())
        raise
    return getcurrent().function is not None  # type: ignore[attr-defined]


def resting() -> None:
    """Stand for no function, in a bare greenthread that rests."""


def nothing() -> None:
    """Do nothing."""


# -- raising in another greenlet


def throw_soon(hub: Hub, green: greenlet, error: BaseException) -> None:
    """Raise `error` in `green` when the loop comes to it, or now if it is the current greenlet."""
    if green is getcurrent():
        raise error
    hub.call_threadsafe(throw, green, error)


def throw(green: greenlet, error: BaseException) -> None:
    """Raise `error` in a greenlet unless it has ended by now. Called by the loop."""
    if not green.dead:
        green.throw(error)
