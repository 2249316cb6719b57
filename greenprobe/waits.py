"""Waiting for a descriptor: the part of the hub that parks a greenthread on a side until an edge or a deadline.

What the sides mean and how edges move them is `poller.py`'s; how to park and wake is `hub.py`'s.
"""

from _thread import get_ident
from errno import EBADF
from typing import TYPE_CHECKING

from greenlet import getcurrent, greenlet

from greenprobe.errors import BusyError, HubError
from greenprobe.hops import FOREVER, NEVER, Hops
from greenprobe.poller import CLOSED, EXPIRED, READY, Side
from greenprobe.whereabouts import name_of

__all__ = ["DescriptorWaits"]


class DescriptorWaits(Hops):
    """What a hub does for greenthreads that wait for descriptors. `Hub` is the only one."""

    if TYPE_CHECKING:
        loop: greenlet
        thread_id: int
        buried: bool

        def schedule(self, green: greenlet) -> None: ...
        def forget(self, green: greenlet) -> None: ...

    def wait(self, side: Side, deadline: float | None = None) -> bool:
        """Park until a side of a descriptor is ready: True, or False when `deadline` passed first.

        True is a hint: try the system call, and wait again if it would block. Raises OSError (EBADF) if the
        descriptor is closed meanwhile, BusyError if another greenthread waits there and the slot is not `shared`.
        In another OS thread, and in a forked child, it is True at once: nobody there can wait on this hub.
        """
        waiter = side.waiter
        if waiter is READY:
            side.waiter = None
            return True
        me = getcurrent()
        if me.parent is not self.loop and not self._is_ours(me):
            return True
        if waiter is not None or side.line:
            return self._wait_in_line(side, me, deadline)
        if not side.slot.registered and not self.poller.register(side.slot):
            return True
        side.waiter = me
        if deadline is not None:
            side.deadline = deadline
            if side.timer is None or side.timer.when > deadline:
                self._arm(side)
        elif side.timer is not None:
            side.deadline = NEVER  # the timer of an earlier wait is still armed
        try:
            self.successor(FOREVER).switch()
            while side.waiter is me:
                self.successor(FOREVER).switch()
        except BaseException:
            self._abandon(side, me)
            raise
        return side.waiter is None or outcome(side)

    def _is_ours(self, me: greenlet) -> bool:
        """Tell whether a greenlet that is no child of the loop may wait here: the main one, or one of a user's own."""
        if me is self.loop:
            raise HubError("a callback of the hub cannot wait; spawn a greenthread for what takes time")
        return get_ident() == self.thread_id and not self.buried

    def _abandon(self, side: Side, me: greenlet) -> None:
        # An edge may have been spent on this wait. READY is always safe to say, silence is not.
        if side.waiter is not me:
            self.forget(me)
        if side.waiter in {me, None}:
            side.waiter = READY

    def _arm(self, side: Side) -> None:
        # At most one timer a side, moved only when it fires: a connection that reads a thousand times with a timeout
        # of five seconds compares a thousand deadlines and starts one timer every five seconds.
        if side.timer is not None:
            side.timer.cancel()
        side.timer = self.timers.add(side.deadline, self._expire, side)

    def _expire(self, side: Side) -> None:
        side.timer = None
        waiter = side.waiter
        if not isinstance(waiter, greenlet) or side.deadline == NEVER:
            return
        if side.deadline > self.clock():
            side.timer = self.timers.add(side.deadline, self._expire, side)
        else:
            side.waiter = EXPIRED
            self.ready.append(waiter)

    def _wait_in_line(self, side: Side, me: greenlet, deadline: float | None) -> bool:
        """Wait in order. An edge wakes the head of the line, which stays there unless the side is ready; see `Side`."""
        if side.waiter is CLOSED:
            return outcome(side)
        if side.waiter is EXPIRED:  # whose wait that was has not run yet, and needs no slot to see its clock
            side.waiter = None
            return self.wait(side, deadline)
        if not (side.slot.shared or self.poller.share_all):
            raise BusyError(
                f"{name_of(me)} would wait on the {side!r} where {name_of(side.waiter)} waits already; give each "
                "greenthread its own socket, or take a lock around the whole message"
            )
        line = side.line = side.line if side.line is not None else []
        line.append(me)
        timer = self.timers.add(deadline, self.schedule, me) if deadline is not None else None
        try:
            while timer is None or timer.pending:
                self.successor(FOREVER).switch()
                if side.waiter is CLOSED:
                    return outcome(side)
                if line[0] is me and side.is_ready():
                    return True
            return False
        finally:
            if timer is not None:
                timer.cancel()
            line.remove(me)
            self.forget(me)
            if line:
                self.ready.append(line[0])  # there may be more than one of us can take


def outcome(side: Side) -> bool:
    """Tell how a wait on `side` ended that did not end with an edge."""
    if side.waiter is CLOSED:
        raise OSError(EBADF, "the descriptor was closed while a greenthread waited for it")
    if side.waiter is EXPIRED:
        side.waiter = None
        return False
    if side.waiter is READY:  # by an edge after the one that woke us: who tries now tries for both
        side.waiter = None
    return True
