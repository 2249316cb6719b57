"""How many probes a second at most: each takes the next free place on a time line.

A plain schedule with a little slack, so that a turn of the hub that came late is made up for and a pause is not: after
an idle second no burst follows.
"""

from typing import Final

__all__ = ["Pace"]

SLACK: Final = 0.02  # seconds that may be made up for


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
