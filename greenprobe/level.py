"""Level-triggered polling for code that brings its own poll loop: select, poll and epoll users.

Facts. The hub's epoll set reports changes, once each, to whoever waits for a green socket. Foreign pollers expect
levels: what is ready is reported again and again until it is used up. Failure: if both share a registration, an edge
that one of them takes is lost to the other.
Choice. A `LevelPoller` has an epoll set of its own, level-triggered, and that set is what the hub's set watches: an
epoll descriptor is readable when it has something to report. A poll asks its own set first, without waiting, and parks
on it only when it is empty, so that the fast path of green sockets knows nothing of it.
Price: a system call more than a plain epoll for each wait.

Fork. A child inherits the epoll sets of its parent's pollers, as it would those of `select.epoll`. The sets that stand
for one wait of a greenthread, which the child does not have, are closed there.
"""

import os
from collections.abc import Iterable
from select import EPOLLET, EPOLLIN, EPOLLOUT, epoll
from typing import Self

from greenprobe.hub import Hub, get_hub
from greenprobe.poller import Slot

__all__ = ["LevelPoller", "Parking", "watch_changes"]


class Parking:
    """One descriptor and the slots it has in the hubs, one an OS thread, whose greenthreads waited for it.

    For descriptors that are not green sockets: several greenthreads may wait on one side, in order. `private` says
    that no other process or descriptor holds its description.
    """

    __slots__ = ("_slots", "fd", "private")

    def __init__(self, fd: int, *, private: bool = False) -> None:
        self.fd = fd
        self.private = private
        self._slots: dict[Hub, Slot] = {}

    def wait_read(self, deadline: float | None = None) -> bool:
        """Park until a read may succeed: True; False when `deadline` passed. Raises OSError (EBADF) on `close`."""
        hub = get_hub()
        return hub.wait(self._slot_in(hub).read, deadline)

    def wait_write(self, deadline: float | None = None) -> bool:
        """Park until a write may succeed: True; False when `deadline` passed. Raises OSError (EBADF) on `close`."""
        hub = get_hub()
        return hub.wait(self._slot_in(hub).write, deadline)

    def _slot_in(self, hub: Hub) -> Slot:
        slot = self._slots.get(hub)
        if slot is None:
            slot = self._slots[hub] = hub.poller.adopt(self.fd)
            slot.shared = True
        return slot

    def close(self) -> None:
        """Leave all hubs, before the descriptor is closed; who waits for it gets OSError (EBADF)."""
        if not self._slots:
            return
        here = get_hub()
        while self._slots:
            hub, slot = self._slots.popitem()
            if hub is here:
                hub.poller.close(slot, shared=not self.private)
            elif not hub.closed:
                hub.poller.leave(slot)
                hub.call_threadsafe(hub.poller.close, slot)


class LevelPoller:
    """An epoll object whose `poll` parks its greenthread. Masks are those of `select.epoll`.

    Descriptors that never block (regular files) are always ready. As with epoll, one that is closed leaves silently.
    """

    __slots__ = ("__weakref__", "_always", "_parking", "kernel")

    def __init__(self, kernel: epoll | None = None, *, private: bool = False) -> None:
        self.kernel = kernel if kernel is not None else epoll()
        self._always: dict[int, int] = {}
        self._parking = Parking(self.kernel.fileno(), private=private)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.kernel.closed

    def fileno(self) -> int:
        """Return the fd of its own epoll set. Raises ValueError after close."""
        return self.kernel.fileno()

    def register(self, fd: int, mask: int = EPOLLIN | EPOLLOUT) -> None:
        """Report `fd` from now on. Raises FileExistsError if it is registered, OSError (EBADF) if it is not open."""
        try:
            self.kernel.register(fd, mask)
        except PermissionError:  # what cannot block cannot be polled
            if fd in self._always:
                raise FileExistsError(f"fd {fd} is registered already") from None
            self._always[fd] = mask

    def modify(self, fd: int, mask: int) -> None:
        """Report other events of `fd`. Raises FileNotFoundError if it is not registered."""
        if fd in self._always:
            self._always[fd] = mask
        else:
            self.kernel.modify(fd, mask)

    def unregister(self, fd: int) -> None:
        """Report `fd` no more. Raises FileNotFoundError if it is not registered."""
        if self._always.pop(fd, None) is None:
            self.kernel.unregister(fd)

    def poll(self, timeout: float | None = None, max_events: int = -1) -> list[tuple[int, int]]:
        """Return what is ready as (fd, events), waiting up to `timeout` seconds (None or negative: for ever) for it.

        Raises OSError (EBADF) if the poller is closed meanwhile, ValueError if it was closed before.
        """
        found = self.look(max_events)
        if found or timeout == 0:
            return found
        return self.poll_until(None if timeout is None or timeout < 0 else get_hub().clock() + timeout, max_events)

    def poll_until(self, deadline: float | None, max_events: int = -1) -> list[tuple[int, int]]:
        """Return what is ready, waiting until `deadline` (absolute, in the hub's clock; None: for ever) for it."""
        found = self.look(max_events)
        while not found:
            in_time = self._parking.wait_read(deadline)
            found = self.look(max_events)
            if not in_time:
                break
        return found

    def look(self, max_events: int = -1) -> list[tuple[int, int]]:
        """Return what is ready now. Does not wait."""
        if not self._always:
            return self.kernel.poll(0, max_events)
        ready = [(fd, mask & (EPOLLIN | EPOLLOUT)) for fd, mask in self._always.items() if mask & (EPOLLIN | EPOLLOUT)]
        return (ready + self.kernel.poll(0, max_events))[: max_events if max_events > 0 else None]

    def close(self) -> None:
        """Close it; who polls gets OSError (EBADF). Closing twice does nothing."""
        _waits.discard(self)
        if not self.kernel.closed:
            self._parking.close()
            self.kernel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def watch_changes(masks: Iterable[tuple[int, int]]) -> LevelPoller:
    """Return a poller for one wait of somebody who looks at the levels himself: it reports changes, once each.

    So what nobody asked for and nobody can mask out (a hang-up) ends one wait and not all that follow.
    Raises OSError (EBADF) for a descriptor that is not open.
    """
    watch_forks()
    poller = LevelPoller(private=True)
    _waits.add(poller)
    try:
        for fd, mask in masks:
            poller.register(fd, mask | EPOLLET)
    except BaseException:
        poller.close()
        raise
    return poller


_waits: set[LevelPoller] = set()  # of greenthreads that `watch_changes`
_watching_forks = False


def watch_forks() -> None:
    """Have a forked child close the sets of waits that only its parent's greenthreads are in."""
    global _watching_forks
    if not _watching_forks:
        _watching_forks = True
        os.register_at_fork(after_in_child=close_waits)


def close_waits() -> None:
    """Close the sets of all waits, in a child."""
    while _waits:
        _waits.pop().kernel.close()
