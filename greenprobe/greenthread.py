"""A function that runs in a greenlet of its own: spawn, wait, link, kill; its context and its parent.

A `GreenThread` is a greenlet whose parent is the hub's loop: when its function ends, the loop goes on. It keeps what
the function returned or raised, for anybody who waits, now or later. `spawn_n` is for those who do not want to know:
nothing is kept, and an exception is printed.

Up to CPython 3.11 a call that unpacks its arguments nests the C stack, and a parked greenlet keeps a copy of that:
0.6 KiB. So functions of no or one argument, which most greenthreads are, are called without a star.
"""

from _thread import get_ident
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import ref

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.arguments import as_exception, not_callable
from greenprobe.bare_greenthread import BareGreenThread, bare_greenthread, throw_soon
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import ERROR, PENDING, VALUE, Outcome, Unasked

__all__ = ["GreenThread", "kill", "sleep", "spawn", "spawn_after", "spawn_n", "unstarted"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

    T_co = DefaultTypeVar("T_co", covariant=True, default=Any)  # so that GreenThread alone is one of anything
else:
    T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")
P = ParamSpec("P")
G = TypeVar("G", bound="GreenThread")


class GreenThread(greenlet, Outcome[T_co]):
    """A running function and its outcome: `wait` for it, `link` to its end, `kill` it. Made by `spawn`.

    It runs in a copy of its spawner's context variables. `spawner` is the greenlet that spawned it, while that exists.
    (greenlet comes first, as it asks at each switch whether this is one, and looks through the classes in order.)
    """

    __slots__ = (
        "_args",
        "_function",
        "_hub",
        "_kwargs",
        "_links",
        "_result",
        "_spawner",
        "_state",
        "_waiters",
    )

    _hub: Hub
    _function: Callable[..., Any] | None
    _args: tuple[Any, ...] | None
    _kwargs: dict[str, Any] | None
    _spawner: "ref[greenlet]"

    def __repr__(self) -> str:
        state = "running" if self else "unstarted" if not self.dead else "over"
        return f"<GreenThread {self.name} {state}>"

    @property
    def name(self) -> str:
        """The name it was given, or one made of its function and its address."""
        given: str | None = vars(self).get("name")  # no slot: few are given one
        return given if given is not None else f"{getattr(self._function, '__qualname__', 'GreenThread')}-{id(self):x}"

    @name.setter
    def name(self, name: str) -> None:
        vars(self)["name"] = name

    @property
    def spawner(self) -> greenlet | None:
        """The greenlet that spawned this one, or None if it is gone."""
        return self._spawner()

    @property
    def started(self) -> bool:
        """Whether its function has begun to run."""
        return bool(self) or self.dead

    def _fail(self, error: BaseException) -> None:
        traceback = error.__traceback__
        if isinstance(error, GreenletExit):
            traceback = None  # it says where the killed one waited, and those frames hold it: a cycle for nothing
        elif traceback is not None:
            traceback = traceback.tb_next  # without our own frame, which holds this greenthread: no cycle
        error.__traceback__ = traceback
        self._function = self._args = self._kwargs = None
        unheard = isinstance(error, (GreenletExit, KeyboardInterrupt, SystemExit))
        self._settle(ERROR, (error, traceback) if unheard else Unasked(error, self._hub.on_error))
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error  # through the loop to the main greenthread

    def kill(self, error: BaseException | type[BaseException] | None = None) -> None:
        """Have `error` (GreenletExit unless given) raised in it, where it waits; does not switch, does not wait.

        Unstarted, it never runs, and `wait` raises the error. Over, nothing happens. In the current greenthread the
        error is raised at once. Any OS thread may call this.
        """
        error = as_exception(error)
        if self._state != PENDING:
            return
        if get_ident() != self._hub.thread_id:
            self._hub.call_threadsafe(self.kill, error)  # there nobody starts it between our look and our act
        elif not self.started:
            self._function = self._args = self._kwargs = None
            self._settle(ERROR, (error, None))
        else:
            throw_soon(self._hub, self, error)

    def cancel(self, error: BaseException | type[BaseException] | None = None) -> bool:
        """Kill it only if it has not started; tell whether it will never run."""
        if self.started:
            return False
        self.kill(error)
        return True


def unstarted(
    kind: type[G], hub: Hub, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> G:
    """Return a greenthread that will run `function(*args, **kwargs)` once it is queued.

    No `__init__`: greenlet's own, which is C, and then these, take a fifth less than one in Python that calls it.
    """
    green = kind(live, hub.loop)  # not a method: a bound one costs 0.2 KiB as long as it runs
    context = copy_context()
    if len(context):  # else greenlet makes an empty one at the first use
        green.gr_context = context
    green._hub = hub
    green._function = function
    green._args = args
    green._kwargs = kwargs or None  # an empty dict is 64 bytes
    green._spawner = ref(getcurrent())
    green._state = PENDING
    green._result = None
    green._waiters = None
    green._links = None
    return green


def live() -> None:
    """Call the function of the current greenthread, and keep its outcome."""
    me: Any = getcurrent()
    if me._state != PENDING:
        return  # killed before it began
    try:
        if me._kwargs:
            me._result = me._function(*me._args, **me._kwargs)
        elif not me._args:
            me._result = me._function()
        elif len(me._args) == 1:
            me._result = me._function(me._args[0])
        else:
            me._result = me._function(*me._args)
    except BaseException as error:
        me._fail(error)
        del me  # the frames of the traceback hold this one
    else:
        me._function = me._args = me._kwargs = None
        me._state = VALUE
        if me._waiters is not None or me._links is not None:
            me._announce()


def spawn(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> GreenThread[R]:
    """Run `function(*args, **kwargs)` in a new greenthread, from the next turn of the hub on; return it.

    Never switches. What the function returns or raises is what `wait` of the greenthread returns or raises.
    """
    if not callable(function):
        raise not_callable(function)
    hub = get_hub()
    green = unstarted(GreenThread, hub, function, args, kwargs)
    hub.ready.append(green)
    return green


def spawn_n(function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> greenlet:
    """Run a function in a new greenthread that keeps no outcome; an exception is printed. Cheaper than `spawn`."""
    if not callable(function):
        raise not_callable(function)
    hub = get_hub()
    green = bare_greenthread(hub, function, args, kwargs)
    hub.ready.append(green)
    return green


def spawn_after(seconds: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> GreenThread[R]:
    """Run a function in a new greenthread, `seconds` from now; kill it before that and it never runs."""
    if not callable(function):
        raise not_callable(function)
    hub = get_hub()
    green = unstarted(GreenThread, hub, function, args, kwargs)
    timer = hub.timers.add(hub.clock() + seconds, hub.schedule, green)
    green.link(lambda _: timer.cancel())
    return green


def sleep(seconds: float = 0) -> None:
    """Let other greenthreads run for `seconds`; 0 lets each of those that are ready run once.

    Raises ValueError for less than 0, HubError in a callback of the hub, and what the greenthread is killed with.
    """
    get_hub().sleep(seconds)


def kill(green: greenlet, error: BaseException | type[BaseException] | None = None) -> None:
    """Have `error` (GreenletExit unless given) raised in any greenlet of this thread, where it waits.

    Does not switch: it is raised in the hub's next turn. Of a dead one nothing happens.
    """
    if isinstance(green, (GreenThread, BareGreenThread)):
        green.kill(error)
    elif not isinstance(green, greenlet):
        raise TypeError(f"cannot kill {green!r}; give a greenthread, or another greenlet")
    elif not green.dead:
        throw_soon(get_hub(), green, as_exception(error))
