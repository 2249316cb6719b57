"""Names to addresses, green: the getaddrinfo family over a resolver that can be chosen; libc in a thread by default.

`getaddrinfo` takes and returns what the standard library's does. A numeric host is answered at once, in the caller's
thread: libc only parses then. For a name it asks a `Resolver`, and has libc put each address into its usual shape.

A `CachedResolver` asks once where many ask the same (in flight) and remembers answers for a while; how it asks is its
subclass's: `ThreadResolver` here calls libc's getaddrinfo in the thread pool (all that nsswitch knows: files, DNS,
mDNS); `greenprobe.dnspython_resolver` speaks DNS over green sockets, thousands of questions at once.

Importing this changes nothing. `install()` has the sockets of `green_socket` look names up here, too.
"""

import socket as stdlib
from _socket import getaddrinfo as libc_raw
from collections import OrderedDict
from collections.abc import Callable
from socket import (
    AF_INET,
    AF_UNSPEC,
    AI_ADDRCONFIG,
    AI_ALL,
    AI_CANONNAME,
    AI_NUMERICHOST,
    AI_NUMERICSERV,
    AI_PASSIVE,
    AI_V4MAPPED,
    EAI_NODATA,
    EAI_NONAME,
    SOCK_STREAM,
    gaierror,
)
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from greenprobe import names
from greenprobe.hub import Hub, get_hub
from greenprobe.names import AddrInfo
from greenprobe.outcome import Outcome
from greenprobe.threadpool import ThreadPool, default_pool, run_in_thread

__all__ = [
    "Answer",
    "CachedResolver",
    "Resolver",
    "ThreadResolver",
    "getaddrinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "install",
]

CACHE_SIZE: Final = 4096
LIBC_TTL: Final = 10.0  # seconds; libc does not say how long an answer holds
NEGATIVE_TTL: Final = 2.0
NO_SUCH_NAME: Final = frozenset({EAI_NONAME, EAI_NODATA})
LIBC_ONLY: Final = AI_CANONNAME | AI_V4MAPPED | AI_ALL | AI_ADDRCONFIG  # what a list of addresses cannot express
SHAPE_FLAGS: Final = AI_PASSIVE | AI_NUMERICSERV

libc_getaddrinfo: Callable[..., list[AddrInfo]] = stdlib.getaddrinfo  # type: ignore[assignment]
libc_getnameinfo = stdlib.getnameinfo
libc_gethostbyaddr = stdlib.gethostbyaddr


class Resolver(Protocol):
    """Whatever can turn a name into addresses."""

    def resolve(self, host: str, family: int = AF_UNSPEC, timeout: float | None = None) -> list[str]:
        """Return the numeric addresses of `host`, best first, never none; IPv6 ones may end in "%scope".

        `family` is AF_INET, AF_INET6 or AF_UNSPEC. Raises socket.gaierror, or TimeoutError after `timeout` seconds.
        """


class Answer(NamedTuple):
    """The addresses of a name, and for how many seconds they hold."""

    addresses: tuple[str, ...]
    ttl: float


class Entry(NamedTuple):
    """What a cache remembers: addresses, or the arguments of the gaierror that there were none."""

    expires: float
    addresses: tuple[str, ...]
    failure: tuple[Any, ...]


Key = tuple[str, int]


class CachedResolver:
    """Asks once for what many want, and remembers the answer. A subclass says how to ask, in `_ask`.

    `clock` returns seconds. The cache holds `size` names, in the order they were learnt.
    """

    def __init__(self, *, size: int = CACHE_SIZE, clock: Callable[[], float] = monotonic) -> None:
        self.size = size
        self.clock = clock
        self._cache: OrderedDict[Key, Entry] = OrderedDict()
        self._flights: dict[tuple[Hub, Key], Outcome[Answer]] = {}  # a hub's own: an outcome comes home to one hub

    def resolve(self, host: str, family: int = AF_UNSPEC, timeout: float | None = None) -> list[str]:
        """Return the numeric addresses of `host`, best first. Raises socket.gaierror, TimeoutError."""
        key = (host.lower(), family)
        entry = self._cache.get(key)
        if entry is None or entry.expires <= self.clock():
            return self._join_flight(key, timeout)
        if entry.failure:
            raise gaierror(*entry.failure)
        return list(entry.addresses)

    def clear(self) -> None:
        """Forget what was learnt."""
        self._cache.clear()

    def _ask(self, host: str, family: int) -> Outcome[Answer]:
        """Begin to ask; the outcome is an Answer or a gaierror."""
        raise NotImplementedError

    def _join_flight(self, key: Key, timeout: float | None) -> list[str]:
        flight = (get_hub(), key)
        outcome = self._flights.get(flight)
        if outcome is None:
            outcome = self._flights[flight] = self._ask(*key)
            outcome.link(self._landed, flight)
        try:
            return list(outcome.wait(timeout).addresses)
        except gaierror as error:
            raise gaierror(*error.args) from None  # each waiter its own: a shared one collects tracebacks

    def _landed(self, outcome: Outcome[Answer], flight: tuple[Hub, Key]) -> None:
        self._flights.pop(flight, None)
        answer, error = outcome.value, outcome.exception
        now = self.clock()
        if answer is not None:
            self._remember(flight[1], Entry(now + answer.ttl, answer.addresses, ()))
        elif isinstance(error, gaierror) and error.errno in NO_SUCH_NAME:
            self._remember(flight[1], Entry(now + NEGATIVE_TTL, (), error.args))

    def _remember(self, key: Key, entry: Entry) -> None:
        self._cache[key] = entry
        self._cache.move_to_end(key)
        if len(self._cache) > self.size:
            self._cache.popitem(last=False)


