"""Greenlet-local storage: apart, initialised each time, gone with the greenlet, and as threading.local otherwise."""

import gc
import os
import threading
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
from greenlet import greenlet

from greenprobe.greenthread import sleep, spawn
from greenprobe.local import Store, local, store_of
from greenprobe.threadpool import run_in_thread


class Counting(local):
    """Counts its initialisations."""

    runs: list[tuple[Any, ...]] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, start: int, *, step: int = 1) -> None:
        self.runs.append((start, step))
        self.number = start


class Rich(local):
    """Has what a class may have: a slot, a property, a class attribute, a fallback."""

    __slots__ = ("shared",)
    constant = 7

    @property
    def double(self) -> int:
        sleep(0)  # a switch in the middle of an access
        number: int = self.number
        return 2 * number

    @double.setter
    def double(self, value: int) -> None:
        self.number = value // 2

    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        return f"no {name}"


def elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    return spawn(function, *args).wait()


def test_each_greenthread_has_its_own_values() -> None:
    mine = local()
    mine.value = "main"

    def body(text: str) -> str:
        assert not hasattr(mine, "value")
        mine.value = text
        sleep(0)
        result: str = mine.value
        return result

    greens = [spawn(body, text) for text in "ab"]
    assert [green.wait() for green in greens] == ["a", "b"]
    assert mine.value == "main"


def test_raw_greenlets_and_threads_have_their_own_values() -> None:
    mine = local()
    mine.value = 1
    assert greenlet(lambda: hasattr(mine, "value")).switch() is False
    assert run_in_thread(hasattr, mine, "value") is False


def test_the_initialiser_of_a_subclass_runs_once_in_each_greenthread() -> None:
    Counting.runs.clear()
    mine = Counting(5, step=2)
    mine.number += 1
    assert elsewhere(lambda: (mine.number, mine.number)) == (5, 5)
    assert mine.number == 6
    assert Counting.runs == [(5, 2), (5, 2)]


def test_an_initialiser_that_fails_is_run_again_at_the_next_touch() -> None:
    class Failing(local):
        fails = False

        def __init__(self) -> None:
            self.half = 1
            if Failing.fails:
                raise ValueError

    mine = Failing()
    Failing.fails = True

    def body() -> int:
        with pytest.raises(ValueError):
            mine.half  # noqa: B018
        Failing.fails = False
        result: int = mine.half
        return result

    assert elsewhere(body) == 1


def test_arguments_without_an_initialiser_are_refused() -> None:
    with pytest.raises(TypeError, match="Initialization arguments"):
        local(1)


def test_values_go_when_their_greenthread_dies() -> None:
    mine = local()
    store: Store = store_of(mine)

    class Value:
        pass

    def body() -> ref[Value]:
        mine.value = Value()
        return ref(mine.value)

    refs = [elsewhere(body) for _ in range(10)]
    gc.collect()
    assert [each() for each in refs] == [None] * 10
    assert len(store.by_greenlet) == 1


def test_values_go_when_their_thread_ends() -> None:
    mine = local()
    store: Store = store_of(mine)
    done = allocate_lock()
    done.acquire()

    def body() -> None:
        mine.value = 1
        done.release()

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    for _ in range(1000):  # the thread's state is torn down after join() has returned
        greenlet(int).switch()  # greenlet lets go of a dead thread's main greenlet when it is used next
        gc.collect()
        if len(store.by_greenlet) == 1:
            break
        os.sched_yield()
    assert len(store.by_greenlet) == 1


def test_the_object_itself_can_go_while_greenlets_live() -> None:
    mine = local()
    mine.value = 1
    store = ref(store_of(mine))
    del mine
    gc.collect()
    assert store() is None


def test_a_value_that_refers_to_its_local_is_collected() -> None:
    mine = local()
    mine.me = mine
    gone = ref(mine)
    del mine
    gc.collect()
    assert gone() is None


def test_properties_slots_and_class_attributes_are_found_in_pythons_order() -> None:
    rich = Rich()
    rich.number = 4
    rich.shared = "for all"
    rich.double = 10
    assert (rich.double, rich.number, rich.constant, rich.missing) == (10, 5, 7, "no missing")
    rich.__dict__["double"] = "hidden by the property"
    rich.constant = 8
    assert (rich.double, rich.constant) == (10, 8)

    def body() -> tuple[Any, ...]:
        rich.number = 1
        return rich.double, rich.constant, rich.shared

    assert elsewhere(body) == (2, 7, "for all")


def test_the_dictionary_is_the_greenthreads_own_and_cannot_be_replaced() -> None:
    mine = local()
    mine.a = 1
    assert mine.__dict__ == {"a": 1}
    assert elsewhere(lambda: dict(mine.__dict__)) == {}
    with pytest.raises(AttributeError, match="read-only"):
        mine.__dict__ = {}
    with pytest.raises(AttributeError, match="read-only"):
        del mine.__dict__


def test_attributes_are_deleted_here_only() -> None:
    mine = local()
    mine.a = 1

    def body() -> None:
        with pytest.raises(AttributeError, match="no attribute 'a'"):
            del mine.a

    elsewhere(body)
    del mine.a
    with pytest.raises(AttributeError):
        mine.a  # noqa: B018
