"""What `threading` itself needs in a patched process, beyond the green `_thread` that it stands on.

`Condition.wait` of the standard library knows no kill and no timeout from outside: a notification whose receiver is
killed is lost, and a kill while the lock is taken again leaves without it. Ours passes the notification on, and
comes back with the lock.

The main thread's own lock (up to 3.12) or handle (from 3.13) was made at import, by real threads: it is made anew.

A process that multiprocessing spawned has imported `multiprocessing.util` before the program patches. Its thread-locals
are a class derived from the real ones by then, so all greenthreads of an OS thread would talk to a manager over one
connection, and one's answer would reach another: that class is derived anew.
"""

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from weakref import ref

from greenlet import getcurrent, greenlet

from greenprobe.disguise import Around
from greenprobe.errors import HubError
from greenprobe.green_lock import allocate_lock, lock
from greenprobe.green_thread import Thread as GreenletThread, make_thread_handle, thread_local
from greenprobe.local import local
from greenprobe.timeout import CancelScope

__all__ = ["PATCHES", "adopt_threading"]


def wait(self: Any, timeout: float | None = None) -> bool:
    """Wait until notified: True; False when `timeout` seconds passed first. Raises RuntimeError without the lock."""
    if not self._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    waiter = allocate_lock()
    waiter.acquire()
    self._waiters.append(waiter)
    saved = self._release_save()
    got = False
    failure: BaseException | None = None
    try:
        got = wait_for(waiter, timeout)
    except BaseException as error:
        failure = error
    failure = take_back(self._acquire_restore, saved) or failure
    if not got:
        got = not leave(self._waiters, waiter)
        if got and failure is not None:
            self.notify()
    if failure is None:
        return got
    try:
        raise failure
    finally:
        del failure, self


def wait_for(waiter: lock, timeout: float | None) -> bool:
    """Wait for the release of a waiter's lock."""
    if timeout is None:
        return waiter.acquire()
    return waiter.acquire(True, timeout) if timeout > 0 else waiter.acquire(False)


def leave(waiters: Any, waiter: lock) -> bool:
    """Take a waiter out; False if somebody notified it."""
    try:
        waiters.remove(waiter)
    except ValueError:
        return False
    return True


def take_back(acquire: Callable[..., Any], saved: Any) -> BaseException | None:
    """Take the lock, whatever is thrown in meanwhile, and return what was thrown in last."""
    failure: BaseException | None = None
    while True:
        try:
            with CancelScope(shield=True):
                acquire(saved)
            return failure
        except HubError:
            raise  # there is no hub any more to wait with
        except BaseException as error:
            failure = error


# -- the end of a thread, up to Python 3.12


def wait_for_tstate_lock(self: Any, block: bool = True, timeout: float = -1) -> None:
    """Wait until a thread has ended. What is thrown in meanwhile does not make the thread a dead one."""
    ended = self._tstate_lock
    if ended is not None and ended.acquire(block, timeout):
        ended.release()
        self._stop()


# -- threads that threading did not start, up to Python 3.12


_watched: dict[int, ref[greenlet]] = {}


def forgettable(init: Any) -> Any:
    """Return `_DummyThread.__init__`: what `current_thread()` makes of a greenthread is forgotten when that dies.

    Not of one that `_thread` started: of these, `threading` says itself that it keeps them for ever.
    """
    active: dict[int, Any] = init.__globals__["_active"]

    def __init__(self: Any) -> None:  # noqa: N807 - its name
        init(self)
        green = getcurrent()
        if not isinstance(green, GreenletThread):
            _watched[self._ident] = ref(green, partial(forget, active, self._ident, self))

    return __init__


def forget(active: dict[int, Any], ident: int, dummy: Any, _: object) -> None:
    """Take a dead greenlet's Thread object out of `threading`'s books."""
    _watched.pop(ident, None)
    if active.get(ident) is dummy:
        del active[ident]


# -- the main thread


def adopt_main_thread() -> Callable[[], None]:
    """Give the main thread a green lock or handle; return what undoes it."""
    main: Any = threading.main_thread()
    if not hasattr(main, "_tstate_lock"):
        handle, main._handle = main._handle, make_thread_handle(main.ident)
        return partial(setattr, main, "_handle", handle)
    before, green = main._tstate_lock, allocate_lock()
    green.acquire()
    exchange_tstate_lock(main, before, green)
    return partial(exchange_tstate_lock, main, green, before)


def exchange_tstate_lock(main: Any, old: Any, new: Any) -> None:
    """Have the main thread, and what the end of the program waits for, name `new` instead of `old`."""
    main._tstate_lock = new
    to_wait_for: set[Any] = vars(threading)["_shutdown_locks"]
    if old in to_wait_for:
        to_wait_for.discard(old)
        to_wait_for.add(new)


# -- multiprocessing's thread-locals


def adopt_fork_aware_local() -> Callable[[], None]:
    """Derive `multiprocessing.util.ForkAwareLocal` from the green thread-locals; return what undoes it."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None or issubclass(util.ForkAwareLocal, thread_local):
        return do_nothing
    plain = util.ForkAwareLocal
    body = {name: value for name, value in vars(plain).items() if name not in {"__dict__", "__weakref__"}}
    util.ForkAwareLocal = type(plain.__name__, (thread_local,), body)
    return partial(setattr, util, plain.__name__, plain)


def do_nothing() -> None:
    """Undo nothing: it was green."""


def adopt_threading() -> Callable[[], None]:
    """Make green what was made of real threads before; return what undoes it."""
    undo = [adopt_main_thread(), adopt_fork_aware_local()]

    def undo_all() -> None:
        for each in undo:
            each()

    return undo_all


PATCHES: Final[dict[Any, dict[str, Any]]] = {threading.Condition: {"wait": wait}}
if hasattr(threading, "_thread_local_info"):
    PATCHES["threading"] = {"_thread_local_info": local()}
else:
    PATCHES[vars(threading)["_DummyThread"]] = {"__init__": Around(forgettable)}
if hasattr(threading.Thread, "_wait_for_tstate_lock"):
    PATCHES[threading.Thread] = {"_wait_for_tstate_lock": wait_for_tstate_lock}
