"""The standard library's functions on names, over our resolver: the same arguments, results and errors as over libc.

`GreenFamily` and `ThreadFamily` are each a `Family` of four functions. The first asks in greenthreads; the second asks
libc in real threads. A host that is a number is answered in place by both: libc only parses then.

What libc alone can answer goes to libc, in a thread, also from the first: `.local` (multicast DNS, RFC 6762), and this
machine's own name where the hosts file does not have it (nss-myhostname).

Answers of getaddrinfo are kept ready in their final shape for a second, or for as long as they hold if that is less:
the same host is asked for often, and a second is what a change of routes or of the hosts file may take to be seen.
"""

import re
import socket as stdlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    AI_ADDRCONFIG,
    AI_ALL,
    AI_CANONNAME,
    AI_NUMERICHOST,
    AI_V4MAPPED,
    EAI_AGAIN,
    EAI_FAIL,
    EAI_NODATA,
    EAI_NONAME,
    NI_NAMEREQD,
    NI_NOFQDN,
    NI_NUMERICHOST,
    NI_NUMERICSERV,
    SOCK_STREAM,
    gaierror,
    gethostname,
    herror,
)
from typing import Any, Final

from greenprobe.dns.deferred import to_ascii
from greenprobe.dns.facts import Found
from greenprobe.dns.interfaces import Interface, family_out, interfaces
from greenprobe.dns.ordering import Ordering, Policy, parse_gai_conf
from greenprobe.dns.resolver import Resolver
from greenprobe.dns.shapes import libc_getaddrinfo, numeric, shaped, template_of
from greenprobe.dns.watched import Watched
from greenprobe.names import AddrInfo, is_numeric
from greenprobe.threadpool import run_in_thread

__all__ = ["Family", "GreenFamily", "ThreadFamily"]

# Operations on the flags of module socket cost half a microsecond each, those on integers nothing.
ADDRCONFIG, ALL, CANONNAME = int(AI_ADDRCONFIG), int(AI_ALL), int(AI_CANONNAME)
NUMERICHOST, V4MAPPED = int(AI_NUMERICHOST), int(AI_V4MAPPED)
FAMILIES: Final = frozenset({int(AF_UNSPEC), int(AF_INET), int(AF_INET6)})
# A host that can only be a name: ASCII, sound labels, and a letter that is in no number. libc need not be asked.
PLAIN_HOST: Final = re.compile(r"(?=[^g-wyzG-WYZ_-]*[g-wyzG-WYZ_-])[\w-]{1,63}(\.[\w-]{1,63})*\.?\Z", re.ASCII).match
READY_SECONDS: Final = 1.0
READY_SIZE: Final = 10_000
MESSAGES: Final = {
    EAI_AGAIN: "Temporary failure in name resolution",
    EAI_FAIL: "Non-recoverable failure in name resolution",
    EAI_NODATA: "No address associated with hostname",
    EAI_NONAME: "Name or service not known",
}
CODES: Final = {"NODATA": EAI_NODATA, "NXDOMAIN": EAI_NONAME, "DANGLING": EAI_NONAME}
HOST_CODES: Final = {  # of <netdb.h>, as herror has them
    EAI_NONAME: (1, "Unknown host"),
    EAI_AGAIN: (2, "Host name lookup failure"),
    EAI_FAIL: (3, "Unknown server error"),
    EAI_NODATA: (4, "No address associated with name"),
}
HostInfo = tuple[str, list[str], list[str]]
# The arguments of getaddrinfo: host, port, family, type, proto, flags.
Wanted = tuple[str | bytes | None, int | str | bytes | None, int, int, int, int]

libc_gethostbyname_ex = stdlib.gethostbyname_ex
libc_gethostbyaddr = stdlib.gethostbyaddr
libc_getnameinfo = stdlib.getnameinfo


class Family(ABC):
    """Four functions of the standard library's module socket. They raise what those raise, and TimeoutError."""

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
        timeout: float | None = None,
        delay: float | None = None,
    ) -> list[AddrInfo]:
        """Raises TimeoutError after `timeout` seconds.

        `delay` says that somebody wants to connect, and how long the other family is worth waiting for once one has
        addresses (seconds). What this machine has no address to connect from is then asked for only if nothing else is
        found. None is libc's way.
        """
        return self.look_up((host, port, family, type, proto, flags), timeout, delay)

    @abstractmethod
    def look_up(self, wanted: Wanted, timeout: float | None, delay: float | None) -> list[AddrInfo]:
        """Do what `getaddrinfo` does, with its arguments in one."""

    @abstractmethod
    def gethostbyname_ex(self, hostname: str) -> HostInfo: ...

    @abstractmethod
    def gethostbyaddr(self, address: str) -> HostInfo: ...

    @abstractmethod
    def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]: ...


