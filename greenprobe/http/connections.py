"""One conversation with an origin over TCP, with or without TLS: connect, send, receive, each until a deadline.

What is in the bytes is not known here. The interpreter's raw socket and the hub are used directly: a keep-alive fetch
is a send, a wait and a recv, and a socket object with a timeout of its own between them costs as much as the parsing
of the answer. TLS runs over memory buffers (`SSLObject`), so that it shares the one path that waits.

What is raised are TimeoutError, OSError and its subclass SSLError; the client gives them their names.
"""

import os
from _socket import socket as KernelSocket  # noqa: N812 - a class
from errno import EALREADY, EINPROGRESS
from socket import IPPROTO_TCP, MSG_PEEK, SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, TCP_NODELAY
from ssl import MemoryBIO, SSLContext, SSLError, SSLSession, SSLWantReadError
from typing import Any, Final, NamedTuple

from greenprobe.http.certificates import TlsFacts, facts_of
from greenprobe.hub import Hub
from greenprobe.poller import READY, Side, Slot

__all__ = ["Address", "Connection", "TlsConnection", "connect_tcp", "reason", "start_tls"]

RECEIVE_BYTES: Final = 1 << 16
MAX_STREAK: Final = 8  # half a megabyte
CHANGE_CIPHER_SPEC_BYTES: Final = 6  # which TLS 1.3 sends for the sake of middleboxes; it is no reason for a packet
KIND: Final = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC


class Address(NamedTuple):
    """Where to connect to: an address family and a socket address of it."""

    family: int
    sockaddr: tuple[Any, ...]


