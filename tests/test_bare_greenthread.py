"""Bare greenthreads are used again, and nobody can tell."""

import gc
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar

import pytest
from core_tools import in_child, turns
from greenlet import GreenletExit, getcurrent, greenlet

from greenprobe import bare_greenthread as bare
from greenprobe.greenthread import kill, spawn, spawn_n
from greenprobe.hub import Hub, get_hub
from greenprobe.local import local
from greenprobe.pool import GreenPool
from greenprobe.sync import Event
from greenprobe.testing import fresh_hub
from greenprobe.whereabouts import describe

variable = ContextVar("variable", default="unset")


def address() -> int:
    return id(getcurrent())


def addresses_of_two(between: Callable[[], object] = lambda: None) -> list[int]:
    """Return where two functions ran that were started one after the other."""
    found: list[int] = []
    spawn_n(lambda: found.append(address()))
    turns()
    between()
    spawn_n(lambda: found.append(address()))
    turns()
    return found


# -- used again


def test_the_greenlet_of_one_whose_function_is_over_runs_the_next() -> None:
    first, second = addresses_of_two()
    assert first == second


def test_one_that_waited_in_between_is_used_again(hub: Hub) -> None:
    found: list[int] = []
    event = Event()

    def work() -> None:
        event.wait()
        found.append(address())

    for _ in range(2):
        spawn_n(work)
        turns()
        event.set()
        event.clear()
        turns()
    assert len(hub.resting) == 1
    assert found[0] == found[1]


def test_workers_of_a_pool_are_used_again(hub: Hub) -> None:
    pool = GreenPool(3)
    found: set[int] = set()
    for _ in range(50):
        pool.spawn_n(lambda: found.add(address()))
    assert pool.waitall()
    assert len(found) <= 6
    assert pool.running() == 0


def test_no_more_rest_than_there_is_room_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "MAX_RESTING", 4)
    for _ in range(10):
        spawn_n(int)
    turns()
    assert len(hub.resting) == 4


# -- as good as new


def test_context_variables_of_the_last_function_are_not_seen() -> None:
    seen: list[str] = []

    def work() -> None:
        seen.append(variable.get())
        variable.set("mine")

    for _ in range(2):
        spawn_n(work)
        turns()
    assert seen == ["unset", "unset"]


def test_the_second_function_runs_in_the_context_of_its_own_spawner() -> None:
    seen: list[str] = []
    spawn_n(int)
    turns()
    variable.set("spawner's")
    spawn_n(lambda: seen.append(variable.get()))
    turns()
    assert seen == ["spawner's"]


def test_attributes_of_the_last_function_are_gone() -> None:
    seen: list[bool] = []

    def work() -> None:
        seen.append(hasattr(getcurrent(), "mark"))
        getcurrent().mark = 1  # type: ignore[attr-defined]

    for _ in range(2):
        spawn_n(work)
        turns()
    assert seen == [False, False]


def test_a_local_of_the_last_function_is_not_seen() -> None:
    storage = local()
    seen: list[bool] = []

    def work() -> None:
        seen.append(hasattr(storage, "mark"))
        storage.mark = 1

    for _ in range(2):
        spawn_n(work)
        turns()
    assert seen == [False, False]


def test_what_the_last_function_was_given_is_let_go_of() -> None:
    class Thing:
        """Something that can be referred to weakly."""

    thing = Thing()
    alive = weakref.ref(thing)
    spawn_n(lambda one, two: None, thing, two=thing)
    del thing
    turns()
    assert alive() is None


def test_a_child_does_not_take_the_next_function_for_its_spawner() -> None:
    children = []
    event = Event()
    spawn_n(lambda: children.append(spawn(event.wait)))
    turns()
    spawn_n(event.wait)
    turns()
    assert children[0].spawner is None
    event.set()
    turns()


# -- held by somebody


def test_one_that_somebody_holds_is_dead_and_not_used_again(hub: Hub) -> None:
    ran: list[int] = []
    held = spawn_n(lambda: ran.append(address()))
    states = [held.dead]
    turns()
    states.append(held.dead)
    assert states == [False, True]
    spawn_n(lambda: ran.append(address()))
    turns()
    assert ran[0] != ran[1]
    assert held.gr_frame is None, "it has not really ended"


