"""What greenlet promises and greenprobe's users may rely on, a rule a test; docs/greenlets.md tells them in prose."""

import gc
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import greenlet as greenlet_module
import pytest
from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.errors import HubError
from greenprobe.green_socket import socket
from greenprobe.greenthread import kill, sleep, spawn, spawn_n
from greenprobe.hub import Hub
from greenprobe.sync import Event
from greenprobe.testing import wait_all_blocked

user: ContextVar[str] = ContextVar("user", default="nobody")


def parking(log: list[Any] | None = None) -> greenlet:
    """Return a started greenlet that switches to its maker for ever and notes what it gets."""
    maker = getcurrent()

    def run() -> None:
        while True:
            got = maker.switch()
            if log is not None:
                log.append(got)

    green = greenlet(run)
    green.switch()
    return green


# -- switch


def test_the_first_switch_passes_the_arguments_of_the_function() -> None:
    assert greenlet(lambda a, *, b: (a, b)).switch(1, b=2) == (1, 2)


@pytest.mark.parametrize(
    ("args", "kwargs", "got"),
    [
        ((), {}, ()),
        ((1,), {}, 1),
        ((1, 2), {}, (1, 2)),
        ((), {"a": 1}, {"a": 1}),
        ((1,), {"a": 2}, ((1,), {"a": 2})),
        ((None,), {}, None),
    ],
)
def test_a_later_switch_passes_what_the_parked_one_returns(args: Any, kwargs: Any, got: object) -> None:
    log: list[Any] = []
    parking(log).switch(*args, **kwargs)
    assert log == [got]


def test_what_the_function_returns_is_what_the_parents_switch_returns() -> None:
    assert greenlet(lambda: "the end").switch() == "the end"


def test_a_value_goes_to_the_parent_not_to_who_switched() -> None:
    outer = getcurrent()
    seen: list[object] = []

    def switcher() -> None:
        seen.append(inner.switch())
        raise AssertionError("the value of `inner` is for `outer`")

    inner = greenlet(lambda: "for outer", outer)
    middle = greenlet(switcher)
    assert middle.switch() == "for outer"
    assert seen == []


# -- the tree


def test_the_parent_is_the_maker_unless_given() -> None:
    here = getcurrent()
    assert greenlet(lambda: getcurrent().parent).switch() is here
    other = parking()
    assert greenlet(lambda: None, other).parent is other


def test_the_root_has_no_parent() -> None:
    assert getcurrent().parent is None


def test_an_exception_goes_to_the_parent() -> None:
    def run() -> None:
        raise ValueError("from the child")

    with pytest.raises(ValueError, match="from the child") as caught:
        greenlet(run).switch()
    assert [entry.name for entry in caught.traceback][-1] == "run"


def test_a_parent_that_is_dead_passes_on_to_its_own() -> None:
    dead = greenlet(lambda: None)
    dead.switch()
    assert greenlet(lambda: "for the grandparent", dead).switch() == "for the grandparent"


def test_the_tree_cannot_become_a_ring() -> None:
    upper = greenlet(lambda: None)
    lower = greenlet(lambda: None, upper)
    with pytest.raises(ValueError, match="cyclic"):
        upper.parent = lower


# -- throw and GreenletExit


def test_throw_raises_where_the_target_parked() -> None:
    here = getcurrent()

    def run() -> str:
        try:
            here.switch()
        except KeyError as error:
            return f"caught {error}"
        return "nothing came"

    green = greenlet(run)
    green.switch()
    assert green.throw(KeyError("k")) == "caught 'k'"


def test_throw_into_an_unstarted_one_kills_it_and_reaches_the_parent() -> None:
    ran: list[int] = []
    green = greenlet(lambda: ran.append(1))
    with pytest.raises(ValueError, match="too early"):
        green.throw(ValueError("too early"))
    assert green.dead
    assert not ran


@pytest.mark.parametrize("how", [lambda green: green.throw(), lambda green: green.throw(GreenletExit)])
def test_greenlet_exit_reaches_the_parent_as_a_value(how: Callable[[greenlet], object]) -> None:
    assert isinstance(how(parking()), GreenletExit)


def test_greenlet_exit_runs_finally_and_passes_except_exception() -> None:
    here = getcurrent()
    log: list[str] = []

    def run() -> None:
        try:
            here.switch()
        except Exception:  # pragma: no cover - it must not come here
            log.append("caught")
        finally:
            log.append("cleaned up")

    green = greenlet(run)
    green.switch()
    green.throw()
    assert log == ["cleaned up"]


def test_an_unreachable_greenlet_is_ended() -> None:
    here = getcurrent()
    log: list[type[BaseException]] = []

    def run() -> None:
        try:
            here.switch()
        except BaseException as error:
            log.append(type(error))
            raise

    green = greenlet(run)
    green.switch()
    del green
    gc.collect()
    assert log == [GreenletExit]


# -- states


def test_truth_and_dead_tell_unstarted_parked_and_ended_apart() -> None:
    here = getcurrent()
    green = greenlet(lambda: here.switch())
    states = [(bool(green), green.dead)]
    green.switch()
    states.append((bool(green), green.dead))
    green.switch()
    states.append((bool(green), green.dead))
    assert states == [(False, False), (True, False), (False, True)]


