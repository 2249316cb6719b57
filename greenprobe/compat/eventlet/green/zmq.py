"""pyzmq, if it is installed, with sockets and pollers that park instead of blocking.

Facts (zmq_getsockopt(3), ZMQ_FD): the descriptor of a socket only says that something may have changed, and says it
once; ZMQ_EVENTS says what is possible, and asking it, sending and receiving use the report up. Failure: two
greenthreads, one that sends and one that receives, take each other's reports. Choice: who would block stands in a queue
for its direction, and who polls says so; one greenthread a socket, which lives while anybody waits, asks for the events
and wakes who can go on; and whoever uses a socket that others wait for looks on their behalf.
"""

from collections.abc import Callable
from typing import Any, Final

import zmq as installed

from greenprobe import green_select
from greenprobe.compat.eventlet.green.private import contents
from greenprobe.compat.eventlet.hubs.levels import wait_for_level
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import get_hub
from greenprobe.sync import Event as Change  # pyzmq has an Event of its own
from greenprobe.waitqueue import WaitQueue

globals().update(contents(installed))

plain: Any = installed

LONGEST_SILENCE: Final = 1.0  # seconds; libzmq's own threads may swallow a report


class Poller(plain.Poller):  # type: ignore[misc]
    """`zmq.Poller`, whose `poll` parks."""

    def poll(self, timeout: float | None = None) -> list[tuple[Any, int]]:
        """Return what is ready, as pairs of a socket and events, within `timeout` milliseconds (None: no end)."""
        hub = get_hub()
        deadline = None if timeout is None or timeout < 0 else hub.clock() + timeout / 1000
        while True:
            ready: list[tuple[Any, int]] = super().poll(0)
            left = LONGEST_SILENCE if deadline is None else min(LONGEST_SILENCE, deadline - hub.clock())
            if ready or left <= 0:
                return ready
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        """Wait until something may have changed."""
        change = Change()
        green = [(each, events) for each, events in self.sockets if isinstance(each, Socket)]
        others = [(each, events) for each, events in self.sockets if not isinstance(each, Socket)]
        helper = spawn_n(poll_others, others, change) if others else None
        try:
            for sock, events in green:
                sock._attend(change, events)
            change.wait(seconds)
        finally:
            for sock, _ in green:
                sock._pollers.pop(change, None)
            if helper is not None:
                kill(helper)


def poll_others(others: list[tuple[Any, int]], change: Change) -> None:
    """Set `change` when a descriptor is ready, or a socket that is not green may be."""
    found = green_select.poll()
    for each, events in others:
        if isinstance(each, plain.Socket):
            found.register(each.getsockopt(plain.FD), plain.POLLIN)
        else:
            found.register(each, events)  # the numbers of zmq's events are those of poll(2)
    found.poll()
    change.set()


