"""The `_thread` module, green: threads that are greenlets, from `start_new_thread` to the handles of Python 3.13.

Facts. Everything that `threading` does stands on this module; its Python code then runs as it is. A thread lives until
its function ends, whoever has forgotten it: so all greenlets are kept here. Its context is empty, as a thread's is.
A forked child has the thread that forked and no other. `threading` sees to its own books in the child before we see to
ours, so a handle can tell by the process id that it is a dead one's. The greenlets of the dead are kept for ever: if
they were dropped, each would be raised GreenletExit in, and run its `finally` blocks in a process where it never was.
"""

import os
import sys
from _thread import _count as count_os_threads
from collections.abc import Callable
from typing import Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.green_ident import get_ident, ident_of
from greenprobe.green_lock import RLock, allocate_lock, lock
from greenprobe.hub import Hub, get_hub
from greenprobe.local import local
from greenprobe.sync import Event

__all__ = ["PATCHES", "ThreadHandle", "start_joinable_thread", "start_new_thread"]

Args = tuple[Any, ...]


class Thread(greenlet):
    """The greenlet of one thread."""

    __slots__ = ("_args", "_function", "_kwargs", "handle", "sentinel")

    def __init__(self, hub: Hub, function: Callable[..., Any], args: Args, kwargs: dict[str, Any]) -> None:
        super().__init__(None, hub.loop)
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self.handle: ThreadHandle | None = None
        self.sentinel: lock | None = None
        _running[self] = None

    def run(self) -> None:
        """Call the function, in the greenlet."""
        function, args, kwargs = self._function, self._args, self._kwargs
        del self._function, self._args, self._kwargs
        try:
            if args or kwargs:
                function(*args, **kwargs)
            else:
                function()  # without a star: it nests the C stack, which a parked greenlet keeps a copy of
        except (SystemExit, GreenletExit):
            pass
        except BaseException as error:
            report(error, function)
        finally:
            self._end()

    def _end(self) -> None:
        _running.pop(self, None)
        if self.sentinel is not None:
            self.sentinel.release()
        if self.handle is not None:
            self.handle._end()


_running: dict[Thread, None] = {}
_graves: list[Any] = []  # what a forked child must never let go of


class ThreadHandle:
    """A thread to be joined, as Python 3.13's `threading` holds one. Not started, running, or done."""

    __slots__ = ("__weakref__", "_ended", "_green", "_process", "ident")

    def __init__(self) -> None:
        self.ident = 0
        self._green: greenlet | None = None
        self._ended = Event()
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<_ThreadHandle object: ident={self.ident}>"

    def _begin(self, green: greenlet) -> None:
        if self.ident:
            raise RuntimeError("thread already started")
        self._green = green
        self.ident = ident_of(green)

    def _end(self) -> None:
        self._green = None
        _to_wait_for.pop(self, None)
        self._ended.set()

    def is_done(self) -> bool:
        """Tell whether the thread has ended."""
        if self._process != os.getpid():
            self._survive_fork()
        return self._ended.is_set()

    def _survive_fork(self) -> None:
        self._process = os.getpid()
        if self.ident and self.ident != get_ident():
            self._ended.set()

    def _set_done(self) -> None:
        if not self.ident:
            raise RuntimeError("thread not started")
        self._end()

    def join(self, timeout: float | None = None, /) -> None:
        """Wait until the thread has ended, at most `timeout` seconds (None or negative: for ever)."""
        if not self.ident:
            raise RuntimeError("thread not started")
        if self.is_done():
            return
        if self.ident == get_ident():
            raise RuntimeError("Cannot join current thread")
        self._ended.wait(None if timeout is None or timeout < 0 else timeout)


_to_wait_for: dict[ThreadHandle, None] = {}  # what the end of the program waits for


def start_new_thread(function: Callable[..., Any], args: Args, kwargs: dict[str, Any] | None = None, /) -> int:
    """Run `function(*args, **kwargs)` in a new thread; return its ident."""
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    sys.audit("_thread.start_new_thread", function, args, kwargs)
    return ident_of(start(function, args, kwargs or {}))


