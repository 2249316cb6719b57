"""TLS over a green socket: `wrap` and the `SSLSocket` it returns.

`SSLSocket` is the standard library's and a green socket at once: a real subclass of both, over a kernel socket that
never blocks, so OpenSSL says "want read" or "want write" where it would wait, and the greenthread parks on that side.
Which side does not follow from the call: a read may have to write first (an answer to a key update), a write to read.
Contexts are the user's own `ssl.SSLContext` and are never changed; `_create` is called as a context itself calls it.

No short-read hint
    A record that was decrypted says nothing of what the kernel still holds, so every read asks before it waits.
One writer at a time
    After "want write" OpenSSL must be asked again for the same bytes; other ones end in an error, or in those of the
    first reported as sent. So who waits to write holds `_writing`, and others stand in line. What a write that was
    cut off by a timeout or a kill leaves behind is finished before the next one: the stream stays whole. The same
    write repeated goes on where it stopped. Reads have no such state: a second reader meets BusyError, as elsewhere.
A writer that has to read
    In a new handshake (TLS 1.2) a write waits for what the peer says, and a read beside it may take that in: then the
    descriptor has nothing to tell, and both would wait for ever. So a read that has asked OpenSSL ends the wait of such
    a writer (`_reading_writer`), who asks again.
Handshakes
    They are made explicitly, with a deadline, before the first byte goes either way: by `wrap`, or by the first read
    or write of a connection that was accepted from a TLS listener, which is then in that connection's greenthread.
"""

import ssl
from _socket import socket as kernel
from collections.abc import Callable
from socket import socket as stdlib_socket
from ssl import SSL_ERROR_EOF, SSLContext, SSLError, SSLSession, SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast

from greenlet import getcurrent, greenlet

from greenprobe.green_socket import socket as GreenSocket  # noqa: N812 - a class
from greenprobe.hub import Hub, get_hub
from greenprobe.sync import Lock

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["HANDSHAKE_TIMEOUT", "SSLSocket", "wrap"]

HANDSHAKE_TIMEOUT: Final = 30.0
CHUNK_BYTES: Final = 1 << 16  # between two looks at whether others should run
WANT: Final = (SSLWantReadError, SSLWantWriteError)


class Progress(BaseException):
    """Thrown into a writer that waits for what a reader may have taken in."""


class Unsent(NamedTuple):
    """A piece of a write: the size of the whole, where in it the piece stands, and its bytes."""

    size: int
    offset: int
    data: bytes | memoryview

    def is_part_of(self, whole: memoryview) -> bool:
        """Tell whether `whole` is the same write, repeated: then it goes on where it was cut off."""
        return self.size == len(whole) and whole[self.offset : self.offset + len(self.data)] == self.data


class Made:
    """How an `SSLSocket` begins. `_create` of the standard library goes past the constructor that refuses users.

    It calls the one behind the class that `ssl.SSLSocket` names: the standard library's, or ours when that is patched.
    """

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        GreenSocket.__init__(cast(GreenSocket, self), *args, **kwargs)


