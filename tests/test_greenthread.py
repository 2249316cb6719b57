"""Spawn, wait, link, kill: outcomes, order, names, contexts, and what is left behind."""

import gc
import threading
import traceback
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from core_tools import run_python, turns
from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe.greenthread import GreenThread, kill, sleep, spawn, spawn_after, spawn_n
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import AsyncResult
from greenprobe.sync import Event, Semaphore
from greenprobe.testing import JumpClock

Errors = list[BaseException]


class Boom(Exception):
    """What the greenthreads here die of."""


@pytest.fixture
def errors(hub: Hub) -> Errors:
    """What the hub would have printed."""
    found: Errors = []
    hub.on_error = found.append
    return found


def fail() -> None:
    raise Boom("as asked")


# -- outcomes


def test_wait_returns_what_the_function_returned() -> None:
    assert spawn(lambda *args, **kwargs: (args, kwargs), 1, 2, three=3).wait() == ((1, 2), {"three": 3})
    assert spawn(lambda one: one, 1).wait() == 1
    assert spawn(lambda: None).wait() is None


def test_wait_raises_what_the_function_raised() -> None:
    green = spawn(fail)
    with pytest.raises(Boom, match="as asked"):
        green.wait()
    assert isinstance(green.exception, Boom)
    assert green.value is None
    assert not green.successful()


def test_an_exception_raised_often_keeps_its_traceback_short() -> None:
    green = spawn(fail)
    lengths = []
    for _ in range(5):
        with pytest.raises(Boom) as caught:
            green.wait()
        lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(set(lengths)) == 1
    assert lengths[0] <= 4


def test_wait_with_a_timeout_gives_up_and_can_be_done_again(clock: JumpClock) -> None:
    green = spawn(sleep, 10)
    with pytest.raises(TimeoutError):
        green.wait(3)
    assert clock.now() == 3
    assert not green.join(2)
    assert green.join(100)
    assert clock.now() == 10


def test_many_wait_for_one() -> None:
    event = Event()
    green = spawn(event.wait)
    waiters = [spawn(green.wait) for _ in range(10)]
    turns(2)
    event.set()
    assert [waiter.wait() for waiter in waiters] == [True] * 10


def test_nothing_runs_before_the_spawner_switches() -> None:
    ran: list[int] = []
    spawn(ran.append, 1)
    spawn_n(ran.append, 2)
    assert ran == []
    turns(2)
    assert sorted(ran) == [1, 2]


@pytest.mark.fifo
def test_greenthreads_begin_in_the_order_of_their_spawn() -> None:
    ran: list[int] = []
    for number in range(100):
        (spawn if number % 2 else spawn_n)(ran.append, number)
    turns(2)
    assert ran == list(range(100))


def test_a_bare_greenthread_takes_arguments_and_prints_what_it_dies_of(errors: Errors) -> None:
    got: list[object] = []
    spawn_n(lambda *args, **kwargs: got.append((args, kwargs)), 1, 2, three=3)
    spawn_n(fail)
    spawn_n(got.append, "after")
    turns(3)
    assert sorted(map(str, got)) == ["((1, 2), {'three': 3})", "after"]
    assert [type(error) for error in errors] == [Boom]


def test_an_exception_that_somebody_can_wait_for_is_not_printed(errors: Errors) -> None:
    green = spawn(fail)
    turns(2)
    assert errors == []
    with pytest.raises(Boom):
        green.wait()
    del green
    gc.collect()
    assert errors == []


@pytest.mark.parametrize("ask", [GreenThread.join, GreenThread.successful])
def test_a_failure_that_nobody_asked_for_is_printed_when_it_is_dropped(errors: Errors, ask: Callable[..., Any]) -> None:
    green = spawn(fail)
    turns(2)
    ask(green)
    assert not errors
    del green
    assert [type(error) for error in errors] == [Boom]


def test_an_exception_that_was_looked_at_is_not_printed(errors: Errors) -> None:
    green = spawn(fail)
    green.join()
    assert isinstance(green.exception, Boom)
    del green
    assert errors == []


def test_a_kill_is_not_printed(errors: Errors) -> None:
    for turns_before in range(2):
        green = spawn(sleep, 60)
        turns(turns_before)
        green.kill()
        green.join()
        del green
    assert errors == []


def test_a_program_that_ends_says_what_failed() -> None:
    done = run_python("""
        from greenprobe.greenthread import sleep, spawn
        green = spawn(lambda: 1 / 0)
        sleep(0)
        """)
    assert "ZeroDivisionError" in done.stderr


# -- kill


def test_a_greenthread_killed_before_its_start_never_runs(errors: Errors) -> None:
    ran: list[int] = []
    green = spawn(ran.append, 1)
    green.kill()
    assert green.ready()
    with pytest.raises(GreenletExit):
        green.wait()
    turns(3)
    assert ran == []
    assert errors == []


def test_a_bare_greenthread_killed_before_its_start_never_runs(errors: Errors) -> None:
    ran: list[int] = []
    kill(spawn_n(ran.append, 1))
    turns(3)
    assert ran == []
    assert errors == []


