"""The shapes of the standard library's answers: libc makes one for a numeric host, and the others follow its model.

Which types and protocols a service has, what a port is called, and which of the arguments are wrong, libc knows; for a
numeric host it asks nobody, so it can be asked in place. It is asked once for each such combination of arguments.
"""

import socket as stdlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from socket import AF_INET, AF_INET6, AI_NUMERICHOST, AI_NUMERICSERV, AddressFamily
from typing import Any, Final

from greenprobe.names import AddrInfo, is_numeric

__all__ = ["Template", "numeric", "shaped", "template_of"]

Template = tuple[tuple[int, int, int], ...]

FAMILIES: Final = {AF_INET: AddressFamily.AF_INET, AF_INET6: AddressFamily.AF_INET6}
libc_getaddrinfo: Callable[..., list[AddrInfo]] = stdlib.getaddrinfo  # type: ignore[assignment]


def numeric(
    host: str | bytes | None, port: int | str | bytes | None, family: int, type: int, proto: int, flags: int
) -> list[AddrInfo]:
    """Have libc parse a numeric host, or none. Raises gaierror with EAI_NONAME if it is a name."""
    if isinstance(host, str) and host.isascii() and is_numeric(host):
        host = host.encode()  # for a str Python loads the codec of international names first: 4 ms, once
    return libc_getaddrinfo(host, port, family, type, proto, flags | AI_NUMERICHOST if host else flags)


def shaped(addresses: Sequence[str], template: Template, canonical: str = "") -> list[AddrInfo]:
    """Return numeric addresses as getaddrinfo does, the canonical name in the first."""
    found: list[AddrInfo] = []
    for address in addresses:
        family = AF_INET6 if ":" in address else AF_INET
        for kind, protocol, number in template:
            sockaddr: tuple[Any, ...] = (address, number, 0, 0) if family == AF_INET6 else (address, number)
            found.append((FAMILIES[family], kind, protocol, canonical, sockaddr))
            canonical = ""
    return found


@lru_cache(maxsize=256)
def template_of(port: int | str | bytes | None, type: int, proto: int, flags: int) -> Template:
    """Return (type, protocol, port) of each shape that libc has for an address. Raises gaierror if it has none."""
    flags = int(flags & AI_NUMERICSERV | AI_NUMERICHOST)
    found = libc_getaddrinfo(b"127.0.0.1", port, AF_INET, type, proto, flags)
    return tuple((kind, protocol, sockaddr[1]) for _, kind, protocol, _, sockaddr in found)
