"""eventlet behind the names that workloads.py asks of every contender."""

import socket as _socket

from eventlet import GreenPool, sleep, spawn
from eventlet.event import Event
from eventlet.green.socket import socket
from eventlet.greenio import GreenSocket
from eventlet.greenthread import GreenThread
from eventlet.queue import LightQueue
from eventlet.timeout import Timeout

__all__ = ["Event", "Pool", "Queue", "cancel_timeout", "green", "join", "sleep", "socket", "spawn", "start_timeout"]

Pool = GreenPool
Queue = LightQueue  # the one without task_done: eventlet's fastest
join = GreenThread.wait
start_timeout = Timeout
cancel_timeout = Timeout.cancel
pool_spawn = GreenPool.spawn_n
pool_join = GreenPool.waitall
event_set = Event.send


def green(sock: _socket.socket) -> GreenSocket:
    """Return a green socket over a blocking one."""
    return GreenSocket(sock)
