"""Task groups: children end with their block, failures cancel and are collected, whatever happens when."""

from collections.abc import Callable

import pytest
from core_tools import turns

from greenprobe.errors import GreenletExit
from greenprobe.greenthread import sleep, spawn
from greenprobe.sync import Event
from greenprobe.taskgroup import TaskGroup
from greenprobe.testing import JumpClock, RandomOrder, fresh_hub, wait_all_blocked
from greenprobe.timeout import Timeout, move_on_after


def fail(error: BaseException, after: int = 0) -> None:
    turns(after)
    raise error


def note_end(ended: list[str], name: str = "child") -> None:
    try:
        Event().wait()
    finally:
        ended.append(name)


def kinds(group: BaseExceptionGroup[BaseException]) -> list[type[BaseException]]:
    return [type(error) for error in group.exceptions]


def test_the_block_waits_for_its_children(clock: JumpClock) -> None:
    with TaskGroup() as group:
        child = group.spawn(sleep, 5)
        group.spawn(lambda: group.spawn(sleep, 7))
    assert clock.now() == 7
    assert child.ready()


def test_an_empty_group_does_nothing() -> None:
    with TaskGroup():
        pass


def test_the_first_failure_cancels_siblings_and_the_block() -> None:
    ended: list[str] = []
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(note_end, ended)
        group.spawn(fail, ValueError(1), after=2)
        note_end(ended, "block")
        ended.append("not reached")
    assert kinds(caught.value) == [ValueError]
    assert sorted(ended) == ["block", "child"]


def test_all_failures_come_out_together() -> None:
    def fail_late() -> None:
        try:
            Event().wait()
        finally:
            raise KeyError("clean-up")

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(fail_late)
        wait_all_blocked()
        group.spawn(fail, ValueError(1), after=1)
    assert sorted(kind.__name__ for kind in kinds(caught.value)) == ["KeyError", "ValueError"]


def test_a_failure_of_the_block_cancels_the_children_and_is_included() -> None:
    ended: list[str] = []
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(note_end, ended)
        wait_all_blocked()
        raise KeyError("block")
    assert kinds(caught.value) == [KeyError]
    assert ended == ["child"]