WAITS: dict[str, Callable[[], object]] = {
    "sleep": partial(sleep, 3600),
    "sleep(0)": partial(turns, 1_000_000),
    "event": lambda: Event().wait(),
    "event with timeout": lambda: Event().wait(3600),
    "semaphore": lambda: Semaphore(0).acquire(),
    "result": lambda: AsyncResult[int]().wait(),
    "greenthread": lambda: spawn_after(60, fail).wait(),
    "switch": lambda: get_hub().switch(),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_kill_raises_where_the_greenthread_waits(wait: Callable[[], object], hub: Hub, errors: Errors) -> None:
    seen: list[str] = []

    def victim() -> None:
        try:
            wait()
        except Boom:
            seen.append("killed")
            raise

    green = spawn(victim)
    turns(2)
    green.kill(Boom("dead"))
    assert not green.ready()  # kill does not switch
    with pytest.raises(Boom, match="dead"):
        green.wait()
    assert seen == ["killed"]
    assert errors == []
    for _, _, timer in list(hub.timers.heap):
        if timer.callback is not None:  # of the greenthread that was to be spawned later
            timer.args[0].kill()
    assert len(hub.timers) == 0


def test_kill_at_every_switch_point_runs_every_finally() -> None:
    for point in range(12):
        steps: list[str] = []

        def victim(steps: list[str] = steps) -> None:
            semaphore = Semaphore(1)
            try:
                with semaphore:
                    steps.append("in")
                    for _ in range(10):
                        sleep(0)
            finally:
                steps.append(f"out {semaphore.balance}")

        green = spawn(victim)
        turns(point)
        green.kill()
        green.join()
        assert steps in ([], ["in", "out 1"])


def test_killing_the_current_greenthread_raises_at_once() -> None:
    after: list[int] = []

    def suicide() -> None:
        current = getcurrent()
        assert isinstance(current, GreenThread)
        current.kill(Boom)
        after.append(1)

    with pytest.raises(Boom):
        spawn(suicide).wait()
    assert after == []


def test_killing_the_dead_does_nothing() -> None:
    green = spawn(lambda: 5)
    assert green.wait() == 5
    green.kill()
    kill(green)
    turns(2)
    assert green.wait() == 5


def test_a_kill_that_is_swallowed_leaves_the_greenthread_alive() -> None:
    def stubborn() -> str:
        try:
            sleep(3600)
        except GreenletExit:
            sleep(0)
        return "alive"

    green = spawn(stubborn)
    turns(1)
    green.kill()
    assert green.wait() == "alive"


def test_a_kill_takes_an_exception_class_or_an_instance() -> None:
    for error in (Boom, Boom("x")):
        green = spawn(sleep, 3600)
        turns(1)
        green.kill(error)
        with pytest.raises(Boom):
            green.wait()


@pytest.mark.parametrize("started", [False, True])
def test_another_thread_may_kill(started: bool, errors: Errors) -> None:
    ran: list[int] = []

    def victim() -> None:
        ran.append(1)
        sleep(3600)

    green = spawn(victim)
    turns(2 if started else 0)
    thread = threading.Thread(target=green.kill)
    thread.start()
    thread.join()
    with pytest.raises(GreenletExit):
        green.wait(5)
    turns(2)
    assert len(ran) <= 1
    assert errors == []


def test_a_bare_greenthread_killed_while_it_waits_says_nothing(errors: Errors) -> None:
    ended: list[int] = []

    def victim() -> None:
        try:
            sleep(3600)
        finally:
            ended.append(1)

    green = spawn_n(victim)
    turns(1)
    kill(green)
    turns(2)
    assert ended == [1]
    assert green.dead
    assert errors == []


def test_cancel_stops_only_what_has_not_started() -> None:
    event = Event()
    running = spawn(event.wait)
    turns(1)
    fresh = spawn(pytest.fail, "cancelled")
    assert fresh.cancel()
    assert not running.cancel()
    event.set()
    assert running.wait()


# -- later


def test_spawn_after_starts_at_its_time(clock: JumpClock) -> None:
    green = spawn_after(30, clock.now)
    assert green.wait() == 30


def test_spawn_after_killed_in_time_leaves_no_timer(hub: Hub) -> None:
    green = spawn_after(3600, pytest.fail, "killed")
    green.kill()
    assert len(hub.timers) == 0
    assert green.ready()


# -- links


def test_links_are_called_in_order_with_the_greenthread_and_their_arguments() -> None:
    calls: list[tuple[object, ...]] = []
    green = spawn(lambda: 5)
    green.link(lambda *args, **kwargs: calls.append((*args, kwargs)), 1, two=2)
    green.link(lambda g: calls.append((g, g.value)))
    green.wait()
    turns(1)
    assert calls == [(green, 1, {"two": 2}), (green, 5)]


def test_a_link_after_the_end_is_called_at_once() -> None:
    green = spawn(fail)
    green.join()
    calls: list[object] = []
    green.link(calls.append)
    assert calls == [green]


def test_an_unlinked_callback_is_not_called() -> None:
    calls: list[object] = []
    green = spawn(lambda: 5)
    green.link(calls.append)
    assert green.unlink(calls.append)
    assert not green.unlink(calls.append)
    green.wait()
    turns(1)
    assert calls == []


def test_a_link_that_raises_is_printed_and_the_others_are_called(errors: Errors) -> None:
    calls: list[object] = []
    green = spawn(lambda: 5)
    green.link(lambda _: fail())
    green.link(calls.append)
    assert green.wait() == 5
    turns(1)
    assert calls == [green]
    assert [type(error) for error in errors] == [Boom]


def test_links_of_the_killed_are_called_too() -> None:
    calls: list[object] = []
    unstarted, parked = spawn(fail), spawn(sleep, 3600)
    for green in (unstarted, parked):
        green.link(lambda g: calls.append(type(g.exception)))
    unstarted.kill()
    turns(1)
    parked.kill()
    parked.join()
    turns(1)
    assert calls == [GreenletExit, GreenletExit]


# -- who it is


def test_a_greenthread_has_a_name() -> None:
    green = spawn(fail)
    assert green.name.startswith("fail-")
    green.name = "mine"
    assert green.name == "mine"
    assert repr(green) == "<GreenThread mine unstarted>"
    green.join()
    assert repr(green) == "<GreenThread mine over>"


def test_a_greenthread_knows_its_spawner_while_that_exists() -> None:
    def parent() -> GreenThread:
        return spawn(sleep, 0)

    parent_green = spawn(parent)
    child: GreenThread = parent_green.wait()
    spawners = [child.spawner]
    assert spawners == [parent_green]
    del parent_green
    spawners.clear()
    turns(2)
    gc.collect()
    spawners.append(child.spawner)
    assert spawners == [None]
    assert spawn(sleep).spawner is getcurrent()
    turns(2)


@pytest.mark.fifo
def test_started_and_ready_tell_how_far_it_is() -> None:
    green = spawn(sleep, 0)
    states = []
    for _ in range(3):
        states.append((green.started, green.ready()))
        turns(1)
    green.wait()
    assert states == [(False, False), (True, False), (True, True)]


variable: ContextVar[str] = ContextVar("variable", default="unset")


def test_a_greenthread_runs_in_a_copy_of_its_spawners_context() -> None:
    def change() -> tuple[str, str]:
        before = variable.get()
        variable.set("changed")
        sleep(0)
        return before, variable.get()

    token = variable.set("spawner's")
    greens = [spawn(change) for _ in range(3)]
    seen: list[str] = []
    spawn_n(lambda: seen.append(variable.get()))
    variable.reset(token)
    assert [green.wait() for green in greens] == [("spawner's", "changed")] * 3
    assert seen == ["spawner's"]
    assert variable.get() == "unset"


def test_a_change_of_context_in_one_greenthread_stays_there() -> None:
    def change(value: str) -> str:
        variable.set(value)
        sleep(0)
        return variable.get()

    greens = [spawn(change, str(number)) for number in range(5)]
    assert [green.wait() for green in greens] == list("01234")
    assert variable.get() == "unset"


# -- what is left


def failed_and_waited_for() -> None:
    green = spawn(fail)
    kept.append(weakref.ref(green))
    try:
        green.wait()
    except Boom:
        del green


def killed_unstarted() -> None:
    green = spawn(fail)
    kept.append(weakref.ref(green))
    green.kill()


def killed_waiting() -> None:
    green = spawn(sleep, 3600)
    kept.append(weakref.ref(green))
    turns(1)
    green.kill()
    green.join()


def ended_with_links() -> None:
    green = spawn(lambda: 5)
    kept.append(weakref.ref(green))
    green.link(lambda g: g.value)
    green.wait()


def spawned_later() -> None:
    green = spawn_after(0.001, lambda: 5)
    kept.append(weakref.ref(green))
    green.wait()


def bare() -> None:
    kept.append(weakref.ref(spawn_n(lambda: None)))


kept: list[weakref.ref[greenlet]] = []
LIVES = [failed_and_waited_for, killed_unstarted, killed_waiting, ended_with_links, spawned_later, bare]


class Thing:
    """What a greenthread is given."""


@pytest.mark.parametrize("function", [id, int], ids=["returns", "raises"])
def test_a_greenthread_that_is_over_keeps_nothing_that_it_was_given(function: Callable[[Thing], int]) -> None:
    thing = Thing()
    reference = weakref.ref(thing)
    green = spawn(function, thing)
    del thing
    green.join()
    assert (green.exception is None) == (function is id)
    assert reference() is None


@pytest.mark.parametrize("live", LIVES, ids=lambda live: live.__name__)
def test_a_greenthread_goes_without_the_garbage_collector(live: Callable[[], None]) -> None:
    kept.clear()
    gc.collect()
    gc.disable()
    try:
        live()
        turns(3)
        assert [reference() for reference in kept] == [None]
    finally:
        gc.enable()
