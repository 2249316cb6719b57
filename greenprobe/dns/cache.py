"""Answers for as long as they hold, and some of them longer, for bad times. No clock: `now` is seconds of any clock.

An answer lives for its TTL, within bounds; "there is none" lives, too (RFC 2308). Of those that are over, some may be
kept for the time when nobody answers (RFC 8767). The cache is bounded: what was used last stays. Several OS threads may
use one: each step is whole, and what another thread took away in between is not there.
"""

from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from typing import Final, Generic, TypeVar

__all__ = ["Cache"]

SIZE: Final = 10_000
MIN_TTL, MAX_TTL = 0.0, 86400.0
MAX_NEGATIVE_TTL: Final = 900.0  # RFC 2308, section 5, calls 1 to 3 hours sensible; a new name should not wait so long
STALE_TTL: Final = 30.0  # RFC 8767, section 4: what a stale answer is given for, and before its server is asked again

T = TypeVar("T")


class Cache(Generic[T]):
    """Values by key. `stale_for` is for how many seconds after its end a value may be had by `revive`."""

    def __init__(
        self,
        *,
        size: int = SIZE,
        min_ttl: float = MIN_TTL,
        max_ttl: float = MAX_TTL,
        max_negative_ttl: float = MAX_NEGATIVE_TTL,
        stale_for: float = 0.0,
    ) -> None:
        self.size = size
        self.min_ttl = min_ttl
        self.max_ttl = max_ttl
        self.max_negative_ttl = max_negative_ttl
        self.stale_for = stale_for
        self._entries: OrderedDict[Hashable, tuple[float, T, float]] = OrderedDict()  # holds until, value, its real end

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, now: float) -> tuple[float, T] | None:
        """Return (until when it holds, value), or None if there is none that holds."""
        entry = self._entries.get(key)
        if entry is None or entry[0] <= now:
            return None
        with suppress(KeyError):
            self._entries.move_to_end(key)
        return entry[:2]

    def revive(self, key: Hashable, now: float) -> T | None:
        """Return a value that is over, for no longer than `stale_for`, else None; it holds for STALE_TTL more."""
        entry = self._entries.get(key)
        if entry is None or entry[2] + self.stale_for <= now:
            return None
        self._entries[key] = (now + STALE_TTL, entry[1], entry[2])
        return entry[1]

    def put(self, key: Hashable, value: T, ttl: float, now: float, *, is_negative: bool = False) -> None:
        """Remember a value for `ttl` seconds, within the bounds."""
        ttl = min(max(ttl, self.min_ttl), self.max_negative_ttl if is_negative else self.max_ttl)
        self._entries.pop(key, None)  # to the end
        self._entries[key] = (now + ttl, value, now + ttl)
        with suppress(KeyError):
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
