"""So many a second, evenly: who comes too early sleeps until it is his turn."""

from greenprobe.hub import Hub

__all__ = ["Pace"]


class Pace:
    """Spreads what happens over time: no more than `rate_per_s` a second, and no burst after a pause."""

    __slots__ = ("_hub", "_interval", "_next")

    def __init__(self, hub: Hub, rate_per_s: float) -> None:
        self._hub = hub
        self._interval = 1 / rate_per_s
        self._next = hub.clock()

    def wait(self) -> None:
        """Wait for the next turn, first come, first served."""
        now = self._hub.clock()
        turn = max(now, self._next)
        self._next = turn + self._interval
        if turn > now:
            self._hub.sleep_until(turn)