def test_a_switch_to_a_dead_one_comes_back_with_what_was_passed() -> None:
    green = greenlet(lambda: None)
    green.switch()
    assert green.switch("anybody there?") == "anybody there?"
    assert green.switch() == ()


def test_the_frame_shows_while_parked_and_only_then() -> None:
    here = getcurrent()
    frames: list[object] = []

    def run() -> None:
        frames.append(green.gr_frame)
        here.switch()

    green = greenlet(run)
    frames.append(green.gr_frame)
    green.switch()
    assert green.gr_frame is not None
    assert green.gr_frame.f_code is run.__code__
    green.switch()
    frames.append(green.gr_frame)
    assert frames == [None, None, None]


# -- threads, contexts, tracing


def test_a_thread_has_its_own_tree_and_cannot_switch_into_another() -> None:
    main, refused = getcurrent(), []

    def run() -> None:
        assert getcurrent().parent is None
        assert getcurrent() is not main
        try:
            main.switch()
        except greenlet_module.error as error:
            refused.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(refused) == 1
    assert "different thread" in refused[0]


def test_a_new_greenlet_has_an_empty_context_unless_given_one() -> None:
    user.set("ada")
    assert greenlet(user.get).switch() == "nobody"
    green = greenlet(user.get)
    green.gr_context = copy_context()
    assert green.switch() == "ada"


def test_a_trace_function_sees_each_switch_and_throw() -> None:
    events: list[tuple[str, bool]] = []
    green = parking()

    def trace(event: str, args: Any) -> None:
        events.append((event, args[1] is green))

    before = greenlet_module.settrace(trace)
    green.switch()
    green.throw()
    assert greenlet_module.settrace(before) is trace
    assert events == [("switch", True), ("switch", False), ("throw", True), ("switch", False)]


# -- greenthreads


def test_a_greenthread_is_a_greenlet_whose_parent_is_the_loop(hub: Hub) -> None:
    green = spawn(lambda: getcurrent().parent)
    assert isinstance(green, greenlet)
    assert green.wait() is hub.loop
    assert hub.loop.parent is getcurrent()


def test_a_bare_greenthread_has_the_loop_for_a_parent_too(hub: Hub) -> None:
    assert spawn_n(lambda: None).parent is hub.loop
    wait_all_blocked()


def test_an_exception_stays_with_its_greenthread_and_is_raised_to_each_who_waits() -> None:
    def run() -> None:
        raise ValueError("mine")

    green = spawn(run)
    wait_all_blocked()  # the loop goes on
    for _ in range(2):
        with pytest.raises(ValueError, match="mine"):
            green.wait()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_reaches_the_main_greenthread(error: type[BaseException]) -> None:
    def run() -> None:
        raise error

    green = spawn(run)
    with pytest.raises(error):
        sleep(0.05)
    assert green.ready()


def test_kill_does_not_switch_and_raises_where_the_greenthread_waits(hub: Hub) -> None:
    log: list[str] = []

    def run() -> None:
        try:
            Event().wait()
        finally:
            log.append("cleaned up")

    green = spawn(run)
    wait_all_blocked()
    green.kill()
    assert log == []
    with pytest.raises(GreenletExit):
        green.wait()
    assert log == ["cleaned up"]


def test_an_unstarted_greenthread_that_is_killed_never_runs() -> None:
    log: list[int] = []
    green = spawn(log.append, 1)
    green.kill()
    wait_all_blocked()
    assert log == []
    assert green.ready()


def test_a_bare_greenlet_can_be_killed_by_the_loop() -> None:
    here = getcurrent()
    green = greenlet(lambda: here.switch())
    green.switch()
    kill(green)
    assert not green.dead
    wait_all_blocked()
    assert green.dead


def test_context_variables_are_copied_from_the_spawner() -> None:
    def run() -> str:
        name = user.get()
        user.set("bob")
        return name

    user.set("ada")
    assert spawn(run).wait() == "ada"
    assert user.get() == "ada"


def test_a_greenlet_inside_a_greenthread_may_wait(pair: tuple[socket, socket]) -> None:
    left, right = pair

    def read_two(consumer: greenlet) -> None:
        for _ in range(2):
            consumer.switch(right.recv(1))

    def run() -> list[Any]:
        reader = greenlet(read_two)
        return [reader.switch(getcurrent()), reader.switch(), reader.switch()]

    green = spawn(run)
    wait_all_blocked()
    left.send(b"a")
    wait_all_blocked()
    left.send(b"b")
    assert green.wait() == [b"a", b"b", None]


def test_scheduling_resumes_a_bare_greenlet_from_the_loop(hub: Hub) -> None:
    log: list[Any] = []

    def run() -> None:
        hub.switch()
        log.append(getcurrent().parent)

    green = greenlet(run, hub.loop)
    hub.schedule(green)
    wait_all_blocked()
    assert log == []
    hub.schedule(green)
    wait_all_blocked()
    assert log == [hub.loop]


def test_a_callback_of_the_hub_cannot_wait(hub: Hub) -> None:
    refused: list[HubError] = []

    def callback() -> None:
        try:
            sleep(1)
        except HubError as error:
            refused.append(error)

    hub.call_threadsafe(callback)
    wait_all_blocked()
    assert len(refused) == 1
