"""The addresses of this machine's interfaces, asked of the kernel by netlink: what getaddrinfo's rules look at.

Sources: rtnetlink(7), <linux/rtnetlink.h>, <linux/if_addr.h>. Nothing where there is no netlink.
"""

import socket
import struct
from _socket import socket as KernelSocket  # noqa: N812 - a class
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final, NamedTuple

__all__ = ["Interface", "family_out", "interfaces", "parse_dump"]

NETLINK_ROUTE, RTM_NEWADDR, RTM_GETADDR, NLMSG_DONE, NLMSG_ERROR = 0, 20, 22, 3, 2
REQUEST_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_DEPRECATED = 0x20
CHUNK_BYTES: Final = 1 << 16
LINK_LOCAL: Final = ("fe8", "fe9", "fea", "feb")  # fe80::/10
header = struct.Struct("=IHHII")
ifaddrmsg = struct.Struct("=BBBBI")
attribute = struct.Struct("=HH")
REQUEST_BYTES: Final = header.size + ifaddrmsg.size


class Interface(NamedTuple):
    """One address: `family`, `address` in its shortest form, the bits of its prefix, the flags of rtnetlink."""

    family: int
    address: str
    prefix: int
    flags: int

    @property
    def is_deprecated(self) -> bool:
        """Whether the address should not be used for new connections."""
        return bool(self.flags & IFA_F_DEPRECATED)

    @property
    def is_loopback(self) -> bool:
        """Whether it is the one address of loopback that libc does not count as a configured address."""
        return self.address in {"127.0.0.1", "::1"}


def family_out(here: Sequence[Interface]) -> int:
    """Return the only family of which an address here leads beyond this machine, AF_UNSPEC if both do, or none known.

    IPv6 needs more than loopback and link-local; a machine that has nothing but loopback speaks IPv4.
    """
    if not here:
        return socket.AF_UNSPEC
    leads = {each.family for each in here if not (each.is_loopback or each.address.startswith(LINK_LOCAL))}
    if socket.AF_INET6 not in leads:
        return socket.AF_INET
    return socket.AF_UNSPEC if socket.AF_INET in leads else socket.AF_INET6


def interfaces() -> list[Interface]:
    """Return the addresses of all interfaces. Does not block: the kernel has the reply ready at once."""
    try:
        with closing(KernelSocket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)) as sock:
            sock.send(header.pack(REQUEST_BYTES, RTM_GETADDR, REQUEST_DUMP, 1, 0) + ifaddrmsg.pack(0, 0, 0, 0, 0))
            return [found for message in dump(sock) for found in parse_dump(message)]
    except OSError:
        return []


def dump(sock: KernelSocket) -> Iterator[bytes]:
    """Yield the messages of a dump until it is done."""
    while True:
        message = sock.recv(CHUNK_BYTES)
        yield message
        if not message or any(kind in {NLMSG_DONE, NLMSG_ERROR} for kind, _ in messages(message)):
            return


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) of the netlink messages in a datagram."""
    at = 0
    while at + header.size <= len(data):
        length, kind, _, _, _ = header.unpack_from(data, at)
        if length < header.size:
            return
        yield kind, data[at + header.size : at + length]
        at += -(-length // 4) * 4


def parse_dump(data: bytes) -> Iterator[Interface]:
    """Yield the addresses in one datagram of a dump."""
    for kind, payload in messages(data):
        if kind == RTM_NEWADDR and len(payload) >= ifaddrmsg.size:
            family, prefix, flags, _, _ = ifaddrmsg.unpack_from(payload)
            found = attributes(payload[ifaddrmsg.size :])
            packed = found.get(IFA_LOCAL, found.get(IFA_ADDRESS, b""))
            if len(packed) == {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family):
                yield Interface(family, socket.inet_ntop(family, packed), prefix, flags)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes behind the fixed part of a message."""
    found = {}
    at = 0
    while at + attribute.size <= len(data):
        length, kind = attribute.unpack_from(data, at)
        if length < attribute.size:
            break
        found[kind] = data[at + attribute.size : at + length]
        at += -(-length // 4) * 4
    return found
