"""Simhash: like texts have like numbers."""

import random

from hypothesis import example, given, strategies as st

from greenprobe.engine import similarity
from greenprobe.engine.similarity import Alike, majority, simhash, votes_of

WORDS = ["".join(random.Random(number).choices("abcdefghij", k=6)) for number in range(3000)]


def text(seed: int, length: int = 400) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def distance(one: list[str], other: list[str]) -> int:
    return (simhash(" ".join(one)) ^ simhash(" ".join(other))).bit_count()


def test_a_text_with_a_few_other_words_is_near() -> None:
    near = 0
    for seed in range(50):
        one = text(seed)
        other = list(one)
        other[7] = other[100] = "changed"
        near += distance(one, other) <= similarity.MAX_DISTANCE
    assert near >= 40


def test_texts_of_other_words_are_far() -> None:
    assert min(distance(text(seed), text(seed + 1000)) for seed in range(50)) > 2 * similarity.MAX_DISTANCE


def test_order_case_and_repetition_do_not_matter() -> None:
    words = text(1)
    assert simhash(" ".join(words)) == simhash(" ".join(reversed(words * 2)).upper())


def test_a_text_without_words_is_zero() -> None:
    assert simhash(" \n") == 0


@given(st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=40))
@example([b"\xff" * 8] * similarity.MAX_WORDS)
@example([b"\xff" * 8] * 10 + [b"\x00" * 8] * 10)
def test_the_majority_of_each_bit_wins(hashes: list[bytes]) -> None:
    numbers = [int.from_bytes(each, "little") for each in hashes]
    slow = sum(1 << bit for bit in range(64) if sum(number >> bit & 1 for number in numbers) > len(numbers) // 2)
    assert majority(map(votes_of, hashes)) == slow


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=3))
def test_what_differs_in_three_bits_is_found(number: int, bits: set[int]) -> None:
    alike = Alike()
    alike.add(number, "first")
    other = number
    for bit in bits:
        other ^= 1 << bit
    assert alike.find(other) == "first"


def test_what_differs_in_four_bits_is_not_found() -> None:
    alike = Alike()
    alike.add(0, "first")
    assert alike.find(0b1111) is None


def test_the_oldest_is_forgotten() -> None:
    alike = Alike(remembered=2)
    for number in (1 << 10, 1 << 30, 1 << 50):
        alike.add(number * 0xFF, str(number))
    assert alike.find((1 << 10) * 0xFF) is None
    assert alike.find((1 << 50) * 0xFF) == str(1 << 50)
    assert sum(len(found) for quarter in alike._quarters for found in quarter.values()) == 8