def test_one_that_holds_itself_in_a_list_is_not_used_again() -> None:
    kept: list[greenlet] = []
    spawn_n(lambda: kept.append(getcurrent()))
    turns()
    spawn_n(lambda: kept.append(getcurrent()))
    turns()
    assert kept[0] is not kept[1]


def test_one_that_is_referred_to_weakly_ends_at_once() -> None:
    kept: list[weakref.ref[greenlet]] = []
    spawn_n(lambda: kept.append(weakref.ref(getcurrent())))
    turns()
    assert kept[0]() is None


def test_killing_one_that_is_over_kills_no_other(hub: Hub) -> None:
    ran: list[str] = []
    over = spawn_n(int)
    turns()
    spawn_n(ran.append, "next")
    kill(over)
    turns()
    assert ran == ["next"]


def test_one_that_was_thrown_at_while_it_rested_is_not_used_again(hub: Hub) -> None:
    held = spawn_n(int)
    turns()
    hub.call_threadsafe(held.throw, GreenletExit)
    turns()
    assert hub.resting == []
    assert len(set(addresses_of_two())) == 1


def test_a_stray_switch_to_one_that_rests_starts_nothing(hub: Hub) -> None:
    errors: list[BaseException] = []
    hub.on_error = errors.append
    held = spawn_n(int)
    turns()
    hub.ready.append(held)
    turns()
    assert held.gr_frame is not None
    assert hub.resting == [held]
    assert errors == []


def test_one_that_was_given_another_parent_ends_there(hub: Hub) -> None:
    ended: list[object] = []

    def adopt() -> None:
        here = getcurrent()
        here.parent = greenlet(lambda result=None: ended.append(result), hub.loop)

    spawn_n(adopt)
    turns()
    assert ended == [None]
    assert hub.resting == []


# -- the ways to end


def test_one_whose_function_raises_ends_and_is_told_of(hub: Hub) -> None:
    errors: list[BaseException] = []
    hub.on_error = errors.append
    spawn_n(int, "no number")
    turns()
    assert [type(error) for error in errors] == [ValueError]
    assert hub.resting == []


def test_one_that_was_called_off_runs_nothing_and_gives_its_place_back(hub: Hub) -> None:
    pool = GreenPool(1)
    ran: list[int] = []
    pool.spawn_n(int)
    pool.waitall()
    pool.spawn_n(ran.append, 1)
    pool.kill()
    assert pool.waitall()
    assert ran == []


def test_a_worker_that_is_killed_gives_its_place_back() -> None:
    pool = GreenPool(1)
    event = Event()
    pool.spawn_n(event.wait)
    turns()
    pool.kill()
    assert pool.waitall()
    assert pool.free() == 1


def test_another_thread_may_kill_the_workers_of_a_pool() -> None:
    pool = GreenPool(2)
    for _ in range(2):
        pool.spawn_n(Event().wait)
    turns()
    thread = threading.Thread(target=pool.kill)
    thread.start()
    assert pool.waitall()
    thread.join()


def test_who_rests_is_nobody_that_waits(hub: Hub) -> None:
    spawn_n(int)
    turns()
    assert len(hub.resting) == 1
    assert "BareGreenThread" not in describe(hub.loop)


def test_closing_the_hub_ends_those_who_rest() -> None:
    ended: list[object] = []

    def work() -> None:
        ended.append(None)

    with fresh_hub() as hub:
        spawn_n(work)
        turns()
        (green,) = hub.resting
        reference = weakref.ref(green)
        del green
    assert reference() is None


@pytest.mark.parametrize("starts", [1, 40])
def test_a_thread_that_ends_leaves_none_behind(starts: int) -> None:
    kept: list[weakref.ref[Hub]] = []

    def work() -> None:
        kept.append(weakref.ref(get_hub()))
        for _ in range(starts):
            spawn_n(int)
        turns()
        assert get_hub().resting

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gc.collect()
    assert kept[0]() is None


def test_a_forked_child_does_not_use_those_of_its_parent(hub: Hub) -> None:
    spawn_n(int)
    turns()
    before = len(hub.resting)

    def child() -> str:
        found = addresses_of_two()
        return f"{before} {len(found)} {len(get_hub().resting)}"

    assert in_child(child) == (0, "1 2 1")
