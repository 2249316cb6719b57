"""Ctrl-C: KeyboardInterrupt only at a switch of the main greenthread; a second one where the program is stuck."""

import signal

import pytest
from core_tools import run_python

from greenprobe.errors import DeadlockError
from greenprobe.greenthread import sleep, spawn
from greenprobe.hub import Hub
from greenprobe.sync import Event

START = """
import os, signal, sys
from greenprobe.greenthread import sleep, spawn, spawn_n
from greenprobe.hub import get_hub
from greenprobe.sync import Event
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
"""


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_main_waits_reaches_main() -> None:
    spawn(interrupt)
    with pytest.raises(KeyboardInterrupt):
        Event().wait(5)


def test_ctrl_c_while_another_greenthread_computes_reaches_main_at_its_next_switch() -> None:
    steps: list[str] = []

    def compute() -> None:
        interrupt()
        steps.append("computed on")

    green = spawn(compute)
    with pytest.raises(KeyboardInterrupt):
        Event().wait(5)
    assert steps == ["computed on"]
    assert green.ready()
    assert green.successful()


def test_ctrl_c_while_main_computes_comes_at_its_next_switch() -> None:
    sleep(0)
    interrupt()
    computed = sum(range(1000))
    with pytest.raises(KeyboardInterrupt):
        sleep(1)
    assert computed == 499500


def test_main_can_wait_again_after_ctrl_c() -> None:
    for _ in range(3):
        spawn(interrupt)
        with pytest.raises(KeyboardInterrupt):
            Event().wait(5)
    assert spawn(lambda: 5).wait() == 5


def test_a_second_ctrl_c_is_raised_where_the_program_is_stuck() -> None:
    sleep(0)
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    sleep(0.001)  # nothing is left of the first


def test_ctrl_c_leaves_other_greenthreads_running() -> None:
    event = Event()
    other = spawn(event.wait)
    spawn(interrupt)
    with pytest.raises(KeyboardInterrupt):
        Event().wait(5)
    event.set()
    assert other.wait()


def test_a_users_own_handler_is_left_alone(hub: Hub) -> None:
    called: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: called.append(number))
    try:
        sleep(0)
        interrupt()
        sleep(0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert called == [signal.SIGINT]


def test_a_handler_may_wake_a_greenthread_while_the_hub_sleeps() -> None:
    event = Event()
    before = signal.signal(signal.SIGALRM, lambda number, frame: event.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.07)  # longer than the hub looks for a deadlock
        assert event.wait()  # no timer, no descriptor: the handler alone keeps this from being one
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_a_handler_raises_while_the_hub_sleeps_reaches_main() -> None:
    def complain(number: int, frame: object) -> None:
        raise OSError("alarm")

    before = signal.signal(signal.SIGALRM, complain)
    try:
        with pytest.raises(OSError, match="alarm"):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            Event().wait()
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_reaches_main_from_a_greenthread(error: type[BaseException]) -> None:
    def end() -> None:
        raise error

    green = spawn(end)
    with pytest.raises(error):
        Event().wait(5)
    assert isinstance(green.exception, error)
    with pytest.raises(DeadlockError):
        Event().wait()


@pytest.mark.slow
def test_ctrl_c_ends_a_program_that_waits() -> None:
    """Slow: starts an interpreter."""
    done = run_python(START + "spawn(interrupt)\nEvent().wait()")
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr


@pytest.mark.slow
def test_ctrl_c_twice_ends_a_program_whose_greenthread_is_stuck() -> None:
    """Slow: starts an interpreter."""
    done = run_python(
        START
        + "def stuck():\n"
        + "    interrupt()\n"
        + "    print('still there', flush=True)\n"
        + "    interrupt()\n"
        + "    print('not reached')\n"
        + "spawn(stuck)\nEvent().wait()"
    )
    assert done.returncode == -signal.SIGINT
    assert done.stdout == "still there\n"


@pytest.mark.slow
def test_ctrl_c_before_any_hub_is_pythons_own() -> None:
    """Slow: starts an interpreter."""
    done = run_python(START + "get_hub()\ntry:\n    interrupt()\nexcept KeyboardInterrupt:\n    print('at once')")
    assert done.stdout == "at once\n"


@pytest.mark.slow
def test_sys_exit_in_a_greenthread_ends_the_program_with_its_status() -> None:
    """Slow: starts an interpreter."""
    done = run_python(START + "spawn_n(sys.exit, 7)\nEvent().wait()")
    assert done.returncode == 7


@pytest.mark.slow
def test_ctrl_c_works_after_the_hub_was_closed() -> None:
    """Slow: starts an interpreter."""
    closed = START + "sleep(0)\nget_hub().close()\n"
    done = run_python(closed + "try:\n    interrupt()\nexcept KeyboardInterrupt:\n    print(1)")
    assert done.stdout == "1\n"
