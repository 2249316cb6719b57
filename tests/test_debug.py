"""The dump, the watchdog, assert_no_switches, several waiters."""

import io
import os
import signal
from collections.abc import Callable, Iterator
from time import monotonic, sleep as real_sleep
from typing import Any

import pytest
from core_tools import PROCESS_PATIENCE, turns

from greenprobe.debug import (
    Blocked,
    Watchdog,
    allow_multiple_waiters,
    assert_no_switches,
    dump_on_signal,
    format_greenthreads,
)
from greenprobe.errors import BusyError, DeadlockError, SwitchError
from greenprobe.green_socket import socket
from greenprobe.greenthread import GreenThread, sleep, spawn
from greenprobe.hub import Hub, get_hub
from greenprobe.sync import Event
from greenprobe.testing import JumpClock, wait_all_blocked
from greenprobe.threadpool import ThreadPool

Pair = tuple[socket, socket]


@pytest.fixture
def spawned() -> Iterator[list[GreenThread]]:
    """Greenthreads that are killed after the test."""
    greens: list[GreenThread] = []
    yield greens
    for green in greens:
        green.kill()
        green.join()


def named(name: str, *call: Any) -> GreenThread:
    green = spawn(*call)
    green.name = name
    return green


# -- the dump


def paragraph(name: str) -> str:
    """Return what the dump says of one greenthread."""
    found = [part for part in format_greenthreads().split("\n\n") if part.lstrip().startswith(f"{name}:")]
    assert len(found) == 1, format_greenthreads()
    return found[0]


def test_the_dump_says_what_each_waits_for(clock: JumpClock, pair: Pair, spawned: list[GreenThread]) -> None:
    event = Event()
    pair[0].settimeout(30)
    spawned += [named("reader", pair[0].recv, 1), named("sleeper", sleep, 60), named("waiter", event.wait)]
    wait_all_blocked()
    assert f"to read fd {pair[0].fileno()} (socket:" in paragraph("reader")
    assert "for 30.000 s at most" in paragraph("reader")
    assert "for 60.000 s at most" in paragraph("sleeper")
    assert "waits in Event.wait" in paragraph("waiter")


def test_the_dump_has_the_stack_of_each(spawned: list[GreenThread]) -> None:
    def outer() -> None:
        inner_function()

    def inner_function() -> None:
        sleep(60)

    spawned.append(named("deep", outer))
    wait_all_blocked()
    text = paragraph("deep")
    assert text.index(", in outer") < text.index(", in inner_function") < text.index(", in sleep")
    assert "runs" in paragraph("main")
    assert "test_the_dump_has_the_stack_of_each" in paragraph("main")


def test_the_dump_says_who_is_about_to_run(spawned: list[GreenThread]) -> None:
    event = Event()
    spawned.append(named("woken", event.wait))
    wait_all_blocked()
    event.set()
    assert "is about to run" in paragraph("woken")


def test_the_dump_shows_the_hubs_of_other_threads() -> None:
    hubs: list[Hub] = []
    ready = Event()

    def body() -> None:
        hubs.append(get_hub())
        green = named("far", sleep, 60)
        sleep(0)
        ready.set()
        while not green.ready():
            sleep(0.001)

    with ThreadPool(1) as pool:
        job = pool.submit(body)
        ready.wait()
        text = paragraph("far")
        hubs[0].call_threadsafe(kill_far, hubs[0])
        job.wait()
    assert "s at most" in text


def kill_far(hub: Hub) -> None:
    """Kill the greenthread named far of another thread, in that thread."""
    for _, _, timer in list(hub.timers.heap):
        for green in timer.args:
            if getattr(green, "name", "") == "far":
                green.kill()


def test_a_signal_writes_the_dump_and_the_handler_can_be_taken_back(spawned: list[GreenThread]) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    out = io.StringIO()
    undo = dump_on_signal(signal.SIGUSR2, out)
    spawned.append(named("parked", Event().wait))
    wait_all_blocked()
    os.kill(os.getpid(), signal.SIGUSR2)
    sleep(0)
    undo()
    assert "parked: waits in Event.wait" in out.getvalue()
    assert signal.getsignal(signal.SIGUSR2) is before


def test_a_deadlock_is_seen_with_a_dump_installed_too() -> None:
    undo = dump_on_signal(signal.SIGUSR2, io.StringIO())
    try:
        with pytest.raises(DeadlockError):
            Event().wait()
    finally:
        undo()


# -- the watchdog


