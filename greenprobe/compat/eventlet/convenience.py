"""eventlet.convenience: connect, listen, serve and wrap_ssl with eventlet's arguments and defaults."""

import socket as stdlib
from typing import Any
from warnings import warn

from greenprobe.compat.eventlet.greenio.base import GreenSocket
from greenprobe.compat.eventlet.legacy_ssl import wrap_socket
from greenprobe.convenience import serve
from greenprobe.errors import StopServe

__all__ = [
    "ReusePortUnavailableWarning",
    "ReuseRandomPortWarning",
    "StopServe",
    "connect",
    "listen",
    "serve",
    "wrap_ssl",
]


class ReuseRandomPortWarning(Warning):
    """SO_REUSEPORT was asked for on a random port: another socket of this user may get a share of its connections."""


class ReusePortUnavailableWarning(Warning):
    """SO_REUSEPORT was asked for, and the system has none."""


def connect(addr: Any, family: int = stdlib.AF_INET, bind: Any = None) -> GreenSocket:
    """Return a socket that is connected to `addr`; `bind` is the address to connect from."""
    sock = GreenSocket(family, stdlib.SOCK_STREAM)
    try:
        if bind is not None:
            sock.bind(bind)
        sock.connect(addr)
    except BaseException:
        sock.close()
        raise
    return sock


def listen(
    addr: Any,
    family: int = stdlib.AF_INET,
    backlog: int = 50,
    reuse_addr: bool = True,
    reuse_port: bool | None = None,
) -> GreenSocket:
    """Return a socket that listens at `addr`.

    `reuse_port` None sets SO_REUSEPORT unless the port is 0, so that other processes of this user may share it.
    """
    internet = isinstance(addr, tuple) and family in (stdlib.AF_INET, stdlib.AF_INET6)
    if reuse_port is None:
        reuse_port = internet and addr[1] != 0 and hasattr(stdlib, "SO_REUSEPORT")
    elif reuse_port and internet and addr[1] == 0:
        warn(
            "SO_REUSEPORT on a random port: another socket may be given the same one; leave reuse_port out",
            ReuseRandomPortWarning,
            stacklevel=2,
        )
    sock = GreenSocket(family, stdlib.SOCK_STREAM)
    try:
        if reuse_addr and family != stdlib.AF_UNIX:
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
        if reuse_port:
            share_port(sock)
        sock.bind(addr)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def share_port(sock: GreenSocket) -> None:
    """Set SO_REUSEPORT, or warn that the system has none."""
    try:
        sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
    except (AttributeError, OSError) as error:
        warn(f"SO_REUSEPORT is not available: {error}", ReusePortUnavailableWarning, stacklevel=3)


def wrap_ssl(sock: Any, *a: Any, **kw: Any) -> Any:
    """Return a TLS socket over a plain one; the arguments are those of `ssl.wrap_socket` in its time."""
    return wrap_socket(sock, *a, **kw)