class ThreadFamily(Family):
    """libc in real threads: what nsswitch.conf names is asked, as for any other program."""

    def look_up(self, wanted: Wanted, timeout: float | None, delay: float | None) -> list[AddrInfo]:
        if not wanted[0] or is_numeric(wanted[0]):
            return libc_getaddrinfo(*wanted)
        return run_in_thread(libc_getaddrinfo, *wanted, timeout=timeout)

    def gethostbyname_ex(self, hostname: str) -> HostInfo:
        return run_in_thread(libc_gethostbyname_ex, hostname)

    def gethostbyaddr(self, address: str) -> HostInfo:
        return run_in_thread(libc_gethostbyaddr, address)

    def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        if flags & NI_NUMERICHOST and flags & NI_NUMERICSERV:
            return libc_getnameinfo(sockaddr, flags)
        return run_in_thread(libc_getnameinfo, sockaddr, flags)


class GreenFamily(Family):
    """Our resolver, in greenthreads. `look_around` returns the addresses of this machine."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        gai_path: str = "/etc/gai.conf",
        look_around: Callable[[], list[Interface]] = interfaces,
    ) -> None:
        self.resolver = resolver
        self._clock = resolver.clock
        self._gai_conf = Watched(gai_path, parse_gai_conf)
        self._libc = ThreadFamily()
        self._own_name = gethostname().lower()
        self._interfaces = look_around
        self._ordering = Ordering(Policy(), ())
        self._family_out = int(AF_UNSPEC)
        self._here_until = float("-inf")
        self._ready: dict[tuple[Wanted, float | None], tuple[float, list[AddrInfo]]] = {}

    def look_up(self, wanted: Wanted, timeout: float | None, delay: float | None) -> list[AddrInfo]:
        ready = self._ready.get((wanted, delay))
        if ready is not None and self._clock() < ready[0]:
            return list(ready[1])
        host, port, family, kind, proto, flags = wanted
        if flags or family not in FAMILIES or not (isinstance(host, str) and PLAIN_HOST(host)):
            try:
                return numeric(*wanted)
            except gaierror as error:
                if error.errno != EAI_NONAME or not host or flags & NUMERICHOST or is_numeric(host):
                    raise
        template = template_of(port, kind, proto, flags)
        name = self._ascii(host)
        if self._is_libcs(name):
            return self._libc.look_up((name, *wanted[1:]), timeout, delay)
        found = self._addresses(name, configured(family, flags), flags, timeout, delay)
        shape = shaped(self._ordered(found.addresses), template, found.canonical if flags & CANONNAME else "")
        self._keep_ready((wanted, delay), shape, found.until)
        return shape

    def _ordered(self, addresses: Sequence[str]) -> Sequence[str]:
        """Put addresses into the order in which to try them."""
        if len(addresses) < 2:
            return addresses
        self._look_around()
        return self._ordering.sort(addresses)

    def _look_around(self) -> None:
        """Look at this machine's interfaces, if the last time is a while ago."""
        now = self._clock()
        if now >= self._here_until:
            here = self._interfaces()
            self._ordering, self._family_out = Ordering(self._gai_conf.current(), here), family_out(here)
            self._here_until = now + READY_SECONDS

    def gethostbyname_ex(self, hostname: str) -> HostInfo:
        try:
            numeric(hostname, None, AF_INET, SOCK_STREAM, 0, 0)
            return libc_gethostbyname_ex(hostname)
        except gaierror as error:
            if error.errno != EAI_NONAME:
                raise
        name = self._ascii(hostname)
        if self._is_libcs(name):
            return self._libc.gethostbyname_ex(name)
        found = self._addresses(name, AF_INET, 0, None, None)
        return found.canonical, list(found.aliases), list(found.addresses)

    def gethostbyaddr(self, address: str) -> HostInfo:
        if not address:
            raise OSError("unsupported address family")
        sockaddr = self.getaddrinfo(address, None, type=stdlib.SOCK_DGRAM)[0][4]
        try:
            found = self._name_of(sockaddr[0])
        except gaierror as error:
            raise herror(*HOST_CODES[error.errno or EAI_FAIL]) from None
        return found.canonical, list(found.aliases), list(found.addresses)

    def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        host, service = libc_getnameinfo(sockaddr, flags & ~NI_NAMEREQD | NI_NUMERICHOST)
        if flags & NI_NUMERICHOST:
            return host, service
        try:
            found = self._name_of(host)
        except gaierror as error:
            if flags & NI_NAMEREQD:
                raise gaierror(EAI_NONAME if error.errno != EAI_AGAIN else EAI_AGAIN, error.strerror) from None
            return host, service
        return (short(found.canonical) if flags & NI_NOFQDN else found.canonical), service

    def _ascii(self, host: str | bytes) -> str:
        try:
            return host.decode("ascii") if isinstance(host, bytes) else to_ascii(host)
        except ValueError as error:
            raise gaierror(EAI_NONAME, f"{MESSAGES[EAI_NONAME]}: {error}") from None

    def _is_libcs(self, name: str) -> bool:
        name = name.lower().removesuffix(".")
        if name.endswith(".local"):
            return not self.resolver.hosts.find(name)
        return name in LIBCS or (name == self._own_name and not self.resolver.hosts.find(name))

    def _addresses(self, name: str, family: int, flags: int, timeout: float | None, delay: float | None) -> Found:
        """Find the addresses of a name. Raises gaierror if there are none."""
        found = self._find(name, family, timeout, delay)
        if flags & V4MAPPED and family == AF_INET6 and (found.status != "NOERROR" or flags & ALL):
            found = with_mapped(found, self._find(name, AF_INET, timeout, delay))
        return checked(name, found)

    def _find(self, name: str, family: int, timeout: float | None, delay: float | None) -> Found:
        first = int(AF_UNSPEC)
        if delay is not None:
            self._look_around()
            first = self._family_out
        try:
            return self.resolver.find(name, family, timeout=timeout, delay=delay, first=first)
        except ValueError as error:
            raise gaierror(EAI_NONAME, f"{MESSAGES[EAI_NONAME]}: {error}") from None

    def _name_of(self, address: str) -> Found:
        return checked(address, self.resolver.name_of(address.partition("%")[0]))

    def _keep_ready(self, wanted: tuple[Wanted, float | None], shape: list[AddrInfo], until: float) -> None:
        now = self._clock()
        if len(self._ready) >= READY_SIZE:
            self._ready.clear()
        self._ready[wanted] = (min(until, now + READY_SECONDS), list(shape))


