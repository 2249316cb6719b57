"""eventlet.greenio.base: GreenSocket, a green socket that can also be made of somebody else's socket.

eventlet's wraps; this one is a subclass of the standard library's socket, as greenprobe's is, with all of its methods.
Any green socket of greenprobe counts as an instance, whoever made it. One that is made of another socket shares its
descriptor: closing it closes the other one, dropping it leaves the descriptor to the other one.
"""

import os
import socket as stdlib
from _socket import socket as kernel
from errno import EAGAIN, EALREADY, EBADF, ECONNRESET, EINPROGRESS, EINVAL, EISCONN, ENOTCONN, EPIPE, ESHUTDOWN
from typing import TYPE_CHECKING, Any, Final

from greenprobe import green_socket as core
from greenprobe.errors import BusyError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = [
    "CONNECT_ERR",
    "CONNECT_SUCCESS",
    "SOCKET_BLOCKING",
    "SOCKET_CLOSED",
    "SSL",
    "GreenSocket",
    "set_nonblocking",
    "shutdown_safe",
    "socket_timeout",
]

CONNECT_ERR: Final = {EINPROGRESS, EALREADY, EAGAIN}
CONNECT_SUCCESS: Final = {0, EISCONN}
SOCKET_BLOCKING: Final = {EAGAIN, ENOTCONN}
SOCKET_CLOSED: Final = {ECONNRESET, ESHUTDOWN, EPIPE}
SHUT_ALREADY: Final = {EBADF, EINVAL, ENOTCONN}
socket_timeout = TimeoutError
_GLOBAL_DEFAULT_TIMEOUT: Final[Any] = stdlib._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]


class AnyGreenSocket(type):
    """The class of GreenSocket: every green socket is an instance of it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return super().__instancecheck__(instance) or (cls is GreenSocket and isinstance(instance, core.socket))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return super().__subclasscheck__(subclass) or (cls is GreenSocket and issubclass(subclass, core.socket))


class GreenSocket(core.socket, metaclass=AnyGreenSocket):
    """`socket.socket`, green. `family` may be a socket instead, or what has one's methods, to share its descriptor."""

    def __init__(self, family: Any = stdlib.AF_INET, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("set_nonblocking", None)  # ours never block
        self._shared_with: Any = None
        if isinstance(family, int):
            super().__init__(family, *args, **kwargs)
            return
        timeout = family.gettimeout()
        super().__init__(family.family, family.type, getattr(family, "proto", 0), fileno=family.fileno())
        self._shared_with = family
        self._timeout = timeout if timeout is not None else stdlib.getdefaulttimeout()
        self._listens = self._listens or bool(self.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_ACCEPTCONN))

    @property
    def fd(self) -> Any:
        """The socket that this one was made of, or itself."""
        return self._shared_with if self._shared_with is not None else self

    _sock = fd

    @property
    def act_non_blocking(self) -> bool:
        """Whether calls raise BlockingIOError instead of waiting."""
        return self._timeout == 0

    @act_non_blocking.setter
    def act_non_blocking(self, value: bool) -> None:
        self.setblocking(not value)

    def _wait_read(self, deadline: float | None, error: BlockingIOError | None = None) -> float | None:
        try:
            return super()._wait_read(deadline, error)
        except BusyError as busy:
            raise RuntimeError(str(busy)) from busy

    def _wait_write(self, deadline: float | None, error: BlockingIOError | None = None) -> float | None:
        try:
            return super()._wait_write(deadline, error)
        except BusyError as busy:
            raise RuntimeError(str(busy)) from busy

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive up to `bufsize` bytes; b"" at the end, and also, as in eventlet, if the peer reset the connection."""
        try:
            return super().recv(bufsize, flags)
        except ConnectionResetError:
            return b""
        except BusyError as busy:  # its way to wait does not always lead through `_wait_read`
            raise RuntimeError(str(busy)) from busy

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer; 0 at the end, and also, as in eventlet, if the peer reset the connection."""
        try:
            return super().recv_into(buffer, nbytes, flags)
        except ConnectionResetError:
            return 0

    def accept(self) -> tuple["GreenSocket", Any]:
        """Wait for a connection; return a GreenSocket and the peer's address."""
        fd, address = self._read(core.kernel_accept)
        return GreenSocket(self.family, self.type, self.proto, fileno=fd), address

    def makeGreenFile(self, *args: Any, **kw: Any) -> Any:  # noqa: N802 - eventlet's name
        """Return a file over the socket. Deprecated: use `makefile`."""
        return self.makefile(*args, **kw)

    def _real_close(self) -> None:
        other, self._shared_with = self._shared_with, None
        if other is None:
            super()._real_close()
            return
        self._forget(shared=True)
        kernel.detach(self)
        other.close()

    def detach(self) -> int:
        """Let go of the descriptor and return it; the socket that this one was made of loses it, too."""
        other, self._shared_with = self._shared_with, None
        if other is not None and hasattr(other, "detach"):
            other.detach()
        return super().detach()

    def __del__(self) -> None:
        if getattr(self, "_shared_with", None) is not None:
            kernel.detach(self)  # the descriptor is the other one's to close
        else:
            super().__del__()  # type: ignore[misc]  # _socket has it, and warns of what was not closed


def set_nonblocking(fd: Any) -> None:
    """Set O_NONBLOCK on a descriptor, or on that of an object with `fileno()`."""
    if hasattr(fd, "setblocking"):
        fd.setblocking(False)
    else:
        os.set_blocking(fd if isinstance(fd, int) else fd.fileno(), False)


def shutdown_safe(sock: Any) -> None:
    """Shut down both directions of a socket, TLS or plain, if it is open and connected."""
    try:
        try:
            sock.shutdown(stdlib.SHUT_RDWR)
        except TypeError:  # pyOpenSSL's connections take no direction
            sock.shutdown()
    except OSError as error:
        if error.errno not in SHUT_ALREADY:
            raise


class SSL:
    """pyOpenSSL's exceptions, where programs expect them; they are never raised here."""

    class WantWriteError(Exception):
        """pyOpenSSL would have to write first."""

    class WantReadError(Exception):
        """pyOpenSSL would have to read first."""

    class ZeroReturnError(Exception):
        """The TLS session was closed."""

    class SysCallError(Exception):
        """A system call under pyOpenSSL failed."""
