"""Which thread a greenlet stands for: `get_ident` of a patched process.

The first greenlet of an OS thread has the thread's own ident, so what the C library is asked about it (`pthread_kill`,
a thread's CPU clock) stays right. Every other greenlet is a thread of its own: its address is its ident, and nobody
else's while it lives. A signal handler runs beside its main greenthread, as a `Deputy` that has the ident of it, so
that handlers find `threading.current_thread()` to be the main thread and may take again an RLock that it holds.
"""

from _thread import get_ident as os_thread_ident

from greenlet import getcurrent, greenlet

__all__ = ["Deputy", "get_ident", "ident_of"]


class Deputy(greenlet):
    """A greenlet that acts in the name of another."""

    __slots__ = ("principal",)

    principal: greenlet


def get_ident() -> int:
    """Return a number that no other living thread, green or real, has."""
    try:
        green = getcurrent()
    except RuntimeError:  # the interpreter ends, and greenlet is gone before the last `__del__` takes a lock
        return os_thread_ident()
    return os_thread_ident() if green.parent is None else ident_of(green)


def ident_of(green: greenlet) -> int:
    """Return what `get_ident` returns in `green`, a greenlet of the current OS thread."""
    if isinstance(green, Deputy):
        green = green.principal
    return os_thread_ident() if green.parent is None and not green.dead else id(green)