class Connection:
    """A conversation in the clear. `deadline` is absolute, in the hub's clock.

    `side` is what to wait for before bytes can be taken; of a subclass, only `receive` may know.
    """

    __slots__ = (
        "_hub",
        "_is_drained",
        "_slot",
        "_sock",
        "_streak",
        "address",
        "idle_since",
        "is_fresh",
        "side",
        "tls_facts",
    )

    def __init__(self, hub: Hub, sock: KernelSocket, slot: Slot, address: Address) -> None:
        self._hub = hub
        self.address = address
        self._sock = sock
        self._slot = slot
        self.side: Side = slot.read
        self._is_drained = True  # nothing can have come before the first request was sent
        self._streak = 0  # receives in a row that did not wait
        self.idle_since = 0.0
        self.is_fresh = True  # has not been idle yet: the peer has had no time to tire of it
        self.tls_facts: TlsFacts | None = None

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`; raises TimeoutError or OSError."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            self._send_rest(data[sent:], deadline)

    def _send_rest(self, data: bytes, deadline: float) -> None:
        while data:
            if not self._hub.wait(self._slot.write, deadline):
                raise TimeoutError
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                pass

    def send_at_once(self) -> None:
        """From now on hold no small piece back (TCP_NODELAY): for requests that go out in several."""
        if self._sock.fileno() >= 0:
            self._sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes, `b""` at the end; raises TimeoutError or OSError."""
        is_in_time = True
        if self._is_drained:
            is_in_time = self._hub.wait(self._slot.read, deadline)
        else:
            self._let_others_run(deadline)
        # Asked also after the deadline: a hub that was held up (by a full pipe on standard output, perhaps) sees the
        # deadline before it sees the bytes that have long arrived.
        while (data := self.take()) is None:
            if not is_in_time:
                raise TimeoutError
            is_in_time = self._hub.wait(self._slot.read, deadline)
        return data

    def take(self) -> bytes | None:
        """Return the bytes that have come, `b""` at the end, None if there are none yet; raises OSError."""
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            self._is_drained = True
            return None
        # A short read has emptied the socket, unless the end came with the data: that edge is spent already.
        self._is_drained = len(data) < RECEIVE_BYTES and not self._slot.hangup
        return data

    def _let_others_run(self, deadline: float) -> None:
        """Keep a peer that is faster than we are from having the hub to itself, or for longer than it may."""
        self._streak += 1
        if self._streak >= MAX_STREAK:
            self._streak = 0
            if self._hub.clock() > deadline:
                raise TimeoutError
            self._hub.sleep()

    def is_over(self) -> bool:
        """Tell whether the peer has hung up, or has said what nobody asked for, as far as the hub has noticed."""
        slot = self._slot
        return slot.hangup != 0 or (slot.read.waiter is READY and self._has_spoken())

    def _has_spoken(self) -> bool:
        """Look what an edge was about that came while nobody waited: of the last answer, perhaps."""
        try:
            self._sock.recv(1, MSG_PEEK)
        except BlockingIOError:
            self._slot.read.waiter = None
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Close at once. A second call does nothing."""
        if self._sock.fileno() >= 0:
            self._hub.poller.recycle(self._slot)
            self._sock.close()


class TlsConnection(Connection):
    """A conversation in TLS, over one in the clear or, through a proxy, in TLS. Made by `start_tls`."""

    __slots__ = ("_carrier", "_incoming", "_is_flushing", "_outgoing", "_tls")

    def __init__(
        self, plain: Connection, context: SSLContext, server_hostname: str, session: SSLSession | None
    ) -> None:
        super().__init__(plain._hub, plain._sock, plain._slot, plain.address)
        self._carrier = plain
        self._is_flushing = False
        self._incoming = MemoryBIO()
        self._outgoing = MemoryBIO()
        host = server_hostname.encode() if server_hostname.isascii() else server_hostname  # spares it the IDNA codec
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host, session=session)

    @property
    def context(self) -> SSLContext:
        """By whose rules the handshake was made."""
        return self._tls.context

    @property
    def session(self) -> SSLSession | None:
        """What a later connection to the same origin can resume from, once data has been received."""
        return self._tls.session

    @property
    def is_resumed(self) -> bool:
        """Tell whether the handshake resumed a session."""
        return bool(self._tls.session_reused)

    @property
    def protocol(self) -> str | None:
        """The protocol that ALPN agreed on."""
        return self._tls.selected_alpn_protocol()

    @property
    def certificate(self) -> bytes | None:
        """The peer's certificate, as DER."""
        return self._tls.getpeercert(binary_form=True)

    def _has_spoken(self) -> bool:
        """Tell whether there is more than TLS itself has to say: tickets for later sessions, mostly."""
        if isinstance(self._carrier, TlsConnection) or not super()._has_spoken():
            return False
        try:
            self._take_in(0.0)  # there is something: it does not wait
            self._tls.read(1)
        except SSLWantReadError:
            return False
        except OSError:
            pass
        return True

    def note_facts(self) -> None:
        """Fill `tls_facts`."""
        self.tls_facts = facts_of(self._tls)

    def handshake(self, deadline: float) -> None:
        """Agree on keys and check the peer's certificate; raises TimeoutError or OSError.

        Our last words stay in the buffer and go out with the first request: one packet and one system call less, and
        nothing that Nagle's algorithm would hold back until the peer's delayed ACK, 40 ms later.
        """
        while True:
            try:
                self._tls.do_handshake()
                break
            except SSLWantReadError:
                if self._outgoing.pending > CHANGE_CIPHER_SPEC_BYTES:
                    self._flush(deadline)
                self._take_in(deadline)
            except OSError:
                self._flush(deadline)  # the alert that tells the peer why
                raise

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`; raises TimeoutError or OSError."""
        self._tls.write(data)
        self._flush(deadline)

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes, `b""` after the peer said so; raises TimeoutError or OSError."""
        while True:
            try:
                return self._tls.read(RECEIVE_BYTES)
            except SSLWantReadError:
                self._exchange(deadline)

    def _exchange(self, deadline: float) -> None:
        self._flush(deadline)
        self._take_in(deadline)

    def _take_in(self, deadline: float) -> None:
        data = self._carrier.receive(deadline)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()  # OpenSSL raises SSLEOFError if the peer has not said good-bye

    def _flush(self, deadline: float) -> None:
        # One at a time: what comes meanwhile from another greenthread goes out behind it, and not into the middle.
        if self._is_flushing:
            return
        self._is_flushing = True
        try:
            while data := self._outgoing.read():
                self._carrier.send(data, deadline)
        except BaseException:
            self.close()  # whatever came behind half a record would be read as the rest of it
            raise
        finally:
            self._is_flushing = False


def connect_tcp(hub: Hub, address: Address, deadline: float) -> Connection:
    """Connect to one address. Raises TimeoutError, or OSError with the reason."""
    family, sockaddr = address
    sock = KernelSocket(family, KIND)
    slot = hub.poller.adopt(sock.fileno())
    connection = Connection(hub, sock, slot, address)
    try:
        error = sock.connect_ex(sockaddr)
        if error == EINPROGRESS:
            # On a path without delay (loopback, a container next door) the answer came while the kernel held the
            # socket; asked once more, it says so. That saves the wait, its timer and its turn of the loop.
            error = sock.connect_ex(sockaddr)
            if error == EALREADY:
                if not hub.wait(slot.write, deadline):
                    raise TimeoutError
                error = sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        connection.close()
        raise
    return connection


def start_tls(
    plain: Connection, context: SSLContext, server_hostname: str, deadline: float, *, session: SSLSession | None = None
) -> TlsConnection:
    """Turn an open conversation into one in TLS. On an error it is closed."""
    try:
        secure = TlsConnection(plain, context, server_hostname, session)
        secure.handshake(deadline)
    except BaseException:
        plain.close()
        raise
    return secure


def reason(exc: OSError) -> str:
    """Return what the system, or TLS, says about an error, in its own words."""
    if isinstance(exc, SSLError):
        return exc.reason or str(exc)
    return os.strerror(exc.errno) if exc.errno else str(exc)
