"""The green locks and queues of a patched process: C's interface, turns for who spins, no switch where none is due."""

import pickle
import sys
from typing import Any

import pytest
from core_tools import turns
from greenlet import getcurrent
from patched import run

from greenprobe import green_turns
from greenprobe.green_ident import Deputy
from greenprobe.green_lock import QuietLock, RLock, allocate_lock, lock
from greenprobe.green_queue import SimpleQueue
from greenprobe.greenthread import spawn
from greenprobe.hub import Hub
from greenprobe.queue import Empty


def test_a_lock_has_the_interface_of_cs(hub: Hub) -> None:
    it = allocate_lock()
    assert it.acquire(blocking=False)
    assert it.locked()
    assert repr(it).startswith("<locked _thread.lock object at ")
    assert not it.acquire(False)
    assert not it.acquire(timeout=0)
    it.release()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        it.release()
    with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        pickle.dumps(it)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((True, -2), ValueError), ((False, 1), ValueError), ((True, 1e100), OverflowError), ((True, None), TypeError)],
)
@pytest.mark.parametrize("make", [allocate_lock, RLock])
def test_a_lock_refuses_the_timeouts_that_cs_refuses(hub: Hub, make: Any, arguments: Any, error: Any) -> None:
    with pytest.raises(error):
        make().acquire(*arguments)


def test_the_type_of_locks_is_called_only_where_cs_is(hub: Hub) -> None:
    if sys.version_info >= (3, 13):
        assert isinstance(lock(), lock)
    else:
        with pytest.raises(TypeError, match=r"cannot create '_thread\.lock' instances"):
            lock()
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Mine", (lock,), {})


def test_a_signal_handler_beside_the_owner_takes_an_rlock_again(hub: Hub) -> None:
    it = RLock()
    it.acquire()
    deputy = Deputy(lambda: it.acquire(False), hub.loop)
    deputy.principal = getcurrent()
    taken: list[Any] = []
    spawn(lambda: taken.append(it.acquire(False)))
    hub.call_threadsafe(lambda: taken.append(it._recursion_count()))
    hub.call_threadsafe(deputy.switch)
    turns()
    assert taken == [False, 0]
    assert it._recursion_count() == 2


def test_an_rlock_is_given_up_and_taken_back_whole_by_a_condition(hub: Hub) -> None:
    it = RLock()
    it.acquire()
    it.acquire()
    state = it._release_save()
    assert not it._is_owned()
    it._acquire_restore(state)
    assert it._recursion_count() == 2
    with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
        RLock()._release_save()


# -- turns


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the clock finds that its time is over."""
    monkeypatch.setattr(green_turns, "INTERVAL", -1.0)


@pytest.mark.usefixtures("impatient")
def test_who_spins_on_a_lock_lets_its_owner_run(hub: Hub) -> None:
    it = allocate_lock()
    it.acquire()
    spawn(it.release)
    for _ in range(10 * green_turns.SAMPLE):
        if it.acquire(False):
            return
    pytest.fail("the owner never ran")


@pytest.mark.usefixtures("impatient")
def test_who_spins_on_a_quiet_lock_that_is_free_never_switches(hub: Hub) -> None:
    it = QuietLock()
    others: list[bool] = []
    spawn(others.append, True)
    for _ in range(10 * green_turns.SAMPLE):
        it.acquire()
        it.release()
    assert not others


def test_turns_are_not_taken_in_the_loop(hub: Hub) -> None:
    hub.call_threadsafe(green_turns.let_others_run)
    turns()


# -- queues


def test_a_simple_queue_has_the_interface_of_cs(hub: Hub) -> None:
    it: Any = SimpleQueue()
    it.put(1, False, -5)
    it.put_nowait(2)
    assert (it.get(), it.qsize(), it.empty(), it.get_nowait()) == (1, 1, False, 2)
    for wait in ({"block": False}, {"timeout": 0}):
        with pytest.raises(Empty):
            it.get(**wait)
    with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
        it.get(timeout=-1)
    waiting = spawn(it.get)
    turns()
    it.put("late")
    assert waiting.wait(5) == "late"


def test_what_need_not_wait_in_a_queue_does_not_switch_and_a_spinner_does() -> None:
    lines = run("""
        import queue
        from greenprobe import green_turns
        from greenprobe.debug import assert_no_switches
        green_turns.INTERVAL = -1
        pool = queue.LifoQueue(4)
        with assert_no_switches():
            for _ in range(1000): pool.put(1); pool.put_nowait(2); pool.get(); pool.get_nowait()
        greenprobe.spawn(pool.put, "found")
        for turn in range(1000):
            try: print(pool.get(False)); break
            except queue.Empty: pass
        greenprobe.spawn(pool.put, "more")
        while pool.empty(): pass
        print(pool.get())
    """)
    assert lines == ["found", "more"]


def test_a_pool_that_is_collected_empties_its_queue_wherever_that_happens() -> None:
    """As urllib3 does: a finalizer gets what is left in a LifoQueue. It comes in the loop, or amid another's put."""
    lines = run("""
        import gc, queue, weakref
        from greenprobe.hub import get_hub

        class Pool:
            def __init__(self, name):
                self.queue = queue.LifoQueue(3)
                for number in range(3): self.queue.put(number)
                self.ring = self  # collected by the collector, not by its count
                weakref.finalize(self, empty, self.queue, name)

        def empty(left, name):
            while True:
                try: left.get(block=False)
                except queue.Empty: break
            print(name, "is empty")

        gc.disable()
        other = queue.LifoQueue()
        other.mutex.acquire()
        Pool("dropped while a mutex is held"); gc.collect()
        other.mutex.release()
        Pool("dropped in the loop"); get_hub().call_threadsafe(gc.collect)
        greenprobe.sleep(0); greenprobe.sleep(0)
        def amid(): other.put(1); gc.collect(); other.get()
        Pool("dropped in a greenthread"); greenprobe.spawn(amid).wait()
    """)
    places = ["while a mutex is held", "in the loop", "in a greenthread"]
    assert lines == [f"dropped {place} is empty" for place in places]


def test_locks_are_taken_to_the_very_end_of_the_program() -> None:
    """What is collected last finds greenlet gone; threading takes locks there, for what it knows of greenthreads."""
    lines = run("""
        import threading
        class Last:
            lock = threading.Lock()
            def __del__(self, print=print):
                for _ in range(1000):
                    with self.lock: pass
                print("taken")
        last = Last()
    """)
    assert lines == ["taken"]


def test_a_loop_over_select_that_is_always_ready_lets_others_run() -> None:
    lines = run("""
        import select, socket
        one, other = socket.socketpair()
        done = []
        greenprobe.spawn(done.append, True)
        while not done: select.select([], [one], [], 5)
        one.close(); other.close()
        print(done)
    """)
    assert lines == ["[True]"]
