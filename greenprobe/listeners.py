"""Where a server listens: what a user writes, and the listening sockets that come of it. Plain sockets, no hub.

They are made once, before any worker is forked, and live on while workers come and go: a connection that nobody
accepts yet waits in the kernel. Under socket activation the service manager has made them (sd_listen_fds(3)).
"""

import os
import socket
import stat
from collections.abc import Mapping
from typing import Final, NamedTuple

from greenprobe.errors import TargetError

__all__ = ["Bind", "inherited_listeners", "is_left_over", "open_listener", "read_bind", "url_of"]

BACKLOG: Final = 2048  # the kernel may allow less
FIRST_INHERITED: Final = 3
MAX_FD: Final = 0x7FFFFFFF


class Bind(NamedTuple):
    """A family and an address to listen at; for AF_UNSPEC the port is that of an open descriptor."""

    family: socket.AddressFamily
    host: str
    port: int

    @property
    def place(self) -> str:
        """What it is called in a message."""
        if self.family == socket.AF_UNIX:
            return self.host
        return f"fd:{self.port}" if self.family == socket.AF_UNSPEC else f"{self.host}:{self.port}"


def read_bind(text: str) -> Bind:
    """Read `HOST:PORT`, `[HOST]:PORT`, `:PORT`, `PORT`, `unix:PATH` or `fd:NUMBER`. Raises TargetError."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return Bind(socket.AF_UNIX, rest, 0)
    if kind == "fd" and rest.isdecimal() and int(rest) <= MAX_FD:
        return Bind(socket.AF_UNSPEC, "", int(rest))
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not port.isascii() or int(port) > 0xFFFF or not _can_be_name(host):
        raise TargetError(f"{text!r} is no place to listen at; write 127.0.0.1:8000, [::1]:8000, unix:PATH or fd:3")
    if host.startswith("[") and host.endswith("]"):
        return Bind(socket.AF_INET6, host[1:-1], int(port))
    if ":" in host:
        raise TargetError(f"{text!r} has an IPv6 address without brackets; write [{host}]:{port}")
    return Bind(socket.AF_INET, host or "127.0.0.1", int(port))


def _can_be_name(host: str) -> bool:
    """Tell whether the standard library can make a name of it."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def open_listener(bind: Bind, *, reuse_port: bool = False) -> socket.socket:
    """Return a listening socket. Raises OSError that names the place."""
    try:
        if bind.family == socket.AF_UNSPEC:
            return socket.socket(fileno=os.dup(bind.port))
        if bind.family == socket.AF_UNIX:
            return _open_unix(bind.host)
        address = (bind.host, bind.port)
        return socket.create_server(address, family=bind.family, backlog=BACKLOG, reuse_port=reuse_port)
    except OSError as error:
        raise OSError(f"cannot listen at {bind.place}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Return what the system said, without what Python adds to it."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _open_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if is_left_over(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def is_left_over(path: str) -> bool:
    """Tell whether a path is a socket that nobody listens at any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except (FileNotFoundError, ValueError):  # ValueError: an abstract address is no path
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except BlockingIOError:
            pass  # somebody listens, whose queue is full
        return False


def inherited_listeners(environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that a service manager passed to this process, if it did.

    Raises OSError that names a descriptor which is no socket.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()) or not environ.get("LISTEN_FDS", "").isdecimal():
        return []
    found = []
    for fd in range(FIRST_INHERITED, FIRST_INHERITED + int(environ["LISTEN_FDS"])):
        try:
            os.set_inheritable(fd, False)
            found.append(socket.socket(fileno=fd))
        except OSError as error:
            promise = f"LISTEN_FDS={environ['LISTEN_FDS']}"
            raise OSError(f"descriptor {fd} was not passed as {promise} says: {error.strerror}") from error
    return found


def url_of(listener: socket.socket, *, is_secure: bool) -> str:
    """Return what to write into a browser to reach a listener."""
    scheme = "https" if is_secure else "http"
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"{scheme}+unix:{address}"
    host = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    return f"{scheme}://{host}:{address[1]}/"
