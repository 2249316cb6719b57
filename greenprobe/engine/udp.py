"""Asking UDP ports, and an asker that asks ports of both kinds.

Facts (Linux). A connected UDP socket gets the ICMP errors for what it sent: the next call fails with the error, and
with IP_RECVERR the error queue says which ICMP it was. A port-unreachable comes from the host itself, as nothing
listens there: the port is closed, where the same message means a firewall for TCP. A socket that is not connected gets
the errors, too, and answers from any port: that is what TFTP wants. Hosts write few ICMP errors a second (Linux: one,
after a burst), so silence says even less than for TCP: `open|filtered`.
"""

from _socket import socket as KernelSocket  # noqa: N812 - a class
from errno import EAGAIN, EALREADY, EINPROGRESS
from socket import SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK
from typing import Any, Final

from greenprobe.engine.connector import Asker, Connector, Prepare, SocketHolder, read_queue
from greenprobe.engine.ports import UDP
from greenprobe.engine.probes.datagrams import hello_of, identify, wanders
from greenprobe.engine.probes.probe import text_of
from greenprobe.engine.scanplan import Service
from greenprobe.engine.verdicts import Icmp
from greenprobe.hub import Hub

__all__ = ["BothAsker", "UdpAsker", "spoken"]

KIND: Final = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC
MAX_DATAGRAM: Final = 2048


class UdpAsker(SocketHolder):
    """An `Asker` of UDP ports: 0 is an answer, an errno an ICMP error. Used by one greenthread."""

    __slots__ = ("_host", "said")

    def __init__(self, hub: Hub, prepare: Prepare | None = None) -> None:
        super().__init__(hub, prepare)
        self.said = b""
        self._host = ""

    def start(self, family: int, sockaddr: tuple[Any, ...], *, is_near: bool) -> int:
        """Send what the port's protocol begins with."""
        sock = self._hold_new(family, KIND)
        self.icmp = None
        self._host, key, *tail = sockaddr
        port = key - UDP
        place = (self._host, port, *tail)
        try:
            if wanders(port):
                sock.sendto(hello_of(port), place)
            else:
                sock.connect(place)
                sock.send(hello_of(port))
        except OSError as exc:
            return self._end(sock, exc.errno or EAGAIN)
        return self._look(sock) if is_near else EINPROGRESS

    def wait(self, deadline: float) -> int:
        """Wait for a datagram or an error, until `deadline`."""
        sock = self._sock
        if sock is None:
            return EALREADY
        if self._slot is None:
            self._slot = self._hub.poller.adopt(sock.fileno())
        while True:
            is_ready = self._hub.wait(self._slot.read, deadline)
            code = self._look(sock)
            if code != EALREADY or not is_ready:
                return code

    def insist(self, deadline: float) -> int:
        """Wait as `wait` does: nobody sends a datagram again but us."""
        return self.wait(deadline)

    def _look(self, sock: KernelSocket) -> int:
        sender: tuple[Any, ...] = ("",)
        try:
            while sender[0].partition("%")[0] != self._host:  # a socket that is not connected gets anybody's
                self.said, sender = sock.recvfrom(MAX_DATAGRAM)
        except BlockingIOError:
            return EALREADY
        except OSError as exc:
            return self._end(sock, exc.errno or EAGAIN)
        return self._end(sock, 0)

    def _end(self, sock: KernelSocket, code: int) -> int:
        if code:
            self.icmp = read_queue(sock)
        self.close()
        return code


def spoken(port: int, said: bytes) -> Service:
    """Return what speaks at a UDP port that answered with `said`; the name is "" if nobody knows."""
    if said and said == hello_of(port):
        return Service("echo", banner=text_of(said))
    found = identify(said, port)
    if found is None:
        return Service("", banner=text_of(said))
    one, fields = found
    return Service(one.name, text_of(said) if one.is_text else "", str(fields["product"]), fields)


class BothAsker:
    """An `Asker` of TCP and UDP ports: hands each to the asker of its kind."""

    def __init__(self, hub: Hub, prepare: Prepare | None = None) -> None:
        self._tcp: Asker = Connector(hub, prepare)
        self._udp = UdpAsker(hub, prepare)
        self._now: Asker = self._tcp
        self.icmp: Icmp | None = None

    @property
    def said(self) -> bytes:
        """What the last answer was."""
        return self._udp.said

    @property
    def rtt(self) -> float:
        """The kernel's measure of the last round trip, 0 of a datagram."""
        return self._now.rtt

    def start(self, family: int, sockaddr: tuple[Any, ...], *, is_near: bool) -> int:
        """Begin to ask a port."""
        asker = self._udp if sockaddr[1] > UDP else self._tcp
        if asker is not self._now:
            self._now.close()
            self._now = asker
        code = asker.start(family, sockaddr, is_near=is_near)
        self.icmp = asker.icmp
        return code

    def wait(self, deadline: float) -> int:
        """Wait for the end of what was begun."""
        code = self._now.wait(deadline)
        self.icmp = self._now.icmp
        return code

    def insist(self, deadline: float) -> int:
        """Wait while the kernel asks again."""
        code = self._now.insist(deadline)
        self.icmp = self._now.icmp
        return code

    def close(self) -> None:
        """Give the socket back."""
        self._now.close()
