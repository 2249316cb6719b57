"""Packets that our own connection tracking dropped, as its table was full: silence that says nothing of a port.

Facts (Linux). Where a rule of the firewall tracks connections, each connect takes an entry, for two minutes if nobody
answers. A packet that finds the table full is dropped without any error to the socket: the port looks filtered. The
kernel counts these drops for each network namespace in /proc/net/stat/nf_conntrack, a line a processor, in hexadecimal.
Choice. Look at the counters when a port is about to be called silent, some times a second at most.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["ConntrackDrops", "parse_drops", "read_drops"]

COUNTERS: Final = Path("/proc/net/stat/nf_conntrack")
COLUMNS: Final = ("drop", "insert_failed")
INTERVAL: Final = 0.05  # seconds between two looks: less than any wait for an answer


def parse_drops(text: str) -> int:
    """Return how many packets were dropped by all processors together; 0 if the text is something else."""
    heading, *rows = [line.split() for line in text.splitlines()] or [[]]
    places = [heading.index(name) for name in COLUMNS if name in heading]
    try:
        return sum(int(row[place], 16) for row in rows for place in places)
    except (ValueError, IndexError):
        return 0


def read_drops() -> int:
    """Return what the kernel has counted in this network namespace; 0 where nothing is tracked."""
    try:
        return parse_drops(COUNTERS.read_text("ascii", "replace"))
    except OSError:
        return 0


class ConntrackDrops:
    """Tells whether packets were dropped lately. `count` in all since it was made; `last` is when that was seen."""

    __slots__ = ("_first", "_looked", "_read", "count", "last")

    def __init__(self, now: float, read: Callable[[], int] = read_drops) -> None:
        self._read = read
        self._first = read()
        self._looked = now
        self.count = 0
        self.last = float("-inf")

    def since(self, moment: float, now: float) -> bool:
        """Tell whether anything was dropped after `moment`, as far as it has been seen."""
        if now - self._looked >= INTERVAL:
            self._looked = now
            count = self._read() - self._first
            if count != self.count:
                self.count, self.last = count, now
        return self.last >= moment