def spin(seconds: float) -> None:
    end = monotonic() + seconds
    while monotonic() < end:
        pass


def is_silent_about(function: Callable[[], object], seconds: float) -> bool:
    """Tell whether a watchdog reports nothing in one of some runs: a stall of the machine looks like work."""
    for _ in range(5):
        found: list[Blocked] = []
        with Watchdog(seconds=seconds, report=found.append):
            spawn(function).join()
        if not found:
            return True
    return False


class Reports(list[Blocked]):
    """What a watchdog says of a function; whom a stall of the machine has met is none of our business."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._name = function.__qualname__

    def take(self, blocked: Blocked) -> None:
        if blocked.function == self._name:
            self.append(blocked)


def test_the_watchdog_names_who_computes() -> None:
    def culprit() -> None:
        end = monotonic() + PROCESS_PATIENCE
        while not found and monotonic() < end:
            pass

    found = Reports(culprit)
    with Watchdog(seconds=0.01, report=found.take):
        spawn(culprit).join()
    (blocked,) = found
    assert blocked.filename == __file__
    assert blocked.seconds >= 0.01
    assert "culprit" in blocked.stack
    assert f"blocked for {blocked.seconds:.2f} s" in str(blocked)


def test_the_watchdog_names_who_blocks_the_thread_and_once_only() -> None:
    def culprit() -> None:
        for _ in range(500):
            real_sleep(0.02)
            if found:
                break

    def again() -> None:
        for _ in range(2):
            culprit()
            real_sleep(0.03)
            sleep(0)

    found = Reports(culprit)
    with Watchdog(seconds=0.01, report=found.take):
        spawn(again).join()
    assert len(found) == 1


def test_the_watchdog_is_silent_about_a_hub_that_idles_or_turns() -> None:
    def turns() -> None:
        sleep(0.01)
        end = monotonic() + 0.15
        while monotonic() < end:
            sleep(0)

    assert is_silent_about(turns, 0.1)


@pytest.mark.slow
def test_the_watchdog_is_silent_about_many_who_run_a_little_each() -> None:
    """A turn of the hub takes 0.3 s here, longer than the patience, but nobody takes more than 1 ms of it."""

    def crowd() -> None:
        for green in [spawn(spin, 0.001) for _ in range(300)]:
            green.join()

    assert is_silent_about(crowd, 0.15)


def test_a_watchdog_hides_no_deadlock() -> None:
    with Watchdog(seconds=0.005), pytest.raises(DeadlockError):
        Event().wait()


def test_a_watchdog_watches_once_at_a_time_and_may_start_again() -> None:
    dog = Watchdog(seconds=0.005)
    with dog, pytest.raises(RuntimeError, match="already"):
        dog.start()
    with dog:
        pass


# -- switches


def test_a_switch_in_a_block_without_switches_raises(pair: Pair) -> None:
    with assert_no_switches():
        pair[1].send(b"x")
        assert pair[0].recv(10) == b"x"  # what can be had at once does not switch
        for wait in (lambda: sleep(0), Event().wait, lambda: pair[0].recv(1), lambda: spawn(int).wait()):
            with pytest.raises(SwitchError):
                wait()
    sleep(0)
    pair[1].send(b"y")
    assert pair[0].recv(10) == b"y"


def test_nor_is_there_a_switch_past_the_loop() -> None:
    def body() -> str:
        sleep(0)
        with assert_no_switches(), pytest.raises(SwitchError):
            sleep(0)  # the hub would go straight to the other, who has started and is ready
        return "refused"

    others = [spawn(turns, 10) for _ in range(2)]
    assert spawn(body).wait() == "refused"
    for other in others:
        other.wait()


def test_blocks_without_switches_nest() -> None:
    with assert_no_switches():
        with assert_no_switches():
            pass
        with pytest.raises(SwitchError):
            sleep(0)
    sleep(0)


# -- several waiters


def test_several_may_wait_for_one_descriptor_only_if_allowed(pair: Pair, spawned: list[GreenThread]) -> None:
    spawned.append(spawn(pair[0].recv, 1))
    wait_all_blocked()
    with pytest.raises(BusyError):
        pair[0].recv(1)
    assert allow_multiple_waiters() is False
    spawned.append(spawn(pair[0].recv, 1))
    wait_all_blocked()
    pair[1].sendall(b"ab")
    assert sorted(green.wait() for green in spawned) == [b"a", b"b"]
    assert allow_multiple_waiters(False) is True
