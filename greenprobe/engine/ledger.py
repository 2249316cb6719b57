"""Which places of the order are done: a bit each, a chunk that is full no room at all.

A scan finishes its targets nearly in the order in which it takes them, so nearly all chunks are full or empty. What is
kept of a scan of a billion targets is some kilobytes, and goes into a file as text.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

__all__ = ["Ledger"]

SHIFT: Final = 13
CHUNK: Final = 1 << SHIFT


class Ledger:
    """A set of places that only grows."""

    __slots__ = ("_chunks", "_counts", "_full", "count")

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}
        self._counts: dict[int, int] = {}
        self._full: set[int] = set()
        self.count = 0

    def __contains__(self, place: object) -> bool:
        assert isinstance(place, int)
        number = place >> SHIFT
        if number in self._full:
            return True
        chunk = self._chunks.get(number)
        return chunk is not None and bool(chunk[place % CHUNK >> 3] >> (place & 7) & 1)

    def add(self, place: int) -> None:
        """Note that a place is done. Raises ValueError if it was before: somebody asked twice."""
        number = place >> SHIFT
        if place in self:
            raise ValueError(f"place {place} is done already")
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = bytearray(CHUNK >> 3)
            self._counts[number] = 0
        chunk[place % CHUNK >> 3] |= 1 << (place & 7)
        self.count += 1
        self._counts[number] += 1
        if self._counts[number] == CHUNK:
            self._full.add(number)
            del self._chunks[number], self._counts[number]

    def state(self) -> dict[str, Any]:
        """Return it as it is written to a file."""
        partial = {str(number): chunk.hex() for number, chunk in self._chunks.items()}
        return {"full": [list(run) for run in _runs(sorted(self._full))], "partial": partial}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "Ledger":
        """Return what `state` was made of. Raises ValueError, KeyError or TypeError if it was made of nothing."""
        ledger = cls()
        for low, high in state["full"]:
            ledger._full.update(range(low, high + 1))
        ledger.count = len(ledger._full) * CHUNK
        for number, text in state["partial"].items():
            chunk = bytearray.fromhex(text)
            if len(chunk) != CHUNK >> 3:
                raise ValueError(f"chunk {number} has {len(chunk)} bytes")
            ledger._chunks[int(number)] = chunk
            ledger._counts[int(number)] = int.from_bytes(chunk).bit_count()
            ledger.count += ledger._counts[int(number)]
        return ledger


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of consecutive numbers."""
    low = high = -2
    for number in numbers:
        if number != high + 1:
            if high >= 0:
                yield low, high
            low = number
        high = number
    if high >= 0:
        yield low, high
