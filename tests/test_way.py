"""The way to a host: what its witness says, and what follows."""

from collections.abc import Callable

import pytest

from greenprobe.engine.way import BIGGEST_BATCH, FIRST_BATCH, PATIENCE, SMALLEST_BATCH, Way, judge_run


@pytest.mark.parametrize(
    ("results", "is_open"),
    [
        ([], None),
        ([True, True], None),
        ([True, True, True], True),
        ([False, True, True], None),
        ([False, True, True, True], True),
        ([False, True, False, True, True], None),
        ([False, True, False, True, False], False),
        ([False, False, False], False),
    ],
)
def test_a_way_is_open_after_three_answers_in_a_row_and_closed_after_three_silences(
    results: list[bool], is_open: bool | None
) -> None:
    assert judge_run(results) is is_open


def test_what_was_silent_while_the_way_was_open_is_settled() -> None:
    way: Way[str] = Way()
    way.suspects = ["a", "b"]
    assert way.opened() == ["a", "b"]
    assert way.suspects == []
    assert not way.is_held


def test_what_was_silent_while_the_way_was_closed_is_asked_again_in_calm() -> None:
    way: Way[str] = Way()
    way.suspects = ["a", "b"]
    assert way.closed() > 0
    assert way.is_held
    assert way.opened() == []
    assert way.take_later() == ["a", "b"]
    assert way.take_later() == []


def test_pauses_double_and_end_in_a_loss_when_the_patience_is_over() -> None:
    way: Way[str] = Way()
    pauses = []
    while not way.is_lost:
        pauses.append(way.closed())
    assert pauses[:5] == [1, 2, 4, 8, 16]
    assert pauses[-1] == 0
    assert PATIENCE <= sum(pauses) < PATIENCE + 16


def settle(way: Way[int]) -> None:
    way.opened()


def fail(way: Way[int]) -> None:
    way.closed()


@pytest.mark.parametrize(("then", "bound"), [(settle, BIGGEST_BATCH), (fail, SMALLEST_BATCH)])
def test_batches_grow_while_the_way_is_open_and_shrink_when_it_is_closed(
    then: Callable[[Way[int]], None], bound: int
) -> None:
    way: Way[int] = Way()
    sizes = [way.batch]
    for _ in range(10):
        way.suspects = [1]
        then(way)
        sizes.append(way.batch)
    assert sizes[0] == FIRST_BATCH
    assert sizes[-1] == bound
    assert sizes == sorted(sizes, reverse=bound < FIRST_BATCH)
