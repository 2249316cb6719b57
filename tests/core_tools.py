"""What the tests of the core share: Python in a process of its own, a forked child that must end, bounded waits."""

import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from socket import AF_INET6, create_server
from textwrap import dedent
from typing import Any

import pytest

from greenprobe.greenthread import GreenThread, spawn
from greenprobe.hub import get_hub
from greenprobe.testing import wait_all_blocked

ROOT = Path(__file__).resolve().parent.parent
# Seconds, which only a hang takes: no test may depend on how fast the machine is.
PATIENCE = 30.0  # that a test waits for what should come at once
PROCESS_PATIENCE = 10.0  # that another process gets


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter; a hang is a failure."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", dedent(program)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PROCESS_PATIENCE, env=environment, check=False
    )


def wait_until(condition: Callable[[], object], what: str, *, patience: float = PROCESS_PATIENCE) -> None:
    """Wait for something outside of this process; raise AssertionError, which names it, if it does not come."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"no {what} in {patience:g} s"
        time.sleep(0.01)


def is_installed(module: str) -> bool:
    """Tell whether a module can be imported. One that has been may have no spec any more: kombu hides its own."""
    return module in sys.modules or find_spec(module) is not None


def succeeds(*words: str) -> bool:
    """Tell whether a program is here and does what it is told: not every root may have a namespace, for one."""
    try:
        return not subprocess.run(words, capture_output=True, check=False).returncode
    except OSError:
        return False


def has_ipv6() -> bool:
    """Tell whether ::1 is an address of this machine; of many a container it is not."""
    try:
        with create_server(("::1", 0), family=AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="::1 is no address here")
IPV6 = pytest.param("::1", marks=needs_ipv6)


def in_child(function: Callable[[], object]) -> tuple[int, str]:
    """Fork; return how a child ends that calls `function`, and what it returned. Does not switch.

    The child leaves by os._exit with status 0, or 1 if the function raised.
    """
    return status_of(*forked(function))


def forked(function: Callable[[], object]) -> tuple[int, int]:
    """Fork a child as `in_child` does; return its pid and the pipe for `status_of`."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        report_and_exit(function, write)
    os.close(write)
    return pid, read


def report_and_exit(function: Callable[[], object], write: int) -> None:
    try:
        os.write(write, str(function()).encode())
    except BaseException as error:  # whatever happens, the child must end here
        os.write(write, repr(error).encode())
        os._exit(1)
    os._exit(0)


def status_of(pid: int, read: int = -1) -> tuple[int, str]:
    """Wait for a child without switching; return its exit status and what it wrote into the pipe `read`."""
    handle = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([handle], [], [], PROCESS_PATIENCE)
        if not ended:
            os.kill(pid, 9)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = os.read(read, 65536).decode() if read >= 0 else ""
    finally:
        os.close(handle)
        if read >= 0:
            os.close(read)
    return status, said


def turns(count: int = 3) -> None:
    """Let the others run that often; in a random order, so often that each of them very likely has."""
    hub = get_hub()
    for _ in range(count if isinstance(hub.ready, deque) else 100 + count):
        hub.sleep(0)


def one_by_one(function: Callable[..., Any], arguments: Iterable[Any]) -> list[GreenThread]:
    """Spawn a greenthread for each argument, each of which waits before the next begins, in whatever order they run."""
    greens = []
    for argument in arguments:
        greens.append(spawn(function, argument))
        wait_all_blocked()
    return greens
