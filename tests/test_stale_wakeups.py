"""Who was queued twice, or queued and then thrown at, keeps no entry in the run queue: it would end a plain switch.

Each case is a greenthread whose wait is ended twice in one turn. It then switches, by greenlet's own `switch()`, to a
greenlet of its own that waits for something else, and gets that one's value and nothing before.
"""

from collections.abc import Callable
from typing import Any

import pytest
from core_tools import turns
from greenlet import getcurrent, greenlet

from greenprobe.debug import allow_multiple_waiters
from greenprobe.green_socket import socket
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.outcome import AsyncResult
from greenprobe.sync import Event
from greenprobe.testing import JumpClock, LifoOrder, PriorityOrder, RandomOrder

pytestmark = pytest.mark.fifo  # the cases are made of what runs in which order
Pair = tuple[socket, socket]


class Thrown(BaseException):
    """What a case throws at its greenthread: like a kill, a timeout and the end of a scope, no Exception."""


def ended_by(wait: Callable[[], object]) -> GreenThread:
    """Start a greenthread that waits, however that ends, and returns what a plain switch gives it afterwards."""

    def body() -> Any:
        try:
            wait()
        except Thrown:
            pass
        return greenlet(take_turns).switch()

    return spawn(body)


def take_turns() -> str:
    turns(5)
    return "its value"


def at_once(*calls: Callable[[], object]) -> None:
    """Have the loop make calls one after the other, and nobody run in between."""
    get_hub().call_threadsafe(lambda: [call() for call in calls])


def event_of() -> tuple[Callable[[], object], Callable[[], object]]:
    event = Event()
    return event.wait, event.set


def outcome_of() -> tuple[Callable[[], object], Callable[[], object]]:
    result: AsyncResult[None] = AsyncResult()
    return result.join, lambda: result.set(None)


@pytest.mark.parametrize("kind", [event_of, outcome_of])
def test_a_wait_that_is_notified_and_then_thrown_at(
    kind: Callable[[], tuple[Callable[[], object], Callable[[], object]]],
) -> None:
    wait, notify = kind()
    green = ended_by(wait)
    turns(1)
    at_once(notify, lambda: green.throw(Thrown()))
    assert green.wait() == "its value"


@pytest.mark.parametrize("first", ["the event", "the timer"])
def test_a_wait_that_ends_by_its_event_and_its_timer_in_one_turn(clock: JumpClock, hub: Hub, first: str) -> None:
    event = Event()
    if first == "the event":
        hub.timers.add(5, event.set)
    green = ended_by(lambda: event.wait(5))
    turns(1)
    if first == "the timer":
        hub.timers.add(5, event.set)
    assert green.wait() == "its value"


@pytest.mark.parametrize("ends", ["by its event", "by its timer"])
def test_a_wait_with_a_timeout_that_ends_and_is_thrown_at(clock: JumpClock, hub: Hub, ends: str) -> None:
    event = Event()
    green = ended_by(lambda: event.wait(5))
    turns(1)
    if ends == "by its event":
        at_once(event.set, lambda: green.throw(Thrown()))
    else:
        hub.timers.add(5, green.throw, Thrown())
    assert green.wait() == "its value"


def test_a_read_whose_data_came_before_it_is_thrown_at(pair: Pair, hub: Hub) -> None:
    left, right = pair
    green = ended_by(lambda: left.recv(1))
    turns(1)
    right.send(b"x")
    at_once(lambda: hub.poller.mark(hub.poller.poll(1, 10)), lambda: green.throw(Thrown()))
    assert green.wait() == "its value"
    assert left.recv(1) == b"x"


def test_one_of_several_readers_that_is_woken_twice(pair: Pair, hub: Hub) -> None:
    left, right = pair
    allow_multiple_waiters()
    ahead = [spawn(left.recv, 1), spawn(left.recv, 1)]
    turns(1)
    green = ended_by(lambda: left.recv(1))
    turns(1)
    right.send(b"xyz")
    at_once(lambda: ahead[1].throw(Thrown()), lambda: hub.poller.mark(hub.poller.poll(1, 10)))
    assert green.wait() == "its value"
    assert ahead[0].wait() in (b"x", b"y")
    with pytest.raises(Thrown):
        ahead[1].wait()


def test_a_turn_of_the_queue_that_is_thrown_at(hub: Hub) -> None:
    def yielding() -> None:
        at_once(lambda: green.throw(Thrown()))
        sleep(0)

    green = ended_by(yielding)
    assert green.wait() == "its value"


def test_a_sleep_that_is_over_and_thrown_at(clock: JumpClock, hub: Hub) -> None:
    green = ended_by(lambda: sleep(5))
    turns(1)
    hub.timers.add(5, green.throw, Thrown())
    assert green.wait() == "its value"


@pytest.mark.parametrize("order", [LifoOrder(), PriorityOrder(id), RandomOrder(1)], ids=repr)
def test_other_run_queues_forget_as_well(hub: Hub, order: Any) -> None:
    with order:
        me = getcurrent()
        others = [greenlet(turns) for _ in range(3)]
        for item in (others[0], me, others[1], me, others[2]):
            order.append(item)
        hub.forget(me)
        assert sorted(map(id, order)) == sorted(map(id, others))
        while order:
            assert order.popleft() in others
