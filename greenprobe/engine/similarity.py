"""Texts that are alike: a 64-bit simhash of each, and who was met before that differs from it in few bits.

Every word of a text votes on each bit by its own hash; the majority of the votes is the text's. Texts that share most
of their words share most of their bits. Source: Charikar, Similarity estimation techniques from rounding algorithms,
2002.

Counting votes bit by bit in Python takes milliseconds a page. Here the hashes of all words stand in one row of bytes:
every eighth byte makes a column, and what is left of a column without the bytes that have a bit are the votes against.
That is 64 calls of C for a page.

Two hashes that differ in at most MAX_DISTANCE = 3 bits agree in at least one of four quarters: so `Alike` looks each of
the quarters up. Source: Manku and others, Detecting near-duplicates for web crawling, 2007.
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

__all__ = ["Alike", "simhash"]

MAX_WORDS: Final = 5000  # different ones of a text
MAX_DISTANCE: Final = 3  # bits
REMEMBERED: Final = 20_000  # texts
KNOWN_WORDS: Final = 100_000

_hashes: dict[str, bytes] = {}
WITH_BIT: Final = [bytes(byte for byte in range(256) if byte >> bit & 1) for bit in range(8)]


def simhash(text: str) -> int:
    """Return the simhash of a text's words, case aside; 0 for a text without words."""
    words = set(text.lower().split())
    if len(words) > MAX_WORDS:
        words = set(sorted(words)[:MAX_WORDS])
    if len(_hashes) > KNOWN_WORDS:
        _hashes.clear()
    for word in words.difference(_hashes):
        _hashes[word] = sampled(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest())
    votes = b"".join(map(_hashes.__getitem__, words))
    return majority(votes, len(votes) // 8)


def sampled(digest: bytes) -> bytes:
    """Return every other hash, nothing for the rest: the same words vote in every text, in half the time."""
    return digest if digest[0] & 1 else b""


def majority(hashes: bytes, count: int) -> int:
    """Return the number whose bits are those that more than half of `count` hashes have."""
    half = count // 2
    number = 0
    for place in range(8):
        column = hashes[place::8]
        for bit, with_bit in enumerate(WITH_BIT):
            if count - len(column.translate(None, with_bit)) > half:
                number |= 1 << 8 * place + bit
    return number


class Alike:
    """The texts that were met last, by their simhash."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._texts: OrderedDict[int, str] = OrderedDict()
        self._quarters: tuple[dict[int, list[int]], ...] = ({}, {}, {}, {})

    def find(self, number: int) -> str | None:
        """Return the name of a text that is like this one, None if none is remembered."""
        exact = self._texts.get(number)
        if exact is not None:
            return exact
        for place, quarter in enumerate(self._quarters):
            for other in quarter.get(number >> 16 * place & 0xFFFF, ()):
                if (other ^ number).bit_count() <= MAX_DISTANCE:
                    return self._texts[other]
        return None

    def add(self, number: int, name: str) -> None:
        """Remember a text; the oldest is forgotten when there are too many."""
        if number in self._texts:
            return
        self._texts[number] = name
        for place, quarter in enumerate(self._quarters):
            quarter.setdefault(number >> 16 * place & 0xFFFF, []).append(number)
        if len(self._texts) > self._remembered:
            self._forget(self._texts.popitem(last=False)[0])

    def _forget(self, number: int) -> None:
        for place, quarter in enumerate(self._quarters):
            key = number >> 16 * place & 0xFFFF
            quarter[key].remove(number)
            if not quarter[key]:
                del quarter[key]
