"""pyzmq, if it is installed, with sockets that park instead of blocking.

Facts (zmq_getsockopt(3), ZMQ_FD): the descriptor of a socket only says that something may have changed, and says it
once; ZMQ_EVENTS says what is possible, and asking it uses the report up. Failure: two greenthreads, one that sends and
one that receives, take each other's reports. Choice: who would block stands in a queue for its direction, and one
greenthread a socket, which lives while anybody waits, asks for the events and wakes who can go on.
"""

from typing import Any

import zmq as installed

from greenprobe.compat.eventlet.green.private import contents
from greenprobe.compat.eventlet.hubs.levels import wait_for_level
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import get_hub
from greenprobe.waitqueue import WaitQueue

globals().update(contents(installed))

plain: Any = installed

LONGEST_SILENCE = 1.0  # seconds; libzmq's own threads may swallow a report


class Socket(plain.Socket):  # type: ignore[misc]
    """`zmq.Socket`, whose sends and receives park."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__.update(_receivers=WaitQueue(), _senders=WaitQueue(), _watcher=None)

    def _park(self, line: WaitQueue) -> None:
        """Wait until the socket may be used in a direction."""
        waiter = line.enrol()
        if self._watcher is None or self._watcher.dead:
            self.__dict__["_watcher"] = spawn_n(self._watch)
        try:
            waiter.wait()
        finally:
            line.withdraw(waiter)

    def _watch(self) -> None:
        """Wake who can go on, while anybody waits."""
        hub = get_hub()
        while not self.closed and (self._receivers or self._senders):
            events = plain.Socket.getsockopt(self, plain.EVENTS)
            if events & plain.POLLIN:
                self._receivers.wake_all()
            if events & plain.POLLOUT:
                self._senders.wake_all()
            if self._receivers or self._senders:
                fd = plain.Socket.getsockopt(self, plain.FD)
                wait_for_level(hub, fd, writing=False, deadline=hub.clock() + LONGEST_SILENCE)
        self.__dict__["_watcher"] = None

    def send(self, data: Any, flags: int = 0, copy: bool = True, track: bool = False, **kwargs: Any) -> Any:
        """Send a message, waiting until it can be queued. Raises zmq.Again with the flag NOBLOCK."""
        while True:
            try:
                return super().send(data, flags | plain.NOBLOCK, copy, track, **kwargs)
            except plain.Again:
                if flags & plain.NOBLOCK:
                    raise
            self._park(self._senders)

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        """Return a message, waiting for one. Raises zmq.Again with the flag NOBLOCK."""
        while True:
            try:
                return super().recv(flags | plain.NOBLOCK, copy, track)
            except plain.Again:
                if flags & plain.NOBLOCK:
                    raise
            self._park(self._receivers)

    def close(self, linger: int | None = None) -> None:
        """Close it; who waits gets zmq.ZMQError."""
        if not self.closed:
            watcher = self.__dict__.get("_watcher")
            if watcher is not None:
                kill(watcher)
            super().close(linger)
            self._receivers.wake_all()
            self._senders.wake_all()


class Context(plain.Context):  # type: ignore[misc]
    """`zmq.Context`, which makes green sockets."""

    _socket_class = Socket
