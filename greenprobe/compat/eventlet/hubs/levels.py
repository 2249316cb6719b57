"""Waiting for a bare descriptor: `trampoline`, `notify_close`, `notify_opened`.

Callers of `trampoline` expect levels: what is ready now returns now, however often it was reported before, and
nobody tells us when such a descriptor is closed and its number used again. So the kernel is asked first, and each
wait registers the descriptor anew, which makes the kernel report again what is ready. A green socket may wait on the
same descriptor: an edge that was used up here is put back (READY may be said too often, never too rarely).
"""

from errno import EBADF
from typing import Any

from greenlet import getcurrent

from greenprobe.compat.eventlet.timeout import Timeout
from greenprobe.errors import BusyError, HubError
from greenprobe.hub import Hub, get_hub
from greenprobe.poller import READY

__all__ = ["IOClosed", "notify_close", "notify_opened", "trampoline", "wait_for_level"]


class IOClosed(OSError):
    """The descriptor was closed while somebody waited for it."""


def trampoline(
    fd: Any,
    read: Any = None,
    write: Any = None,
    timeout: float | None = None,
    timeout_exc: Any = Timeout,
    mark_as_closed: Any = None,
) -> int:
    """Wait until a descriptor, or the one of an object with `fileno()`, can be read, or written; return it.

    Raises `timeout_exc`, a class or an instance, after `timeout` seconds; IOClosed, after a call of `mark_as_closed`,
    if the descriptor is closed meanwhile; RuntimeError for both directions at once, if somebody else waits there, or in
    the hub's own greenlet.
    """
    if read and write:
        raise RuntimeError("wait for one of read and write, in two greenthreads for both")
    hub = get_hub()
    if getcurrent() is hub.loop:
        raise RuntimeError("a callback of the hub cannot wait; spawn a greenthread for what takes time")
    fileno: int = fd if isinstance(fd, int) else fd.fileno()
    deadline = None if timeout is None else hub.clock() + timeout
    try:
        ready = wait_for_level(hub, fileno, writing=bool(write), deadline=deadline)
    except BusyError as error:
        raise RuntimeError(str(error)) from error
    except OSError as error:
        if error.errno != EBADF:
            raise
        if mark_as_closed is not None:
            mark_as_closed()
        raise IOClosed(EBADF, "the descriptor was closed while a greenthread waited for it") from error
    if not ready:
        raise timeout_exc
    return fileno


def wait_for_level(hub: Hub, fd: int, *, writing: bool, deadline: float | None = None) -> bool:
    """Park until `fd` is ready, or has an error to tell: True; False when `deadline` passed first.

    Raises OSError (EBADF) if it is closed meanwhile, BusyError if another greenthread waits there.
    """
    if fd < 0:
        raise OSError(EBADF, "Bad file descriptor")
    slot = hub.poller.slot(fd)
    side = slot.write if writing else slot.read
    if side.is_ready():
        return True
    if side.waiter is None or side.waiter is READY:
        slot = hub.poller.adopt(fd)
        side = slot.write if writing else slot.read
    while hub.wait(side, deadline):
        if side.is_ready():
            if side.waiter is None:
                side.waiter = READY
            return True
    return False


def notify_close(fd: int) -> None:
    """Say that a descriptor is closed, or about to be: who waits for it gets IOClosed."""
    get_hub().poller.forget(fd)


def notify_opened(fd: int) -> None:
    """Say that a number stands for a new descriptor: who waits for an older one of that number gets IOClosed."""
    notify_close(fd)


def refuse_hub_switch(hub: Hub) -> None:
    """Raise HubError in the hub's own greenlet, which nobody could switch back to."""
    if getcurrent() is hub.loop:
        raise HubError("a callback of the hub cannot wait; spawn a greenthread for what takes time")
