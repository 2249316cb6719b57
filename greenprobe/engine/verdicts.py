"""What the end of a connect() says of a port: an errno and perhaps an ICMP message become a state and a reason.

Facts (Linux). ECONNREFUSED is a RST, or an ICMP port-unreachable of a firewall: only the error queue tells. An ICMP
admin-prohibited is EHOSTUNREACH over IPv4 and EACCES over IPv6. ECONNRESET and EPIPE come only after the connection
was there: the port is open and its owner hung up at once. Failures of our own machine (no descriptor, no local port, no
memory) say nothing of the port, so they have no verdict.
"""

import struct
from errno import (
    EACCES,
    EADDRNOTAVAIL,
    EAGAIN,
    ECONNREFUSED,
    ECONNRESET,
    EHOSTDOWN,
    EHOSTUNREACH,
    EISCONN,
    EMFILE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    EPERM,
    EPIPE,
    errorcode,
)
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Final, Literal, NamedTuple

__all__ = [
    "CLOSED",
    "EXHAUSTED",
    "NO_LONGER",
    "NO_RESPONSE",
    "UDP_NO_RESPONSE",
    "Icmp",
    "State",
    "Verdict",
    "parse_extended_error",
    "udp_verdict",
    "verdict",
]

State = Literal["open", "closed", "filtered", "open|filtered", "unreported"]

# We ran out of something: put the probe back, slow down, try again.
EXHAUSTED: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAGAIN})

ORIGIN_ICMP, ORIGIN_ICMP6 = 2, 3
EXTENDED_ERROR: Final = struct.Struct("=IBBBxII")  # struct sock_extended_err; the sender's sockaddr follows


class Icmp(NamedTuple):
    """An ICMP error as the error queue of a socket gives it; `sender` is the router or host that wrote it."""

    version: int
    kind: int
    code: int
    errno: int
    sender: str | None


class Verdict(NamedTuple):
    """The state of a port and why we think so."""

    state: State
    reason: str


OPEN: Final = Verdict("open", "syn-ack")
CLOSED: Final = Verdict("closed", "reset")
NO_RESPONSE: Final = Verdict("filtered", "no-response")
NO_LONGER: Final = Verdict("filtered", "no-longer-answers")  # the whole host, that did
UDP_OPEN: Final = Verdict("open", "udp-response")
UDP_CLOSED: Final = Verdict("closed", "port-unreach")
UDP_NO_RESPONSE: Final = Verdict("open|filtered", "no-response")

BY_ERRNO: Final = {
    0: OPEN,
    EISCONN: OPEN,
    ECONNRESET: OPEN,
    EPIPE: OPEN,
    ECONNREFUSED: CLOSED,
    EHOSTUNREACH: Verdict("filtered", "host-unreach"),
    EHOSTDOWN: Verdict("filtered", "host-unreach"),
    ENETUNREACH: Verdict("filtered", "net-unreach"),
    ENETDOWN: Verdict("filtered", "net-unreach"),
    EACCES: Verdict("filtered", "admin-prohibited"),  # a prohibit route of ours, or a broadcast address
    EPERM: Verdict("filtered", "admin-prohibited"),  # our own firewall
}

# (version, type, code) -> reason. Sources: RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3.
BY_ICMP: Final = {
    (4, 3, 0): "net-unreach",
    (4, 3, 1): "host-unreach",
    (4, 3, 2): "proto-unreach",
    (4, 3, 3): "port-unreach",
    (4, 3, 6): "net-unreach",
    (4, 3, 7): "host-unreach",
    (4, 3, 9): "admin-prohibited",
    (4, 3, 10): "admin-prohibited",
    (4, 3, 11): "net-unreach",
    (4, 3, 12): "host-unreach",
    (4, 3, 13): "admin-prohibited",
    (4, 11, 0): "time-exceeded",
    (4, 11, 1): "time-exceeded",
    (6, 1, 0): "net-unreach",
    (6, 1, 1): "admin-prohibited",
    (6, 1, 2): "host-unreach",
    (6, 1, 3): "host-unreach",
    (6, 1, 4): "port-unreach",
    (6, 1, 5): "admin-prohibited",
    (6, 1, 6): "net-unreach",
    (6, 3, 0): "time-exceeded",
    (6, 3, 1): "time-exceeded",
}


def verdict(code: int, icmp: Icmp | None) -> Verdict:
    """Return what a connect() that ended with errno `code` says, given the ICMP error on the socket's queue, if any.

    An errno that says nothing of the port gives the state "unreported", with its name as the reason.
    """
    if icmp is not None and code not in (0, EISCONN):
        reason = BY_ICMP.get(icmp[:3])
        return Verdict("filtered", reason or f"icmp{icmp.version}-{icmp.kind}-{icmp.code}")
    return BY_ERRNO.get(code) or Verdict("unreported", errorcode.get(code, f"errno-{code}").lower())


def udp_verdict(code: int, icmp: Icmp | None) -> Verdict:
    """Return what the end of a question to a UDP port says: errno `code`, 0 for an answer, and the ICMP error."""
    if code == 0:
        return UDP_OPEN
    return UDP_CLOSED if code == ECONNREFUSED else verdict(code, icmp)


def parse_extended_error(data: bytes) -> Icmp | None:
    """Return the ICMP error in a control message of the error queue, or None if the error has another origin."""
    if len(data) < EXTENDED_ERROR.size:
        return None
    errno, origin, kind, code, _, _ = EXTENDED_ERROR.unpack_from(data)
    if origin not in (ORIGIN_ICMP, ORIGIN_ICMP6):
        return None
    version = 4 if origin == ORIGIN_ICMP else 6
    return Icmp(version, kind, code, errno, _sender(data[EXTENDED_ERROR.size :]))


def _sender(sockaddr: bytes) -> str | None:
    family = struct.unpack_from("=H", sockaddr)[0] if len(sockaddr) >= 2 else 0
    if family == AF_INET and len(sockaddr) >= 8:
        return inet_ntop(AF_INET, sockaddr[4:8])
    if family == AF_INET6 and len(sockaddr) >= 24:
        return inet_ntop(AF_INET6, sockaddr[8:24])
    return None
