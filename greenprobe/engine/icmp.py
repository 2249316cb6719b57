"""Which hosts answer an ICMP echo request, where this process may send any.

Facts (Linux). A datagram socket of the ICMP protocol sends echo requests and gets only their replies; who may open one
is a range of groups, net.ipv4.ping_group_range, for IPv6, too. Root may open a raw one, which gets every ICMP message
of the machine, over IPv4 with the IP header. The kernel writes the checksum, but not on a raw IPv4 socket.
Choice. A request carries all that is to be known when its reply comes: a random token, the number of the host, the
time. Every host is asked twice at the most. Source: RFC 792; RFC 4443, section 4.
"""

import os
from _socket import socket as KernelSocket  # noqa: N812 - a class
from collections.abc import Callable, Iterable, Iterator
from errno import EAGAIN, ENOBUFS
from itertools import islice
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    SO_RCVBUF,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_RAW,
    SOL_SOCKET,
)
from struct import Struct
from typing import Any, Final, NamedTuple

from greenprobe.engine.order import Permutation
from greenprobe.engine.targets import Address, Hosts
from greenprobe.engine.timing import HostTiming
from greenprobe.hub import Hub

__all__ = ["Echoes", "Pinger", "checksum", "echo_hosts", "parse_reply"]

RATE_PER_S: Final = 5000.0
BURST: Final = 32
TRIES: Final = 2
MOST_HOSTS: Final = 1 << 48  # more have no number in a request, and no end
SHORTEST: Final = 0.1  # seconds
PATIENCE: Final = 0.005  # seconds after which what had no room is sent again
ROOM_BYTES: Final = 1 << 22
HEAD: Final = Struct(">BBHHH")
BODY: Final = Struct(">8sQd")
REQUEST: Final[dict[int, int]] = {AF_INET: 8, AF_INET6: 128}
REPLY: Final[dict[int, int]] = {AF_INET: 0, AF_INET6: 129}
PROTOCOL: Final[dict[int, int]] = {AF_INET: IPPROTO_ICMP, AF_INET6: IPPROTO_ICMPV6}

Prepare = Callable[[KernelSocket], object]