class SSLSocket(Made, ssl.SSLSocket, GreenSocket):  # type: ignore[misc]
    """`ssl.SSLSocket`, green. Made by `wrap` or by a context, never directly; methods and errors are the stdlib's."""

    _connected: bool
    _sslobj: Any
    _unsent: "Unsent | None"
    _writing: Lock
    _shaken: bool
    _handshake_timeout: float | None
    _lazy: bool
    _reading_writer: "tuple[Hub, greenlet] | None"
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        self._writing = Lock()
        self._unsent = None
        self._shaken = False
        self._handshake_timeout = None
        self._lazy = False
        self._reading_writer = None
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            f"{type(self).__name__} does not have a public constructor. "
            "Instances are returned by SSLContext.wrap_socket()."
        )

    def settimeout(self, value: float | None, /) -> None:
        # The standard library calls this once it has taken the descriptor from another socket, whose `detach` has just
        # made it blocking.
        kernel.setblocking(self, False)
        super().settimeout(value)

    # -- waiting

    def _wait_for(self, want: SSLError, deadline: float | None, what: str) -> float | None:
        """Park until what OpenSSL wants may succeed; return the call's deadline. `what` names it in TimeoutError."""
        if self._timeout == 0:
            raise want
        try:
            if isinstance(want, SSLWantReadError):
                return self._wait_read(deadline)
            return self._wait_write(deadline)
        except TimeoutError:
            raise TimeoutError(f"The {what} operation timed out") from None

    def _call(self, what: str, operation: Callable[..., Any], *args: Any) -> Any:
        """Do a TLS operation that reads, waiting where OpenSSL would."""
        self._greedy -= 1
        if self._greedy < 0:
            self._give_way()
        deadline = None
        while True:
            try:
                result = operation(*args)
            except SSLWantReadError as want:
                if self._reading_writer is not None:
                    self._tell_writer(self._reading_writer)
                deadline = self._wait_for(want, deadline, what)
            except SSLWantWriteError:
                if self._timeout == 0:
                    raise
                break
            else:
                if self._reading_writer is not None:
                    self._tell_writer(self._reading_writer)
                return result
        if self._reading_writer is not None:
            self._tell_writer(self._reading_writer)
        return self._call_in_turn(what, deadline, operation, *args)

    def _call_in_turn(self, what: str, deadline: float | None, operation: Callable[..., Any], *args: Any) -> Any:
        """Do a TLS operation that may have to wait until it can write, behind others that have to."""
        deadline = self._take_turn(what, deadline)
        try:
            while True:
                try:
                    return operation(*args)
                except WANT as want:
                    deadline = self._wait_for(want, deadline, what)
        finally:
            self._writing.release()

    def _take_turn(self, what: str, deadline: float | None) -> float | None:
        """Take the writers' lock and return the call's deadline. Raises TimeoutError."""
        clock = get_hub().clock
        if deadline is None and self._timeout is not None:
            deadline = clock() + self._timeout
        if self._writing.acquire(timeout=None if deadline is None else max(0.0, deadline - clock())):
            return deadline
        if self._timeout == 0:
            raise SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "another greenthread is writing")
        raise TimeoutError(f"The {what} operation timed out")

    # -- the handshake

    def do_handshake(self, block: bool = False) -> None:
        self._check_connected()  # type: ignore[attr-defined]
        timeout = None if block and self._timeout == 0 else self._timeout
        self._shake(timeout if timeout == 0 else shorter(timeout, self._handshake_timeout))

    def _shake(self, timeout: float | None) -> None:
        before, self._timeout = self._timeout, timeout
        try:
            self._call_in_turn("handshake", None, self._shake_on)
        finally:
            self._timeout = before

    def _shake_on(self) -> None:
        """Take the handshake as far as it goes, unless another greenthread has finished it meanwhile."""
        if not self._shaken:
            self._sslobj.do_handshake()
            self._shaken = True

    def _shake_late(self) -> None:
        """Make the handshake that nobody has made yet. Without waits, OpenSSL makes it as it reads or writes."""
        if self._timeout != 0:
            self._shake(shorter(self._timeout, self._handshake_timeout))

    # -- reading

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        sslobj = self._sslobj
        if sslobj is None:
            raise ValueError("Read on closed or unwrapped SSL socket.")
        if not self._shaken:
            self._shake_late()
        try:
            if buffer is None:
                return self._call("read", sslobj.read, len)
            return self._call("read", sslobj.read, len, buffer)
        except SSLError as error:
            if error.args[0] == SSL_ERROR_EOF and self.suppress_ragged_eofs:
                return b"" if buffer is None else 0
            raise

    # -- writing

    def write(self, data: "ReadableBuffer") -> int:
        sslobj = self._sslobj
        if sslobj is None:
            raise ValueError("Write on closed or unwrapped SSL socket.")
        if not self._shaken:
            self._shake_late()
        self._greedy -= 1
        if self._greedy < 0:
            self._give_way()
        if self._timeout == 0:
            return cast(int, sslobj.write(data))
        with memoryview(data) as view, view.cast("B") as rest:
            if len(rest) <= CHUNK_BYTES and self._unsent is None and not self._writing.locked():
                try:
                    return cast(int, sslobj.write(rest))
                except WANT:
                    pass
            return self._write_in_turn(rest)

    def _write_in_turn(self, data: memoryview) -> int:
        """Write all of `data` in pieces, behind others that write; first what is left of a write that was cut off."""
        deadline = self._take_turn("write", None)
        try:
            done = 0
            if self._unsent is not None:
                unsent = self._unsent
                if unsent.is_part_of(data):
                    done = unsent.offset
                else:
                    deadline = self._write_piece(unsent, deadline)
            while True:
                piece = Unsent(len(data), done, data[done : done + CHUNK_BYTES])
                deadline = self._write_piece(piece, deadline)
                done += len(piece.data)
                if done >= len(data):
                    return done
        finally:
            self._writing.release()

    def _write_piece(self, piece: "Unsent", deadline: float | None) -> float | None:
        sslobj = self._sslobj
        if sslobj is None:
            raise ValueError("Write on closed or unwrapped SSL socket.")
        self._greedy -= 1
        if self._greedy < 0:
            self._give_way()
        while True:
            try:
                sslobj.write(piece.data)
                self._unsent = None
                return deadline
            except WANT as want:
                deadline = self._wait_to_write(want, deadline, piece)

    def _wait_to_write(self, want: SSLError, deadline: float | None, piece: "Unsent") -> float | None:
        try:
            if isinstance(want, SSLWantReadError):
                return self._wait_beside_reader(want, deadline)
            return self._wait_for(want, deadline, "write")
        except BaseException:
            self._unsent = piece._replace(data=bytes(piece.data))
            raise

    def _wait_beside_reader(self, want: SSLError, deadline: float | None) -> float | None:
        """Wait, as a writer, until there is something to read or a reader has asked; return the call's deadline."""
        hub = get_hub()
        if deadline is None and self._timeout is not None:
            deadline = hub.clock() + self._timeout
        slot = self._slot if hub is self._hub and self._slot is not None else self._settle_on(hub)
        slot.shared = True  # lets us in beside the reader
        self._reading_writer = hub, getcurrent()
        try:
            return self._wait_for(want, deadline, "write")
        except Progress:
            return deadline
        finally:
            self._reading_writer = None
            slot.shared = self._listens

    def _tell_writer(self, writer: tuple[Hub, greenlet]) -> None:
        """Have the writer that waits to read ask OpenSSL again."""
        hub, green = writer

        def tell() -> None:
            if self._reading_writer is writer:
                green.throw(Progress())

        hub.call_threadsafe(tell)

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        if self._sslobj is None:
            return super().send(data, flags)
        if flags:
            raise ValueError(f"non-zero flags not allowed in calls to send() on {self.__class__}")
        return self.write(data)

    # -- the end

    def unwrap(self) -> stdlib_socket:
        sslobj = self._sslobj
        if not sslobj:
            raise ValueError(f"No SSL wrapper around {self}")
        plain = self._call("shutdown", sslobj.shutdown)
        self._sslobj = None
        return cast(stdlib_socket, plain)

    def farewell(self) -> None:
        """Tell the peer that no more data comes, if that is possible at once; for a `close` that follows."""
        self.settimeout(0)
        try:
            self.unwrap()
        except (OSError, ValueError):
            pass  # it could not be sent, or (nearly always) the peer's own farewell is not there yet

    # -- connections

    def accept(self) -> tuple["SSLSocket", Any]:
        """Accept a connection.

        A listener of `wrap` leaves the handshake to the first read or write (within 30 s), or to `do_handshake`; one
        of `SSLContext.wrap_socket` makes it, unless `do_handshake_on_connect` is off.
        """
        plain, address = GreenSocket.accept(self)
        if not self._lazy:
            return self._wrap_accepted(plain), address
        connection = create(
            plain, self.context, server_side=True, suppress_ragged_eofs=self.suppress_ragged_eofs, handshake=False
        )
        connection._handshake_timeout = HANDSHAKE_TIMEOUT
        return connection, address

    def _wrap_accepted(self, plain: stdlib_socket) -> "SSLSocket":
        connection = self.context.wrap_socket(
            plain,
            do_handshake_on_connect=self.do_handshake_on_connect,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
            server_side=True,
        )
        return cast(SSLSocket, connection)