def select(
    rlist: list[Any], wlist: list[Any], xlist: list[Any], timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """Return which of some sockets and descriptors are ready within `timeout` seconds, as select.select does."""
    poller = Poller()
    wanted = [(plain.POLLIN, rlist), (plain.POLLOUT, wlist), (plain.POLLERR, xlist)]
    for each in {*rlist, *wlist, *xlist}:
        poller.register(each, sum(event for event, of in wanted if each in of))
    ready = poller.poll(None if timeout is None else timeout * 1000)
    readable, writable, broken = ([each for each, events in ready if events & event] for event, _ in wanted)
    return readable, writable, broken


class Socket(plain.Socket):  # type: ignore[misc]
    """`zmq.Socket`, whose sends, receives and polls park. Several greenthreads may use one."""

    _poller_class = Poller

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__.update(_receivers=WaitQueue(), _senders=WaitQueue(), _pollers={}, _watcher=None)

    # -- waiting

    def _when_possible(self, call: Callable[[int], Any], flags: int, line: WaitQueue, limit: int) -> Any:
        """Make a call that must not block, again and again until it succeeds or its time is over.

        `limit` is the option that holds the milliseconds. Raises zmq.Again then, and with the flag NOBLOCK at once.
        """
        deadline = None if flags & plain.NOBLOCK else self._deadline(limit)
        while True:
            try:
                return call(flags | plain.NOBLOCK)
            except plain.Again:
                if flags & plain.NOBLOCK or not self._park(line, deadline):
                    raise
            finally:
                if not self.closed:
                    self._look_for_others()

    def _deadline(self, limit: int) -> float | None:
        milliseconds = plain.Socket.getsockopt(self, limit)
        return None if milliseconds < 0 else get_hub().clock() + milliseconds / 1000

    def _park(self, line: WaitQueue, deadline: float | None) -> bool:
        """Wait until the socket may be used in a direction: True; False when the time is over."""
        left = None if deadline is None else deadline - get_hub().clock()
        if left is not None and left <= 0:
            return False
        waiter = line.enrol()
        self._have_it_watched()
        try:
            return bool(waiter.wait(left))
        finally:
            line.withdraw(waiter)

    def _attend(self, change: Change, events: int) -> None:
        """Have `change` set when one of the events has come."""
        self._pollers[change] = events
        self._have_it_watched()

    def _have_it_watched(self) -> None:
        if self._watcher is None or self._watcher.dead:
            self.__dict__["_watcher"] = spawn_n(self._watch)

    def _is_waited_for(self) -> bool:
        return bool(self._receivers or self._senders or self._pollers)

    def _watch(self) -> None:
        """Wake who can go on, while anybody waits."""
        hub = get_hub()
        while not self.closed and self._is_waited_for():
            self._look_for_others()
            if self._is_waited_for():
                fd = plain.Socket.getsockopt(self, plain.FD)
                wait_for_level(hub, fd, writing=False, deadline=hub.clock() + LONGEST_SILENCE)
        self.__dict__["_watcher"] = None

    def _look_for_others(self) -> None:
        """Wake who waits for something that is possible now: the last call may have used its report up."""
        if self._is_waited_for():
            self._tell(plain.Socket.getsockopt(self, plain.EVENTS))

    def _tell(self, events: int) -> None:
        if events & plain.POLLIN:
            self._receivers.wake_all()
        if events & plain.POLLOUT:
            self._senders.wake_all()
        for change, wanted in self._pollers.items():
            if events & wanted:
                change.set()

    # -- what `zmq.Socket` does

    def send(self, data: Any, flags: int = 0, copy: bool = True, track: bool = False, **kwargs: Any) -> Any:
        """Send a message, waiting until it can be queued. Raises zmq.Again after SNDTIMEO, or with the flag NOBLOCK."""
        send = super().send
        return self._when_possible(
            lambda flags: send(data, flags, copy, track, **kwargs), flags, self._senders, plain.SNDTIMEO
        )

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        """Return a message, waiting for one. Raises zmq.Again after RCVTIMEO, or with the flag NOBLOCK."""
        receive = super().recv
        return self._when_possible(lambda flags: receive(flags, copy, track), flags, self._receivers, plain.RCVTIMEO)

    def recv_into(self, buffer: Any, /, *, nbytes: int = 0, flags: int = 0) -> Any:
        """Do as `recv`, into a buffer; return the number of bytes. Needs pyzmq 26.4."""
        receive = super().recv_into
        return self._when_possible(
            lambda flags: receive(buffer, nbytes=nbytes, flags=flags), flags, self._receivers, plain.RCVTIMEO
        )

    def getsockopt(self, option: int) -> Any:
        """Return an option. Asking EVENTS wakes who waits for them."""
        value = super().getsockopt(option)
        if option == plain.EVENTS:
            self._tell(value)
        return value

    get = getsockopt

    def close(self, linger: int | None = None) -> None:
        """Close it; who waits gets zmq.ZMQError."""
        if not self.closed:
            watcher = self.__dict__.get("_watcher")
            if watcher is not None:
                kill(watcher)
            super().close(linger)
            self._tell(plain.POLLIN | plain.POLLOUT)


class Context(plain.Context):  # type: ignore[misc]
    """`zmq.Context`, which makes green sockets."""

    _socket_class = Socket
