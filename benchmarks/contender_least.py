"""The least library: what a peer's place costs at least, in Python, with what its users are promised.

`contender_bare.py` promises nothing. This one has, of greenprobe, only what no program can be given without: sockets
that are the standard library's, with both directions, edges that are remembered, hang-ups, and an exception in who
waits; greenthreads with an outcome, and the spawner's context variables; a pool that is bounded and runs each function
in a greenlet of its own, used again. It has no deadline, no cancellation, no other thread, no fork, no signal, no
fairness, no `repr`, no error message and no check of what it is given; everything is a global or a slot, and what can
be written in the caller's place is. So greenprobe cannot be as cheap, and a target below it cannot be had.
"""

import socket as stdlib
from _socket import socket as kernel
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll
from typing import Any

from greenlet import getcurrent, greenlet

kernel_recv, kernel_send = kernel.recv, kernel.send
HANGUP = EPOLLRDHUP | EPOLLHUP | EPOLLERR
READS, WRITES = EPOLLIN | HANGUP, EPOLLOUT | HANGUP
READY: Any = object()

edges = epoll()
queue: deque[greenlet] = deque()
slots: dict[int, "Slot"] = {}
resting: list["Worker"] = []


class Slot:
    """Who waits for a descriptor."""

    __slots__ = ("hangup", "reader", "writer")

    def __init__(self, fd: int) -> None:
        self.reader: Any = None
        self.writer: Any = None
        self.hangup = False
        slots[fd] = self
        edges.register(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)


def run_all() -> None:
    """Run whoever can, for ever."""
    while True:
        while queue:
            queue.popleft().switch()
        queue.append(successor())


loop: Any = greenlet(run_all)


def successor() -> Any:
    """Return who runs next."""
    while not queue:
        for fd, events in edges.poll(-1, 42):
            slot = slots[fd]
            if events & HANGUP:
                slot.hangup = True
            if events & READS:
                waiter = slot.reader
                if waiter is None:
                    slot.reader = READY
                elif waiter is not READY:
                    slot.reader = None
                    queue.append(waiter)
            if events & WRITES:
                waiter = slot.writer
                if waiter is None:
                    slot.writer = READY
                elif waiter is not READY:
                    slot.writer = None
                    queue.append(waiter)
    green = queue.popleft()
    return green or start(green)  # a new one is started by the loop


def start(green: greenlet) -> Any:
    """Leave a greenthread that is new to the loop."""
    queue.appendleft(green)
    return loop


class socket(stdlib.socket):  # noqa: N801
    """A socket that parks."""

    __slots__ = ("drained", "slot")

    def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        super().__init__(family, kind, proto, fileno)
        kernel.setblocking(self, False)
        self.slot: Any = None
        self.drained = False

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read, and first wait if the last read has emptied the socket."""
        if self.drained:
            self.drained = False
            self.wait_read()
        while True:
            try:
                data = kernel_recv(self, size, flags)
            except BlockingIOError:
                self.wait_read()
            else:
                break
        if len(data) < size and data and self.slot is not None and not self.slot.hangup:
            self.drained = True
        return data

    def wait_read(self) -> None:
        """Park until a read may succeed."""
        slot = self.slot
        if slot is None:
            slot = self.slot = Slot(self.fileno())
        if slot.reader is READY:
            slot.reader = None
            return
        slot.reader = me = getcurrent()
        try:
            while slot.reader is me:
                successor().switch()
        except BaseException:
            slot.reader = READY
            raise

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Write; this peer's buffer is never full."""
        while True:
            try:
                return kernel_send(self, data, flags)
            except BlockingIOError:
                raise NotImplementedError from None

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Write all, which this peer takes at once."""
        sent = self.send(data, flags)
        while sent < len(data):
            sent += self.send(data[sent:], flags)

    def settimeout(self, _value: float | None) -> None:
        """Wait for ever."""

    def connect(self, address: Any) -> None:
        """Connect on this machine: the second connect() tells how the first one ended."""
        self.connect_ex(address)
        kernel.connect(self, address)

    def close(self) -> None:
        """Close, and forget who waited."""
        if self.slot is not None:
            del slots[self.fileno()]
        super().close()


def green(sock: stdlib.socket) -> socket:
    """Return a socket over the descriptor of a blocking one."""
    return socket(fileno=sock.detach())


class Green(greenlet):
    """A function and its outcome."""

    __slots__ = ("args", "error", "function", "is_over", "value", "waiters")

    function: Any
    args: Any
    value: Any
    error: BaseException | None
    is_over: bool
    waiters: list[greenlet] | None


def spawn(function: Callable[..., object], *args: Any) -> Green:
    """Run a function in a greenlet of its own."""
    new = Green(live, loop)
    new.gr_context = copy_context()
    new.function = function
    new.args = args
    new.value = new.error = new.waiters = None
    new.is_over = False
    queue.append(new)
    return new


def live() -> None:
    """Be a greenthread."""
    me: Any = getcurrent()
    try:
        me.value = me.function(*me.args)
    except BaseException as error:
        me.error = error
    me.is_over = True
    if me.waiters:
        queue.extend(me.waiters)


def join(one: Green) -> Any:
    """Wait for an outcome."""
    while not one.is_over:
        one.waiters = [*(one.waiters or ()), getcurrent()]
        successor().switch()
    if one.error is not None:
        raise one.error
    return one.value


class Pool:
    """At most so many at once."""

    def __init__(self, size: int) -> None:
        self.free = size
        self.waiters: deque[greenlet] = deque()


class Worker(greenlet):
    """A greenlet that is used again."""

    __slots__ = ("function", "pool")

    function: Any
    pool: Pool


def pool_spawn(pool: Pool, function: Callable[[], object]) -> None:
    """Run a function when there is room."""
    while not pool.free:
        pool.waiters.append(getcurrent())
        successor().switch()
    pool.free -= 1
    worker = resting.pop() if resting else Worker(work, loop)
    worker.function = function
    worker.pool = pool
    queue.append(worker)


def work() -> None:
    """Run one function after another."""
    me: Any = getcurrent()
    while True:
        try:
            me.function()
        finally:
            pool = me.pool
            pool.free += 1
            if pool.waiters:
                queue.append(pool.waiters.popleft())
            resting.append(me)
        successor().switch()


def pool_join(pool: Pool) -> None:
    """Wait for all."""
    while pool.free < 100:
        queue.append(getcurrent())
        loop.switch()
