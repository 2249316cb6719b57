"""Who waits for which descriptor: epoll, edge-triggered, each descriptor registered once.

Facts. With EPOLLET the kernel reports a *change* once, whether or not anybody is waiting, and says nothing more until
there is another change. An epoll set holds open file descriptions, not fd numbers: a `dup` or a forked child keeps a
registration alive after the fd was closed here, and the events then name an fd that may be somebody else's by now.

Failures that this allows. (1) A change is reported while nobody waits; the next reader sleeps on data that already
arrived. (2) A FIN comes with the last data: one edge for both, so the reader who takes the data and waits for more
sleeps for ever. (3) An fd is closed and its number reused while its event is still in the batch. (4) An fd is closed
under a waiter: the kernel says nothing at all.

Choice. A descriptor (`Slot`) has two sides, read and write; each is idle, READY, or holds who waits. An edge that
finds no waiter is remembered as READY, and the next wait consumes it (1). RDHUP, HUP and ERR are kept in `Slot.hangup`
for as long as the slot lives; after them nobody may conclude "a short read has emptied the socket" (2). Handling a
batch runs no greenthread: it only marks sides and queues their waiters, so no fd can be closed within a batch (3).
Closing goes through `close`, which wakes the waiters; they find the side CLOSED (4). Wherever there is doubt a side is
called READY: a false READY costs one system call that says EAGAIN, a missing one costs a hang.

Price. A slot lives from the first wait to the close, and who closes a descriptor has to say so. Descriptors whose
description may live on elsewhere (dup, inheritable, after a fork) are taken out of the set by hand before the close:
one more system call, so it is done only for them.
"""

from collections.abc import Callable
from errno import EBADF
from os import strerror
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, POLLIN, POLLOUT, epoll, poll
from typing import Any, Final

from greenprobe.timers import Timer

__all__ = ["CLOSED", "EXPIRED", "READY", "Mark", "Poller", "Side", "Slot"]

MASK: Final = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET
NO_MORE_HINTS: Final = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI  # a read stops short at urgent data, too
READ_EDGE: Final = EPOLLIN | NO_MORE_HINTS
WRITE_EDGE: Final = EPOLLOUT | EPOLLHUP | EPOLLERR
DATA: Final = EPOLLIN | EPOLLOUT  # came, and there is room to write, as nearly always


