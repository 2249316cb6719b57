"""What this machine ran out of during a scan: how often, how long to wait, and when to give up."""

from typing import Final

from greenprobe.errors import ScanStalled

__all__ = ["PATIENCE", "Shortages"]

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 1.0  # seconds between two tries to get what we ran out of
PATIENCE: Final = 240.0  # seconds; entries of connection tracking, the slowest shortage to end, last up to 180


class Shortages:
    """Numbers in, seconds out. `counts` is how often each thing was short, by its name."""

    __slots__ = ("_pause", "_since", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._since: float | None = None
        self._pause = FIRST_PAUSE

    def end(self) -> None:
        """Note that the scan went forward."""
        self._since = None

    def add(self, name: str, now: float, *, count: int | None = None) -> float:
        """Note a shortage, or that there were `count` in all; return the seconds to wait before the next try.

        Raises ScanStalled if nothing went forward for PATIENCE seconds.
        """
        if self._since is None:
            self._since = now
            self._pause = FIRST_PAUSE
        if now - self._since > PATIENCE:
            raise ScanStalled(f"{name} for {PATIENCE:.0f} s with nothing answered; give a smaller --concurrency")
        self.counts[name] = self.counts.get(name, 0) + 1 if count is None else count
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return pause
