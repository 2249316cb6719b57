"""Our own connection tracking: packets that it drops, as its table is full, are silence that says nothing of a port.

Facts (Linux, all tried). Where a rule of the firewall tracks connections, each connect takes an entry: for two minutes
if nobody answers, for ten seconds after a refusal, and up to a minute more, as the kernel sweeps the table that often.
A packet that finds the table full is dropped inside of connect(), without any error to the socket: the port looks
filtered. UDP gets EPERM, as from a firewall of ours. The kernel counts these drops at once, for each network namespace,
in /proc/net/stat/nf_conntrack, a line a processor, in hexadecimal; and how many entries there are. A SYN that is sent
again from the same socket takes no further entry.

Failure. Slowing down by what is dropped never ends: each drop that is found late makes all silences of that time
doubtful, and asking these again fills the table again.

Choice. Until something is dropped, look at the counters when a port is about to be called silent, some times a second
at most. From then on the table is `is_tight`: nothing is sent before there is room for it, and after each sending the
counters say whether it went. So silence is the port's again, and the scan goes as fast as entries end.
Price. Two files to read a probe, of a machine that has nothing else to do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["Tracking", "parse_drops", "read_drops", "read_fill"]

COUNTERS: Final = Path("/proc/net/stat/nf_conntrack")
COUNT: Final = Path("/proc/sys/net/netfilter/nf_conntrack_count")
MOST: Final = Path("/proc/sys/net/netfilter/nf_conntrack_max")
COLUMNS: Final = ("drop", "insert_failed")
INTERVAL: Final = 0.05  # seconds between two looks: less than any wait for an answer
RESERVE: Final = 16  # a part of the table that is left to others
TRICKLE: Final = 5.0  # seconds between two that are tried though there seems to be no room

Fill = tuple[int, int]  # how many entries there are, and how many there may be; 0 is no bound


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


def read_fill() -> Fill:
    """Return how full the table of this network namespace is; (0, 0) where nothing is tracked."""
    try:
        return int(COUNT.read_text("ascii")), int(MOST.read_text("ascii"))
    except (OSError, ValueError):
        return 0, 0


class Tracking:
    """Tells whether packets were dropped, and once some were, whether there is room. `drops` is how many it saw."""

    __slots__ = ("_drops", "_fill", "_first", "_last", "_looked", "_room", "_tried", "drops", "is_tight")

    def __init__(self, now: float, drops: Callable[[], int] = read_drops, fill: Callable[[], Fill] = read_fill) -> None:
        self._drops = drops
        self._fill = fill
        self._first = drops()
        self._looked = now
        self._last = float("-inf")
        self._room = 0
        self._tried = now
        self.drops = 0
        self.is_tight = False

    def has_dropped(self) -> bool:
        """Tell whether anything was dropped since this was asked last; from the first time on the table is tight."""
        count = self._drops() - self._first
        if count == self.drops:
            return False
        self.drops = count
        self._room = 0
        self.is_tight = True
        return True

    def since(self, moment: float, now: float) -> bool:
        """Tell whether what was sent at `moment` may have been dropped unseen, before the table was known as tight."""
        if not self.is_tight and now - self._looked >= INTERVAL:
            self._looked = now
            if self.has_dropped():
                self._last = now
        return self._last >= moment

    def delay(self, now: float) -> float:
        """Take room for an entry; return 0, or the seconds after which to ask again, as there is none."""
        if self._room <= 0 and now - self._looked >= INTERVAL:
            self._looked = now
            count, most = self._fill()
            self._room = most - most // RESERVE - count
            if self._room <= 0 and now - self._tried >= TRICKLE:
                self._room = 1
        if self._room <= 0:
            return INTERVAL
        self._room -= 1
        self._tried = now
        return 0.0
