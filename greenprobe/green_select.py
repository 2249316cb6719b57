"""`select` with a select, poll and epoll that park the greenthread: the standard library's arguments, results, errors.

What is ready is asked of the kernel, by a call that does not wait; only who finds nothing parks. So level semantics,
error reports and argument checks are the kernel's and the standard library's own, and there is no second copy of them.
`epoll` keeps a real epoll set, edge-triggered, one-shot and exclusive registrations included: that set is watched by
the hub's. `select` and `poll` make a set for each wait, since their descriptors may be closed and opened again as
something else between two calls; which is where they cost more than `epoll`, here as in the kernel.

One difference: `select` takes descriptors of any number, as it does not use the kernel's bit field of 1,024.
"""

import os
import select as stdlib
from collections.abc import Iterable
from errno import EBADF
from os import strerror
from select import EPOLLIN, EPOLLOUT, EPOLLPRI, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI
from typing import Any, Final, Protocol, Self

from greenprobe.green_turns import give_way_between_polls
from greenprobe.hub import get_hub
from greenprobe.level import LevelPoller, watch_changes
from greenprobe.running_loop import keep_running_loops_apart

__all__ = ["PATCHES", "as_descriptor", "epoll", "error", "poll", "select"]

error = OSError
kernel_epoll, kernel_poll, kernel_select = stdlib.epoll, stdlib.poll, stdlib.select

READABLE: Final = POLLIN | POLLHUP | POLLERR  # what select(2) calls readable, in the words of poll(2)
WRITABLE: Final = POLLOUT | POLLERR
PLAIN_TIMEOUT: Final = 1_000_000  # up to so many seconds or milliseconds a number needs no check


class HasFileno(Protocol):
    """What stands for a descriptor besides its number."""

    def fileno(self) -> int: ...


Descriptor = int | HasFileno


def __getattr__(name: str) -> Any:
    return getattr(stdlib, name)


def as_descriptor(file: Descriptor) -> int:
    """Return the number of a descriptor. Raises TypeError and ValueError as every function of `select` does."""
    fd = file if isinstance(file, int) else file.fileno() if hasattr(file, "fileno") else None
    if type(fd) is int and fd >= 0:
        return fd
    if fd is None:
        raise TypeError("argument must be an int, or have a fileno() method.")
    if not isinstance(fd, int):
        raise TypeError("fileno() returned a non-integer")
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    return int(fd)


# -- select


class Interest:
    """What one argument of `select` asks for: its objects, their descriptors, the events that count."""

    __slots__ = ("asked", "counts", "pairs")

    def __init__(self, files: Iterable[Descriptor], asked: int, counts: int) -> None:
        self.asked = asked
        self.counts = counts
        try:
            each = iter(files)
        except TypeError:
            raise TypeError("arguments 1-3 must be sequences") from None
        self.pairs = [(file, as_descriptor(file)) for file in each]

    def chosen(self, events: dict[int, int]) -> list[Any]:
        """Return the objects whose descriptors have events that count."""
        return [file for file, fd in self.pairs if events.get(fd, 0) & self.counts]