LIBCS: Final = frozenset({"_gateway", "_outbound", "_localdnsstub", "_localdnsproxy"})  # systemd's nss-myhostname


def checked(name: str, found: Found) -> Found:
    """Return what was found. Raises gaierror if it is nothing, with what was asked and what was answered."""
    if found.status == "NOERROR":
        return found
    code = CODES.get(found.status, EAI_AGAIN)
    raise gaierror(code, f"{MESSAGES[code]}: {name} ({found.reason})")


def configured(family: int, flags: int) -> int:
    """Return the family to ask for. Raises gaierror if AI_ADDRCONFIG says that the machine has none of it.

    Source: getaddrinfo(3); loopback does not count.
    """
    if not flags & ADDRCONFIG:
        return family
    here = {each.family for each in interfaces() if not each.is_loopback}
    if family == AF_UNSPEC:
        return AF_UNSPEC if len(here) != 1 else here.pop()
    if family not in here:
        raise gaierror(EAI_NONAME, f"{MESSAGES[EAI_NONAME]}: no interface has an address of that family")
    return family


def with_mapped(found: Found, ipv4: Found) -> Found:
    """Add IPv4 addresses, written as IPv6 ones, to what was found."""
    if ipv4.status != "NOERROR":
        return found
    mapped = tuple(f"::ffff:{address}" for address in ipv4.addresses)
    if found.status != "NOERROR":
        return ipv4._replace(addresses=mapped)
    return found._replace(addresses=found.addresses + mapped)


def short(name: str) -> str:
    """Return a name without the domain of this machine."""
    domain = gethostname().partition(".")[2]
    return name.removesuffix("." + domain) if domain else name
