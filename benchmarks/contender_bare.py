"""The floor: what CPython, greenlet and the kernel take for the same work, with no library at all.

No contender can do with less, whatever it is written in, as long as each function runs in a greenlet of its own and
each socket is a Python object: a ratio to a peer that is below this floor's cannot be had on this machine.
"""

import _socket
from collections import deque
from collections.abc import Callable
from functools import partial
from select import EPOLLET, EPOLLIN, epoll
from typing import Any

from greenlet import getcurrent, greenlet

unstarted: deque[greenlet] = deque()
edges = epoll()
ready: deque[tuple[int, int]] = deque()  # of what a poll returned, whose turn has not come
readers: dict[int, greenlet] = {}
main = getcurrent()


def spawn(function: Callable[..., object], *args: Any) -> greenlet:
    """Return a bare greenlet."""
    green = greenlet(partial(function, *args) if args else function)
    unstarted.append(green)
    return green


def join(green: greenlet) -> None:
    """Run it to its end, and meanwhile whoever can read."""
    while not green.dead:
        (next_one() if readers else green).switch()


def next_one() -> greenlet:
    """Return who was not started yet, or else can read."""
    while unstarted:
        green = unstarted.popleft()
        if not green:
            return green
    if not ready:
        ready.extend(edges.poll(-1, 42))  # 42: its buffer is of a size that Python's allocator keeps at hand
    fd, _ = ready.popleft()
    return readers[fd]


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
    """The C socket, non-blocking, whose every read waits first."""

    def __init__(self, family: int = -1, kind: int = -1, fileno: int | None = None) -> None:
        super().__init__(family, kind if fileno is not None else kind | _socket.SOCK_NONBLOCK, fileno=fileno)
        if fileno is not None:
            self.setblocking(False)

    def connect(self, address: Any) -> None:
        """Connect on this machine: the second connect() tells how the first one ended."""
        self.connect_ex(address)
        super().connect(address)

    def settimeout(self, _seconds: float | None) -> None:
        """Wait for ever."""

    def recv(self, size: int) -> bytes:
        """Run whose turn it is, who may be the reader itself, and read."""
        fd = self.fileno()
        if fd not in readers:
            edges.register(fd, EPOLLIN | EPOLLET)
        readers[fd] = me = getcurrent()
        while True:
            other = next_one()
            if other is not me:
                other.switch()
            try:
                return super().recv(size)
            except BlockingIOError:
                pass  # a part that came later had been read already


def green(sock: _socket.socket) -> socket:
    """Return a socket over the descriptor of a blocking one."""
    return socket(fileno=sock.detach())
