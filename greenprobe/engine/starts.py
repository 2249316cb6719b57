"""When the next probe may start: at a rate that was set, and where our connection tracking has room for it."""

from errno import EPERM
from typing import Final

from greenprobe.engine.conntrack import Tracking
from greenprobe.engine.pace import Pace
from greenprobe.engine.shortage import Shortages
from greenprobe.hub import Hub
from greenprobe.sync import Semaphore

__all__ = ["Starts"]

CONNTRACK: Final = "conntrack"  # among the names of shortages


class Starts:
    """Lets probes start one after the other. While `is_free` nobody has to ask, which keeps a probe short."""

    __slots__ = ("_clock", "_hub", "_pace", "_shortages", "_tracking", "_turnstile", "is_free")

    def __init__(self, hub: Hub, *, rate_per_s: float, tracking: Tracking, shortages: Shortages) -> None:
        self._hub = hub
        self._clock = hub.clock
        self._pace = Pace(rate_per_s) if rate_per_s else None
        self._tracking = tracking
        self._shortages = shortages
        self._turnstile = Semaphore(1)
        self.is_free = self._pace is None

    @property
    def are_short(self) -> bool:
        """Whether connections have become what we are short of."""
        return self._tracking.is_tight

    def next(self) -> float:
        """Wait for our turn; return the time of a start. Raises ScanStalled if no turn comes for very long."""
        if not self.is_free:
            with self._turnstile:
                if self._pace is not None and (delay := self._pace.delay(self._clock())):
                    self._hub.sleep(delay)
                while self._tracking.is_tight and (delay := self._tracking.delay(self._clock())):
                    self._note_shortage(self._clock())
                    self._hub.sleep(delay)
        return self._clock()

    def was_dropped(self, code: int) -> bool:
        """Tell, right after a start that ended with `code`, whether our own machine dropped the packet."""
        if not (self._tracking.is_tight or code == EPERM) or not self._tracking.has_dropped():
            return False
        self.is_free = False
        return True

    def may_have_dropped(self, started: float, now: float) -> bool:
        """Tell whether a silence since `started` may be our own machine's doing."""
        if not self._tracking.since(started, now):
            return False
        self.is_free = False
        self._note_shortage(now)
        return True

    def _note_shortage(self, now: float) -> None:
        self._shortages.add(CONNTRACK, now, count=self._tracking.drops)
