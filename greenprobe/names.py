"""Names to addresses for sockets: a slot that a resolver fills.

Sockets need names and resolvers need sockets. The ring is broken here: `resolve` asks whatever `install` was given
last; `green_dns` stands above the sockets and installs its resolvers. It is loaded by its name, when the first name is
looked up: who connects to numbers only never pays for it.
"""

import socket as stdlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from greenprobe.lazy import Lazy
from greenprobe.threadpool import run_in_thread

__all__ = ["AddrInfo", "Resolver", "install", "is_address", "is_numeric", "is_of_family", "resolve"]

AddrInfo = tuple[int, int, int, str, Any]
Resolver = Callable[[str | bytes, int | str | None, int, int], list[AddrInfo]]

green_dns = Lazy("greenprobe.green_dns")
libc_getaddrinfo: Callable[..., Any] = stdlib.getaddrinfo


def is_numeric(host: str | bytes) -> bool:
    """Tell whether the kernel understands `host` without a look-up: an address, "" or "<broadcast>"."""
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "replace")
    return _is_address(host)


@lru_cache(maxsize=1024)  # the same few hosts come again and again
def _is_address(host: str) -> bool:
    return host in ("", "<broadcast>") or is_address(host)


def is_address(host: str) -> bool:
    """Tell whether `host` is a numeric address; an IPv6 one may have a scope."""
    return is_of_family(stdlib.AF_INET6 if ":" in host else stdlib.AF_INET, host.partition("%")[0])


def is_of_family(family: int, host: str) -> bool:
    """Tell whether `host` is a numeric address of a family, without a scope."""
    try:
        stdlib.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


def in_thread(host: str | bytes, port: int | str | None, family: int, kind: int) -> list[AddrInfo]:
    """Ask libc, in a real thread."""
    found: list[AddrInfo] = run_in_thread(libc_getaddrinfo, host, port, family, kind)
    return found


def by_default(host: str | bytes, port: int | str | None, family: int, kind: int) -> list[AddrInfo]:
    """Ask the resolver that `green_dns` chooses."""
    found: list[AddrInfo] = green_dns.lookup(host, port, family, kind)
    return found


_resolver: Resolver = by_default


def install(resolver: Resolver | None) -> Resolver:
    """Have names looked up by `resolver` from now on (None: by the default one); return the one before."""
    global _resolver
    before, _resolver = _resolver, resolver if resolver is not None else by_default
    return before


def resolve(host: str | bytes, port: int | str | None, family: int = 0, kind: int = 0) -> list[AddrInfo]:
    """Return what getaddrinfo would, never empty. Raises socket.gaierror."""
    return _resolver(host, port, family, kind)
