"""What a type checker knows of a script's results. `mypy --strict` reads this file; running it only calls the code."""

from typing import Any, assert_type

from greenprobe import (
    AsyncResult,
    GreenPool,
    GreenThread,
    Queue,
    TaskGroup,
    as_completed,
    run_in_thread,
    spawn,
    spawn_after,
    wait_any,
)


def words(count: int, *, mark: str = "x") -> str:
    return mark * count


def test_a_greenthread_has_the_type_of_what_its_function_returns() -> None:
    green = spawn(words, 3, mark="y")
    assert_type(green, GreenThread[str])
    assert_type(green.wait(), str)
    assert_type(spawn_after(0, len, "abc").wait(), int)
    assert green.wait() == "yyy"


def test_a_pool_s_results_have_the_type_of_what_its_function_returns() -> None:
    pool = GreenPool(2)
    assert_type(pool.spawn(words, 1).wait(), str)
    assert_type(pool.map(words, [1, 2]), list[str])
    for each in pool.imap(words, [1, 2]):
        assert_type(each, str)
    assert list(pool.starmap(words, [(1,), (2,)])) == ["x", "xx"]


def test_greenthreads_of_several_types_go_together() -> None:
    greens = [spawn(words, 1), spawn(len, "abc")]
    assert [green.wait() for green in greens] == ["x", 3]
    assert_type(list(as_completed([spawn(words, 1)])), list[GreenThread[str]])
    assert_type(wait_any([spawn(words, 1)]), list[GreenThread[str]])


def test_what_is_handed_over_keeps_its_type() -> None:
    result, queue = AsyncResult[int](), Queue[str]()
    spawn(result.set, 3)
    spawn(queue.put, "x")
    assert_type(result.wait(), int)
    assert_type(queue.get(), str)
    assert_type(run_in_thread(len, "abc"), int)
    with TaskGroup() as group:
        child = group.spawn(words, 1)
    assert_type(child.wait(), Any)  # None if it is called off
