"""OpenSSL.SSL of pyOpenSSL, if it is installed, with connections that park instead of blocking."""

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL as plain  # noqa: N811 - a module

from greenprobe.compat.eventlet.green.private import contents
from greenprobe.compat.eventlet.greenio.base import GreenSocket
from greenprobe.compat.eventlet.hubs.levels import trampoline

globals().update(contents(plain))


class Connection(plain.Connection):  # type: ignore[misc]
    """`OpenSSL.SSL.Connection` over a green socket; the socket's timeout holds for each wait."""

    def __init__(self, context: Any, socket: Any = None) -> None:
        super().__init__(context, socket)
        self._green: Any = socket if socket is None or isinstance(socket, GreenSocket) else GreenSocket(socket)
        self._timeout: float | None = self._green.gettimeout() if self._green is not None else None

    def settimeout(self, timeout: float | None) -> None:
        """Set the seconds that a wait may take, None for ever."""
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """Return the seconds that a wait may take."""
        return self._timeout

    def _until_done(self, operation: Callable[..., Any], *args: Any) -> Any:
        """Repeat an operation until OpenSSL wants nothing more. Raises TimeoutError."""
        while True:
            try:
                return operation(*args)
            except plain.WantReadError:
                self._wait(read=True)
            except plain.WantWriteError:
                self._wait(write=True)

    def _wait(self, **direction: bool) -> None:
        trampoline(self.fileno(), timeout=self._timeout, timeout_exc=TimeoutError("timed out"), **direction)

    def do_handshake(self) -> None:
        """Make the handshake."""
        self._until_done(super().do_handshake)

    def connect(self, addr: Any) -> None:
        """Connect the socket, and make ready for a handshake as a client."""
        self._green.connect(addr)
        self.set_connect_state()

    def accept(self) -> tuple[Any, Any]:
        """Wait for a connection to a listener; return it, ready for a handshake as a server, and the peer's address."""
        sock, address = self._green.accept()
        connection = type(self)(self.get_context(), sock)
        connection.set_accept_state()
        return connection, address

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """Receive; b"" at the end."""
        try:
            return self._until_done(super().recv, bufsiz, flags)  # type: ignore[no-any-return]
        except plain.ZeroReturnError:
            return b""
        except plain.SysCallError as error:
            if error.args == (-1, "Unexpected EOF"):
                return b""
            raise

    read = recv

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int | None = None) -> int:
        """Receive into a buffer; 0 at the end."""
        try:
            return self._until_done(super().recv_into, buffer, nbytes, flags)  # type: ignore[no-any-return]
        except plain.ZeroReturnError:
            return 0

    def send(self, buf: Any, flags: int = 0) -> int:
        """Send what can be sent."""
        return self._until_done(super().send, buf, flags)  # type: ignore[no-any-return]

    write = send

    def sendall(self, buf: Any, flags: int = 0) -> int:
        """Send everything."""
        data = memoryview(buf).cast("B")
        sent = 0
        while sent < len(data):
            sent += self.send(bytes(data[sent : sent + (1 << 14)]), flags)
        return sent

    def shutdown(self) -> bool:
        """Tell the peer that no more data comes."""
        return self._until_done(super().shutdown)  # type: ignore[no-any-return]


GreenConnection = ConnectionType = Connection
