"""One TCP connect at a time, on a socket that is used again where the kernel allows it.

Facts (Linux, all tried). A second connect() on a socket that was refused returns the error and frees the socket: it
may connect again and keeps its place in the epoll set, which saves socket(), setsockopt(), epoll_ctl() and close(). On
a path without delay the answer is processed while the first connect() still holds the socket, so that it returns
EINPROGRESS and the second one, made at once, the result: no epoll at all. An ICMP error that comes in that moment only
lands on the error queue and the socket goes on trying: EALREADY then means "look at the queue". SO_ERROR must be read
before the queue, as reading the queue clears it. An open port closed with SO_LINGER (1, 0) leaves no TIME_WAIT on
either side. A connect() to a local port may meet itself (simultaneous open): both names are the same then, and nobody
listens. Our turn to see an answer comes late when much is under way: of 752 open ports 10 ms away, half seemed 35 ms
or more away by our clock, and 13 by the kernel's, which getsockopt tells of an open port in 0.6 µs.

Choice. The raw socket of the interpreter, without a timeout of its own; `poll` for one descriptor tells whether the
error queue holds something, at a third of the cost of a recvmsg that raises. Only a clean refusal keeps the socket.
"""

from _socket import socket as KernelSocket  # noqa: N812 - a class
from collections.abc import Callable
from errno import EADDRNOTAVAIL, EALREADY, ECONNREFUSED, EINPROGRESS, EINTR, EISCONN, ETIMEDOUT
from select import POLLERR, poll
from socket import (
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    SO_LINGER,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_INFO,
    TCP_SYNCNT,
)
from struct import pack, unpack_from
from typing import Any, Final, Protocol

from greenprobe.engine.verdicts import Icmp, parse_extended_error
from greenprobe.hub import Hub
from greenprobe.poller import Slot

__all__ = [
    "PENDING",
    "SELF_CONNECT",
    "Asker",
    "Connector",
    "Prepare",
    "SocketHolder",
    "is_routed",
    "met_itself",
    "read_queue",
]

PENDING: Final = frozenset({EINPROGRESS, EALREADY, EINTR})
SELF_CONNECT: Final = -1  # the socket met itself: ask again

IP_RECVERR, IPV6_RECVERR = 11, 25  # <linux/in.h>, <linux/in6.h>
MOST_RESENT: Final = 20  # SYNs: more than the deadline lets the kernel send
INFO_BYTES, RTT_PLACE = 72, 68  # of struct tcp_info up to tcpi_rtt, microseconds: <linux/tcp.h>
RESET_ON_CLOSE: Final = pack("ii", 1, 0)
KIND: Final = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC

Prepare = Callable[[KernelSocket], object]


class Asker(Protocol):
    """Asks one address after another; `Connector` in production, a script in tests.

    After a result, `icmp` is the ICMP error that came with it, or None, and `said` what a UDP port answered. `rtt` is
    the kernel's measure of the round trip to an open port, in seconds, 0 if it has none.
    """

    icmp: Icmp | None

    @property
    def rtt(self) -> float:
        """The kernel's measure."""

    @property
    def said(self) -> bytes:
        """The datagram of an answer."""

    def start(self, family: int, sockaddr: tuple[Any, ...], *, is_near: bool) -> int:
        """Begin to connect; return an errno (0: open), or one of PENDING. Raises OSError if no socket can be had."""

    def wait(self, deadline: float) -> int:
        """Wait for the end of what was begun: an errno, 0 or SELF_CONNECT; at the deadline one of PENDING.

        May be called again with a later deadline.
        """

    def insist(self, deadline: float) -> int:
        """Wait as `wait` does, while the kernel asks again from the same socket."""

    def close(self) -> None:
        """Give the socket back."""


