"""Deadlines in order: a heap of timers with a start number as tie-break, and a cheap cancel.

Facts. Nearly all timeouts are set and cancelled, few ever fire. A heap finds the next deadline in O(1) and takes a new
one in O(log n), but cannot forget an entry in its middle. Failure: eventlet and asyncio leave the cancelled entry in
place, so that a million cancelled timeouts of an hour are a million entries for an hour.
Choice. Cancelling marks the timer and lets go of what it would call. If it is the heap's last leaf, as it is for a
timeout set and cancelled with nothing in between, it is popped at once: taking the last leaf off keeps a heap a heap.
Otherwise it is counted, and when more than half of the heap is cancelled the heap is rebuilt.
Price: at most as many dead entries as live ones, plus MIN_DEAD; a rebuild costs O(1) for each cancel, amortised.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

__all__ = ["Timer", "Timers"]

MIN_DEAD = 64  # below this many dead entries a rebuild costs more than it frees

Entry = tuple[float, int, "Timer"]


class Timer:
    """One call at one time, `when`, in the hub's clock. Users hold timers and cancel them; `Timers.add` makes them."""

    __slots__ = ("_timers", "args", "callback", "when")

    def __init__(
        self, timers: "Timers", when: float, callback: Callable[..., Any] | None, args: tuple[Any, ...]
    ) -> None:
        self._timers = timers
        self.when = when
        self.callback = callback
        self.args = args

    @property
    def pending(self) -> bool:
        """Whether the timer will still fire."""
        return self.callback is not None

    def cancel(self) -> None:
        """See to it that the timer does not fire. Cancelling twice, or after it fired, does nothing."""
        if self.callback is None:
            return
        self.callback = None
        self.args = ()
        heap = self._timers.heap
        if heap[-1][2] is self:
            heap.pop()
        else:
            self._timers.bury()

    def __repr__(self) -> str:
        return f"<Timer at {self.when:.6f} for {self.callback!r}>" if self.pending else "<Timer over>"


class Timers:
    """All timers of a hub. Not thread-safe: other threads go through `hub.call_threadsafe`."""

    __slots__ = ("_dead", "_started", "heap")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        self._started = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self.heap) - self._dead

    def add(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call `callback(*args)` at `when` (absolute, in the hub's clock); equal deadlines fire in order of `add`."""
        if not when <= inf:  # NaN, and what is no number at all, would bring the heap out of order
            raise ValueError("a timer needs a time, not NaN")
        timer = Timer(self, when, callback, args)
        self._started = started = self._started + 1
        heappush(self.heap, (when, started, timer))
        return timer

    def next_deadline(self) -> float | None:
        """Return when the next live timer is due, or None if there is none."""
        heap = self.heap
        while heap and heap[0][2].callback is None:
            heappop(heap)
            self._dead -= 1
        return heap[0][0] if heap else None

    def fire_next(self, now: float) -> bool:
        """Call the next live timer if its deadline is at most `now`; tell whether there was one.

        The timer is over before its callback runs, so that the callback may raise, or add and cancel timers.
        """
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return False
        timer = heappop(self.heap)[2]
        callback, args = timer.callback, timer.args
        timer.callback, timer.args = None, ()
        assert callback is not None
        callback(*args)
        return True

    def bury(self) -> None:
        """Count one more cancelled entry inside the heap, and rebuild it when most of it is dead."""
        self._dead += 1
        if self._dead > MIN_DEAD and self._dead * 2 > len(self.heap):
            self.heap[:] = [entry for entry in self.heap if entry[2].callback is not None]
            heapify(self.heap)
            self._dead = 0

    def move_to(self, others: "Timers", wanted: Callable[[Timer], bool]) -> None:
        """Hand over the live timers that are `wanted`, in order; who holds one can still cancel it."""
        rest = []
        for entry in sorted(self.heap, key=lambda entry: entry[:2]):
            when, _, timer = entry
            if timer.callback is None or not wanted(timer):
                rest.append(entry)
                continue
            others._started += 1
            heappush(others.heap, (when, others._started, timer))
            timer._timers = others
        self.heap[:] = rest  # in order, and so a heap

    def clear(self) -> None:
        """Forget every timer: none of them fires."""
        for _, _, timer in self.heap:
            timer.callback, timer.args = None, ()
        self.heap.clear()
        self._dead = 0