class ThreadResolver(CachedResolver):
    """libc's getaddrinfo in a thread pool: the process's, unless given one."""

    def __init__(
        self, *, pool: ThreadPool | None = None, size: int = CACHE_SIZE, clock: Callable[[], float] = monotonic
    ) -> None:
        super().__init__(size=size, clock=clock)
        self._pool = pool

    def _ask(self, host: str, family: int) -> Outcome[Answer]:
        pool = self._pool if self._pool is not None else default_pool()
        return pool.submit(ask_libc, host, family)


def ask_libc(host: str, family: int) -> Answer:
    """Ask libc, and wait for it with the whole thread."""
    found = libc_raw(host, None, family, SOCK_STREAM)
    return Answer(tuple(dict.fromkeys(numeric(address) for _, _, _, _, address in found)), LIBC_TTL)


def numeric(address: Any) -> str:
    """Return the address in a socket address, an IPv6 scope written behind it."""
    host: str = address[0]
    return f"{host}%{address[3]}" if len(address) == 4 and address[3] else host


# -- the chosen one


_resolver: Resolver = ThreadResolver()


def install(resolver: Resolver | None = None) -> Resolver:
    """Have this module and all green sockets ask `resolver` (None: libc in a thread); return the one before."""
    global _resolver
    before, _resolver = _resolver, resolver if resolver is not None else ThreadResolver()
    names.install(lookup)
    return before


def lookup(host: str | bytes, port: int | str | None, family: int, kind: int) -> list[AddrInfo]:
    """Look up for `greenprobe.names`."""
    return getaddrinfo(host, port, family, kind)


# -- the getaddrinfo family


def getaddrinfo(
    host: str | bytes | None,
    port: int | str | bytes | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
    *,
    resolver: Resolver | None = None,
    timeout: float | None = None,
) -> list[AddrInfo]:
    """Return what socket.getaddrinfo would, without blocking the thread.

    Asks `resolver`, else the installed one. Raises socket.gaierror as libc does, TimeoutError after `timeout` seconds.
    A resolver other than libc's does not know AI_ADDRCONFIG, AI_V4MAPPED and AI_ALL; its canonical name is the host.
    """
    try:
        return shape(host, port, family, type, proto, flags)
    except gaierror as error:
        if error.errno != EAI_NONAME or not host or flags & AI_NUMERICHOST:
            raise
    chosen = resolver if resolver is not None else _resolver
    if flags & LIBC_ONLY and isinstance(chosen, ThreadResolver):
        return run_in_thread(libc_getaddrinfo, host, port, family, type, proto, flags, timeout=timeout)
    name = as_text(host)
    found: list[AddrInfo] = []
    for address in chosen.resolve(name, family, timeout):
        found += shape(address, port, family, type, proto, flags & SHAPE_FLAGS)
    if flags & AI_CANONNAME:
        found[0] = (*found[0][:3], name, found[0][4])
    return found


def shape(
    host: str | bytes | None, port: int | str | bytes | None, family: int, type: int, proto: int, flags: int
) -> list[AddrInfo]:
    """Have libc parse a numeric host, or none. Raises gaierror with EAI_NONAME if it is a name."""
    if host:
        flags = flags & ~AI_ADDRCONFIG | AI_NUMERICHOST
    return libc_getaddrinfo(host, port, family, type, proto, flags)


def as_text(host: str | bytes) -> str:
    """Return a host as ASCII, an international name in its encoded form."""
    if isinstance(host, bytes):
        return host.decode("ascii")
    return host if host.isascii() else host.encode("idna").decode("ascii")


def gethostbyname(hostname: str, *, resolver: Resolver | None = None) -> str:
    """Return one IPv4 address of a host, as socket.gethostbyname does."""
    host: str = getaddrinfo(hostname or "0.0.0.0", None, AF_INET, SOCK_STREAM, resolver=resolver)[0][4][0]
    return host


def gethostbyname_ex(hostname: str, *, resolver: Resolver | None = None) -> tuple[str, list[str], list[str]]:
    """Return (canonical name, aliases, IPv4 addresses), as socket.gethostbyname_ex does; aliases are not known."""
    found = getaddrinfo(hostname, None, AF_INET, SOCK_STREAM, 0, AI_CANONNAME, resolver=resolver)
    return found[0][3] or hostname, [], [address[0] for _, _, _, _, address in found]


def gethostbyaddr(address: str) -> tuple[str, list[str], list[str]]:
    """Return (name, aliases, addresses) of an address, asked of libc in a thread."""
    return run_in_thread(libc_gethostbyaddr, address)


def getnameinfo(sockaddr: Any, flags: int) -> tuple[str, str]:
    """Return (host, service) of a socket address, asked of libc: in a thread, unless both stay numbers."""
    if flags & stdlib.NI_NUMERICHOST and flags & stdlib.NI_NUMERICSERV:
        return libc_getnameinfo(sockaddr, flags)
    return run_in_thread(libc_getnameinfo, sockaddr, flags)
