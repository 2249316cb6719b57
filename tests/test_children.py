"""Waiting for child processes: by number, for any, for a group, for stops; nobody else's child is taken."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from core_tools import turns

from greenprobe import green_os
from greenprobe.greenthread import spawn
from greenprobe.timeout import Timeout


@pytest.fixture
def gate() -> "Iterator[Gate]":
    """What children wait at: `Gate.child(status)` forks one that ends when the gate opens."""
    gate = Gate()
    yield gate
    gate.open()
    gate.clean_up()


class Gate:
    """A pipe whose end lets children end."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.children: list[int] = []

    def child(self, status: int = 0, *, group: bool = False) -> int:
        """Fork a child that waits for the gate and exits with `status`."""
        pid = os.fork()
        if not pid:
            os.close(self.write)
            os.read(self.read, 1)
            os._exit(status)
        if group:
            os.setpgid(pid, pid)
        self.children.append(pid)
        return pid

    def open(self) -> None:
        """Let all children end."""
        if self.write >= 0:
            os.close(self.write)
            self.write = -1

    def clean_up(self) -> None:
        """Reap whom the test left."""
        os.close(self.read)
        for pid in self.children:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass


def test_waiting_for_a_child_parks_only_its_own_greenthread(gate: Gate) -> None:
    pid = gate.child(7)
    waiter = spawn(green_os.waitpid, pid, 0)
    turns()
    assert not waiter.ready()
    gate.open()
    assert waiter.wait(30) == (pid, 7 << 8)


def test_no_hang_looks_and_does_not_wait(gate: Gate) -> None:
    pid = gate.child()
    assert green_os.waitpid(pid, os.WNOHANG) == (0, 0)
    assert green_os.wait3(os.WNOHANG)[0] == 0
    assert green_os.wait4(pid, os.WNOHANG)[0] == 0
    assert green_os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is None


def test_wait4_returns_what_the_child_used(gate: Gate) -> None:
    pid = gate.child(3)
    waiter = spawn(green_os.wait4, pid, 0)
    turns()
    gate.open()
    found, status, usage = waiter.wait(30)
    assert (found, os.waitstatus_to_exitcode(status)) == (pid, 3)
    assert usage.ru_utime >= 0


def test_waitid_tells_of_the_end_and_can_leave_the_child(gate: Gate) -> None:
    pid = gate.child(5)
    waiter = spawn(green_os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    turns()
    gate.open()
    result = waiter.wait(30)
    assert result is not None
    assert (result.si_pid, result.si_status) == (pid, 5)
    assert green_os.waitpid(pid, 0) == (pid, 5 << 8)


def test_waitid_takes_a_pidfd(gate: Gate) -> None:
    pid = gate.child(6)
    handle = os.pidfd_open(pid)
    waiter = spawn(green_os.waitid, os.P_PIDFD, handle, os.WEXITED)
    turns()
    gate.open()
    result = waiter.wait(30)
    assert result is not None
    assert result.si_status == 6
    os.close(handle)


def test_waiting_for_any_child_finds_one_that_was_born_meanwhile(gate: Gate) -> None:
    gate.child()
    waiter = spawn(green_os.wait)
    turns()
    quick = os.posix_spawn("/bin/true", ["true"], os.environ)
    assert waiter.wait(30) == (quick, 0)


def test_wait3_finds_any_child(gate: Gate) -> None:
    pid = gate.child(9)
    waiter = spawn(green_os.wait3, 0)
    turns()
    gate.open()
    assert waiter.wait(30)[:2] == (pid, 9 << 8)


def test_waiting_for_a_group_leaves_the_others(gate: Gate) -> None:
    other, leader = gate.child(1), gate.child(2, group=True)
    waiter = spawn(green_os.waitpid, -leader, 0)
    turns()
    gate.open()
    assert waiter.wait(30) == (leader, 2 << 8)
    assert green_os.waitpid(other, 0) == (other, 1 << 8)


def test_a_stop_is_waited_for_where_it_is_asked_for(gate: Gate) -> None:
    pid = gate.child()
    waiter = spawn(green_os.waitpid, pid, os.WUNTRACED)
    turns()
    os.kill(pid, signal.SIGSTOP)
    found, status = waiter.wait(30)
    assert found == pid
    assert os.WIFSTOPPED(status)
    waiter = spawn(green_os.waitpid, pid, os.WCONTINUED)
    turns()
    os.kill(pid, signal.SIGCONT)
    assert os.WIFCONTINUED(waiter.wait(30)[1])


def test_without_a_child_there_is_an_error() -> None:
    for call, args in [("wait", ()), ("waitpid", (-1, 0)), ("waitpid", (os.getpid(), 0)), ("wait3", (0,))]:
        with pytest.raises(ChildProcessError):
            getattr(green_os, call)(*args)


def test_who_waits_for_a_child_that_another_reaps_is_told(gate: Gate) -> None:
    pid = gate.child()
    waiters = [spawn(green_os.waitpid, pid, 0) for _ in range(2)]
    turns()
    gate.open()
    for waiter in waiters:
        waiter.join(30)
    assert {type(waiter.exception) for waiter in waiters} == {type(None), ChildProcessError}


def test_a_timeout_leaves_the_child_to_the_next_who_waits(gate: Gate, clock: Any) -> None:
    pid = gate.child(4)
    with pytest.raises(Timeout), Timeout(5):
        green_os.waitpid(pid, 0)
    assert clock.now() == 5
    gate.open()
    assert green_os.waitpid(pid, 0) == (pid, 4 << 8)


def test_the_handler_of_sigchld_stays_the_user_s(gate: Gate) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    pid = gate.child()
    gate.open()
    green_os.waitpid(pid, 0)
    assert signal.getsignal(signal.SIGCHLD) is before


def test_a_command_runs_in_a_shell_and_its_status_is_returned() -> None:
    waiters = [spawn(green_os.system, "exit 3"), spawn(green_os.system, b"kill -9 $$")]
    assert [waiter.wait(30) for waiter in waiters] == [3 << 8, 9]
