"""The way to a host: what its witness says, and what follows."""

import pytest

from greenprobe.engine.way import FIRST_CALM, LEAST_CALM, MOST_CALM, PATIENCE, Calm, Way, judge_run


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


def test_one_miss_of_the_witness_is_enough_where_that_is_said() -> None:
    assert judge_run([True, False], misses=1) is False
    assert judge_run([True, True, True], misses=1) is True


def test_what_was_silent_while_the_way_was_open_is_settled() -> None:
    way: Way[str] = Way()
    way.suspects = ["a", "b"]
    assert way.opened() == (["a", "b"], [])
    assert way.suspects == []
    assert not way.is_held


def test_what_has_a_try_left_is_asked_once_more_before_it_is_settled() -> None:
    way: Way[str] = Way()
    way.doubts = ["a"]
    assert way.opened() == ([], ["a"])
    assert way.opened() == ([], [])
    way.doubts = ["a"]
    way.closed()
    assert way.take_later(10) == ["a"]


def test_what_was_silent_while_the_way_was_closed_is_asked_again_in_calm() -> None:
    way: Way[str] = Way()
    way.suspects = ["a", "b"]
    assert way.closed() > 0
    assert way.is_held
    assert way.opened() == ([], [])
    assert way.take_later(10) == ["a", "b"]
    assert way.take_later(10) == []


def test_pauses_double_and_end_in_a_loss_when_the_patience_is_over() -> None:
    way: Way[str] = Way()
    pauses = []
    while not way.is_lost:
        pauses.append(way.closed())
    assert pauses[:5] == [1, 2, 4, 8, 16]
    assert pauses[-1] == 0
    assert PATIENCE <= sum(pauses) < PATIENCE + 16


def ask_all(calm: Calm, *, is_open: bool) -> int:
    """Ask as much as there is room for, and return what room there is then."""
    closings = calm.closings
    calm.give_back(calm.take(5000), closings=closings, is_open=is_open)
    return calm.size


def test_room_in_calm_doubles_while_the_way_is_open() -> None:
    calm = Calm()
    assert [ask_all(calm, is_open=True) for _ in range(7)] == [64, 128, 256, 512, *[MOST_CALM] * 3]


def test_room_in_calm_is_halved_where_the_way_closes_and_then_found_again_with_care() -> None:
    calm = Calm()
    assert [ask_all(calm, is_open=False) for _ in range(4)] == [16, LEAST_CALM, LEAST_CALM, LEAST_CALM]
    assert [ask_all(calm, is_open=True) for _ in range(6)] == [16, 32, 64, 96, 144, 216]


def test_hosts_share_the_room_in_calm_and_one_closing_of_the_way() -> None:
    calm = Calm()
    assert (calm.take(20), calm.take(20)) == (20, FIRST_CALM - 20)
    assert calm.on_wire == calm.size
    calm.give_back(20, closings=0, is_open=False)
    calm.give_back(FIRST_CALM - 20, closings=0, is_open=False)
    assert (calm.size, calm.on_wire) == (FIRST_CALM // 2, 0)
