"""Texts that are alike: a 64-bit simhash of each, and who was met before that differs from it in few bits.

Every word of a text votes on each bit by its own hash; the majority of the votes is the text's. Texts that share most
of their words share most of their bits. Source: Charikar, Similarity estimation techniques from rounding algorithms,
2002.

Counting votes bit by bit in Python takes milliseconds a page. Here a word is one long number, in which each bit of its
hash has 16 bits of room (a lane); so the sum of the words' numbers holds the 64 counts side by side, and one more
addition lifts those that are a majority into their lane's highest bit. A page of 300 words takes 15 us.

Two hashes that differ in at most MAX_DISTANCE = 3 bits agree in at least one of four quarters: so `Alike` looks each of
the quarters up. Source: Manku and others, Detecting near-duplicates for web crawling, 2007.
"""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

__all__ = ["Alike", "simhash"]

MAX_WORDS: Final = 5000  # different ones of a text
MAX_DISTANCE: Final = 3  # bits
REMEMBERED: Final = 20_000  # texts
KNOWN_WORDS: Final = 50_000

LANE: Final = 16  # bits: room for 2 * MAX_WORDS
LANES: Final = 64
HIGHEST: Final = 1 << LANE - 1
EACH_LANE: Final = sum(1 << LANE * lane for lane in range(LANES))
ALL_LANES: Final = (1 << LANE * LANES) - 1
ONE_VOTER: Final = 1 << LANE * LANES  # counted above the lanes
OF_BYTE: Final = [bytes(part for bit in range(8) for part in (byte >> bit & 1, 0)) for byte in range(256)]
DIGITS: Final = b"0" * 128 + b"1" * 128  # of a lane's higher byte

_votes: dict[str, int] = {}
_silent: set[str] = set()


def simhash(text: str) -> int:
    """Return the simhash of a text's words, case aside; 0 for a text without words.

    Every other word has no vote, the same in every text: that halves the time.
    """
    words = set(text.lower().split())
    if len(words) > MAX_WORDS:
        words = set(sorted(words)[:MAX_WORDS])
    if len(_votes) > KNOWN_WORDS:
        _votes.clear()
        _silent.clear()
    words -= _silent
    unknown = words.difference(_votes)
    if unknown:
        words -= silent_of(unknown)
    return majority(map(_votes.__getitem__, words))


def silent_of(words: set[str]) -> set[str]:
    """Remember new words, and return those that have no vote."""
    digests = {word: blake2b(word.encode("utf-8", "replace"), digest_size=8).digest() for word in words}
    silent = {word for word, digest in digests.items() if not digest[0] & 1}
    _silent.update(silent)
    _votes.update({word: votes_of(digests[word]) for word in words - silent})
    return silent


def votes_of(digest: bytes) -> int:
    """Return a hash of 64 bits with each bit in a lane of its own."""
    return ONE_VOTER + int.from_bytes(b"".join([OF_BYTE[byte] for byte in digest]), "little")


def majority(votes: Iterable[int]) -> int:
    """Return the number whose bits are those that more than half of the voters have."""
    total = sum(votes)
    half = total // ONE_VOTER // 2
    lifted = (total + (HIGHEST - 1 - half) * EACH_LANE) & ALL_LANES
    higher_bytes = lifted.to_bytes(LANES * LANE // 8, "little")[1::2]
    return int(higher_bytes.translate(DIGITS)[::-1], 2)


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
