"""greenprobe behind the names that workloads.py asks of every contender.

Each name is imported when it is asked for, so that a core in the making can be measured part by part.
"""

import importlib
import socket as _socket
from operator import attrgetter
from typing import Any

SOURCES = {
    "Event": ("sync", "Event"),
    "event_set": ("sync", "Event.set"),
    "Queue": ("queue", "Queue"),
    "sleep": ("greenthread", "sleep"),
    "spawn": ("greenthread", "spawn"),
    "join": ("greenthread", "GreenThread.wait"),
    "Pool": ("pool", "GreenPool"),
    "pool_spawn": ("pool", "GreenPool.spawn_n"),
    "pool_join": ("pool", "GreenPool.waitall"),
    "start_timeout": ("timeout", "Timeout"),
    "cancel_timeout": ("timeout", "Timeout.cancel"),
    "socket": ("green_socket", "socket"),
}


def __getattr__(name: str) -> Any:
    try:
        module, path = SOURCES[name]
    except KeyError:
        raise AttributeError(name) from None
    value = globals()[name] = attrgetter(path)(importlib.import_module(f"greenprobe.{module}"))
    return value


def green(sock: _socket.socket) -> Any:
    """Return a green socket over the descriptor of a blocking one."""
    return __getattr__("socket")(fileno=sock.detach())
