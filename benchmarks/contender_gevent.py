"""gevent behind the names that workloads.py asks of every contender."""

import socket as _socket

from gevent import Greenlet, Timeout, sleep, spawn
from gevent.event import Event
from gevent.pool import Pool
from gevent.queue import SimpleQueue as Queue  # the one without task_done: gevent's fastest
from gevent.socket import socket

__all__ = ["Event", "Pool", "Queue", "cancel_timeout", "green", "join", "sleep", "socket", "spawn", "start_timeout"]

join = Greenlet.get
start_timeout = Timeout.start_new
cancel_timeout = Timeout.cancel
pool_spawn = Pool.spawn
pool_join = Pool.join
event_set = Event.set


def green(sock: _socket.socket) -> socket:
    """Return a green socket over the descriptor of a blocking one."""
    return socket(fileno=sock.detach())