class SocketHolder:
    """Holds one socket at a time, which hears of ICMP errors. `prepare` is called with each, to bind it for example."""

    __slots__ = ("_hub", "_prepare", "_slot", "_sock", "icmp", "rtt")

    def __init__(self, hub: Hub, prepare: Prepare | None = None) -> None:
        self._hub = hub
        self._prepare = prepare
        self._sock: KernelSocket | None = None
        self._slot: Slot | None = None
        self.icmp: Icmp | None = None
        self.rtt = 0.0

    def close(self) -> None:
        """Close the socket, if there is one; the next start opens another."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        if self._slot is not None:
            self._hub.poller.close(self._slot)
            self._slot = None
        sock.close()

    def _hold_new(self, family: int, kind: int) -> KernelSocket:
        """Open a socket in the place of the one before. Raises OSError, also of `prepare`."""
        self.close()
        sock = self._sock = KernelSocket(family, kind)
        if family == AF_INET6:
            sock.setsockopt(IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            sock.setsockopt(IPPROTO_IP, IP_RECVERR, 1)
        if self._prepare is not None:
            self._prepare(sock)
        return sock


class Connector(SocketHolder):
    """The `Asker` that asks the network. Used by one greenthread."""

    __slots__ = ("_family", "_look", "_sockaddr")

    def __init__(self, hub: Hub, prepare: Prepare | None = None) -> None:
        super().__init__(hub, prepare)
        self._family = 0
        self._sockaddr: tuple[Any, ...] = ()

    @property
    def said(self) -> bytes:
        """Nothing: a connect is answered without words."""
        return b""

    def start(self, family: int, sockaddr: tuple[Any, ...], *, is_near: bool) -> int:
        """Begin to connect. `is_near` says that the answer is likely to be there at once: then look."""
        sock = self._sock
        if sock is None or family != self._family:
            sock = self._open(family)
        self._sockaddr = sockaddr
        self.icmp = None
        code = sock.connect_ex(sockaddr)
        if is_near and code == EINPROGRESS:
            code = sock.connect_ex(sockaddr)
        if code in PENDING or (code == ECONNREFUSED and not self._look(0)[0][1] & POLLERR):
            return code
        return self._finish(sock, code)

    def wait(self, deadline: float) -> int:
        """Wait for the end of what was begun, until `deadline`."""
        sock, slot = self._sock, self._slot
        if sock is None:
            return EALREADY  # the kernel has given up
        if slot is None:
            slot = self._slot = self._hub.poller.adopt(sock.fileno())
        while True:
            is_ready = self._hub.wait(slot.write, deadline)
            # One last look also after the deadline: a busy machine may be late, which is no silence of the port.
            code = sock.connect_ex(self._sockaddr)
            if code == ETIMEDOUT:
                self.close()
                return EALREADY
            if code not in PENDING:
                break
            self.icmp = read_queue(sock)
            if self.icmp is not None:
                self.close()
                return self.icmp.errno
            if not is_ready:
                return code
        if code == ECONNREFUSED and not self._look(0)[0][1] & POLLERR:
            return code
        return self._finish(sock, code)

    def insist(self, deadline: float) -> int:
        """Wait until `deadline` while the kernel sends the SYN again: after 1, 3, 7 seconds, or more often."""
        if self._sock is not None:
            self._sock.setsockopt(IPPROTO_TCP, TCP_SYNCNT, MOST_RESENT)
        return self.wait(deadline)

    def _open(self, family: int) -> KernelSocket:
        sock = self._hold_new(family, KIND)
        self._family = family
        watcher = poll()
        watcher.register(sock.fileno(), 0)
        self._look = watcher.poll  # never empty for a socket that is not connected: POLLHUP at least
        return sock

    def _finish(self, sock: KernelSocket, code: int) -> int:
        """Close the socket after an end that is not a clean refusal, and say what end it was."""
        if code in (0, EISCONN):
            if met_itself(sock):
                code = SELF_CONNECT
            self.rtt = measured_rtt(sock)
            sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
        else:
            self.rtt = 0.0
            self.icmp = read_queue(sock)
        self.close()
        return code


def measured_rtt(sock: KernelSocket) -> float:
    """Return the round-trip time of a connected socket in seconds; 0 if its SYN was sent twice."""
    info = sock.getsockopt(IPPROTO_TCP, TCP_INFO, INFO_BYTES)
    return float(unpack_from("=I", info, RTT_PLACE)[0]) / 1e6 if len(info) >= INFO_BYTES else 0.0


def read_queue(sock: KernelSocket) -> Icmp | None:
    """Return the ICMP error on a socket's error queue, or None if there is none."""
    try:
        _, controls, _, _ = sock.recvmsg(0, 512, MSG_ERRQUEUE | MSG_DONTWAIT)
    except OSError:
        return None  # EAGAIN: it is empty
    for _, _, data in controls:
        icmp = parse_extended_error(data)
        if icmp is not None:
            return icmp
    return None


def is_routed(family: int, sockaddr: tuple[Any, ...]) -> bool:
    """Tell whether this machine has a source address for a destination. Sends nothing.

    EADDRNOTAVAIL of a TCP connect may mean that local ports ran out, or that there is no source address at all. Only
    the second befalls a datagram socket, too.
    """
    try:
        sock = KernelSocket(family, SOCK_DGRAM | SOCK_CLOEXEC)
    except OSError:
        return True
    try:
        return sock.connect_ex(sockaddr) != EADDRNOTAVAIL
    finally:
        sock.close()


def met_itself(sock: KernelSocket) -> bool:
    """Tell whether a connected socket is connected to itself."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False  # the peer has reset it by now: somebody was there
