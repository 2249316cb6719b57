"""Compat's pools of objects, of connections and of values by key: who fails or is killed leaves no place taken."""

import sys
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from core_tools import turns

from greenprobe.compat.eventlet import sleep, spawn
from greenprobe.compat.eventlet.dagpool import Collision, DAGPool
from greenprobe.compat.eventlet.db_pool import RawConnectionPool
from greenprobe.compat.eventlet.event import Event
from greenprobe.compat.eventlet.pools import Pool
from greenprobe.compat.eventlet.timeout import Timeout
from greenprobe.testing import JumpClock


@pytest.mark.fifo
def test_who_waits_may_create_in_the_place_of_one_that_could_not_be_made() -> None:
    event, fails = Event(), [True, False]

    def create() -> str:
        event.wait()
        if fails.pop(0):
            raise OSError("no object")
        return "object"

    pool = Pool(max_size=1, create=create)
    first, second = spawn(pool.get), spawn(pool.get)
    turns()
    assert pool.waiting() == 1
    event.send()
    with pytest.raises(OSError, match="no object"):
        first.wait()
    assert second.wait() == "object"
    assert pool.current_size == 1


def test_a_place_that_was_handed_to_one_who_is_killed_is_not_lost() -> None:
    pool = Pool(max_size=1, create=list)
    item = pool.get()
    waiting = spawn(pool.get)
    turns()
    pool._free_place()
    waiting.kill()
    assert pool.get() == item
    assert pool.current_size == 1


class Connection:
    """A connection whose rollback takes an hour."""

    def rollback(self) -> None:
        sleep(3600)

    def close(self) -> None:
        pass


def test_a_time_out_while_a_connection_is_cleaned_up_frees_its_place(clock: JumpClock) -> None:
    pool = RawConnectionPool(SimpleNamespace(connect=Connection), max_size=1)
    connection = pool.get()
    with pytest.raises(Timeout), Timeout(1):
        pool.put(connection)
    assert (pool.current_size, bool(connection)) == (0, False)


def test_a_function_may_post_its_own_value_and_what_it_returns_is_dropped() -> None:
    pool = DAGPool()

    def work(key: str, results: object) -> str:
        pool.post(key, "early")
        return "late"

    pool.spawn("a", (), work)
    assert pool["a"] == "early"
    turns()
    assert (pool.running(), pool["a"]) == (0, "early")
    with pytest.raises(Collision):
        pool.post("a", "again")


def test_a_value_that_is_worked_out_is_not_for_others_to_post() -> None:
    pool = DAGPool()
    pool.spawn("a", "b", lambda key, results: dict(results))
    with pytest.raises(Collision):
        pool.post("a", 1)
    pool.post("b", 2)
    assert pool["a"] == {"b": 2}


def test_a_function_that_ends_by_a_timeout_runs_no_more() -> None:
    pool = DAGPool()

    def work(key: str, results: object) -> None:
        raise Timeout

    pool.spawn("a", (), work)
    turns()
    assert pool.running() == 0


def test_one_that_outlives_its_kill_leaves_its_successor_alone() -> None:
    pool, event = DAGPool(), Event()

    def stubborn(key: str, results: object) -> str:
        while not event.ready():
            try:
                event.wait()
            except BaseException:
                pass
        return "old"

    pool.spawn("a", (), stubborn)
    turns()
    pool.kill("a")
    pool.spawn("a", "b", lambda key, results: dict(results))
    event.send()
    turns()
    pool.post("b", 1)
    assert pool["a"] == {"b": 1}


def test_an_exception_is_never_seen_as_a_value_by_another_thread() -> None:
    event = Event()
    seen: list[Any] = []

    def trace(frame: FrameType, kind: str, arg: object) -> Any:
        if frame.f_code is Event.send.__code__:
            sys.settrace(None)
            try:
                seen.append(event.poll())
            except ValueError:
                seen.append("raised")
            sys.settrace(trace)
            return trace
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        event.send(1, ValueError("sent"))
    finally:
        sys.settrace(before)
    assert set(seen) == {None, "raised"}
