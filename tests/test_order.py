"""The computed order: a bijection of any size and seed, with random access."""

from itertools import chain, pairwise

import pytest
from hypothesis import given, settings, strategies as st

from greenprobe.engine.order import Permutation

SEEDS = st.integers(0, 1 << 70)


@given(st.integers(0, 3000), SEEDS)
def test_each_number_comes_exactly_once(size: int, seed: int) -> None:
    assert sorted(Permutation(size, seed).walk()) == list(range(size))


@given(st.integers(1, 1 << 100), SEEDS, st.data())
@settings(max_examples=50)
def test_a_place_gives_what_the_walk_gives_there(size: int, seed: int, data: st.DataObject) -> None:
    order = Permutation(size, seed)
    place = data.draw(st.integers(0, size - 1))
    value = order[place]
    assert 0 <= value < size
    assert next(order.walk(place)) == value == Permutation(size, seed)[place]


def test_a_large_order_repeats_nothing_among_its_first_places() -> None:
    walk = Permutation(1 << 80, 3).walk()
    assert len({next(walk) for _ in range(5000)}) == 5000


def test_strides_split_the_order_into_shards() -> None:
    order = Permutation(1000, 5)
    shards = [list(order.walk(start, 3)) for start in range(3)]
    assert sorted(chain.from_iterable(shards)) == list(range(1000))
    assert shards[1][0] == order[1]


def test_the_seed_changes_the_order() -> None:
    assert list(Permutation(100, 1).walk()) != list(Permutation(100, 2).walk())


def test_neighbours_land_far_apart() -> None:
    """A scan of 256 hosts x 100 ports must not meet one host in bursts."""
    hosts = [index // 100 for index in Permutation(25_600, 9).walk()]
    repeats = sum(a == b for a, b in pairwise(hosts))
    assert repeats < 200  # 100 is what chance gives
    first = hosts[:2560]
    assert max(first.count(host) for host in set(first)) < 35  # 10 on average


@pytest.mark.parametrize("place", (-1, 10))
def test_a_place_outside_is_an_index_error(place: int) -> None:
    with pytest.raises(IndexError, match="outside"):
        Permutation(10, 1)[place]


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Permutation(-1, 1)
