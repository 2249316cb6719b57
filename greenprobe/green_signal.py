"""Signals in a patched process: handlers stay the standard library's, and run as if in the main thread.

Facts. Python runs a handler in the main OS thread, in whichever greenlet is current there: the main one, another, or
the hub's loop while it polls. Failures. A handler that waits cannot do so in the loop. What it raises (a Ctrl-C, a
SystemExit, an alarm's TimeoutError) would tear whichever greenthread happened to run. It finds itself not to be in the
main thread, and cannot take again what that holds.
Choice. In the user's code of the main greenlet a handler runs where it is, as always. Anywhere else the loop starts it
at its next turn, which it makes at once if it sleeps, in a greenlet of its own that stands for the main thread
(`green_ident.Deputy`); what it raises is raised in the main greenthread, where that waits. Ctrl-C is a handler like
another; a second one that finds the first still pending is raised where the program stands, which is stuck there.
Price. While another greenthread computes, no handler runs.
"""

import signal as stdlib
import sys
from _thread import get_ident as os_thread_ident
from collections.abc import Callable, Iterable
from errno import EINVAL
from functools import partial
from signal import (
    Handlers,
    Signals,
    default_int_handler,
    getsignal as os_getsignal,
    pthread_kill as os_pthread_kill,
    pthread_sigmask as os_pthread_sigmask,
    raise_signal as os_raise_signal,
    signal as os_signal,
    sigtimedwait as os_sigtimedwait,
)
from types import FrameType
from typing import Any, Final

from greenlet import getcurrent

from greenprobe.green_ident import Deputy, get_ident
from greenprobe.green_turns import give_way
from greenprobe.greenthread import spawn_n
from greenprobe.hub import Hub, get_hub
from greenprobe.local import local
from greenprobe.process import Interrupts, in_main_thread
from greenprobe.waitqueue import WaitQueue

__all__ = ["PATCHES", "adopt_handlers", "signal"]

PERIOD: Final = 0.005  # seconds between looks at which signals are pending
Handler = Any

_pausing = WaitQueue()


class MainThreadHandler:
    """A signal handler that runs as if in the main thread; see the top."""

    __slots__ = ("handler", "pending")

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None:
        self.handler = handler
        self.pending = 0

    @property
    def wakes_nobody(self) -> bool:
        """Whether it is no reason to wait for a wake-up from outside: Ctrl-C ends a wait, it does not fulfil it."""
        return self.handler is default_int_handler

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        hub = get_hub()
        if getcurrent() is hub.main and not hub.asleep and not is_in_core(frame):
            self.handler(signum, frame)
            _pausing.wake_all()
        elif self.pending and self.handler is default_int_handler:
            self.pending = 0
            raise KeyboardInterrupt  # the second: whoever runs is stuck, as the hub's own handler would say
        else:
            self.pending += 1
            hub.interject(self.run_beside_main, hub, signum)

    def run_beside_main(self, hub: Hub, signum: int) -> None:
        """Run the handler in a greenlet of its own. Called by the loop."""
        if self.pending:
            self.pending -= 1
            deputy = Deputy(self.run, hub.loop)
            deputy.principal = hub.main
            deputy.switch(hub, signum)

    def run(self, hub: Hub, signum: int) -> None:
        """Call the handler; what it raises goes to the main greenthread."""
        try:
            self.handler(signum, hub.main.gr_frame)
        except BaseException as error:
            hub.interject(hub._throw_to_main, error)
        else:
            _pausing.wake_all()


def is_in_core(frame: FrameType | None) -> bool:
    """Tell whether a signal interrupted greenprobe's own code, where nothing may be raised."""
    name: str = frame.f_globals.get("__name__", "") if frame is not None else ""
    return name.startswith("greenprobe.") and name != __name__


def is_users(handler: Handler) -> bool:
    """Tell whether a handler is code of the user's."""
    return callable(handler) and not isinstance(handler, Handlers | Interrupts | MainThreadHandler)


def unwrap(handler: Handler) -> Handler:
    """Return what the user set as a handler."""
    if isinstance(handler, MainThreadHandler):
        return handler.handler
    return default_int_handler if isinstance(handler, Interrupts) else handler


def adopt_handlers() -> Callable[[], None]:
    """Have the handlers that were set before run as those that are set from now on; return what undoes it."""
    found = {number: os_getsignal(number) for number in stdlib.valid_signals()} if in_main_thread() else {}
    adopted: dict[int, Handler] = {number: handler for number, handler in found.items() if is_users(unwrap(handler))}
    for number, handler in adopted.items():
        os_signal(number, MainThreadHandler(unwrap(handler)))
    return partial(disown_handlers, adopted)


def disown_handlers(adopted: dict[int, Handler]) -> None:
    """Set the users' own handlers again, and the hub's where no user has set one since."""
    for number in stdlib.valid_signals():
        handler = os_getsignal(number)
        if isinstance(handler, MainThreadHandler):
            before = adopted.get(number)
            os_signal(number, before if unwrap(before) is handler.handler else handler.handler)


# -- what stands for the functions of `signal`