def checksum(data: bytes) -> int:
    """Return the checksum of the Internet protocols. Source: RFC 1071."""
    total = sum(int.from_bytes(data[place : place + 2].ljust(2, b"\0")) for place in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def parse_reply(data: bytes, family: int, token: bytes, *, has_ip: bool) -> tuple[int, float] | None:
    """Return the number of the host and the time in a reply to one of ours, None of anything else."""
    start = (data[0] & 15) * 4 if has_ip and data else 0
    if len(data) < start + HEAD.size + BODY.size or data[start] != REPLY[family]:
        return None
    found, number, sent = BODY.unpack_from(data, start + HEAD.size)
    return (number, sent) if found == token else None


class Pinger:
    """Sends echo requests of one family, and reads their replies. Raises OSError if it may not."""

    def __init__(self, hub: Hub, family: int, prepare: Prepare | None = None) -> None:
        self._hub = hub
        self._family = family
        self._token = os.urandom(8)
        self._sock, self._is_raw = _opened(family)
        try:
            if prepare is not None:
                prepare(self._sock)
            self._sock.setsockopt(SOL_SOCKET, SO_RCVBUF, ROOM_BYTES)
        except OSError:
            self._sock.close()
            raise
        self._slot = hub.poller.adopt(self._sock.fileno())

    def send(self, sockaddr: tuple[Any, ...], number: int) -> None:
        """Ask a host, waiting for room if there is none. A host that cannot be reached is silent."""
        while True:
            packet = self._packet(number)
            try:
                self._sock.sendto(packet, sockaddr)
            except OSError as exc:
                if exc.errno in (EAGAIN, ENOBUFS):
                    self._hub.sleep(PATIENCE)
                    continue
            return

    def replies(self) -> Iterator[tuple[int, float]]:
        """Yield the number of the host and the round-trip time of each reply that is there."""
        while True:
            try:
                data = self._sock.recv(2048)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for one of ours
            found = parse_reply(data, self._family, self._token, has_ip=self._is_raw and self._family == AF_INET)
            if found is not None:
                yield found[0], self._hub.clock() - found[1]

    def wait(self, deadline: float) -> bool:
        """Wait until there may be a reply; False at the deadline."""
        return self._hub.wait(self._slot.read, deadline)

    def close(self) -> None:
        """Close the socket."""
        self._hub.poller.close(self._slot)
        self._sock.close()

    def _packet(self, number: int) -> bytes:
        body = BODY.pack(self._token, number, self._hub.clock())
        ident = int.from_bytes(self._token[:2])
        packet = HEAD.pack(REQUEST[self._family], 0, 0, ident, number & 0xFFFF) + body
        return HEAD.pack(REQUEST[self._family], 0, checksum(packet), ident, number & 0xFFFF) + body


def _opened(family: int) -> tuple[KernelSocket, bool]:
    """Return a socket for echo requests, and whether it is a raw one."""
    flags = SOCK_NONBLOCK | SOCK_CLOEXEC
    try:
        return KernelSocket(family, SOCK_DGRAM | flags, PROTOCOL[family]), False
    except OSError:
        return KernelSocket(family, SOCK_RAW | flags, PROTOCOL[family]), True


class Echoes(NamedTuple):
    """What echo requests came to: the numbers of the hosts that answered, and why a family could not be asked."""

    alive: set[int]
    refusals: dict[int, OSError]


def echo_hosts(
    hub: Hub, hosts: Hosts, *, seed: int, timeout: float, rate_per_s: float = 0.0, prepare: Prepare | None = None
) -> Echoes:
    """Ask hosts for echoes, those of the families whose requests may be sent.

    `timeout` is how long to wait for a reply, in seconds; replies teach a shorter time.
    """
    alive: set[int] = set()
    refusals: dict[int, OSError] = {}
    families = {span.family for span in hosts.spans} if hosts.count < MOST_HOSTS else set()
    pingers = _pingers(hub, families, prepare, refusals)
    try:
        for _ in range(TRIES if pingers else 0):
            Round(hub, pingers, alive, timeout).run(hosts, seed, rate_per_s or RATE_PER_S)
    finally:
        for pinger in pingers.values():
            pinger.close()
    return Echoes(alive, refusals)


def _pingers(
    hub: Hub, families: Iterable[int], prepare: Prepare | None, refusals: dict[int, OSError]
) -> dict[int, Pinger]:
    """Return one of each family whose requests may be sent; note why not of the others."""
    found: dict[int, Pinger] = {}
    for family in sorted(families):
        try:
            found[family] = Pinger(hub, family, prepare)
        except OSError as exc:
            refusals[family] = exc
    return found


class Round:
    """One request to every host that has not answered yet."""

    def __init__(self, hub: Hub, pingers: dict[int, Pinger], alive: set[int], timeout: float) -> None:
        self._hub = hub
        self._pingers = pingers
        self._alive = alive
        self._timeout = timeout
        self._timing = HostTiming()

    def run(self, hosts: Hosts, seed: int, rate_per_s: float) -> None:
        """Ask in random order at a rate, then wait for the last replies."""
        hub = self._hub
        numbers = (number for number in Permutation(hosts.count, seed).walk() if number not in self._alive)
        due = hub.clock()
        while burst := list(islice(numbers, min(BURST, max(1, int(rate_per_s / 10))))):
            for number in burst:
                self._ask(hosts.at(number), number)
            due = max(due, hub.clock() - SHORTEST) + len(burst) / rate_per_s
            hub.sleep(max(0.0, due - hub.clock()))
            self._note_replies()
        for pinger in self._pingers.values():
            while len(self._alive) < hosts.count and pinger.wait(due + self._patience()):
                self._note_replies()
        self._note_replies()

    def _ask(self, address: Address, number: int) -> None:
        pinger = self._pingers.get(address.family)
        if pinger is not None:
            tail = (0, address.scope_id) if address.family == AF_INET6 else ()
            pinger.send((address.ip, 0, *tail), number)

    def _patience(self) -> float:
        known = self._timing
        return self._timeout if known.srtt < 0 else min(max(known.timeout, SHORTEST), self._timeout)

    def _note_replies(self) -> None:
        for pinger in self._pingers.values():
            for number, rtt in pinger.replies():
                if number not in self._alive:
                    self._alive.add(number)
                    self._timing.sample(rtt)
