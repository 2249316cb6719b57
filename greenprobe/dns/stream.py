"""Asking over TCP and TLS: queries follow each other on one connection, and replies come in any order (RFC 7766, 7858).

The connection is opened by the greenthread that reads it; what is asked meanwhile waits in `_outbox`. Over TCP it is
closed when nobody waits for a reply. A TLS connection, dear to open, stays for IDLE_SECONDS; a server may have closed
it in the meantime, and another query may be what it closed it for. So a query that meets the end of a connection which
it did not have for itself is asked once more, on one that it has.

A query that is killed or times out while it is written may leave half a frame, behind which nobody would find the next:
the connection ends with it.
"""

from collections.abc import Callable
from errno import ECONNRESET
from typing import Final

from greenlet import greenlet

from greenprobe.dns.inflight import InFlight
from greenprobe.green_socket import socket
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub
from greenprobe.sync import Lock
from greenprobe.timeout import fail_after

__all__ = ["StreamPath"]

IDLE_SECONDS: Final = 10.0
QUERIES: Final = 10_000  # on one connection
CHUNK_BYTES: Final = 1 << 16

# Opens a connection within so many seconds. Raises OSError, TimeoutError among them.
Connect = Callable[[float], socket]


class StreamChannel(InFlight):
    """One connection, with a reader of its own."""

    def __init__(self, hub: Hub, connect: Connect, patience: float, idle: float) -> None:
        super().__init__(hub)
        self.is_open = True
        self.left = QUERIES
        self._connect = connect
        self._patience = patience
        self._idle = idle
        self._sock: socket | None = None
        self._outbox: list[bytes] = []
        self._writing = Lock()
        self._reader: greenlet = spawn_n(self._run)

    def ask(self, query: bytes, asked: bytes, deadline: float, *, keeps_case: bool) -> bytes:
        """Send a query (without its id) and return the reply. Raises OSError, TimeoutError."""
        self.left -= 1
        number, waiting = self.enrol(asked, deadline, keeps_case=keeps_case)
        frame = (len(query) + 2).to_bytes(2, "big") + number + query
        timer = self.hub.timers.add(deadline, self._look_at_clock)
        try:
            if self._sock is None:
                self._outbox.append(frame)
            else:
                self._send(frame, deadline)
            return self.await_reply(number, waiting)
        finally:
            timer.cancel()
            self.waiting.pop(number, None)
            if not self.waiting and not self._idle:
                self.close()

    def close(self) -> None:
        """End the connection; who waits gets an error."""
        kill(self._reader)

    def _send(self, frame: bytes, deadline: float) -> None:
        """Write a frame. Raises OSError, TimeoutError if the server takes nothing until `deadline`."""
        with fail_after(max(0.0, deadline - self.hub.clock())), self._writing:
            assert self._sock is not None
            try:
                self._sock.sendall(frame)
            except BaseException:
                self.is_open = False
                self.close()
                raise

    def _run(self) -> None:
        error = OSError(ECONNRESET, "the server closed the connection")
        try:
            with self._connect(self._patience) as self._sock:
                with self._writing:
                    self._sock.sendall(b"".join(self._outbox))
                self._read(self._sock)
        except OSError as exc:
            error = exc
        finally:
            self.is_open = False
            self.fail_all(error)

    def _look_at_clock(self) -> None:
        self.expire(self.hub.clock())

    def _read(self, sock: socket) -> None:
        """Read until nobody has waited for `idle` seconds. Raises OSError when the server ends it."""
        sock.settimeout(self._idle or None)
        data = b""
        while self.waiting or self._idle:
            try:
                more = sock.recv(CHUNK_BYTES)
            except TimeoutError:
                if self.waiting:
                    continue
                return
            if not more:
                raise ConnectionResetError(ECONNRESET, "the server closed the connection")
            data = self._take(data + more)

    def _take(self, data: bytes) -> bytes:
        """Deliver the whole messages at the front of `data`; return the rest."""
        at = 0
        while len(data) - at >= 2:
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if len(data) < end:
                break
            self.deliver(data[at + 2 : end])
            at = end
        return data[at:]


class StreamPath:
    """The way to one server over connections, for the greenthreads of one hub."""

    def __init__(self, hub: Hub, connect: Connect, *, idle: float = 0.0) -> None:
        self._hub = hub
        self._connect = connect
        self._idle = idle
        self._channel: StreamChannel | None = None

    def exchange(self, query: bytes, asked: bytes, timeout: float, *, keeps_case: bool = False) -> bytes:
        """Send a query (without its id); return the reply. Raises OSError, TimeoutError after `timeout` seconds."""
        deadline = self._hub.clock() + timeout
        channel = self._open(timeout)
        try:
            return channel.ask(query, asked, deadline, keeps_case=keeps_case)
        except TimeoutError:
            raise
        except OSError:
            if channel.left == QUERIES - 1:  # nobody else's
                raise
        left = max(deadline - self._hub.clock(), 0.0)
        own = StreamChannel(self._hub, self._connect, left, idle=0.0)
        return own.ask(query, asked, deadline, keeps_case=keeps_case)

    def close(self) -> None:
        """End the connection."""
        if self._channel is not None and self._channel.is_open:
            self._channel.close()

    def _open(self, patience: float) -> StreamChannel:
        channel = self._channel
        if channel is None or not channel.is_open or channel.left <= 0:
            channel = self._channel = StreamChannel(self._hub, self._connect, patience, self._idle)
        return channel