def set_handler(signalnum: int, handler: Handler, /) -> Handler:
    """`signal.signal`, for handlers that may wait."""
    give_way()
    return unwrap(os_signal(signalnum, MainThreadHandler(handler) if is_users(handler) else handler))


def raise_signal(signalnum: int, /) -> None:
    """`signal.raise_signal`; who does nothing else lets others run."""
    give_way()
    os_raise_signal(signalnum)


def getsignal(signalnum: int, /) -> Handler:
    """`signal.getsignal`."""
    return unwrap(os_getsignal(signalnum))


def pthread_kill(thread_id: int, signalnum: int, /) -> None:
    """`signal.pthread_kill`; a green thread is signalled through the OS thread that all of them run in."""
    is_os_thread = thread_id in sys._current_frames()
    os_pthread_kill(thread_id if is_os_thread else os_thread_ident(), signalnum)


_own = local()  # `.blocked`: the signals that a green thread has blocked


def pthread_sigmask(how: int, mask: Iterable[int], /) -> set[int]:
    """`signal.pthread_sigmask`: change which signals the calling thread has blocked; return which were.

    The mask of a green thread is only remembered. The kernel's is that of the OS thread, and so of everybody: in
    a process that is not patched a signal that one thread has blocked is delivered to another.
    """
    if get_ident() == os_thread_ident():
        return os_pthread_sigmask(how, mask)
    wanted = set(mask)
    if strange := [each for each in wanted if not 0 < each < stdlib.NSIG]:
        raise ValueError(f"signal number {strange[0]} out of range [1; {stdlib.NSIG - 1}]")
    before: set[int] | None = getattr(_own, "blocked", None)
    if before is None:
        before = set(os_pthread_sigmask(stdlib.SIG_BLOCK, ()))
    changes: dict[int, set[int]] = {
        stdlib.SIG_BLOCK: before | wanted,
        stdlib.SIG_UNBLOCK: before - wanted,
        stdlib.SIG_SETMASK: wanted,
    }
    if how not in changes:
        raise OSError(EINVAL, "Invalid argument")
    _own.blocked = {each for each in stdlib.valid_signals() if each in changes[how]} - {stdlib.SIGKILL, stdlib.SIGSTOP}
    return before


def pause() -> None:
    """`signal.pause`: wait until a handler has run."""
    waiter = _pausing.enrol()
    waiter.hub.expected += 1  # a signal may end the process, too
    try:
        waiter.wait()
    finally:
        waiter.hub.expected -= 1
        _pausing.withdraw(waiter)


def sigtimedwait(sigset: Iterable[int], timeout: float, /) -> Any:
    """`signal.sigtimedwait`: wait for one of `sigset`, at most `timeout` seconds; None if none came."""
    wanted = set(sigset)
    found = os_sigtimedwait(wanted, min(timeout, 0))
    hub = get_hub()
    deadline = hub.clock() + timeout
    while found is None and (left := deadline - hub.clock()) > 0:
        hub.sleep(min(PERIOD, left))
        found = os_sigtimedwait(wanted, 0)
    return found


def sigwaitinfo(sigset: Iterable[int], /) -> Any:
    """`signal.sigwaitinfo`: wait for one of `sigset`."""
    wanted = set(sigset)
    while (found := os_sigtimedwait(wanted, 0)) is None:
        get_hub().sleep(PERIOD)
    return found


def sigwait(sigset: Iterable[int], /) -> int:
    """`signal.sigwait`: wait for one of `sigset` and return its number."""
    number: int = sigwaitinfo(sigset).si_signo
    try:
        return Signals(number)
    except ValueError:
        return number


# -- handlers in a greenthread, patched or not


def signal(signum: int, function: Callable[..., object] | Handlers | None, *args: Any, **kwargs: Any) -> Handler:
    """Run `function(*args, **kwargs)` in a new greenthread of the main thread whenever `signum` arrives.

    SIG_DFL, SIG_IGN and None are set as they are. Returns what was set before. Main thread only (ValueError).
    """
    if function is None or isinstance(function, Handlers):
        return unwrap(os_signal(signum, function if function is not None else Handlers.SIG_DFL))
    if not callable(function):
        raise TypeError(f"a handler of type {type(function).__name__}; give a function, SIG_DFL, SIG_IGN or None")
    return unwrap(os_signal(signum, Spawner(function, args, kwargs)))


class Spawner:
    """A signal handler that spawns a greenthread in the hub of the main thread."""

    __slots__ = ("call",)

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.call = partial(spawn_n, function, *args, **kwargs)

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        get_hub().call_threadsafe(self.call)


PATCHES: Final[dict[Any, dict[str, Any]]] = {
    "signal": {
        "getsignal": getsignal,
        "pause": pause,
        "pthread_kill": pthread_kill,
        "pthread_sigmask": pthread_sigmask,
        "raise_signal": raise_signal,
        "signal": set_handler,
        "sigtimedwait": sigtimedwait,
        "sigwait": sigwait,
        "sigwaitinfo": sigwaitinfo,
    },
}
