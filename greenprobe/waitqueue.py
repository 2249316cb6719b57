"""The one fair queue that all waiting for each other stands on: Waiter and WaitQueue.

All that is made of it is FIFO-fair and may be used by greenthreads of different OS threads. What can be had at once
never switches.

No lost wake-up, and no lock
    Facts: CPython passes the GIL to another thread only after a call, at the start of a Python function, or at a
    backward jump. A test of a truth value or an integer, followed by one store or by one method of a built-in
    container, is therefore one step to all other threads. Failure: between "is it free?" and "then I wait" somebody
    frees it, sees no waiter, and wakes nobody. Choice: a waiter enrols first and looks again afterwards; a waker looks
    for waiters and changes the state in one such step. Whoever comes second sees the first. A thing is handed to its
    waiter, not left for whoever comes along: so the order is kept, and a handed thing whose waiter dies of a kill or
    a timeout before its turn is passed on.
    Price: lines marked "one step" must stay one step. Free-threaded builds are not supported (nor by greenlet).

A forked child inherits the queues but not the waiters: `wake_one` passes over those whose hub is closed.
"""

from collections import OrderedDict
from typing import Any

from greenlet import getcurrent, greenlet

from greenprobe.errors import HubError
from greenprobe.hub import Hub, get_hub

__all__ = ["WaitQueue", "Waiter"]


class Waiter:
    """The current greenthread, in a wait queue. `woken` is set by whoever ends the wait, `item` may carry a thing over.

    Raises HubError in a callback of the hub.
    """

    __slots__ = ("green", "hub", "item", "woken")

    def __init__(self, item: Any = None) -> None:
        self.hub: Hub = get_hub()
        self.green: greenlet = getcurrent()
        if self.green is self.hub.loop:
            raise HubError("a callback of the hub cannot wait; spawn a greenthread for what takes time")
        self.woken = False
        self.item = item

    def wait(self, timeout: float | None = None) -> bool:
        """Park until woken (True) or until `timeout` seconds are over (False). 0 or less does not switch.

        Raises ValueError for NaN.
        """
        hub = self.hub
        if timeout is not None:
            if timeout > 0:
                return self._wait_for(timeout)
            if timeout <= 0:
                return self.woken
            raise ValueError(f"cannot wait for {timeout!r} s; give a number, or None to wait for ever")
        try:
            while not self.woken:
                hub.successor().switch()
        except BaseException:
            if self.woken:
                hub.forget(self.green)
            raise
        return True

    def _wait_for(self, timeout: float) -> bool:
        hub = self.hub
        timer = hub.timers.add(hub.clock() + timeout, hub.schedule, self.green)
        try:
            while not self.woken and timer.callback is not None:
                hub.successor().switch()
        except BaseException:
            if self.woken or timer.callback is None:
                hub.forget(self.green)
            raise
        else:
            if self.woken and timer.callback is None:  # by both: one of the two is left
                hub.forget(self.green)
            return self.woken
        finally:
            timer.cancel()


class WaitQueue(OrderedDict[Waiter, None]):
    """Waiters in the order they came. Enrolling, withdrawing and waking are one step each."""

    def enrol(self, item: Any = None) -> Waiter:
        """Add the current greenthread, with what it brings; the caller looks at its condition again before it waits."""
        waiter = Waiter(item)
        self[waiter] = None
        return waiter

    def withdraw(self, waiter: Waiter) -> bool:
        """Take a waiter out again. False if it was woken already: what it was woken for is then its own to pass on."""
        return self.pop(waiter, waiter) is None

    def wake_one(self, item: Any = None) -> bool:
        """Wake who waits longest and hand over `item`; False if nobody waits."""
        while self:
            try:
                waiter, _ = self.popitem(last=False)
            except KeyError:
                return False
            hub = waiter.hub
            if hub.closed:
                continue
            waiter.item = item
            waiter.woken = True
            hub.ready.append(waiter.green)
            if hub.asleep:
                hub.ring()
            return True
        return False

    def wake_all(self) -> None:
        """Wake everybody who waits now, in order."""
        for _ in range(len(self)):
            self.wake_one()
