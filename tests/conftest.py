"""What every test gets: a hub of its own, a check that it leaves nothing behind, no way out of this machine.

`--greenprobe-seed N` runs every test with the run queue in a random order that the seed decides, which shakes races
out. A test that asserts the default order says so: `@pytest.mark.fifo`.
"""

import gc
import os
import socket as stdlib
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from ipaddress import ip_address
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

from greenprobe.commands import garbage
from greenprobe.green_socket import socket
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock, RandomOrder, assert_no_leaks, fresh_hub

for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]  # this machine's way out, where no test goes

# How long an example takes is up to the machine's other work. Each run tries the same ones, so that it tells something
# of a change; `--hypothesis-profile explore` tries others.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("greenprobe", settings.get_profile("explore"), derandomize=True)
settings.load_profile("greenprobe")

UNMARKED_SLOW = 0.25  # seconds of a call; above it a test owes the mark `slow`
Report = Generator[None, pytest.TestReport, pytest.TestReport]
FAILED = pytest.StashKey[bool]()

slow_without_mark: list[tuple[float, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--greenprobe-seed", type=int, metavar="N", help="run ready greenthreads in a seeded random order")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Report:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    if call.when == "call" and call.duration > UNMARKED_SLOW and item.get_closest_marker("slow") is None:
        slow_without_mark.append((call.duration, item.nodeid))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if slow_without_mark:
        terminalreporter.section(f"over {UNMARKED_SLOW} s and not marked slow")
        for seconds, name in sorted(slow_without_mark, reverse=True):
            terminalreporter.line(f"{seconds:6.2f} s  {name}")


# -- no way out of this machine


def refuse_the_network(event: str, args: tuple[Any, ...]) -> None:
    """Raise if a test is about to send anything beyond loopback. An audit hook: nothing gets around it."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        sock, address = args
        if not (event == "socket.connect" and sock.type == stdlib.SOCK_DGRAM) and not is_here(address):
            raise AssertionError(f"a test would send to {address!r}; tests stay on loopback")


def is_here(address: object) -> bool:
    """Tell whether an address is on this machine: loopback, a path, or none at all."""
    if not isinstance(address, tuple) or not address or not isinstance(address[0], str):
        return True
    host = address[0].partition("%")[0]
    try:
        return not host or ip_address(host).is_loopback or ip_address(host).is_unspecified
    except ValueError:
        return host == "localhost"  # the kernel would refuse another name; Python's own socket would look it up


sys.addaudithook(refuse_the_network)


# -- a fresh hub, and nothing left behind


@pytest.fixture(autouse=True)
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    """The hub of this test: fresh, closed after it. A test that passed and leaves something behind fails.

    gc.freeze() sets everything that exists aside, so that looking for what the test made costs little.
    """
    gc.freeze()
    try:
        with fresh_hub() as hub, order_of(request.node):
            before = assert_no_leaks()
            before.__enter__()
            yield hub
            if not request.node.stash.get(FAILED, False):  # a traceback keeps alive what its frames hold
                before.__exit__(None, None, None)
    finally:
        gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def really_set_aside() -> Iterator[Callable[[], bool]]:
    """What commands ask before they set everything aside. They are told that `hub` has: to count it takes 50 ms."""
    asked = garbage.is_set_aside
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garbage, "is_set_aside", lambda: True)
        yield asked


def order_of(item: pytest.Item) -> AbstractContextManager[object]:
    """Return the run order of a test: the default, or one that the seed and the test's name decide."""
    seed: int | None = item.config.getoption("--greenprobe-seed")
    if seed is None or item.get_closest_marker("fifo") is not None:
        return nullcontext()
    return RandomOrder(seed + crc32(item.nodeid.encode()))


# -- what tests ask for


@pytest.fixture
def clock(hub: Hub) -> Iterator[JumpClock]:
    """A clock that jumps to the next deadline when every greenthread waits; `clock.now()` starts at 0."""
    with JumpClock() as clock:
        yield clock


@pytest.fixture
def pair(hub: Hub) -> Iterator[tuple[socket, socket]]:
    """Two connected green sockets on loopback TCP: the client's end and the server's."""
    with stdlib.create_server(("127.0.0.1", 0)) as listener:
        client = stdlib.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with socket(fileno=client.detach()) as left, socket(fileno=server.detach()) as right:
        yield left, right


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: the end to read from and the end to write to. A test may close either."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass
