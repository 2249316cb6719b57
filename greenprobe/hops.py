"""Hops: who parks does the loop's next step itself, and switches to the next greenthread without passing the loop.

Facts. A switch to the loop and one from there to the next greenthread are two, at a third of a microsecond each.
Choice. Who parks asks `successor` whom to switch to: the next of the queue, up to HOPS times a turn of the loop, or if
the queue is empty whoever a poll wakes. Only greenthreads are hopped to. Calls, timers, errors and silence belong to
the loop, as a greenthread must not run them in its own name; so a poll looks first whether there are any.
`successor` leaves the switch to its caller: from CPython 3.12 on a frame more in who parks is an object more. And of
those whom a poll wakes the last one is not queued just to be taken off again, if it is the only one.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from greenprobe.poller import Poller
from greenprobe.runqueue import Call, IdlePolicy, RunQueue
from greenprobe.timers import Timers

__all__ = ["FOREVER", "LONGEST_POLL", "MAX_EVENTS", "NEVER", "Hops"]

MAX_EVENTS: Final = 42  # a batch; select.epoll allocates 12 bytes each on every poll, cheap up to 512 in all
FOREVER: Final = -1.0  # as seconds to poll
NEVER: Final = float("inf")  # as a deadline
LONGEST_POLL: Final = 86400.0  # seconds; epoll refuses more than 24 days


class Hops:
    """What a hub does for who parks. `Hub` is the only one."""

    if TYPE_CHECKING:
        ready: RunQueue
        clock: Callable[[], float]
        timers: Timers
        poller: Poller
        asleep: bool
        overdue: int
        check_overdue: Callable[[], None]
        idle_policy: IdlePolicy | None
        _home: Any
        _hops: int
        _slice_end: float
        _calls: deque[Call]
        _failure: BaseException | None
        _idle_patience: float

    def successor(self, patience: float | None = None) -> Any:
        """Return whom to switch to so as to park: who runs next, or the loop. Switch at once: it is queued no more.

        Who waits for a descriptor gives FOREVER as `patience`: while it waits, silence is no deadlock.
        """
        if self.overdue:
            self.check_overdue()
        if not self._hops:
            return self._home
        if not self.ready:
            return self._poll_outside_loop(patience)
        self._hops -= 1
        item = self.ready.popleft()
        # A new greenlet begins at the recursion depth of who starts it: the loop starts those, or a chain of
        # greenthreads that each spawn one and wait would meet the recursion limit.
        if type(item) is not Call and item:
            return item
        self._calls.append(item)
        return self._home

    def _poll_outside_loop(self, patience: float | None) -> Any:
        """Poll in the name of the loop; return who runs next. What is not plain is left to the loop."""
        if self.idle_policy is not None or self._calls:
            return self._home
        if self.timers.heap:
            patience = self.timers.heap[0][0] - self.clock()
            if not 0 < patience <= LONGEST_POLL:
                return self._home
        elif patience is None:
            patience = self._idle_patience
        self.asleep = True
        try:
            events = self.poller.poll(0 if self.ready else patience, MAX_EVENTS)
        except BaseException as error:
            self._failure = error
            events = []
        self.asleep = False
        self._slice_end = NEVER
        woken = self.poller.wake_but_last(events)
        if woken is None:
            return self._home
        if self.ready:
            self.ready.append(woken)
            return self.successor()
        return woken
