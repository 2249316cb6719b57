"""Who parks does the loop's next step itself, and nobody can tell: it polls and switches in the loop's name.

The main greenthread waits in each of these, so the loop has run, and the greenthread that parks comes last.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub
from greenprobe.sync import Event

Poll = Callable[[float, int], Any]


def poll_once(hub: Hub, meanwhile: Callable[[float], object]) -> list[greenlet]:
    """Have `meanwhile` called in the first poll that may last; return who polls from now on."""
    polled_by: list[greenlet] = []
    poll: Poll = hub.poller.poll

    def poll_and_note(patience: float, most: int) -> Any:
        if not polled_by and patience:
            polled_by.append(getcurrent())
            meanwhile(patience)
        return poll(patience, most)

    hub.poller.poll = poll_and_note
    return polled_by


class Alarm(BaseException):
    """What a signal handler raises, and no greenthread may swallow."""


def ring(_: float) -> None:
    """Be that handler."""
    raise Alarm


def test_another_thread_ends_a_poll_that_a_greenthread_makes(hub: Hub) -> None:
    event = Event()
    rung = []

    def wake(_: float) -> None:
        rung.append(hub.asleep)  # what another thread looks at, before it rings
        event.set()

    polled_by = poll_once(hub, wake)
    waiter = spawn(event.wait)
    hub.timers.add(hub.clock() + 3600, int)
    assert waiter.wait()
    assert (polled_by, rung, hub.asleep) == ([waiter], [True], False)


def test_a_poll_that_a_greenthread_makes_lasts_until_the_next_timer(hub: Hub) -> None:
    event = Event()
    patience: list[float] = []
    polled_by = poll_once(hub, patience.append)
    waiter = spawn(event.wait)
    hub.timers.add(hub.clock() + 0.001, event.set)
    hub.timers.add(hub.clock() + 3600, int)
    assert waiter.wait()
    assert patience[0] <= 0.001
    assert set(polled_by) <= {waiter, hub.loop}  # the loop's own if the millisecond was over by then


def test_what_a_signal_handler_raises_in_a_poll_that_a_greenthread_makes_is_mains(hub: Hub) -> None:
    event = Event()
    polled_by = poll_once(hub, ring)
    waiter = spawn(event.wait)
    with pytest.raises(Alarm):
        waiter.wait()
    assert polled_by == [waiter]
    assert not hub.asleep
    event.set()
    assert waiter.wait() is True


def test_what_a_signal_handler_raises_in_a_poll_of_the_loop_leaves_the_loop_whole(hub: Hub) -> None:
    event = Event()
    polled_by = poll_once(hub, ring)
    with pytest.raises(Alarm):
        event.wait()
    assert polled_by == [hub.loop]
    assert not hub.asleep
    assert bool(hub.loop)
    hub.timers.add(hub.clock(), event.set)
    assert event.wait()


def test_a_call_is_made_by_the_loop_whoever_parks_before_it() -> None:
    made_by = []
    over = Event()

    def note() -> None:
        made_by.append(getcurrent())
        over.set()

    def call_and_park(hub: Hub) -> None:
        hub.call_threadsafe(note)
        over.wait()

    def outer(hub: Hub) -> None:
        spawn(call_and_park, hub).wait()

    hub = spawn(int)._hub
    spawn(outer, hub).wait()
    assert made_by == [hub.loop]


def test_an_interjection_comes_before_those_who_are_queued(hub: Hub) -> None:
    order: list[str] = []
    event = Event()

    def queued() -> None:
        event.wait()
        order.append("queued")

    def interject() -> None:
        event.set()
        hub.interject(order.append, "interjected")
        sleep(0)

    greens = [spawn(queued) for _ in range(3)]
    sleep(0)
    greens.append(spawn(interject))
    for green in greens:
        green.wait()
    assert order.index("interjected") <= 1  # who was being switched to when it came runs before it
    assert len(order) == 4


def test_an_interjection_ends_a_sleep(hub: Hub) -> None:
    event = Event()
    poll_once(hub, lambda _: hub.interject(event.set))
    hub.timers.add(hub.clock() + 3600, int)
    assert spawn(event.wait).wait()


def test_greenthreads_that_start_each_other_and_wait_are_no_recursion() -> None:
    depth = sys.getrecursionlimit() + 100

    def descend(left: int) -> int:
        return spawn(descend, left - 1).wait() + 1 if left else 0

    assert spawn(descend, depth).wait() == depth