def test_a_base_exception_of_a_child_makes_a_base_exception_group() -> None:
    class Odd(BaseException):
        pass

    with pytest.raises(BaseExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(fail, Odd())
    assert kinds(caught.value) == [Odd]
    assert not isinstance(caught.value, ExceptionGroup)


def test_cancel_ends_block_and_children_silently() -> None:
    ended: list[str] = []
    with TaskGroup() as group:
        child = group.spawn(note_end, ended)
        wait_all_blocked()
        unstarted = group.spawn(ended.append, "unstarted")
        group.cancel()
        Event().wait()
    assert ended == ["child"]
    assert child.wait() is None
    assert not unstarted.successful()


def test_a_child_that_swallows_its_cancellation_meets_it_again() -> None:
    met = 0

    def stubborn() -> None:
        nonlocal met
        while met < 3:
            try:
                Event().wait()
            except BaseException:
                met += 1

    with TaskGroup() as group:
        group.spawn(stubborn)
        wait_all_blocked()
        group.cancel()
    assert met == 3


def test_a_killed_child_is_no_failure() -> None:
    with TaskGroup() as group:
        child = group.spawn(Event().wait)
        wait_all_blocked()
        child.kill()


def test_the_end_of_an_outer_scope_ends_the_children(clock: JumpClock) -> None:
    ended: list[str] = []
    with move_on_after(5) as scope, TaskGroup() as group:
        group.spawn(note_end, ended)
    assert scope.cancelled_caught
    assert ended == ["child"]
    assert clock.now() == 5


def test_children_that_clean_up_slowly_are_waited_for_after_an_outer_scope_is_over(clock: JumpClock) -> None:
    def slow() -> None:
        try:
            Event().wait()
        finally:
            with move_on_after(3, shield=True):
                Event().wait()

    with move_on_after(5) as scope, TaskGroup() as group:
        child = group.spawn(slow)
    assert child.ready()
    assert scope.cancelled_caught
    assert clock.now() == 8


def test_a_timeout_around_a_group_comes_out_as_itself(clock: JumpClock) -> None:
    ended: list[str] = []
    with pytest.raises(Timeout), Timeout(5), TaskGroup() as group:
        group.spawn(note_end, ended)
    assert ended == ["child"]


def test_being_killed_while_waiting_still_waits_for_the_children(clock: JumpClock) -> None:
    def slow() -> None:
        try:
            Event().wait()
        finally:
            with move_on_after(3, shield=True):
                Event().wait()

    def own() -> None:
        with TaskGroup() as group:
            group.spawn(slow)

    owner = spawn(own)
    wait_all_blocked()
    owner.kill()
    wait_all_blocked()
    assert not owner.ready()
    owner.kill()
    with pytest.raises(GreenletExit):
        owner.wait()
    assert clock.now() == 3


def test_groups_nest_and_a_failure_inside_comes_out_of_both() -> None:
    ended: list[str] = []

    def inner() -> None:
        with TaskGroup() as group:
            group.spawn(fail, ValueError(1), after=3)
            group.spawn(note_end, ended, "inner")

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(inner)
        group.spawn(note_end, ended, "outer")
    assert sorted(ended) == ["inner", "outer"]
    assert kinds(caught.value) == [ExceptionGroup]


def test_a_group_takes_no_children_outside_of_its_block() -> None:
    group = TaskGroup()
    with pytest.raises(RuntimeError, match="outside"):
        group.spawn(int)
    with group:
        pass
    with pytest.raises(RuntimeError, match="outside"):
        group.spawn(int)


# -- start


def test_start_waits_until_the_child_is_ready_and_gives_its_value(clock: JumpClock) -> None:
    def serve(port: int, *, ready: object) -> None:
        sleep(2)
        ready(port + 1)  # type: ignore[operator]
        sleep(3)

    with TaskGroup() as group:
        assert group.start(serve, 80) == 81
        assert clock.now() == 2
    assert clock.now() == 5


def test_start_raises_what_the_child_failed_with_before_it_was_ready() -> None:
    with TaskGroup() as group:
        with pytest.raises(ValueError):
            group.start(lambda ready: fail(ValueError(1), 1))
        with pytest.raises(RuntimeError, match="ready"):
            group.start(lambda ready: None)
        assert not group.cancel_called


def test_a_failure_after_ready_is_a_failure_of_the_group() -> None:
    def serve(ready: object) -> None:
        ready()  # type: ignore[operator]
        sleep(0)
        raise ValueError

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        assert group.start(serve) is None
    assert kinds(caught.value) == [ValueError]


def test_a_start_that_is_called_off_calls_off_the_child(clock: JumpClock) -> None:
    ended: list[str] = []
    with TaskGroup() as group:
        with move_on_after(2) as scope:
            group.start(lambda ready: note_end(ended))
        assert scope.cancelled_caught
    assert ended == ["child"]


# -- at any switch


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_kill_at_any_switch_leaves_no_child_behind(seed: int | None) -> None:
    for switches in range(14):
        with fresh_hub():
            if seed is not None:
                RandomOrder(seed).__enter__()
            running = 0

            def work(times: int) -> None:
                nonlocal running
                running += 1
                try:
                    for _ in range(times):
                        sleep(0)
                finally:
                    running -= 1

            def serve(ready: Callable[[], None], work: Callable[[int], None] = work) -> None:
                sleep(0)
                ready()
                work(5)

            def own(work: Callable[[int], None] = work, serve: Callable[..., None] = serve) -> None:
                with TaskGroup() as group:
                    group.spawn(work, 3)
                    group.spawn(work, 6)
                    sleep(0)
                    group.start(serve)
                    sleep(0)

            owner = spawn(own)
            for _ in range(switches):
                sleep(0)
            owner.kill()
            owner.join()
            assert running == 0, switches