def start_joinable_thread(
    function: Callable[[], Any], handle: ThreadHandle | None = None, daemon: bool = True
) -> ThreadHandle:
    """Run `function()` in a new thread and return its handle; the end of the program waits for it unless `daemon`."""
    if not callable(function):
        raise TypeError("thread function must be callable")
    if handle is not None and not isinstance(handle, ThreadHandle):
        raise TypeError("'handle' must be a _ThreadHandle")
    sys.audit("_thread.start_joinable_thread", function, daemon, handle)
    handle = handle if handle is not None else ThreadHandle()
    if handle.ident:
        raise RuntimeError("thread already started")
    green = start(function, (), {})
    green.handle = handle
    handle._begin(green)
    if not daemon:
        _to_wait_for[handle] = None
    return handle


def start(function: Callable[..., Any], args: Args, kwargs: dict[str, Any]) -> Thread:
    """Queue a new thread to run."""
    hub = get_hub()
    green = Thread(hub, function, args, kwargs)
    hub.ready.append(green)
    return green


def make_thread_handle(ident: int, /) -> ThreadHandle:
    """Return the handle of a running thread that was not started here: the main one, a foreign one."""
    handle = ThreadHandle()
    handle.ident = ident
    return handle


def set_sentinel() -> lock:
    """Return a lock that is released when the current thread ends."""
    sentinel = allocate_lock()
    green = getcurrent()
    if isinstance(green, Thread):
        green.sentinel = sentinel
    return sentinel


def shutdown() -> None:
    """Wait for all threads that are not daemons."""
    me = get_ident()
    while handle := next((each for each in _to_wait_for if each.ident != me), None):
        handle.join()
        _to_wait_for.pop(handle, None)


def count() -> int:
    """Return how many threads run that were started by this module, green and real."""
    return len(_running) + count_os_threads() - Hub.helper_threads


def main_thread_ident() -> int:
    """Return the ident of the main thread; in a child that has just been forked, that is the one which forked."""
    return get_ident() if _process != os.getpid() else _main_ident


# -- what nobody catches


def report(error: BaseException, function: Callable[..., Any]) -> None:
    """Tell `sys.unraisablehook` of an exception that ended a thread."""
    text, thing = "Exception ignored in thread started by", function
    if sys.version_info >= (3, 13):
        text, thing = f"{text} {function!r}", None  # type: ignore[assignment]
    traceback = error.__traceback__.tb_next if error.__traceback__ is not None else None
    sys.unraisablehook(hook_args_type()((type(error), error, traceback, text, thing)))


def hook_args_type() -> Callable[[tuple[Any, ...]], Any]:
    """Return the type of what `sys.unraisablehook` is called with, which Python does not name anywhere."""
    seen: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, seen.append
    try:
        Troublemaker()
    finally:
        sys.unraisablehook = before
    return type(seen[0])


class Troublemaker:
    """An object that cannot be deleted without an exception."""

    def __del__(self) -> None:
        raise RuntimeError


# -- fork


_process = os.getpid()
_main_ident = get_ident()


def start_afresh() -> None:
    """Keep the thread that forked, in the child, and forget the others."""
    global _running, _to_wait_for, _process, _main_ident
    me = get_ident()
    _graves.append((_running, _to_wait_for))
    for handle in _to_wait_for:
        handle.is_done()
    _to_wait_for = {handle: None for handle in _to_wait_for if handle.ident == me}
    _running = {green: None for green in _running if ident_of(green) == me}
    _process, _main_ident = os.getpid(), me


os.register_at_fork(after_in_child=start_afresh)


class thread_local(local):  # noqa: N801 - the name of a class that users subclass
    """`_thread._local`, green."""

    __slots__ = ()


for cls, name in ((ThreadHandle, "_ThreadHandle"), (thread_local, "_local")):
    cls.__module__, cls.__name__, cls.__qualname__ = "_thread", name, name

PATCHES: Final[dict[Any, dict[str, Any]]] = {
    "_thread": {
        "LockType": lock,
        "RLock": RLock,
        "_ThreadHandle": ThreadHandle,
        "_count": count,
        "_get_main_thread_ident": main_thread_ident,
        "_local": thread_local,
        "_make_thread_handle": make_thread_handle,
        "_set_sentinel": set_sentinel,
        "_shutdown": shutdown,
        "allocate": allocate_lock,
        "allocate_lock": allocate_lock,
        "get_ident": get_ident,
        "lock": lock,
        "start_joinable_thread": start_joinable_thread,
        "start_new": start_new_thread,
        "start_new_thread": start_new_thread,
    },
}
