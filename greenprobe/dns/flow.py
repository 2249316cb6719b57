"""How many queries may be on their way to one server: a window that closes when they get lost. Numbers in, no clock.

Facts. A name server's receive buffer holds some 277 queries (212,992 bytes) unless somebody raised it; a burst of 1,000
loses most of itself, silently, and each lost one costs a timeout. A query that is answered in 0.1 ms is hardly ever on
its way: 100 at once are more than this process can send. A resolver far away needs more of them at once.
Choice. Begin with FIRST, as many as surely fit. Open by one an answer, but only while the window is what holds us up: a
round trip much longer than the window takes us to send. (What we are late ourselves is part of every round trip, so
where we are the slow ones it is as long as that.) When something was lost, close to three quarters, once a window, and
open by one a window from then on.
"""

from typing import Final

__all__ = ["Window"]

FIRST: Final = 100
LEAST: Final = 8
MOST: Final = 2000
SEND_SECONDS: Final = 100e-6  # some four times what a question takes us, all in all


class Window:
    """`size` is how many queries may be on their way."""

    __slots__ = ("_answers", "_has_closed", "_patience", "size")

    def __init__(self) -> None:
        self.size = FIRST
        self._has_closed = False
        self._answers = 0
        self._patience = 0  # losses and answers that belong to the window before the last closing

    def __repr__(self) -> str:
        return f"<Window of {self.size}>"

    def answered(self, round_trip: float) -> None:
        """Note an answer, and the seconds it took."""
        self._patience -= 1
        if round_trip <= self.size * SEND_SECONDS or self.size >= MOST:
            return
        self._answers += 1
        if not self._has_closed or self._answers >= self.size:
            self._answers = 0
            self.size += 1

    def lost(self) -> None:
        """Note that a query, or its answer, was lost."""
        self._patience -= 1
        if self._patience > 0:
            return
        self._patience = self.size
        self._has_closed = True
        self.size = max(LEAST, self.size * 3 // 4)