class Mark:
    """A state of a side that is not a waiter."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name


READY: Final = Mark("READY")  # an edge came and nobody has used it yet
EXPIRED: Final = Mark("EXPIRED")  # the waiter's deadline passed; it has been woken and has not run yet
CLOSED: Final = Mark("CLOSED")  # the descriptor was closed


class Side:
    """One direction of a descriptor. `waiter` is None (idle), a Mark, or the one greenlet that waits.

    | from    | event                | to      |
    | ------- | -------------------- | ------- |
    | None    | edge                 | READY   |
    | READY   | wait (returns)       | None    |
    | None    | wait (parks)         | waiter  |
    | waiter  | edge (waiter queued) | None    |
    | waiter  | deadline (queued)    | EXPIRED |
    | EXPIRED | edge                 | READY   |
    | any     | close (queued)       | CLOSED  |

    `line`, where it exists, holds further waiters in order (see `Hub.wait`). An edge wakes its head, too; the head asks
    the kernel whether anything was left for it, and keeps its place if not; who leaves wakes the next. So whoever took
    something and comes back is behind those who got nothing.
    """

    __slots__ = ("deadline", "line", "slot", "timer", "waiter")

    def __init__(self, slot: "Slot") -> None:
        self.slot = slot
        self.waiter: Any = None
        self.deadline = 0.0
        self.timer: Timer | None = None
        self.line: Any = None

    def __repr__(self) -> str:
        which = "read" if self is self.slot.read else "write"
        return f"<{which} side of fd {self.slot.fd}: {self.waiter!r}>"

    def is_ready(self) -> bool:
        """Ask the kernel whether the side is ready now."""
        now = poll()
        now.register(self.slot.fd, POLLIN if self is self.slot.read else POLLOUT)
        return bool(now.poll(0))


class Slot:
    """What a hub knows of one descriptor. It is used by one hub, and never again after it was closed.

    `shared` allows several greenthreads to wait on one side, in order (listeners, datagrams); without it the second
    gets BusyError, as two readers of one stream tear each other's messages.
    """

    __slots__ = ("fd", "hangup", "read", "registered", "shared", "write")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.read = Side(self)
        self.write = Side(self)
        self.hangup = 0
        self.registered = False
        self.shared = False

    def __repr__(self) -> str:
        return f"<Slot fd {self.fd} read={self.read.waiter!r} write={self.write.waiter!r} hangup={self.hangup:#x}>"


GONE: Final = Slot(-1)


def is_waited_for(slot: Slot) -> bool:
    """Tell whether any greenthread waits on either side."""
    read, write = slot.read, slot.write
    return (
        (read.waiter is not None and type(read.waiter) is not Mark)
        or (write.waiter is not None and type(write.waiter) is not Mark)
        or bool(read.line or write.line)
    )


class Poller:
    """An epoll set and the slots of what is in it. `wake` is called with each greenlet whose wait is over."""

    __slots__ = ("_epoll", "explicit", "poll", "share_all", "slots", "wake")

    def __init__(self, wake: Callable[[Any], object]) -> None:
        self.slots: dict[int, Slot] = {}
        self.wake = wake
        self.explicit = False  # this process has forked: descriptions may live on in a child
        self.share_all = False  # allow several waiters a side everywhere
        self._epoll = epoll()
        self.poll: Callable[[float, int], list[tuple[int, int]]] = self._epoll.poll

    def slot(self, fd: int) -> Slot:
        """Return the slot of `fd`, a new one if it has none. Nothing is registered before the first wait."""
        slot = self.slots.get(fd)
        if slot is None:
            slot = self.slots[fd] = Slot(fd)
        return slot

    def adopt(self, fd: int) -> Slot:
        """Return a slot for a descriptor that is new to the caller, whatever was known of that number.

        An older slot may stand for a descriptor that foreign code closed without a word (then its registration is
        gone) or for a second object on the same fd (then its waiters are alive). Both are served by keeping the slot
        and registering it anew.
        """
        slot = self.slots.get(fd)
        if slot is None:
            slot = self.slots[fd] = Slot(fd)
        else:
            slot.registered = False
            slot.hangup = 0
        return slot

    def register(self, slot: Slot) -> bool:
        """Put the descriptor into the epoll set; False if epoll refuses it because it never blocks (regular files).

        Raises OSError with EBADF if it is not open.
        """
        try:
            self._epoll.register(slot.fd, MASK)
        except FileExistsError:
            self._epoll.modify(slot.fd, MASK)  # says again what is ready now
        except PermissionError:
            return False
        except ValueError:  # no number at all: another thread has closed the socket since
            raise OSError(EBADF, strerror(EBADF)) from None
        slot.registered = True
        return True

    def watch(self, fd: int) -> None:
        """Let edges of `fd` end a poll and do nothing else: no slot, no waiter."""
        self._epoll.register(fd, EPOLLIN | EPOLLET)

    def mark(self, events: list[tuple[int, int]]) -> None:
        """Apply a batch of events: wake who waits, remember what nobody waits for. Runs no greenthread."""
        last = self.wake_but_last(events)
        if last is not None:
            self.wake(last)

    def wake_but_last(self, events: list[tuple[int, int]]) -> Any:
        """Do as `mark`, but return the greenlet that would be woken last: it is the caller's to run, or to queue."""
        last = None
        slots = self.slots
        for fd, event in events:
            slot = slots.get(fd)
            if slot is None:  # watched only; or closed here while a child or a dup keeps the description
                continue
            if last is not None:
                self.wake(last)
                last = None
            side = slot.read
            waiter = side.waiter
            if (  # one row of the table, by far the most frequent, takes the short way
                event == DATA
                and waiter is not None
                and type(waiter) is not Mark
                and slot.write.waiter is READY
                and not side.line
            ):
                side.waiter = None
                last = waiter
            else:
                self._apply(slot, event)
        return last

    def _apply(self, slot: Slot, event: int) -> None:
        """Apply one event to both sides."""
        if event & NO_MORE_HINTS:
            slot.hangup |= event
        for side, edge in ((slot.read, READ_EDGE), (slot.write, WRITE_EDGE)):
            if not event & edge:
                continue
            waiter = side.waiter
            if waiter is None or waiter is EXPIRED:
                side.waiter = READY
            elif waiter is not READY:
                side.waiter = None
                self.wake(waiter)
            if side.line:
                self.wake(side.line[0])

    def close(self, slot: Slot, *, shared: bool = False) -> None:
        """Forget the descriptor, before it is closed; who waits for it wakes up and gets EBADF.

        `shared` says that another descriptor or process may hold the same description.
        """
        if self.slots.get(slot.fd) is slot:
            del self.slots[slot.fd]
            if slot.registered and (shared or self.explicit):
                self._unregister(slot.fd)
        self._close_side(slot.read)
        self._close_side(slot.write)

    def forget(self, fd: int) -> None:
        """Forget a descriptor that is not ours alone, or lives on, if it has a slot."""
        slot = self.slots.get(fd)
        if slot is not None:
            self.close(slot, shared=True)

    def recycle(self, slot: Slot) -> None:
        """Before a descriptor is closed that only its owner knows: leave its slot to the next of that number.

        The kernel takes the registration away with the descriptor. The slot stays where `adopt` will find it, and so do
        its timers, which look at the deadline of whoever waits when they fire. A third of the user time of a connection
        that serves one request goes into making and ending these. Who waits after all is woken as by `close`.
        """
        if self.explicit or is_waited_for(slot):
            self.close(slot)
            return
        slot.registered = False
        slot.hangup = 0
        slot.read.waiter = slot.write.waiter = None

    def leave(self, slot: Slot) -> None:
        """Take a descriptor out of the set, from any OS thread, before its number can be reused; `close` follows."""
        self.slots.pop(slot.fd, None)  # what comes to have this number next gets a slot of its own
        if slot.registered:
            slot.registered = False
            self._unregister(slot.fd)

    def _close_side(self, side: Side) -> None:
        waiter, side.waiter, side.slot = side.waiter, CLOSED, GONE  # lets go of the cycle slot, side, slot
        if side.timer is not None:
            side.timer.cancel()
            side.timer = None
        if waiter is not None and type(waiter) is not Mark:
            self.wake(waiter)
        for greenlet in side.line or ():
            self.wake(greenlet)

    def _unregister(self, fd: int) -> None:
        try:
            self._epoll.unregister(fd)
        except OSError:
            pass  # ENOENT, EBADF: it left the set by itself

    def has_waiters(self) -> bool:
        """Tell whether any greenthread waits for a descriptor. Looks at every slot."""
        return any(map(is_waited_for, list(self.slots.values())))  # another thread may close one meanwhile

    def fileno(self) -> int:
        """Return the epoll set's own fd."""
        return self._epoll.fileno()

    def shut(self) -> None:
        """Close the epoll set. The slots are of no use any more."""
        self._epoll.close()
