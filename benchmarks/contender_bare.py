"""The floor: what CPython, greenlet and the kernel take for the same work, with no library at all.

No contender can do with less, whatever it is written in, as long as each function runs in a greenlet of its own and
each socket is a Python object: a ratio to a peer that is below this floor's cannot be had on this machine.
"""
import _socket
from collections import deque
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

unstarted: deque[greenlet] = deque()
main = getcurrent()


def spawn(function: Callable[[], object]) -> greenlet:
    """Return a bare greenlet."""
    green = greenlet(function)
    unstarted.append(green)
    return green


def join(green: greenlet) -> None:
    """Run it to its end."""
    green.switch()


def sleep(_seconds: float) -> None:
    """Start everybody."""
    while unstarted:
        unstarted.popleft().switch()


class Event:
    """Something to be parked at."""

    def wait(self) -> None:
        """Park."""
        main.switch()


def event_set(_event: Event) -> None:
    """Leave the rest to `join`."""


class Pool:
    """No pool: the function is called."""

    def __init__(self, _size: int) -> None:
        pass


def pool_spawn(_pool: Pool, function: Callable[[], object]) -> None:
    """Call the function."""
    function()


def pool_join(_pool: Pool) -> None:
    """Everything is over already."""


class socket(_socket.socket):  # noqa: N801
    """The C socket, non-blocking; the second connect() tells how the first one ended."""

    def __init__(self, family: int, kind: int) -> None:
        super().__init__(family, kind | _socket.SOCK_NONBLOCK)

    def connect(self, address: Any) -> None:
        """Connect to a port that refuses."""
        self.connect_ex(address)
        super().connect(address)
