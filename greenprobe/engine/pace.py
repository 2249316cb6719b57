"""How many probes a second at most: each takes the next free place on a time line.

A plain schedule with a little slack, so that a turn of the hub that came late is made up for and a pause is not: after
an idle second no burst follows. `SelfPace` finds its rate: it halves when something of ours dropped packets, and grows
again while nothing does.
"""

from typing import Final

__all__ = ["Pace", "SelfPace"]

SLACK: Final = 0.02  # seconds that may be made up for
LEAST: Final = 10.0  # probes a second
PATIENCE: Final = 4.0  # seconds from one slowing down to the next: what fills a table stays in it for a while
CALM: Final = 2.0  # seconds without a drop for each growth
GROWTH: Final = 1.15
FIRST: Final = 200.0  # probes a second after the first drop, at most: the table is full, and empties slowly


class Pace:
    """Numbers in, seconds out. `now` is seconds of any clock that does not run backwards."""

    __slots__ = ("_next", "rate_per_s")

    def __init__(self, rate_per_s: float) -> None:
        self.rate_per_s = rate_per_s
        self._next = float("-inf")

    def delay(self, now: float) -> float:
        """Take the next place; return the seconds until then, 0 if it is now."""
        place = max(self._next, now - SLACK)
        self._next = place + 1 / self.rate_per_s
        return max(0.0, place - now)


class SelfPace(Pace):
    """A pace that `dropped` slows down. It begins with half the rate at which things were dropped first, or FIRST."""

    __slots__ = ("_calm_since", "_slowed")

    def __init__(self, rate_per_s: float, now: float) -> None:
        super().__init__(max(min(rate_per_s / 2, FIRST), LEAST))
        self._slowed = self._calm_since = now

    def dropped(self, now: float) -> None:
        """Note that something was dropped; what is dropped within PATIENCE counts once."""
        if now - self._slowed >= PATIENCE:
            self.rate_per_s = max(self.rate_per_s / 2, LEAST)
            self._slowed = now
        self._calm_since = now

    def delay(self, now: float) -> float:
        """Take the next place; return the seconds until then, 0 if it is now."""
        if now - self._calm_since >= CALM:
            self.rate_per_s *= GROWTH
            self._calm_since = now
        return super().delay(now)
