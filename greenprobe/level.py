"""Level-triggered polling for code that brings its own poll loop: select, poll and epoll users.

Facts. The hub's epoll set reports changes, once each, to whoever waits for a green socket. Foreign pollers expect
levels: what is ready is reported again and again until it is used up. Failure: if both share a registration, an edge
that one of them takes is lost to the other.
Choice. A `LevelPoller` has an epoll set of its own, level-triggered, and that set is what the hub's set watches: an
epoll descriptor is readable when it has something to report. A poll asks its own set first, without waiting, and parks
on it only when it is empty, so that the fast path of green sockets knows nothing of it.
Price: a system call more than a plain epoll for each wait.
"""

from select import EPOLLIN, EPOLLOUT, epoll

from greenprobe.hub import Hub, get_hub
from greenprobe.poller import Slot

__all__ = ["LevelPoller"]


class LevelPoller:
    """An epoll object whose `poll` parks its greenthread. Masks are those of `select.epoll`.

    Descriptors that never block (regular files) are always ready. As with epoll, one that is closed leaves silently.
    """

    __slots__ = ("__weakref__", "_always", "_epoll", "_slots")

    def __init__(self) -> None:
        self._epoll = epoll()
        self._always: dict[int, int] = {}
        self._slots: dict[Hub, Slot] = {}

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._epoll.closed

    def fileno(self) -> int:
        """Return the fd of its own epoll set. Raises ValueError after close."""
        return self._epoll.fileno()

    def register(self, fd: int, mask: int = EPOLLIN | EPOLLOUT) -> None:
        """Report `fd` from now on. Raises FileExistsError if it is registered, OSError (EBADF) if it is not open."""
        try:
            self._epoll.register(fd, mask)
        except PermissionError:  # what cannot block cannot be polled
            if fd in self._always:
                raise FileExistsError(f"fd {fd} is registered already") from None
            self._always[fd] = mask

    def modify(self, fd: int, mask: int) -> None:
        """Report other events of `fd`. Raises FileNotFoundError if it is not registered."""
        if fd in self._always:
            self._always[fd] = mask
        else:
            self._epoll.modify(fd, mask)

    def unregister(self, fd: int) -> None:
        """Report `fd` no more. Raises FileNotFoundError if it is not registered."""
        if self._always.pop(fd, None) is None:
            self._epoll.unregister(fd)

    def poll(self, timeout: float | None = None, max_events: int = -1) -> list[tuple[int, int]]:
        """Return what is ready as (fd, events), waiting up to `timeout` seconds (None or negative: for ever) for it.

        Raises OSError (EBADF) if the poller is closed meanwhile, ValueError if it was closed before.
        """
        found = self._look(max_events)
        if found or timeout == 0:
            return found
        hub = get_hub()
        deadline = None if timeout is None or timeout < 0 else hub.clock() + timeout
        while not found:
            if not hub.wait(self._slot_of(hub).read, deadline):
                return self._look(max_events)
            found = self._look(max_events)
        return found

    def _look(self, max_events: int) -> list[tuple[int, int]]:
        ready = [(fd, mask & (EPOLLIN | EPOLLOUT)) for fd, mask in self._always.items() if mask & (EPOLLIN | EPOLLOUT)]
        return (ready + self._epoll.poll(0, max_events))[: max_events if max_events > 0 else None]

    def _slot_of(self, hub: Hub) -> Slot:
        slot = self._slots.get(hub)
        if slot is None:
            slot = self._slots[hub] = hub.poller.adopt(self._epoll.fileno())
            slot.shared = True
        return slot

    def close(self) -> None:
        """Close it; who polls gets OSError (EBADF). Closing twice does nothing."""
        if self._epoll.closed:
            return
        here = get_hub() if self._slots else None
        while self._slots:
            hub, slot = self._slots.popitem()
            if hub is here:
                hub.poller.close(slot, shared=True)
            elif not hub.closed:
                hub.poller.leave(slot)
                hub.call_threadsafe(hub.poller.close, slot)
        self._epoll.close()