def wrap(
    sock: stdlib_socket,
    context: SSLContext,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    session: SSLSession | None = None,
    suppress_ragged_eofs: bool = True,
    do_handshake_on_connect: bool = True,
) -> SSLSocket:
    """Return a TLS socket over a connected `sock`, which it takes the descriptor of; the handshake is made.

    The handshake may take `handshake_timeout` seconds, or the socket's own timeout if that is shorter. No handshake is
    made on a socket with timeout 0, or that listens or is not connected yet (then `connect` makes it). Raises
    TimeoutError, ssl.SSLError and OSError; the descriptor is closed then.
    """
    secure = create(
        sock,
        context,
        server_side=server_side,
        server_hostname=server_hostname,
        session=session,
        suppress_ragged_eofs=suppress_ragged_eofs,
        handshake=False,
    )
    secure.do_handshake_on_connect = do_handshake_on_connect
    secure._handshake_timeout = handshake_timeout
    if do_handshake_on_connect and secure._connected and secure._timeout != 0:
        try:
            secure._shake_late()
        except BaseException:
            secure.close()
            raise
    return secure


def create(sock: stdlib_socket, context: SSLContext, *, handshake: bool, **options: Any) -> SSLSocket:
    """Make an SSLSocket of `sock` as `context.wrap_socket` would, of our class and not of the context's."""
    made = SSLSocket._create(sock=sock, context=context, do_handshake_on_connect=handshake, **options)  # type: ignore[attr-defined]
    made._lazy = True
    return cast(SSLSocket, made)


def shorter(one: float | None, other: float | None) -> float | None:
    """Return the shorter of two timeouts; None is endless."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