class Functions:
    """The functions of the module: bound methods, which stay what they are as attributes of a class (`selectors`)."""

    def select(
        self,
        rlist: Iterable[Any],
        wlist: Iterable[Any],
        xlist: Iterable[Any],
        timeout: float | None = None,
        /,
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Wait until one or more descriptors are ready: to read, to write, for an exceptional condition.

        `timeout` is in seconds; None waits for ever. Raises what `select.select` raises.
        """
        keep_running_loops_apart()
        give_way_between_polls()
        if timeout is not None and not (type(timeout) in (int, float) and 0 <= timeout <= PLAIN_TIMEOUT):
            refuse_odd_select_timeout(timeout)
        interests = (
            Interest(rlist, POLLIN, READABLE),
            Interest(wlist, POLLOUT, WRITABLE),
            Interest(xlist, POLLPRI, POLLPRI),
        )
        masks: dict[int, int] = {}
        for interest in interests:
            for _, fd in interest.pairs:
                masks[fd] = masks.get(fd, 0) | interest.asked
        levels = kernel_poll()
        for fd, mask in masks.items():
            levels.register(fd, mask)
        chosen = choose(interests, levels)
        if not (timeout == 0 or any(chosen)):
            hub = get_hub()
            deadline = None if timeout is None else hub.clock() + timeout
            with watch_changes(masks.items()) as changes:
                while not any(chosen) and changes.poll_until(deadline):
                    chosen = choose(interests, levels)
        return chosen

    def poll(self) -> "Poll":
        """Return a poll object, which waits for any of the descriptors that are registered with it."""
        made = object.__new__(Poll)
        made._kernel = kernel_poll()
        made._masks = {}
        made._polls = False
        return made


select = Functions().select
poll = Functions().poll


def choose(interests: tuple[Interest, Interest, Interest], levels: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Look which objects are ready now. Raises OSError (EBADF) if a descriptor is not open."""
    events = dict(levels.poll(0))
    if any(event & POLLNVAL for event in events.values()):
        raise OSError(EBADF, strerror(EBADF))
    read, write, exceptional = (interest.chosen(events) for interest in interests)
    return read, write, exceptional


def refuse_odd_select_timeout(timeout: object) -> None:
    """Raise what the standard library raises for this timeout, if it does; it is asked with something ready."""
    ready = os.eventfd(0)
    try:
        kernel_select([], [ready], [], timeout)  # type: ignore[arg-type]
    finally:
        os.close(ready)


# -- poll


class Poll:
    """A poll object; `poll()` makes them."""

    __slots__ = ("_kernel", "_masks", "_polls")

    _kernel: stdlib.poll
    _masks: dict[int, int]
    _polls: bool

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        raise TypeError(f"cannot create '{cls.__module__}.{cls.__name__}' instances")

    def register(self, fd: Descriptor, eventmask: int = POLLIN | POLLPRI | POLLOUT, /) -> None:
        """Report `eventmask` of `fd` from now on."""
        self._kernel.register(fd, eventmask)
        self._masks[as_descriptor(fd)] = eventmask

    def modify(self, fd: Descriptor, eventmask: int, /) -> None:
        """Report other events of `fd`. Raises FileNotFoundError if it is not registered."""
        self._kernel.modify(fd, eventmask)
        self._masks[as_descriptor(fd)] = eventmask

    def unregister(self, fd: Descriptor, /) -> None:
        """Report `fd` no more. Raises KeyError if it is not registered."""
        self._kernel.unregister(fd)
        self._masks.pop(as_descriptor(fd), None)

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Return what is ready as (fd, events), waiting up to `timeout` milliseconds (None or negative: for ever).

        Raises RuntimeError if another greenthread polls this object.
        """
        keep_running_loops_apart()
        give_way_between_polls()
        if timeout is not None and not (type(timeout) in (int, float) and abs(timeout) <= PLAIN_TIMEOUT):
            refuse_odd_poll_timeout(timeout)
        if self._polls:
            raise RuntimeError("concurrent poll() invocation")
        found = self._kernel.poll(0)
        if found or timeout == 0:
            return found
        hub = get_hub()
        deadline = None if timeout is None or timeout < 0 else hub.clock() + timeout / 1000
        self._polls = True
        try:
            return self._wait(deadline)
        finally:
            self._polls = False

    def _wait(self, deadline: float | None) -> list[tuple[int, int]]:
        try:
            changes = watch_changes(self._masks.items())
        except OSError:  # one was closed since we looked, which the kernel calls POLLNVAL
            return self._kernel.poll(0)
        with changes:
            while changes.poll_until(deadline):
                found = self._kernel.poll(0)
                if found:
                    return found
        return []


def refuse_odd_poll_timeout(timeout: object) -> None:
    """Raise what the standard library raises for this timeout, if it does; it is asked with something ready."""
    levels = kernel_poll()
    ready = os.eventfd(0)
    try:
        levels.register(ready, POLLOUT)
        levels.poll(timeout)  # type: ignore[arg-type]
    finally:
        os.close(ready)


# -- epoll


class epoll:  # noqa: N801 - stands in for select.epoll
    """`select.epoll`, green: all masks of the kernel's epoll hold, as it is the kernel's that answers."""

    __slots__ = ("__weakref__", "_kernel", "_levels")

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._settle(kernel_epoll(sizehint, flags))

    @classmethod
    def fromfd(cls, fd: int, /) -> Self:
        """Return an epoll object on a descriptor that is one already; whichever is closed first closes it."""
        made = cls.__new__(cls)
        made._settle(kernel_epoll.fromfd(fd))
        return made

    def _settle(self, kernel: stdlib.epoll) -> None:
        self._kernel = kernel
        self._levels = LevelPoller(kernel)

    def __repr__(self) -> str:
        return f"<greenprobe epoll {'closed' if self.closed else f'fd {self.fileno()}'}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._kernel.closed

    def fileno(self) -> int:
        """Return the descriptor of the epoll set. Raises ValueError after close."""
        return self._kernel.fileno()

    def register(self, fd: Descriptor, eventmask: int = EPOLLIN | EPOLLPRI | EPOLLOUT) -> None:
        """Report `eventmask` of `fd` from now on. Raises FileExistsError, PermissionError for a regular file."""
        self._kernel.register(fd, eventmask)

    def modify(self, fd: Descriptor, eventmask: int) -> None:
        """Report other events of `fd`. Raises FileNotFoundError if it is not registered."""
        self._kernel.modify(fd, eventmask)

    def unregister(self, fd: Descriptor) -> None:
        """Report `fd` no more. Raises FileNotFoundError if it is not registered, OSError (EBADF) if it was closed."""
        self._kernel.unregister(fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Return up to `maxevents` that are ready as (fd, events), waiting up to `timeout` seconds for the first.

        None or a negative timeout waits for ever, a `maxevents` of -1 is no limit of the user's. Raises ValueError on
        a closed object, OSError (EBADF) if it is closed while somebody polls.
        """
        keep_running_loops_apart()
        give_way_between_polls()
        if timeout is not None and not (type(timeout) in (int, float) and abs(timeout) <= PLAIN_TIMEOUT):
            refuse_odd_epoll_timeout(timeout, maxevents)
        found = self._kernel.poll(0, maxevents)
        if found or timeout == 0:
            return found
        deadline = None if timeout is None or timeout < 0 else get_hub().clock() + timeout
        return self._levels.poll_until(deadline, maxevents)

    def close(self) -> None:
        """Close it. Closing twice does nothing."""
        self._levels.close()

    def __enter__(self) -> Self:
        self._kernel.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def refuse_odd_epoll_timeout(timeout: object, maxevents: int) -> None:
    """Raise what the standard library raises for these, if it does; it is asked with something ready."""
    ready = os.eventfd(0)
    try:
        with kernel_epoll() as levels:
            levels.register(ready, EPOLLOUT)
            levels.poll(timeout, maxevents)  # type: ignore[arg-type]
    finally:
        os.close(ready)


PATCHES: Final[dict[Any, dict[str, Any]]] = {"select": {"epoll": epoll, "poll": poll, "select": select}}
